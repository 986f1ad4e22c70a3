//! The adviser: reads a log of events, and says in a sentence each what could be better.
//!
//! It knows the log alone, so it works for every template that `local` runs. Each rule has a limit, with its reason, and
//! is silent where there is too little to judge by.
//!
//! | module | is about |
//! |---|---|
//! | [`seen`] | the log, sorted by function and invocation |
//! | [`calls`] | calls to AWS: loops, order, filters, repeats |
//! | [`answers`] | what an answer waits for |
//! | [`cache`] | reads that a cache would save |
//! | [`connections`] | connections that are opened again |
//! | [`size`] | memory, cold starts and what a log costs |
//! | [`batches`] | messages that run again |
//! | [`room`] | concurrency that others have |
//! | [`verb`] | `workshop advise` |

mod answers;
mod batches;
mod cache;
mod calls;
mod connections;
mod room;
mod seen;
mod size;
pub mod verb;

use local::conditions::Medians;
use local::events::Entry;
use serde::{Deserialize, Serialize};

use crate::prices::Prices;
use seen::Seen;

/// A property of each invocation is one of the code, and no chance, after so many.
const LEAST: usize = 5;

/// Something that could be better.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub rule: Rule,
    /// The lesson of `labs/` that is about it.
    pub lesson: u8,
    /// The function's logical id.
    pub function: String,
    /// One sentence.
    pub says: String,
    /// The number in it that the rule is about.
    pub number: f64,
}

/// A kind of finding. Its name in JSON and in `lab.toml` has hyphens: `n-plus-one`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    Connections,
    ColdStart,
    NPlusOne,
    ReadsInTurn,
    Filter,
    WorkBeforeAnswer,
    BatchAgain,
    ReadsAgain,
    Memory,
    CrowdedOut,
    HiddenErrors,
    NoTimeout,
    LogCosts,
}

impl Rule {
    /// In the order of their lessons.
    pub const ALL: [Self; 13] = [
        Self::Connections,
        Self::ColdStart,
        Self::NPlusOne,
        Self::ReadsInTurn,
        Self::Filter,
        Self::WorkBeforeAnswer,
        Self::BatchAgain,
        Self::ReadsAgain,
        Self::Memory,
        Self::CrowdedOut,
        Self::HiddenErrors,
        Self::NoTimeout,
        Self::LogCosts,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ColdStart => "cold-start",
            Self::NPlusOne => "n-plus-one",
            Self::ReadsInTurn => "reads-in-turn",
            Self::Filter => "filter",
            Self::WorkBeforeAnswer => "work-before-answer",
            Self::BatchAgain => "batch-again",
            Self::ReadsAgain => "reads-again",
            Self::Memory => "memory",
            Self::CrowdedOut => "crowded-out",
            Self::HiddenErrors => "hidden-errors",
            Self::NoTimeout => "no-timeout",
            Self::LogCosts => "log-costs",
        }
    }

    /// The number of the lesson.
    pub fn lesson(self) -> u8 {
        match self {
            Self::Connections => 2,
            Self::ColdStart => 3,
            Self::NPlusOne | Self::ReadsInTurn => 4,
            Self::Filter => 5,
            Self::WorkBeforeAnswer => 6,
            Self::BatchAgain => 7,
            Self::ReadsAgain => 8,
            Self::Memory => 9,
            Self::CrowdedOut => 10,
            Self::HiddenErrors | Self::NoTimeout => 11,
            Self::LogCosts => 12,
        }
    }

    pub fn looks_for(self) -> &'static str {
        match self {
            Self::Connections => {
                "connections that are opened again, and clients built in the handler"
            }
            Self::ColdStart => "cold starts whose first request waits for a share of a CPU",
            Self::NPlusOne => "a call for each item where one call takes many",
            Self::ReadsInTurn => "reads of different tables, one after the other",
            Self::Filter => "a Query or Scan whose filter throws away nearly all that it reads",
            Self::WorkBeforeAnswer => "writes that a client waits for, and a worker could do later",
            Self::BatchAgain => {
                "batches that are returned as a whole, so that good messages run again"
            }
            Self::ReadsAgain => "reads that an environment repeats within a second",
            Self::Memory => {
                "memory that is far too small, far too large, or of no use to one thread"
            }
            Self::CrowdedOut => {
                "functions that are refused because another one has the concurrency"
            }
            Self::HiddenErrors => "calls that fail often, which a retry hides",
            Self::NoTimeout => {
                "calls without an answer, for which a function waits until its timeout"
            }
            Self::LogCosts => "a log that costs more than its runs and all their calls",
        }
    }

    fn finding(self, function: &str, number: f64, says: String) -> Finding {
        Finding {
            rule: self,
            lesson: self.lesson(),
            function: function.to_owned(),
            says,
            number,
        }
    }
}

/// What the rules have to know beyond the log.
#[derive(Debug)]
pub struct Known<'a> {
    pub prices: &'a Prices,
    /// `arm64` or `x86_64`.
    pub architecture: &'a str,
    /// Of the host. On the bare machine a call is answered before the next one is sent, so that nobody can tell calls side
    /// by side from calls in turn.
    pub conditions: Option<&'a Medians>,
}

/// What a log of events says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    pub functions: usize,
    pub invocations: usize,
    /// Events that the host no longer kept.
    pub lost: u64,
    pub findings: Vec<Finding>,
}

impl Advice {
    /// Reads a log.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>, known: &Known<'_>) -> Self {
        let seen = Seen::of(entries);
        let mut findings = Vec::new();
        for function in seen.functions.values() {
            let each = calls::n_plus_one(function, known);
            // Until the loop is gone, nobody can say what else is in turn.
            if each.is_empty() {
                findings.extend(calls::reads_in_turn(function, known));
                findings.extend(answers::work_before_answer(function, known));
            }
            findings.extend(each);
            findings.extend(calls::filter(function));
            findings.extend(calls::hidden_errors(function));
            findings.extend(answers::no_timeout(function));
            findings.extend(cache::reads_again(function));
            findings.extend(connections::opened_again(function));
            findings.extend(size::memory(function, known));
            findings.extend(size::cold_start(function));
            findings.extend(size::log_costs(function, known));
        }
        findings.extend(batches::again(&seen));
        findings.extend(room::crowded_out(&seen));
        findings.sort_by(|a, b| (a.rule, &a.function).cmp(&(b.rule, &b.function)));
        Self {
            functions: seen.functions.len(),
            invocations: seen.functions.values().map(|it| it.runs.len()).sum(),
            lost: seen.lost,
            findings,
        }
    }

    /// The names of what was found, each once.
    pub fn rules(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.findings.iter().map(|it| it.rule.name()).collect();
        names.dedup();
        names
    }

    /// For a terminal: a sentence for each finding, or that there is none.
    pub fn text(&self) -> String {
        let mut lines = vec![self.heading()];
        let findings = self.findings.iter();
        lines.extend(findings.map(|it| format!("  {} (lesson {})", it.says, it.lesson)));
        if self.findings.is_empty() {
            lines.push("  It looked for:".to_owned());
            lines.extend(Rule::ALL.map(|rule| format!("  - {}", rule.looks_for())));
        }
        lines.join("\n")
    }

    /// What was found, and in how much.
    pub fn heading(&self) -> String {
        let counted = |count: usize, what: &str| {
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} {what}{plural}")
        };
        let of = format!(
            "in {} of {}",
            counted(self.invocations, "invocation"),
            counted(self.functions, "function")
        );
        let found = match self.findings.len() {
            0 => format!("What could be better: nothing found {of}."),
            1 => format!("What could be better: one thing {of}."),
            many => format!("What could be better: {many} things {of}."),
        };
        match self.lost {
            0 => found,
            lost => format!("{found} {lost} events are missing: the host no longer kept them."),
        }
    }
}
