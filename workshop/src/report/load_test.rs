//! The report of a load test.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use local::events::{Event, Invocation};
use serde_json::Value;

use super::answers::{self, Clock};
use super::model::{
    Fact, Kind, Outcome, Report, Section, Table, VERSION, cells, facts, judged, known, short,
};
use super::money::{Money, by_function};
use super::platform::{self, Story};
use super::waterfall;
use crate::advise::{Advice, Rule};
use crate::artillery::{Record, records_of};
use crate::files::{read_json, read_yaml};
use crate::functions::environments_needed;
use crate::machine::{MEASURED, MEASURED_ON_AWS, NEEDS_AWS, SIMULATED};
use crate::summary::{Summary, Times};

/// Everything that a report is made from.
#[derive(Debug)]
pub struct Sources<'a> {
    pub summary: &'a Summary,
    pub records: &'a [Record],
    /// When the load began, in ms since 1970.
    pub load_at: Option<f64>,
    /// The log of the host, where there was one.
    pub story: Option<Story<'a>>,
    pub money: Option<Money>,
    /// Functions that a queue's trigger runs.
    pub behind_queue: BTreeSet<String>,
}

/// The functions of the template that a queue's trigger runs.
pub fn behind_queue(root: &Path) -> Result<BTreeSet<String>> {
    let template: Value = read_yaml(&root.join("template.yaml"))?;
    let resources = template["Resources"].as_object().into_iter().flatten();
    let behind = resources.filter(|(_, resource)| {
        let events = resource["Properties"]["Events"].as_object();
        let mut events = events.into_iter().flat_map(|events| events.values());
        events.any(|event| event["Type"] == "SQS")
    });
    Ok(behind.map(|(id, _)| id.clone()).collect())
}

/// What the folder of an earlier run still says: its summary and its answers.
pub fn of_folder(root: &Path, folder: &Path) -> Result<Report> {
    let summary: Summary = read_json(&folder.join("summary.json"))?;
    Ok(report(&Sources {
        summary: &summary,
        records: &records_of(folder),
        load_at: None,
        story: None,
        money: None,
        behind_queue: behind_queue(root)?,
    }))
}

/// The whole report.
pub fn report(sources: &Sources<'_>) -> Report {
    let Summary {
        profile,
        load,
        origin,
        interrupted_by,
        started_at,
        ..
    } = sources.summary;
    let (outcome, verdict, gates) = judged(&load.gates, interrupted_by.as_deref(), "gates");
    let verdict = match outcome {
        Outcome::Unjudged if load.requests() == 0 => "Nothing was measured.".to_owned(),
        _ => verdict,
    };
    let mut sections = vec![requests(sources.summary)];
    let begins = sources.records.iter().map(|it| it.at - it.ms);
    let ends = sources.records.iter().map(|it| it.at);
    // From the first request on: Artillery needs some seconds to start.
    let begin = begins.reduce(f64::min).or(sources.load_at);
    let begin = begin.unwrap_or_default();
    let clock = Clock::new(begin, ends.fold(begin, f64::max));
    let cold = cold_requests(sources);
    let (cold, records) = (cold.as_ref(), sources.records);
    sections.push(answers::section(records, cold, &clock, &origin.routes));
    let under = if sources.summary.conditions.is_some() {
        SIMULATED
    } else {
        MEASURED
    };
    match sources.story {
        Some(story) => {
            let mut platform = platform::section(story, records, &clock, under);
            if story.lost() > 0 {
                platform.notes.push(format!(
                    "{} events are missing: the host no longer kept them when they were read.",
                    story.lost()
                ));
            }
            sections.push(platform);
            let money = sources.money.as_ref();
            sections.push(waterfall::section(story, records, money, under));
        }
        None => sections.push(not_here()),
    }
    sections.push(advice(sources.summary.advice.as_ref(), under));
    sections.push(work(sources));
    sections.push(origins(sources.summary));
    Report {
        version: VERSION,
        kind: Kind::LoadTest,
        title: format!("Load test: {profile}"),
        started_at: started_at.clone(),
        outcome,
        verdict,
        gates,
        gates_origin: origin.gates.clone(),
        facts: run_facts(sources.summary),
        sections,
    }
}

fn run_facts(summary: &Summary) -> Vec<Fact> {
    let load = &summary.load;
    let mut all = vec![Fact::new("stack", summary.api_url.clone())];
    let rate = load.requests_per_second.map(|rate| {
        let seconds = load.seconds.map_or("-".to_owned(), short);
        let requests = load.requests();
        format!(
            "{requests} requests in {seconds} s, {} a second",
            short(rate)
        )
    });
    all.extend(rate.map(|rate| Fact::new("load", rate)));
    let (commit, conditions) = (summary.commit.as_deref(), summary.conditions.as_ref());
    all.extend(facts(&summary.machine, commit, conditions));
    let parameters = summary.parameters.iter();
    let parameters: Vec<_> = parameters
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if !parameters.is_empty() {
        all.push(Fact::new("parameters", parameters.join(" ")));
    }
    all
}

/// Request ids of cold starts: by the log of events, else by the functions' own logs. None if there is neither.
fn cold_requests(sources: &Sources<'_>) -> Option<BTreeSet<String>> {
    let entries = sources.story.map(|story| story.entries).unwrap_or_default();
    let invocations = entries.iter().filter_map(|entry| match &entry.event {
        Event::Invocation(it) => Some(&**it),
        _ => None,
    });
    let invocations: Vec<&Invocation> = invocations.collect();
    if !invocations.is_empty() {
        let cold = invocations.into_iter().filter(|it| it.cold);
        return Some(cold.map(|it| it.request_id.clone()).collect());
    }
    let functions = &sources.summary.functions;
    let known = functions
        .iter()
        .any(|it| it.cold_starts_under_load == 0 || !it.cold_requests.is_empty());
    let cold = functions.iter().flat_map(|it| it.cold_requests.clone());
    known.then(|| cold.collect())
}

/// The parts that a stack on AWS cannot have: they come from the host's log.
fn not_here() -> Section {
    Section {
        id: "platform".to_owned(),
        title: "Environments, queues, throttles, and single requests".to_owned(),
        notes: vec![
            "Not known here. The steps of a request, the states of environments, the depth and age of queues are in the log of events of a host on this machine alone; of a stack on AWS, CloudWatch's dashboard of the stack shows concurrency, queues and throttles."
                .to_owned(),
        ],
        ..Section::default()
    }
}

/// What the adviser found in the log of events, and what it looked for.
fn advice(advice: Option<&Advice>, origin: &str) -> Section {
    let mut section = Section {
        id: "advice".to_owned(),
        title: "What could be better".to_owned(),
        ..Section::default()
    };
    let Some(advice) = advice else {
        let why = "Not known here: it is read from the log of events of a host on this machine.";
        section.notes.push(why.to_owned());
        return section;
    };
    section.notes.push(advice.heading());
    if !advice.findings.is_empty() {
        let rows = advice.findings.iter();
        let rows = rows.map(|it| cells![it.says.as_str(), format!("{:02}", it.lesson)]);
        let columns = [("what", ""), ("lesson", "")];
        section
            .tables
            .push(Table::new("Findings", origin, &columns).with(rows));
    }
    let rows = Rule::ALL.map(|rule| {
        let found = advice.findings.iter().filter(|it| it.rule == rule);
        cells![
            rule.looks_for(),
            found.count(),
            format!("{:02}", rule.lesson())
        ]
    });
    let columns = [("what", ""), ("found", ""), ("lesson", "")];
    let table = Table::new("What was looked for", origin, &columns);
    section.tables.push(table.with(rows));
    section
}

fn times(times: Times) -> [Value; 4] {
    [times.p50_ms, times.p95_ms, times.p99_ms, times.worst_ms].map(known)
}

const TIMES: [(&str, &str); 4] = [("p50", "ms"), ("p95", "ms"), ("p99", "ms"), ("worst", "ms")];

/// What a client saw, in figures.
fn requests(summary: &Summary) -> Section {
    let (load, origin) = (&summary.load, summary.origin.routes.as_str());
    let mut tables = Vec::new();
    let logged = load.routes.iter().any(|route| route.logged.is_some());
    let mut columns = [&[("route", ""), ("requests", "")], &TIMES[..]].concat();
    if logged {
        let of_api = [
            ("API p50", "ms"),
            ("API p95", "ms"),
            ("API p99", "ms"),
            ("API worst", "ms"),
        ];
        columns.extend(of_api);
    }
    columns.push(("statuses", ""));
    let rows = load.routes.iter().map(|route| {
        let mut row = cells![route.route.as_str(), route.requests];
        row.extend(times(route.successes));
        if logged {
            row.extend(times(route.logged.unwrap_or_default()));
        }
        let statuses = route.statuses.iter();
        let statuses: Vec<_> = statuses
            .map(|(status, count)| format!("{status}: {count}"))
            .collect();
        row.extend(cells![statuses.join(", ")]);
        row
    });
    let title = if logged {
        "Routes: time to the first byte of a success, at the client and by the API's log"
    } else {
        "Routes: time to the first byte of a success"
    };
    tables.push(Table::new(title, origin, &columns).with(rows));
    let refused = load.routes.iter().filter_map(|route| {
        let refusals = times(route.refusals?);
        Some([cells![route.route.as_str()], refusals.to_vec()].concat())
    });
    let refused: Vec<_> = refused.collect();
    if !refused.is_empty() {
        let columns = [&[("route", "")], &TIMES[..]].concat();
        let title = "Refusals (4xx): time to the first byte";
        tables.push(Table::new(title, origin, &columns).with(refused));
    }
    if !load.errors.is_empty() {
        let columns = [("times", ""), ("error", "")];
        let rows = load
            .errors
            .iter()
            .map(|it| cells![it.count, it.error.as_str()]);
        tables.push(Table::new("Failed", origin, &columns).with(rows));
    }
    let orders = load.orders;
    let columns = [
        ("accepted", ""),
        ("fulfilled", ""),
        ("rejected", ""),
        ("unfinished", ""),
        ("p50", "ms"),
        ("p99", "ms"),
    ];
    let row = cells![
        orders.accepted,
        orders.fulfilled,
        orders.rejected,
        orders.unfinished,
        known(orders.p50_ms),
        known(orders.p99_ms),
    ];
    let title = "Orders: time from placed to final";
    tables.push(Table::new(title, origin, &columns).with([row]));
    if let Some(trend) = &load.trend {
        let rows = trend
            .iter()
            .map(|it| cells![it.name.as_str(), known(it.first), known(it.last)]);
        let columns = [("figure", ""), ("first", ""), ("last", "")];
        let title = "First minute and last: medians";
        tables.push(Table::new(title, origin, &columns).with(rows));
    }
    if let Some(stress) = &load.stress {
        let rows = stress.steps.iter().map(|step| {
            cells![
                step.name.as_str(),
                known(step.requests_per_second),
                known(step.p99_ms),
                step.broken.len(),
                step.broken.first().map(String::as_str),
            ]
        });
        let columns = [
            ("step", ""),
            ("requests", "a second"),
            ("p99", "ms"),
            ("gates that broke", ""),
            ("the first", ""),
        ];
        let last = stress.knee.as_deref().unwrap_or("none");
        let title = format!("Stress: the last step that held is {last}");
        tables.push(Table::new(&title, origin, &columns).with(rows));
    }
    Section {
        id: "requests".to_owned(),
        title: "Requests".to_owned(),
        tables,
        ..Section::default()
    }
}

/// What the functions did and used.
fn work(sources: &Sources<'_>) -> Section {
    let Summary {
        functions,
        load,
        origin,
        aws_calls,
        queues,
        per_thousand_requests: each,
        ..
    } = sources.summary;
    let mut section = Section {
        id: "work".to_owned(),
        title: "Calls, units, bytes and money".to_owned(),
        ..Section::default()
    };
    if functions.is_empty() {
        section.notes.push(format!(
            "What the functions did is not known here ({NEEDS_AWS}): STACK=… reads it from CloudWatch, workshop add-reports from exports of its logs."
        ));
    } else {
        let behind = |name: &str| sources.behind_queue.contains(name);
        let money = sources.money.as_ref();
        let tables = by_function(
            functions,
            aws_calls.as_ref(),
            money,
            behind,
            &origin.functions,
        );
        section.notes.push(match money {
            Some(money) => format!(
                "Money is for a million runs: {}; calls: {}; capacity: {}. The verb make cost adds the access log, and what a stack costs that nobody uses.",
                money.describe(),
                origin.aws_calls,
                origin.consumed_capacity
            ),
            None => "Money is not known here: it needs the memory sizes and the processor of the functions.".to_owned(),
        });
        if aws_calls.is_none() {
            section.notes.push(format!(
                "Calls and units are counted by a host on this machine alone: {}.",
                origin.aws_calls
            ));
        }
        let wanted = tables.into_iter().filter(|table| !table.rows.is_empty());
        section.tables.extend(wanted);
        section.tables.push(functions_table(sources.summary));
    }
    if let Some(seconds) = load.seconds {
        let rows = functions.iter().filter_map(|it| {
            let (cold, busy_ms) = (it.cold.as_ref()?, it.busy_ms?);
            Some(cells![
                it.name.as_str(),
                it.cold_starts_under_load,
                environments_needed(it.invocations, seconds, busy_ms),
                known(Some(cold.init_p50_ms)),
                known(Some(cold.first_p50_ms)),
                known(Some(cold.own_p50_ms)),
                known(Some(cold.own_worst_ms)),
                known(cold.platform_p50_ms),
                known(cold.wait_worst_ms),
            ])
        });
        let rows: Vec<_> = rows.collect();
        if !rows.is_empty() {
            let columns = [
                ("function", ""),
                ("started", ""),
                ("needed", ""),
                ("init", "ms"),
                ("first run", "ms"),
                ("both", "ms"),
                ("worst", "ms"),
                ("platform", "ms"),
                ("longest wait", "ms"),
            ];
            let title = "Cold starts under load: environments started and needed; medians of the code's part";
            let table = Table::new(title, &origin.functions, &columns).with(rows);
            section.tables.push(table);
        }
    }
    let columns = [
        ("AWS calls", ""),
        ("read units", ""),
        ("write units", ""),
        ("compute", "GB-s"),
    ];
    let row = cells![
        known(each.aws_calls),
        known(each.read_units),
        known(each.write_units),
        known(each.gb_seconds),
    ];
    let title = "For each thousand requests";
    let table = Table::new(title, &origin.consumed_capacity, &columns).with([row]);
    section.tables.push(table);
    if let Some(queues) = queues {
        let rows = queues.iter().map(|(name, queue)| {
            let trigger = queue.trigger.as_ref();
            let time = trigger.map(|it| it.queue_time_ms);
            cells![
                name.as_str(),
                trigger.map(|it| it.received),
                trigger.map(|it| it.invocations),
                known(time.map(|it| it.p50)),
                known(time.map(|it| it.p99)),
                known(time.map(|it| it.max)),
                queue.messages(),
            ]
        });
        let columns = [
            ("queue", ""),
            ("received", ""),
            ("runs", ""),
            ("p50", "ms"),
            ("p99", "ms"),
            ("worst", "ms"),
            ("still there", ""),
        ];
        let title = "Queues: time in the queue";
        let table = Table::new(title, &origin.queues, &columns).with(rows);
        section.tables.push(table);
    }
    section
}

fn functions_table(summary: &Summary) -> Table {
    let columns = [
        ("function", ""),
        ("runs", ""),
        ("cold", ""),
        ("init p50", "ms"),
        ("init p99", "ms"),
        ("run p50", "ms"),
        ("run p99", "ms"),
        ("CPU", "ms"),
        ("cold CPU", "ms"),
        ("memory", "MB"),
        ("errors", ""),
        ("timeouts", ""),
    ];
    let rows = summary.functions.iter().map(|it| {
        cells![
            it.name.as_str(),
            it.invocations,
            it.cold_starts,
            known(it.init_p50_ms),
            known(it.init_p99_ms),
            known(it.duration_p50_ms),
            known(it.duration_p99_ms),
            known(it.warm_cpu_p50_ms),
            known(it.cold_cpu_p50_ms),
            known(it.peak_memory_mb),
            it.errors,
            it.timeouts,
        ]
    });
    Table::new("Functions", &summary.origin.functions, &columns).with(rows)
}

/// The origins of the numbers, and what the words mean.
fn origins(summary: &Summary) -> Section {
    let origin = &summary.origin;
    let rows = [
        ("requests, latency, orders", &origin.routes),
        ("gates", &origin.gates),
        ("functions, cold starts", &origin.functions),
        ("calls to AWS", &origin.aws_calls),
        ("capacity units", &origin.consumed_capacity),
        ("queues", &origin.queues),
    ];
    let rows = rows.map(|(what, origin)| cells![what, origin.as_str()]);
    let columns = [("numbers", ""), ("origin", "")];
    let mut notes = vec![
        format!("{MEASURED}: taken on the machine above."),
        format!(
            "{SIMULATED}: counted or held back as AWS would, by a program that stands in for it. It is a model of published numbers, and no measurement of AWS."
        ),
        format!("{NEEDS_AWS}: not known without an account, and left out."),
    ];
    if origin.functions == MEASURED_ON_AWS {
        notes.push(format!("{MEASURED_ON_AWS}: from the logs of the stack."));
    }
    if summary.conditions.is_some() {
        notes.push(
            "The client measured its latency here, but the host held its answers back for as long as AWS would have taken."
                .to_owned(),
        );
    }
    Section {
        id: "origins".to_owned(),
        title: "Where the numbers come from".to_owned(),
        notes,
        tables: vec![Table::new("Origins", "of the run", &columns).with(rows)],
        charts: Vec::new(),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::advise::Finding;
    use crate::summary::tests::summary;

    /// The report of a summary without a host's log.
    pub fn of(summary: &Summary, records: &[Record]) -> Report {
        report(&Sources {
            summary,
            records,
            load_at: None,
            story: None,
            money: None,
            behind_queue: BTreeSet::new(),
        })
    }

    #[test]
    fn a_report_has_the_gates_facts_and_totals_of_its_summary() {
        let summary = summary();
        let report = of(&summary, &[]);
        assert_eq!((report.outcome, report.gates.len()), (Outcome::Failed, 4));
        assert!(!report.gates[0].pass && report.gates[3].pass);
        let routes = &report.sections[0].tables[0];
        assert_eq!(routes.rows[0][1], 123_456);
        let fact = |name: &str| report.facts.iter().find(|it| it.name == name).unwrap();
        assert!(fact("commit").value.ends_with("+changes"));
        assert_eq!(fact("conditions").value, "none");
        assert_eq!(fact("parameters").value, "ProvisionedConcurrency=5");
    }

    #[test]
    fn a_run_without_gates_and_requests_says_that_nothing_was_measured() {
        let mut empty = summary();
        empty.load = crate::summary::LoadResult::default();
        let report = of(&empty, &[]);
        assert_eq!(report.outcome, Outcome::Unjudged);
        assert_eq!(report.verdict, "Nothing was measured.");
    }

    #[test]
    fn of_a_stack_on_aws_the_functions_logs_say_which_answers_were_cold() {
        let mut deployed = summary();
        deployed.functions[0].cold_requests = vec!["a".to_owned()];
        let record = |id: &str| Record {
            at: 1.0,
            route: "GET /a".to_owned(),
            status: 200,
            ms: 1.0,
            id: Some(id.to_owned()),
        };
        let report = of(&deployed, &[record("a"), record("b")]);
        let beside = &report.sections[1].tables[0];
        assert_eq!(
            (&beside.rows[0][1], &beside.rows[0][5]),
            (&1.into(), &1.into())
        );
        // What a host alone knows is said, and not drawn as empty.
        assert!(report.sections[2].charts.is_empty());
        assert!(report.sections[2].notes[0].starts_with("Not known here."));
    }

    #[test]
    fn what_could_be_better_is_said_and_so_is_that_nothing_was_found_or_can_be_known() {
        let of = |advice: Option<Advice>| {
            let mut summary = summary();
            summary.advice = advice;
            let sections = of(&summary, &[]).sections;
            sections.into_iter().find(|it| it.id == "advice").unwrap()
        };
        let unknown = of(None);
        assert!(unknown.notes[0].starts_with("Not known here:") && unknown.tables.is_empty());
        let mut advice = Advice {
            functions: 1,
            invocations: 20,
            lost: 3,
            findings: Vec::new(),
        };
        let nothing = of(Some(advice.clone()));
        assert_eq!(
            nothing.notes[0],
            "What could be better: nothing found in 20 invocations of 1 function. 3 events are missing: the host no longer kept them."
        );
        // What was looked for is said as well.
        assert_eq!(nothing.tables.len(), 1);
        assert_eq!(nothing.tables[0].rows.len(), Rule::ALL.len());
        advice.findings.push(Finding {
            rule: Rule::Filter,
            lesson: 5,
            function: "F".to_owned(),
            says: "F reads all.".to_owned(),
            number: 50.0,
        });
        let found = of(Some(advice));
        assert_eq!(found.tables[0].rows, [cells!["F reads all.", "05"]]);
        let counts: Vec<_> = found.tables[1]
            .rows
            .iter()
            .map(|row| row[1].clone())
            .collect();
        let wanted = Rule::ALL.map(|rule| usize::from(rule == Rule::Filter));
        assert_eq!(counts, wanted);
    }

    #[test]
    fn the_function_behind_the_queue_is_found_in_the_template() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        assert_eq!(
            behind_queue(&root).unwrap(),
            BTreeSet::from(["ProcessOrders".to_owned()])
        );
    }
}
