//! How sure a target's value is. A value within its noise of the limit proves nothing, whatever side it is on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Results;
use super::row::Row;
use crate::gates::Gate;
use crate::ratio::{ratio, width};

/// Fewer rounds have no spread that tells anything.
const LEAST_ROUNDS: usize = 5;

/// It holds the ratio with 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub from: f64,
    pub to: f64,
}

impl Interval {
    /// Whether the limit of a target lies in it.
    pub fn holds_limit_of(&self, gate: &Gate) -> bool {
        let limit = gate.limit.rsplit(' ').next();
        let limit: Option<f64> = limit.and_then(|limit| limit.parse().ok());
        limit.is_some_and(|limit| self.from <= limit && limit <= self.to)
    }

    /// Of the ratio of two times that were measured in pairs.
    fn of(above: &[f64], below: &[f64]) -> Option<Self> {
        let rounds = above.len().min(below.len());
        let known = rounds >= LEAST_ROUNDS && above.iter().chain(below).all(|ms| *ms > 0.0);
        known.then(|| {
            let found = ratio(&below[..rounds], &above[..rounds], width(rounds, 1));
            let (from, to) = (found.from, found.to);
            Self { from, to }
        })
    }
}

/// Of each target that is a ratio of times. Counts, sizes and peaks have no noise, and what was measured once has none
/// that is known.
pub fn of(results: &Results) -> BTreeMap<String, Interval> {
    let all = || results.functions.iter().chain(&results.peers);
    let row = |name: &str| all().find(|row| row.name == name);
    let pair = |above: Option<&Row>, below: Option<&Row>, of: fn(&Row) -> &[f64]| {
        Interval::of(of(above?), of(below?))
    };
    let (ours, floor) = (row("get-product"), row("floor"));
    let cold: fn(&Row) -> &[f64] = |row| &row.cold_rounds_ms;
    let warm: fn(&Row) -> &[f64] = |row| &row.warm_rounds_ms;
    let first = ours.and_then(|row| Interval::of(&row.first_rounds_ms, &row.warm_rounds_ms));
    let scaling = results.scaling.as_ref();
    let bursts =
        scaling.and_then(|it| Interval::of(&it.longest_waits_ms, &it.slowest_cold_starts_ms));
    let known = [
        (
            "cold CPU of get-product / floor, as on AWS",
            pair(ours, floor, cold),
        ),
        (
            "cold CPU of sdk-defaults / get-product",
            pair(row("sdk-defaults"), ours, cold),
        ),
        (
            "cold CPU of python / get-product",
            pair(row("python"), ours, cold),
        ),
        ("first / warm CPU of get-product", first),
        ("warm CPU of get-product / floor", pair(ours, floor, warm)),
        ("host: longest wait / slowest cold start", bursts),
    ];
    let known = known.into_iter();
    let known = known.filter_map(|(name, interval)| Some((name.to_owned(), interval?)));
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::targets::targets;
    use crate::bench::warm_path::ScaleOut;

    fn row(name: &str, ms: f64) -> Row {
        let rounds: Vec<_> = (0..20)
            .map(|round| ms * (1.0 + 0.01 * f64::from(round % 5)))
            .collect();
        Row {
            name: name.to_owned(),
            cold_rounds_ms: rounds.clone(),
            first_rounds_ms: rounds.iter().map(|ms| ms * 1.2).collect(),
            warm_rounds_ms: rounds.iter().rev().copied().collect(),
            ..Row::default()
        }
    }

    #[test]
    fn each_ratio_of_times_has_an_interval_and_only_one_that_holds_the_limit_is_within_noise() {
        let bursts = ScaleOut {
            longest_waits_ms: vec![10.0; 15],
            slowest_cold_starts_ms: vec![9.0; 15],
            ..ScaleOut::default()
        };
        let results = Results {
            functions: vec![row("get-product", 2.5)],
            peers: vec![
                row("floor", 1.5),
                row("sdk-defaults", 28.0),
                row("python", 190.0),
            ],
            scaling: Some(bursts),
            ..Results::default()
        };
        let noise = of(&results);
        let ratios = targets(&results)
            .into_iter()
            .filter(|gate| gate.name.contains(" / "));
        let named: Vec<_> = ratios.map(|gate| gate.name).collect();
        let mut known: Vec<_> = noise.keys().cloned().collect();
        known.sort_by_key(|name| named.iter().position(|it| it == name));
        assert_eq!(known, named);
        let first = noise["first / warm CPU of get-product"];
        let within = |limit| first.holds_limit_of(&Gate::new("a", "<=", limit, Some(1.2)));
        assert!(within(1.2) && !within(1.15) && !within(1.25), "{first:?}");

        let few = Results {
            functions: vec![Row {
                cold_rounds_ms: vec![2.5; 4],
                ..Row::default()
            }],
            ..Results::default()
        };
        assert!(of(&few).is_empty());
    }
}
