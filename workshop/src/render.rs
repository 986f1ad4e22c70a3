//! The result of a load test as a person reads it: tables, gates, and the verdict.

use crate::functions::{Function, environments_needed};
use crate::gates::Gate;
use crate::machine::{MEASURED, NEEDS_AWS};
use crate::percentile::percentile;
use crate::prices::MONTH_HOURS;
use crate::summary::{LoadResult, Stress, Summary, Times};
use crate::table::{Row, row, table};

/// Errors that the tables show; `summary.json` has all.
const SHOWN_ERRORS: usize = 8;

/// The whole summary as text, at most 100 columns wide.
pub fn summary(summary: &Summary) -> String {
    let (origin, load) = (&summary.origin, &summary.load);
    let mut blocks = vec![head(summary)];
    blocks.extend(self::load(load, &origin.routes));
    blocks.push(functions(summary));
    blocks.extend(cold_starts(summary));
    blocks.extend(provisioned(summary));
    if summary.aws_calls.is_some() {
        blocks.extend(calls(summary));
    }
    let each = summary.per_thousand_requests;
    let each = row! {
        "AWS calls": each.aws_calls, "read units": each.read_units, "write units": each.write_units,
        "GB-seconds": each.gb_seconds,
    };
    let title = "For each thousand requests";
    blocks.push(table(title, &origin.consumed_capacity, [each]));
    if let Some(queues) = &summary.queues {
        let rows = queues.iter().map(|(name, queue)| {
            let trigger = queue.trigger.as_ref();
            let time = trigger.map(|it| it.queue_time_ms);
            row! {
                "queue": name.as_str(), "received": trigger.map(|it| it.received),
                "runs": trigger.map(|it| it.invocations),
                "p50": time.map(|it| it.p50), "p95": time.map(|it| it.p95),
                "p99": time.map(|it| it.p99), "worst": time.map(|it| it.max),
                "still there": queue.messages(),
            }
        });
        blocks.push(table("Queues: ms in the queue", &origin.queues, rows));
    }
    if let Some(burst) = &summary.burst {
        let each = row! {
            "orders": burst.orders, "runs": burst.runs, "messages each": burst.messages_each_run,
            "runs with several": burst.runs_with_several, "ms each message": burst.ms_each_message,
            "ms of its transaction": burst.call_ms,
        };
        let title = "Burst: many orders at once, after the load";
        blocks.push(table(title, &origin.queues, [each]));
    }
    blocks.push(match &summary.interrupted_by {
        Some(signal) => format!(
            "PARTIAL: interrupted by {signal}; this is what was measured until then, and no gate was judged."
        ),
        None => gates("Gates", &load.gates, &origin.gates),
    });
    blocks.join("\n\n")
}

fn head(summary: &Summary) -> String {
    let (profile, api_url, at) = (&summary.profile, &summary.api_url, &summary.started_at);
    let machine = summary.machine.describe();
    let commit = summary.commit.as_deref().unwrap_or("unknown");
    let mut head = format!("\n{profile} on {api_url}, {at}\n{machine}\ncommit {commit}");
    if let Some(known) = &summary.conditions {
        head += &format!("\nconditions {known}");
    }
    for (index, (name, value)) in summary.parameters.iter().enumerate() {
        head += if index == 0 { "\nparameters:" } else { "" };
        head += &format!(" {name}={value}");
    }
    head
}

fn functions(summary: &Summary) -> String {
    let title = "Functions: ms, p50 and p99; memory in MB";
    let origin = &summary.origin.functions;
    if summary.functions.is_empty() && origin == NEEDS_AWS {
        return format!(
            "{title} [{NEEDS_AWS}]\n  not known here; STACK=… reads them from CloudWatch, `workshop add-reports` from exports of its logs"
        );
    }
    let rows = summary.functions.iter().map(|it| {
        row! {
            "function": it.name.as_str(), "runs": it.invocations, "cold": it.cold_starts,
            "init": it.init_p50_ms, "p99": it.init_p99_ms, "run": it.duration_p50_ms, "p99": it.duration_p99_ms,
            "CPU": it.warm_cpu_p50_ms, "cold CPU": it.cold_cpu_p50_ms, "memory": it.peak_memory_mb,
            "errors": it.errors, "timeouts": it.timeouts,
        }
    });
    table(title, origin, rows)
}

/// The code's part is init and first run. Beside it stand the platform's part, which provisioned concurrency buys off,
/// and the client's whole wait. The number of environments that the rate needs stands beside those that were started. More
/// of them start where several requests come before the first environment is ready.
fn cold_starts(summary: &Summary) -> Option<String> {
    let rows = summary.functions.iter().filter_map(|it| {
        let cold = it.cold.as_ref()?;
        Some(row! {
            "function": it.name.as_str(), "started": it.cold_starts_under_load,
            "needed": needed(summary, it)?, "busy": it.busy_ms?, "init": cold.init_p50_ms,
            "first run": cold.first_p50_ms, "both": cold.own_p50_ms, "worst": cold.own_worst_ms,
            "platform": cold.platform_p50_ms, "waited": cold.wait_p50_ms, "worst": cold.wait_worst_ms,
        })
    });
    let rows: Vec<_> = rows.collect();
    let title = "Cold starts under load: environments; ms of the code and of the client's wait";
    (!rows.is_empty()).then(|| table(title, &summary.origin.functions, rows))
}

/// Environments of a function that the rate of a run needs.
fn needed(summary: &Summary, function: &Function) -> Option<u64> {
    let seconds = summary.load.seconds?;
    Some(environments_needed(
        function.invocations,
        seconds,
        function.busy_ms?,
    ))
}

/// What provisioned concurrency has bought, and what it costs a month. Of a run without it, what it would.
fn provisioned(summary: &Summary) -> Option<String> {
    let priced = summary.provisioned.as_ref()?;
    let functions = || {
        let all = summary.functions.iter();
        all.filter(|it| priced.usd_month.contains_key(&it.name))
    };
    let (hours, as_of, count) = (MONTH_HOURS, &priced.as_of, priced.usd_month.len());
    let basis = format!(
        "  a month of {hours} hours at the list prices of {as_of} ({}); runs cost besides",
        priced.priced_for
    );
    if priced.environments > 0 {
        let rows = functions().map(|it| {
            let (ahead, cold) = (it.ahead.as_ref(), it.cold.as_ref());
            row! {
                "function": it.name.as_str(), "ready": priced.environments,
                "first runs": ahead.map_or(0, |it| it.first_runs),
                "waited": ahead.map(|it| it.wait_p50_ms), "worst": ahead.map(|it| it.wait_worst_ms),
                "spared": ahead.map(|it| it.spared_p50_ms), "still cold": it.cold_starts_under_load,
                "waited": cold.and_then(|it| it.wait_p50_ms),
                "$ a month": priced.usd_month[&it.name] * priced.environments as f64,
            }
        });
        let table = table(
            "Provisioned concurrency: first runs in ready environments, and in cold ones; ms",
            &summary.origin.functions,
            rows,
        );
        let all = priced.cost(priced.environments);
        return Some(format!(
            "{table}\n  together ${all:.2}, {count} functions:\n{basis}"
        ));
    }
    let most = functions().filter_map(|it| needed(summary, it)).max()?;
    let spared = functions().filter_map(|it| {
        let cold = it.cold.as_ref()?;
        Some(cold.init_p50_ms + cold.platform_p50_ms?)
    });
    let spared = percentile(&spared.collect::<Vec<_>>(), 50.0)?;
    let all = priced.cost(most);
    Some(format!(
        "Provisioned concurrency: none\n  ProvisionedConcurrency={most}, the most that a function needed here, would spare the first callers of each\n  \
         of {count} functions some {spared:.0} ms, and cost ${all:.2}:\n{basis}"
    ))
}

fn calls(summary: &Summary) -> [String; 2] {
    let (mut calls, mut units) = (Vec::new(), Vec::new());
    for (name, caller) in summary.aws_calls.iter().flatten() {
        let function = summary.functions.iter().find(|it| it.name == *name);
        let runs = function.map(|it| it.invocations).filter(|runs| *runs > 0);
        for (index, (operation, it)) in caller.operations.iter().enumerate() {
            let count = it.calls as f64;
            calls.push(row! {
                "function": name.as_str(), "operation": operation.as_str(), "calls": it.calls,
                "each run": runs.map(|runs| count / runs as f64), "errors": it.errors, "throttles": it.throttles,
                "connections": (index == 0).then_some(caller.connections),
            });
            if it.read_units + it.write_units > 0.0 {
                units.push(row! {
                    "function": name.as_str(), "operation": operation.as_str(),
                    "read": it.read_units, "each call": it.read_units / count,
                    "write": it.write_units, "each call": it.write_units / count,
                });
            }
        }
    }
    let origin = &summary.origin;
    let title = "AWS calls, counted at the endpoint";
    [
        table(title, &origin.aws_calls, calls),
        table("Consumed capacity: units", &origin.consumed_capacity, units),
    ]
}

fn times(times: Times) -> Row {
    row! { "p50": times.p50_ms, "p95": times.p95_ms, "p99": times.p99_ms, "worst": times.worst_ms }
}

/// What a client saw: routes, refusals, errors, orders, trend and steps.
pub fn load(load: &LoadResult, origin: &str) -> Vec<String> {
    let logged = load.routes.iter().any(|route| route.logged.is_some());
    let rows = load.routes.iter().map(|route| {
        let mut row = row! { "route": route.route.as_str(), "requests": route.requests };
        row.extend(times(route.successes));
        if logged {
            let [(_, p50), rest @ ..] = &times(route.logged.unwrap_or_default())[..] else {
                unreachable!("it has four columns")
            };
            row.push(("API p50", p50.clone()));
            row.extend_from_slice(rest);
        }
        let statuses = route.statuses.iter();
        let statuses = statuses.map(|(status, count)| format!("{status}: {count}"));
        row.extend(row! { "statuses": statuses.collect::<Vec<_>>().join(", ") });
        row
    });
    let rate = load.requests_per_second.unwrap_or_default();
    let by_log = if logged { ", and by the API's log" } else { "" };
    let title = format!("Routes: ms to the first byte of a success{by_log}; {rate:.1} requests/s");
    let mut blocks = vec![table(&title, origin, rows)];

    let refused = load.routes.iter().filter_map(|route| {
        let mut row = row! { "route": route.route.as_str() };
        row.extend(times(route.refusals?));
        Some(row)
    });
    let refused: Vec<_> = refused.collect();
    if !refused.is_empty() {
        let title = "Refusals (4xx): ms to the first byte";
        blocks.push(table(title, origin, refused));
    }
    if !load.errors.is_empty() {
        let shown = load.errors.iter().take(SHOWN_ERRORS);
        let rows = shown.map(|it| row! { "times": it.count, "error": it.error.as_str() });
        blocks.push(table("Failed", origin, rows));
    }
    let orders = load.orders;
    let orders = row! {
        "accepted": orders.accepted, "fulfilled": orders.fulfilled, "rejected": orders.rejected,
        "unfinished": orders.unfinished, "p50": orders.p50_ms, "p99": orders.p99_ms,
    };
    blocks.push(table("Orders: ms from placed to final", origin, [orders]));
    if let Some(trend) = &load.trend {
        let rows = trend.iter();
        let rows = rows.map(|it| row! { "": it.name.as_str(), "first": it.first, "last": it.last });
        blocks.push(table("First minute and last: medians", origin, rows));
    }
    blocks.extend(load.stress.as_ref().map(stress));
    blocks
}

fn stress(stress: &Stress) -> String {
    let last_step = stress.steps.last();
    let broke = last_step.is_some_and(|step| !step.broken.is_empty());
    let last = match &stress.knee {
        Some(knee) if broke => format!("the last step that held is \"{knee}\""),
        Some(knee) => format!("the last step that held is \"{knee}\", and none was higher"),
        None => "not even the first step held".to_owned(),
    };
    let rows = stress.steps.iter().map(|step| {
        let broken = match step.broken.as_slice() {
            [] => "none".to_owned(),
            [first, ..] => format!("{}: {first}", step.broken.len()),
        };
        row! {
            "step": step.name.as_str(), "requests/s": step.requests_per_second, "p99": step.p99_ms,
            "gates that broke": broken,
        }
    });
    table(&format!("Stress: {last}"), MEASURED, rows)
}

/// The gates and the verdict. Many gates are on figures that stand in the tables of routes and cold starts: those that
/// pass are counted. `title` says what they are called.
pub fn gates(title: &str, gates: &[Gate], origin: &str) -> String {
    const IN_TABLES: [&str; 4] = [
        "http.response_time.",
        "latency of ",
        "routes.",
        "cold start",
    ];
    let in_tables = |gate: &Gate| IN_TABLES.iter().any(|start| gate.name.starts_with(start));
    let (quiet, shown): (Vec<_>, Vec<_>) =
        gates.iter().partition(|gate| gate.pass && in_tables(gate));
    let row = |name: &str, limit: &str, value: String, pass: bool| {
        row! { "gate": name, "limit": limit, "value": value, "": if pass { "pass" } else { "FAIL" } }
    };
    let rows = shown.into_iter();
    let rows = rows.map(|it| row(&it.name, &it.limit, plain(it.value), it.pass));
    let quiet = (!quiet.is_empty()).then(|| {
        let count = quiet.len();
        let name = format!("latency, statuses and cold starts in the tables above: {count} gates");
        row(&name, "", String::new(), true)
    });
    let table = table(title, origin, rows.chain(quiet));
    let (all, failed) = (gates.len(), gates.iter().filter(|gate| !gate.pass).count());
    let what = title.to_lowercase();
    match failed {
        0 => format!("{table}\n\nPassed: all {all} {what}."),
        failed => format!("{table}\n\nFAILED: {failed} of {all} {what}."),
    }
}

/// A value to hundredths, without zeros at its end.
fn plain(value: Option<f64>) -> String {
    let rounded = value.map(|value| (value * 100.0).round() / 100.0);
    rounded.map_or("-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render;
    use crate::summary::tests::summary;

    #[test]
    fn the_tables_fit_in_100_columns() {
        for line in render::summary(&summary()).lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }

    #[test]
    fn the_tables_name_the_origin_of_each_block_and_the_gates_that_failed() {
        let text = render::summary(&summary());
        let unspaced = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for label in [
            "requests/s [measured here]",
            "Consumed capacity: units [simulated here]",
            "batch-get.p99 < 100 1234.5 FAIL",
            "unfinished == 0 0 pass",
            "in the tables above: 1 gates pass",
            "parameters: ProvisionedConcurrency=5",
            "BatchGetProducts 1 1 1358 123 1235",
            "FAILED: 2 of 4 gates.",
        ] {
            assert!(unspaced.contains(label), "{label}\n{text}");
        }
        let mut deployed = summary();
        deployed.functions.clear();
        deployed.origin.functions = NEEDS_AWS.to_owned();
        let text = render::summary(&deployed);
        assert!(
            text.contains("memory in MB [needs AWS]\n  not known here"),
            "{text}"
        );
    }

    #[test]
    fn what_provisioned_concurrency_buys_and_costs_is_told_with_it_and_without_it() {
        let mut summary = summary();
        let text = render::summary(&summary);
        assert!(
            text.contains(
                "  together $6172.50, 1 functions:\n  a month of 730 hours at the list prices"
            ),
            "{text}"
        );
        let priced = summary.provisioned.as_mut().unwrap();
        priced.environments = 0;
        let cold = summary.functions[0].cold.as_mut().unwrap();
        cold.platform_p50_ms = Some(90.0);
        let text = render::summary(&summary);
        // One run in two seconds needs one environment; its init took 123.45 ms.
        assert!(
            text.contains("ProvisionedConcurrency=1, the most that a function needed")
                && text.contains("some 213 ms, and cost $1234.50:\n  a month of 730 hours"),
            "{text}"
        );
        assert!(!text.contains("in ready environments"), "{text}");
        // Of a stack on AWS nothing is known.
        summary.provisioned = None;
        let text = render::summary(&summary);
        assert!(!text.contains("ProvisionedConcurrency=1"), "{text}");
    }

    #[test]
    fn a_run_that_was_cut_short_says_so_and_judges_nothing() {
        let mut summary = summary();
        summary.interrupted_by = Some("SIGINT".to_owned());
        let text = render::summary(&summary);
        assert!(
            text.contains("PARTIAL: interrupted by SIGINT; ") && !text.contains("Passed"),
            "{text}"
        );
    }
}
