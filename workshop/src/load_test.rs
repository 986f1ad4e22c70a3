//! `workshop load-test`: runs the stack of this machine, or one that is deployed, under Artillery, and holds it to every
//! gate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use local::conditions::Medians;
use local::events::{Entry, Snapshot};
use reqwest::Url;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::Instant;

use crate::advise::{Advice, Known};
use crate::artillery::{Load, Phase, Script, seed};
use crate::burst::{self, Burst};
use crate::cloudwatch::{self, Stack};
use crate::files::write_json;
use crate::functions::{self, Function};
use crate::gates::{Gate, evaluate, exit_gate, gates};
use crate::host::{Host, PARAMETERS, Start};
use crate::limits::{Limits, Profile};
use crate::machine::{
    LATENCY_LOGGED, MEASURED, MEASURED_ON_AWS, Machine, NEEDS_AWS, SIMULATED, commit,
};
use crate::prices::Prices;
use crate::provisioned::Provisioned;
use crate::render;
use crate::report;
use crate::report::load_test::Sources;
use crate::report::money::Money;
use crate::report::platform::Story;
use crate::session::Session;
use crate::summary::{LoadResult, Origin, PerThousand, Step, Stress, Summary};
use crate::trend::{self, Watch};

/// For the queues to become empty after the load: one visibility timeout (60 s, template.yaml) and a retry.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(75);

/// Of `workshop load-test`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The profile of load-tests/artillery.yml
    #[arg(long, default_value = "load")]
    profile: String,
    /// Load the stack at this address; without it, one is started on this machine
    #[arg(long, value_name = "URL", value_parser = api_url)]
    api_url: Option<String>,
    /// The deployed stack behind --api-url: its own latency is judged, and its figures of CloudWatch are added
    #[arg(long, value_name = "NAME", requires = "api_url")]
    stack: Option<String>,
    /// Sign writes to the catalogue for this region; an address of API Gateway names its own
    #[arg(long, value_name = "REGION")]
    sign_region: Option<String>,
    /// Parameters of the template, as "Name=value ..."
    #[arg(long, value_name = "WORDS", default_value = "")]
    #[arg(conflicts_with = "api_url")]
    parameters: String,
    /// The host of this machine
    #[arg(long, value_name = "PATH", default_value = "target/host/local")]
    local: PathBuf,
    /// The template that it runs
    #[arg(long, value_name = "FILE", default_value = "template.yaml")]
    template: PathBuf,
    /// Take the functions' code from this folder; it is not what ships, so its times are held to Artillery's gates alone
    #[arg(long, value_name = "DIR")]
    code_dir: Option<PathBuf>,
    /// The code in --code-dir is built like what ships
    #[arg(skip)]
    ships: bool,
    /// What AWS takes where this machine takes almost nothing: none, lambda, or a file (docs/conditions.md)
    #[arg(long, value_name = "NAME|FILE", default_value = "lambda")]
    conditions: String,
    /// The folder for the summary, the logs and Artillery's report
    #[arg(long, value_name = "DIR", default_value = "target/load-test")]
    out: PathBuf,
}

impl Arguments {
    /// A short load on this machine with the functions of a folder, which is judged as what ships.
    pub fn short(
        local: &Path,
        template: &Path,
        code_dir: &Path,
        parameters: &str,
        out: &Path,
    ) -> Self {
        Self {
            profile: "smoke".to_owned(),
            api_url: None,
            stack: None,
            sign_region: None,
            parameters: parameters.to_owned(),
            local: local.to_owned(),
            template: template.to_owned(),
            code_dir: Some(code_dir.to_owned()),
            ships: true,
            conditions: "lambda".to_owned(),
            out: out.to_owned(),
        }
    }
}

/// The base address of an API, without a slash at its end.
fn api_url(text: &str) -> Result<String> {
    let url = Url::parse(text).ok();
    if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https")) {
        bail!("API_URL must be the address of a stack, https://…; `make outputs` shows it");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Those that every load test on this machine needs, and then those of "Name=value ..."; the last of a name wins.
fn parameters(given: &str) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::from(PARAMETERS);
    for word in given.split_whitespace() {
        let pair = word.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = pair
            .with_context(|| format!("a parameter is written Name=value, but one is \"{word}\""))?;
        all.insert(name, value);
    }
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Ok(all.into_iter().map(owned).collect())
}

/// A load test, and what it is held to.
struct Test<'a> {
    session: &'a Session,
    load: Load,
    script: Script,
    phases: Vec<Phase>,
    limits: Limits,
    profile: Profile,
    stack: Option<Stack>,
    /// What AWS takes, on this machine under conditions.
    conditions: Option<Medians>,
    /// The price of environments that are kept ready, on this machine.
    provisioned: Option<Provisioned>,
    /// The moment from which the host's events are timed, in microseconds since 1970.
    events_since_us: Option<u64>,
    /// Prices of the functions, where they are known.
    money: Option<Money>,
    /// Whether the code is what ships: the limits of times on this machine are for that alone.
    ships: bool,
}

/// Everything that a run has found out while its stack was up.
#[derive(Default)]
struct Measured {
    load: LoadResult,
    /// When the load began, in milliseconds since 1970.
    load_at: u64,
    log_sizes: BTreeMap<PathBuf, u64>,
    meter: Option<Snapshot>,
    /// Environments of each function at the end.
    environments: BTreeMap<String, u64>,
    /// Everything that happened on the host.
    events: Vec<Entry>,
    /// Orders at once, after the load; under conditions alone.
    burst: Option<Burst>,
}

/// Runs the verb; the result is whether every gate passed.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let script = Script::read(&session.root)?;
    let phases = script.phases(&arguments.profile)?;
    let limits = Limits::read(&session.root)?;
    let profile = limits.profile(&arguments.profile)?.clone();
    let parameters = parameters(&arguments.parameters)?;
    let stack = match &arguments.stack {
        Some(name) => Some(session.or_interrupted(Stack::find(name)).await?),
        None => None,
    };
    let out = session.root.join(&arguments.out);
    clean(&out)?;

    let started_at = OffsetDateTime::now_utc();
    let start = Start {
        program: &session.root.join(&arguments.local),
        template: &session.root.join(&arguments.template),
        parameters: &parameters,
        code_dir: arguments.code_dir.as_deref(),
        conditions: &arguments.conditions,
        account_concurrency: None,
        out: &out,
    };
    let (mut host, api_url) = match &arguments.api_url {
        Some(api_url) => (None, api_url.clone()),
        None => {
            let template = arguments.template.display();
            session.say(format!("starting {template} on this machine"));
            let host = Host::start(session, &start).await?;
            let api_url = host.ready.api_url.clone();
            (Some(host), api_url)
        }
    };
    let (conditions, provisioned) = match &host {
        Some(host) => {
            let priced = Provisioned::of(session, start.program, start.template, &parameters);
            let conditions = session.or_interrupted(host.conditions()).await?;
            (conditions, session.or_interrupted(priced).await?)
        }
        None => (None, None),
    };
    let money = match (&stack, &host) {
        (Some(stack), _) => report::money_of_stack(&session.root, stack).await,
        (None, Some(_)) => {
            let program = session.root.join(&arguments.local);
            let template = session.root.join(&arguments.template);
            report::money_here(&session.root, &program, &template, &parameters).await
        }
        (None, None) => None,
    };
    let load = Load {
        profile: arguments.profile.clone(),
        api_url,
        sign_region: arguments.sign_region.clone(),
        // Artillery knows the client's latency alone, and limits for many requests.
        ensures: stack.is_none() && !profile.few_requests,
        out: out.clone(),
    };
    let test = Test {
        session,
        load,
        script,
        phases,
        limits,
        profile,
        stack,
        conditions,
        provisioned,
        events_since_us: host.as_ref().and_then(|host| host.ready.events_since_us),
        money,
        ships: arguments.ships || arguments.code_dir.is_none(),
    };
    let measured = test.measure(host.as_mut()).await;
    let log_dir = host.as_ref().map(|host| host.ready.log_dir.clone());
    if let Some(host) = host {
        host.stop().await; // its logs are complete only then
    }
    let (mut measured, log_dir) = (measured?, log_dir.as_deref());
    measured.burst = test.burst(&start).await?;
    test.conclude(started_at, measured, log_dir, parameters.clone())
        .await
}

/// Removes the results of an earlier run.
fn clean(out: &Path) -> Result<()> {
    for old in [
        "summary.json",
        "artillery.log",
        "responses.ndjson",
        "report.json",
        "report.html",
        "report.md",
    ] {
        let _ = fs::remove_file(out.join(old));
    }
    for old in ["logs", "burst"] {
        let _ = fs::remove_dir_all(out.join(old));
    }
    Ok(fs::create_dir_all(out)?)
}

/// As CloudWatch counts the time.
fn milliseconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

impl Test<'_> {
    async fn measure(&self, mut host: Option<&mut Host>) -> Result<Measured> {
        let session = self.session;
        let mut measured = Measured::default();
        let follower = host.as_deref().map(|host| host.log().follow());
        let (load, log) = (&self.load, self.load.out.join("seed.log"));
        seed(session, &load.api_url, load.sign_region.as_deref(), &log).await?;
        if let Some(host) = &host {
            session.or_interrupted(host.reap()).await?;
            session.or_interrupted(host.reset_meter()).await?;
            measured.log_sizes = functions::log_sizes(&host.ready.log_dir)?;
        } else {
            session.say("note: Lambda keeps the environments that loading the catalogue has started; it alone decides when they go");
        }
        measured.load_at = milliseconds(OffsetDateTime::now_utc());
        let loaded = match self.profile.knee {
            Some(knee) => self.climb(knee, host.as_deref_mut()).await,
            None => self.load(&self.phases, host.as_deref_mut()).await,
        };
        let was_interrupted = || session.interrupted_by().is_some();
        measured.load = match loaded {
            Err(_) if was_interrupted() => LoadResult::of_records(&load.records()),
            loaded => loaded?,
        };
        if let Some(host) = host {
            let drained = self.drain(host).await;
            measured.meter = match drained {
                // A host that ends at the same Ctrl-C has no meter; the rest is kept.
                Err(_) if was_interrupted() => host.meter().await.ok(),
                drained => Some(drained?),
            };
            measured.environments = host.environments().await.unwrap_or_default();
        }
        if let Some(follower) = follower {
            measured.events = follower.finish().await;
        }
        Ok(measured)
    }

    /// One run of Artillery with the gates of what the client saw.
    async fn load(&self, phases: &[Phase], host: Option<&mut Host>) -> Result<LoadResult> {
        let pid = host.as_ref().map(|host| host.ready.pid);
        let watch = self.profile.trend.and(pid).map(Watch::start);
        let since = milliseconds(OffsetDateTime::now_utc());
        let report = self.load.run(self.session, phases, host).await?;
        let (mut ensure, aggregate) = (self.script.ensure().clone(), &report.aggregate);
        if self.profile.few_requests {
            ensure.thresholds.clear();
        }
        // The client's line to AWS is in what it measured, and is not what is judged.
        let (logged, mut gates) = match &self.stack {
            Some(stack) => {
                let answered = aggregate.answered();
                let logged = stack.latency(self.session, since, answered).await?;
                let gates = cloudwatch::evaluate_logged(&ensure, aggregate, &logged)?;
                (Some(logged.summaries), gates)
            }
            None => (None, evaluate(&ensure, aggregate)?),
        };
        let mut result = LoadResult::of(aggregate, logged.as_ref());
        let rate = result.requests_per_second;
        gates.push(self.limits.rate_gate(&self.profile, phases, rate));
        if let Some(conditions) = self.conditions.as_ref().filter(|_| self.ships) {
            let (limits, profile) = (&self.limits, &self.profile);
            gates.extend(limits.latency_gates(profile, conditions, aggregate));
        }
        if let Some(limits) = self.profile.trend {
            let samples = watch.map(|watch| watch.samples());
            let trends = trend::trends(&report.intermediate, samples.as_deref());
            gates.extend(trend::gates(&trends, limits));
            result.trend = Some(trends);
        }
        gates.push(exit_gate(&report));
        result.gates = gates;
        Ok(result)
    }

    /// The steps of the stress profile until a gate breaks. The first is a warm-up, of whose few requests too many are cold
    /// starts. Returns the result of the last step that held, or of the warm-up.
    async fn climb(&self, knee: f64, mut host: Option<&mut Host>) -> Result<LoadResult> {
        let mut stress = Stress::default();
        let mut reached = 0.0;
        let mut held: Option<LoadResult> = None;
        for (index, step) in self.phases.chunks(1).enumerate() {
            let is_warm_up = index == 0;
            let result = self.load(step, host.as_deref_mut()).await?;
            let broken = result.gates.iter().filter(|gate| !gate.pass);
            let broken: Vec<_> = broken.map(|gate| gate.name.clone()).collect();
            let mut gates = result.gates.iter();
            let p99 = gates.find(|gate| gate.name == "http.response_time.2xx.p99");
            let holds = broken.is_empty();
            stress.steps.push(Step {
                name: step[0].name.clone(),
                requests: result.requests(),
                requests_per_second: result.requests_per_second,
                p99_ms: p99.and_then(|gate| gate.value),
                broken,
            });
            if !holds && !is_warm_up {
                break;
            }
            if !is_warm_up {
                reached = self.limits.planned_rate(step);
                stress.knee = Some(step[0].name.clone());
            }
            held = Some(result);
        }
        let mut result = held.unwrap_or_default();
        let gate = "requests a second of the last step that held";
        result.gates.push(Gate::new(gate, ">=", knee, reached));
        result.stress = Some(stress);
        Ok(result)
    }

    /// Waits until the queues with a trigger are empty, then returns the meter.
    async fn drain(&self, host: &Host) -> Result<Snapshot> {
        let session = self.session;
        let begun = Instant::now();
        let mut told = false;
        loop {
            let meter = session.or_interrupted(host.meter()).await?;
            let left = meter.messages(true);
            if left == 0 {
                return Ok(meter);
            }
            if begun.elapsed() > DRAIN_TIMEOUT {
                session.say(format!(
                    "queues: {left} messages stay after {DRAIN_TIMEOUT:?}"
                ));
                return Ok(meter);
            }
            if !told {
                session.say(format!("queues: waiting for {left} messages"));
                told = true;
            }
            session.pause(Duration::from_millis(200)).await?;
        }
    }

    /// Many orders at once, on a stack like that of the load, with the same CPU factor. On the bare machine orders are
    /// settled faster than they come, and no batch has several. An interrupted run has none.
    async fn burst(&self, load: &Start<'_>) -> Result<Option<Burst>> {
        let was_interrupted = || self.session.interrupted_by().is_some();
        let (Some(limits), Some(known)) = (&self.profile.burst, &self.conditions) else {
            return Ok(None);
        };
        if was_interrupted() {
            return Ok(None);
        }
        let conditions = load.conditions.split(',').next().unwrap_or_default();
        let start = Start {
            conditions: &format!("{conditions},factor={}", known.cpu_factor),
            account_concurrency: None,
            out: &load.out.join("burst"),
            ..*load
        };
        match burst::run(self.session, &start, limits, known).await {
            Err(_) if was_interrupted() => Ok(None),
            burst => burst.map(Some),
        }
    }

    /// What the log of events says could be better. None of a stack or a host that tells no events.
    fn advice(&self, events: &[Entry]) -> Result<Option<Advice>> {
        let prices = Prices::read(&self.session.root)?;
        let architecture = self.money.as_ref().map(|it| it.architecture.as_str());
        let known = Known {
            prices: &prices,
            architecture: architecture.unwrap_or("x86_64"), // Lambda's default
            conditions: self.conditions.as_ref(),
        };
        let advice = Advice::of(events, &known);
        Ok((advice.invocations > 0).then_some(advice))
    }

    /// Adds what the logs say, judges, writes the summary and shows it.
    async fn conclude(
        &self,
        started_at: OffsetDateTime,
        measured: Measured,
        log_dir: Option<&Path>,
        parameters: BTreeMap<String, String>,
    ) -> Result<bool> {
        let session = self.session;
        let (mut load, meter) = (measured.load, measured.meter);
        let events = functions::Log {
            events: &measured.events,
            conditions: self.conditions.as_ref(),
        };
        let functions = match (log_dir, &self.stack) {
            (Some(folder), _) => functions::from_logs(folder, &measured.log_sizes, &events)?,
            (None, Some(stack)) => {
                let times = [milliseconds(started_at), measured.load_at];
                let found = stack.functions(session, times, load.requests());
                match session.or_interrupted(found).await {
                    Err(_) if session.interrupted_by().is_some() => Vec::new(),
                    found => found?,
                }
            }
            (None, None) => Vec::new(),
        };
        let advice = self.advice(&measured.events)?;
        let interrupted = session.interrupted_by();
        let gates = &mut load.gates;
        if let Some(meter) = &meter {
            gates.extend(stack_gates(meter, &functions));
            let environments = &measured.environments;
            let limits = &self.limits;
            gates.extend(limits.aws_gates(meter, &functions, environments, &events.rests()));
            if self.ships {
                let provisioned = self.provisioned.as_ref();
                let is_provisioned = provisioned.is_some_and(|it| it.environments > 0);
                gates.extend(self.profile.cold_start_gates(&functions, is_provisioned));
            }
        }
        // Beyond what the stack holds, calls are given up and repeated.
        if let Some(advice) = advice
            .as_ref()
            .filter(|_| self.ships && self.profile.knee.is_none())
        {
            gates.extend(gates! { "findings of the adviser": advice.findings.len() as f64, == 0; });
        }
        if let (Some(burst), Some(limits)) = (&measured.burst, &self.profile.burst) {
            gates.extend(burst.gates(limits, self.ships));
        }
        if interrupted.is_some() {
            gates.clear(); // half a run neither passes nor fails
        }
        let (aws_calls, queues) = meter.map(|meter| (meter.functions, meter.queues)).unzip();
        let known = |origin, is_known| if is_known { origin } else { NEEDS_AWS }.to_owned();
        let (is_local, is_metered) = (log_dir.is_some(), aws_calls.is_some());
        let held = self.conditions.is_some(); // answers were held back until AWS would have given them
        let here = if held { SIMULATED } else { MEASURED };
        let ran = if is_local { here } else { MEASURED_ON_AWS };
        let judged = self.stack.as_ref().map_or(here, |_| LATENCY_LOGGED);
        let given = log_dir.map(|_| parameters).unwrap_or_default();
        let summary = Summary {
            profile: self.load.profile.clone(),
            api_url: self.load.api_url.clone(),
            started_at: started_at.format(&Rfc3339)?,
            interrupted_by: interrupted.map(|signal| signal.to_string()),
            per_thousand_requests: PerThousand::of(&load, &functions, aws_calls.as_ref()),
            origin: Origin {
                routes: here.to_owned(),
                gates: judged.to_owned(),
                functions: known(ran, is_local || !functions.is_empty()),
                aws_calls: known(MEASURED, is_metered),
                consumed_capacity: known(SIMULATED, is_metered),
                queues: known(SIMULATED, is_metered),
            },
            load,
            functions,
            aws_calls,
            queues,
            advice,
            burst: measured.burst,
            provisioned: self.provisioned.clone(),
            custom_metrics: log_dir.map(functions::custom_metrics).transpose()?,
            parameters: given,
            machine: Machine::this().await,
            commit: commit(&session.root).await,
            conditions: self.conditions.clone(),
        };
        write_json(&self.load.out.join("summary.json"), &summary)?;
        session.say(render::summary(&summary));
        if let Some(advice) = &summary.advice {
            session.say(format!("\n{}", advice.text()));
        }
        let story = self.events_since_us.map(|since_us| Story {
            entries: &measured.events,
            since_us,
        });
        let report = report::load_test::report(&Sources {
            summary: &summary,
            records: &self.load.records(),
            load_at: Some(measured.load_at as f64),
            story,
            money: self.money.clone(),
            behind_queue: report::load_test::behind_queue(&session.root)?,
        });
        report::write(session, &self.load.out, &report)?;
        Ok(summary.load.gates.iter().all(|gate| gate.pass))
    }
}

/// Gates that need the stack on this machine.
fn stack_gates(meter: &Snapshot, functions: &[Function]) -> Vec<Gate> {
    let sum = |count: fn(&Function) -> u64| {
        let ran = !functions.is_empty();
        ran.then(|| functions.iter().map(count).sum::<u64>() as f64)
    };
    gates! {
        "messages left in the queues": meter.messages(true) as f64, == 0;
        "messages in dead-letter queues": meter.messages(false) as f64, == 0;
        "errors of functions": sum(|it| it.errors), == 0;
        "timeouts of functions": sum(|it| it.timeouts), == 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused() {
        for wrong in ["", "shop", "ftp://shop"] {
            let refused = api_url(wrong).unwrap_err().to_string();
            assert!(
                refused.starts_with("API_URL must be the address of a stack"),
                "{wrong}"
            );
        }
        assert_eq!(
            api_url("https://shop.example/").unwrap(),
            "https://shop.example"
        );
    }

    #[test]
    fn parameters_that_are_given_come_after_those_that_every_load_test_needs() {
        let all = parameters("ThrottleRate=5  CorsOrigin=https://a=b").unwrap();
        let given = |name: &str| all.get(name).map(String::as_str);
        assert_eq!(given("CatalogueWrites"), Some("open"));
        assert_eq!(given("OrderThrottleRate"), Some("10000"));
        assert_eq!(given("ThrottleRate"), Some("5"));
        assert_eq!(given("CorsOrigin"), Some("https://a=b"));
        let refused = parameters("=1").unwrap_err().to_string();
        assert_eq!(
            refused,
            "a parameter is written Name=value, but one is \"=1\""
        );
    }
}
