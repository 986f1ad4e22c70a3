//! Connections to AWS that are opened again.

use std::collections::BTreeMap;

use local::events::Outcome;

use super::seen::{Function, Timed};
use super::{Finding, Rule};
use crate::report::model::short;

/// A pause that is no longer is no reason for a new connection. The SDK's pool keeps an idle one for 90 s
/// (<https://docs.rs/hyper-util/latest/hyper_util/client/legacy/struct.Builder.html#method.pool_idle_timeout>); AWS may close
/// it earlier, and does not say when.
const IDLE_US: u64 = 20_000_000;

/// Of the warm invocations that call AWS. A handshake takes longer than most calls, so from one in ten on it is the p90.
const AGAIN: f64 = 0.1;

/// Invocations that open a connection again. A pool may once or twice open one while another becomes free.
const OPENED: usize = 3;

/// Of them, from which the cause is the client's place and no accident of its pool.
const ALWAYS: f64 = 0.9;

/// Connections that warm invocations open to a service although their environment has opened one before that is free. One
/// more because several calls are side by side for the first time is none of these, nor is one after a long pause or after
/// a call without an answer.
pub fn opened_again(function: &Function<'_>) -> Option<Finding> {
    let warm = function.warm().filter(|it| !it.calls.is_empty());
    let warm: BTreeMap<&str, usize> = warm
        .map(|it| (it.invocation.request_id.as_str(), it.calls.len()))
        .collect();
    let mut timelines: BTreeMap<(&str, &str), Vec<&Timed<'_>>> = BTreeMap::new();
    for timed in &function.calls {
        let service = timed.call.operation.split('.').next().unwrap_or_default();
        if let Some(environment) = &timed.call.environment {
            let timeline = timelines.entry((environment, service)).or_default();
            timeline.push(timed);
        }
    }
    // By the invocation that opened them.
    let mut again: BTreeMap<&str, usize> = BTreeMap::new();
    for timeline in timelines.values() {
        for timed in unneeded(timeline) {
            let id = timed.call.request_id.as_deref();
            if let Some(id) = id.filter(|id| warm.contains_key(id)) {
                *again.entry(id).or_default() += 1;
            }
        }
    }
    let share = again.len() as f64 / warm.len().max(1) as f64;
    if again.len() < OPENED || share < AGAIN {
        return None;
    }
    let opened = again.values().sum::<usize>() as f64 / warm.len() as f64;
    let name = function.name;
    let why = if share >= ALWAYS {
        "its client is built in the handler, and takes its connections along when it ends"
    } else {
        "its client is built again now and then, or does not keep its connections"
    };
    let says = format!(
        "{name} opens {} connections {} in warm environments that have one already, in {} of {} invocations: {why}.",
        short(opened),
        function.each(),
        again.len(),
        warm.len(),
    );
    Some(Rule::Connections.finding(name, opened, says))
}

/// Calls of one environment to one service that open a connection while one is free.
fn unneeded<'a>(timeline: &[&'a Timed<'a>]) -> Vec<&'a Timed<'a>> {
    let mut unneeded = Vec::new();
    let (mut open, mut last_end) = (0, 0);
    let mut under_way: Vec<u64> = Vec::new();
    for timed in timeline {
        if timed.begin > last_end + IDLE_US {
            open = 0;
        }
        under_way.retain(|end| *end > timed.begin);
        if timed.call.connection.is_some() {
            if under_way.len() < open {
                unneeded.push(*timed);
            } else {
                open += 1;
            }
        }
        // Its connection is closed, and perhaps the others.
        if timed.call.outcome == Outcome::NoAnswer {
            open = 0;
        }
        under_way.push(timed.end);
        last_end = last_end.max(timed.end);
    }
    unneeded
}

#[cfg(test)]
mod tests {
    use std::slice;

    use local::events::Call;

    use super::super::seen::tests::{Made, call, connecting, get};
    use super::*;

    fn cold(made: &mut Made) {
        made.run(&[&[connecting(get("Things"))]]).cold = true;
    }

    /// A cold start, and then invocations of which the first so many open a connection.
    fn opening(warm: usize, opening: usize) -> Made {
        let mut made = Made::default();
        cold(&mut made);
        for index in 0..warm {
            let get = get("Things");
            made.run(&[&[if index < opening {
                connecting(get)
            } else {
                get
            }]]);
        }
        made
    }

    #[test]
    fn a_connection_for_each_warm_invocation_is_a_client_in_the_handler() {
        opening(3, 3).finds(
            "connections",
            "F opens 1 connections a request in warm environments that have one already, in 3 of 3 invocations: its client is built in the handler, and takes its connections along when it ends.",
        );
        opening(2, 2).finds_nothing();
    }

    #[test]
    fn some_of_them_are_found_from_three_and_one_in_ten_on() {
        opening(30, 3).finds(
            "connections",
            "F opens 0.1 connections a request in warm environments that have one already, in 3 of 30 invocations: its client is built again now and then, or does not keep its connections.",
        );
        opening(31, 3).finds_nothing();
        opening(20, 2).finds_nothing();
        opening(30, 0).finds_nothing();
    }

    #[test]
    fn a_connection_that_was_needed_is_not_one_again() {
        let new: &Call = &connecting(get("Things"));
        // Two calls side by side, of which each needs one, after a pause in which the pool was emptied.
        let two = [new.clone(), new.clone()];
        let mut made = Made::default();
        for _ in 0..5 {
            made.pause(21);
            made.run(&[&two]);
        }
        made.finds_nothing();
        for _ in 0..5 {
            made.pause(21);
            made.run(&[&two]);
            made.run(&[&[get("Things"), new.clone()]]);
        }
        let seen = made.found();
        assert_eq!(
            seen.len(),
            1,
            "within a pause the second one is there already"
        );
        let mut made = Made::default();
        for _ in 0..5 {
            made.pause(21);
            made.run(&[slice::from_ref(new)]);
        }
        made.finds_nothing();
        let mut made = Made::default();
        for _ in 0..5 {
            made.pause(19);
            made.run(&[slice::from_ref(new)]);
        }
        assert_eq!(made.found().len(), 1);
        // To another service.
        let mut made = Made::default();
        for _ in 0..5 {
            made.pause(21);
            made.run(&[
                slice::from_ref(new),
                &[connecting(call("SQS.SendMessage", "Q"))],
            ]);
        }
        made.finds_nothing();
        // After one that broke.
        let broken = Call {
            outcome: Outcome::NoAnswer,
            ..new.clone()
        };
        let mut made = Made::default();
        for _ in 0..2 {
            made.run(&[slice::from_ref(&broken), slice::from_ref(new)]);
        }
        for _ in 0..300 {
            made.run(&[&[get("Things")]]);
        }
        made.finds_nothing();
    }
}
