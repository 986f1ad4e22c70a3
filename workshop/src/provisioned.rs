//! Provisioned concurrency: what it costs a month, by the template and the list prices.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files::read_yaml;
use crate::host::resolved;
use crate::prices::{MONTH_HOURS, Prices};
use crate::session::Session;

/// The parameter of the template that sets it.
const PARAMETER: &str = "ProvisionedConcurrency";

/// Environments that are kept ready, or could be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provisioned {
    /// How many of each function; 0 for none.
    pub environments: u64,
    /// USD a month of one environment, by each function that can have them.
    pub usd_month: BTreeMap<String, f64>,
    /// The region of the prices, and the processor.
    pub priced_for: String,
    /// The day of the prices.
    pub as_of: String,
}

impl Provisioned {
    /// Reads a template with these parameters by the host's own verb. `None` if it does not have the parameter.
    pub async fn of(
        session: &Session,
        local: &Path,
        template: &Path,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Option<Self>> {
        let declared: Value = read_yaml(template)?;
        let declared = &declared["Parameters"][PARAMETER];
        if declared.is_null() {
            return Ok(None);
        }
        let default = declared["Default"].to_string();
        let given = parameters.get(PARAMETER).unwrap_or(&default);
        let environments = given.trim_matches('"').parse();
        let environments = environments.with_context(|| format!("{PARAMETER}={given}"))?;
        // One, so that the functions show that can have it.
        let mut one = parameters.clone();
        one.insert(PARAMETER.to_owned(), "1".to_owned());
        let resolved = resolved(&session.root, local, template, &one).await?;
        Self::priced(environments, &resolved, &Prices::read(&session.root)?).map(Some)
    }

    /// Prices the functions of a template that is resolved for one environment each.
    fn priced(environments: u64, resolved: &Value, prices: &Prices) -> Result<Self> {
        let mut usd_month = BTreeMap::new();
        let mut processor = "";
        for (name, resource) in resolved["Resources"].as_object().into_iter().flatten() {
            let properties = &resource["Properties"];
            if properties["ProvisionedConcurrencyConfig"].is_null() {
                continue;
            }
            let memory_mb = properties["MemorySize"].as_f64();
            let memory_mb = memory_mb.with_context(|| format!("{name} has no MemorySize"))?;
            processor = properties["Architectures"][0].as_str().unwrap_or("x86_64"); // Lambda's default
            let gb_second = prices.usd(&format!("provisioned_gb_second_{processor}"))?;
            let gb_seconds = memory_mb / 1024.0 * MONTH_HOURS * 3600.0;
            usd_month.insert(name.clone(), gb_seconds * gb_second);
        }
        Ok(Self {
            environments,
            usd_month,
            priced_for: format!("{}, {processor}", prices.region),
            as_of: prices.as_of.clone(),
        })
    }

    /// USD a month of so many environments of each function.
    pub fn cost(&self, environments: u64) -> f64 {
        self.usd_month.values().sum::<f64>() * environments as f64
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn a_month_costs_the_gb_seconds_of_each_environment_whether_it_is_used_or_not() {
        let function = |memory: u32, more: &Value| {
            let mut properties = json!({"MemorySize": memory, "Architectures": ["arm64"]});
            if !more.is_null() {
                properties["ProvisionedConcurrencyConfig"] = more.clone();
            }
            json!({"Properties": properties})
        };
        let one = json!({"ProvisionedConcurrentExecutions": 1});
        let resolved = json!({"Resources": {
            "A": function(1024, &one), "B": function(256, &one), "Worker": function(256, &Value::Null),
            "Table": {"Properties": {}}
        }});
        let prices = json!({"as_of": "2026-01-02", "region": "r", "prices": {
            "provisioned_gb_second_arm64": {"usd": 3, "for": 1_000_000}
        }});
        let prices = serde_json::from_value(prices).unwrap();
        let told = Provisioned::priced(5, &resolved, &prices).unwrap();
        // 730 hours are 2,628,000 seconds: $7.884 for a GB.
        let near = |told: f64, usd: f64| assert!((told - usd).abs() < 1e-9, "{told} {usd}");
        assert_eq!(
            told.usd_month.keys().collect::<Vec<_>>(),
            ["A", "B"],
            "the worker is not kept ready"
        );
        near(told.usd_month["A"], 7.884);
        near(told.usd_month["B"], 7.884 / 4.0);
        near(told.cost(told.environments), 5.0 * 7.884 * 1.25);
        near(told.cost(0), 0.0);
        assert_eq!(
            (told.priced_for.as_str(), told.as_of.as_str()),
            ("r, arm64", "2026-01-02")
        );
        let mut unpriced = resolved;
        unpriced["Resources"]["A"]["Properties"]["Architectures"] = json!(["x86_64"]);
        let refused = Provisioned::priced(5, &unpriced, &prices).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "deploy/prices.json has no provisioned_gb_second_x86_64"
        );
    }

    #[test]
    fn the_price_list_has_both_processors() {
        let prices = Prices::read(&root()).unwrap();
        for processor in ["arm64", "x86_64"] {
            let price = prices.usd(&format!("provisioned_gb_second_{processor}"));
            // Less than a GB-second of work, or nobody would keep one ready.
            let work = prices.usd(&format!("gb_second_{processor}")).unwrap();
            assert!(price.unwrap() < work);
        }
    }
}
