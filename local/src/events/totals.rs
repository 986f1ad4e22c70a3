//! The sums over all events: each function's calls to AWS, the messages of the queues, the faults.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{Call, Event, Handshake, Messages, Move, Outcome, micros};

#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Without the queue times.
    sums: Snapshot,
    /// Microseconds, of the queues that have a trigger.
    queue_times: BTreeMap<String, Histogram<u64>>,
}

/// All counts since the start or the last reset. Its JSON is the body of `GET /meter`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// By access key id; a function's is its logical id.
    pub functions: BTreeMap<String, Caller>,
    /// By logical id.
    pub queues: BTreeMap<String, QueueCounts>,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<String, u64>,
}

/// The calls of one function, or of another client, to AWS.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Caller {
    /// Connections on which it made a request.
    pub connections: u64,
    /// Connections that took a full TLS handshake instead of resuming a session.
    pub tls_handshakes: u64,
    /// By `<service>.<operation>`.
    pub operations: BTreeMap<String, OperationCounts>,
}

/// All calls of one operation by one caller.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OperationCounts {
    /// Requests answered.
    pub calls: u64,
    /// Requests answered with HTTP 400 or above, without the two kinds below.
    pub errors: u64,
    /// Requests refused because a limit was reached.
    pub throttles: u64,
    /// Requests refused because a condition of the caller did not hold.
    pub conditional_failures: u64,
    /// Read capacity units consumed. Refused calls report none.
    pub read_units: f64,
    /// Write capacity units consumed.
    pub write_units: f64,
    /// Bytes of request bodies, as the caller sent them.
    pub request_bytes: u64,
    /// Bytes of response bodies, as the caller received them.
    pub response_bytes: u64,
}

/// The state of a queue, and the work of its trigger. Counts are messages unless they say
/// otherwise.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct QueueCounts {
    /// The work of the trigger; absent for a queue without one.
    #[serde(flatten)]
    pub trigger: Option<Trigger>,
    /// How many messages the queue holds.
    #[serde(flatten)]
    pub depth: Option<Depth>,
}

/// The work of a queue's trigger.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Trigger {
    /// Received from the queue; a message counts each time.
    pub received: u64,
    /// Deleted after the function succeeded with them.
    pub deleted: u64,
    /// Invocations made.
    pub invocations: u64,
    /// Left in the queue, to be delivered again.
    pub failed: u64,
    /// From the sending of a message to the start of its first invocation. SQS reports the time of
    /// sending in whole milliseconds, rounded down.
    pub queue_time_ms: Percentiles,
}

/// The number of messages that a queue holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depth {
    /// Ready to be received.
    pub visible: u64,
    /// Received, but neither deleted nor visible again yet.
    pub in_flight: u64,
    /// Not available to receivers yet.
    pub delayed: u64,
}

/// Milliseconds, within 0.1 %.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many values.
    pub count: u64,
    /// The median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Snapshot {
    /// Messages in the queues that have a trigger, or in those that have none.
    pub fn messages(&self, with_trigger: bool) -> u64 {
        let queues = self.queues.values();
        let queues = queues.filter(|queue| queue.trigger.is_some() == with_trigger);
        queues.map(QueueCounts::messages).sum()
    }
}

impl QueueCounts {
    /// All that it holds.
    pub fn messages(&self) -> u64 {
        self.depth
            .map_or(0, |it| it.visible + it.in_flight + it.delayed)
    }
}

impl Totals {
    pub(super) fn add(&mut self, event: &Event) {
        match event {
            Event::Connection {
                function,
                handshake,
            } => {
                let caller = self.sums.functions.entry(function.clone()).or_default();
                caller.connections += 1;
                caller.tls_handshakes += u64::from(*handshake == Handshake::Full);
            }
            Event::Call(call) => self.call(call),
            Event::Messages(messages) => self.messages(messages),
            Event::Fault { kind } => *self.sums.faults.entry(kind.clone()).or_default() += 1,
            Event::Environment(_) | Event::Invocation(_) | Event::Lost { .. } => {}
        }
    }

    fn call(&mut self, call: &Call) {
        let caller = self
            .sums
            .functions
            .entry(call.function.clone())
            .or_default();
        if call.outcome == Outcome::NoAnswer {
            return;
        }
        let counted = caller.operations.entry(call.operation.clone()).or_default();
        counted.calls += 1;
        match call.outcome {
            Outcome::Success | Outcome::NoAnswer => {}
            Outcome::ConditionalFailure => counted.conditional_failures += 1,
            Outcome::Throttle => counted.throttles += 1,
            Outcome::Error => counted.errors += 1,
        }
        counted.read_units += call.read_units;
        counted.write_units += call.write_units;
        counted.request_bytes += call.request_bytes;
        counted.response_bytes += call.response_bytes;
    }

    fn messages(&mut self, messages: &Messages) {
        let Messages { queue, ids, .. } = messages;
        // What others than a trigger do with a queue is in their calls.
        let counted = self.sums.queues.get_mut(queue);
        let Some(trigger) = counted.and_then(|it| it.trigger.as_mut()) else {
            return;
        };
        let count = ids.len() as u64;
        match messages.change {
            Move::Received => trigger.received += count,
            Move::Deleted => trigger.deleted += count,
            Move::Returned => trigger.failed += count,
            Move::Delivered => {
                trigger.invocations += 1;
                if let Some(times) = self.queue_times.get_mut(queue) {
                    for waited in &messages.waited {
                        // Fails only if the range may not grow.
                        let _ = times.record(micros(*waited));
                    }
                }
            }
            Move::Sent | Move::Dead => {}
        }
    }

    pub(super) fn trigger(&mut self, queue: &str) {
        let counted = self.sums.queues.entry(queue.to_owned()).or_default();
        counted.trigger.get_or_insert_default();
        // Three significant digits, and a range that grows with the values.
        let times = Histogram::new(3)
            .unwrap_or_else(|_| unreachable!("three digits are within the documented 0 to 5"));
        self.queue_times.entry(queue.to_owned()).or_insert(times);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1e3;
        let mut sums = self.sums.clone();
        for (queue, times) in &self.queue_times {
            let counted = sums.queues.get_mut(queue);
            if let Some(trigger) = counted.and_then(|it| it.trigger.as_mut()) {
                trigger.queue_time_ms = Percentiles {
                    count: times.len(),
                    p50: ms(times.value_at_quantile(0.50)),
                    p95: ms(times.value_at_quantile(0.95)),
                    p99: ms(times.value_at_quantile(0.99)),
                    max: ms(times.max()),
                };
            }
        }
        sums
    }

    pub(super) fn reset(&mut self) {
        self.sums = Snapshot::default();
        for queue in std::mem::take(&mut self.queue_times).into_keys() {
            self.trigger(&queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Log;
    use super::*;

    fn messages(change: Move, waited: &[Duration]) -> Event {
        Event::Messages(Messages {
            queue: "Queue".to_owned(),
            change,
            ids: vec!["id".to_owned(); 4],
            request_id: None,
            waited: waited.to_vec(),
        })
    }

    #[test]
    fn queue_times_of_any_length_keep_three_digits() {
        let log = Log::default();
        log.know_trigger("Queue");
        let waited = [1, 2, 3, 345_600_000].map(Duration::from_millis);
        log.add(messages(Move::Delivered, &waited));
        let trigger = log.snapshot().queues["Queue"].trigger.clone().unwrap();
        let times = trigger.queue_time_ms;
        assert_eq!((trigger.invocations, times.count), (1, 4));
        assert!((times.p50 - 2.0).abs() < 0.002, "{times:?}");
        assert!((times.max / 345_600_000.0 - 1.0).abs() < 0.001, "{times:?}");
    }

    #[test]
    fn a_reset_keeps_the_triggers_and_zeroes_the_rest() {
        let log = Log::default();
        log.know_trigger("Queue");
        log.add(messages(Move::Received, &[]));
        log.add(Event::Fault {
            kind: "kill".to_owned(),
        });
        let received = |log: &Log| {
            log.snapshot().queues["Queue"]
                .trigger
                .clone()
                .unwrap()
                .received
        };
        assert_eq!(received(&log), 4);
        log.reset_sums();
        assert_eq!(received(&log), 0);
        assert!(log.snapshot().faults.is_empty());
    }
}
