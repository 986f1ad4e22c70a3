//! Reads that a cache would save.

use std::collections::{BTreeMap, HashMap};

use super::seen::{Function, Timed};
use super::{Finding, Rule};
use crate::report::model::short;

/// How old an answer of the cache may be. A second is about what a page takes until somebody has read it, so that hardly
/// anyone can tell; and what is asked for less than once a second would not be in it any more.
const OLDEST_US: u64 = 1_000_000;

/// Of the reads, those that the cache saves. It is one more thing that can be wrong, full or old: it pays where it takes
/// nearly all of them away, and not where half of them are made all the same. Within a second, nine in ten means that an
/// environment is asked for each thing ten times, which is no client that looks now and then whether something is done.
const SAVED: f64 = 0.9;

/// Reads of one kind. Of fewer than these, nine tenths are a few repeats.
const READS: usize = 50;

/// Of them, those of one thing at most. Of a thing that has more, the log cannot tell many who want it from one client that
/// asks again until it changes, and a cache would only have that client wait longer.
const OF_ONE: f64 = 0.5;

/// Reads for which the same environment has had the answer within a second. It keeps the books of such a cache, with a place
/// for everything: what is read stays in it for so long, and then is read again. Whether the answers may be old nobody can
/// tell by a log, so the sentence says how old.
pub fn reads_again(function: &Function<'_>) -> Vec<Finding> {
    #[derive(Default)]
    struct Cached<'a> {
        reads: usize,
        saved: usize,
        /// By environment and fingerprint: when it was read.
        read_at: HashMap<(&'a str, u64), u64>,
        /// By fingerprint: how often it was asked for.
        asked: HashMap<u64, usize>,
    }
    let mut by_call: BTreeMap<(&str, &str), Cached<'_>> = BTreeMap::new();
    for timed in function.calls.iter().filter(|it| it.succeeded()) {
        let Timed { begin, call, .. } = timed;
        let (Some(environment), Some(fingerprint)) = (&call.environment, call.fingerprint) else {
            continue;
        };
        let cached = by_call.entry((&call.operation, &call.resource));
        let cached = cached.or_default();
        cached.reads += 1;
        *cached.asked.entry(fingerprint).or_default() += 1;
        let read_at = cached.read_at.entry((environment, fingerprint));
        let mut saved = true;
        let read_at = read_at.or_insert_with(|| {
            saved = false;
            *begin
        });
        if *begin > *read_at + OLDEST_US {
            (*read_at, saved) = (*begin, false);
        }
        cached.saved += usize::from(saved);
    }
    let findings = by_call.into_iter().filter_map(|((operation, table), it)| {
        let share = it.saved as f64 / it.reads as f64;
        let most = it.asked.into_values().max()?;
        let of_one = most as f64 / it.reads as f64;
        if it.reads < READS || share < SAVED || of_one > OF_ONE {
            return None;
        }
        let (name, operation) = (function.name, operation.rsplit('.').next()?);
        let says = format!(
            "{name} asks {table} for what the same environment has read within the last second: so {} % of its {} {operation} calls could be saved by a cache in the environment, with answers that are up to 1 s old.",
            short(100.0 * share),
            it.reads,
        );
        Some(Rule::ReadsAgain.finding(name, share, says))
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use local::events::{Call, Event, Outcome};

    use super::super::seen::tests::{Made, get};

    /// Reads of things in turn, each in an invocation of its own that takes 5 ms.
    fn reading(things: impl IntoIterator<Item = u64>) -> Made {
        let mut made = Made::default();
        for thing in things {
            made.run(&[&[read(thing)]]);
        }
        made
    }

    fn read(thing: u64) -> Call {
        Call {
            fingerprint: Some(thing),
            ..get("Things")
        }
    }

    #[test]
    fn reads_of_the_same_are_found_from_fifty_and_nine_in_ten_on() {
        let five = |reads: u64| reading((0..reads).map(|it| it % 5));
        five(50).finds(
            "reads-again",
            "F asks Things for what the same environment has read within the last second: so 90 % of its 50 GetItem calls could be saved by a cache in the environment, with answers that are up to 1 s old.",
        );
        reading((0..49).map(|it| it % 4)).finds_nothing();
        reading((0..50).map(|it| it % 6)).finds_nothing();
        reading(0..500).finds_nothing();
    }

    #[test]
    fn one_thing_may_be_a_client_that_waits_for_it_to_change() {
        reading([1; 200]).finds_nothing();
        let mostly_one =
            |others: u64| reading((0..100).map(|it| if it < others { it % 4 } else { 9 }));
        assert_eq!(mostly_one(50).found().len(), 1);
        mostly_one(49).finds_nothing();
    }

    #[test]
    fn what_was_read_more_than_a_second_ago_is_read_again() {
        // Each of 20 things is asked for every 100 ms, so that one of eleven reads is made; of 25 things, one of nine.
        let things = |count: u64| reading((0..1000).map(|it| it % count)).found().len();
        assert_eq!([2, 20, 25].map(things), [1, 1, 0]);
        let mut made = Made::default();
        for index in 0..100 {
            made.run(&[&[read(index % 2)]]);
            made.pause(1);
        }
        made.finds_nothing();
    }

    #[test]
    fn another_environment_another_table_a_failure_and_what_is_no_read_are_not_read_again() {
        let mut made = Made::default();
        for index in 0..200 {
            let failed = Call {
                outcome: Outcome::Error,
                ..read(index % 2)
            };
            made.run(&[&[get("Things"), failed]]);
        }
        made.finds_nothing();
        let mut made = reading((0..200).map(|it| it % 2));
        for (index, entry) in made.entries.iter_mut().enumerate() {
            if let Event::Call(call) = &mut entry.event {
                call.environment = Some(format!("F-{}", index / 4 % 15));
            }
        }
        made.finds_nothing();
        let mut made = reading((0..100).map(|it| it % 2));
        for (index, entry) in made.entries.iter_mut().enumerate() {
            if let Event::Call(call) = &mut entry.event {
                call.resource = format!("Table{}", index / 4 % 3);
            }
        }
        made.finds_nothing();
    }
}
