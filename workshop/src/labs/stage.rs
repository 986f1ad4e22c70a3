//! A variant of a lesson on a host of its own: it is started, sent what the steps say, and what happened is kept round by
//! round.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use futures_util::future::join_all;
use local::events::{Ended, Entry, Event, Invocation, Messages, Move};
use local::faults::Plan;
use reqwest::{Client, Method};
use serde_json::Value;
use tokio::time::Instant;

use super::lesson::{Lesson, Run, Variant};
use super::measure::{Part, Prices, Round};
use super::steps::{Expect, Names, Poll, Send, Step};
use super::tables::Tables;
use crate::bench::drain;
use crate::event_log::Log;
use crate::host::{Host, Start, resolved};
use crate::session::Session;

/// Longer than the API's 30 s.
const REQUEST_LIMIT: Duration = Duration::from_secs(35);

/// For events that follow an answer within a millisecond or two.
const EVENTS_LIMIT: Duration = Duration::from_secs(5);

/// Between two looks at something that takes milliseconds.
const PAUSE: Duration = Duration::from_millis(5);

/// Characters of an answer that a message shows.
const SHOWN: usize = 160;

/// What every stage of a verb needs.
#[derive(Debug)]
pub struct Theatre<'a> {
    pub session: &'a Session,
    pub lesson: &'a Lesson,
    /// The program `local`.
    pub local: &'a Path,
    /// `target/labs`.
    pub target: &'a Path,
    /// The same for all variants, so that they read and write the same keys.
    pub run: String,
}

/// A variant that runs.
pub struct Stage {
    pub variant: Variant,
    pub prices: Prices,
    pub rounds: Vec<Round>,
    host: Host,
    tables: Tables,
    /// The tables' own names by logical id.
    names: BTreeMap<String, String>,
    client: Client,
    lesson_names: Names,
    log: Log,
    /// Requests sent since.
    sent: usize,
    /// When the last step that sends began.
    began: Instant,
    /// What triggers have begun.
    triggers: Triggers,
}

/// An answer that is not what it should be. The student's code is to blame, so it is a verdict.
#[derive(Debug, Clone)]
pub struct Wrong(pub String);

/// What steps came to.
pub type Outcome = std::result::Result<(), Wrong>;

impl Stage {
    /// Starts a host with the variant's binaries, which are copied to a folder of their own.
    pub async fn start(
        theatre: &Theatre<'_>,
        variant: Variant,
        binaries: &BTreeMap<String, PathBuf>,
        conditions: &str,
    ) -> Result<Self> {
        let Theatre {
            session, lesson, ..
        } = theatre;
        let out = theatre.target.join("run").join(lesson.name());
        let out = out.join(variant.binary());
        let _ = fs::remove_dir_all(&out);
        for (folder, binary) in binaries {
            place(binary, &out.join("code").join(folder))?;
        }
        let template_file = lesson.template(&variant);
        let parameters = &lesson.lab.parameters;
        let template = resolved(&session.root, theatre.local, &template_file, parameters).await?;
        let start = Start {
            program: theatre.local,
            template: &template_file,
            parameters,
            code_dir: Some(&out.join("code")),
            conditions,
            out: &out,
        };
        let host = Host::start(session, &start).await?;
        // This machine is never behind a proxy.
        let client = Client::builder().no_proxy().timeout(REQUEST_LIMIT);
        Ok(Self {
            variant,
            prices: Prices::read(&session.root, &template)?,
            rounds: Vec::new(),
            tables: Tables::of(&host.ready)?,
            names: table_names(&template),
            client: client.build()?,
            lesson_names: Names {
                run: theatre.run.clone(),
                ..Names::default()
            },
            log: host.log(),
            host,
            sent: 0,
            began: Instant::now(),
            triggers: Triggers::default(),
        })
    }

    /// The conditions of the host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Takes the steps before the first round. Nothing of them is counted.
    pub async fn prepare(&mut self, run: &Run) -> Result<Outcome> {
        let mut round = Round::default();
        let taken = self.take(&run.prepare, &mut round).await?;
        self.skip_events().await?;
        Ok(taken)
    }

    /// Takes the steps of one more round. With a wrong answer the round is not kept.
    pub async fn round(&mut self, run: &Run) -> Result<Outcome> {
        self.lesson_names.round += 1;
        let mut round = Round::default();
        let taken = self.take(&run.step, &mut round).await?;
        if taken.is_ok() {
            round.now().events.extend(self.new_events().await?);
            self.rounds.push(round);
        }
        Ok(taken)
    }

    pub async fn stop(self) {
        self.host.stop().await;
    }

    async fn take(&mut self, steps: &[Step], round: &mut Round) -> Result<Outcome> {
        for step in steps {
            match step {
                Step::Put { table, each, item } => {
                    let items: Result<Vec<_>> = (1..=*each)
                        .map(|n| self.lesson_names.nth(n).value(item))
                        .collect();
                    self.tables.put(self.table(table)?, &items?).await?;
                }
                Step::Delete { table, key } => {
                    let key = self.lesson_names.value(key)?;
                    self.tables.delete(self.table(table)?, &key).await?;
                }
                Step::Expect(expect) => {
                    if let Err(wrong) = self.expect(expect, round).await? {
                        return Ok(Err(wrong));
                    }
                }
                Step::Send(send) => {
                    if let Err(wrong) = self.send(send, round).await? {
                        return Ok(Err(wrong));
                    }
                }
                Step::Poll(poll) => {
                    if let Err(wrong) = self.poll(poll, round).await? {
                        return Ok(Err(wrong));
                    }
                }
                Step::Pause { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
                Step::Part { name } => {
                    round.now().events.extend(self.new_events().await?);
                    round.0.push(Part {
                        name: Some(name.clone()),
                        ..Part::default()
                    });
                }
                Step::EndEnvironments => self.end_environments().await?,
                Step::Faults { seed, faults } => {
                    let plan = Plan {
                        seed: *seed,
                        faults: faults.clone(),
                    };
                    self.host.set_faults(&plan).await?;
                }
                Step::Drain => drain(&self.host).await?,
            }
        }
        Ok(Ok(()))
    }

    fn table(&self, id: &str) -> Result<&str> {
        let name = self.names.get(id);
        let name = name.with_context(|| format!("the template has no table {id}"))?;
        Ok(name)
    }

    async fn expect(&self, expect: &Expect, round: &mut Round) -> Result<Outcome> {
        let table = self.table(&expect.table)?;
        for n in 1..=expect.each {
            let names = self.lesson_names.nth(n);
            let key = names.value(&expect.key)?;
            let expected = expect.item.as_ref().map(|it| names.value(it)).transpose()?;
            let differs = match (expected, self.tables.get(table, &key).await?) {
                (None, None) => None,
                (None, Some(found)) => Some(format!("there should be none: {found}")),
                (Some(_), None) => Some("there is none".to_owned()),
                (Some(expected), Some(found)) => differs(&expected, &found),
            };
            let Some(differs) = differs else {
                continue;
            };
            if expect.may_fail {
                round.now().wrong += 1;
                continue;
            }
            let says = expect.says.as_deref().unwrap_or("A wrong item.");
            let what = format!("{key} in the table {}", expect.table);
            return Ok(Err(Wrong(format!("{says} {what}: {differs}"))));
        }
        Ok(Ok(()))
    }

    async fn send(&mut self, send: &Send, round: &mut Round) -> Result<Outcome> {
        if !send.counted {
            round.now().events.extend(self.new_events().await?);
        }
        self.began = Instant::now();
        let many = 1..=send.at_once;
        let asked = many.map(|n| self.ask(send, self.lesson_names.nth(n)));
        let asked = join_all(asked).await;
        let part = round.now();
        self.sent += asked.len();
        let says = send.says.as_deref().unwrap_or("A wrong answer.");
        let mut wrong = Ok(());
        for asked in asked {
            let (waited, items, outcome) = asked?;
            if send.counted {
                part.requests += 1;
                part.items += items;
                part.waits.push(waited.as_secs_f64() * 1e3);
            }
            if send.may_fail {
                part.wrong += u64::from(send.counted && outcome.is_err());
                continue;
            }
            wrong = wrong.and(outcome.map_err(|differs| (says, differs)));
        }
        if let Err((said, differs)) = wrong {
            // A failure of the function says more than the answer that came of it.
            let ended = self.new_events().await?;
            let failed = ended.iter().rev().find_map(|it| self.failure(it));
            let said = failed.as_deref().unwrap_or(said);
            return Ok(Err(Wrong(format!("{said} {differs}"))));
        }
        if !send.counted {
            self.skip_events().await?;
        }
        Ok(Ok(()))
    }

    /// Asks until all answers are right.
    async fn poll(&mut self, poll: &Poll, round: &mut Round) -> Result<Outcome> {
        let send = Send {
            method: "GET".to_owned(),
            path: poll.path.clone(),
            body: None,
            status: poll.status,
            json: poll.json.clone(),
            items: None,
            at_once: poll.at_once,
            counted: false,
            may_fail: false,
            says: None,
        };
        let limit = Duration::from_secs(poll.seconds);
        let begun = Instant::now();
        let until_right = async |n| -> Result<_> {
            let mut asked = 1;
            loop {
                let (_, _, outcome) = self.ask(&send, self.lesson_names.nth(n)).await?;
                if outcome.is_ok() || begun.elapsed() > limit {
                    return Ok((asked, self.began.elapsed(), outcome));
                }
                asked += 1;
                tokio::time::sleep(PAUSE).await;
            }
        };
        let ended = join_all((1..=poll.at_once).map(until_right)).await;
        let mut right = Ok(());
        for ended in ended {
            let (asked, took, outcome) = ended?;
            self.sent += asked;
            round.now().ends.push(took.as_secs_f64() * 1e3);
            right = right.and(outcome);
        }
        let says = poll
            .says
            .as_deref()
            .unwrap_or("The right answer never came.");
        Ok(right.map_err(|differs| {
            let seconds = poll.seconds;
            Wrong(format!("{says} After {seconds} s still {differs}"))
        }))
    }

    /// Sends one request: how long the answer took, how many items it should have, and where it differs.
    async fn ask(
        &self,
        send: &Send,
        names: Names,
    ) -> Result<(Duration, u64, std::result::Result<(), String>)> {
        let path = names.text(&send.path)?;
        let what = format!("{} {path}", send.method);
        let method = Method::from_bytes(send.method.as_bytes())?;
        let url = format!("{}{path}", self.host.ready.api_url);
        let mut request = self.client.request(method, url);
        if let Some(body) = &send.body {
            request = request.json(&names.value(body)?);
        }
        let expected = send.json.as_ref().map(|it| names.value(it)).transpose()?;
        let begun = Instant::now();
        let answer = request.send().await.with_context(|| what.clone())?;
        let status = answer.status().as_u16();
        let text = answer.text().await.with_context(|| what.clone())?;
        let waited = begun.elapsed();
        let items = expected
            .as_ref()
            .zip(send.items.as_ref())
            .and_then(|(json, at)| json.pointer(at)?.as_array())
            .map_or(1, |items| items.len() as u64);
        let differs = if status == send.status {
            expected.and_then(|expected| match serde_json::from_str(&text) {
                Ok(found) => differs(&expected, &found),
                Err(_) => Some(format!("no JSON: {}", shown(&text))),
            })
        } else {
            let (wanted, start) = (send.status, shown(&text));
            Some(format!(
                "the status is {status} where {wanted} is right: {start}"
            ))
        };
        let outcome = differs.map_or(Ok(()), |differs| Err(format!("{what}: {differs}")));
        Ok((waited, items, outcome))
    }

    /// Why an invocation failed, in a sentence, with the place of its log.
    fn failure(&self, entry: &Entry) -> Option<String> {
        let Event::Invocation(it) = &entry.event else {
            return None;
        };
        let (name, error) = (&it.function, it.error.as_deref().unwrap_or_default());
        let log = self.host.ready.log_dir.join(format!("{name}.log"));
        let shown = log.display();
        match it.outcome {
            Ended::Success => None,
            Ended::Throttled => Some(format!("{name} was throttled.")),
            Ended::Timeout => Some(format!("{name} did not answer within its timeout.")),
            Ended::Error => Some(match panic(&fs::read_to_string(&log).unwrap_or_default()) {
                Some(panic) => format!("{name} panicked at {panic}."),
                // The type of any error that a handler returns.
                None if error.contains("dyn core::error::Error") => {
                    format!(
                        "The handler of {name} returned an error; `eprintln!` writes it to its log, {shown}."
                    )
                }
                None => format!("{name} failed with {error}; its log is {shown}."),
            }),
        }
    }

    /// Ends all environments. A busy one ends as soon as it is idle.
    async fn end_environments(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.host.reap().await?;
            let left = self.host.environments().await?;
            if left.values().all(|count| *count == 0) {
                return Ok(());
            }
            if begun.elapsed() > EVENTS_LIMIT {
                bail!("environments stay busy although nothing was sent");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Events since the last ones that were read, once no trigger has messages in hand. An invocation is logged when its
    /// environment has asked for the next one, just after its answer.
    async fn new_events(&mut self) -> Result<Vec<Entry>> {
        let begun = Instant::now();
        let sent = std::mem::take(&mut self.sent);
        let mut new = Vec::new();
        loop {
            let read = self.log.read().await?;
            if read.iter().any(is_lost) {
                bail!("the host's log is full: the lesson sends too much");
            }
            for entry in &read {
                self.triggers.see(&entry.event);
            }
            new.extend(read);
            let ended = new.iter().filter(|it| is_of_the_api(it)).count();
            if (ended >= sent && self.triggers.are_idle()) || begun.elapsed() > EVENTS_LIMIT {
                return Ok(new);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn skip_events(&mut self) -> Result<()> {
        self.new_events().await.map(drop)
    }
}

/// Copies a binary to `<folder>/bootstrap`. The old file may run, so it is not written over.
pub fn place(binary: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let bootstrap = folder.join("bootstrap");
    let _ = fs::remove_file(&bootstrap);
    fs::copy(binary, bootstrap)?;
    Ok(())
}

fn is_lost(entry: &Entry) -> bool {
    matches!(entry.event, Event::Lost { .. })
}

/// What triggers have begun and not ended, as the log says.
#[derive(Debug, Default)]
struct Triggers {
    /// Messages that were received, and neither deleted nor given back.
    in_hand: usize,
    /// Invocations of which only one of two events was seen: that it was given messages, or that it ended.
    halves: BTreeSet<String>,
}

impl Triggers {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Messages(Messages {
                change,
                ids,
                request_id,
                ..
            }) => match (change, request_id) {
                (Move::Received, _) => self.in_hand += ids.len(),
                (Move::Deleted | Move::Returned, _) => {
                    self.in_hand = self.in_hand.saturating_sub(ids.len());
                }
                (Move::Delivered, Some(id)) => self.see_half(id),
                _ => {}
            },
            // A throttled one is tried again under the same id.
            Event::Invocation(it) if is_of_a_queue(it) && it.outcome != Ended::Throttled => {
                self.see_half(&it.request_id);
            }
            _ => {}
        }
    }

    fn see_half(&mut self, id: &str) {
        if !self.halves.remove(id) {
            self.halves.insert(id.to_owned());
        }
    }

    fn are_idle(&self) -> bool {
        self.in_hand == 0 && self.halves.is_empty()
    }
}

/// Its source is then the queue's logical id.
fn is_of_a_queue(invocation: &Invocation) -> bool {
    let source = &invocation.source;
    !source.contains(' ') && source != "$default" && source != "Invoke"
}

/// Of a request: its source is a route, such as `GET /products/{id}`.
fn is_of_the_api(entry: &Entry) -> bool {
    matches!(&entry.event, Event::Invocation(it) if it.source.contains(' ') || it.source == "$default")
}

/// The last panic in a function's log: its place and its message.
fn panic(log: &str) -> Option<String> {
    let (_, panic) = log.rsplit_once(" panicked at ")?;
    let mut lines = panic.lines();
    Some(format!("{} {}", lines.next()?, lines.next()?))
}

/// The tables' own names; without one, `local` gives the logical id a prefix.
fn table_names(template: &Value) -> BTreeMap<String, String> {
    let resources = template["Resources"].as_object().into_iter().flatten();
    let is_table =
        |kind: &Value| kind == "AWS::DynamoDB::Table" || kind == "AWS::Serverless::SimpleTable";
    let tables = resources.filter(|(_, it)| is_table(&it["Type"]));
    let names = tables.map(|(id, it)| {
        let own = it["Properties"]["TableName"].as_str();
        (
            id.clone(),
            own.map_or_else(|| format!("local-{id}"), str::to_owned),
        )
    });
    names.collect()
}

fn shown(text: &str) -> String {
    if text.is_empty() {
        return "an empty answer".to_owned();
    }
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The first place in which an answer differs, in words.
fn differs(expected: &Value, found: &Value) -> Option<String> {
    let (place, expected, found) = difference(expected, found)?;
    let at = if place.is_empty() {
        String::new()
    } else {
        format!("{place} is ")
    };
    let or = |value: Option<&Value>, none: &str| {
        value.map_or_else(|| none.to_owned(), |it| shown(&it.to_string()))
    };
    let (found, right) = (or(found, "missing"), or(expected, "nothing"));
    Some(format!("{at}{found} where {right} is right"))
}

type Difference<'a> = (String, Option<&'a Value>, Option<&'a Value>);

fn difference<'a>(expected: &'a Value, found: &'a Value) -> Option<Difference<'a>> {
    let inside = |name: &str, (place, a, b): Difference<'a>| (format!("/{name}{place}"), a, b);
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            let more = b.keys().filter(|name| !a.contains_key(*name));
            a.keys().chain(more).find_map(|name| {
                let found = match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => difference(a, b)?,
                    (a, b) => (String::new(), a, b),
                };
                Some(inside(name, found))
            })
        }
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len())).find_map(|index| {
            let found = match (a.get(index), b.get(index)) {
                (Some(a), Some(b)) => difference(a, b)?,
                (a, b) => (String::new(), a, b),
            };
            Some(inside(&index.to_string(), found))
        }),
        (a, b) if a == b => None,
        (a, b) => Some((String::new(), Some(a), Some(b))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_panic_is_found_in_a_log() {
        let log = "START\n\nthread 'main' (7) panicked at 02-clients/exercise.rs:14:50:\noh no\nnote: run with\nEND\n";
        assert_eq!(
            panic(log).as_deref(),
            Some("02-clients/exercise.rs:14:50: oh no")
        );
        assert_eq!(panic("START\nEND\n"), None);
    }

    #[test]
    fn triggers_are_idle_once_messages_are_settled_and_their_invocation_has_ended() {
        let of = |change, count| {
            Event::Messages(Messages {
                queue: "Q".to_owned(),
                change,
                ids: vec![String::new(); count],
                request_id: (change == Move::Delivered).then(|| "a".to_owned()),
                waited: Vec::new(),
            })
        };
        let ended = |source: &str| {
            Event::Invocation(Box::new(Invocation {
                request_id: "a".to_owned(),
                source: source.to_owned(),
                ..Invocation::default()
            }))
        };
        let mut triggers = Triggers::default();
        for (event, idle) in [
            (of(Move::Sent, 3), true),
            (of(Move::Received, 3), false),
            (of(Move::Delivered, 3), false),
            (of(Move::Deleted, 2), false),
            (of(Move::Returned, 1), false),
            (ended("GET /"), false),
            (ended("Q"), true),
            (of(Move::Dead, 1), true),
        ] {
            triggers.see(&event);
            assert_eq!(triggers.are_idle(), idle, "{event:?}");
        }
    }

    #[test]
    fn the_first_difference_is_named_with_its_place() {
        let expected = json!({"products": [{"id": "a", "price": 1}, {"id": "b", "price": 2}]});
        for (found, said) in [
            (expected.clone(), None),
            (
                json!({"products": [{"id": "a", "price": 1}, {"id": "b", "price": 3}]}),
                Some("/products/1/price is 3 where 2 is right"),
            ),
            (
                json!({"products": [{"id": "a", "price": 1}]}),
                Some(r#"/products/1 is missing where {"id":"b","price":2} is right"#),
            ),
            (
                json!({"products": [], "x": 1}),
                Some(r#"/products/0 is missing where {"id":"a","price":1} is right"#),
            ),
        ] {
            assert_eq!(differs(&expected, &found).as_deref(), said, "{found}");
        }
        assert_eq!(
            differs(&json!({}), &json!({"x": 1})).as_deref(),
            Some("/x is 1 where nothing is right")
        );
    }
}
