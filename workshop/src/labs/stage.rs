//! A variant of a lesson on a host of its own: it is started, sent what the steps say, and what happened is kept round by
//! round.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use futures_util::future::join_all;
use local::events::{Ended, Entry, Event};
use local::faults::Plan;
use reqwest::{Client, Method};
use serde_json::Value;
use tokio::time::Instant;

use super::lesson::{Lesson, Run, Variant};
use super::measure::{Part, Prices, Round};
use super::steps::{Names, Poll, Send, Step, Times};
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
    /// Bytes of each function's log that were counted.
    logged: BTreeMap<String, u64>,
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
                lists: lesson.lab.judge.lists(&theatre.run),
                ..Names::default()
            },
            log: host.log(),
            host,
            sent: 0,
            began: Instant::now(),
            logged: BTreeMap::new(),
        })
    }

    /// The conditions of the host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What is put into its steps.
    pub fn names(&self) -> &Names {
        &self.lesson_names
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
            self.keep_events(&mut round).await?;
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
                    self.keep_events(round).await?;
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

    async fn send(&mut self, send: &Send, round: &mut Round) -> Result<Outcome> {
        if !send.counted {
            self.keep_events(round).await?;
        }
        self.began = Instant::now();
        let times = self.lesson_names.times(send.times, &send.path);
        let mut asked = Vec::new();
        for wave in 0..times {
            let many = (1..=send.at_once).map(|n| wave * send.at_once + n);
            let many = many.map(|n| self.ask(send, self.lesson_names.nth(n)));
            asked.extend(join_all(many).await);
        }
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
            times: Times::default(),
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
            expected.and_then(|expected| differs(&expected, &text))
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

    /// Events since the last ones that were read. An invocation is logged when its environment has asked for the next
    /// one, just after its answer.
    async fn new_events(&mut self) -> Result<Vec<Entry>> {
        let begun = Instant::now();
        let sent = std::mem::take(&mut self.sent);
        let mut new = Vec::new();
        loop {
            new.extend(self.log.read().await?);
            if new.iter().any(is_lost) {
                bail!("the host's log is full: the lesson sends too much");
            }
            let ended = new.iter().filter(|it| is_of_the_api(it)).count();
            if ended >= sent || begun.elapsed() > EVENTS_LIMIT {
                return Ok(new);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Counts what has happened since.
    async fn keep_events(&mut self, round: &mut Round) -> Result<()> {
        let events = self.new_events().await?;
        let part = round.now();
        part.events.extend(events);
        for (function, bytes) in self.new_log_bytes() {
            *part.log_bytes.entry(function).or_default() += bytes;
        }
        Ok(())
    }

    async fn skip_events(&mut self) -> Result<()> {
        self.new_events().await?;
        self.new_log_bytes();
        Ok(())
    }

    /// By how much each function's log has grown. Its lines are written before the event of their invocation.
    fn new_log_bytes(&mut self) -> BTreeMap<String, u64> {
        let mut grown = BTreeMap::new();
        for function in self.prices.functions.keys() {
            let log = self.host.ready.log_dir.join(format!("{function}.log"));
            let size = fs::metadata(log).map_or(0, |it| it.len());
            let before = self.logged.insert(function.clone(), size);
            grown.insert(function.clone(), size - before.unwrap_or(0).min(size));
        }
        grown
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
fn differs(expected: &Value, text: &str) -> Option<String> {
    let Ok(found) = serde_json::from_str::<Value>(text) else {
        return Some(format!("no JSON: {}", shown(text)));
    };
    let (place, expected, found) = difference(expected, &found)?;
    let at = if place.is_empty() {
        String::new()
    } else {
        format!("{place} is ")
    };
    let is =
        |value: Option<&Value>| value.map_or("missing".to_owned(), |it| shown(&it.to_string()));
    let right = expected.map_or_else(|| "nothing".to_owned(), |it| shown(&it.to_string()));
    Some(format!("{at}{} where {right} is right", is(found)))
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
    fn the_first_difference_is_named_with_its_place() {
        let expected = json!({"products": [{"id": "a", "price": 1}, {"id": "b", "price": 2}]});
        for (found, said) in [
            (expected.to_string(), None),
            (
                r#"{"products":[{"id":"a","price":1},{"id":"b","price":3}]}"#.to_owned(),
                Some("/products/1/price is 3 where 2 is right"),
            ),
            (
                r#"{"products":[{"id":"a","price":1}]}"#.to_owned(),
                Some(r#"/products/1 is missing where {"id":"b","price":2} is right"#),
            ),
            (
                r#"{"products":[],"x":1}"#.to_owned(),
                Some(r#"/products/0 is missing where {"id":"a","price":1} is right"#),
            ),
            (String::new(), Some("no JSON: an empty answer")),
        ] {
            assert_eq!(differs(&expected, &found).as_deref(), said, "{found}");
        }
        assert_eq!(
            differs(&json!({}), r#"{"x":1}"#).as_deref(),
            Some("/x is 1 where nothing is right")
        );
    }
}
