//! The host's side over time: environments, queues, throttles.

use std::collections::BTreeMap;

use local::events::{Change, Ended, Entry, Event, Move, Outcome};
use serde_json::Value;

use super::answers::{Clock, throttled};
use super::model::{Chart, ChartKind, Section, Table, cells, rounded};
use crate::artillery::Record;

/// The log of events, with the moment from which it is timed.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    pub entries: &'a [Entry],
    /// Microseconds since 1970.
    pub since_us: u64,
}

impl Story<'_> {
    /// Ms since 1970.
    pub fn at(&self, at_us: u64) -> f64 {
        (self.since_us + at_us) as f64 / 1000.0
    }

    /// Events that the host no longer kept when they were to be read.
    pub fn lost(&self) -> u64 {
        let lost = self.entries.iter().map(|entry| match entry.event {
            Event::Lost { count } => count,
            _ => 0,
        });
        lost.sum()
    }
}

/// How an environment spends its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    AtWork,
    Frozen,
    Gone,
}

/// All three charts; `origin` is that of the times under the conditions of the run.
pub fn section(story: Story<'_>, records: &[Record], clock: &Clock, origin: &str) -> Section {
    let mut section = Section {
        id: "platform".to_owned(),
        title: "Environments, queues and throttles".to_owned(),
        ..Section::default()
    };
    if story.entries.is_empty() {
        let note = "The host of this run told no events, so there is nothing to draw.";
        section.notes.push(note.to_owned());
        return section;
    }
    section.charts.push(environments(story, clock, origin));
    section.charts.extend(queues(story, clock, origin));
    section
        .charts
        .push(throttles(story, records, clock, origin));
    section
}

/// How many environments of all functions are in each state, on average over each stretch.
fn environments(story: Story<'_>, clock: &Clock, origin: &str) -> Chart {
    let mut states: BTreeMap<&str, State> = BTreeMap::new();
    let mut times = vec![[0.0; 3]; clock.stretches];
    let mut gone = vec![0_u64; clock.stretches];
    let end = clock.begin + clock.begins(clock.stretches) * 1000.0;
    let mut before = clock.begin;
    let mut spend = |states: &BTreeMap<&str, State>, from: f64, until: f64| {
        let mut from = from;
        while from < until {
            let stretch = clock.stretch(from);
            let over = clock.begin + clock.begins(stretch + 1) * 1000.0;
            let part = until.min(over.max(from + 1e-3)) - from;
            for state in states.values() {
                if let Some(time) = times[stretch].get_mut(*state as usize) {
                    *time += part;
                }
            }
            from += part;
        }
    };
    for entry in story.entries {
        let Event::Environment(it) = &entry.event else {
            continue;
        };
        let at = story.at(entry.at_us);
        if at > end {
            break; // the rest is the end of the stack
        }
        if at > before {
            spend(&states, before, at);
            before = at;
        }
        let state = match it.change {
            Change::Started => State::Starting,
            Change::Ready | Change::Thawed => State::AtWork,
            Change::Frozen => State::Frozen,
            Change::InitFailed | Change::TimedOut | Change::Reaped | Change::Killed => State::Gone,
        };
        let old = states.insert(&it.environment, state);
        if state == State::Gone && old != Some(State::Gone) && at >= clock.begin {
            gone[clock.stretch(at)] += 1;
        }
    }
    spend(&states, before, end);
    let columns = [
        ("second", "s"),
        ("starting", ""),
        ("at work", ""),
        ("frozen", ""),
        ("gone", ""),
    ];
    let rows = times.iter().zip(&gone).enumerate();
    let rows = rows.map(|(index, (times, gone))| {
        let mean = |time: f64| rounded(time / (clock.each * 1000.0));
        let [starting, at_work, frozen] = times.map(mean);
        cells![clock.begins(index), starting, at_work, frozen, *gone]
    });
    let title = format!(
        "{}: mean number in each state, and how many went",
        clock.name()
    );
    let most = times
        .iter()
        .map(|times| times.iter().sum::<f64>() / (clock.each * 1000.0))
        .fold(0.0, f64::max);
    Chart {
        id: "environments".to_owned(),
        kind: ChartKind::States,
        title: "Environments".to_owned(),
        text: format!(
            "Execution environments of all functions over the run, by what they do; at most {} at one time on average over a stretch, and {} went.",
            super::model::short(most),
            gone.iter().sum::<u64>()
        ),
        tables: vec![Table::new(&title, origin, &columns).with(rows)],
    }
}

/// Depth of each queue, and how long its messages had waited when they were delivered.
fn queues(story: Story<'_>, clock: &Clock, origin: &str) -> Vec<Chart> {
    #[derive(Default)]
    struct Queue<'a> {
        /// Messages that are in it, with the moment of their sending.
        sent: BTreeMap<&'a str, f64>,
        depth: Vec<u64>,
        oldest: Vec<f64>,
        /// The stretch that the depth is known until.
        until: usize,
    }
    let mut queues: BTreeMap<&str, Queue<'_>> = BTreeMap::new();
    for entry in story.entries {
        let Event::Messages(it) = &entry.event else {
            continue;
        };
        let at = story.at(entry.at_us);
        let queue = queues.entry(&it.queue).or_insert_with(|| Queue {
            depth: vec![0; clock.stretches],
            oldest: vec![0.0; clock.stretches],
            ..Queue::default()
        });
        if at < clock.begin && it.change != Move::Sent {
            for id in &it.ids {
                queue.sent.remove(id.as_str());
            }
            continue;
        }
        // A queue that nothing happens to keeps what it has.
        let now = clock.stretch(at);
        for stretch in queue.until..=now.max(queue.until) {
            queue.depth[stretch] = queue.depth[stretch].max(queue.sent.len() as u64);
        }
        queue.until = now.max(queue.until);
        match it.change {
            Move::Sent => {
                queue.sent.extend(it.ids.iter().map(|id| (id.as_str(), at)));
            }
            Move::Deleted | Move::Dead => {
                for id in &it.ids {
                    queue.sent.remove(id.as_str());
                }
            }
            Move::Delivered => {
                // It is logged at the end of the invocation.
                for (id, waited) in it.ids.iter().zip(&it.waited) {
                    let waited = waited.as_secs_f64() * 1e3;
                    let sent = queue.sent.get(id.as_str()).copied().unwrap_or(at - waited);
                    let oldest = &mut queue.oldest[clock.stretch(sent + waited)];
                    *oldest = oldest.max(waited);
                }
            }
            Move::Received | Move::Returned => {}
        }
        queue.depth[now] = queue.depth[now].max(queue.sent.len() as u64);
    }
    let charts = queues.into_iter().enumerate();
    let charts = charts.map(|(index, (name, mut queue))| {
        for stretch in queue.until + 1..clock.stretches {
            queue.depth[stretch] = queue.sent.len() as u64;
        }
        let columns = [("second", "s"), ("depth", "messages"), ("oldest", "ms")];
        let rows = queue.depth.iter().zip(&queue.oldest).enumerate();
        let rows = rows.map(|(index, (depth, oldest))| {
            cells![clock.begins(index), *depth, rounded(*oldest)]
        });
        let title = format!(
            "{}: most messages in it, and the longest wait of one that was delivered",
            clock.name()
        );
        let most = queue.depth.iter().max().copied().unwrap_or_default();
        let oldest = queue.oldest.iter().copied().fold(0.0, f64::max);
        Chart {
            id: format!("queue-{index}"),
            kind: ChartKind::Lines,
            title: format!("{name}: depth and age"),
            text: format!(
                "The queue {name} over the run: at most {most} messages, and the longest wait {} ms.",
                super::model::short(oldest)
            ),
            tables: vec![Table::new(&title, origin, &columns).with(rows)],
        }
    });
    charts.collect()
}

/// Invocations, calls and requests that a limit refused.
fn throttles(story: Story<'_>, records: &[Record], clock: &Clock, origin: &str) -> Chart {
    let mut refused = vec![[0_u64; 2]; clock.stretches];
    for entry in story.entries {
        let at = story.at(entry.at_us);
        let which = match &entry.event {
            Event::Invocation(it) if it.outcome == Ended::Throttled => 0,
            Event::Call(it) if it.outcome == Outcome::Throttle => 1,
            _ => continue,
        };
        if at >= clock.begin {
            refused[clock.stretch(at)][which] += 1;
        }
    }
    let requests = throttled(records, clock);
    let sum: u64 = refused.iter().flatten().sum::<u64>()
        + requests.iter().filter_map(Value::as_u64).sum::<u64>();
    let columns = [
        ("second", "s"),
        ("requests", ""),
        ("invocations", ""),
        ("calls to AWS", ""),
    ];
    let rows = refused.iter().zip(requests).enumerate();
    let rows = rows.map(|(index, ([invocations, calls], requests))| {
        cells![clock.begins(index), requests, *invocations, *calls]
    });
    let title = format!("{}: refused because of a limit", clock.name());
    Chart {
        id: "throttles".to_owned(),
        kind: ChartKind::Lines,
        title: "Throttles".to_owned(),
        text: match sum {
            0 => "Nothing was throttled: no request, no invocation, no call to AWS.".to_owned(),
            sum => format!("{sum} requests, invocations and calls to AWS were throttled."),
        },
        tables: vec![Table::new(&title, origin, &columns).with(rows)],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use local::events::{Environment, Messages};

    use super::*;

    fn change(at_ms: u64, environment: &str, change: Change) -> Entry {
        let event = Event::Environment(Environment {
            function: "F".to_owned(),
            environment: environment.to_owned(),
            change,
            provisioned: false,
            why: None,
            init: None,
        });
        Entry {
            at_us: at_ms * 1000,
            event,
        }
    }

    fn moved(at_ms: u64, ids: &[&str], change: Move, waited_ms: u64) -> Entry {
        let event = Event::Messages(Messages {
            queue: "Orders".to_owned(),
            change,
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            request_id: None,
            waited: vec![Duration::from_millis(waited_ms); ids.len()],
        });
        Entry {
            at_us: at_ms * 1000,
            event,
        }
    }

    /// The load begins a second after the host.
    fn section_of(entries: &[Entry]) -> Section {
        let story = Story {
            entries,
            since_us: 5_000_000,
        };
        section(story, &[], &Clock::new(6000.0, 9000.0), "simulated here")
    }

    fn numbers(chart: &Chart) -> Vec<Vec<f64>> {
        let rows = chart.tables[0].rows.iter();
        rows.map(|row| row.iter().filter_map(Value::as_f64).collect())
            .collect()
    }

    #[test]
    fn an_environment_counts_by_the_time_that_it_spends_in_each_state() {
        let section = section_of(&[
            change(500, "F-1", Change::Started),
            change(700, "F-1", Change::Reaped),
            change(1250, "F-2", Change::Started),
            change(1750, "F-2", Change::Ready),
            change(2500, "F-2", Change::Frozen),
            change(3500, "F-2", Change::Reaped),
        ]);
        assert_eq!(
            numbers(&section.charts[0]),
            [
                [0.0, 0.5, 0.25, 0.0, 0.0],
                [1.0, 0.0, 0.5, 0.5, 0.0],
                [2.0, 0.0, 0.0, 0.5, 1.0],
            ]
        );
    }

    #[test]
    fn a_queue_has_a_depth_and_an_age_also_where_nothing_happens() {
        let section = section_of(&[
            moved(1100, &["a"], Move::Sent, 0),
            moved(1200, &["b"], Move::Sent, 0),
            moved(3300, &["a", "b"], Move::Delivered, 2100),
            moved(3300, &["a", "b"], Move::Deleted, 0),
        ]);
        let chart = &section.charts[1];
        assert_eq!(chart.title, "Orders: depth and age");
        assert_eq!(
            numbers(chart),
            [[0.0, 2.0, 0.0], [1.0, 2.0, 0.0], [2.0, 2.0, 2100.0]]
        );
    }

    #[test]
    fn a_host_without_events_is_not_drawn_as_an_empty_one() {
        let section = section_of(&[]);
        assert!(section.charts.is_empty());
        assert!(section.notes[0].starts_with("The host of this run told no events"));
    }
}
