//! The numbers that a lesson is about, from the host's log of events alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use local::events::{Call, Ended, Entry, Event, Handshake, Invocation, Messages, Move, Outcome};
use serde::Deserialize;
use serde_json::Value;

use crate::percentile::{ms, percentile, worst};
use crate::prices::{self, MONTH_HOURS};

/// Memory with which a function gets a whole CPU
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
const CPU_MB: f64 = 1769.0;

/// A number: what is counted or timed, of which calls, and for each of what.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Measure {
    pub measure: What,
    /// For counts only; `request` unless set.
    pub per: Option<Per>,
    /// Only calls of this operation, such as `DynamoDB.GetItem`.
    pub operation: Option<String>,
    /// Only calls and invocations of this function, by its logical id.
    pub function: Option<String>,
    /// Only invocations of this route, such as `GET /products/{id}`, and calls in them.
    pub route: Option<String>,
    /// Only what happened in this part of a round; all of it unless set.
    pub part: Option<String>,
    /// Divided by the same number of this part.
    pub over: Option<String>,
}

/// Everything that a check can measure. `labs/CONTRIBUTING.md` has a sentence for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    // Counts.
    Calls,
    Refused,
    Connections,
    LateConnections,
    Handshakes,
    RequestBytes,
    ResponseBytes,
    ReadUnits,
    WriteUnits,
    Invocations,
    Failures,
    Throttles,
    ColdStarts,
    Environments,
    Faults,
    LogBytes,
    Sent,
    Delivered,
    DeliveredAgain,
    Returned,
    Deleted,
    Dead,
    // Of each invocation: the median.
    RoundTrips,
    InitCpuMs,
    ColdCpuMs,
    WarmCpuMs,
    ShareMs,
    ColdMs,
    WarmMs,
    // Of the environment that had most.
    MemoryMb,
    // Of each request, as its client sees it.
    WrongAnswers,
    EndToEndMs,
    WaitMs,
    WorstWaitMs,
    // Of each function, before any request.
    ConfiguredMb,
    BinaryMb,
    // Of a million requests.
    GbSeconds,
    Usd,
    // Of a month.
    UsdMonth,
}

/// What a count is divided by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    #[default]
    Request,
    Item,
    Invocation,
    Environment,
    Message,
    Round,
}

/// What happened in one round, as far as it counts, in each of its parts.
#[derive(Debug, Default)]
pub struct Round(pub Vec<Part>);

/// What happened in a part of a round.
#[derive(Debug, Default)]
pub struct Part {
    /// None before the first step that begins a part.
    pub name: Option<String>,
    pub requests: u64,
    /// Items that were answered.
    pub items: u64,
    /// Requests that may fail, and did.
    pub wrong: u64,
    /// Ms that each request's client waited.
    pub waits: Vec<f64>,
    /// Ms from the beginning of a send to the right answer of the poll after it.
    pub ends: Vec<f64>,
    pub events: Vec<Entry>,
    /// By which each function's log has grown.
    pub log_bytes: BTreeMap<String, u64>,
}

impl Round {
    /// The part that events are counted in now: the last one, or one without a name before the first.
    pub fn now(&mut self) -> &mut Part {
        if self.0.is_empty() {
            self.0.push(Part::default());
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// All events of the round.
    pub fn events(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().flat_map(|part| &part.events)
    }
}

/// What the price of a function's time depends on.
#[derive(Debug, Clone)]
pub struct Function {
    pub memory_mb: f64,
    /// Of its program; none if that is not there.
    pub binary_mb: Option<f64>,
    /// USD of a GB-second on its processor.
    pub gb_second: f64,
    /// Environments of provisioned concurrency.
    pub provisioned: u64,
    /// USD of keeping a GB ready for a second.
    pub provisioned_gb_second: f64,
}

impl Function {
    /// The part of a CPU that a program with one thread gets.
    fn cpu_share(&self) -> f64 {
        (self.memory_mb / CPU_MB).min(1.0)
    }
}

/// The functions of a template by logical id, and AWS's prices of the rest in USD.
#[derive(Debug, Clone)]
pub struct Prices {
    pub functions: BTreeMap<String, Function>,
    api_request: f64,
    run: f64,
    read_unit: f64,
    write_unit: f64,
    sqs_call: f64,
}

impl Prices {
    /// From a resolved template, the folder with the code of its functions, and `deploy/prices.json`.
    pub fn read(root: &Path, template: &Value, code: &Path) -> Result<Self> {
        let prices = prices::Prices::read(root)?;
        let price = |name: &str| prices.usd(name);
        let mut functions = BTreeMap::new();
        for (id, resource) in template["Resources"].as_object().into_iter().flatten() {
            if resource["Type"] != "AWS::Serverless::Function" {
                continue;
            }
            let properties = &resource["Properties"];
            let processor = properties["Architectures"][0].as_str();
            let processor = processor.unwrap_or("x86_64"); // Lambda's default
            let kept = &properties["ProvisionedConcurrencyConfig"];
            let kept = &kept["ProvisionedConcurrentExecutions"];
            let function = Function {
                memory_mb: number(&properties["MemorySize"]).unwrap_or(128) as f64, // Lambda's default
                binary_mb: binary_mb(&properties["CodeUri"], code),
                gb_second: price(&format!("gb_second_{processor}"))?,
                provisioned: number(kept).unwrap_or(0),
                provisioned_gb_second: price(&format!("provisioned_gb_second_{processor}"))?,
            };
            functions.insert(id.clone(), function);
        }
        Ok(Self {
            functions,
            api_request: price("http_api_request")?,
            run: price("lambda_request")?,
            read_unit: price("dynamodb_read_unit")?,
            write_unit: price("dynamodb_write_unit")?,
            sqs_call: price("sqs_request")?,
        })
    }
}

/// The size of the program that stands in for that of a `CodeUri`.
fn binary_mb(code_uri: &Value, code: &Path) -> Option<f64> {
    let folder = Path::new(code_uri.as_str()?).file_name()?;
    let program = fs::metadata(code.join(folder).join("bootstrap")).ok()?;
    Some(program.len() as f64 / 1e6)
}

/// A number of a template, which may stand in quotes.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The counted events of some rounds, sorted.
struct Counted<'a> {
    requests: f64,
    items: f64,
    wrong: f64,
    waits: Vec<f64>,
    ends: Vec<f64>,
    invocations: Vec<&'a Invocation>,
    calls: Vec<(u64, &'a Call)>,
    handshakes: Vec<Handshake>,
    messages: Vec<&'a Messages>,
    faults: f64,
    /// Environments of provisioned concurrency: nobody waited for their init phase.
    kept_ready: BTreeSet<&'a str>,
    log_bytes: f64,
}

impl<'a> Counted<'a> {
    fn of(rounds: &[&'a Round], measure: &Measure, part: Option<&str>, prices: &Prices) -> Self {
        let parts = rounds.iter().flat_map(|round| &round.0);
        let parts: Vec<_> = parts
            .filter(|it| part.is_none() || it.name.as_deref() == part)
            .collect();
        let sum = |of: fn(&Part) -> u64| parts.iter().map(|it| of(it) as f64).sum();
        let mut counted = Self {
            requests: sum(|it| it.requests),
            items: sum(|it| it.items),
            wrong: sum(|it| it.wrong),
            waits: parts.iter().flat_map(|it| it.waits.clone()).collect(),
            ends: parts.iter().flat_map(|it| it.ends.clone()).collect(),
            invocations: Vec::new(),
            calls: Vec::new(),
            handshakes: Vec::new(),
            messages: Vec::new(),
            faults: 0.0,
            kept_ready: BTreeSet::new(),
            log_bytes: 0.0,
        };
        let wanted = |name: &str| match &measure.function {
            Some(function) => function == name,
            None => prices.functions.contains_key(name),
        };
        let is_wanted = |call: &Call| {
            let operation = measure.operation.as_ref();
            wanted(&call.function) && operation.is_none_or(|it| *it == call.operation)
        };
        for entry in rounds.iter().flat_map(|it| it.events()) {
            if let Event::Environment(it) = &entry.event
                && it.provisioned
            {
                counted.kept_ready.insert(&it.environment);
            }
        }
        for entry in parts.iter().flat_map(|it| &it.events) {
            match &entry.event {
                Event::Invocation(it) if wanted(&it.function) => counted.invocations.push(it),
                Event::Call(call) if is_wanted(call) => counted.calls.push((entry.at_us, call)),
                Event::Connection {
                    function,
                    handshake,
                } if wanted(function) => counted.handshakes.push(*handshake),
                Event::Messages(messages) => counted.messages.push(messages),
                Event::Fault { .. } => counted.faults += 1.0,
                _ => {}
            }
        }
        if let Some(route) = &measure.route {
            counted.keep_route(route);
        }
        let logs = parts.iter().flat_map(|it| &it.log_bytes);
        let logs = logs.filter(|(function, _)| wanted(function));
        counted.log_bytes = logs.map(|(_, bytes)| *bytes as f64).sum();
        counted
    }

    /// Leaves out invocations of other routes, and calls that are not in one of those that are left.
    fn keep_route(&mut self, route: &str) {
        self.invocations.retain(|it| it.source == route);
        let ids: BTreeSet<_> = self.invocations.iter().map(|it| &it.request_id).collect();
        self.calls
            .retain(|(_, call)| call.request_id.as_ref().is_some_and(|id| ids.contains(id)));
    }

    fn sum(&self, of: impl Fn(&Call) -> f64) -> f64 {
        self.calls.iter().map(|(_, call)| of(call)).sum()
    }

    fn moved(&self, change: Move) -> f64 {
        let of = self.messages.iter().filter(|it| it.change == change);
        of.map(|it| it.ids.len() as f64).sum()
    }

    fn ended(&self, ended: impl Fn(Ended) -> bool) -> f64 {
        let of = self.invocations.iter().filter(|it| ended(it.outcome));
        of.count() as f64
    }

    fn environments(&self) -> f64 {
        let names = self.invocations.iter().map(|it| &it.environment);
        names.flatten().collect::<BTreeSet<_>>().len() as f64
    }

    fn delivered_again(&self) -> f64 {
        let of = self
            .messages
            .iter()
            .filter(|it| it.change == Move::Delivered);
        let ids: Vec<_> = of.flat_map(|it| &it.ids).collect();
        (ids.len() - ids.iter().collect::<BTreeSet<_>>().len()) as f64
    }

    /// The most calls of an invocation of which each began after the one before was answered.
    fn round_trips(&self, request_id: &str) -> f64 {
        let own = self
            .calls
            .iter()
            .filter(|(_, call)| call.request_id.as_deref() == Some(request_id));
        let mut spans: Vec<(u64, u64)> = own
            .map(|(end, call)| {
                let took = (call.duration + call.held).as_micros();
                (
                    *end,
                    end.saturating_sub(u64::try_from(took).unwrap_or(u64::MAX)),
                )
            })
            .collect();
        spans.sort_unstable();
        let (mut trips, mut free) = (0.0, 0);
        for (end, begin) in spans {
            if trips == 0.0 || begin >= free {
                (trips, free) = (trips + 1.0, end);
            }
        }
        trips
    }

    /// Whether its client waited for a cold start.
    fn is_cold(&self, run: &Invocation) -> bool {
        let environment = run.environment.as_deref();
        run.cold && environment.is_none_or(|it| !self.kept_ready.contains(it))
    }

    /// USD of a month of provisioned concurrency, used or not.
    fn usd_month(&self, prices: &Prices) -> f64 {
        let functions = prices.functions.values();
        let usd = functions.map(|it| {
            let gb = it.provisioned as f64 * it.memory_mb / 1024.0;
            gb * it.provisioned_gb_second * MONTH_HOURS * 3600.0
        });
        usd.sum()
    }

    /// One value of each invocation that is cold or warm.
    fn each(&self, cold: bool, of: impl Fn(&Invocation) -> Option<f64>) -> Vec<f64> {
        let kind = self
            .invocations
            .iter()
            .filter(|it| self.is_cold(it) == cold);
        kind.filter_map(|it| of(it)).collect()
    }

    /// GB-seconds of all invocations, and their price: as many as there are, each as long as the warm ones of its
    /// function are on average. Lambda bills whole milliseconds.
    fn compute(&self, prices: &Prices) -> (f64, f64) {
        let (mut gb_seconds, mut usd) = (0.0, 0.0);
        for (name, function) in &prices.functions {
            let own = self.invocations.iter().filter(|it| it.function == *name);
            let own: Vec<_> = own.collect();
            let warm = own.iter().filter(|it| !self.is_cold(it));
            let mut warm: Vec<f64> = warm.map(|it| ms(it.duration).ceil()).collect();
            if warm.is_empty() {
                warm = own.iter().map(|it| ms(it.duration).ceil()).collect();
            }
            let mean = warm.iter().sum::<f64>() / warm.len().max(1) as f64;
            let used = own.len() as f64 * mean / 1e3 * function.memory_mb / 1024.0;
            gb_seconds += used;
            usd += used * function.gb_second;
        }
        (gb_seconds, usd)
    }

    fn usd(&self, prices: &Prices) -> f64 {
        let sqs = self
            .calls
            .iter()
            .filter(|(_, call)| call.operation.starts_with("SQS."));
        self.compute(prices).1
            + self.requests * prices.api_request
            + self.invocations.len() as f64 * prices.run
            + self.sum(|call| call.read_units) * prices.read_unit
            + self.sum(|call| call.write_units) * prices.write_unit
            + sqs.count() as f64 * prices.sqs_call
    }
}

impl Measure {
    /// A measure without any filter.
    pub fn plain(measure: What) -> Self {
        Self {
            measure,
            per: None,
            operation: None,
            function: None,
            route: None,
            part: None,
            over: None,
        }
    }

    /// The number over these rounds; none if there was nothing to measure, such as no cold start.
    pub fn of(&self, rounds: &[&Round], prices: &Prices) -> Option<f64> {
        let own = self.number(rounds, self.part.as_deref(), prices)?;
        let Some(over) = &self.over else {
            return Some(own);
        };
        let other = self.number(rounds, Some(over), prices)?;
        (other > 0.0).then(|| own / other)
    }

    /// The largest of the functions that are measured.
    fn largest(&self, prices: &Prices, of: impl Fn(&Function) -> Option<f64>) -> Option<f64> {
        let wanted = |name: &String| self.function.as_ref().is_none_or(|it| it == name);
        let functions = prices.functions.iter().filter(|(name, _)| wanted(name));
        functions.filter_map(|(_, it)| of(it)).reduce(f64::max)
    }

    fn number(&self, rounds: &[&Round], part: Option<&str>, prices: &Prices) -> Option<f64> {
        let it = Counted::of(rounds, self, part, prices);
        let median = |values: &[f64]| percentile(values, 50.0);
        let a_million = |value: f64| (it.requests > 0.0).then(|| value / it.requests * 1e6);
        let full = |handshake: &&Handshake| **handshake == Handshake::Full;
        let count = match self.measure {
            What::Calls => it.calls.len() as f64,
            What::Refused => it.sum(|call| match call.outcome {
                Outcome::Success | Outcome::ConditionalFailure => 0.0,
                Outcome::Throttle | Outcome::Error | Outcome::NoAnswer => 1.0,
            }),
            What::Connections => it.handshakes.len() as f64,
            What::LateConnections => it.sum(|call| {
                u8::from(call.connection.is_some() && call.request_id.is_some()).into()
            }),
            What::Handshakes => it.handshakes.iter().filter(full).count() as f64,
            What::RequestBytes => it.sum(|call| call.request_bytes as f64),
            What::ResponseBytes => it.sum(|call| call.response_bytes as f64),
            What::ReadUnits => it.sum(|call| call.read_units),
            What::WriteUnits => it.sum(|call| call.write_units),
            What::Invocations => it.invocations.len() as f64,
            What::Failures => it.ended(|how| matches!(how, Ended::Error | Ended::Timeout)),
            What::Throttles => it.ended(|how| how == Ended::Throttled),
            What::ColdStarts => it.each(true, |_| Some(1.0)).len() as f64,
            What::Environments => it.environments(),
            What::Faults => it.faults,
            What::LogBytes => it.log_bytes,
            What::Sent => it.moved(Move::Sent),
            What::Delivered => it.moved(Move::Delivered),
            What::DeliveredAgain => it.delivered_again(),
            What::Returned => it.moved(Move::Returned),
            What::Deleted => it.moved(Move::Deleted),
            What::Dead => it.moved(Move::Dead),
            What::RoundTrips => {
                let trips = it.invocations.iter().map(|run| &run.request_id);
                let trips: Vec<_> = trips.map(|id| it.round_trips(id)).collect();
                return median(&trips);
            }
            What::InitCpuMs => {
                return median(&it.each(true, |run| run.init.map(|init| ms(init.cpu))));
            }
            What::ColdCpuMs => {
                let cpu = |run: &Invocation| run.init.zip(run.cpu);
                return median(&it.each(true, |run| {
                    cpu(run).map(|(init, cpu)| ms(init.cpu) + ms(cpu))
                }));
            }
            What::WarmCpuMs => return median(&it.each(false, |run| run.cpu.map(ms))),
            What::ShareMs => {
                let share =
                    |run: &Invocation| Some(prices.functions.get(&run.function)?.cpu_share());
                return median(&it.each(false, |run| Some(ms(run.cpu?) / share(run)?)));
            }
            What::ConfiguredMb => return self.largest(prices, |it| Some(it.memory_mb)),
            What::BinaryMb => return self.largest(prices, |it| it.binary_mb),
            What::ColdMs => return median(&it.each(true, |run| Some(ms(run.own())))),
            What::WarmMs => return median(&it.each(false, |run| Some(ms(run.duration)))),
            What::MemoryMb => {
                let known = it.invocations.iter().map(|run| run.peak_memory);
                let most = known.filter(|bytes| *bytes > 0).max();
                return most.map(|bytes| bytes as f64 / 1e6);
            }
            What::WrongAnswers => it.wrong,
            What::EndToEndMs => return median(&it.ends),
            What::WaitMs => return median(&it.waits),
            What::WorstWaitMs => return worst(&it.waits),
            What::GbSeconds => return a_million(it.compute(prices).0),
            What::Usd => return a_million(it.usd(prices)),
            What::UsdMonth => return Some(it.usd_month(prices)),
        };
        let by = match self.per.unwrap_or_default() {
            Per::Request => it.requests,
            Per::Item => it.items,
            Per::Invocation => it.invocations.len() as f64,
            Per::Environment => it.environments(),
            Per::Message => it.moved(Move::Sent),
            Per::Round => rounds.len() as f64,
        };
        // An empty sum is -0.
        (by > 0.0).then(|| (count + 0.0) / by)
    }
}

/// In words, such as `DynamoDB.GetItem calls a request`.
impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(function) = &self.function {
            write!(f, "{function}: ")?;
        }
        if let Some(route) = &self.route {
            write!(f, "{route}: ")?;
        }
        if let Some(operation) = &self.operation {
            write!(f, "{operation} ")?;
        }
        let (name, counts) = match self.measure {
            What::Calls => ("calls", true),
            What::Refused => ("refused calls", true),
            What::Connections => ("new connections", true),
            What::LateConnections => ("connections opened after the init phase", true),
            What::Handshakes => ("full TLS handshakes", true),
            What::RequestBytes => ("request bytes", true),
            What::ResponseBytes => ("response bytes", true),
            What::ReadUnits => ("read units", true),
            What::WriteUnits => ("write units", true),
            What::Invocations => ("invocations", true),
            What::Failures => ("failed invocations", true),
            What::Throttles => ("throttled invocations", true),
            What::ColdStarts => ("cold starts", true),
            What::Environments => ("environments", true),
            What::Faults => ("faults", true),
            What::LogBytes => ("bytes of logs", true),
            What::Sent => ("messages sent", true),
            What::Delivered => ("messages delivered", true),
            What::DeliveredAgain => ("messages delivered again", true),
            What::Returned => ("messages returned", true),
            What::Deleted => ("messages done", true),
            What::Dead => ("dead messages", true),
            What::RoundTrips => ("round trips one after another", false),
            What::InitCpuMs => ("init CPU, ms", false),
            What::ColdCpuMs => ("cold start CPU, ms", false),
            What::WarmCpuMs => ("warm CPU, ms", false),
            What::ShareMs => ("warm CPU at its share of a CPU, ms", false),
            What::ConfiguredMb => ("configured memory, MB", false),
            What::BinaryMb => ("binary, MB", false),
            What::ColdMs => ("cold start, own ms", false),
            What::WarmMs => ("warm duration, ms", false),
            What::MemoryMb => ("memory, MB", false),
            What::WrongAnswers => ("wrong answers", true),
            What::EndToEndMs => ("end to end, ms", false),
            What::WaitMs => ("client's wait, ms", false),
            What::WorstWaitMs => ("client's worst wait, ms", false),
            What::GbSeconds => ("GB-seconds a million requests", false),
            What::Usd => ("$ a million requests", false),
            What::UsdMonth => ("$ a month of provisioned concurrency", false),
        };
        f.write_str(name)?;
        if counts {
            f.write_str(match self.per.unwrap_or_default() {
                Per::Request => " a request",
                Per::Item => " an item",
                Per::Invocation => " an invocation",
                Per::Environment => " an environment",
                Per::Message => " a message",
                Per::Round => " a round",
            })?;
        }
        if let Some(part) = &self.part {
            write!(f, ", {part}")?;
        }
        if let Some(over) = &self.over {
            write!(f, ", over {over}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use local::events::{Change, Environment};
    use serde_json::json;

    use super::*;

    fn prices() -> Prices {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let template = json!({"Resources": {
            "F": {"Type": "AWS::Serverless::Function", "Properties": {"MemorySize": 512}},
            "Table": {"Type": "AWS::DynamoDB::Table"},
        }});
        Prices::read(&root, &template, &root).unwrap()
    }

    fn entry(at_us: u64, event: Event) -> Entry {
        Entry { at_us, event }
    }

    fn call(of: &str, request_id: &str, begin: u64, end: u64) -> Entry {
        let call = Call {
            function: of.to_owned(),
            request_id: Some(request_id.to_owned()),
            operation: "DynamoDB.GetItem".to_owned(),
            // Half of it waited for the CPU.
            duration: Duration::from_micros((end - begin) / 2),
            held: Duration::from_micros((end - begin) / 2),
            read_units: 0.5,
            outcome: Outcome::Success,
            ..Call::default()
        };
        entry(end, Event::Call(Box::new(call)))
    }

    fn invocation(of: &str, request_id: &str, cold: bool, us: u64) -> Entry {
        let invocation = Invocation {
            function: of.to_owned(),
            environment: Some(format!("{of}-1")),
            request_id: request_id.to_owned(),
            cold,
            duration: Duration::from_micros(us),
            ..Invocation::default()
        };
        entry(0, Event::Invocation(Box::new(invocation)))
    }

    fn part(name: Option<&str>, events: Vec<Entry>) -> Part {
        Part {
            name: name.map(str::to_owned),
            requests: 2,
            items: 10,
            waits: vec![1.0, 9.0],
            events,
            ..Part::default()
        }
    }

    fn round(events: Vec<Entry>) -> Round {
        Round(vec![part(None, events)])
    }

    fn of(what: What, round: &Round) -> Option<f64> {
        Measure::plain(what).of(&[round], &prices())
    }

    #[test]
    fn calls_count_for_the_templates_functions_alone_and_are_divided() {
        let round = round(vec![
            call("F", "a", 0, 10),
            call("F", "a", 20, 30),
            call("workshop", "a", 0, 10),
            invocation("F", "a", true, 900),
        ]);
        assert_eq!(of(What::Calls, &round), Some(1.0));
        let calls = |per, operation: &str, function: Option<&str>| Measure {
            measure: What::Calls,
            per: Some(per),
            operation: Some(operation.to_owned()),
            function: function.map(str::to_owned),
            ..Measure::plain(What::Calls)
        };
        let get = "DynamoDB.GetItem";
        let number = |measure: Measure| measure.of(&[&round], &prices());
        assert_eq!(number(calls(Per::Item, get, None)), Some(0.2));
        assert_eq!(number(calls(Per::Environment, get, None)), Some(2.0));
        assert_eq!(number(calls(Per::Round, get, Some("workshop"))), Some(1.0));
        assert_eq!(number(calls(Per::Round, "DynamoDB.Query", None)), Some(0.0));
        assert_eq!(
            number(calls(Per::Message, get, None)),
            None,
            "none was sent"
        );
    }

    #[test]
    fn a_route_counts_its_own_invocations_and_their_calls() {
        let mut other = invocation("F", "b", false, 1);
        if let Event::Invocation(it) = &mut other.event {
            "GET /".clone_into(&mut it.source);
        }
        let calls = [call("F", "a", 0, 10), call("F", "b", 0, 10)];
        let mut events = vec![invocation("F", "a", false, 1), other];
        events.extend(calls);
        let round = round(events);
        for (what, expected) in [(What::Calls, 0.5), (What::Invocations, 0.5)] {
            let measure = Measure {
                route: Some("GET /".to_owned()),
                ..Measure::plain(what)
            };
            assert_eq!(measure.of(&[&round], &prices()), Some(expected));
        }
    }

    #[test]
    fn cpu_time_at_a_share_depends_on_the_memory_up_to_a_whole_cpu() {
        let mut prices = prices();
        let run = Invocation {
            function: "F".to_owned(),
            cpu: Some(Duration::from_millis(3)),
            ..Invocation::default()
        };
        let round = round(vec![entry(0, Event::Invocation(Box::new(run)))]);
        for (memory_mb, expected) in [(1769.0, 3.0), (884.5, 6.0), (3008.0, 3.0)] {
            if let Some(function) = prices.functions.get_mut("F") {
                function.memory_mb = memory_mb;
            }
            let of = |what| Measure::plain(what).of(&[&round], &prices);
            assert_eq!(of(What::ShareMs), Some(expected));
            assert_eq!(of(What::ConfiguredMb), Some(memory_mb));
        }
    }

    #[test]
    fn a_connection_is_late_unless_its_first_call_belongs_to_an_init_phase() {
        let opened = |request_id: Option<&str>, connection| {
            let call = Call {
                function: "F".to_owned(),
                request_id: request_id.map(str::to_owned),
                connection,
                ..Call::default()
            };
            entry(0, Event::Call(Box::new(call)))
        };
        let round = round(vec![
            opened(None, Some(Handshake::Full)),
            opened(Some("a"), None),
            opened(Some("a"), Some(Handshake::Full)),
            invocation("F", "a", true, 1),
        ]);
        let late = Measure {
            per: Some(Per::Environment),
            ..Measure::plain(What::LateConnections)
        };
        assert_eq!(late.of(&[&round], &prices()), Some(1.0));
    }

    #[test]
    fn round_trips_are_calls_of_which_each_begins_after_the_one_before() {
        for (spans, expected) in [
            (&[(0, 10), (10, 20), (20, 30)][..], 3.0),
            (&[(0, 10), (2, 12), (4, 14)], 1.0),
            (&[(0, 30), (2, 12), (14, 24)], 2.0),
            (&[], 0.0),
        ] {
            let mut events = vec![invocation("F", "a", false, 1), call("F", "other", 50, 60)];
            events.extend(
                spans
                    .iter()
                    .map(|(begin, end)| call("F", "a", *begin, *end)),
            );
            assert_eq!(
                of(What::RoundTrips, &round(events)),
                Some(expected),
                "{spans:?}"
            );
        }
    }

    #[test]
    fn a_message_that_is_delivered_twice_is_delivered_again_once() {
        let moved = |change, ids: &[&str]| {
            let messages = Messages {
                queue: "Q".to_owned(),
                change,
                ids: ids.iter().map(|it| (*it).to_owned()).collect(),
                request_id: None,
                waited: Vec::new(),
            };
            entry(0, Event::Messages(messages))
        };
        let round = round(vec![
            moved(Move::Sent, &["a", "b"]),
            moved(Move::Delivered, &["a", "b"]),
            moved(Move::Delivered, &["b"]),
        ]);
        let again = Measure {
            per: Some(Per::Message),
            ..Measure::plain(What::DeliveredAgain)
        };
        assert_eq!(again.of(&[&round], &prices()), Some(0.5));
        let none = of(What::Dead, &round).unwrap();
        assert!(none == 0.0 && none.is_sign_positive(), "no -0");
    }

    #[test]
    fn bytes_of_logs_are_those_of_the_functions() {
        let mut part = part(None, Vec::new());
        part.log_bytes = BTreeMap::from([("F".to_owned(), 300), ("other".to_owned(), 999)]);
        let round = Round(vec![part]);
        assert_eq!(of(What::LogBytes, &round), Some(150.0));
    }

    #[test]
    fn a_part_of_a_round_counts_by_itself_and_over_another() {
        let once = vec![call("F", "a", 0, 10)];
        let twice = vec![call("F", "b", 20, 30), call("F", "c", 40, 50)];
        let parts = vec![
            part(None, Vec::new()),
            part(Some("once"), once),
            part(Some("twice"), twice),
        ];
        let round = Round(parts);
        for (part, over, expected) in [
            (None, None, Some(0.5)),
            (Some("once"), None, Some(0.5)),
            (Some("twice"), None, Some(1.0)),
            (Some("twice"), Some("once"), Some(2.0)),
            (Some("thrice"), None, None),
            (Some("twice"), Some("thrice"), None),
        ] {
            let measure = Measure {
                part: part.map(str::to_owned),
                over: over.map(str::to_owned),
                ..Measure::plain(What::Calls)
            };
            assert_eq!(measure.of(&[&round], &prices()), expected, "{measure}");
        }
    }

    #[test]
    fn nobody_waits_for_the_first_invocation_of_an_environment_that_was_ready() {
        let ready = |environment: &str, provisioned| {
            let event = Event::Environment(Environment {
                function: "F".to_owned(),
                environment: environment.to_owned(),
                change: Change::Ready,
                provisioned,
                why: None,
                init: None,
            });
            entry(0, event)
        };
        for (provisioned, cold_starts) in [(true, 0.0), (false, 0.5)] {
            // It was ready before the part that is looked at.
            let parts = vec![
                part(None, vec![ready("F-1", provisioned), ready("F-2", true)]),
                part(Some("burst"), vec![invocation("F", "a", true, 900)]),
            ];
            let measure = Measure {
                part: Some("burst".to_owned()),
                ..Measure::plain(What::ColdStarts)
            };
            let counted = measure.of(&[&Round(parts)], &prices());
            assert_eq!(counted, Some(cold_starts));
        }
    }

    #[test]
    fn a_month_of_provisioned_concurrency_is_paid_by_number_and_memory() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let function = |memory: Value, environments: Value| {
            let kept = json!({"ProvisionedConcurrentExecutions": environments});
            let properties = json!({"MemorySize": memory, "ProvisionedConcurrencyConfig": kept});
            json!({"Type": "AWS::Serverless::Function", "Properties": properties})
        };
        let plain = json!({"Type": "AWS::Serverless::Function", "Properties": {}});
        let template = json!({"Resources": {
            "A": function(json!(256), json!(8)), "B": function(json!("1024"), json!("1")), "C": plain,
        }});
        let prices = Prices::read(&root, &template, &root).unwrap();
        let usd = Measure::plain(What::UsdMonth).of(&[], &prices).unwrap();
        // Three GB for 730 hours.
        let expected = 3.0 * 730.0 * 3600.0 * 0.0000041667;
        assert!((usd - expected).abs() < 1e-9, "{usd} {expected}");
    }

    #[test]
    fn the_largest_program_is_that_of_the_folder_that_a_code_uri_ends_in() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let code = tempfile::tempdir().unwrap();
        for (name, bytes) in [("a", 2_000_000), ("b", 3_500_000)] {
            fs::create_dir(code.path().join(name)).unwrap();
            fs::write(code.path().join(name).join("bootstrap"), vec![0; bytes]).unwrap();
        }
        let function = |uri: &str| json!({"Type": "AWS::Serverless::Function", "Properties": {"CodeUri": uri}});
        let template = json!({"Resources": {
            "A": function("target/a/"), "B": function("target/b"), "C": function("target/c/"),
        }});
        let prices = Prices::read(&root, &template, code.path()).unwrap();
        let of = |function: Option<&str>| {
            let measure = Measure {
                function: function.map(str::to_owned),
                ..Measure::plain(What::BinaryMb)
            };
            measure.of(&[], &prices)
        };
        assert_eq!(of(None), Some(3.5));
        assert_eq!([of(Some("A")), of(Some("C"))], [Some(2.0), None]);
    }

    #[test]
    fn a_million_requests_cost_time_units_and_requests() {
        let round = round(vec![
            invocation("F", "a", true, 90_000),
            invocation("F", "b", false, 3_200),
            call("F", "a", 0, 10),
            call("F", "b", 0, 10),
        ]);
        // The cold one is billed like the warm one: 4 ms of half a GB.
        assert!((of(What::GbSeconds, &round).unwrap() - 2000.0).abs() < 1e-6);
        let expected = 2000.0 * 0.0000166667 + 1.0 + 0.2 + 0.5 * 0.125;
        assert!((of(What::Usd, &round).unwrap() - expected).abs() < 1e-9);
        assert_eq!(of(What::WarmMs, &round), Some(3.2));
        assert_eq!(of(What::ColdMs, &round), Some(90.0));
        assert_eq!(of(What::WorstWaitMs, &round), Some(9.0));
    }
}
