//! What calls, units and time cost, by list price.

use std::collections::BTreeMap;

use local::events::{Call, Caller};
use serde_json::Value;

use super::model::{Table, cells, known};
use crate::functions::Function;
use crate::prices::Prices;

/// A million, since one request costs too little to read.
const MILLION: f64 = 1e6;

/// SQS calls that a trigger makes for a batch: one receives it, one deletes it.
const CALLS_A_BATCH: f64 = 2.0;

/// The prices of a run, and what they depend on.
#[derive(Debug, Clone)]
pub struct Money {
    prices: Prices,
    /// `arm64` or `x86_64`.
    pub architecture: String,
    /// MB of each function, where it is known.
    memory: BTreeMap<String, f64>,
}

impl Money {
    /// The prices for functions on this processor, with so many MB each. None for a processor without a price.
    pub fn new(prices: Prices, architecture: &str, memory: BTreeMap<String, f64>) -> Option<Self> {
        prices.gb_second(architecture).ok()?;
        Some(Self {
            prices,
            architecture: architecture.to_owned(),
            memory,
        })
    }

    /// Of a template whose parameters and conditions are resolved.
    pub fn of_template(prices: Prices, template: &Value) -> Option<Self> {
        let resources = template["Resources"].as_object()?.iter();
        let functions = resources.filter(|(_, it)| it["Properties"]["MemorySize"].is_number());
        let functions: Vec<_> = functions.map(|(id, it)| (id, &it["Properties"])).collect();
        let memory = functions.iter().filter_map(|(id, it)| {
            Some(((*id).clone(), it["MemorySize"].as_f64()?))
        });
        let (_, first) = functions.first()?;
        let architecture = first["Architectures"][0].as_str().unwrap_or("x86_64"); // Lambda's default
        Self::new(prices, architecture, memory.collect())
    }

    fn usd(&self, name: &str) -> Option<f64> {
        self.prices.usd(name).ok()
    }

    /// Where and of when the prices are.
    pub fn describe(&self) -> String {
        let Prices { region, as_of, .. } = &self.prices;
        format!("list price for {}, {region}, {as_of}", self.architecture)
    }

    /// USD of a million such runs of a function: the request, and the milliseconds that are billed.
    pub fn run(&self, function: &str, billed_ms: f64) -> Option<f64> {
        Some(MILLION * self.usd("lambda_request")? + self.time(function, billed_ms)?)
    }

    /// USD of a million times so many milliseconds.
    pub fn time(&self, function: &str, billed_ms: f64) -> Option<f64> {
        let gb = self.memory.get(function)? / 1024.0;
        let price = self.prices.gb_second(&self.architecture).ok()?;
        Some(MILLION * billed_ms / 1000.0 * gb * price)
    }

    /// USD of a million such calls.
    pub fn call(&self, call: &Call) -> Option<f64> {
        let units = call.read_units * self.usd("dynamodb_read_unit")?
            + call.write_units * self.usd("dynamodb_write_unit")?;
        let sqs = call.operation.starts_with("SQS.");
        let request = if sqs { self.usd("sqs_request")? } else { 0.0 };
        Some(MILLION * (units + request))
    }

    /// USD of a million requests to the API, without the function behind it.
    pub fn api(&self) -> Option<f64> {
        Some(MILLION * self.usd("http_api_request")?)
    }
}

/// Calls, units, bytes and money of each function. `behind_queue` says which of them a trigger runs.
pub fn by_function(
    functions: &[Function],
    calls: Option<&BTreeMap<String, Caller>>,
    money: Option<&Money>,
    behind_queue: impl Fn(&str) -> bool,
    origin: &str,
) -> Table {
    let columns = [
        ("function", ""),
        ("runs", ""),
        ("calls a run", ""),
        ("read units", "a run"),
        ("write units", "a run"),
        ("sent", "bytes a run"),
        ("received", "bytes a run"),
        ("compute", "GB-s a million"),
        ("front", "$ a million"),
        ("runs", "$ a million"),
        ("compute", "$ a million"),
        ("DynamoDB", "$ a million"),
        ("SQS", "$ a million"),
        ("logs", "$ a million"),
        ("all", "$ a million"),
    ];
    let rows = functions.iter().filter(|it| it.invocations > 0);
    let rows = rows.map(|it| {
        let runs = it.invocations as f64;
        let operations = calls.map(|calls| {
            let caller = calls.get(&it.name).into_iter();
            caller.flat_map(|caller| &caller.operations).collect::<Vec<_>>()
        });
        let each = |value: fn(&local::events::OperationCounts) -> f64| {
            let operations = operations.as_ref()?;
            let all = operations.iter().map(|(_, counts)| value(counts));
            Some(all.sum::<f64>() / runs)
        };
        let sqs = operations.as_ref().map(|operations| {
            let sqs = operations.iter().filter(|(name, _)| name.starts_with("SQS."));
            sqs.map(|(_, counts)| counts.calls as f64).sum::<f64>() / runs
        });
        let behind = behind_queue(&it.name);
        let sqs = sqs.map(|sqs| sqs + if behind { CALLS_A_BATCH } else { 0.0 });
        let (reads, writes) = (each(|it| it.read_units), each(|it| it.write_units));
        let gb_seconds = it.gb_seconds / runs * MILLION;
        let usd = |name: &str| money?.usd(name);
        let front = if behind { Some(0.0) } else { money.and_then(Money::api) };
        let requests = usd("lambda_request").map(|usd| usd * MILLION);
        let compute = money.and_then(|it| it.prices.gb_second(&it.architecture).ok());
        let compute = compute.map(|usd| usd * gb_seconds);
        let dynamodb = reads.zip(writes).and_then(|(reads, writes)| {
            let reads = reads * usd("dynamodb_read_unit")?;
            Some(MILLION * (reads + writes * usd("dynamodb_write_unit")?))
        });
        let sqs = sqs.and_then(|calls| Some(MILLION * calls * usd("sqs_request")?));
        let logs = it.log_bytes.and_then(|bytes| {
            Some(MILLION * bytes as f64 / runs / 1e9 * usd("log_gb")?)
        });
        let parts = [front, requests, compute, dynamodb, sqs, logs];
        let all: Option<f64> = parts.iter().copied().sum();
        cells![
            it.name.as_str(),
            it.invocations,
            known(each(|it| it.calls as f64)),
            known(reads),
            known(writes),
            known(each(|it| it.request_bytes as f64)),
            known(each(|it| it.response_bytes as f64)),
            known(Some(gb_seconds)),
            known(front),
            known(requests),
            known(compute),
            known(dynamodb),
            known(sqs),
            known(logs),
            known(all),
        ]
    });
    let title = "Calls, units, bytes and money, by function";
    Table::new(title, origin, &columns).with(rows)
}

#[cfg(test)]
pub mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    /// The project's prices, for a function of 512 MB.
    pub fn money() -> Money {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let function = json!({"Properties": {"MemorySize": 512, "Architectures": ["arm64"]}});
        let template = json!({"Resources": {"F": function, "Table": {"Properties": {}}}});
        Money::of_template(Prices::read(&root).unwrap(), &template).unwrap()
    }

    #[test]
    fn a_function_has_the_price_of_its_time_and_units_and_calls() {
        let counts = json!({"F": {"operations": {
            "DynamoDB.GetItem": {"calls": 10, "read_units": 5, "response_bytes": 4000},
            "SQS.SendMessage": {"calls": 10, "request_bytes": 2000}
        }}});
        let calls: BTreeMap<String, Caller> = serde_json::from_value(counts).unwrap();
        let function = Function {
            invocations: 10,
            gb_seconds: 0.05,
            log_bytes: Some(5000),
            ..Function::summarise("F", &[], &[])
        };
        let of = |behind: bool, calls| {
            let money = money();
            let table = by_function(
                std::slice::from_ref(&function),
                calls,
                Some(&money),
                |_| behind,
                "",
            );
            let [row] = &table.rows[..] else { panic!("one row") };
            row[2..].to_vec()
        };
        let row = of(false, Some(&calls));
        let expected = [
            2.0, 0.5, 0.0, 200.0, 400.0, 5000.0, 1.0, 0.2, 0.067, 0.063, 0.4, 0.25, 1.979,
        ];
        assert_eq!(row, expected.map(Value::from));
        // The trigger's calls, and no API.
        let row = of(true, Some(&calls));
        assert_eq!((row[6].as_f64(), row[10].as_f64()), (Some(0.0), Some(1.2)));
        // Calls that nobody counted have no price.
        let row = of(false, None);
        assert_eq!(row[0], Value::Null);
        assert_eq!((row[9].clone(), row[12].clone()), (Value::Null, Value::Null));
    }

    #[test]
    fn a_processor_without_a_price_has_no_money() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let prices = Prices::read(&root).unwrap();
        assert!(Money::new(prices, "z80", BTreeMap::new()).is_none());
    }
}
