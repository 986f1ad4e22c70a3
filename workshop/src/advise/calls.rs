//! Calls to AWS: loops, order, filters and repeats.

use std::collections::{BTreeMap, BTreeSet};

use local::events::{Ended, Outcome};

use super::seen::{Function, Timed, in_turn};
use super::{Finding, Known, LEAST, Rule};
use crate::percentile::{ms, percentile};
use crate::report::model::short;

/// Two calls may be two different things that the code wants. From three on it is a loop.
const LOOP: f64 = 3.0;

/// A call for one thing, and the one for many: how many it takes, and whether many cost as much as one each did. Writes
/// are left out: a batch of them knows no conditions, and the log does not say whether there were any.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>,
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>
const BATCHES: [(&str, &str, usize, &str); 2] = [
    (
        "DynamoDB.GetItem",
        "BatchGetItem",
        100,
        "at the same capacity",
    ),
    (
        "SQS.SendMessage",
        "SendMessageBatch",
        10,
        "for a price of one",
    ),
];

/// Operations that read from tables.
const READS: [&str; 5] = [
    "DynamoDB.GetItem",
    "DynamoDB.BatchGetItem",
    "DynamoDB.Query",
    "DynamoDB.Scan",
    "DynamoDB.TransactGetItems",
];

/// A filter that lets through less than one in ten has nine tenths of the units paid for nothing. One that leaves out a
/// few, such as what is deleted, is no mistake.
const READ_FOR_EACH: f64 = 10.0;

/// Read units that a call wastes. Less than the smallest read cannot be saved.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>
const WASTED: f64 = 0.5;

/// Of the invocations. What strikes one in a hundred is in the p99 of the latency, and would be the end of an availability
/// of 99 % without the retry.
const REPEATING: f64 = 0.01;

/// Invocations with a repeated call. Fewer can be chance at a rate below [`REPEATING`].
const REPEATED: usize = 3;

/// The same call again and again in one invocation, in turn or side by side. It counts in the median of the invocations
/// that make any.
pub fn n_plus_one(function: &Function<'_>, known: &Known<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (single, batch, most, price) in BATCHES {
        let mut by_resource: BTreeMap<&str, Vec<Vec<Timed<'_>>>> = BTreeMap::new();
        for run in &function.runs {
            let mut own: BTreeMap<&str, Vec<Timed<'_>>> = BTreeMap::new();
            let calls = run.calls.iter().filter(|it| it.succeeded());
            for timed in calls.filter(|it| it.call.operation == single) {
                own.entry(&timed.call.resource).or_default().push(*timed);
            }
            for (resource, calls) in own {
                by_resource.entry(resource).or_default().push(calls);
            }
        }
        for (resource, runs) in by_resource {
            let median = |values: Vec<f64>| percentile(&values, 50.0).unwrap_or_default();
            let calls = median(runs.iter().map(|it| it.len() as f64).collect());
            if runs.len() < LEAST || calls < LOOP {
                continue;
            }
            let needed = (calls / most as f64).ceil();
            let turns = if known.conditions.is_some() {
                median(runs.iter().map(|it| in_turn(it) as f64).collect())
            } else {
                1.0
            };
            // Side by side they wait together, but each is still made, on a connection of its own.
            let (saved, what) = if turns > needed {
                (turns - needed, "round trips")
            } else {
                (calls - needed, "calls")
            };
            let (name, each) = (function.name, function.each());
            let operation = single.rsplit('.').next().unwrap_or_default();
            let says = format!(
                "{name} makes {} {operation} calls to {resource} {each}: {} {what} could be saved with {batch}, {price}.",
                short(calls),
                short(saved),
            );
            findings.push(Rule::NPlusOne.finding(name, calls, says));
        }
    }
    findings
}

/// A read of one table and then of another one, next to each other in every invocation that makes any call. Where the
/// second needs the first, some invocation finds nothing in the first and leaves the second out; that is silent. A log does
/// not prove more, so the sentence says "may".
pub fn reads_in_turn(function: &Function<'_>, known: &Known<'_>) -> Option<Finding> {
    known.conditions?;
    let runs = function.runs.iter().filter(|it| !it.calls.is_empty());
    let runs: Vec<_> = runs.collect();
    if runs.len() < LEAST {
        return None;
    }
    let is_read = |it: &Timed<'_>| it.succeeded() && READS.contains(&it.call.operation.as_str());
    let mut in_all: Option<BTreeSet<_>> = None;
    for run in &runs {
        let pairs = run.calls.windows(2).filter_map(|two| {
            let [first, second] = two else { return None };
            let other = first.call.resource != second.call.resource;
            let after = second.begin >= first.end;
            let read = is_read(first) && is_read(second);
            (other && after && read).then_some([key(first), key(second)])
        });
        let pairs: BTreeSet<_> = pairs.collect();
        in_all = Some(match in_all {
            Some(before) => before.intersection(&pairs).copied().collect(),
            None => pairs,
        });
    }
    let [(_, first), (_, second)] = in_all?.first().copied()?;
    let calls = runs.iter().flat_map(|run| &run.calls);
    let took = |resource: &str| {
        let of = calls.clone().filter(|it| it.call.resource == resource);
        let times: Vec<_> = of.map(|it| ms(it.call.duration)).collect();
        percentile(&times, 50.0)
    };
    // The shorter of the two waits along with the other one.
    let saved = took(first)?.min(took(second)?);
    let (name, each) = (function.name, function.each());
    let says = format!(
        "{name} reads {first} and then {second} in each of {} invocations, and the second may not depend on the first: side by side they would take {} ms less {each}.",
        runs.len(),
        short(saved),
    );
    Some(Rule::ReadsInTurn.finding(name, saved, says))
}

fn key<'a>(timed: &Timed<'a>) -> (&'a str, &'a str) {
    (&timed.call.operation, &timed.call.resource)
}

/// A `Query` or a `Scan` with a filter that throws away nearly everything.
pub fn filter(function: &Function<'_>) -> Vec<Finding> {
    let mut by_call: BTreeMap<(&str, &str), Vec<&Timed<'_>>> = BTreeMap::new();
    for timed in function.calls.iter().filter(|it| it.call.read.is_some()) {
        by_call.entry(key(timed)).or_default().push(timed);
    }
    let findings = by_call.into_iter().filter_map(|((operation, table), calls)| {
        let reads = calls.iter().filter_map(|it| it.call.read);
        let scanned: u64 = reads.clone().map(|it| it.scanned).sum();
        let matched: u64 = reads.map(|it| it.matched).sum();
        let units: f64 = calls.iter().map(|it| it.call.read_units).sum();
        let for_each = scanned as f64 / matched.max(1) as f64;
        let wasted = units * (1.0 - matched as f64 / scanned.max(1) as f64);
        let enough = calls.len() >= LEAST;
        if !enough || for_each < READ_FOR_EACH || wasted / (calls.len() as f64) < WASTED {
            return None;
        }
        let (name, operation) = (function.name, operation.rsplit('.').next()?);
        let says = match matched {
            0 => format!(
                "The {operation} of {name} reads {scanned} items of {table} and answers none: {} read units, and a key or an index that leads to what is wanted costs none of them.",
                short(units)
            ),
            _ => format!(
                "The {operation} of {name} reads {} items of {table} for each one that its filter lets through: {} read units an item, nearly all of which a key or an index would save.",
                short(for_each),
                short(units / matched as f64)
            ),
        };
        Some(Rule::Filter.finding(name, for_each, says))
    });
    findings.collect()
}

/// A call that failed, and then the same one that did not, in an invocation that succeeded.
pub fn hidden_errors(function: &Function<'_>) -> Vec<Finding> {
    #[derive(Default)]
    struct Counted {
        made: usize,
        repeated: usize,
        why: BTreeMap<String, usize>,
    }
    let mut by_call: BTreeMap<(&str, &str), Counted> = BTreeMap::new();
    let succeeded = |outcome| outcome == Ended::Success;
    for run in &function.runs {
        if !succeeded(run.invocation.outcome) {
            continue;
        }
        let made: BTreeSet<_> = run.calls.iter().map(key).collect();
        for it in made {
            let counted = by_call.entry(it).or_default();
            counted.made += 1;
            let own = run.calls.iter().filter(|timed| key(timed) == it);
            let own: Vec<_> = own.collect();
            let last = own.iter().rposition(|timed| timed.succeeded());
            let before = &own[..last.unwrap_or_default()];
            let failed = before.iter().filter(|timed| has_failed(timed));
            let whys: Vec<_> = failed.map(|timed| why(timed)).collect();
            counted.repeated += usize::from(!whys.is_empty());
            for why in whys {
                *counted.why.entry(why).or_default() += 1;
            }
        }
    }
    let findings = by_call.into_iter().filter_map(|((operation, resource), it)| {
        let share = it.repeated as f64 / it.made as f64;
        if it.repeated < REPEATED || share < REPEATING {
            return None;
        }
        let why = it.why.into_iter().max_by_key(|(_, count)| *count)?.0;
        let (name, operation) = (function.name, operation.rsplit('.').next()?);
        let says = format!(
            "{name} succeeds, but in {} % of its invocations only because {operation} of {resource} is repeated after {why}: {} of {}, in no error count.",
            short(100.0 * share),
            it.repeated,
            it.made,
        );
        Some(Rule::HiddenErrors.finding(name, share, says))
    });
    findings.collect()
}

/// A condition that did not hold is an answer, and no failure.
fn has_failed(timed: &Timed<'_>) -> bool {
    matches!(
        timed.call.outcome,
        Outcome::Throttle | Outcome::Error | Outcome::NoAnswer
    )
}

fn why(timed: &Timed<'_>) -> String {
    let error = timed.call.error.clone();
    error.unwrap_or_else(|| "no answer".to_owned())
}

#[cfg(test)]
mod tests {
    use std::slice;

    use local::events::{Call, ItemsRead};

    use super::super::seen::tests::{Made, call, get, ms};
    use super::*;

    /// As many invocations with these groups of calls.
    fn runs(count: usize, groups: &[&[Call]]) -> Made {
        let mut made = Made::default();
        for _ in 0..count {
            made.run(groups);
        }
        made
    }

    #[test]
    fn a_loop_of_calls_is_found_from_three_on_in_five_invocations() {
        let one: &[Call] = &[get("Things")];
        let twenty = vec![one; 20];
        runs(5, &twenty).finds(
            "n-plus-one",
            "F makes 20 GetItem calls to Things a request: 19 round trips could be saved with BatchGetItem, at the same capacity.",
        );
        runs(4, &twenty).finds_nothing();
        runs(5, &[one; 3]).finds(
            "n-plus-one",
            "F makes 3 GetItem calls to Things a request: 2 round trips could be saved with BatchGetItem, at the same capacity.",
        );
        runs(5, &[one; 2]).finds_nothing();
    }

    #[test]
    fn calls_side_by_side_save_calls_and_so_does_a_bare_machine_that_cannot_tell() {
        let says = |calls: usize, saved: usize| {
            format!(
                "F makes {calls} GetItem calls to Things a request: {saved} calls could be saved with BatchGetItem, at the same capacity."
            )
        };
        let made = runs(5, &[&vec![get("Things"); 20]]);
        made.finds("n-plus-one", &says(20, 19));
        // A batch has a hundred keys at most.
        let made = runs(5, &[&vec![get("Things"); 250]]);
        made.finds("n-plus-one", &says(250, 247));
        let one: &[Call] = &[get("Things")];
        let found = runs(5, &[one; 20]).found_bare();
        assert_eq!(found, [("n-plus-one", says(20, 19))]);
    }

    #[test]
    fn messages_are_sent_in_batches_and_other_calls_have_none() {
        let sent: &[Call] = &[call("SQS.SendMessage", "Q")];
        runs(5, &[sent; 5]).finds(
            "n-plus-one",
            "F makes 5 SendMessage calls to Q a request: 4 round trips could be saved with SendMessageBatch, for a price of one.",
        );
        let written: &[Call] = &[call("DynamoDB.UpdateItem", "Things")];
        runs(5, &[written; 3]).finds_nothing();
        // Calls of one invocation to three tables are no loop, whatever they are.
        runs(5, &[&[get("A"), get("B"), get("C")]]).finds_nothing();
    }

    #[test]
    fn repeats_of_a_call_that_failed_are_no_loop() {
        let failed = Call {
            outcome: Outcome::NoAnswer,
            ..get("Things")
        };
        let mut made = Made::default();
        for _ in 0..300 {
            made.run(&[&[get("Things")]]);
        }
        for _ in 0..2 {
            made.run(&[
                slice::from_ref(&failed),
                slice::from_ref(&failed),
                &[get("Things")],
            ]);
        }
        made.finds_nothing();
    }

    #[test]
    fn reads_of_two_tables_in_turn_are_found_if_every_invocation_has_them() {
        let in_turn: &[&[Call]] = &[&[get("Products")], &[call("DynamoDB.Query", "Rates")]];
        let says = |count: usize| {
            format!(
                "F reads Products and then Rates in each of {count} invocations, and the second may not depend on the first: side by side they would take 4 ms less a request."
            )
        };
        let mut made = runs(5, in_turn);
        made.finds("reads-in-turn", &says(5));
        made.run(&[]);
        made.finds("reads-in-turn", &says(5));
        assert_eq!(made.found_bare(), [], "there everything is in turn");
        made.run(&[&[get("Products")]]);
        made.finds_nothing(); // so the second depends on the first
        runs(4, in_turn).finds_nothing();
    }

    #[test]
    fn reads_side_by_side_of_one_table_or_around_a_write_are_not_in_turn() {
        runs(9, &[&[get("Products"), get("Rates")]]).finds_nothing();
        runs(9, &[&[get("Products")], &[get("Products")]]).finds_nothing();
        let write = call("DynamoDB.PutItem", "Orders");
        runs(9, &[&[get("Products")], &[write], &[get("Rates")]]).finds_nothing();
    }

    #[test]
    fn of_a_function_with_a_loop_the_loop_is_named_first() {
        let one: &[Call] = &[get("Things")];
        let rate: &[Call] = &[get("Rates")];
        let found = runs(5, &[one, one, one, rate]).found();
        let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["n-plus-one"]);
    }

    fn scan(scanned: u64, matched: u64, read_units: f64) -> Call {
        Call {
            read: Some(ItemsRead { scanned, matched }),
            read_units,
            ..call("DynamoDB.Scan", "Things")
        }
    }

    #[test]
    fn a_filter_is_found_from_ten_items_for_each_on_if_it_wastes_half_a_unit() {
        let scans = |count: usize, call: Call| runs(count, &[&[call]]);
        scans(5, scan(1000, 20, 25.0)).finds(
            "filter",
            "The Scan of F reads 50 items of Things for each one that its filter lets through: 1.25 read units an item, nearly all of which a key or an index would save.",
        );
        scans(4, scan(1000, 20, 25.0)).finds_nothing();
        let found = scans(5, scan(1000, 100, 25.0)).found();
        assert_eq!(found.len(), 1, "10 for each one");
        scans(5, scan(1000, 101, 25.0)).finds_nothing();
        scans(5, scan(1000, 1000, 25.0)).finds_nothing(); // there is no filter
        // Nothing is lost: the items read in vain fit into the half unit that any read takes.
        scans(5, scan(20, 1, 0.5)).finds_nothing();
        let found = scans(5, scan(20, 1, 0.6)).found();
        assert_eq!(found.len(), 1);
        scans(5, scan(1000, 0, 25.0)).finds(
            "filter",
            "The Scan of F reads 5000 items of Things and answers none: 125 read units, and a key or an index that leads to what is wanted costs none of them.",
        );
    }

    /// Of so many invocations some make their call twice, because of this outcome.
    fn repeating(all: usize, repeated: usize, outcome: Outcome) -> Made {
        let failed = Call {
            outcome,
            error: Some("ThrottlingException".to_owned()),
            ..get("Things")
        };
        let mut made = runs(all - repeated, &[&[get("Things")]]);
        for _ in 0..repeated {
            made.run(&[slice::from_ref(&failed), &[get("Things")]]);
        }
        made
    }

    #[test]
    fn errors_behind_a_retry_are_found_from_three_and_one_in_a_hundred_on() {
        repeating(300, 3, Outcome::Throttle).finds(
            "hidden-errors",
            "F succeeds, but in 1 % of its invocations only because GetItem of Things is repeated after ThrottlingException: 3 of 300, in no error count.",
        );
        repeating(301, 3, Outcome::Throttle).finds_nothing();
        repeating(10, 2, Outcome::Throttle).finds_nothing();
        assert_eq!(repeating(10, 3, Outcome::NoAnswer).found().len(), 1);
        repeating(10, 3, Outcome::ConditionalFailure).finds_nothing();
    }

    #[test]
    fn an_error_that_is_seen_is_not_hidden() {
        let failed = Call {
            outcome: Outcome::Error,
            ..get("Things")
        };
        let mut made = Made::default();
        for _ in 0..9 {
            // It fails to the end.
            made.run(&[slice::from_ref(&failed), slice::from_ref(&failed)]);
            made.run(&[slice::from_ref(&failed), &[get("Things")]])
                .outcome = Ended::Error;
            // Another thing is done in its place.
            made.run(&[
                slice::from_ref(&failed),
                &[call("DynamoDB.Query", "Things")],
            ]);
        }
        made.finds_nothing();
        made.run(&[]).duration = ms(9.0);
        made.finds_nothing();
    }
}
