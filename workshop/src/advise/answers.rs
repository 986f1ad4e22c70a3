//! What an answer waits for: work that could be done later, and calls that are never answered.

use std::collections::BTreeMap;

use local::events::Ended;

use super::seen::{Function, Run, Timed, in_turn};
use super::{Finding, Known, LEAST, Rule};
use crate::percentile::{ms, percentile};
use crate::report::model::short;

/// Writes to tables, one after another. One stores what was asked for; a second may hold the key of an idempotent request,
/// and a third a counter. From four on it is work on what was asked for. Messages do not count: they are the way out.
const WORK: f64 = 4.0;

/// Invocations that a timeout ended. One may be a broken network, two a pair of its connections.
const TIMEOUTS: usize = 3;

/// Of an invocation, how long it waited for a call before the timeout. A call that began shortly before is not the cause:
/// without it another one would have been under way.
const HUNG: f64 = 0.5;

/// Writes of a request that go on, one after another, before it is answered. It counts in the median of the requests of a
/// route, since a function may serve several. Workers are not meant: nobody waits for them.
pub fn work_before_answer(function: &Function<'_>, known: &Known<'_>) -> Vec<Finding> {
    if known.conditions.is_none() {
        return Vec::new();
    }
    let mut by_route: BTreeMap<&str, Vec<&Run<'_>>> = BTreeMap::new();
    for run in &function.runs {
        let source = run.invocation.source.as_str();
        if source.contains(' ') {
            by_route.entry(source).or_default().push(run);
        }
    }
    let findings = by_route.into_iter().filter_map(|(route, runs)| {
        let median = |counts: &dyn Fn(&Timed<'_>) -> bool| {
            let counted = runs.iter().map(|run| {
                let calls = run.calls.iter().filter(|it| it.succeeded() && counts(it));
                let calls: Vec<_> = calls.copied().collect();
                in_turn(&calls) as f64
            });
            percentile(&counted.collect::<Vec<_>>(), 50.0)
        };
        let (calls, writes) = (median(&|_| true)?, median(&|it| it.writes_to_a_table())?);
        if runs.len() < LEAST || writes < WORK {
            return None;
        }
        let name = function.name;
        let of_them = if writes < calls {
            format!("{} of them", short(writes))
        } else {
            "all of them".to_owned()
        };
        let says = format!(
            "{name} makes {} calls in turn before it answers {route}, {of_them} writes: put what the client need not wait for on a queue, and let a worker do it.",
            short(calls),
        );
        Some(Rule::WorkBeforeAnswer.finding(name, writes, says))
    });
    findings.collect()
}

/// Invocations that Lambda ended by their timeout while they waited for a call. That a call fails and is repeated in
/// invocations that succeed is another rule's: none is found by both.
pub fn no_timeout(function: &Function<'_>) -> Vec<Finding> {
    let mut by_call: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for run in &function.runs {
        if run.invocation.outcome != Ended::Timeout {
            continue;
        }
        let limit = run.invocation.duration;
        let waited = limit.mul_f64(HUNG).as_micros();
        // It is logged once its environment is gone, which is after the invocation.
        let mut hanging = run.calls.iter().filter(|it| {
            it.end >= run.end && u128::from(run.end.saturating_sub(it.begin)) >= waited
        });
        // The first of them has waited longest.
        if let Some(Timed { call, .. }) = hanging.next() {
            let timed_out = by_call.entry((&call.operation, &call.resource));
            timed_out.or_default().push(ms(limit) / 1e3);
        }
    }
    let findings = by_call.into_iter().filter_map(|((operation, resource), limits)| {
        let (count, name) = (limits.len(), function.name);
        let operation = operation.rsplit('.').next()?;
        if count < TIMEOUTS {
            return None;
        }
        let says = format!(
            "{name} was ended {count} times by its own timeout of {} s, while {operation} of {resource} was not answered: a shorter timeout for that call would have left time for an answer.",
            short(percentile(&limits, 50.0)?),
        );
        Some(Rule::NoTimeout.finding(name, count as f64, says))
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use std::slice;

    use local::events::{Call, Event, Outcome};

    use super::super::seen::tests::{Made, call, get, ms};
    use super::*;

    fn written() -> Call {
        call("DynamoDB.UpdateItem", "Things")
    }

    /// Requests that make so many writes in turn, after a read.
    fn writing(requests: usize, writes: usize) -> Made {
        let (read, write) = ([get("Things")], [written()]);
        let mut groups: Vec<&[Call]> = vec![&read];
        groups.extend(vec![&write[..]; writes]);
        let mut made = Made::default();
        for _ in 0..requests {
            made.run(&groups);
        }
        made
    }

    #[test]
    fn writes_before_an_answer_are_found_from_four_on_in_five_requests() {
        let says = |calls: usize, of_them: &str| {
            format!(
                "F makes {calls} calls in turn before it answers GET /f, {of_them} writes: put what the client need not wait for on a queue, and let a worker do it."
            )
        };
        let made = writing(5, 4);
        made.finds("work-before-answer", &says(5, "4 of them"));
        assert_eq!(made.found_bare(), [], "there everything is in turn");
        writing(4, 9).finds_nothing();
        writing(5, 3).finds_nothing();
        let write: &[Call] = &[written()];
        let mut made = Made::default();
        for _ in 0..5 {
            made.run(&[write; 6]);
        }
        made.finds("work-before-answer", &says(6, "all of them"));
        // Another route of the same function, which is asked more often.
        for _ in 0..50 {
            made.run(&[]).source = "GET /f/{id}".to_owned();
        }
        made.finds("work-before-answer", &says(6, "all of them"));
    }

    #[test]
    fn a_worker_writes_side_by_side_failures_and_messages_are_no_work_before_an_answer() {
        let mut worker = writing(5, 9);
        for entry in &mut worker.entries {
            if let Event::Invocation(it) = &mut entry.event {
                it.source = "Orders".to_owned();
            }
        }
        worker.finds_nothing();
        let repeated = |groups: &[&[Call]]| {
            let mut made = Made::default();
            for _ in 0..5 {
                made.run(groups);
            }
            made
        };
        repeated(&[&vec![written(); 9]]).finds_nothing();
        let refused = Call {
            outcome: Outcome::ConditionalFailure,
            ..written()
        };
        repeated(&[slice::from_ref(&refused); 9]).finds_nothing();
        let queues = ["A", "B", "C", "D", "E"].map(|it| [call("SQS.SendMessage", it)]);
        let queues: Vec<&[Call]> = queues.iter().map(|it| &it[..]).collect();
        repeated(&queues).finds_nothing();
    }

    #[test]
    fn of_a_function_with_a_loop_of_messages_the_loop_is_named_first() {
        let (sent, write) = ([call("SQS.SendMessage", "Q")], [written()]);
        let mut made = Made::default();
        for _ in 0..5 {
            made.run(&[&sent, &sent, &sent, &write, &write, &write, &write]);
        }
        let names: Vec<_> = made.found().iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["n-plus-one"]);
    }

    /// Invocations that end after 2 s, and have waited for a call so long.
    fn hanging(count: usize, waited_ms: f64) -> Made {
        let mut made = Made::default();
        for _ in 0..count {
            made.hangs(2000.0, waited_ms);
        }
        made
    }

    #[test]
    fn timeouts_in_a_call_without_an_answer_are_found_from_three_on() {
        hanging(3, 1990.0).finds(
            "no-timeout",
            "F was ended 3 times by its own timeout of 2 s, while GetItem of Things was not answered: a shorter timeout for that call would have left time for an answer.",
        );
        hanging(2, 1990.0).finds_nothing();
        assert_eq!(hanging(3, 1000.0).found().len(), 1, "half of the time");
        hanging(3, 999.0).finds_nothing();
    }

    #[test]
    fn a_timeout_in_other_work_and_a_call_that_was_given_up_are_no_call_without_a_timeout() {
        let given_up = Call {
            outcome: Outcome::NoAnswer,
            duration: ms(1990.0),
            ..get("Things")
        };
        let mut made = Made::default();
        for _ in 0..5 {
            made.pause(10);
            let run = made.run(&[slice::from_ref(&given_up)]);
            (run.outcome, run.duration) = (Ended::Timeout, ms(2000.0));
            let run = made.run(&[&[get("Things")]]);
            (run.outcome, run.duration) = (Ended::Timeout, ms(2000.0));
        }
        made.finds_nothing();
        // It hangs to the end of an invocation that ends by itself.
        let mut made = hanging(5, 1990.0);
        for entry in &mut made.entries {
            if let Event::Invocation(it) = &mut entry.event {
                it.outcome = Ended::Error;
            }
        }
        made.finds_nothing();
    }
}
