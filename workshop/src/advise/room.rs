//! The account's concurrency: who is refused, and who has it.

use std::collections::BTreeMap;

use local::events::Limit;

use super::seen::Seen;
use super::{Finding, Rule};
use crate::report::model::short;

/// Refused invocations. One or two may be a moment in which everybody comes at once; a caller repeats these.
const REFUSED: usize = 3;

/// Of the function's invocations. What strikes one in a hundred would be the end of an availability of 99 %.
const OFTEN: f64 = 0.01;

/// Of all that run, what one function has. With half or more, a limit for it alone leaves room; where many have a little
/// each, the account's limit is too low for all of them, and a limit for one would not help.
const MOST: f64 = 0.5;

/// Something that happened to a function. What begins counts before what is refused at the same moment, and what ends after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Began,
    Refused,
    Ended,
}

/// What has crowded out a function.
#[derive(Debug, Default)]
struct Crowd {
    refused: usize,
    /// The most that the other had at such a moment, and all that ran then.
    had: usize,
    of: usize,
}

/// Functions that were refused by the account's limit while another one had most of it. A refusal by a function's own
/// reservation is a limit as it was wished for, and so is one that a function brings about by itself.
pub fn crowded_out(seen: &Seen<'_>) -> Vec<Finding> {
    let mut changes = Vec::new();
    for function in seen.functions.values() {
        for run in &function.runs {
            let took = run.invocation.wait().as_micros();
            let began = run
                .end
                .saturating_sub(u64::try_from(took).unwrap_or(u64::MAX));
            changes.push((began, Change::Began, function.name));
            changes.push((run.end, Change::Ended, function.name));
        }
    }
    let mut asked: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, invocation) in &seen.refused {
        let name = invocation.function.as_str();
        *asked.entry(name).or_default() += 1;
        if invocation.limit == Some(Limit::Account) {
            changes.push((*at, Change::Refused, name));
        }
    }
    changes.sort_unstable();
    let mut running: BTreeMap<&str, usize> = BTreeMap::new();
    let mut crowds: BTreeMap<(&str, &str), Crowd> = BTreeMap::new();
    for (_, change, name) in changes {
        match change {
            Change::Began => *running.entry(name).or_default() += 1,
            Change::Ended => *running.entry(name).or_default() -= 1,
            Change::Refused => {
                let of = running.values().sum();
                let most = running.iter().max_by_key(|(_, count)| **count);
                let most = most.filter(|(other, _)| **other != name);
                // What still runs is not in the log yet.
                let Some((other, &had)) = most.filter(|(_, had)| **had > 0) else {
                    continue;
                };
                if (had as f64) < MOST * of as f64 {
                    continue;
                }
                let crowd = crowds.entry((name, other)).or_default();
                crowd.refused += 1;
                if had > crowd.had {
                    (crowd.had, crowd.of) = (had, of);
                }
            }
        }
    }
    let findings = crowds.into_iter().filter_map(|((name, other), crowd)| {
        let Crowd { refused, had, of } = crowd;
        let ran = seen.functions.get(name).map_or(0, |it| it.runs.len());
        let share = refused as f64 / (ran + asked[name]) as f64;
        if refused < REFUSED || share < OFTEN {
            return None;
        }
        let says = format!(
            "{name} was refused {refused} times, {} % of its invocations, while {other} had {had} of the {of} that ran: ReservedConcurrentExecutions for {other} would leave room.",
            short(100.0 * share),
        );
        Some(Rule::CrowdedOut.finding(name, refused as f64, says))
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use local::events::{Ended, Event};

    use super::super::seen::tests::{Made, ms};
    use super::*;

    /// Two functions that run, and then as many invocations of `F` that a limit refuses.
    fn refused(limit: Option<Limit>, others: usize, own: usize, count: usize) -> Made {
        let mut made = Made::default();
        for _ in 0..count {
            let run = made.run(&[]);
            (run.outcome, run.limit) = (Ended::Throttled, limit);
        }
        // They end later, and have begun before.
        for index in 0..others + own {
            let run = made.run(&[]);
            run.duration = ms(9000.0);
            if index < others {
                run.function = "G".to_owned();
            }
        }
        made
    }

    fn crowded(others: usize, own: usize, count: usize) -> Made {
        let mut made = refused(Some(Limit::Account), others, own, count);
        for entry in &mut made.entries {
            entry.at_us += 10_000_000;
        }
        made
    }

    #[test]
    fn a_function_that_is_refused_while_another_one_has_everything_is_found() {
        crowded(12, 0, 3).finds(
            "crowded-out",
            "F was refused 3 times, 100 % of its invocations, while G had 12 of the 12 that ran: ReservedConcurrentExecutions for G would leave room.",
        );
        crowded(12, 0, 2).finds_nothing();
        crowded(150, 149, 4).finds(
            "crowded-out",
            "F was refused 4 times, 2.61 % of its invocations, while G had 150 of the 299 that ran: ReservedConcurrentExecutions for G would leave room.",
        );
        crowded(298, 297, 3).finds("crowded-out", "F was refused 3 times, 1 % of its invocations, while G had 298 of the 595 that ran: ReservedConcurrentExecutions for G would leave room.");
        crowded(299, 298, 3).finds_nothing(); // 3 of 301
    }

    #[test]
    fn what_begins_or_ends_at_that_moment_counts() {
        for at_us in [0, 9_000_000] {
            let mut made = refused(Some(Limit::Account), 12, 0, 3);
            for entry in &mut made.entries {
                let refused = matches!(&entry.event, Event::Invocation(it) if it.limit.is_some());
                entry.at_us = if refused { at_us } else { 9_000_000 };
            }
            assert_eq!(made.found().len(), 1, "{at_us}");
        }
    }

    #[test]
    fn a_function_that_takes_everything_itself_is_not_crowded_out() {
        crowded(12, 13, 9).finds_nothing();
        crowded(0, 12, 9).finds_nothing();
    }

    #[test]
    fn many_that_have_a_little_each_crowd_nobody_out() {
        let three = |most: usize| {
            let mut made = crowded(12, 0, 9);
            let mut left = 12 - most;
            for entry in &mut made.entries {
                if let Event::Invocation(it) = &mut entry.event
                    && it.function == "G"
                    && left > 0
                {
                    it.function = format!("G{}", left % 2);
                    left -= 1;
                }
            }
            made.found().len()
        };
        assert_eq!((three(5), three(6)), (0, 1));
    }

    #[test]
    fn a_reservation_and_a_fault_refuse_as_they_were_told_to() {
        for limit in [Some(Limit::Reserved), None] {
            refused(limit, 12, 0, 9).finds_nothing();
        }
    }
}
