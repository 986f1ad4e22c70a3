//! Gates: figures with a limit. A run passes if all of them do.
//!
//! Those of `ensure` in `artillery.yml` are checked here against Artillery's JSON report. Artillery checks the
//! same lines itself, but prints neither values nor JSON. Both verdicts count: its exit code is a gate too.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::artillery::{Aggregate, Condition, Ensure, Report};

/// One gate of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    pub name: String,
    /// The operator and the limit, such as `<= 100`.
    pub limit: String,
    /// `None` if it never occurred or is not known, which never passes.
    pub value: Option<f64>,
    pub pass: bool,
}

/// How a value is compared with its limit.
fn comparison(operator: &str) -> Option<fn(&f64, &f64) -> bool> {
    Some(match operator {
        "<" => f64::lt,
        "<=" => f64::le,
        ">" => f64::gt,
        ">=" => f64::ge,
        "==" => f64::eq,
        _ => return None,
    })
}

impl Gate {
    /// A gate on a value.
    pub fn new(name: &str, operator: &str, limit: f64, value: impl Into<Option<f64>>) -> Self {
        let value = value.into();
        let compared = comparison(operator).zip(value);
        Self {
            name: name.to_owned(),
            limit: format!("{operator} {limit}"),
            value,
            pass: compared.is_some_and(|(holds, value)| holds(&value, &limit)),
        }
    }
}

/// Gates, each as `"name": value, <= limit;`. A name is a format, as of `format!`.
macro_rules! gates {
    ($($name:literal: $value:expr, $operator:tt $limit:expr;)*) => {
        vec![$($crate::gates::Gate::new(&format!($name), stringify!($operator), f64::from($limit), $value)),*]
    };
}
pub(crate) use gates;

/// The gate on Artillery's own verdict.
pub fn exit_gate(report: &Report) -> Gate {
    let code = report.exit_code.map(f64::from);
    Gate::new("Artillery's exit code", "==", 0.0, code)
}

/// All gates of `ensure` against the totals of an Artillery report.
pub fn evaluate(ensure: &Ensure, aggregate: &Aggregate) -> Result<Vec<Gate>> {
    let mut gates = Vec::new();
    for (metric, limit) in ensure.thresholds.iter().flatten() {
        gates.push(Gate::new(metric, "<", *limit, aggregate.value(metric)));
    }
    for Condition { expression } in &ensure.conditions {
        let (metric, operator, limit) = parse(expression).with_context(|| {
            format!("artillery.yml: a gate must read \"metric operator number\", but one is \"{expression}\"")
        })?;
        gates.push(Gate::new(metric, operator, limit, aggregate.value(metric)));
    }
    if let Some(limit) = ensure.max_error_rate {
        gates.extend(gates! { "maxErrorRate": aggregate.error_rate(), <= limit; });
    }
    Ok(gates)
}

fn parse(expression: &str) -> Option<(&str, &str, f64)> {
    // The metric itself may have spaces: `routes.GET /products.codes.200 > 0`.
    let (rest, limit) = expression.rsplit_once(' ')?;
    let (metric, operator) = rest.rsplit_once(' ')?;
    comparison(operator)?;
    Some((metric, operator, limit.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn of<T: DeserializeOwned>(json: Value) -> T {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_gate_on_a_metric_that_never_occurred_fails() {
        let ensure = of(json!({
            "maxErrorRate": 0, "thresholds": [{"never.p99": 100}], "conditions": [{"expression": "never == 0"}]
        }));
        let gates = evaluate(&ensure, &Aggregate::default()).unwrap();
        let told: Vec<_> = gates.iter().map(|gate| (gate.value, gate.pass)).collect();
        assert_eq!(told, [(None, false); 3]);
    }

    #[test]
    fn counters_rates_and_figures_of_histograms_are_found_by_name() {
        let aggregate = of(json!({
            "counters": {"routes.GET /a.codes.200": 3}, "rates": {"http.request_rate": 7},
            "summaries": {"http.response_time.2xx.GET /a": {"p99": 12.5, "max": 20}}
        }));
        let ensure = of(json!({
            "thresholds": [{"http.response_time.2xx.GET /a.p99": 12.5}, {"http.response_time.2xx.GET /a.max": 20.1}],
            "conditions": [{"expression": "routes.GET /a.codes.200 > 0"}, {"expression": "http.request_rate <= 6.5"}]
        }));
        let gates = evaluate(&ensure, &aggregate).unwrap();
        let told = gates
            .iter()
            .map(|gate| (gate.limit.as_str(), gate.value, gate.pass));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ("< 12.5", Some(12.5), false),
                ("< 20.1", Some(20.0), true),
                ("> 0", Some(3.0), true),
                ("<= 6.5", Some(7.0), false),
            ]
        );
    }

    #[test]
    fn users_who_were_created_and_never_completed_are_errors_all_of_them() {
        let ensure = of(json!({"maxErrorRate": 0}));
        let aggregate = of(json!({"counters": {"vusers.created": 7}}));
        let [gate] = evaluate(&ensure, &aggregate).unwrap().try_into().unwrap();
        assert_eq!((gate.value, gate.pass), (Some(100.0), false));
    }

    #[test]
    fn a_gate_that_cannot_be_read_is_refused_and_not_skipped() {
        for expression in ["orders.unfinished = 0", "orders.unfinished == none", "== 0"] {
            let ensure = of(json!({"conditions": [{"expression": expression}]}));
            let refused = evaluate(&ensure, &Aggregate::default())
                .unwrap_err()
                .to_string();
            assert!(refused.contains("a gate must read"), "{refused}");
        }
    }
}
