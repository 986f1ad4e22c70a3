//! A log of events, sorted by function and invocation.

use std::collections::BTreeMap;

use local::events::{Call, Ended, Entry, Event, Invocation, Messages, Outcome};

use crate::percentile::ms;

/// Operations that write to tables.
const WRITES: [&str; 5] = [
    "DynamoDB.PutItem",
    "DynamoDB.UpdateItem",
    "DynamoDB.DeleteItem",
    "DynamoDB.BatchWriteItem",
    "DynamoDB.TransactWriteItems",
];

/// All of it.
#[derive(Debug, Default)]
pub struct Seen<'a> {
    /// By logical id: those that ran.
    pub functions: BTreeMap<&'a str, Function<'a>>,
    /// Invocations that were refused, and when, in microseconds.
    pub refused: Vec<(u64, &'a Invocation)>,
    /// In their order.
    pub messages: Vec<&'a Messages>,
    pub lost: u64,
}

/// A function of the template.
#[derive(Debug, Default)]
pub struct Function<'a> {
    pub name: &'a str,
    /// Its invocations, without those that were refused.
    pub runs: Vec<Run<'a>>,
    /// All its calls, those of init phases too, in the order in which they began.
    pub calls: Vec<Timed<'a>>,
}

/// An invocation with its calls, in the order in which they began.
#[derive(Debug)]
pub struct Run<'a> {
    /// When it ended, in microseconds.
    pub end: u64,
    pub invocation: &'a Invocation,
    pub calls: Vec<Timed<'a>>,
}

/// A call, and when it was under way, in microseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timed<'a> {
    pub begin: u64,
    pub end: u64,
    pub call: &'a Call,
}

impl<'a> Seen<'a> {
    pub fn of(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut seen = Self::default();
        let mut calls = Vec::new();
        for Entry { at_us, event } in entries {
            match event {
                Event::Invocation(it) if it.outcome != Ended::Throttled => {
                    let function = seen.functions.entry(&it.function).or_default();
                    function.name = &it.function;
                    function.runs.push(Run {
                        end: *at_us,
                        invocation: it,
                        calls: Vec::new(),
                    });
                }
                Event::Invocation(it) => seen.refused.push((*at_us, it)),
                Event::Call(call) => {
                    let took = (call.duration + call.held).as_micros();
                    let took = u64::try_from(took).unwrap_or(u64::MAX);
                    calls.push(Timed {
                        begin: at_us.saturating_sub(took),
                        end: *at_us,
                        call,
                    });
                }
                Event::Messages(messages) => seen.messages.push(messages),
                Event::Lost { count } => seen.lost += count,
                _ => {}
            }
        }
        calls.sort_by_key(|it| (it.begin, it.end));
        let mut of_runs: BTreeMap<&str, Vec<Timed<'a>>> = BTreeMap::new();
        for timed in calls {
            if let Some(function) = seen.functions.get_mut(timed.call.function.as_str()) {
                function.calls.push(timed);
            }
            if let Some(id) = &timed.call.request_id {
                of_runs.entry(id).or_default().push(timed);
            }
        }
        for run in seen.functions.values_mut().flat_map(|it| &mut it.runs) {
            let id = run.invocation.request_id.as_str();
            run.calls = of_runs.remove(id).unwrap_or_default();
        }
        seen
    }
}

impl<'a> Function<'a> {
    /// Invocations that were no cold start.
    pub fn warm(&self) -> impl Iterator<Item = &Run<'a>> {
        self.runs.iter().filter(|it| !it.invocation.cold)
    }

    /// `a request` if it answers the API, `an invocation` else.
    pub fn each(&self) -> &'static str {
        match self.runs.first() {
            Some(run) if run.invocation.source.contains(' ') => "a request",
            _ => "an invocation",
        }
    }
}

impl Run<'_> {
    /// Its duration without the ms in which it waited for a call, or for its share of a CPU.
    pub fn own_ms(&self) -> f64 {
        let (mut waited, mut until) = (0, 0);
        for Timed { begin, end, call } in &self.calls {
            // What held the call back is in `held`.
            let sent = begin + u64::try_from(call.held.as_micros()).unwrap_or(u64::MAX);
            waited += end.saturating_sub(until.max(sent));
            until = until.max(*end);
        }
        ms(self.invocation.duration) - ms(self.invocation.held) - waited as f64 / 1e3
    }
}

impl Timed<'_> {
    pub fn succeeded(&self) -> bool {
        self.call.outcome == Outcome::Success
    }

    pub fn writes_to_a_table(&self) -> bool {
        WRITES.contains(&self.call.operation.as_str())
    }
}

/// The most of these calls of which each began after the one before was answered.
pub fn in_turn(calls: &[Timed<'_>]) -> usize {
    let mut spans: Vec<_> = calls.iter().map(|it| (it.end, it.begin)).collect();
    spans.sort_unstable();
    let (mut count, mut free) = (0, 0);
    for (end, begin) in spans {
        if count == 0 || begin >= free {
            (count, free) = (count + 1, end);
        }
    }
    count
}

#[cfg(test)]
pub mod tests {
    //! Logs that are made up.

    use std::path::Path;
    use std::time::Duration;

    use local::events::{Handshake, Init, Move};

    use super::super::{Advice, Known};
    use super::*;
    use crate::prices::Prices;

    pub fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    /// A log that grows. Invocations take 10 ms and are warm, unless they are changed.
    #[derive(Debug, Default)]
    pub struct Made {
        pub entries: Vec<Entry>,
        runs: u64,
        now_us: u64,
    }

    /// A call that is made up: it takes 4 ms.
    pub fn call(operation: &str, resource: &str) -> Call {
        Call {
            operation: operation.to_owned(),
            resource: resource.to_owned(),
            outcome: Outcome::Success,
            duration: ms(4.0),
            ..Call::default()
        }
    }

    pub fn get(table: &str) -> Call {
        call("DynamoDB.GetItem", table)
    }

    pub fn connecting(call: Call) -> Call {
        Call {
            connection: Some(Handshake::Full),
            ..call
        }
    }

    impl Made {
        /// One more invocation of `F`. Each group of calls is side by side, and after the one before.
        pub fn run(&mut self, groups: &[&[Call]]) -> &mut Invocation {
            self.runs += 1;
            let id = format!("run-{}", self.runs);
            for group in groups {
                self.now_us += 4000;
                for call in *group {
                    let call = Call {
                        function: "F".to_owned(),
                        environment: Some("F-1".to_owned()),
                        request_id: Some(id.clone()),
                        ..call.clone()
                    };
                    self.add(Event::Call(Box::new(call)));
                }
            }
            self.now_us += 1000;
            self.add(Event::Invocation(Box::new(Invocation {
                function: "F".to_owned(),
                environment: Some("F-1".to_owned()),
                request_id: id,
                source: "GET /f".to_owned(),
                duration: ms(10.0),
                cpu: Some(ms(1.0)),
                memory_mb: 256,
                peak_memory: 10 * 1024 * 1024,
                ..Invocation::default()
            })));
            match &mut self.entries.last_mut().unwrap().event {
                Event::Invocation(it) => it,
                _ => unreachable!("it was added"),
            }
        }

        /// The cold invocation of an environment.
        pub fn cold(&mut self, held_ms: f64) -> &mut Invocation {
            let run = self.run(&[]);
            run.cold = true;
            run.init = Some(Init {
                duration: ms(20.0),
                cpu: ms(20.0),
                platform: ms(90.0),
            });
            run.held = ms(held_ms);
            run.duration = ms(held_ms + 10.0);
            run
        }

        /// An invocation that ends by its timeout, while a call has waited for its answer so long.
        pub fn hangs(&mut self, timeout_ms: f64, waited_ms: f64) {
            self.now_us += 10_000_000;
            let run = self.run(&[]);
            (run.outcome, run.duration) = (Ended::Timeout, ms(timeout_ms));
            let id = run.request_id.clone();
            self.add(Event::Call(Box::new(Call {
                function: "F".to_owned(),
                environment: Some("F-1".to_owned()),
                request_id: Some(id),
                outcome: Outcome::NoAnswer,
                duration: ms(waited_ms),
                ..get("Things")
            })));
        }

        /// Messages of the last invocation.
        pub fn moved(&mut self, change: Move, ids: &[&str]) {
            let request_id = format!("run-{}", self.runs);
            let messages = Messages {
                queue: "Q".to_owned(),
                change,
                ids: ids.iter().map(|id| (*id).to_owned()).collect(),
                request_id: Some(request_id),
                waited: Vec::new(),
            };
            self.add(Event::Messages(messages));
        }

        pub fn pause(&mut self, seconds: u64) {
            self.now_us += seconds * 1_000_000;
        }

        fn add(&mut self, event: Event) {
            let at_us = self.now_us;
            self.entries.push(Entry { at_us, event });
        }

        fn advice(&self, conditions: Option<&Medians>) -> Advice {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
            let known = Known {
                prices: &Prices::read(&root).unwrap(),
                architecture: "x86_64",
                conditions,
            };
            Advice::of(&self.entries, &known)
        }

        /// The names and sentences of what is found, under conditions.
        pub fn found(&self) -> Vec<(&'static str, String)> {
            let conditions = Medians {
                cpu_factor: 1.0,
                ..Medians::default()
            };
            let found = self.advice(Some(&conditions)).findings.into_iter();
            found.map(|it| (it.rule.name(), it.says)).collect()
        }

        /// As [`Made::found`], on the bare machine.
        pub fn found_bare(&self) -> Vec<(&'static str, String)> {
            let found = self.advice(None).findings.into_iter();
            found.map(|it| (it.rule.name(), it.says)).collect()
        }

        /// That this alone is found, and in these words.
        pub fn finds(&self, rule: &str, says: &str) {
            assert_eq!(self.found(), [(rule, says.to_owned())]);
        }

        pub fn finds_nothing(&self) {
            assert_eq!(self.found(), []);
        }
    }

    use local::conditions::Medians;

    #[test]
    fn calls_belong_to_the_invocation_that_made_them_and_a_strangers_to_none() {
        let mut made = Made::default();
        made.run(&[&[get("A")], &[get("B")]]);
        made.run(&[&[get("A"), get("B")]]);
        made.add(Event::Call(Box::new(Call {
            function: "workshop".to_owned(),
            ..get("A")
        })));
        made.run(&[]).outcome = Ended::Throttled;
        let seen = Seen::of(&made.entries);
        let function = &seen.functions["F"];
        assert_eq!((seen.functions.len(), function.calls.len()), (1, 4));
        let turns: Vec<_> = function.runs.iter().map(|it| in_turn(&it.calls)).collect();
        assert_eq!(turns, [2, 1], "a throttled one did not run");
    }
}
