//! `workshop truth`: what the conditions give, beside what others have published. It runs programs of `benchmarks/` in a
//! small application of their own, and judges each figure of `benchmarks/published.yml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use local::conditions::Medians;
use local::events::{Ended, Entry, Event, Invocation, Move};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::process::Command;
use tokio::time::Instant;

use crate::bench::{Peer, Peers, drain, logical_id, system_roots, write_system_roots};
use crate::files::{read_yaml, write_json};
use crate::host::{Host, Start};
use crate::machine::{Machine, SIMULATED, commit, conditions};
use crate::percentile::{ms, percentile};
use crate::program::output;
use crate::session::Session;
use crate::table::{row, table};

/// MB of the functions that only compute.
const SIZES: [u32; 7] = [128, 256, 512, 1024, 1769, 2048, 3008];

/// What each of them computes: as many hashes as the published function.
const HASHES: &str = "500000";

/// The functions behind a route. Each has 128 MB.
const ROUTED: [&str; 3] = ["floor", "sdk-defaults", "demo"];

/// Warm requests after each cold start.
const WARM: usize = 10;

/// The longest pause between two requests: two periods of the CPU share, so that each finds another part of one.
const PAUSE_MS: u64 = 40;

/// After a message has arrived, so that the next is alone.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(100);

/// Of the order of functions, and of the pauses.
const SEED: u64 = 1;

/// A figure here agrees with one that differs by a tenth.
const TOLERANCE: f64 = 1.1;

/// The local DynamoDB and SQS check no signature.
const AUTHORIZATION: &str = "authorization: AWS4-HMAC-SHA256 Credential=Truth/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";

/// Of `workshop truth`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The conditions that are judged: lambda, or a file (docs/conditions.md)
    #[arg(long, value_name = "NAME|FILE", default_value = "lambda")]
    conditions: String,
    /// Cold starts of each function, and warm runs of the one that only computes at each memory size
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Messages sent to the queue
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    messages: u32,
    /// The host of this machine
    #[arg(long, value_name = "PATH", default_value = "target/host/local")]
    local: PathBuf,
}

/// Figures of one publication: a part of `benchmarks/published.yml`, which describes it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Published {
    of: String,
    source: String,
    note: String,
    figures: Vec<Figure>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    what: String,
    here: String,
    /// Ms, or a ratio; two are a range.
    published: Vec<f64>,
    /// Set by the comparison.
    #[serde(skip_deserializing)]
    measured: f64,
    #[serde(skip_deserializing)]
    verdict: String,
}

/// The result; `target/truth/truth.json`. It is written at the end only, so that it is complete.
#[derive(Debug, Serialize)]
struct Truth {
    /// RFC 3339.
    started_at: String,
    origin: &'static str,
    conditions: Option<Medians>,
    machine: Machine,
    commit: Option<String>,
    rounds: u32,
    messages: u32,
    groups: Vec<Published>,
}

/// What was measured, by the name that `published.yml` has for it. Ms, or a ratio.
type Measured = BTreeMap<String, f64>;

/// Runs the verb.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let root = &session.root;
    let out = root.join("target/truth");
    let result = out.join("truth.json");
    let _ = fs::remove_file(&result);
    let _ = fs::remove_dir_all(out.join("logs"));
    fs::create_dir_all(&out)?;
    let mut groups: Vec<Published> = read_yaml(&root.join("benchmarks/published.yml"))?;
    let started_at = OffsetDateTime::now_utc().format(&Rfc3339)?;

    let peers = peers(root)?;
    for mut peer in peers.clone() {
        let name = &peer.name;
        session.say(format!("building {name}, some minutes the first time"));
        session.or_interrupted(peer.prepare(root)).await?;
    }
    let template = out.join("template.json");
    write_json(&template, &application(root, &peers)?)?;
    let start = Start {
        program: &root.join(&arguments.local),
        template: &template,
        parameters: &BTreeMap::new(),
        code_dir: None,
        conditions: &arguments.conditions,
        account_concurrency: None,
        out: &out,
    };
    let host = Host::start(session, &start).await?;
    let measured = session
        .or_interrupted(measure(session, arguments, &host))
        .await;
    let known = host.conditions().await;
    host.stop().await;
    compare(&mut groups, &measured?)?;
    let truth = Truth {
        started_at,
        origin: SIMULATED,
        conditions: known?,
        machine: Machine::this().await,
        commit: commit(root).await,
        rounds: arguments.rounds,
        messages: arguments.messages,
        groups,
    };
    write_json(&result, &truth)?;
    session.say(render(&truth));
    Ok(true)
}

/// The programs: two that the benchmark has too, and two of its own.
fn peers(root: &Path) -> Result<Vec<Peer>> {
    let Peers { peers, truth, .. } = Peers::read(root)?;
    let shared = peers
        .into_iter()
        .filter(|it| ROUTED.contains(&it.name.as_str()));
    Ok(shared.chain(truth).collect())
}

/// The template: a route for each of [`ROUTED`], `work` at each size, and once more behind a queue.
fn application(root: &Path, peers: &[Peer]) -> Result<Value> {
    let attribute = json!([{"AttributeName": "id", "AttributeType": "S"}]);
    let key = json!([{"AttributeName": "id", "KeyType": "HASH"}]);
    let mut resources = json!({
        "Products": {"Type": "AWS::DynamoDB::Table", "Properties": {
            "TableName": "products", "BillingMode": "PAY_PER_REQUEST", "AttributeDefinitions": attribute, "KeySchema": key
        }},
        // Six times the functions' timeout.
        "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "queue", "VisibilityTimeout": 360}},
    });
    let mut function = |id: &str, name: &str, memory: u32, hashes: &str, event: Value| {
        let peer = peers.iter().find(|it| it.name == name);
        let peer = peer.with_context(|| format!("peers.yml has no {name}"))?;
        let own = peer.environment(root).into_iter();
        let mut variables: Map<_, _> = own
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        variables.insert("PRODUCTS_TABLE".to_owned(), json!({"Ref": "Products"}));
        variables.insert("HASHES".to_owned(), json!(hashes));
        resources[id] = json!({"Type": "AWS::Serverless::Function", "Properties": {
            "Runtime": "provided.al2023", "Handler": "bootstrap", "Timeout": 60, "MemorySize": memory,
            "CodeUri": peer.code_dir(root), "Environment": {"Variables": variables}, "Events": event,
        }});
        anyhow::Ok(())
    };
    for name in ROUTED {
        let route = json!({"Path": format!("/{name}/{{id}}"), "Method": "GET"});
        let event = json!({"Http": {"Type": "HttpApi", "Properties": route}});
        function(&logical_id(name), name, 128, "0", event)?;
    }
    for memory in SIZES {
        function(&format!("Work{memory}"), "work", memory, HASHES, json!({}))?;
    }
    let batch = json!({"Queue": {"Fn::GetAtt": ["Queue", "Arn"]}, "BatchSize": 1});
    let event = json!({"Batch": {"Type": "SQS", "Properties": batch}});
    function("Consumer", "work", 128, "0", event)?;
    Ok(json!({"Transform": "AWS::Serverless-2016-10-31", "Resources": resources}))
}

async fn measure(session: &Session, arguments: &Arguments, host: &Host) -> Result<Measured> {
    let (root, rounds) = (&session.root, arguments.rounds);
    write_system_roots(&system_roots(root), &host.ready.ca_file)?;
    let item =
        json!({"id": {"S": "lamp"}, "name": {"S": "Desk lamp"}, "price_cents": {"N": "2499"}});
    let put = json!({"TableName": "products", "Item": item});
    aws(host, "DynamoDB_20120810.PutItem", &put).await?;

    let mut random = fastrand::Rng::with_seed(SEED);
    let mut waits: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let bar = session.bar(u64::from(rounds));
    let mut order = ROUTED;
    for round in 1..=rounds {
        host.reap_all().await?;
        random.shuffle(&mut order);
        for name in order {
            let url = format!("{}/{name}/lamp", host.ready.api_url);
            let begun = Instant::now();
            host.request(Method::GET, &url, None).await?;
            waits.entry(name).or_default().push(ms(begun.elapsed()));
            for _ in 0..WARM {
                tokio::time::sleep(Duration::from_millis(random.u64(..=PAUSE_MS))).await;
                host.request(Method::GET, &url, None).await?;
            }
        }
        bar.inc(1);
        session.progress(&bar, format!("cold starts: round {round} of {rounds}"));
    }

    let bar = session.bar(u64::from(rounds));
    let mut order = SIZES;
    // Each first run is a cold start, which is not counted.
    for round in 0..=rounds {
        random.shuffle(&mut order);
        for memory in order {
            host.invoke(&format!("Work{memory}"), &json!({})).await?;
        }
        bar.set_position(u64::from(round));
        session.progress(&bar, format!("memory sizes: round {round} of {rounds}"));
    }

    session.say(format!("sending {} messages", arguments.messages));
    let queue = format!("{}/000000000000/queue", host.ready.aws_endpoint_url);
    for number in 0..arguments.messages {
        let message = json!({"QueueUrl": queue, "MessageBody": number.to_string()});
        aws(host, "AmazonSQS.SendMessage", &message).await?;
        drain(host).await?;
        tokio::time::sleep(BETWEEN_MESSAGES).await;
    }
    figures(&host.log().read().await?, &waits)
}

/// Makes a call to the local DynamoDB or SQS. It is none of a function's, so the conditions do not hold it back.
async fn aws(host: &Host, operation: &str, body: &Value) -> Result<()> {
    let mut curl = Command::new("curl");
    curl.args("--silent --show-error --fail-with-body --noproxy * --cacert".split(' '));
    curl.arg(&host.ready.ca_file);
    let target = format!("x-amz-target: {operation}");
    for header in [
        AUTHORIZATION,
        "content-type: application/x-amz-json-1.0",
        &target,
    ] {
        curl.args(["--header", header]);
    }
    curl.args(["--data-binary", &body.to_string()]);
    curl.arg(&host.ready.aws_endpoint_url);
    let answer = output(&mut curl).await;
    answer.with_context(|| operation.to_owned()).map(drop)
}

/// The figures of a log, and of the client's waits for cold starts in ms.
fn figures(log: &[Entry], waits: &BTreeMap<&str, Vec<f64>>) -> Result<Measured> {
    let all = log.iter().filter_map(|entry| match &entry.event {
        Event::Invocation(it) => Some(&**it),
        _ => None,
    });
    let all: Vec<_> = all.collect();
    if let Some(it) = all.iter().find(|it| it.outcome != Ended::Success) {
        bail!("{} failed: {:?} {:?}", it.function, it.outcome, it.error);
    }
    let of = |function: &str, cold: bool| {
        let own = all.iter().copied();
        let own = own.filter(|it| it.function == function && it.cold == cold);
        own.collect::<Vec<_>>()
    };
    let mut measured = Measured::new();
    let mut put = |name: String, values: &[f64]| {
        for percent in [0.0, 10.0, 50.0, 90.0, 99.0, 100.0] {
            let value = percentile(values, percent);
            measured.extend(value.map(|it| (format!("{name}.p{percent}"), it)));
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        measured.insert(format!("{name}.mean"), mean);
    };
    for (name, waits) in waits {
        let (cold, warm) = (of(&logical_id(name), true), of(&logical_id(name), false));
        let (colds, rounds) = (cold.len(), waits.len());
        if colds != rounds {
            bail!("{name} had {colds} cold starts in {rounds} rounds");
        }
        let times = |of: &[&Invocation], time: fn(&Invocation) -> Duration| {
            of.iter().map(|it| ms(time(it))).collect::<Vec<_>>()
        };
        let init = |it: &Invocation| it.init.map_or(Duration::ZERO, |init| init.duration);
        put(format!("{name}.init"), &times(&cold, init));
        put(format!("{name}.wait"), waits);
        put(format!("{name}.cold"), &times(&cold, Invocation::own));
        put(format!("{name}.first"), &times(&cold, |it| it.duration));
        put(format!("{name}.warm"), &times(&warm, |it| it.duration));
    }
    let delivered = log.iter().filter_map(|entry| match &entry.event {
        Event::Messages(it) if it.change == Move::Delivered => Some(&it.waited),
        _ => None,
    });
    let waited: Vec<_> = delivered.flatten().map(|it| ms(*it)).collect();
    put("trigger".to_owned(), &waited);
    let typical = |memory: u32| {
        let ran = of(&format!("Work{memory}"), false);
        let times: Vec<_> = ran.iter().map(|it| ms(it.duration)).collect();
        percentile(&times, 50.0)
    };
    for sizes in SIZES.windows(2) {
        let times = typical(sizes[0]).zip(typical(sizes[1]));
        let ratio = times.map(|(less, more)| less / more);
        measured.extend(ratio.map(|it| (format!("work.{}.{}", sizes[0], sizes[1]), it)));
    }
    Ok(measured)
}

/// Adds to each published figure the one of here, and the verdict.
fn compare(published: &mut [Published], measured: &Measured) -> Result<()> {
    for figure in published.iter_mut().flat_map(|group| &mut group.figures) {
        let name = &figure.here;
        let here = measured.get(name);
        figure.measured =
            *here.with_context(|| format!("published.yml: nothing is called {name}"))?;
        figure.verdict = verdict(&figure.published, figure.measured);
    }
    Ok(())
}

/// Whether a figure here is in the published range, or how far it is from the nearer end.
fn verdict(published: &[f64], here: f64) -> String {
    let least = published.iter().copied().fold(f64::INFINITY, f64::min);
    let most = published.iter().copied().fold(0.0, f64::max);
    if here > most * TOLERANCE {
        format!("{:.1} times as much", here / most)
    } else if here * TOLERANCE < least {
        format!("{:.1} times as little", least / here)
    } else {
        "agrees".to_owned()
    }
}

fn render(truth: &Truth) -> String {
    let groups = truth.groups.iter().map(|group| {
        let rows = group.figures.iter().map(|it| {
            let published: Vec<_> = it.published.iter().map(f64::to_string).collect();
            row! { "figure": it.what.as_str(), "published": published.join(" to "), "here": it.measured,
            "verdict": it.verdict.as_str() }
        });
        let table = table(&group.of, truth.origin, rows);
        format!("{table}\n  published: {}\n  {}\n", group.source, group.note)
    });
    format!(
        "{}\nTimes are ms. A figure agrees within a tenth of the published range.\n\
        {} cold starts, {WARM} warm requests after each; {} warm runs at each memory size; {} messages.\n\
        conditions: {}\n{}",
        groups.collect::<Vec<_>>().join("\n"),
        truth.rounds,
        truth.rounds,
        truth.messages,
        conditions(truth.conditions.as_ref()),
        truth.machine.describe(),
    )
}

#[cfg(test)]
mod tests {
    use local::events::{Init, Messages};

    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn published() -> Vec<Published> {
        read_yaml(&root().join("benchmarks/published.yml")).unwrap()
    }

    fn ran(function: &str, init_ms: Option<u64>, duration_ms: u64) -> Entry {
        let init = init_ms.map(|ms| Init {
            duration: Duration::from_millis(ms),
            cpu: Duration::ZERO,
            platform: Duration::ZERO,
        });
        let event = Event::Invocation(Box::new(Invocation {
            function: function.to_owned(),
            cold: init.is_some(),
            init,
            duration: Duration::from_millis(duration_ms),
            ..Invocation::default()
        }));
        Entry { at_us: 0, event }
    }

    /// A log of one round, in which a cold start takes 20 + 30 ms and a warm run 5.
    fn log() -> Vec<Entry> {
        let routed = ROUTED.map(logical_id);
        let routed = routed
            .iter()
            .flat_map(|it| [ran(it, Some(20), 30), ran(it, None, 5)]);
        let sizes = SIZES.into_iter().flat_map(|memory| {
            let name = format!("Work{memory}");
            let warm = u64::from(300_000 / memory);
            [ran(&name, Some(1), 9_999), ran(&name, None, warm)]
        });
        let delivered = Event::Messages(Messages {
            queue: "Queue".to_owned(),
            change: Move::Delivered,
            ids: Vec::new(),
            request_id: None,
            waited: vec![Duration::from_millis(16)],
        });
        let delivered = Entry {
            at_us: 0,
            event: delivered,
        };
        routed.chain(sizes).chain([delivered]).collect()
    }

    #[test]
    fn a_miss_has_its_size_and_its_direction() {
        for (published, here, expected) in [
            (&[745.0, 1326.0] as &[f64], 900.0, "agrees"),
            (&[745.0, 1326.0], 1400.0, "agrees"),
            (&[745.0, 1326.0], 2652.0, "2.0 times as much"),
            (&[745.0, 1326.0], 392.1, "1.9 times as little"),
            (&[16.2], 17.0, "agrees"),
            (&[16.2], 39.0, "2.4 times as much"),
            (&[2.0], 1.0, "2.0 times as little"),
        ] {
            assert_eq!(
                verdict(published, here),
                expected,
                "{here} of {published:?}"
            );
        }
    }

    #[test]
    fn cold_starts_are_the_functions_own_part_and_warm_runs_are_none_of_them() {
        let waits = BTreeMap::from(ROUTED.map(|name| (name, vec![150.0])));
        let measured = figures(&log(), &waits).unwrap();
        let of = |name: &str| measured[name];
        assert_eq!(
            [
                of("demo.init.p50"),
                of("demo.first.p50"),
                of("demo.cold.p50")
            ],
            [20.0, 30.0, 50.0]
        );
        assert_eq!(
            [
                of("demo.warm.mean"),
                of("demo.wait.p100"),
                of("trigger.p99")
            ],
            [5.0, 150.0, 16.0]
        );
        assert!(
            (of("work.128.256") - 2.0).abs() < 0.01,
            "{}",
            of("work.128.256")
        );

        let one_more = BTreeMap::from([("demo", vec![150.0, 151.0])]);
        let refused = figures(&log(), &one_more).unwrap_err().to_string();
        assert_eq!(refused, "demo had 1 cold starts in 2 rounds");
    }

    #[test]
    fn every_published_figure_is_measured() {
        let waits = BTreeMap::from(ROUTED.map(|name| (name, vec![150.0])));
        let mut groups = published();
        compare(&mut groups, &figures(&log(), &waits).unwrap()).unwrap();
        let all = groups.iter().flat_map(|group| &group.figures);
        let mut verdicts = all.map(|figure| (figure.verdict.as_str(), figure.measured));
        assert!(verdicts.all(|(verdict, measured)| !verdict.is_empty() && measured > 0.0));
        let unknown = compare(&mut groups, &Measured::new()).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "published.yml: nothing is called sdk-defaults.first.mean"
        );
    }

    #[test]
    fn every_source_is_an_address_and_one_that_the_conditions_have_too_is_named() {
        let ours = fs::read_to_string(root().join("local/conditions.toml")).unwrap();
        let ours: Vec<_> = addresses(&ours).collect();
        for group in published() {
            let theirs: Vec<_> = addresses(&group.source).collect();
            assert!(
                group.source.starts_with("https://") && !theirs.is_empty(),
                "{}",
                group.of
            );
            if theirs.iter().any(|it| ours.contains(it)) {
                assert!(
                    group.note.contains("conditions.toml"),
                    "{}: {}",
                    group.of,
                    group.note
                );
            }
        }
    }

    /// The addresses of a text, each to the repository or page.
    fn addresses(text: &str) -> impl Iterator<Item = String> {
        text.split("https://").skip(1).map(|rest| {
            let end = rest
                .find([',', ' ', '"', ')', ';', ':'])
                .unwrap_or(rest.len());
            rest[..end].trim_end_matches(['/', '.']).to_owned()
        })
    }

    /// One number may be the same by chance, as 121 ms is.
    #[test]
    fn no_section_of_the_conditions_has_two_figures_of_a_publication() {
        let conditions = fs::read_to_string(root().join("local/conditions.toml")).unwrap();
        for group in published() {
            let numbers = group.figures.iter().flat_map(|it| &it.published);
            let texts: Vec<_> = numbers.map(|it| format!("\"{it} ms\"")).collect();
            for section in conditions.split("\n[") {
                let same = texts.iter().filter(|it| section.contains(*it)).count();
                assert!(same < 2, "{}: {section}", group.of);
            }
        }
    }

    #[test]
    fn the_application_has_all_functions_with_their_roots() {
        let template = application(&root(), &peers(&root()).unwrap()).unwrap();
        let of = |id: &str| template["Resources"][id]["Properties"].clone();
        assert!(of("SdkDefaults")["Environment"]["Variables"]["SSL_CERT_FILE"].is_string());
        assert!(of("Floor")["Environment"]["Variables"]["SSL_CERT_FILE"].is_null());
        assert_eq!(of("Work3008")["MemorySize"], 3008);
        assert_eq!(of("Demo")["MemorySize"], 128);
    }
}
