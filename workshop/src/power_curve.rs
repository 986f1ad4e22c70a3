//! `workshop power-curve`: one function at every memory size, under conditions: what a cold start and a warm invocation
//! take, and what a million cost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use fs_err as fs;
use local::conditions::Medians;
use local::events::{Event, Invocation};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::bench::{Requests, drain, logical_id};
use crate::compare::fill;
use crate::files::{read_json, read_yaml, write_json};
use crate::host::{Host, PARAMETERS, Start, resolved};
use crate::machine::{Machine, SIMULATED, commit, conditions};
use crate::percentile::{ms, percentile, worst};
use crate::prices::Prices;
use crate::report::write;
use crate::session::{BadInput, Session};
use crate::table::{row, table};

mod report;

/// MB. 128 is Lambda's least, 1,769 is one vCPU, and above it a function with one thread gains nothing
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
const SIZES: [u32; 11] = [128, 192, 256, 384, 512, 768, 1024, 1536, 1769, 2048, 3008];

/// Ms of a cold start that are the function's own: the project's goal.
const COLD_GOAL_MS: f64 = 30.0;

/// From an answer to a frozen environment, which only then can be ended.
const FREEZING: Duration = Duration::from_millis(50);

/// Of `workshop power-curve`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A function of the template
    #[arg(long, value_name = "NAME")]
    function: String,
    /// Cold starts at each size
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..))]
    cold: u32,
    /// Warm invocations at each size
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..))]
    warm: u32,
    /// What AWS takes where this machine takes almost nothing: none, lambda, or a file (docs/conditions.md)
    #[arg(long, value_name = "NAME|FILE", default_value = "lambda")]
    conditions: String,
    /// A folder with the functions' code, in place of target/lambda
    #[arg(long, value_name = "DIR", default_value = "target/lambda")]
    code_dir: PathBuf,
    /// The host of this machine
    #[arg(long, value_name = "PATH", default_value = "target/host/local")]
    local: PathBuf,
}

/// The result; `target/power-curve/<function>.json`.
#[derive(Debug, Serialize)]
struct Curve {
    function: String,
    architecture: String,
    origin: &'static str,
    conditions: Option<Medians>,
    machine: Machine,
    commit: Option<String>,
    /// RFC 3339.
    started_at: String,
    /// The signal that cut it short; then it has the sizes until then.
    interrupted_by: Option<String>,
    cold_starts: u32,
    warm_invocations: u32,
    /// The template's limit of the 99th percentile.
    p99_limit_ms: f64,
    sizes: Vec<Size>,
    /// The cheapest size that keeps both limits.
    choice: Option<u32>,
}

/// One memory size. Times are ms.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Size {
    memory_mb: u32,
    /// Init and first invocation.
    cold_p50_ms: f64,
    cold_worst_ms: f64,
    warm_p50_ms: f64,
    warm_p99_ms: f64,
    /// Of a million warm invocations.
    gb_seconds: f64,
    /// Of a million warm invocations, requests included.
    usd: f64,
}

/// What the template says about a function.
struct Subject {
    /// The parameter that its memory size refers to.
    parameter: String,
    architecture: String,
    /// Ms.
    p99_limit: f64,
    event: Value,
}

/// Runs the verb.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let (root, name) = (&session.root, &arguments.function);
    let subject = Subject::find(session, arguments).await?;
    let out = root.join("target/power-curve");
    fs::create_dir_all(&out)?;
    let mut curve = Curve {
        function: name.clone(),
        architecture: subject.architecture.clone(),
        origin: SIMULATED,
        conditions: None,
        machine: Machine::this().await,
        commit: commit(root).await,
        started_at: OffsetDateTime::now_utc().format(&Rfc3339)?,
        interrupted_by: None,
        cold_starts: arguments.cold,
        warm_invocations: arguments.warm,
        p99_limit_ms: subject.p99_limit,
        sizes: Vec::new(),
        choice: None,
    };
    let bar = session.bar(SIZES.len() as u64);
    let mut conditions = arguments.conditions.clone();
    for memory in SIZES {
        let _ = fs::remove_dir_all(out.join("logs"));
        let mut parameters = BTreeMap::from(PARAMETERS.map(|(k, v)| (k.to_owned(), v.to_owned())));
        parameters.insert(subject.parameter.clone(), memory.to_string());
        let start = Start {
            program: &root.join(&arguments.local),
            template: &root.join("template.yaml"),
            parameters: &parameters,
            code_dir: Some(&root.join(&arguments.code_dir)),
            conditions: &conditions,
            account_concurrency: None,
            out: &out,
        };
        let measured = async {
            let host = Host::start(session, &start).await?;
            let measured = session.or_interrupted(measure(arguments, &subject, session, &host));
            let measured = measured.await;
            let known = host.conditions().await;
            host.stop().await;
            Ok((measured?, known?))
        };
        let measured: Result<_> = measured.await;
        curve.interrupted_by = session.interrupted_by().map(|signal| signal.to_string());
        if curve.interrupted_by.is_some() && !curve.sizes.is_empty() {
            break;
        }
        let ([cold, warm], known) = measured?;
        // All sizes need the same CPU factor.
        if let (true, Some(known)) = (curve.sizes.is_empty(), &known) {
            conditions = format!("{conditions},factor={}", known.cpu_factor);
        }
        curve.conditions = known;
        curve
            .sizes
            .push(Size::of(memory, &cold, &warm, &prices(session, &subject)?));
        bar.set_position(curve.sizes.len() as u64);
        session.progress(&bar, format!("{memory} MB"));
    }
    curve.choice = choice(&curve.sizes, subject.p99_limit);
    write_json(&out.join(name).with_extension("json"), &curve)?;
    session.say(render(&curve));
    write(session, &out, &report::report(&curve))?;
    Ok(true)
}

impl Subject {
    async fn find(session: &Session, arguments: &Arguments) -> Result<Self> {
        let (root, name) = (&session.root, &arguments.function);
        let shop = Requests::read(root)?.shop;
        let Some(file) = shop.keys().find(|file| logical_id(file) == *name) else {
            let all: Vec<_> = shop.keys().map(|file| logical_id(file)).collect();
            let all = all.join(", ");
            return Err(
                BadInput(format!("FUNCTION={name} is no function; there are: {all}")).into(),
            );
        };
        let template: Value = read_yaml(&root.join("template.yaml"))?;
        let own = &template["Resources"][name]["Properties"]["MemorySize"];
        let size = if own.is_null() {
            &template["Globals"]["Function"]["MemorySize"]
        } else {
            own
        };
        let parameter = size["Ref"].as_str();
        let parameter =
            parameter.with_context(|| format!("the MemorySize of {name} is no parameter"))?;
        let program = root.join(&arguments.local);
        let read = root.join("template.yaml");
        let resolved = resolved(root, &program, &read, &BTreeMap::new()).await?;
        let properties = &resolved["Resources"][name]["Properties"];
        let architecture = properties["Architectures"][0].as_str();
        let event: Value = read_json(&root.join("events").join(file).with_extension("json"))?;
        // The promise that the function is held to: an answer's, or an order's.
        let (slo, key) = if event["Records"].is_null() {
            ("Latency", "P99Milliseconds")
        } else {
            ("Orders", "PlacedToFinalP99Milliseconds")
        };
        let limit = resolved["Mappings"]["Slo"][slo][key].as_str();
        let limit = limit.and_then(|limit| limit.parse().ok());
        Ok(Self {
            parameter: parameter.to_owned(),
            architecture: architecture.unwrap_or("x86_64").to_owned(), // Lambda's default
            p99_limit: limit
                .with_context(|| format!("template.yaml has no limit Slo.{slo}.{key}"))?,
            event,
        })
    }

    /// Runs the function once. The one behind the queue gets a new order through it, because an order is settled once.
    async fn invoke(
        &self,
        session: &Session,
        host: &Host,
        name: &str,
        number: usize,
    ) -> Result<()> {
        let mut event = self.event.clone();
        if !event["Records"].is_null() {
            let shop = Requests::read(&session.root)?.shop;
            shop["place-order"].send(host).await?;
            return drain(host).await;
        }
        // A key that was used before, or a product that is there, would take another path the second time.
        event["headers"]["idempotency-key"] = json!(format!("power-curve-{number:08}"));
        if let Some(headers) = event["headers"].as_object_mut() {
            headers.remove("if-none-match");
        }
        host.invoke(name, &event).await.map(drop)
    }
}

/// USD of a request and of a GB-second.
fn prices(session: &Session, subject: &Subject) -> Result<[f64; 2]> {
    let prices = Prices::read(&session.root)?;
    Ok([
        prices.usd("lambda_request")?,
        prices.gb_second(&subject.architecture)?,
    ])
}

/// The cold invocations and the warm ones at one size.
async fn measure(
    arguments: &Arguments,
    subject: &Subject,
    session: &Session,
    host: &Host,
) -> Result<[Vec<Box<Invocation>>; 2]> {
    let name = &arguments.function;
    fill(&session.root, host).await?;
    let mut log = host.log();
    log.read().await?;
    for number in 0..arguments.cold + arguments.warm {
        if number < arguments.cold {
            tokio::time::sleep(FREEZING).await;
            host.reap().await?;
        }
        subject.invoke(session, host, name, number as usize).await?;
    }
    tokio::time::sleep(FREEZING).await;
    let events = log.read().await?.into_iter();
    let own = events.filter_map(|entry| match entry.event {
        Event::Invocation(it) if it.function == *name => Some(it),
        _ => None,
    });
    let (cold, warm) = own.partition(|it| it.cold);
    Ok([cold, warm])
}

impl Size {
    fn of(
        memory_mb: u32,
        cold: &[Box<Invocation>],
        warm: &[Box<Invocation>],
        [request, gb_second]: &[f64; 2],
    ) -> Self {
        let cold: Vec<_> = cold.iter().map(|it| ms(it.own())).collect();
        let warm: Vec<_> = warm.iter().map(|it| ms(it.duration)).collect();
        // Lambda bills whole milliseconds.
        let billed = warm.iter().map(|ms| ms.ceil() / 1e3).sum::<f64>();
        let seconds = billed / warm.len().max(1) as f64;
        let gb_seconds = seconds * f64::from(memory_mb) / 1024.0 * 1e6;
        Self {
            memory_mb,
            cold_p50_ms: percentile(&cold, 50.0).unwrap_or_default(),
            cold_worst_ms: worst(&cold).unwrap_or_default(),
            warm_p50_ms: percentile(&warm, 50.0).unwrap_or_default(),
            warm_p99_ms: percentile(&warm, 99.0).unwrap_or_default(),
            gb_seconds,
            usd: gb_seconds * gb_second + request * 1e6,
        }
    }

    fn keeps(&self, p99_limit: f64) -> bool {
        self.cold_p50_ms <= COLD_GOAL_MS && self.warm_p99_ms <= p99_limit
    }
}

/// The cheapest that keeps both limits.
fn choice(sizes: &[Size], p99_limit: f64) -> Option<u32> {
    let keep = sizes.iter().filter(|size| size.keeps(p99_limit));
    let cheapest = keep.min_by(|a, b| a.usd.total_cmp(&b.usd));
    cheapest.map(|size| size.memory_mb)
}

fn render(curve: &Curve) -> String {
    let rows = curve.sizes.iter().map(|size| {
        row! { "MB": size.memory_mb, "cold p50, ms": size.cold_p50_ms, "cold worst, ms": size.cold_worst_ms,
            "warm p50, ms": size.warm_p50_ms, "warm p99, ms": size.warm_p99_ms,
            "GB-s a million": size.gb_seconds, "$ a million": size.usd,
            "keeps": if size.keeps(curve.p99_limit_ms) { "both" } else { "no" } }
    });
    let (name, architecture, limit) = (&curve.function, &curve.architecture, curve.p99_limit_ms);
    let heading = format!("{name} by memory size, priced for {architecture}");
    let partial = match &curve.interrupted_by {
        Some(signal) => format!("PARTIAL: {signal} cut it short\n"),
        None => String::new(),
    };
    let choice = match curve.choice {
        Some(memory) => format!("The cheapest that keeps both: {memory} MB"),
        None => "No size keeps both".to_owned(),
    };
    format!(
        "{}\n\nconditions: {}\n{}\n\"cold\" is the function's own part, init and first invocation, of {} cold starts; \"warm\" are {} invocations.\n\
        Both limits: a cold start's p50 of {COLD_GOAL_MS} ms, a warm p99 of {limit} ms.\n{partial}{choice}",
        table(&heading, curve.origin, rows),
        conditions(curve.conditions.as_ref()),
        curve.machine.describe(),
        curve.cold_starts,
        curve.warm_invocations,
    )
}

#[cfg(test)]
mod tests {
    use local::events::Init;

    use super::*;

    fn invocation(init_ms: Option<u64>, duration_us: u64) -> Box<Invocation> {
        let init = init_ms.map(|ms| Init {
            duration: Duration::from_millis(ms),
            cpu: Duration::ZERO,
            platform: Duration::ZERO,
        });
        let duration = Duration::from_micros(duration_us);
        Box::new(Invocation {
            init,
            duration,
            ..Invocation::default()
        })
    }

    #[test]
    fn a_size_is_billed_by_whole_milliseconds_and_its_memory() {
        let cold = [invocation(Some(9), 5_000), invocation(Some(12), 8_000)];
        let warm = [invocation(None, 3_200), invocation(None, 5_900)];
        let size = Size::of(512, &cold, &warm, &[0.2e-6, 0.0000133334]);
        assert_eq!((size.cold_p50_ms, size.cold_worst_ms), (14.0, 20.0));
        assert_eq!((size.warm_p50_ms, size.warm_p99_ms), (3.2, 5.9));
        // (4 + 6) ms / 2 × 0.5 GB × a million.
        assert!((size.gb_seconds - 2500.0).abs() < 1e-6, "{size:?}");
        assert!((size.usd - (0.2 + 2500.0 * 0.0000133334)).abs() < 1e-9);
    }

    #[test]
    fn the_choice_is_the_cheapest_that_keeps_both_limits() {
        let size = |memory_mb, cold, p99, usd| Size {
            memory_mb,
            cold_p50_ms: cold,
            warm_p99_ms: p99,
            usd,
            ..Size::default()
        };
        let sizes = [
            size(128, 31.0, 20.0, 0.2),
            size(256, 29.0, 101.0, 0.3),
            size(512, 25.0, 60.0, 0.5),
            size(1024, 20.0, 50.0, 0.4),
        ];
        assert_eq!(choice(&sizes, 100.0), Some(1024));
        assert_eq!(choice(&sizes[..2], 100.0), None);
    }
}
