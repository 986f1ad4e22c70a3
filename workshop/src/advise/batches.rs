//! Messages that run again although they were good.

use std::collections::{BTreeMap, BTreeSet};

use local::events::{Ended, Move};

use super::seen::Seen;
use super::{Finding, Rule};

/// Batches that are returned as a whole. One may be the end of an environment, two a pair of them.
const BATCHES: usize = 3;

/// What became of the messages of one invocation.
#[derive(Debug, Default)]
struct Batch<'a> {
    delivered: BTreeSet<&'a str>,
    returned: BTreeSet<&'a str>,
}

/// Batches of several messages that a function returned as a whole although a part had succeeded: it wrote something, or
/// a message succeeded later while another one of its batch never did. Where nothing tells the messages apart, such as a
/// database that is down, all have failed and all have to run again.
pub fn again(seen: &Seen<'_>) -> Vec<Finding> {
    let mut batches: BTreeMap<&str, Batch<'_>> = BTreeMap::new();
    let mut done = BTreeSet::new();
    for messages in &seen.messages {
        let ids = messages.ids.iter().map(String::as_str);
        let batch = messages.request_id.as_deref();
        let batch = batch.map(|id| batches.entry(id).or_default());
        match (messages.change, batch) {
            (Move::Delivered, Some(batch)) => batch.delivered.extend(ids),
            (Move::Returned, Some(batch)) => batch.returned.extend(ids),
            (Move::Deleted, _) => done.extend(ids),
            _ => {}
        }
    }
    let findings = seen.functions.values().filter_map(|function| {
        let (mut whole, mut again) = (0, 0);
        for run in &function.runs {
            let id = run.invocation.request_id.as_str();
            let Some(batch) = batches.get(id) else {
                continue;
            };
            let several = batch.delivered.len() > 1;
            if !several || batch.returned != batch.delivered || run.invocation.outcome == Ended::Timeout {
                continue;
            }
            let good = batch.delivered.intersection(&done).count();
            let mixed = good > 0 && good < batch.delivered.len();
            // What changes something is work done twice if it is done again.
            let writes = run.calls.iter().filter(|it| {
                let changes = it.writes_to_a_table() || it.call.operation == "SQS.SendMessage";
                it.succeeded() && changes
            });
            // At least one has failed.
            let written = writes.count().min(batch.delivered.len() - 1);
            let part = if mixed { good } else { written };
            if part > 0 {
                (whole, again) = (whole + 1, again + part);
            }
        }
        if whole < BATCHES {
            return None;
        }
        let name = function.name;
        let says = format!(
            "{name} returned {whole} batches as a whole although a part of each had succeeded: {again} good messages ran again. With ReportBatchItemFailures it returns only what has failed."
        );
        Some(Rule::BatchAgain.finding(name, again as f64, says))
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use local::events::Call;

    use super::super::seen::tests::{Made, call};
    use super::*;

    const SAYS: &str = "F returned 3 batches as a whole although a part of each had succeeded: 6 good messages ran again. With ReportBatchItemFailures it returns only what has failed.";

    /// A batch that fails as a whole, with so many writes before.
    fn whole(made: &mut Made, ids: &[&str], writes: usize) {
        let write: &[Call] = &[call("DynamoDB.PutItem", "Things")];
        let run = made.run(&vec![write; writes]);
        run.outcome = Ended::Error;
        made.moved(Move::Delivered, ids);
        made.moved(Move::Returned, ids);
    }

    #[test]
    fn batches_that_wrote_something_and_were_returned_as_a_whole_are_found() {
        let batches = |count: usize, writes: usize| {
            let mut made = Made::default();
            for _ in 0..count {
                whole(&mut made, &["a", "b", "c"], writes);
            }
            made
        };
        batches(3, 2).finds("batch-again", SAYS);
        batches(3, 9).finds("batch-again", SAYS); // one of three has failed
        batches(2, 2).finds_nothing();
        batches(3, 0).finds_nothing(); // all have failed, as far as the log says
    }

    #[test]
    fn batches_in_which_one_never_succeeds_and_others_do_are_found() {
        let batches = |good: &[&str]| {
            let mut made = Made::default();
            for _ in 0..3 {
                whole(&mut made, &["a", "b", "poison"], 0);
            }
            made.run(&[]);
            made.moved(Move::Delivered, good);
            made.moved(Move::Deleted, good);
            made
        };
        batches(&["a", "b"]).finds("batch-again", SAYS);
        batches(&["a", "b", "poison"]).finds_nothing(); // what was down is up again
    }

    #[test]
    fn a_message_by_itself_a_part_of_a_batch_and_a_timeout_are_no_fault() {
        let mut made = Made::default();
        for _ in 0..5 {
            whole(&mut made, &["a"], 1);
            made.run(&[&[call("DynamoDB.PutItem", "Things")]]);
            made.moved(Move::Delivered, &["b", "c"]);
            made.moved(Move::Returned, &["c"]);
            let run = made.run(&[&[call("DynamoDB.PutItem", "Things")]]);
            run.outcome = Ended::Timeout;
            made.moved(Move::Delivered, &["d", "e"]);
            made.moved(Move::Returned, &["d", "e"]);
        }
        made.finds_nothing();
    }
}
