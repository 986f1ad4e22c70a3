//! SQS in this process: all operations of its JSON protocol, on SQLite.
//!
//! `operations` reads calls and writes answers, `messages` and `store` do what they ask for.

mod attributes;
mod error;
mod message;
mod messages;
mod move_task;
mod operations;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

pub use attributes::queue_arn;
use error::invalid_value;
pub use message::{Message, MessageAttribute, MessageAttributes};
use operations::{check_range, parse, queue_name, without_empty};
use store::Store;

use crate::aws_json::Refusal;
use crate::events::{Depth, Event, Log, Messages};
use crate::template;

/// The queues of this host. Cheap to clone.
///
/// A call takes some microseconds behind one lock, on the thread that makes it. With a data folder,
/// a call in some thousands waits until the disk has what was written.
#[derive(Debug, Clone)]
pub struct Sqs {
    store: Arc<Mutex<Store>>,
    endpoint_url: Arc<str>,
    log: Log,
    /// Logical ids of the template's queues, by name.
    logical_ids: Arc<OnceLock<BTreeMap<String, String>>>,
}

/// The body of `ReceiveMessage`. `ReceiveRequestAttemptId` is accepted and ignored: on one machine no
/// answer gets lost.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Receive {
    queue_url: String,
    max_number_of_messages: Option<usize>,
    visibility_timeout: Option<i64>,
    wait_time_seconds: Option<i64>,
    attribute_names: Vec<String>,
    message_system_attribute_names: Vec<String>,
    message_attribute_names: Vec<String>,
}

impl Sqs {
    /// The queues of a data folder, or none, in memory. `endpoint_url` is what their URLs begin with.
    /// Logs each message that is sent or goes to a dead-letter queue.
    ///
    /// # Errors
    /// If the folder's database cannot be used.
    pub fn open(data_dir: Option<&Path>, endpoint_url: &str, log: Log) -> Result<Sqs, String> {
        let file = data_dir.map(|dir| dir.join("sqs.sqlite"));
        let store = Store::open(file.as_deref()).map_err(|e| match &file {
            Some(file) => format!("{}: {e}", file.display()),
            None => e.to_string(),
        })?;
        Ok(Sqs {
            store: Arc::new(Mutex::new(store)),
            endpoint_url: endpoint_url.into(),
            log,
            logical_ids: Arc::default(),
        })
    }

    /// Answers one call of the JSON protocol.
    ///
    /// # Errors
    /// As AWS refuses it.
    pub async fn call(&self, operation: &str, body: &[u8]) -> Result<Value, Refusal> {
        match operation {
            "ReceiveMessage" => self.receive_message(&parse(body)?).await,
            "StartMessageMoveTask" => {
                let request = parse(body)?;
                let handle = self.with(|store, now| store.start_task(&request, now))?;
                tokio::spawn(self.clone().carry_out(handle.clone()));
                Ok(json!({"TaskHandle": handle}))
            }
            _ => self.with(|store, now| {
                operations::answer(store, &self.endpoint_url, operation, body, now)
            }),
        }
    }

    /// Receives up to `most` messages (1 to 10) with all their attributes, waiting up to `wait` for
    /// the first. Dropping the future takes no message.
    ///
    /// # Errors
    /// If the queue does not exist or has too many messages in flight.
    pub async fn receive(
        &self,
        queue: &str,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Message>, Refusal> {
        self.wait_for(queue, most, None, wait).await
    }

    /// Deletes messages by their receipt handles. Returns the positions of those not deleted.
    ///
    /// # Errors
    /// If the whole call failed, so that none was deleted.
    pub fn delete(&self, queue: &str, handles: &[&str]) -> Result<Vec<usize>, Refusal> {
        self.with(|store, now| {
            store.queue(queue)?;
            let mut left = Vec::new();
            for (position, handle) in handles.iter().enumerate() {
                match store.delete(queue, handle, now) {
                    Ok(()) => {}
                    Err(refusal) if refusal.is_senders() => left.push(position),
                    Err(failure) => return Err(failure),
                }
            }
            Ok(left)
        })
    }

    /// Returns how many messages the queue holds.
    ///
    /// # Errors
    /// If the queue does not exist.
    pub fn depth(&self, queue: &str) -> Result<Depth, Refusal> {
        self.with(|store, now| store.depth(queue, now))
    }

    /// Returns how long a received message stays invisible.
    ///
    /// # Errors
    /// If the queue does not exist.
    pub fn visibility_timeout(&self, queue: &str) -> Result<Duration, Refusal> {
        let store = self.store.lock();
        let seconds = store.queue(queue)?.attributes.number("VisibilityTimeout");
        Ok(Duration::from_secs(seconds.unsigned_abs()))
    }

    /// Creates the template's queues. One that a data folder still has gets the template's
    /// attributes.
    ///
    /// # Errors
    /// If a queue is refused; the sentence names it.
    pub fn create_queues(&self, queues: &[template::Queue]) -> Result<(), String> {
        let ids = queues.iter();
        let ids = ids.map(|queue| (queue.name.clone(), queue.logical_id.clone()));
        // Set twice only by a mistake, which changes nothing.
        let _ = self.logical_ids.set(ids.collect());
        let refused = |queue: &template::Queue, refusal: Refusal| {
            format!("queue {}: {refusal}", queue.logical_id)
        };
        for queue in queues {
            let (name, attributes) = (&queue.name, &queue.attributes);
            self.with(|store, now| match store.queues.contains_key(name) {
                true => store.set_attributes(name, attributes, now),
                false => store.create(name, attributes, &BTreeMap::new(), now),
            })
            .map_err(|refusal| refused(queue, refusal))?;
        }
        // Afterwards, because a dead-letter queue may stand behind its source. An empty policy
        // removes one that the data folder still has.
        for queue in queues {
            let policy = queue.redrive_policy.clone().unwrap_or_default();
            let change = BTreeMap::from([("RedrivePolicy".to_owned(), policy)]);
            self.with(|store, now| store.set_attributes(&queue.name, &change, now))
                .map_err(|refusal| refused(queue, refusal))?;
        }
        Ok(())
    }

    async fn receive_message(&self, asked: &Receive) -> Result<Value, Refusal> {
        let queue = queue_name(&asked.queue_url)?;
        let attribute = "ReceiveMessageWaitTimeSeconds";
        let default = self.store.lock().queue(queue)?.attributes.number(attribute);
        let most = asked.max_number_of_messages.unwrap_or(1);
        if !(1..=10).contains(&most) {
            let reason = "Must be between 1 and 10, if provided.";
            return Err(invalid_value(most, "MaxNumberOfMessages", reason));
        }
        check_range("VisibilityTimeout", asked.visibility_timeout, 43_200)?;
        check_range("WaitTimeSeconds", asked.wait_time_seconds, 20)?;
        let wait = asked.wait_time_seconds.unwrap_or(default).unsigned_abs();
        let wait = Duration::from_secs(wait);
        let visibility_timeout = asked.visibility_timeout;
        let messages = self.wait_for(queue, most, visibility_timeout, wait);
        let mut messages = messages.await?;
        let (old, new) = (
            &asked.attribute_names,
            &asked.message_system_attribute_names,
        );
        let system = [&old[..], new].concat();
        for message in &mut messages {
            message.select(&system, &asked.message_attribute_names);
        }
        Ok(without_empty(json!({"Messages": messages})))
    }

    /// Receives in one step once there is a message, so that a caller who leaves before takes none.
    async fn wait_for(
        &self,
        queue: &str,
        most: usize,
        visibility_timeout: Option<i64>,
        wait: Duration,
    ) -> Result<Vec<Message>, Refusal> {
        let deadline = Instant::now() + wait;
        loop {
            let arrivals = self.store.lock().queue(queue)?.arrivals.clone();
            // Hears what arrives from here on.
            let arrived = arrivals.notified();
            let received = self.with(|store, now| {
                let messages = store.receive(queue, most, visibility_timeout, now)?;
                Ok((messages, store.next_visible(queue, now)?.map(|at| at - now)))
            });
            // AWS reports a queue that has too many messages in flight to short polls alone.
            let (messages, pause) = match received {
                Err(it) if it.kind.ends_with("#OverLimit") && !wait.is_zero() => (vec![], None),
                received => received?,
            };
            if !messages.is_empty() || Instant::now() >= deadline {
                return Ok(messages);
            }
            let pause = pause.map(|ms| Duration::from_millis(ms.unsigned_abs()));
            let until = pause.map_or(deadline, |pause| deadline.min(Instant::now() + pause));
            tokio::select! {
                () = arrived => {}
                () = sleep_until(until) => {}
            }
        }
    }

    /// Moves messages, step by step, until the task is done. Others have their turn in between.
    async fn carry_out(self, handle: String) {
        loop {
            let next = self.store.lock().step(&handle, now());
            match next {
                None => return,
                Some(Duration::ZERO) => tokio::task::yield_now().await,
                Some(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&mut Store, i64) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut store = self.store.lock();
        let done = store.transaction(|store| work(store, now()));
        let moved = std::mem::take(&mut store.moved);
        drop(store);
        for (change, name, id) in moved {
            let logical_ids = self.logical_ids.get();
            let logical_id = logical_ids.and_then(|ids| ids.get(&name)).cloned();
            self.log.add(Event::Messages(Messages {
                queue: logical_id.unwrap_or(name),
                change,
                ids: vec![id],
                request_id: None,
                waited: Vec::new(),
            }));
        }
        done
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX))
}
