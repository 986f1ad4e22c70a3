//! Counts each function's calls to AWS, and the messages of the queues. It knows no other part of
//! the host.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// A shared set of counters. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    callers: BTreeMap<String, Caller>,
    /// The work of triggers, by queue.
    triggers: BTreeMap<String, TriggerCounts>,
}

/// All counts since the start or the last reset.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Snapshot {
    /// By access key id; a function's is its logical id.
    pub functions: BTreeMap<String, Caller>,
    /// By logical id.
    pub queues: BTreeMap<String, QueueCounts>,
}

/// The calls of one function, or of another client, to AWS.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Caller {
    /// Connections on which it made a request.
    pub connections: u64,
    /// Connections that took a full TLS handshake instead of resuming a session.
    pub tls_handshakes: u64,
    /// By `<service>.<operation>`.
    pub operations: BTreeMap<String, OperationCounts>,
}

/// All calls of one operation by one caller.
#[derive(Debug, Clone, Default, Serialize)]
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
#[derive(Debug, Clone, Default, Serialize)]
pub struct QueueCounts {
    /// The work of the trigger; absent for a queue without one.
    #[serde(flatten)]
    pub trigger: Option<Trigger>,
    /// How many messages the queue holds.
    #[serde(flatten)]
    pub depth: Option<Depth>,
}

/// The work of a queue's trigger.
#[derive(Debug, Clone, Default, Serialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// Ready to be received.
    pub visible: u64,
    /// Received, but neither deleted nor visible again yet.
    pub in_flight: u64,
    /// Not available to receivers yet.
    pub delayed: u64,
}

/// Milliseconds, within 0.1 %.
#[derive(Debug, Clone, Copy, Default, Serialize)]
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

#[derive(Debug)]
struct TriggerCounts {
    received: u64,
    deleted: u64,
    invocations: u64,
    failed: u64,
    queue_time_us: Histogram<u64>,
}

impl Default for TriggerCounts {
    fn default() -> Self {
        // Three significant digits, and a range that grows with the values.
        let queue_time_us = Histogram::new(3)
            .unwrap_or_else(|_| unreachable!("three digits are within the documented 0 to 5"));
        TriggerCounts {
            received: 0,
            deleted: 0,
            invocations: 0,
            failed: 0,
            queue_time_us,
        }
    }
}

/// Capacity units of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Units {
    pub(crate) read: f64,
    pub(crate) write: f64,
}

/// The outcome of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    ConditionalFailure,
    Throttle,
    Error,
}

/// One call that was answered.
pub(crate) struct Answered {
    pub(crate) outcome: Outcome,
    pub(crate) units: Units,
    pub(crate) request_bytes: usize,
    pub(crate) response_bytes: usize,
}

impl Meter {
    pub(crate) fn connection(&self, caller: &str, full_handshake: bool) {
        let mut counts = self.counts();
        let caller = counts.callers.entry(caller.to_owned()).or_default();
        caller.connections += 1;
        caller.tls_handshakes += u64::from(full_handshake);
    }

    pub(crate) fn call(&self, caller: &str, operation: &str, call: &Answered) {
        let mut counts = self.counts();
        let caller = counts.callers.entry(caller.to_owned()).or_default();
        let counted = caller.operations.entry(operation.to_owned()).or_default();
        counted.calls += 1;
        match call.outcome {
            Outcome::Success => {}
            Outcome::ConditionalFailure => counted.conditional_failures += 1,
            Outcome::Throttle => counted.throttles += 1,
            Outcome::Error => counted.errors += 1,
        }
        counted.read_units += call.units.read;
        counted.write_units += call.units.write;
        counted.request_bytes += call.request_bytes as u64;
        counted.response_bytes += call.response_bytes as u64;
    }

    /// Adds a queue whose trigger has started. From now on the snapshot shows its counts.
    pub(crate) fn know_trigger(&self, queue: &str) {
        self.trigger(queue, |_| {});
    }

    pub(crate) fn received(&self, queue: &str, messages: usize) {
        self.trigger(queue, |counts| counts.received += messages as u64);
    }

    pub(crate) fn deleted(&self, queue: &str, messages: usize) {
        self.trigger(queue, |counts| counts.deleted += messages as u64);
    }

    pub(crate) fn failed(&self, queue: &str, messages: usize) {
        self.trigger(queue, |counts| counts.failed += messages as u64);
    }

    pub(crate) fn invoked(&self, queue: &str, waited: &[Duration]) {
        self.trigger(queue, |counts| {
            counts.invocations += 1;
            for time in waited {
                let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                // Fails only if the range may not grow.
                let _ = counts.queue_time_us.record(us);
            }
        });
    }

    fn trigger(&self, queue: &str, change: impl FnOnce(&mut TriggerCounts)) {
        let mut counts = self.counts();
        change(counts.triggers.entry(queue.to_owned()).or_default());
    }

    /// The counts so far, without the depth of the queues.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let counts = self.counts();
        let queues = counts.triggers.iter().map(|(queue, trigger)| {
            let trigger = Some(Trigger::from(trigger));
            let depth = None;
            (queue.clone(), QueueCounts { trigger, depth })
        });
        Snapshot {
            functions: counts.callers.clone(),
            queues: queues.collect(),
        }
    }

    /// Sets all counts to zero.
    pub fn reset(&self) {
        let mut counts = self.counts();
        counts.callers.clear();
        for trigger in counts.triggers.values_mut() {
            *trigger = TriggerCounts::default();
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Every change is one step, so they are valid even if a thread panicked while holding them.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&TriggerCounts> for Trigger {
    fn from(counts: &TriggerCounts) -> Self {
        let times = &counts.queue_time_us;
        #[expect(
            clippy::cast_precision_loss,
            reason = "microseconds of days fit 52 bits"
        )]
        let ms = |us: u64| us as f64 / 1000.0;
        Trigger {
            received: counts.received,
            deleted: counts.deleted,
            invocations: counts.invocations,
            failed: counts.failed,
            queue_time_ms: Percentiles {
                count: times.len(),
                p50: ms(times.value_at_quantile(0.50)),
                p95: ms(times.value_at_quantile(0.95)),
                p99: ms(times.value_at_quantile(0.99)),
                max: ms(times.max()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn queue_times_of_any_length_keep_three_digits() {
        let meter = Meter::default();
        meter.invoked(
            "Queue",
            &[ms(1), ms(2), ms(3), Duration::from_secs(345_600)],
        );
        let trigger = meter.snapshot().queues["Queue"].trigger.clone().unwrap();
        let times = trigger.queue_time_ms;
        assert_eq!((trigger.invocations, times.count), (1, 4));
        assert!((times.p50 - 2.0).abs() < 0.002, "{times:?}");
        assert!((times.max / 345_600_000.0 - 1.0).abs() < 0.001, "{times:?}");
    }

    #[test]
    fn a_reset_keeps_the_triggers_and_zeroes_the_rest() {
        let meter = Meter::default();
        meter.connection("Function", true);
        meter.received("Triggered", 3);
        meter.reset();
        let snapshot = meter.snapshot();
        assert!(snapshot.functions.is_empty());
        assert_eq!(
            snapshot.queues["Triggered"]
                .trigger
                .clone()
                .unwrap()
                .received,
            0
        );
    }
}
