//! Queues in SQLite, in memory or in a file that outlives this process; `messages` has what is in
//! them.
//!
//! Every function takes the time, `now`, in milliseconds since 1970, so that tests need not wait.
//! Definitions of queues are kept in memory too, because every call needs one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::attributes::{Attributes, is_fifo};
use super::error::{invalid_value, no_queue, refuse};
use crate::aws_json::Refusal;
use crate::events::Move;

/// `seq` is a message's place in the order of sending, and the time of sending: see `seq_at`. The
/// body comes last, so that a look at the other columns reads no overflow page.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS queue (
        row INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL, modified INTEGER NOT NULL,
        attributes TEXT NOT NULL, tags TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS message (
        seq INTEGER PRIMARY KEY, queue INTEGER NOT NULL, id TEXT NOT NULL,
        visible_at INTEGER NOT NULL, receive_count INTEGER NOT NULL,
        first_received INTEGER, last_received INTEGER,
        group_id TEXT, dedup_id TEXT, source TEXT, trace TEXT,
        attributes TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS message_by_age ON message (queue);
    CREATE INDEX IF NOT EXISTS message_by_time ON message (queue, visible_at, last_received);
    CREATE INDEX IF NOT EXISTS message_by_group ON message (queue, group_id)
        WHERE group_id IS NOT NULL;
    CREATE TABLE IF NOT EXISTS sent (
        queue INTEGER NOT NULL, scope TEXT NOT NULL, dedup_id TEXT NOT NULL,
        id TEXT NOT NULL, seq INTEGER NOT NULL,
        PRIMARY KEY (queue, scope, dedup_id)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS sent_by_age ON sent (seq);";

/// Pages of 4 KB in the write-ahead log, some 64 MB, before they are copied into the database. A
/// call that copies them waits for the disk.
const CHECKPOINT: u32 = 16_000;
/// A queue can be purged once in 60 seconds.
const PURGE: i64 = 60_000;

/// A task that moves messages from a dead-letter queue, in the form in which it is listed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MoveTask {
    /// Only shown while it runs.
    pub(super) task_handle: Option<String>,
    pub(super) status: &'static str,
    pub(super) source_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) destination_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_number_of_messages_per_second: Option<u32>,
    pub(super) approximate_number_of_messages_moved: usize,
    pub(super) approximate_number_of_messages_to_move: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure_reason: Option<String>,
    pub(super) started_timestamp: i64,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) connection: Connection,
    pub(super) queues: BTreeMap<String, Queue>,
    /// The place of the message that was sent last.
    pub(super) last_seq: i64,
    /// They end with the process; a message that was not moved by then stays where it is.
    pub(super) tasks: Vec<MoveTask>,
    /// Messages that the present transaction has moved: how, in which queue, and their ids.
    pub(super) moved: Vec<(Move, String, String)>,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) row: i64,
    pub(super) created: i64,
    pub(super) modified: i64,
    pub(super) attributes: Attributes,
    pub(super) tags: BTreeMap<String, String>,
    purged: Option<i64>,
    /// Wakes everyone who waits for a message.
    pub(super) arrivals: Arc<Notify>,
}

impl Store {
    /// The queues in `file`, or none, in memory.
    pub(super) fn open(file: Option<&Path>) -> Result<Store, rusqlite::Error> {
        let connection = match file {
            None => Connection::open_in_memory()?,
            Some(file) => Connection::open(file)?,
        };
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // State survives the end of this process, not a power cut.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.execute_batch(SCHEMA)?;
        let mut store = Store {
            connection,
            queues: BTreeMap::new(),
            last_seq: 0,
            tasks: Vec::new(),
            moved: Vec::new(),
        };
        let last = "SELECT max(seq) FROM (SELECT seq FROM message UNION ALL SELECT seq FROM sent)";
        store.last_seq = store
            .first(last, [], |row| row.get(0))?
            .flatten()
            .unwrap_or(0);
        let all = "SELECT row, created, modified, attributes, tags, name FROM queue";
        let mut statement = store.connection.prepare(all)?;
        let queues = statement.query_map([], |row| Ok((row.get("name")?, Queue::read(row)?)))?;
        let queues = queues.collect::<Result<_, _>>()?;
        drop(statement);
        store.queues = queues;
        Ok(store)
    }

    /// Runs `work` as one transaction: all of it happens or, if it is refused, nothing.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        self.run("BEGIN", [])?;
        let done = work(self).and_then(|done| {
            self.run("COMMIT", [])?;
            Ok(done)
        });
        if done.is_err() {
            // Fails if SQLite has rolled back by itself.
            let _ = self.run("ROLLBACK", []);
            self.moved.clear();
        }
        done
    }

    /// Runs a statement, which is prepared once.
    pub(super) fn run(&self, sql: &str, values: impl Params) -> Result<usize, rusqlite::Error> {
        self.connection.prepare_cached(sql)?.execute(values)
    }

    /// The first row of a query, which is prepared once.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Option<T>, rusqlite::Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_row(values, read).optional()
    }

    pub(super) fn queue(&self, name: &str) -> Result<&Queue, Refusal> {
        self.queues.get(name).ok_or_else(no_queue)
    }

    /// Creates a queue. One that exists is left as it is if it has these attributes already.
    pub(super) fn create(
        &mut self,
        name: &str,
        wanted: &BTreeMap<String, String>,
        tags: &BTreeMap<String, String>,
        now: i64,
    ) -> Result<(), Refusal> {
        if let Some(Queue { attributes, .. }) = self.queues.get(name) {
            let same = attributes.with(wanted)?;
            let differs = |name: &&String| same.0.get(*name) != attributes.0.get(*name);
            let Some(name) = wanted.keys().find(differs) else {
                return Ok(());
            };
            let message = "A queue already exists with the same name and a different value for";
            return Err(refuse(
                "QueueNameExists",
                format!("{message} attribute {name}"),
            ));
        }
        let attributes = Attributes::new(is_fifo(name, wanted)?).with(wanted)?;
        self.check_redrive(name, &attributes)?;
        let insert = "INSERT INTO queue (name, created, modified, attributes, tags)
            VALUES (?1, ?2, ?2, ?3, ?4) RETURNING row, created, modified, attributes, tags";
        let values = params![name, now, to_json(&attributes.0), to_json(tags)];
        let queue = self.first(insert, values, Queue::read)?;
        self.queues
            .extend(queue.map(|queue| (name.to_owned(), queue)));
        Ok(())
    }

    pub(super) fn set_attributes(
        &mut self,
        name: &str,
        changes: &BTreeMap<String, String>,
        now: i64,
    ) -> Result<(), Refusal> {
        let attributes = self.queue(name)?.attributes.with(changes)?;
        if changes.contains_key("RedrivePolicy") {
            self.check_redrive(name, &attributes)?;
        }
        let update = "UPDATE queue SET attributes = ?2, modified = ?3 WHERE name = ?1";
        self.run(update, params![name, to_json(&attributes.0), now])?;
        if let Some(queue) = self.queues.get_mut(name) {
            queue.attributes = attributes;
            queue.modified = now;
        }
        Ok(())
    }

    /// Refuses a dead-letter queue that is not there, is of the other type, or does not allow it.
    fn check_redrive(&self, name: &str, attributes: &Attributes) -> Result<(), Refusal> {
        let Some(redrive) = attributes.redrive() else {
            return Ok(());
        };
        let reason = match self.queues.get(&redrive.target).map(|it| &it.attributes) {
            None => "Dead letter target does not exist.",
            Some(target) if target.is_fifo() != attributes.is_fifo() => {
                "Dead-letter queue must be same type of queue as the source."
            }
            Some(target) if !target.allows(name) => {
                "The RedriveAllowPolicy of the dead-letter queue does not allow this queue."
            }
            Some(_) => return Ok(()),
        };
        Err(invalid_value(redrive.target, "RedrivePolicy", reason))
    }

    pub(super) fn set_tags(
        &mut self,
        name: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        let update = "UPDATE queue SET tags = ?2 WHERE name = ?1";
        self.run(update, params![name, to_json(&tags)])?;
        if let Some(queue) = self.queues.get_mut(name) {
            queue.tags = tags;
        }
        Ok(())
    }

    pub(super) fn delete_queue(&mut self, name: &str) -> Result<(), Refusal> {
        let row = self.queue(name)?.row;
        self.delete_messages(row)?;
        self.run("DELETE FROM queue WHERE row = ?1", [row])?;
        self.wake(name);
        self.queues.remove(name);
        Ok(())
    }

    pub(super) fn purge(&mut self, name: &str, now: i64) -> Result<(), Refusal> {
        let queue = self.queues.get_mut(name).ok_or_else(no_queue)?;
        if queue.purged.is_some_and(|at| now < at + PURGE) {
            let message = format!("Only one PurgeQueue operation on {name} is allowed");
            return Err(refuse(
                "PurgeQueueInProgress",
                format!("{message} every 60 seconds."),
            ));
        }
        queue.purged = Some(now);
        let row = queue.row;
        Ok(self.delete_messages(row)?)
    }

    fn delete_messages(&self, queue: i64) -> Result<(), rusqlite::Error> {
        self.run("DELETE FROM message WHERE queue = ?1", [queue])?;
        self.run("DELETE FROM sent WHERE queue = ?1", [queue])?;
        Ok(())
    }

    pub(super) fn wake(&self, name: &str) {
        if let Some(queue) = self.queues.get(name) {
            queue.arrivals.notify_waiters();
        }
    }
}

impl Queue {
    fn read(row: &Row<'_>) -> Result<Queue, rusqlite::Error> {
        Ok(Queue {
            row: row.get("row")?,
            created: row.get("created")?,
            modified: row.get("modified")?,
            attributes: Attributes(from_json(row, 3)?),
            tags: from_json(row, 4)?,
            purged: None,
            arrivals: Arc::default(),
        })
    }
}

pub(super) fn to_json(value: &impl Serialize) -> String {
    // Fails only for maps whose keys are no text.
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) fn from_json<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> Result<T, rusqlite::Error> {
    serde_json::from_str(row.get_ref(column)?.as_str()?)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e.into()))
}
