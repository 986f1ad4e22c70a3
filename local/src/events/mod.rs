//! What the platform did: one log of events, and the sums over it.
//!
//! The log knows no other part of the host. Environments, invocations, calls to AWS and messages
//! report to it, each with what it takes to tell which of them belong together. It keeps the last
//! [`KEPT`] events in memory; the sums are over all.

mod totals;
mod us;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use totals::Totals;
pub use totals::{Caller, Depth, OperationCounts, Percentiles, QueueCounts, Snapshot, Trigger};

/// Some 7 MB. The highest load that a laptop bears has some 4,000 a second, and a reader that follows reads more often than
/// each second.
pub const KEPT: usize = 20_000;

/// The log of one stack. Cheap to clone: all clones are the same.
#[derive(Debug, Clone)]
pub struct Log {
    start: Instant,
    /// The same moment by the clock of the machine.
    started_at: SystemTime,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    kept: VecDeque<Arc<Entry>>,
    /// The number of the first one kept, from 0.
    first: u64,
    totals: Totals,
}

/// An event with the time at which it was logged.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the start of the stack.
    pub at_us: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that the platform did. Times are microseconds, in JSON as `…_us`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An execution environment changed.
    Environment(Environment),
    /// An invocation ended, or was refused.
    Invocation(Box<Invocation>),
    /// A client has opened a connection to AWS, and makes its first request on it.
    Connection {
        /// The function's logical id, or another client's access key id.
        function: String,
        /// Its TLS handshake.
        handshake: Handshake,
    },
    /// A call to AWS was answered, or not.
    Call(Box<Call>),
    /// Messages of a queue changed.
    Messages(Messages),
    /// An injected fault struck.
    Fault {
        /// Its kind.
        kind: String,
    },
    /// Not in the log: so many events were no longer kept when they were to be read.
    Lost {
        /// How many.
        count: u64,
    },
}

/// A change of an execution environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Environment {
    /// The function's logical id.
    pub function: String,
    /// `<function>-<number>`.
    pub environment: String,
    /// What changed.
    pub change: Change,
    /// Whether it belongs to provisioned concurrency.
    pub provisioned: bool,
    /// Why it failed or ended, where that is not said by the change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Its init phase, once it is over.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
}

/// The stages of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Its process starts; its init phase begins.
    Started,
    /// Its init phase has succeeded.
    Ready,
    /// Its init phase has failed.
    InitFailed,
    /// It waits for an invocation, and does not run.
    Frozen,
    /// It runs again.
    Thawed,
    /// An invocation took too long; the process is ended.
    TimedOut,
    /// It was idle for too long, or was told to go.
    Reaped,
    /// Its process ended by itself, or was killed.
    Killed,
}

/// An init phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// How long it took, as `REPORT` says.
    #[serde(rename = "init_us", with = "us")]
    pub duration: Duration,
    /// Its CPU time.
    #[serde(rename = "init_cpu_us", with = "us")]
    pub cpu: Duration,
    /// The platform's part of the cold start, before it.
    #[serde(rename = "platform_us", with = "us")]
    pub platform: Duration,
}

/// One invocation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Invocation {
    /// The function's logical id.
    pub function: String,
    /// The environment that ran it; none if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// As in the function's log.
    pub request_id: String,
    /// A route such as `GET /products/{id}`, the logical id of a queue, or `Invoke`.
    pub source: String,
    /// Whether the first of its environment. It then has the init phase too.
    pub cold: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    /// The init phase that the caller waited for, or that provisioned concurrency had before.
    pub init: Option<Init>,
    /// From the call to the start in an environment.
    #[serde(rename = "queued_us", with = "us")]
    pub queued: Duration,
    /// As `REPORT` says.
    #[serde(rename = "duration_us", with = "us")]
    pub duration: Duration,
    /// Its CPU time, where it is known.
    #[serde(
        rename = "cpu_us",
        default,
        skip_serializing_if = "Option::is_none",
        with = "us::maybe"
    )]
    pub cpu: Option<Duration>,
    /// The part of the duration in which it waited for its share of a CPU.
    #[serde(rename = "held_us", with = "us")]
    pub held: Duration,
    /// `MemorySize` of its function.
    #[serde(default)]
    pub memory_mb: u32,
    /// The most memory that its environment has had until now, in bytes; 0 if it is not known.
    #[serde(rename = "peak_memory_bytes", default)]
    pub peak_memory: u64,
    /// Bytes that the function printed since the invocation before, without Lambda's own lines.
    #[serde(default)]
    pub log_bytes: u64,
    /// How it ended.
    pub outcome: Ended,
    /// The limit that refused it; none if an injected fault did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// The type of its error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Invocation {
    /// The init phase, if any, and the run: what the function's own code decides.
    pub fn own(&self) -> Duration {
        self.init.map_or(Duration::ZERO, |init| init.duration) + self.duration
    }

    /// From the call to the answer, without the HTTP API.
    pub fn wait(&self) -> Duration {
        self.queued + self.duration
    }
}

/// How an invocation ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// With a result.
    #[default]
    Success,
    /// With an error of the function, or of the host.
    Error,
    /// It took too long.
    Timeout,
    /// It did not begin: concurrency is used up.
    Throttled,
}

/// A limit of concurrency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The account's: all that is not reserved was in use.
    Account,
    /// The function's own reservation.
    Reserved,
}

/// One call to AWS.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Call {
    /// The function's logical id, or another client's access key id.
    pub function: String,
    /// The calling environment, if it is one of this stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The invocation that made it; none in an init phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Such as `DynamoDB.GetItem`.
    pub operation: String,
    /// The tables, or the queue, by logical id where the template has them, joined by commas.
    pub resource: String,
    /// Of a read: the same number for the same request, and as good as never for another one. It has 53 bits, which every
    /// reader of JSON keeps, and a secret of this run in it, so that nobody can find the request by trying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<u64>,
    /// Whether it is the first on its connection.
    pub connection: Option<Handshake>,
    /// What opening that connection took here, with its TLS handshake and the caller's work for it. It is over when the
    /// call arrives.
    #[serde(
        rename = "handshake_us",
        default,
        skip_serializing_if = "Option::is_none",
        with = "us::maybe"
    )]
    pub handshake: Option<Duration>,
    /// The part of the duration that AWS's side of opening that connection would take.
    #[serde(
        rename = "connecting_us",
        default,
        skip_serializing_if = "Option::is_none",
        with = "us::maybe"
    )]
    pub connecting: Option<Duration>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// Read capacity units consumed.
    pub read_units: f64,
    /// Write capacity units consumed.
    pub write_units: f64,
    /// Items that a `Query` or a `Scan` read, and those of them that its filter let through.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub read: Option<ItemsRead>,
    /// How it ended.
    pub outcome: Outcome,
    /// The type of the error, such as `ResourceNotFoundException`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// From its arrival to its answer, without `held`.
    #[serde(rename = "duration_us", with = "us")]
    pub duration: Duration,
    /// How long it waited for the environment's share of a CPU before.
    #[serde(rename = "held_us", with = "us")]
    pub held: Duration,
}

/// What a `Query` or a `Scan` went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemsRead {
    /// `ScannedCount`: each of them is paid.
    pub scanned: u64,
    /// `Count`: those that matched the filter. Without one, all of them.
    pub matched: u64,
}

/// The TLS handshake of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handshake {
    /// A full one.
    Full,
    /// One that resumed a session.
    Resumed,
}

/// The outcome of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// HTTP 200.
    Success,
    /// A condition of the caller did not hold.
    ConditionalFailure,
    /// A limit was reached.
    Throttle,
    /// Any other refusal.
    Error,
    /// The connection closed, or the call was given up, without an answer.
    #[default]
    NoAnswer,
}

/// A change of some messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Messages {
    /// The queue's logical id, or the name of one that is not in the template.
    pub queue: String,
    /// What changed.
    pub change: Move,
    /// Their ids.
    pub ids: Vec<String>,
    /// The invocation that they are delivered to, or came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// How long each was in the queue; only for the first delivery of each.
    #[serde(
        rename = "waited_us",
        default,
        skip_serializing_if = "Vec::is_empty",
        with = "us::all"
    )]
    pub waited: Vec<Duration>,
}

/// The way of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Move {
    /// It was put into the queue.
    Sent,
    /// The trigger has received it.
    Received,
    /// A function's invocation with it begins.
    Delivered,
    /// The function succeeded with it, and it was deleted.
    Deleted,
    /// The function failed with it, and it stays in the queue.
    Returned,
    /// It was received too often, and went to the dead-letter queue.
    Dead,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            start: Instant::now(),
            started_at: SystemTime::now(),
            state: Arc::default(),
        }
    }
}

impl Log {
    /// Logs an event that has just happened.
    pub(crate) fn add(&self, event: Event) {
        let entry = Arc::new(Entry {
            at_us: self.now(),
            event,
        });
        let mut state = self.state.lock();
        state.totals.add(&entry.event);
        state.kept.push_back(entry);
        if state.kept.len() > KEPT {
            state.kept.pop_front();
            state.first += 1;
        }
    }

    /// The number that the next event will have.
    pub fn next(&self) -> u64 {
        let state = self.state.lock();
        state.first + state.kept.len() as u64
    }

    /// Microseconds since the start of the stack.
    pub fn now(&self) -> u64 {
        micros(self.start.elapsed())
    }

    /// The start of the stack, from which events are timed, in microseconds since 1970.
    pub fn started_at_us(&self) -> u64 {
        let since = self.started_at.duration_since(UNIX_EPOCH);
        micros(since.unwrap_or_default())
    }

    /// At most `most` events from this number on, and the number of the first of them. That is a
    /// later one if those before are no longer kept.
    pub fn since(&self, number: u64, most: usize) -> (u64, Vec<Arc<Entry>>) {
        let state = self.state.lock();
        let first = number.max(state.first);
        let skipped = usize::try_from(first - state.first).unwrap_or(usize::MAX);
        let entries = state.kept.iter().skip(skipped).take(most).cloned();
        (first, entries.collect())
    }

    /// The sums so far, without the depth of the queues.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.state.lock().totals.snapshot()
    }

    /// Starts the sums from zero. The events stay.
    pub fn reset_sums(&self) {
        self.state.lock().totals.reset();
    }

    /// Adds a queue whose trigger has started. From now on the sums show it.
    pub(crate) fn know_trigger(&self, queue: &str) {
        self.state.lock().totals.trigger(queue);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault() -> Event {
        Event::Fault {
            kind: "kill".to_owned(),
        }
    }

    #[test]
    fn a_reader_gets_each_event_once_and_learns_what_it_missed() {
        let log = Log::default();
        for _ in 0..5 {
            log.add(fault());
        }
        let (first, entries) = log.since(0, 3);
        assert_eq!((first, entries.len()), (0, 3));
        let (first, entries) = log.since(3, 100);
        assert_eq!((first, entries.len(), log.next()), (3, 2, 5));
        for _ in 0..KEPT {
            log.add(fault());
        }
        let (first, entries) = log.since(3, 1);
        assert_eq!((first, entries.len()), (5, 1), "3 and 4 are no longer kept");
        assert_eq!(log.since(log.next(), 1).1.len(), 0);
        assert_eq!(
            log.snapshot().faults["kill"],
            KEPT as u64 + 5,
            "the sums are over all"
        );
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let log = Log::default();
        log.add(Event::Environment(Environment {
            function: "GetProduct".to_owned(),
            environment: "GetProduct-1".to_owned(),
            change: Change::Ready,
            provisioned: false,
            why: None,
            init: Some(Init {
                duration: Duration::from_micros(1500),
                cpu: Duration::from_millis(1),
                platform: Duration::from_millis(90),
            }),
        }));
        let (_, entries) = log.since(0, 1);
        let mut json = serde_json::to_value(&*entries[0]).unwrap();
        json["at_us"].take();
        let expected = serde_json::json!({
            "at_us": null, "event": "environment", "function": "GetProduct",
            "environment": "GetProduct-1", "change": "ready", "provisioned": false,
            "init_us": 1500, "init_cpu_us": 1000, "platform_us": 90_000,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let invocation = Invocation {
            function: "GetProduct".to_owned(),
            cpu: Some(Duration::from_micros(700)),
            duration: Duration::from_micros(900),
            outcome: Ended::Timeout,
            limit: Some(Limit::Account),
            ..Invocation::default()
        };
        let call = Call {
            operation: "DynamoDB.GetItem".to_owned(),
            fingerprint: Some((1 << 53) - 1),
            connection: Some(Handshake::Full),
            read_units: 0.5,
            read: Some(ItemsRead {
                scanned: 10_000,
                matched: 3,
            }),
            ..Call::default()
        };
        let messages = Messages {
            queue: "Orders".to_owned(),
            change: Move::Delivered,
            ids: vec!["a".to_owned()],
            request_id: None,
            waited: vec![Duration::from_micros(16_200)],
        };
        let events = [
            Event::Invocation(Box::new(invocation)),
            Event::Call(Box::new(call)),
            Event::Messages(messages),
            fault(),
            Event::Lost { count: 3 },
        ];
        for event in events {
            let entry = Entry { at_us: 7, event };
            let written = serde_json::to_value(&entry).unwrap();
            let read: Entry = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), written);
        }
    }
}
