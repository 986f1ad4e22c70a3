//! List prices of AWS: `deploy/prices.json`, which `make cost` reads too.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::files::read_json;

/// Hours of a month, as AWS's own examples count.
pub const MONTH_HOURS: f64 = 730.0;

/// List prices of one region and day.
#[derive(Debug, Clone, Deserialize)]
pub struct Prices {
    /// The day, `2026-11-20`.
    pub as_of: String,
    pub region: String,
    prices: BTreeMap<String, Price>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Price {
    usd: f64,
    /// So many units.
    #[serde(rename = "for")]
    units: f64,
}

impl Prices {
    /// Reads those of the project.
    pub fn read(root: &Path) -> Result<Self> {
        read_json(&root.join("deploy/prices.json"))
    }

    /// USD of one unit.
    pub fn usd(&self, name: &str) -> Result<f64> {
        let price = self.prices.get(name);
        let price = price.with_context(|| format!("deploy/prices.json has no {name}"))?;
        Ok(price.usd / price.units)
    }

    /// USD of a GB-second on `arm64` or `x86_64`.
    pub fn gb_second(&self, architecture: &str) -> Result<f64> {
        self.usd(&format!("gb_second_{architecture}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_that_of_one_unit_and_an_unknown_one_is_named() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let prices = Prices::read(&root).unwrap();
        assert_eq!(prices.usd("lambda_request").unwrap(), 0.2 / 1e6);
        assert_eq!(prices.gb_second("arm64").unwrap(), 0.0000133334);
        let unknown = prices.usd("gb_second_z80").unwrap_err().to_string();
        assert_eq!(unknown, "deploy/prices.json has no gb_second_z80");
    }
}
