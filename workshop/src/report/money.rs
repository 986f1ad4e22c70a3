//! What calls, units and time cost, by list price.

use std::collections::BTreeMap;

use local::events::{Call, Caller, OperationCounts};
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
        let memory = functions
            .iter()
            .filter_map(|(id, it)| Some(((*id).clone(), it["MemorySize"].as_f64()?)));
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

/// What each function used, and what that costs. `behind_queue` says which of them a trigger runs.
pub fn by_function(
    functions: &[Function],
    calls: Option<&BTreeMap<String, Caller>>,
    money: Option<&Money>,
    behind_queue: impl Fn(&str) -> bool,
    origin: &str,
) -> [Table; 2] {
    let (mut used, mut prices) = (Vec::new(), Vec::new());
    for it in functions.iter().filter(|it| it.invocations > 0) {
        let runs = it.invocations as f64;
        let operations = calls.map(|calls| {
            let caller = calls.get(&it.name).into_iter();
            caller
                .flat_map(|caller| &caller.operations)
                .collect::<Vec<_>>()
        });
        let each = |value: fn(&OperationCounts) -> f64| {
            let operations = operations.as_ref()?;
            let all = operations.iter().map(|(_, counts)| value(counts));
            Some(all.sum::<f64>() / runs)
        };
        let (reads, writes) = (each(|it| it.read_units), each(|it| it.write_units));
        let gb_seconds = it.gb_seconds / runs * MILLION;
        used.push(cells![
            it.name.as_str(),
            it.invocations,
            known(each(|it| it.calls as f64)),
            known(reads),
            known(writes),
            known(each(|it| it.request_bytes as f64)),
            known(each(|it| it.response_bytes as f64)),
            known(Some(gb_seconds)),
        ]);
        let Some(money) = money else { continue };
        let behind = behind_queue(&it.name);
        let sqs = operations.as_ref().map(|operations| {
            let sqs = operations
                .iter()
                .filter(|(name, _)| name.starts_with("SQS."));
            let own = sqs.map(|(_, counts)| counts.calls as f64).sum::<f64>() / runs;
            own + if behind { CALLS_A_BATCH } else { 0.0 }
        });
        let usd = |name: &str| money.usd(name);
        let compute = money.prices.gb_second(&money.architecture).ok();
        let dynamodb = reads.zip(writes).and_then(|(reads, writes)| {
            let reads = reads * usd("dynamodb_read_unit")?;
            Some(MILLION * (reads + writes * usd("dynamodb_write_unit")?))
        });
        let logs = it
            .log_bytes
            .and_then(|bytes| Some(MILLION * bytes as f64 / runs / 1e9 * usd("log_gb")?));
        let parts = [
            if behind { Some(0.0) } else { money.api() },
            usd("lambda_request").map(|usd| usd * MILLION),
            compute.map(|usd| usd * gb_seconds),
            dynamodb,
            sqs.and_then(|calls| Some(MILLION * calls * usd("sqs_request")?)),
            logs,
        ];
        let all: Option<f64> = parts.iter().copied().sum();
        let mut row = cells![it.name.as_str()];
        row.extend(parts.iter().chain([&all]).map(|part| known(*part)));
        prices.push(row);
    }
    let columns = [
        ("function", ""),
        ("runs", ""),
        ("calls", "a run"),
        ("read units", "a run"),
        ("write units", "a run"),
        ("sent", "bytes a run"),
        ("received", "bytes a run"),
        ("compute", "GB-s a million"),
    ];
    let title = "Calls, units and bytes, by function";
    let used = Table::new(title, origin, &columns).with(used);
    let columns = [
        ("function", ""),
        ("HTTP API", "$"),
        ("runs", "$"),
        ("compute", "$"),
        ("DynamoDB", "$"),
        ("SQS", "$"),
        ("logs", "$"),
        ("all", "$"),
    ];
    let title = "Money for a million runs, by function";
    [used, Table::new(title, origin, &columns).with(prices)]
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
            let functions = std::slice::from_ref(&function);
            let tables = by_function(functions, calls, Some(&money), |_| behind, "");
            tables.map(|table| table.rows[0][1..].to_vec())
        };
        let [used, prices] = of(false, Some(&calls));
        let numbers = |row: &[Value]| -> Vec<_> { row.iter().map(Value::as_f64).collect() };
        let some = |all: &[f64]| -> Vec<_> { all.iter().copied().map(Some).collect() };
        assert_eq!(
            numbers(&used),
            some(&[10.0, 2.0, 0.5, 0.0, 200.0, 400.0, 5000.0])
        );
        assert_eq!(
            numbers(&prices),
            some(&[1.0, 0.2, 0.067, 0.063, 0.4, 0.25, 1.979])
        );
        // The trigger's calls, and no API.
        let [_, prices] = of(true, Some(&calls)).map(|row| numbers(&row));
        assert_eq!((prices[0], prices[4]), (Some(0.0), Some(1.2)));
        // Calls that nobody counted have no price, nor has the whole.
        let [used, prices] = of(false, None).map(|row| numbers(&row));
        assert_eq!((used[1], prices[3], prices[6]), (None, None, None));
    }

    #[test]
    fn a_processor_without_a_price_has_no_money() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let prices = Prices::read(&root).unwrap();
        assert!(Money::new(prices, "z80", BTreeMap::new()).is_none());
    }
}
