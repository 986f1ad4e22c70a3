//! `workshop compare`: two builds of the functions beside each other. Causes (calls, bytes, units, connections, cold
//! starts) are counted, and have to be equal. Times are measured in rounds that alternate between the two.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;
use local::conditions::Medians;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::bench::{Request, Requests, logical_id};
use crate::files::{read_json, write_json};
use crate::machine::Machine;
use crate::percentile::percentile;
use crate::ratio::{Ratio, Verdict, ratio, width};
use crate::report::{write, write_quietly};
use crate::session::{BadInput, Session};

mod render;
mod report;
mod rounds;
mod runs;
mod sides;

pub use rounds::fill;
use rounds::{Measured, measure, start};
use runs::Run;
use sides::{Side, build};

/// Of `workshop compare`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A commit, a folder of built functions (as target/lambda), or summary.json of a load test
    #[arg(long, value_name = "WHAT")]
    before: String,
    /// The same; without it, what `make build` has left in target/lambda
    #[arg(long, value_name = "WHAT", default_value = "")]
    after: String,
    /// Compare this function of the template alone
    #[arg(long, value_name = "NAME", default_value = "")]
    function: String,
    /// Pairs of measurements
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=200))]
    rounds: u32,
    /// What AWS takes where this machine takes almost nothing: none, lambda, or a file (docs/conditions.md)
    #[arg(long, value_name = "NAME|FILE", default_value = "lambda")]
    conditions: String,
    /// The host of this machine
    #[arg(long, value_name = "PATH", default_value = "target/host/local")]
    local: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result; `target/compare/compare.json`.
#[derive(Debug, Serialize)]
struct Comparison {
    before: String,
    after: String,
    /// RFC 3339.
    started_at: String,
    /// The signal that cut it short; then it has the rounds until then.
    interrupted_by: Option<String>,
    machine: Machine,
    conditions: Option<Medians>,
    rounds: usize,
    /// Everything that was counted.
    counts: Vec<Count>,
    times: Vec<Time>,
    /// How many of the numbers above are more, or slower.
    worse: usize,
}

/// A number that both sides have counted.
#[derive(Debug, PartialEq, Serialize)]
struct Count {
    what: String,
    before: f64,
    after: f64,
}

/// A time of each side: medians of all rounds, and the ratio of the pairs.
#[derive(Debug, Serialize)]
struct Time {
    what: String,
    before_ms: f64,
    after_ms: f64,
    #[serde(flatten)]
    ratio: Ratio,
}

/// Runs the verb; the result is whether nothing is more or slower.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let (root, out) = (&session.root, session.root.join("target/compare"));
    let Arguments { before, after, .. } = arguments;
    let after = if after.is_empty() {
        "target/lambda"
    } else {
        after
    };
    let sides = [
        Side::find(root, "BEFORE", before).await?,
        Side::find(root, "AFTER", after).await?,
    ];
    let mut runs = Vec::new();
    for side in &sides {
        if let Side::Run(file) = side {
            runs.push(read_json::<Run>(file)?);
        }
    }
    if let [before, after] = &runs[..] {
        let (fine, said, report) = runs::compare(before, after);
        session.say(said);
        fs::create_dir_all(&out)?;
        write(session, &out, &report)?;
        return Ok(fine);
    }
    if !runs.is_empty() {
        let why =
            "a load test can be compared with a load test alone: its mix of requests is random";
        return Err(BadInput(why.to_owned()).into());
    }
    let requests = requests(root, &arguments.function)?;
    let mut folders = Vec::new();
    for side in sides {
        folders.push(match side {
            Side::Commit(commit) => build(session, &out, &commit).await?,
            Side::Code(folder) | Side::Run(folder) => folder,
        });
    }

    let started_at = OffsetDateTime::now_utc().format(&Rfc3339)?;
    let first = start(session, arguments, &out.join("before"), &folders[0], None).await?;
    let known = first.conditions().await;
    let factor = known.as_ref().ok().and_then(|it| it.as_ref());
    let factor = factor.map(|it| it.cpu_factor);
    let second = start(session, arguments, &out.join("after"), &folders[1], factor).await;
    let mut sides = [Measured::default(), Measured::default()];
    let mut rounds = 0;
    let measured = match second {
        Err(error) => Err(error),
        Ok(second) => {
            let hosts = [&first, &second];
            let measured = measure(
                session,
                arguments,
                hosts,
                &requests,
                &mut sides,
                &mut rounds,
            );
            let measured = measured.await;
            second.stop().await;
            measured
        }
    };
    first.stop().await;
    let interrupted = session.interrupted_by().map(|signal| signal.to_string());
    if interrupted.is_none() || rounds < 2 {
        measured?;
    }
    let [before_side, after_side] = sides;
    let (counts, times) = judge(&before_side, &after_side, rounds);
    let more = counts.iter().filter(|count| count.after > count.before);
    let slower = times
        .iter()
        .filter(|time| time.ratio.verdict == Verdict::Slower);
    let comparison = Comparison {
        worse: more.count() + slower.count(),
        before: before.clone(),
        after: after.to_owned(),
        started_at,
        interrupted_by: interrupted,
        machine: Machine::this().await,
        conditions: known?,
        rounds,
        counts,
        times,
    };
    write_json(&out.join("compare.json"), &comparison)?;
    session.say(if arguments.json {
        serde_json::to_string_pretty(&comparison)?
    } else {
        render::text(&comparison)
    });
    let page = report::report(&comparison);
    if arguments.json {
        write_quietly(&out, &page)?; // the JSON alone is printed
    } else {
        write(session, &out, &page)?;
    }
    Ok(comparison.worse == 0)
}

/// The benchmark's request for each function, by logical id, or for one of them.
fn requests(root: &Path, function: &str) -> Result<Vec<(String, Request)>> {
    let all = Requests::read(root)?.shop.into_iter();
    let all = all.map(|(name, request)| (logical_id(&name), request));
    let all: Vec<_> = all.collect();
    let names: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
    let wanted = |name: &str| function.is_empty() || name == function;
    let mut wanted: Vec<_> = all.into_iter().filter(|(name, _)| wanted(name)).collect();
    if wanted.is_empty() {
        let why = format!(
            "there is no function {function}; there are: {}",
            names.join(", ")
        );
        return Err(BadInput(why).into());
    }
    // The function behind the queue runs when another's request fills it.
    if function.is_empty() {
        wanted.retain(|(_, request)| !request.behind_queue);
    }
    Ok(wanted)
}

/// All counts, and all times that both have for each round.
fn judge(before: &Measured, after: &Measured, rounds: usize) -> (Vec<Count>, Vec<Time>) {
    let names: BTreeSet<_> = before.counts.keys().chain(after.counts.keys()).collect();
    let count = |side: &Measured, name: &str| side.counts.get(name).copied().unwrap_or(0.0);
    let counts = names.into_iter().map(|name| Count {
        what: name.clone(),
        before: count(before, name),
        after: count(after, name),
    });
    let pairs = before.times.iter().filter_map(|(what, before)| {
        let after = after.times.get(what)?;
        (rounds > 1 && [before, after].map(Vec::len) == [rounds; 2])
            .then_some((what, before, after))
    });
    let pairs: Vec<_> = pairs.collect();
    let width = width(rounds.max(2), pairs.len());
    let times = pairs.iter().map(|(what, before, after)| Time {
        what: (*what).clone(),
        before_ms: percentile(before, 50.0).unwrap_or_default(),
        after_ms: percentile(after, 50.0).unwrap_or_default(),
        ratio: ratio(before, after, width),
    });
    (counts.collect(), times.collect())
}

#[cfg(test)]
mod tests {
    use super::rounds::Latencies;
    use super::*;
    use local::events::{Call, Entry, Event};

    fn call(function: &str) -> Entry {
        let call = Call {
            function: function.to_owned(),
            operation: "DynamoDB.GetItem".to_owned(),
            request_bytes: 100,
            ..Call::default()
        };
        let event = Event::Call(Box::new(call));
        Entry { at_us: 0, event }
    }

    #[test]
    fn one_call_more_is_found() {
        let (mut before, mut after) = (Measured::default(), Measured::default());
        for round in 0..20 {
            before.add(&[call("GetProduct")], Latencies::new(), "");
            let mut events = vec![call("GetProduct"), call("AKID")];
            events.truncate(1);
            if round == 7 {
                events.push(call("GetProduct"));
            }
            after.add(&events, Latencies::new(), "");
        }
        let (counts, _) = judge(&before, &after, 20);
        let differ: Vec<_> = counts.iter().filter(|it| it.before != it.after).collect();
        assert_eq!(differ.len(), 2, "{differ:?}");
        assert_eq!(differ[0].what, "GetProduct DynamoDB.GetItem: calls");
        assert_eq!((differ[0].before, differ[0].after), (20.0, 21.0));
        let (counts, _) = judge(&before, &before, 20);
        assert!(counts.iter().all(|it| it.before == it.after));
    }

    #[test]
    fn only_the_function_that_was_asked_for_counts() {
        let mut side = Measured::default();
        side.add(
            &[call("GetProduct"), call("GetOrder")],
            Latencies::new(),
            "GetOrder",
        );
        assert_eq!(side.counts["GetOrder DynamoDB.GetItem: calls"], 1.0);
        assert!(side.counts.keys().all(|it| it.starts_with("GetOrder")));
    }

    #[test]
    fn a_time_slower_in_each_round_is_found_and_the_rest_is_not() {
        let side = |factor: f64| {
            let mut side = Measured::default();
            for round in 0..20 {
                let ms = 10.0 + f64::from(round % 5);
                let of = |name: &str, ms| ((name.to_owned(), false), vec![ms]);
                let latencies = [of("GetProduct", ms * factor), of("GetOrder", ms)];
                side.add(&[], latencies.into(), "");
            }
            side
        };
        let (_, times) = judge(&side(1.0), &side(1.3), 20);
        let verdicts: Vec<_> = times
            .iter()
            .map(|time| (time.what.as_str(), time.ratio.verdict))
            .collect();
        assert_eq!(
            verdicts,
            [
                ("GetOrder warm latency", Verdict::NoDifference),
                ("GetProduct warm latency", Verdict::Slower)
            ]
        );
    }

    #[test]
    fn a_function_that_does_not_exist_is_refused_with_those_that_do() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert_eq!(requests(&root, "").unwrap().len(), 7);
        assert_eq!(requests(&root, "ProcessOrders").unwrap().len(), 1);
        let error = requests(&root, "GetProducts").unwrap_err();
        assert!(error.is::<BadInput>());
        assert!(
            error.to_string().contains("GetOrder, GetProduct,"),
            "{error}"
        );
    }
}
