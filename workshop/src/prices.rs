//! AWS's list prices: `deploy/prices.json`, which `make cost` reads too.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::files::read_json;
use crate::session::Session;

/// Hours of a month, as AWS's own examples count.
pub const MONTH_HOURS: f64 = 730.0;

/// All prices, of one region at one day.
#[derive(Debug, Clone, Deserialize)]
pub struct Prices {
    pub as_of: String,
    pub region: String,
    prices: BTreeMap<String, Price>,
}

/// So many USD for so many units.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Price {
    usd: f64,
    #[serde(rename = "for")]
    units: f64,
}

impl Prices {
    pub fn read(session: &Session) -> Result<Self> {
        read_json(&session.root.join("deploy/prices.json"))
    }

    /// USD of one unit.
    pub fn of(&self, name: &str) -> Result<f64> {
        let price = self.prices.get(name);
        let price = price.with_context(|| format!("deploy/prices.json has no {name}"))?;
        Ok(price.usd / price.units)
    }
}
