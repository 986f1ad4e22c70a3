//! Whether a variant passes, and the sentence that says why not.

use serde::{Deserialize, Serialize};

use super::lab::{Check, Limit};
use super::lesson::{Lesson, Variant};
use super::measure::{Measure, Prices, Round};
use crate::advise::Rule;
use crate::ratio::{ratio, width};

/// What a variant has come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub passed: bool,
    /// One sentence.
    pub says: String,
    /// None if an answer was wrong.
    pub checks: Vec<Checked>,
}

/// A check with its number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    pub what: String,
    /// None if there was nothing to measure.
    pub measured: Option<f64>,
    pub wanted: String,
    pub passed: bool,
}

impl Verdict {
    /// An answer was wrong.
    pub fn wrong(says: String) -> Self {
        Self {
            passed: false,
            says,
            checks: Vec::new(),
        }
    }

    /// Whether a variant ends as its lesson says: with its own sentence, and with no other's.
    pub fn is_expected(&self, lesson: &Lesson, variant: &Variant) -> bool {
        let lab = &lesson.lab;
        let cheats = lab.cheat.iter();
        let cheats = cheats.map(|it| (it.name.as_str(), it.fails.as_str()));
        let sentences = cheats.chain([("", lab.before_fails.as_str())]);
        let said = sentences.filter(|(_, part)| self.says.contains(part));
        let said: Vec<_> = said.map(|(name, _)| name).collect();
        match variant {
            Variant::Solution => self.passed,
            Variant::Before | Variant::Exercise => !self.passed && said == [""],
            Variant::Cheat(name) => !self.passed && said == [name],
        }
    }
}

/// Whether the adviser finds what the lesson says: that alone in `before`, nothing in the solution. A cheat may have other
/// faults too.
pub fn is_advised(lesson: &Lesson, variant: &Variant, found: &[&str]) -> bool {
    let lab = &lesson.lab;
    match variant {
        Variant::Solution => found.is_empty(),
        Variant::Before | Variant::Exercise => found == lab.advice.map(Rule::name).as_slice(),
        Variant::Cheat(name) => {
            let cheat = lab.cheat.iter().find(|it| it.name == *name);
            let wanted = cheat.and_then(|it| it.advice).map(Rule::name);
            wanted.is_none_or(|wanted| found.contains(&wanted))
        }
    }
}

/// Whether any of the checks needs `before` beside the variant.
pub fn compares(checks: &[Check]) -> bool {
    let mut limits = checks.iter().map(|it| it.limit);
    limits.any(|limit| matches!(limit, Limit::RatioAtMost(_)))
}

/// Rounds, and what the functions that ran in them cost: the variants of a template may differ in memory.
#[derive(Debug)]
pub struct Taken<'a, R> {
    pub rounds: &'a [R],
    pub prices: &'a Prices,
}

/// Judges the rounds of a variant. `before` has the same number of rounds if a check compares with it.
pub fn judge(checks: &[Check], own: &Taken<'_, Round>, before: &Taken<'_, Round>) -> Verdict {
    let rounds: Vec<_> = own.rounds.iter().collect();
    let base: Vec<_> = before.rounds.iter().collect();
    let mut judged = Vec::new();
    let mut failure = None;
    for check in checks {
        let (measured, passed) = match check.limit {
            Limit::RatioAtMost(limit) => {
                let own = Taken {
                    rounds: &rounds,
                    prices: own.prices,
                };
                let before = Taken {
                    rounds: &base,
                    prices: before.prices,
                };
                let pairs = compared(&check.measure, own, before);
                let found = pairs.map(|[before, own]| ratio(&before, &own, width(own.len(), 1)));
                let passed = found.is_some_and(|it| it.to <= limit);
                (found.map(|it| it.ratio), passed)
            }
            limit => {
                let measured = check.measure.of(&rounds, own.prices);
                (measured, measured.is_some_and(|it| limit.holds(it)))
            }
        };
        let checked = Checked {
            what: check.what(),
            measured,
            wanted: check.limit.wanted(),
            passed,
        };
        if !passed && failure.is_none() {
            failure = Some(checked.says(&check.says));
        }
        judged.push(checked);
    }
    let all: Vec<_> = judged.iter().map(Checked::to_string).collect();
    Verdict {
        passed: failure.is_none(),
        says: failure.unwrap_or_else(|| format!("Passed: {}.", all.join("; "))),
        checks: judged,
    }
}

/// The number in each round of both; none unless each round has one above zero.
pub fn compared(
    measure: &Measure,
    own: Taken<'_, &Round>,
    before: Taken<'_, &Round>,
) -> Option<[Vec<f64>; 2]> {
    let of = |Taken { rounds, prices }: Taken<'_, &Round>| -> Option<Vec<f64>> {
        let values = rounds.iter().map(|round| measure.of(&[round], prices));
        let values: Option<Vec<_>> = values.collect();
        values.filter(|all| all.iter().all(|it| *it > 0.0))
    };
    let pairs = [of(before)?, of(own)?];
    (pairs[0].len() == pairs[1].len() && pairs[0].len() > 1).then_some(pairs)
}

impl Check {
    fn what(&self) -> String {
        match self.limit {
            Limit::RatioAtMost(_) => format!("{}, of that of `before`", self.measure),
            _ => self.measure.to_string(),
        }
    }
}

impl Limit {
    fn holds(self, measured: f64) -> bool {
        // Sums of halves and quotients of counts are off by less.
        const NEAR: f64 = 1e-9;
        match self {
            Self::AtMost(limit) | Self::RatioAtMost(limit) => measured <= limit + NEAR,
            Self::AtLeast(limit) => measured >= limit - NEAR,
            Self::Equals(value) => (measured - value).abs() <= NEAR,
        }
    }

    fn wanted(self) -> String {
        match self {
            Self::AtMost(limit) | Self::RatioAtMost(limit) => format!("at most {}", short(limit)),
            Self::AtLeast(limit) => format!("at least {}", short(limit)),
            Self::Equals(value) => short(value),
        }
    }
}

impl Checked {
    fn says(&self, text: &str) -> String {
        let measured = self.measured.map_or("nothing".to_owned(), short);
        let text = text.replace("{measured}", &measured);
        text.replace("{wanted}", &self.wanted)
    }
}

impl std::fmt::Display for Checked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let measured = self.measured.map_or("nothing".to_owned(), short);
        write!(f, "{} {measured} (wanted: {})", self.what, self.wanted)
    }
}

/// A number with at most two decimals, and none that are zero.
pub fn short(value: f64) -> String {
    let decimals = if value.abs() < 0.1 { 3 } else { 2 };
    let text = format!("{value:.decimals$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::super::measure::{Part, What};
    use super::*;

    fn check(measure: What, limit: Limit) -> Check {
        Check {
            measure: Measure::plain(measure),
            limit,
            says: format!("{measure:?}: {{measured}}, {{wanted}}"),
        }
    }

    fn rounds(waits: &[f64]) -> Vec<Round> {
        let round = |wait: &f64| {
            Round(vec![Part {
                requests: 1,
                waits: vec![*wait],
                ..Part::default()
            }])
        };
        waits.iter().map(round).collect()
    }

    fn judged(checks: &[Check], own: &[f64], before: &[f64]) -> Verdict {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let prices = Prices::read(&root, &json!({}), &root).unwrap();
        let [own, before] = [rounds(own), rounds(before)];
        let [own, before] = [&own, &before].map(|rounds| Taken {
            rounds,
            prices: &prices,
        });
        judge(checks, &own, &before)
    }

    #[test]
    fn the_first_failure_is_the_verdict_with_its_numbers() {
        let checks = [
            check(What::Calls, Limit::Equals(0.0)),
            check(What::WaitMs, Limit::AtMost(2.5)),
            check(What::WorstWaitMs, Limit::AtLeast(9.0)),
        ];
        let verdict = judged(&checks, &[3.0, 3.0, 4.0], &[]);
        assert_eq!(
            (verdict.passed, &*verdict.says),
            (false, "WaitMs: 3, at most 2.5")
        );
        let passed: Vec<_> = verdict.checks.iter().map(|it| it.passed).collect();
        assert_eq!(passed, [true, false, false]);
        let verdict = judged(&checks, &[1.0, 2.0, 9.0], &[]);
        assert!(
            verdict.passed && verdict.says.starts_with("Passed: "),
            "{}",
            verdict.says
        );
    }

    #[test]
    fn a_ratio_passes_only_if_its_whole_interval_is_below() {
        let checks = [check(What::WaitMs, Limit::RatioAtMost(0.5))];
        let before = [10.0, 11.0, 10.0, 9.0, 10.0, 10.0];
        let surely = before.map(|it| it * 0.4);
        assert!(judged(&checks, &surely, &before).passed);
        let perhaps = [1.0, 9.0, 1.0, 9.0, 1.0, 1.0];
        assert!(!judged(&checks, &perhaps, &before).passed);
        assert!(!judged(&checks, &before.map(|it| it * 0.6), &before).passed);
    }

    #[test]
    fn nothing_to_measure_does_not_pass() {
        let checks = [check(What::WarmMs, Limit::AtMost(5.0))];
        let verdict = judged(&checks, &[1.0], &[]);
        assert_eq!(
            (verdict.passed, &*verdict.says),
            (false, "WarmMs: nothing, at most 5")
        );
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0278, 21.0, 42182.125, 0.5, 0.0].map(short);
        assert_eq!(shown, ["0.028", "21", "42182.12", "0.5", "0"]);
    }
}
