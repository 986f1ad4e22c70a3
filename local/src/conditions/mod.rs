//! Conditions of Lambda: what AWS takes where this machine takes almost nothing.
//!
//! All numbers stand in one file, each with its source; `docs/conditions.md` says how true they are.
//! Each time is drawn by the seed, the thing that takes it, and how many there were before it. So the
//! tenth `PutItem` of a function takes the same time in every run.

mod distribution;
mod factor;
mod share;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::chance;
use distribution::{Distribution, Time};
pub(crate) use share::Share;

/// The numbers that this project has from published sources.
const PUBLISHED: &str = include_str!("../../conditions.toml");

/// The operations that may have a time. Others, such as `CreateTable`, are none of a running function's.
const OPERATIONS: [&str; 20] = [
    "DynamoDB.BatchGetItem",
    "DynamoDB.BatchWriteItem",
    "DynamoDB.DeleteItem",
    "DynamoDB.GetItem",
    "DynamoDB.PutItem",
    "DynamoDB.Query",
    "DynamoDB.Scan",
    "DynamoDB.TransactGetItems",
    "DynamoDB.TransactWriteItems",
    "DynamoDB.UpdateItem",
    "SQS.ChangeMessageVisibility",
    "SQS.ChangeMessageVisibilityBatch",
    "SQS.DeleteMessage",
    "SQS.DeleteMessageBatch",
    "SQS.GetQueueAttributes",
    "SQS.GetQueueUrl",
    "SQS.PurgeQueue",
    "SQS.ReceiveMessage",
    "SQS.SendMessage",
    "SQS.SendMessageBatch",
];

/// The conditions of a run; none on the bare machine. Clones are the same conditions.
#[derive(Debug, Clone, Default)]
pub struct Conditions(Option<Arc<Numbers>>);

#[derive(Debug)]
struct Numbers {
    /// `lambda`, or the path of the file.
    name: String,
    /// CPU time on Lambda for one unit of CPU time here.
    factor: f64,
    file: File,
    /// How many times were drawn for each thing.
    drawn: Mutex<HashMap<String, u64>>,
}

/// The file. `source` is for people.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Another seed makes another run.
    #[serde(default)]
    seed: u64,
    cpu: Cpu,
    /// The platform's part of a cold start, which no code changes.
    platform: Distribution,
    /// What the HTTP API itself takes.
    front_door: Distribution,
    /// What Lambda itself takes for a synchronous invocation, beyond its duration.
    invoke: Distribution,
    /// From the sending of a message to the start of the function.
    trigger: Distribution,
    /// A new connection, without the function's own CPU time.
    connection: Distribution,
    /// Calls of functions, by operation.
    #[serde(deserialize_with = "calls")]
    calls: BTreeMap<String, Distribution>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cpu {
    /// The memory that buys one vCPU, in MB.
    vcpu_mb: f64,
    /// The period of the CPU share.
    period: Time,
    /// CPU time on Lambda for one unit of CPU time here.
    factor: Option<f64>,
    /// What the [fixed work](factor::measured) takes on a vCPU of Lambda, where no factor is stated.
    fixed_work: Option<Time>,
    #[serde(rename = "source")]
    _source: String,
}

fn calls<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Distribution>, D::Error> {
    let calls = BTreeMap::<String, Distribution>::deserialize(deserializer)?;
    match calls.keys().find(|it| !OPERATIONS.contains(&it.as_str())) {
        None => Ok(calls),
        Some(unknown) => Err(serde::de::Error::custom(format!(
            "there is no operation {unknown:?}; there are: {}",
            OPERATIONS.join(", ")
        ))),
    }
}

/// What AWS takes at the median, in milliseconds. Its JSON is the body of `GET /conditions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Medians {
    /// `lambda`, or the path of a file.
    pub name: String,
    /// That all times are drawn by.
    pub seed: u64,
    /// CPU time on Lambda for one unit of CPU time here; no time.
    pub cpu_factor: f64,
    /// The platform's part of a cold start.
    pub platform_ms: f64,
    /// The HTTP API.
    pub front_door_ms: f64,
    /// Lambda's own way to and from each invocation.
    pub invoke_ms: f64,
    /// A new connection to AWS, with its handshake.
    pub connection_ms: f64,
    /// From a message's sending to its function.
    pub trigger_ms: f64,
    /// By `<service>.<operation>`.
    pub calls_ms: BTreeMap<String, f64>,
}

impl Conditions {
    /// Reads `none`, `lambda`, or the path of a file. `lambda,factor=0.8` takes that CPU factor in place of one that is
    /// measured now: hosts that are compared with one another need the same.
    ///
    /// # Errors
    /// One line that names the file, the line in it and what is wrong.
    pub fn read(given: &str) -> Result<Conditions, String> {
        let (given, stated) = match given.rsplit_once(",factor=") {
            Some((given, factor)) => {
                let stated = factor.parse().ok();
                let stated = stated.filter(|factor| (0.01..=100.0).contains(factor));
                let why = format!("the factor {factor:?} is not between 0.01 and 100");
                (given, Some(stated.ok_or(why)?))
            }
            None => (given, None),
        };
        let (name, text) = match given {
            "none" => return Ok(Conditions::default()),
            "lambda" => ("lambda", PUBLISHED.to_owned()),
            path => {
                let text = std::fs::read_to_string(Path::new(path)).map_err(|error| {
                    format!(
                        "cannot read the conditions {path:?} (--conditions): {error}; it is none, \
                         lambda, or a file"
                    )
                })?;
                (path, text)
            }
        };
        Conditions::parse(name, &text, stated)
            .map_err(|(line, why)| format!("{name}:{line}: {why}"))
    }

    fn parse(name: &str, text: &str, stated: Option<f64>) -> Result<Conditions, (usize, String)> {
        let file: File = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(at).filter(|it| *it == b'\n').count();
            (line, error.message().replace('\n', " "))
        })?;
        let Cpu {
            vcpu_mb,
            factor,
            fixed_work,
            ..
        } = file.cpu;
        let line = |name| {
            1 + text
                .lines()
                .position(|it| it.starts_with(name))
                .unwrap_or(0)
        };
        if !(1.0..=1e6).contains(&vcpu_mb) {
            return Err((
                line("vcpu_mb"),
                format!("vcpu_mb is {vcpu_mb}, no size of memory in MB"),
            ));
        }
        let factor = match (factor, fixed_work) {
            (Some(factor), None) if (0.01..=100.0).contains(&factor) => stated.unwrap_or(factor),
            (Some(factor), None) => {
                let why = format!("factor is {factor}, not between 0.01 and 100");
                return Err((line("factor"), why));
            }
            (None, Some(there)) => stated.unwrap_or_else(|| factor::measured(there.0)),
            _ => {
                let why = "it needs a factor, or the time of the fixed_work on a vCPU, not both";
                return Err((line("[cpu]"), why.to_owned()));
            }
        };
        Ok(Conditions(Some(Arc::new(Numbers {
            name: name.to_owned(),
            factor,
            file,
            drawn: Mutex::default(),
        }))))
    }

    /// The medians of all times; none on the bare machine.
    pub fn medians(&self) -> Option<Medians> {
        let numbers = self.0.as_ref()?;
        let ms = |it: &Distribution| it.median().as_secs_f64() * 1e3;
        let file = &numbers.file;
        let calls = file.calls.iter().map(|(name, it)| (name.clone(), ms(it)));
        Some(Medians {
            name: numbers.name.clone(),
            seed: file.seed,
            cpu_factor: numbers.factor,
            platform_ms: ms(&file.platform),
            front_door_ms: ms(&file.front_door),
            invoke_ms: ms(&file.invoke),
            connection_ms: ms(&file.connection),
            trigger_ms: ms(&file.trigger),
            calls_ms: calls.collect(),
        })
    }

    /// The CPU of an environment from this moment on. It has a whole vCPU until `Share::set`, if
    /// `burst`.
    pub(crate) fn share(
        &self,
        environment: &str,
        memory_mb: u32,
        burst: bool,
        from: Instant,
    ) -> Option<Share> {
        let numbers = self.0.as_ref()?;
        let period = numbers.file.cpu.period;
        let phase = chance::of(numbers.file.seed, &format!("phase/{environment}")).f64();
        let bought = self.vcpus(memory_mb);
        let vcpus = if burst { bought.max(1.0) } else { bought };
        Some(Share::new(period.0, vcpus, numbers.factor, phase, from))
    }

    /// The vCPUs that this memory buys.
    pub(crate) fn vcpus(&self, memory_mb: u32) -> f64 {
        let vcpu_mb = self.0.as_ref().map(|it| it.file.cpu.vcpu_mb);
        vcpu_mb.map_or(1.0, |vcpu_mb| f64::from(memory_mb) / vcpu_mb)
    }

    /// The platform's part of a cold start of this function.
    pub(crate) fn platform(&self, function: &str) -> Duration {
        self.draw("platform", function, |file| Some(&file.platform))
    }

    /// What the HTTP API itself takes for a request of this route.
    pub(crate) fn front_door(&self, route: &str) -> Duration {
        self.draw("front_door", route, |file| Some(&file.front_door))
    }

    /// What Lambda itself takes for a synchronous invocation of this function.
    pub(crate) fn invoke(&self, function: &str) -> Duration {
        self.draw("invoke", function, |file| Some(&file.invoke))
    }

    /// The time from the sending of a message of this queue to the start of its function.
    pub(crate) fn trigger(&self, queue: &str) -> Duration {
        self.draw("trigger", queue, |file| Some(&file.trigger))
    }

    /// What a new connection takes this function.
    pub(crate) fn connection(&self, function: &str) -> Duration {
        self.draw("connection", function, |file| Some(&file.connection))
    }

    /// What AWS takes for a call of this function, such as `DynamoDB.GetItem`.
    pub(crate) fn call(&self, function: &str, operation: &str) -> Duration {
        self.draw(operation, function, |file| file.calls.get(operation))
    }

    fn draw(
        &self,
        what: &str,
        of: &str,
        distribution: impl Fn(&File) -> Option<&Distribution>,
    ) -> Duration {
        let Some(numbers) = &self.0 else {
            return Duration::ZERO;
        };
        let Some(distribution) = distribution(&numbers.file) else {
            return Duration::ZERO;
        };
        let name = format!("{what}/{of}");
        let number = {
            let mut drawn = numbers.drawn.lock();
            let number = drawn.entry(name.clone()).or_default();
            *number += 1;
            *number
        };
        let mut random = chance::of(numbers.file.seed, &format!("{name}/{number}"));
        distribution.draw(&mut random)
    }
}

/// For people.
impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.medians() {
            None => f.write_str("none: times are those of this machine"),
            Some(known) => write!(f, "{known}: times are simulated"),
        }
    }
}

impl fmt::Display for Medians {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, seed, factor) = (&self.name, self.seed, self.cpu_factor);
        write!(f, "{name}, seed {seed}, CPU factor {factor:.2}")
    }
}

/// Waits until a moment, to a tenth of a millisecond; tokio's own timer has whole milliseconds.
pub(crate) async fn wait_until(at: Instant) {
    if at > Instant::now() {
        async_io::Timer::at(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: (&str, &str)) -> (usize, String) {
        let text = PUBLISHED.replacen(change.0, change.1, 1);
        assert_ne!(text, PUBLISHED, "{change:?} changes something");
        Conditions::parse("file", &text, None)
            .map(drop)
            .expect_err("it is refused")
    }

    #[test]
    fn the_published_numbers_can_be_read() {
        let conditions = Conditions::read("lambda").unwrap();
        assert!(conditions.call("GetProduct", "DynamoDB.GetItem") > Duration::ZERO);
        assert_eq!(
            conditions.call("GetProduct", "DynamoDB.CreateTable"),
            Duration::ZERO
        );
    }

    #[test]
    fn the_bare_machine_takes_no_time_of_its_own() {
        let conditions = Conditions::read("none").unwrap();
        assert!(conditions.medians().is_none());
        assert_eq!(conditions.platform("GetProduct"), Duration::ZERO);
        assert!(
            conditions
                .share("GetProduct-1", 128, true, Instant::now())
                .is_none()
        );
    }

    #[test]
    fn the_same_seed_draws_the_same_times_whatever_others_draw() {
        let times = |seed: &str, others: bool| -> Vec<Duration> {
            let text = PUBLISHED.replacen("seed = 1", seed, 1);
            let conditions = Conditions::parse("file", &text, None).unwrap();
            let mut times = Vec::new();
            for _ in 0..20 {
                if others {
                    conditions.call("Other", "DynamoDB.GetItem");
                }
                times.push(conditions.call("GetProduct", "DynamoDB.GetItem"));
            }
            times
        };
        assert_eq!(times("seed = 1", false), times("seed = 1", true));
        assert_ne!(times("seed = 1", false), times("seed = 2", false));
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused_with_its_line() {
        let operation = ("[calls.\"DynamoDB.GetItem\"]", "[calls.\"DynamoDB.Get\"]");
        let (_, why) = refused(operation);
        assert!(
            why.contains("no operation \"DynamoDB.Get\"; there are: DynamoDB.BatchGetItem"),
            "{why}"
        );
        let (line, why) = refused(("fixed_work = \"155 ms\"", "factor = -1"));
        let published = PUBLISHED.lines().nth(line - 1).unwrap();
        assert!(published.starts_with("fixed_work"), "{line}");
        assert!(why.contains("not between 0.01 and 100"), "{why}");
        let (_, why) = refused(("fixed_work = \"155 ms\"", ""));
        assert!(
            why.contains("a factor, or the time of the fixed_work"),
            "{why}"
        );
        let (_, why) = refused(("[front_door]", "[frontdoor]"));
        assert!(why.contains("unknown field `frontdoor`"), "{why}");
        let (line, why) = refused(("period = \"20 ms\"", "period = \"20 min\""));
        assert!(
            PUBLISHED
                .lines()
                .nth(line - 1)
                .unwrap()
                .starts_with("period"),
            "{line}"
        );
        assert!(why.contains("no unit that is known: us, ms or s"), "{why}");
    }

    #[test]
    fn a_stated_factor_is_taken_in_place_of_a_measured_one() {
        let factor = |given| {
            let medians = Conditions::read(given).unwrap().medians();
            medians.map(|it| it.cpu_factor)
        };
        assert_eq!(factor("lambda,factor=0.75"), Some(0.75));
        assert_eq!(factor("none,factor=2"), None);
        let why = Conditions::read("lambda,factor=0").unwrap_err();
        assert!(why.contains("not between 0.01 and 100"), "{why}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Conditions::read("nowhere.toml").unwrap_err();
        assert!(
            error.contains("\"nowhere.toml\"") && error.contains("none, lambda"),
            "{error}"
        );
    }
}
