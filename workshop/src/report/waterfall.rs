//! What one request, one cold start and one order did, step by step, each with its units and its price.

use std::collections::BTreeMap;

use super::model::{Chart, ChartKind, Section, Table, cells, known, rounded, short};
use super::money::Money;
use super::platform::Story;
use crate::artillery::Record;
use crate::machine::MEASURED;
use crate::percentile::ms;
use local::events::{
    Call, Change, Entry, Environment, Event, Handshake, Invocation, Messages, Move, Outcome,
};

/// A wait for a share of a CPU that is shorter than this is not shown.
const LEAST_HELD_MS: f64 = 0.05;

/// Two events this near belong to one moment: the host logs a thing a little after it has happened.
const SAME_MS: f64 = 2.0;

/// The events of a run by the thing that they are about. Times are ms since 1970.
#[derive(Debug, Default)]
struct Index<'a> {
    invocations: BTreeMap<&'a str, (f64, &'a Invocation)>,
    /// By request id.
    calls: BTreeMap<&'a str, Vec<(f64, &'a Call)>>,
    /// Those of an init phase, by environment.
    init_calls: BTreeMap<&'a str, Vec<(f64, &'a Call)>>,
    /// When the process of an environment was started.
    started: BTreeMap<&'a str, f64>,
    /// When the init phase of an environment was over.
    ready: BTreeMap<&'a str, (f64, &'a Environment)>,
    /// When each message was sent, in order.
    sent: Vec<(f64, &'a str, &'a str)>,
    /// By message.
    delivered: BTreeMap<&'a str, &'a Messages>,
    deleted: BTreeMap<&'a str, f64>,
}

/// A part of a waterfall.
#[derive(Debug, Clone)]
struct Step {
    name: String,
    kind: &'static str,
    /// Ms since 1970.
    begin: f64,
    ms: f64,
    units: Option<[f64; 2]>,
    bytes: Option<u64>,
    usd: Option<f64>,
    origin: String,
}

impl Step {
    fn new(name: impl Into<String>, kind: &'static str, begin: f64, ms: f64, origin: &str) -> Self {
        Self {
            name: name.into(),
            kind,
            begin,
            ms: ms.max(0.0),
            units: None,
            bytes: None,
            usd: None,
            origin: origin.to_owned(),
        }
    }

    fn priced(self, usd: Option<f64>) -> Self {
        Self { usd, ..self }
    }
}

impl<'a> Index<'a> {
    fn of(story: Story<'a>) -> Self {
        let mut index = Self::default();
        for Entry { at_us, event } in story.entries {
            let at = story.at(*at_us);
            match event {
                Event::Invocation(it) => {
                    index.invocations.insert(&it.request_id, (at, it));
                }
                Event::Call(it) => match (&it.request_id, &it.environment) {
                    (Some(id), _) => index.calls.entry(id).or_default().push((at, it)),
                    (None, Some(name)) => index.init_calls.entry(name).or_default().push((at, it)),
                    (None, None) => {}
                },
                Event::Environment(it) if it.change == Change::Started => {
                    index.started.insert(&it.environment, at);
                }
                Event::Environment(it) if it.change == Change::Ready => {
                    index.ready.insert(&it.environment, (at, it));
                }
                Event::Messages(it) => {
                    for id in &it.ids {
                        match it.change {
                            Move::Sent => index.sent.push((at, id, &it.queue)),
                            Move::Delivered => {
                                index.delivered.insert(id, it);
                            }
                            Move::Deleted => {
                                index.deleted.insert(id, at);
                            }
                            Move::Received | Move::Returned | Move::Dead => {}
                        }
                    }
                }
                _ => {}
            }
        }
        index
    }
}

/// Draws from the log of events; `simulated` is the origin of times under the conditions of the run.
struct Painter<'a> {
    index: Index<'a>,
    money: Option<&'a Money>,
    simulated: &'a str,
}

/// The three waterfalls, as far as the run had such things.
pub fn section(
    story: Story<'_>,
    records: &[Record],
    money: Option<&Money>,
    simulated: &str,
) -> Section {
    let mut section = Section {
        id: "waterfalls".to_owned(),
        title: "Where the time goes".to_owned(),
        ..Section::default()
    };
    if story.entries.is_empty() {
        let note = "The steps of a single request are in the log of events of a host on this machine; this run has none.";
        section.notes.push(note.to_owned());
        return section;
    }
    section.notes.push(
        "Bars show when a step began and how long it took, from the client's request on. Dollars are for a million of the same."
            .to_owned(),
    );
    if let Some(money) = money {
        section.notes.push(format!("Prices: {}.", money.describe()));
    }
    let painter = Painter {
        index: Index::of(story),
        money,
        simulated,
    };
    let mut by_time: Vec<_> = records.iter().collect();
    by_time.sort_by(|a, b| a.ms.total_cmp(&b.ms));
    let found = by_time.iter().rev().find_map(|record| {
        let steps = painter.request(record)?;
        Some((*record, steps))
    });
    if let Some((record, steps)) = found {
        let Record { route, status, .. } = record;
        let title = format!("The slowest request: {route}, {} ms", short(record.ms));
        let text = format!("It was answered with {status}.");
        section.charts.push(chart("slowest", &title, &text, &steps));
    }
    // The median, so that it is an ordinary one.
    let cold = by_time.iter().filter(|record| {
        let invocation = record
            .id
            .as_deref()
            .and_then(|id| painter.index.invocations.get(id));
        invocation.is_some_and(|(ended, it)| painter.waited_for_all(*ended, it))
    });
    let cold: Vec<_> = cold.collect();
    match cold.get(cold.len() / 2) {
        Some(record) => {
            let steps = painter.request(record).unwrap_or_default();
            let title = format!("A cold start: {}, {} ms", record.route, short(record.ms));
            let text = format!(
                "The median of {} cold starts that a client waited for from their beginning.",
                cold.len()
            );
            section
                .charts
                .push(chart("cold-start", &title, &text, &steps));
        }
        None => section
            .notes
            .push("No client waited for a cold start from its beginning.".to_owned()),
    }
    match painter.order(records) {
        Some((title, text, steps)) => {
            section.charts.push(chart("order", &title, &text, &steps));
        }
        None => section
            .notes
            .push("No order was followed from the API to its end.".to_owned()),
    }
    section
}

fn chart(id: &str, title: &str, text: &str, steps: &[Step]) -> Chart {
    let columns = [
        ("step", ""),
        ("kind", ""),
        ("begin", "ms"),
        ("time", "ms"),
        ("read", "units"),
        ("write", "units"),
        ("sent and received", "bytes"),
        ("price", "$ a million"),
        ("origin", ""),
    ];
    let mut steps = steps.to_vec();
    steps.sort_by(|a, b| a.begin.total_cmp(&b.begin));
    let begin = steps.first().map_or(0.0, |step| step.begin);
    let units = |step: &Step, which: usize| {
        let units = step.units.map(|units| units[which]);
        known(units.filter(|units| *units > 0.0))
    };
    let rows = steps.iter().map(|step| {
        cells![
            step.name.as_str(),
            step.kind,
            rounded(step.begin - begin),
            rounded(step.ms),
            units(step, 0),
            units(step, 1),
            step.bytes,
            known(step.usd),
            step.origin.as_str(),
        ]
    });
    let end = steps.iter().map(|step| step.begin + step.ms - begin);
    let end = end.fold(0.0, f64::max);
    let usd: f64 = steps.iter().filter_map(|step| step.usd).sum();
    let sum = |which: usize| {
        let units = steps.iter().filter_map(|step| step.units);
        units.map(|units| units[which]).sum::<f64>()
    };
    let mut words = format!(
        "{text} {} steps in {} ms; {} read and {} write units",
        steps.len(),
        short(end),
        short(sum(0)),
        short(sum(1))
    );
    if usd > 0.0 {
        words += &format!("; ${} for a million", short(usd));
    }
    Chart {
        id: id.to_owned(),
        kind: ChartKind::Waterfall,
        title: title.to_owned(),
        text: words + ".",
        tables: vec![Table::new("Steps", "each step has its own", &columns).with(rows)],
    }
}

impl Painter<'_> {
    /// The steps of a request that a function answered.
    fn request(&self, record: &Record) -> Option<Vec<Step>> {
        let (ended, invocation) = self.index.invocations.get(record.id.as_deref()?)?;
        let began = record.at - record.ms;
        let name = format!("{}: the client's wait", record.route);
        let mut steps = vec![Step::new(name, "client", began, record.ms, MEASURED)];
        let called = ended - ms(invocation.wait());
        let api = "HTTP API, and Lambda's way to the function";
        let api = Step::new(api, "api", began, called - began, self.simulated);
        steps.push(api.priced(self.money.and_then(Money::api)));
        steps.extend(self.invocation(*ended, invocation));
        let answered = ended.min(record.at);
        let answer = "answer, back to the client";
        steps.push(Step::new(
            answer,
            "answer",
            answered,
            record.at - answered,
            MEASURED,
        ));
        Some(steps)
    }

    /// When the init phase was over that the caller of an invocation waited for.
    fn waited_for_init(&self, invocation: &Invocation) -> Option<f64> {
        let environment = invocation.environment.as_deref()?;
        let (ready, it) = self.index.ready.get(environment)?;
        (invocation.cold && invocation.init.is_some() && !it.provisioned).then_some(*ready)
    }

    /// Whether the caller waited for a cold start from its beginning: other callers take an environment over that was
    /// started for somebody else.
    fn waited_for_all(&self, ended: f64, invocation: &Invocation) -> bool {
        let waited = self.waited_for_init(invocation).zip(invocation.init);
        waited.is_some_and(|(ready, init)| {
            let began = ready - ms(init.duration) - ms(init.platform);
            began >= ended - ms(invocation.wait()) - SAME_MS
        })
    }

    /// The steps of an invocation: its cold start, its run, and its calls.
    fn invocation(&self, ended: f64, invocation: &Invocation) -> Vec<Step> {
        let function = &invocation.function;
        let mut steps = Vec::new();
        let waited = self.waited_for_init(invocation);
        if let Some((ready, init)) = waited.zip(invocation.init) {
            let began = ready - ms(init.duration);
            let (platform, own) = (ms(init.platform), ms(init.duration));
            let name = "platform: a place, the code, the sandbox";
            let begin = began - platform;
            steps.push(Step::new(name, "platform", begin, platform, self.simulated));
            let name = format!("init of {function}");
            let usd = self.money.and_then(|money| money.time(function, own));
            let step = Step::new(name, "init", began, own, self.simulated);
            steps.push(step.priced(usd));
            let environment = invocation.environment.as_deref().unwrap_or_default();
            let calls = self.index.init_calls.get(environment);
            // The host starts the process at once, and counts the platform's part before it.
            let started = self.index.started.get(environment);
            let later = started.map_or(0.0, |started| began - started);
            let calls = self.calls(calls).into_iter();
            steps.extend(calls.map(|step| Step {
                begin: step.begin + later,
                ..step
            }));
        }
        let run = ms(invocation.duration);
        let name = format!("run of {function}");
        let usd = self.money.and_then(|money| money.run(function, run.ceil()));
        let step = Step::new(name, "run", ended - run, run, self.simulated);
        steps.push(step.priced(usd));
        let calls = self.index.calls.get(invocation.request_id.as_str());
        steps.extend(self.calls(calls));
        steps
    }

    fn calls(&self, calls: Option<&Vec<(f64, &Call)>>) -> Vec<Step> {
        let mut steps = Vec::new();
        for (ended, call) in calls.into_iter().flatten() {
            let arrived = ended - ms(call.duration);
            let held = ms(call.held);
            if let (Some(kind), Some(handshake)) = (call.connection, call.handshake) {
                let kind = match kind {
                    Handshake::Full => "full",
                    Handshake::Resumed => "resumed",
                };
                let name = format!("TLS handshake, {kind}: the function's work");
                let took = ms(handshake);
                let begin = arrived - held - took;
                steps.push(Step::new(name, "handshake", begin, took, MEASURED));
            }
            if held > LEAST_HELD_MS {
                let name = "wait for a share of a CPU";
                steps.push(Step::new(
                    name,
                    "held",
                    arrived - held,
                    held,
                    self.simulated,
                ));
            }
            let connecting = call.connecting.map_or(0.0, ms);
            if connecting > 0.0 {
                let name = "connection: the network, and AWS's part";
                steps.push(Step::new(
                    name,
                    "connection",
                    arrived,
                    connecting,
                    self.simulated,
                ));
            }
            let Call {
                operation,
                resource,
                ..
            } = call;
            let took = ms(call.duration) - connecting;
            steps.push(Step {
                units: Some([call.read_units, call.write_units]),
                bytes: Some(call.request_bytes + call.response_bytes),
                usd: self.money.and_then(|money| money.call(call)),
                ..Step::new(
                    format!("{operation} {resource}"),
                    "call",
                    arrived + connecting,
                    took,
                    self.simulated,
                )
            });
        }
        steps
    }

    /// An order of the middle duration: its title, a sentence, and its steps.
    fn order(&self, records: &[Record]) -> Option<(String, String, Vec<Step>)> {
        let records = records
            .iter()
            .filter_map(|it| Some((it.id.as_deref()?, it)));
        let records: BTreeMap<_, _> = records.collect();
        let mut orders: Vec<_> = self.sent_alone();
        orders.retain(|(_, message, request)| {
            self.index.deleted.contains_key(message) && records.contains_key(request)
        });
        // One that is rejected is settled by a shorter way.
        if orders
            .iter()
            .any(|(_, message, _)| self.is_fulfilled(message))
        {
            orders.retain(|(_, message, _)| self.is_fulfilled(message));
        }
        let took = |(at, message, _): &(f64, &str, &str)| self.index.deleted[message] - at;
        orders.sort_by(|a, b| took(a).total_cmp(&took(b)));
        let middle = orders.get(orders.len() / 2)?;
        let (sent, message, request) = *middle;
        let mut steps = self.request(records.get(request)?)?;
        let delivered = self.index.delivered.get(message)?;
        let at = delivered.ids.iter().position(|id| id == message)?;
        let waited = ms(*delivered.waited.get(at)?);
        let queue = format!("in {}, until its function is called", delivered.queue);
        steps.push(Step::new(queue, "queue", sent, waited, self.simulated));
        let worker = delivered.request_id.as_deref()?;
        let (ended, invocation) = self.index.invocations.get(worker)?;
        steps.extend(self.invocation(*ended, invocation));
        let deleted = self.index.deleted[message];
        let name = format!("deleted from {}", delivered.queue);
        let step = Step::new(name, "queue", *ended, deleted - ended, self.simulated);
        let receive_and_delete = Call {
            operation: "SQS.ReceiveMessage".to_owned(),
            ..Call::default()
        };
        let usd = self.money.and_then(|money| money.call(&receive_and_delete));
        steps.push(step.priced(usd.map(|usd| 2.0 * usd)));
        let begin = steps.first()?.begin;
        let batch = delivered.ids.len();
        let title = format!(
            "One order, from the API to settled: {} ms",
            short(deleted - begin)
        );
        let with = match batch {
            1 => "alone in its batch".to_owned(),
            all => format!("in a batch of {all}, whose calls and price are those of all"),
        };
        let text = format!("The median of {} orders; {with}.", orders.len());
        Some((title, text, steps))
    }

    /// Whether the transaction was made that takes the stock and settles the order.
    fn is_fulfilled(&self, message: &str) -> bool {
        let delivered = self.index.delivered.get(message);
        let worker = delivered.and_then(|it| it.request_id.as_deref());
        let calls = worker.and_then(|worker| self.index.calls.get(worker));
        let mut calls = calls.into_iter().flatten();
        calls.any(|(_, call)| {
            call.operation == "DynamoDB.TransactWriteItems" && call.outcome == Outcome::Success
        })
    }

    /// The messages that can be told to belong to one request, because no other was sending at that moment: when it was
    /// sent, the message, the request.
    fn sent_alone(&self) -> Vec<(f64, &str, &str)> {
        let all = self.index.calls.iter().flat_map(|(id, calls)| {
            let sending = calls
                .iter()
                .filter(|(_, call)| call.operation == "SQS.SendMessage");
            sending.map(|(ended, call)| (ended - ms(call.duration), *ended, *id))
        });
        let mut sending: Vec<_> = all.collect();
        sending.sort_by(|a, b| a.0.total_cmp(&b.0));
        let longest = sending
            .iter()
            .map(|(from, to, _)| to - from)
            .fold(0.0, f64::max);
        let found = self.index.sent.iter().filter_map(|(at, message, _)| {
            let first = sending.partition_point(|(from, ..)| *from < at - longest);
            let last = sending.partition_point(|(from, ..)| from <= at);
            let mut during = sending[first..last].iter().filter(|(_, to, _)| to >= at);
            match (during.next(), during.next()) {
                (Some((_, _, request)), None) => Some((*at, *message, *request)),
                _ => None,
            }
        });
        found.collect()
    }
}

/// The steps of a chart: name, kind, begin, time.
#[cfg(test)]
fn told(chart: &Chart) -> Vec<(String, String, f64, f64)> {
    let text = |cell: &serde_json::Value| cell.as_str().unwrap_or_default().to_owned();
    let number = |cell: &serde_json::Value| cell.as_f64().unwrap_or(f64::NAN);
    let rows = chart.tables[0].rows.iter();
    rows.map(|row| {
        (
            text(&row[0]),
            text(&row[1]),
            number(&row[2]),
            number(&row[3]),
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use local::events::Init;

    use super::super::money::tests::money;
    use super::*;

    fn entry(at_ms: u64, event: Event) -> Entry {
        Entry {
            at_us: at_ms * 1000,
            event,
        }
    }

    fn call(request: Option<&str>, operation: &str, ms: u64) -> Call {
        Call {
            function: "F".to_owned(),
            environment: Some("F-1".to_owned()),
            request_id: request.map(str::to_owned),
            operation: operation.to_owned(),
            resource: "Table".to_owned(),
            read_units: 0.5,
            request_bytes: 100,
            response_bytes: 200,
            outcome: Outcome::Success,
            duration: Duration::from_millis(ms),
            ..Call::default()
        }
    }

    fn invocation(id: &str, function: &str, init: Option<Init>, wait: [u64; 2]) -> Event {
        Event::Invocation(Box::new(Invocation {
            function: function.to_owned(),
            environment: Some(format!("{function}-1")),
            request_id: id.to_owned(),
            cold: init.is_some(),
            init,
            queued: Duration::from_millis(wait[0]),
            duration: Duration::from_millis(wait[1]),
            ..Invocation::default()
        }))
    }

    fn init() -> Init {
        Init {
            duration: Duration::from_millis(20),
            cpu: Duration::from_millis(2),
            platform: Duration::from_millis(90),
        }
    }

    fn ready(function: &str) -> Event {
        Event::Environment(Environment {
            function: function.to_owned(),
            environment: format!("{function}-1"),
            change: Change::Ready,
            provisioned: false,
            why: None,
            init: Some(init()),
        })
    }

    fn started(function: &str) -> Event {
        match ready(function) {
            Event::Environment(it) => Event::Environment(Environment {
                change: Change::Started,
                init: None,
                ..it
            }),
            other => other,
        }
    }

    fn messages(change: Move, ids: &[&str], request: Option<&str>, waited: u64) -> Event {
        Event::Messages(Messages {
            queue: "Orders".to_owned(),
            change,
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            request_id: request.map(str::to_owned),
            waited: vec![Duration::from_millis(waited); ids.len()],
        })
    }

    fn record(at: f64, ms: f64, id: &str) -> Record {
        Record {
            at,
            route: "POST /orders".to_owned(),
            status: 202,
            ms,
            id: Some(id.to_owned()),
        }
    }

    fn section_of(entries: &[Entry], records: &[Record]) -> Section {
        let story = Story {
            entries,
            since_us: 1_000_000_000,
        };
        section(story, records, Some(&money()), "simulated here")
    }

    /// A cold start that is called at 1,000 ms of the host and runs from 1,110 to 1,120.
    fn cold_start() -> Vec<Entry> {
        let first = Call {
            connection: Some(Handshake::Full),
            handshake: Some(Duration::from_millis(2)),
            connecting: Some(Duration::from_millis(4)),
            held: Duration::from_millis(1),
            ..call(None, "DynamoDB.GetItem", 9)
        };
        vec![
            // The process starts at once, and its init is over by the time that the platform's part would be.
            entry(1000, started("F")),
            entry(1016, Event::Call(Box::new(first))),
            entry(1110, ready("F")),
            entry(
                1118,
                Event::Call(Box::new(call(Some("r"), "DynamoDB.GetItem", 6))),
            ),
            entry(1120, invocation("r", "F", Some(init()), [110, 10])),
        ]
    }

    #[test]
    fn a_cold_start_has_each_step_at_its_time() {
        let section = section_of(&cold_start(), &[record(1_001_122.0, 130.0, "r")]);
        let steps = told(&section.charts[1]);
        let told: Vec<_> = steps
            .iter()
            .map(|(_, kind, begin, time)| (kind.as_str(), *begin, *time))
            .collect();
        assert_eq!(
            told,
            [
                ("client", 0.0, 130.0),
                ("api", 0.0, 8.0),
                ("platform", 8.0, 90.0),
                ("init", 98.0, 20.0),
                ("handshake", 102.0, 2.0),
                ("held", 104.0, 1.0),
                ("connection", 105.0, 4.0),
                ("call", 109.0, 5.0),
                ("run", 118.0, 10.0),
                ("call", 120.0, 6.0),
                ("answer", 128.0, 2.0),
            ]
        );
        assert_eq!(section.charts[0].id, "slowest");
        assert!(
            section.charts[1]
                .title
                .starts_with("A cold start: POST /orders, 130 ms")
        );
    }

    #[test]
    fn each_step_has_its_units_and_dollars() {
        let section = section_of(&cold_start(), &[record(1_001_122.0, 130.0, "r")]);
        let rows = &section.charts[1].tables[0].rows;
        let of = |kind: &str| {
            let row = rows.iter().find(|row| row[1] == kind).unwrap();
            (row[4].as_f64(), row[6].as_u64(), row[7].as_f64())
        };
        // 512 MB: 20 ms of init, 10 ms of run and a request, half a read unit, an API request.
        assert_eq!(of("init"), (None, None, Some(0.133)));
        assert_eq!(of("run"), (None, None, Some(0.267)));
        assert_eq!(of("call"), (Some(0.5), Some(300), Some(0.063)));
        assert_eq!(of("api").2, Some(1.0));
        assert_eq!(of("platform").2, None);
        let words = &section.charts[1].text;
        assert!(
            words.contains("1 read and 0 write units; $1.53 for a million."),
            "{words}"
        );
    }

    #[test]
    fn an_environment_that_was_ready_before_is_no_part_of_a_warm_request() {
        let mut entries = cold_start();
        entries.push(entry(2000, invocation("warm", "F", None, [0, 5])));
        let section = section_of(&entries, &[record(1_002_001.0, 10.0, "warm")]);
        let kinds: Vec<_> = told(&section.charts[0])
            .into_iter()
            .map(|it| it.1)
            .collect();
        assert_eq!(kinds, ["client", "api", "run", "answer"]);
        assert!(
            section
                .notes
                .contains(&"No client waited for a cold start from its beginning.".to_owned())
        );
    }

    #[test]
    fn an_environment_that_was_started_for_another_shows_no_whole_cold_start() {
        let mut entries = cold_start();
        entries.pop();
        // Called at 1,080 ms, when the platform was almost done.
        entries.push(entry(1120, invocation("late", "F", Some(init()), [30, 10])));
        let section = section_of(&entries, &[record(1_001_122.0, 50.0, "late")]);
        assert!(section.charts.iter().all(|chart| chart.id != "cold-start"));
    }

    #[test]
    fn an_order_is_followed_from_the_api_to_the_end_of_its_message() {
        let send = |request| Event::Call(Box::new(call(Some(request), "SQS.SendMessage", 10)));
        let entries = [
            entry(1005, messages(Move::Sent, &["m"], None, 0)),
            entry(1010, send("place")),
            entry(1012, invocation("place", "F", None, [0, 15])),
            // Two that send at one time cannot be told apart.
            entry(1100, messages(Move::Sent, &["x"], None, 0)),
            entry(1101, messages(Move::Sent, &["y"], None, 0)),
            entry(1105, send("other")),
            entry(1106, send("another")),
            entry(1050, invocation("work", "Worker", None, [0, 20])),
            entry(
                1050,
                messages(Move::Delivered, &["m", "n"], Some("work"), 25),
            ),
            entry(
                1051,
                messages(Move::Deleted, &["m", "n", "x", "y"], Some("work"), 0),
            ),
        ];
        let records = [
            record(1_001_013.0, 20.0, "place"),
            record(1_001_110.0, 20.0, "other"),
            record(1_001_110.0, 20.0, "another"),
        ];
        let section = section_of(&entries, &records);
        let chart = section.charts.last().unwrap();
        assert_eq!(chart.title, "One order, from the API to settled: 58 ms");
        assert!(
            chart
                .text
                .starts_with("The median of 1 orders; in a batch of 2"),
            "{}",
            chart.text
        );
        let steps = told(chart);
        let queue: Vec<_> = steps.iter().filter(|step| step.1 == "queue").collect();
        assert_eq!((queue[0].2, queue[0].3), (12.0, 25.0));
        assert!(
            steps
                .iter()
                .any(|step| step.0 == "run of Worker" && step.3 == 20.0)
        );
    }

    #[test]
    fn without_events_the_page_says_so() {
        let section = section_of(&[], &[]);
        assert!(section.charts.is_empty() && section.notes[0].contains("this run has none"));
    }
}
