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
use reqwest::{Client, Method, Url};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::lab::{Judge, Run};
use super::lesson::{Lesson, Variant};
use super::measure::{Part, Prices, Round};
use super::steps::{Expect, Names, Poll, Send, Step, Times, keeps};
use super::tables::Tables;
use crate::advise::{Advice, Known};
use crate::bench::drain;
use crate::event_log::Log;
use crate::host::{Host, Start, resolved};
use crate::prices;
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

impl Theatre<'_> {
    /// Where the lesson's hosts have their files.
    pub fn folder(&self) -> PathBuf {
        self.target.join("run").join(self.lesson.name())
    }
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
    api: Api,
    /// Requests that are still under way while the next steps are taken.
    background: Option<(Send, JoinSet<Result<Asked>>)>,
    lesson_names: Names,
    log: Log,
    /// Requests sent since.
    sent: usize,
    /// When the last step that sends began.
    began: Instant,
    /// Bytes of each function's log that were counted.
    logged: BTreeMap<String, u64>,
    /// What triggers have begun.
    triggers: Triggers,
}

/// An answer that is not what it should be. The student's code is to blame, so it is a verdict.
#[derive(Debug, Clone)]
pub struct Wrong(pub String);

/// Texts of an answer that later steps use, by the name that each is kept under.
type Kept = BTreeMap<String, String>;

/// The API of the host, as a client sees it.
#[derive(Debug, Clone)]
struct Api {
    client: Client,
    url: String,
}

/// How long an answer took, how many items it should have, and what is to be kept of it or where it differs.
type Asked = (Duration, u64, std::result::Result<Kept, String>);

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
        let lesson = theatre.lesson;
        let out = theatre.folder().join(variant.binary());
        let _ = fs::remove_dir_all(&out);
        let template = lesson.template(&variant);
        Self::of_template(theatre, variant, binaries, conditions, &template, &out).await
    }

    /// Starts a host with the variant's binaries and this template; `out` is its folder.
    pub async fn of_template(
        theatre: &Theatre<'_>,
        variant: Variant,
        binaries: &BTreeMap<String, PathBuf>,
        conditions: &str,
        template_file: &Path,
        out: &Path,
    ) -> Result<Self> {
        let Theatre {
            session, lesson, ..
        } = theatre;
        for (folder, binary) in binaries {
            place(binary, &out.join("code").join(folder))?;
        }
        let parameters = &lesson.lab.parameters;
        let template = resolved(&session.root, theatre.local, template_file, parameters).await?;
        let account_concurrency = match &lesson.lab.judge {
            Judge::Run(run) => run.account_concurrency,
            _ => None,
        };
        let start = Start {
            program: theatre.local,
            template: template_file,
            parameters,
            code_dir: Some(&out.join("code")),
            conditions,
            account_concurrency,
            out,
        };
        let host = Host::start(session, &start).await?;
        // This machine is never behind a proxy.
        let client = Client::builder().no_proxy().timeout(REQUEST_LIMIT);
        Ok(Self {
            variant,
            prices: Prices::read(&session.root, &template, &out.join("code"))?,
            rounds: Vec::new(),
            tables: Tables::of(&host.ready)?,
            names: table_names(&template),
            api: Api {
                client: client.build()?,
                url: host.ready.api_url.clone(),
            },
            background: None,
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
            triggers: Triggers::default(),
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
        let mut taken = self.take(&run.step, &mut round).await?;
        if taken.is_ok() {
            taken = self.finish(&mut round).await?;
        }
        if taken.is_ok() {
            self.keep_events(&mut round).await?;
            self.rounds.push(round);
        }
        Ok(taken)
    }

    /// What the adviser finds in the rounds so far.
    pub async fn advice(&self, session: &Session) -> Result<Advice> {
        let conditions = self.host.conditions().await?;
        let known = Known {
            prices: &prices::Prices::read(&session.root)?,
            architecture: "x86_64", // Lambda's default
            conditions: conditions.as_ref(),
        };
        let events = self.rounds.iter().flat_map(Round::events);
        Ok(Advice::of(events, &known))
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
                    if let Err(wrong) = self.finish(round).await? {
                        return Ok(Err(wrong));
                    }
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
                (Some(expected), Some(found)) => compared(&expected, &found).err(),
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
            self.keep_events(round).await?;
        }
        self.began = Instant::now();
        if send.background {
            return self.send_in_background(send, round).await;
        }
        let mut failed = 0;
        let times = self.lesson_names.times(send.times, &send.path);
        for time in 0..times {
            let many = 1 + time * send.at_once..=(time + 1) * send.at_once;
            let asked = many.map(|n| self.api.ask(send, self.lesson_names.nth(n)));
            let asked = join_all(asked).await;
            self.sent += asked.len();
            let mut wrong = Ok(());
            for asked in asked {
                let asked = asked?;
                failed += u64::from(asked.2.is_err());
                match round.now().count(send, asked) {
                    Ok(kept) => self.lesson_names.kept.extend(kept),
                    Err(said) => wrong = wrong.and(Err(said)),
                }
            }
            if let Err(said) = wrong {
                return Ok(Err(self.why(said).await?));
            }
            if send.patience.is_some_and(|most| failed >= most) {
                break;
            }
            // Until the environments are idle again: a request that comes sooner starts another one.
            if times > 1 {
                let ended = self.new_events().await?;
                if send.counted {
                    round.now().events.extend(ended);
                }
            }
        }
        if !send.counted {
            self.skip_events().await?;
        }
        Ok(Ok(()))
    }

    /// Sends requests, and comes back with the first answer.
    async fn send_in_background(&mut self, send: &Send, round: &mut Round) -> Result<Outcome> {
        if let Err(wrong) = self.finish(round).await? {
            return Ok(Err(wrong));
        }
        let mut asked = JoinSet::new();
        for n in 1..=send.at_once {
            let (api, names, send) = (self.api.clone(), self.lesson_names.nth(n), send.clone());
            asked.spawn(async move { api.ask(&send, names).await });
        }
        let Some(first) = asked.join_next().await else {
            return Ok(Ok(()));
        };
        self.sent += 1;
        match round.now().count(send, first??) {
            Ok(kept) => self.lesson_names.kept.extend(kept),
            Err(said) => return Ok(Err(self.why(said).await?)),
        }
        self.background = Some((send.clone(), asked));
        Ok(Ok(()))
    }

    /// Waits for the answers to what was sent in the background.
    async fn finish(&mut self, round: &mut Round) -> Result<Outcome> {
        let Some((send, asked)) = self.background.take() else {
            return Ok(Ok(()));
        };
        let mut wrong = Ok(());
        for asked in asked.join_all().await {
            self.sent += 1;
            match round.now().count(&send, asked?) {
                Ok(kept) => self.lesson_names.kept.extend(kept),
                Err(said) => wrong = wrong.and(Err(said)),
            }
        }
        match wrong {
            Ok(()) => Ok(Ok(())),
            Err(said) => Ok(Err(self.why(said).await?)),
        }
    }

    /// A wrong answer as the verdict. A failure of the function says more than the answer that came of it.
    async fn why(&mut self, (said, differs): (String, String)) -> Result<Wrong> {
        let ended = self.new_events().await?;
        let failed = ended.iter().rev().find_map(|it| self.failure(it));
        let said = failed.unwrap_or(said);
        Ok(Wrong(format!("{said} {differs}")))
    }

    /// Asks until all answers are right.
    async fn poll(&mut self, poll: &Poll, round: &mut Round) -> Result<Outcome> {
        let send = Send {
            method: "GET".to_owned(),
            path: poll.path.clone(),
            query: BTreeMap::new(),
            body: None,
            status: poll.status,
            json: poll.json.clone(),
            items: None,
            at_once: poll.at_once,
            times: Times::default(),
            counted: false,
            may_fail: false,
            patience: None,
            background: false,
            says: None,
        };
        let limit = Duration::from_secs(poll.seconds);
        let begun = Instant::now();
        let until_right = async |n| -> Result<_> {
            let mut asked = 1;
            loop {
                let (_, _, outcome) = self.api.ask(&send, self.lesson_names.nth(n)).await?;
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
            match outcome {
                Ok(kept) => self.lesson_names.kept.extend(kept),
                Err(differs) => right = right.and(Err(differs)),
            }
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

    /// Ends all environments. A busy one ends as soon as it is idle, and provisioned concurrency is ready again.
    async fn end_environments(&self) -> Result<()> {
        let begun = Instant::now();
        self.host.reap().await?;
        loop {
            let now = self.host.functions().await?;
            let kept = |name: &String| {
                let function = self.prices.functions.get(name);
                function.map_or(0, |it| it.provisioned)
            };
            let mut all = now.iter();
            if all.all(|(name, it)| it.environments == kept(name) && it.idle == it.environments) {
                return Ok(());
            }
            if begun.elapsed() > EVENTS_LIMIT {
                bail!("environments stay busy although nothing was sent");
            }
            let mut all = now.iter();
            if all.any(|(name, it)| it.environments > kept(name) && it.idle > 0) {
                self.host.reap().await?;
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

impl Api {
    /// Sends one request.
    async fn ask(&self, send: &Send, names: Names) -> Result<Asked> {
        let path = names.text(&send.path)?;
        let mut url = Url::parse(&format!("{}{path}", self.url))?;
        for (name, value) in &send.query {
            url.query_pairs_mut().append_pair(name, &names.text(value)?);
        }
        let query = url.query().map_or(String::new(), |it| format!("?{it}"));
        let what = format!("{} {}{query}", send.method, url.path());
        let method = Method::from_bytes(send.method.as_bytes())?;
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
        let outcome = if status == send.status {
            expected.map_or(Ok(Kept::new()), |expected| {
                match serde_json::from_str(&text) {
                    Ok(found) => compared(&expected, &found),
                    Err(_) => Err(format!("no JSON: {}", shown(&text))),
                }
            })
        } else {
            let (wanted, start) = (send.status, shown(&text));
            Err(format!(
                "the status is {status} where {wanted} is right: {start}"
            ))
        };
        let outcome = outcome.map_err(|differs| format!("{what}: {differs}"));
        Ok((waited, items, outcome))
    }
}

impl Part {
    /// Counts an answer, and returns what is to be kept of it. A wrong one that may not be is told, with what it means.
    fn count(
        &mut self,
        send: &Send,
        (waited, items, outcome): Asked,
    ) -> std::result::Result<Kept, (String, String)> {
        if send.counted {
            self.requests += 1;
            self.items += items;
            self.waits.push(waited.as_secs_f64() * 1e3);
        }
        if send.may_fail {
            self.wrong += u64::from(send.counted && outcome.is_err());
            return Ok(outcome.unwrap_or_default());
        }
        let says = send.says.as_deref().unwrap_or("A wrong answer.");
        outcome.map_err(|differs| (says.to_owned(), differs))
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

/// What is to be kept of a right answer; of another one the first place in which it differs, in words.
fn compared(expected: &Value, found: &Value) -> std::result::Result<Kept, String> {
    let mut kept = Kept::new();
    let Some((place, expected, found)) = difference(expected, found, &mut kept) else {
        return Ok(kept);
    };
    let at = if place.is_empty() {
        String::new()
    } else {
        format!("{place} is ")
    };
    let found = found.map_or("missing".to_owned(), |it| shown(&it.to_string()));
    let right = match expected {
        None => "nothing".to_owned(),
        Some(Value::String(text)) if keeps(text).is_some() => "a text".to_owned(),
        Some(it) => shown(&it.to_string()),
    };
    Err(format!("{at}{found} where {right} is right"))
}

type Difference<'a> = (String, Option<&'a Value>, Option<&'a Value>);

fn difference<'a>(
    expected: &'a Value,
    found: &'a Value,
    kept: &mut Kept,
) -> Option<Difference<'a>> {
    let inside = |name: &str, (place, a, b): Difference<'a>| (format!("/{name}{place}"), a, b);
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            let more = b.keys().filter(|name| !a.contains_key(*name));
            a.keys().chain(more).find_map(|name| {
                let found = match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => difference(a, b, kept)?,
                    (a, b) => (String::new(), a, b),
                };
                Some(inside(name, found))
            })
        }
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len())).find_map(|index| {
            let found = match (a.get(index), b.get(index)) {
                (Some(a), Some(b)) => difference(a, b, kept)?,
                (a, b) => (String::new(), a, b),
            };
            Some(inside(&index.to_string(), found))
        }),
        (a, b) => match (a.as_str().and_then(keeps), b) {
            (Some(name), Value::String(text)) => {
                kept.insert(name.to_owned(), text.clone());
                None
            }
            _ => (a != b).then(|| (String::new(), Some(a), Some(b))),
        },
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
            let differs = compared(&expected, &found).err();
            assert_eq!(differs.as_deref(), said, "{found}");
        }
        assert_eq!(
            compared(&json!({}), &json!({"x": 1})).unwrap_err(),
            "/x is 1 where nothing is right"
        );
    }

    #[test]
    fn any_text_is_right_where_one_is_kept() {
        let expected = json!({"id": "a", "next": "{keep:next}"});
        let kept = compared(&expected, &json!({"id": "a", "next": "x7"})).unwrap();
        assert_eq!(kept, Kept::from([("next".to_owned(), "x7".to_owned())]));
        assert_eq!(
            compared(&expected, &json!({"id": "a", "next": null})).unwrap_err(),
            "/next is null where a text is right"
        );
    }
}
