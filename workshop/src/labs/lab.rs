//! What `lab.toml` says. `labs/CONTRIBUTING.md` explains each key.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::measure::Measure;
use super::stand_in;
use super::steps::Step;
use crate::advise::Rule;
use crate::session::BadInput;

/// `lab.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lab {
    pub title: String,
    /// For a student who has not done it before.
    pub minutes: u32,
    pub level: Level,
    /// The file that a student edits.
    pub edits: String,
    /// Whether `template.yaml` is edited too. It has variants then, as if it were the only file.
    #[serde(default)]
    pub edits_template: bool,
    /// Whether the exercise's `Cargo.toml` is edited too. The variants are then crates of their own.
    #[serde(default)]
    pub edits_manifest: bool,
    pub todo: Todo,
    /// Each says a little more than the one before.
    pub hints: Vec<String>,
    /// Parameters of the template.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// What it is judged by.
    #[serde(flatten)]
    pub judge: Judge,
    /// What passes, in the order in which it is looked at: the first failure is the verdict. A judge may have its own.
    #[serde(default)]
    pub check: Vec<Check>,
    /// Other numbers that `make lab` shows.
    #[serde(default)]
    pub show: Vec<Measure>,
    /// A part of the sentence with which `before` and the untouched exercise fail.
    pub before_fails: String,
    /// What the adviser finds in `before` and the untouched exercise; nothing if it is not said. In the solution it finds
    /// nothing.
    pub advice: Option<Rule>,
    pub cheat: Vec<Cheat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Beginner,
    Intermediate,
    Advanced,
}

/// The comment that makes the exercise of `before`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Todo {
    /// The line of `before` that it stands above, without its indent.
    pub above: String,
    /// It begins with `TODO`.
    pub text: String,
}

/// What judges a lesson. Where that is another program, such as Artillery, it is a variant of its own.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judge {
    /// Requests to the lesson's application, and the host's log of what they caused.
    Run(Run),
    /// Artillery, which runs the load test that is edited against a sound service and broken ones.
    LoadTest(LoadTest),
    /// Rules for the template that is edited.
    Template(TemplateRules),
    /// Queries over the logs of the lesson's application.
    Query(Query),
}

impl Judge {
    /// What a student predicts of it.
    pub fn predicts(&self) -> &'static Predicts {
        match self {
            Self::Run(_) | Self::Query(_) => &Predicts {
                names: &["calls", "ms", "usd"],
                asks: "your exercise once it is mended",
                example: "calls=2 ms=10 usd=3",
                means: "calls a request, ms of a warm invocation, dollars a million requests",
            },
            Self::LoadTest(_) => &Predicts {
                names: &["caught"],
                asks: "your exercise as it is now",
                example: "caught=3",
                means: "how many of the broken services it catches as it is now",
            },
            Self::Template(_) => &Predicts {
                names: &["held"],
                asks: "your exercise as it is now",
                example: "held=5",
                means: "how many of the rules hold",
            },
        }
    }

    /// Its lists, each in an order that is drawn for this run.
    pub fn lists(&self, run: &str) -> BTreeMap<String, Vec<String>> {
        let Self::Query(query) = self else {
            return BTreeMap::new();
        };
        let mut lists = query.shuffled.clone();
        let mut hasher = DefaultHasher::new();
        run.hash(&mut hasher);
        let mut random = fastrand::Rng::with_seed(hasher.finish());
        lists.values_mut().for_each(|list| random.shuffle(list));
        lists
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// How often a check takes the steps.
    pub rounds: u64,
    /// Invocations at one time of all functions together; 1,000 unless set.
    pub account_concurrency: Option<u32>,
    /// Taken once, before anything is counted.
    #[serde(default)]
    pub prepare: Vec<Step>,
    /// Taken in each round.
    pub step: Vec<Step>,
}

/// A number that is measured, and what it has to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    #[serde(flatten)]
    pub measure: Measure,
    #[serde(flatten)]
    pub limit: Limit,
    /// What a failure says: `{measured}` and `{wanted}` are put in.
    pub says: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
    Equals(f64),
    /// Of `before` in the same rounds; the whole interval has to be below.
    RatioAtMost(f64),
}

/// A wrong answer that has to be found out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cheat {
    pub name: String,
    /// A part of the sentence with which it fails; no other variant fails with it.
    pub fails: String,
    /// What the adviser finds in it; not looked at if it is not said.
    pub advice: Option<Rule>,
}

/// The numbers of a prediction.
#[derive(Debug)]
pub struct Predicts {
    pub names: &'static [&'static str],
    /// Of what.
    pub asks: &'static str,
    pub example: &'static str,
    /// What they are.
    pub means: &'static str,
}

impl Predicts {
    pub fn refused(&self, given: &str) -> anyhow::Error {
        let Self { example, means, .. } = self;
        let why = format!("PREDICT={given} is no prediction; write PREDICT=\"{example}\": {means}");
        BadInput(why).into()
    }
}

/// The table `[load_test]` of `lab.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadTest {
    /// Seconds that its phases may last.
    pub seconds: f64,
    /// Fewer requests try nothing.
    pub at_least: u64,
    /// More are another load than was promised.
    pub at_most: u64,
    /// What the service has promised, in a few words.
    pub promise: String,
    /// By the start of method and path.
    pub answers: BTreeMap<String, stand_in::Answer>,
    /// What an answer takes.
    pub ms: u64,
    /// Slower answers of the service, all within its promise.
    #[serde(default)]
    pub changes: Vec<stand_in::Change>,
    pub broken: Vec<Broken>,
}

/// A service that does not keep its promise.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broken {
    pub name: String,
    /// What it is, such as `a service that …`.
    pub says: String,
    #[serde(default)]
    pub changes: Vec<stand_in::Change>,
    /// All that it takes up in a second.
    pub a_second: Option<u64>,
}

/// The table `[template]` of `lab.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateRules {
    /// What has to stay, or nothing is left that could be wrong.
    pub keep: Vec<Keep>,
    /// What each function calls, and so has to be allowed.
    pub calls: BTreeMap<String, Vec<String>>,
    /// In this order: the first that is broken is the verdict.
    pub rule: Vec<TemplateRule>,
}

/// A part of the template that stays as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keep {
    /// A JSON pointer into the resolved template.
    pub at: String,
    pub is: Value,
}

/// One rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateRule {
    pub rule: Kind,
    /// What a failure says: `{who}`, `{measured}` and `{wanted}` are put in.
    pub says: String,
}

/// What a rule asks of the template. The sources are in the lesson's README.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What has to stay is there.
    Kept,
    /// A function is allowed what it calls.
    Allowed,
    /// A function behind the API has no longer timeout than the API.
    ApiTimeout,
    /// A queue hides a message for six timeouts of its function.
    Visibility,
    /// A queue has a dead-letter queue, after five deliveries at least.
    DeadLetters,
    /// A failed message is reported by itself.
    PartialFailures,
    /// Someone hears of a message in the dead-letter queue.
    Alarm,
    /// No statement has a wildcard, and no policy is one of AWS's that allow everything of a service.
    LeastPrivilege,
    /// A function's log group is in the template, with its retention.
    Retention,
    /// No account and no region is written down.
    Portable,
    /// No resource that may have to be replaced has a name of its own.
    Names,
    /// Nothing is paid for by the hour.
    OnDemand,
}

/// `[query]` of `lab.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Lists that are put into another order in each run: `{name:1}` is the first of one.
    #[serde(default)]
    pub shuffled: BTreeMap<String, Vec<String>>,
    /// The steps that write the log.
    pub run: Run,
    /// What passes, in the order in which it is looked at: the first failure is the verdict.
    pub answer: Vec<Answer>,
}

/// What a query has to find. It is one of `unpicked`, `never`, `first` and `columns`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Its name: what follows `##` above it.
    pub query: String,
    /// It picks nothing out of the shuffled lists by what is written in it.
    #[serde(default)]
    pub unpicked: bool,
    /// The first row has not all of these values.
    pub never: Option<BTreeMap<String, Value>>,
    /// The first row has these values. Of a path, such as `@log`, the last part counts.
    pub first: Option<BTreeMap<String, Value>>,
    /// The columns have the numbers that the solution finds in the same log.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The column by which rows are found; without it, it is the first row.
    pub by: Option<String>,
    /// What a failure says: `{measured}` and `{wanted}` are put in.
    pub says: String,
}
