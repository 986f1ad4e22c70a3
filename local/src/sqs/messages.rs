//! The messages of the queues: sent, received, hidden, deleted and moved.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rusqlite::{Row, Rows, params};
use uuid::Uuid;

use super::attributes::queue_arn;
use super::error::{invalid_value, missing, refuse};
use super::message::{Message, MessageAttributes, digest, md5};
use super::store::{Queue, Store, from_json, to_json};
use crate::aws_json::ACCOUNT;
use crate::aws_json::Refusal;
use crate::events::{Depth, Move};

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-exactly-once-processing.html>
const DEDUPLICATION: i64 = 5 * 60_000;
/// The longest time for which a received message may be invisible, extensions included: 12 hours.
const MOST_INVISIBLE_SECONDS: i64 = 43_200;
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub(super) const MOST_IN_FLIGHT: usize = 120_000;

/// The messages of a standard queue, the one that can be received soonest first.
const BY_TIME: &str = "
    SELECT seq, receive_count, visible_at FROM message WHERE queue = ?1 ORDER BY visible_at";

/// The messages of a group, in the order of sending.
const OF_GROUP: &str = "
    SELECT seq, receive_count, visible_at FROM message WHERE queue = ?1 AND group_id = ?2
    ORDER BY seq";

/// The group of the oldest message that can be received and whose group is not in ?3, a list in
/// JSON. A message that is invisible hides those behind it in its group.
const NEXT_GROUP: &str = "
    SELECT group_id FROM message AS it INDEXED BY message_by_age
    WHERE queue = ?1 AND visible_at <= ?2 AND group_id NOT IN (SELECT value FROM json_each(?3))
        AND NOT EXISTS (SELECT 1 FROM message WHERE queue = ?1 AND group_id = it.group_id
            AND seq < it.seq AND visible_at > ?2)
    ORDER BY seq LIMIT 1";

const RECEIVE: &str = "
    UPDATE message SET visible_at = ?2, receive_count = receive_count + 1,
        first_received = ifnull(first_received, ?3), last_received = ?3
    WHERE seq = ?1
    RETURNING seq, queue, id, attributes, body, receive_count, first_received, trace, group_id,
        dedup_id, source";

pub(super) struct Outgoing<'a> {
    pub(super) body: &'a str,
    pub(super) attributes: &'a MessageAttributes,
    pub(super) trace: Option<&'a str>,
    pub(super) delay_seconds: i64,
    pub(super) group_id: Option<&'a str>,
    /// Only in a FIFO queue.
    pub(super) dedup_id: Option<String>,
}

/// One receive of one message. Its text is the receipt handle.
struct Receipt {
    queue: i64,
    seq: i64,
    receive_count: i64,
    id: String,
}

/// Messages that can be received now, and those that were received too often.
#[derive(Default)]
struct Picked {
    ready: Vec<i64>,
    dead: Vec<i64>,
}

impl Store {
    /// Places a message at the end of a queue and returns its id and place, or those of the one of
    /// which it is a duplicate.
    pub(super) fn send(
        &mut self,
        name: &str,
        message: &Outgoing<'_>,
        now: i64,
    ) -> Result<(String, i64), Refusal> {
        let (id, seq) = (Uuid::new_v4().to_string(), self.next_seq(now));
        let queue = self.queue(name)?;
        if let Some(dedup_id) = &message.dedup_id {
            let by_group = queue.attributes.is("DeduplicationScope", "messageGroup");
            let scope = message.group_id.filter(|_| by_group).unwrap_or_default();
            let oldest = seq_at(now - DEDUPLICATION);
            self.run("DELETE FROM sent WHERE seq <= ?1", [oldest])?;
            let sent = "SELECT id, seq FROM sent WHERE queue = ?1 AND scope = ?2 AND dedup_id = ?3";
            let values = params![queue.row, scope, dedup_id];
            if let Some(sent) = self.first(sent, values, |row| row.try_into())? {
                return Ok(sent);
            }
            let insert = "INSERT INTO sent VALUES (?1, ?2, ?3, ?4, ?5)";
            self.run(insert, params![queue.row, scope, dedup_id, id, seq])?;
        }
        let insert = "INSERT INTO message (seq, queue, id, visible_at, receive_count, group_id,
            dedup_id, trace, attributes, body) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8, ?9)";
        let values = params![
            seq,
            queue.row,
            id,
            now + message.delay_seconds * 1000,
            message.group_id,
            message.dedup_id,
            message.trace,
            to_json(message.attributes),
            message.body,
        ];
        self.run(insert, values)?;
        self.wake(name);
        self.moved.push((Move::Sent, name.to_owned(), id.clone()));
        Ok((id, seq))
    }

    /// Receives up to `most` messages with all their attributes, and moves those that were received
    /// too often to the dead-letter queue.
    pub(super) fn receive(
        &mut self,
        name: &str,
        most: usize,
        visibility_timeout: Option<i64>,
        now: i64,
    ) -> Result<Vec<Message>, Refusal> {
        self.expire(name, now)?;
        let queue = self.queue(name)?;
        let (_, in_flight) = self.hidden(queue, now)?;
        let room = MOST_IN_FLIGHT.saturating_sub(in_flight);
        if room == 0 && !queue.attributes.is_fifo() {
            let message = format!("The queue has {MOST_IN_FLIGHT} messages in flight.");
            return Err(refuse("OverLimit", message));
        }
        let default = queue.attributes.number("VisibilityTimeout");
        let visible_at = now + visibility_timeout.unwrap_or(default) * 1000;
        let redrive = queue.attributes.redrive();
        let redrive = redrive.filter(|it| self.queues.contains_key(&it.target));
        let max_receive_count = redrive.as_ref().map_or(i64::MAX, |it| it.max_receive_count);
        let picked = self.pick(queue, most.min(room), max_receive_count, now)?;
        for (seq, redrive) in picked.dead.into_iter().zip(redrive.iter().cycle()) {
            self.bury(seq, name, &redrive.target, now)?;
        }
        let received = picked.ready.into_iter().filter_map(|seq| {
            let received = self.first(RECEIVE, [seq, visible_at, now], message);
            received.transpose()
        });
        Ok(received.collect::<Result<_, _>>()?)
    }

    /// The messages that can be received now: those of a standard queue in the order in which they
    /// became visible; those of a FIFO queue group by group, each in the order of sending.
    fn pick(
        &self,
        queue: &Queue,
        most: usize,
        max_receive_count: i64,
        now: i64,
    ) -> Result<Picked, rusqlite::Error> {
        let mut picked = Picked::default();
        let take = |picked: &mut Picked, mut rows: Rows<'_>| {
            while picked.ready.len() < most {
                let Some(row) = rows.next()? else { break };
                let (seq, receive_count, visible_at): (_, i64, i64) = row.try_into()?;
                match receive_count < max_receive_count {
                    _ if visible_at > now => break,
                    true => picked.ready.push(seq),
                    false => picked.dead.push(seq),
                }
            }
            Ok::<_, rusqlite::Error>(())
        };
        if !queue.attributes.is_fifo() {
            let mut by_time = self.connection.prepare_cached(BY_TIME)?;
            take(&mut picked, by_time.query([queue.row])?)?;
            return Ok(picked);
        }
        let mut of_group = self.connection.prepare_cached(OF_GROUP)?;
        let mut taken: Vec<String> = Vec::new();
        while picked.ready.len() < most {
            let others = params![queue.row, now, to_json(&taken)];
            let Some(group) = self.first(NEXT_GROUP, others, |row| row.get(0))? else {
                break;
            };
            take(&mut picked, of_group.query(params![queue.row, group])?)?;
            taken.push(group);
        }
        Ok(picked)
    }

    /// Moves a message to the dead-letter queue. It keeps its id and its receive count.
    fn bury(&mut self, seq: i64, from: &str, to: &str, now: i64) -> Result<(), Refusal> {
        // In a FIFO queue it goes to the end, and its retention begins anew; in a standard one not.
        let end = self.next_seq(now);
        let target = self.queue(to)?;
        let fifo = target.attributes.is_fifo();
        let place = if fifo { end } else { seq };
        let update = "UPDATE message SET seq = ?2, queue = ?3, visible_at = ?4, source = ?5
            WHERE seq = ?1 RETURNING id";
        let values = params![seq, place, target.row, now, from];
        let id = self.first(update, values, |row| row.get(0))?;
        self.wake(to);
        let moved = id.map(|id| (Move::Dead, from.to_owned(), id));
        self.moved.extend(moved);
        Ok(())
    }

    /// Moves up to `most` messages that are visible in a dead-letter queue to another queue, or to
    /// where each came from. They are new messages there, with a new id. Returns how many.
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html>
    pub(super) fn redrive(
        &mut self,
        from: &str,
        to: Option<&str>,
        most: usize,
        now: i64,
    ) -> Result<usize, Refusal> {
        self.expire(from, now)?;
        let picked = self.pick(self.queue(from)?, most, i64::MAX, now)?;
        let source = "SELECT source FROM message WHERE seq = ?1";
        let update = "UPDATE message SET seq = ?2, queue = ?3, id = ?4, visible_at = ?5,
            receive_count = 0, first_received = NULL, last_received = NULL, source = NULL
            WHERE seq = ?1";
        for seq in &picked.ready {
            let source: Option<String> = self.first(source, [seq], |row| row.get(0))?.flatten();
            let to = to.or(source.as_deref()).ok_or_else(|| Refusal {
                query_error: Some("CouldNotDetermineMessageSource".to_owned()),
                ..refuse("ResourceNotFoundException", "The message has no source.")
            })?;
            let (end, id) = (self.next_seq(now), Uuid::new_v4().to_string());
            let row = self.queue(to)?.row;
            self.run(update, params![seq, end, row, id, now])?;
            self.wake(to);
        }
        Ok(picked.ready.len())
    }

    /// Deletes a message. An old handle, of a receive before the last one, deletes nothing.
    pub(super) fn delete(&mut self, name: &str, handle: &str, now: i64) -> Result<(), Refusal> {
        if let Some((seq, ..)) = self.received(name, handle, now)? {
            self.run("DELETE FROM message WHERE seq = ?1", [seq])?;
            self.wake(name); // for those behind it in a group
        }
        Ok(())
    }

    /// Hides a received message for so many seconds from now; 0 gives it back.
    pub(super) fn change_visibility(
        &mut self,
        name: &str,
        handle: &str,
        seconds: i64,
        now: i64,
    ) -> Result<(), Refusal> {
        let Some((seq, last_received, _)) = self.received(name, handle, now)? else {
            let reason = "Message does not exist or is not available for visibility change.";
            return Err(invalid_value(handle, "ReceiptHandle", reason));
        };
        if (now - last_received) / 1000 + seconds > MOST_INVISIBLE_SECONDS {
            let reason = "Total VisibilityTimeout for the message is beyond the limit";
            let reason = format!("{reason} [{MOST_INVISIBLE_SECONDS} seconds]");
            return Err(invalid_value(seconds, "VisibilityTimeout", &reason));
        }
        let update = "UPDATE message SET visible_at = ?2 WHERE seq = ?1";
        self.run(update, [seq, now + seconds * 1000])?;
        self.wake(name);
        Ok(())
    }

    /// The place of a message, when it was received last, and until when it is invisible; none if
    /// the handle is old or the message gone. In a FIFO queue a handle expires with the visibility
    /// timeout.
    fn received(
        &self,
        name: &str,
        handle: &str,
        now: i64,
    ) -> Result<Option<(i64, i64, i64)>, Refusal> {
        let queue = self.queue(name)?;
        let receipt = Receipt::parse(handle)?;
        if receipt.queue != queue.row {
            return Err(bad_handle(handle));
        }
        let select = "SELECT seq, last_received, visible_at FROM message
            WHERE seq = ?1 AND queue = ?2 AND receive_count = ?3 AND id = ?4";
        let values = params![receipt.seq, queue.row, receipt.receive_count, receipt.id];
        let found: Option<(_, _, i64)> = self.first(select, values, |row| row.try_into())?;
        match found {
            Some((.., visible_at)) if visible_at <= now && queue.attributes.is_fifo() => {
                let reason = "The receipt handle has expired.";
                Err(invalid_value(handle, "ReceiptHandle", reason))
            }
            found => Ok(found),
        }
    }

    /// How many messages the queue holds.
    pub(super) fn depth(&self, name: &str, now: i64) -> Result<Depth, Refusal> {
        self.expire(name, now)?;
        let queue = self.queue(name)?;
        let visible = "SELECT count(*) FROM message WHERE queue = ?1 AND visible_at <= ?2";
        let visible = self.first(visible, [queue.row, now], |row| row.get::<_, u64>(0))?;
        let (hidden, in_flight) = self.hidden(queue, now)?;
        Ok(Depth {
            visible: visible.unwrap_or(0),
            in_flight: in_flight as u64,
            delayed: (hidden - in_flight) as u64,
        })
    }

    /// How many messages are invisible, and how many of them because they were received.
    fn hidden(&self, queue: &Queue, now: i64) -> Result<(usize, usize), rusqlite::Error> {
        let hidden = "SELECT count(*), count(last_received) FROM message
            WHERE queue = ?1 AND visible_at > ?2";
        let hidden = self.first(hidden, [queue.row, now], |row| row.try_into())?;
        Ok(hidden.unwrap_or_default())
    }

    /// When the next message becomes visible by itself.
    pub(super) fn next_visible(&self, name: &str, now: i64) -> Result<Option<i64>, Refusal> {
        let row = self.queue(name)?.row;
        let next = "SELECT min(visible_at) FROM message WHERE queue = ?1 AND visible_at > ?2";
        Ok(self.first(next, [row, now], |row| row.get(0))?.flatten())
    }

    /// Deletes what is older than the queue retains, in flight or not.
    fn expire(&self, name: &str, now: i64) -> Result<(), Refusal> {
        let queue = self.queue(name)?;
        let retention = queue.attributes.number("MessageRetentionPeriod") * 1000;
        let delete = "DELETE FROM message WHERE queue = ?1 AND seq <= ?2";
        self.run(delete, [queue.row, seq_at(now - retention)])?;
        Ok(())
    }

    fn next_seq(&mut self, now: i64) -> i64 {
        self.last_seq = (self.last_seq + 1).max(seq_at(now));
        self.last_seq
    }
}

/// The place before the first message that is sent in this millisecond: there is room for a million.
pub(super) fn seq_at(ms: i64) -> i64 {
    ms << 20
}

/// The place of a message in the order of its queue, in as many digits as AWS's.
pub(super) fn sequence_number(seq: i64) -> String {
    format!("{seq:020}")
}

fn bad_handle(handle: &str) -> Refusal {
    let message = format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
    refuse("ReceiptHandleIsInvalid", message)
}

impl Receipt {
    fn to_handle(&self) -> String {
        let (place, receive_count) = (self.seq, self.receive_count);
        BASE64.encode(format!(
            "{}:{place}:{receive_count}:{}",
            self.queue, self.id
        ))
    }

    fn parse(handle: &str) -> Result<Receipt, Refusal> {
        if handle.is_empty() {
            return Err(missing("ReceiptHandle"));
        }
        let read = || {
            let text = String::from_utf8(BASE64.decode(handle).ok()?).ok()?;
            let mut parts = text.split(':');
            let mut number = || parts.next()?.parse().ok();
            Some(Receipt {
                queue: number()?,
                seq: number()?,
                receive_count: number()?,
                id: parts.next()?.to_owned(),
            })
        };
        read().ok_or_else(|| bad_handle(handle))
    }
}

/// A message with all its attributes, from the columns that a receive returns.
fn message(row: &Row<'_>) -> Result<Message, rusqlite::Error> {
    let receipt = Receipt {
        seq: row.get(0)?,
        queue: row.get(1)?,
        id: row.get(2)?,
        receive_count: row.get("receive_count")?,
    };
    let body: String = row.get("body")?;
    let message_attributes: MessageAttributes = from_json(row, 3)?;
    let dedup_id: Option<String> = row.get("dedup_id")?;
    let fifo = dedup_id.is_some();
    let first_received = row.get::<_, i64>("first_received")?.to_string();
    let received = receipt.receive_count.to_string();
    let source: Option<String> = row.get("source")?;
    let attributes = [
        ("SenderId", Some(ACCOUNT.to_owned())),
        ("SentTimestamp", Some((receipt.seq >> 20).to_string())),
        ("ApproximateReceiveCount", Some(received)),
        ("ApproximateFirstReceiveTimestamp", Some(first_received)),
        ("AWSTraceHeader", row.get("trace")?),
        ("DeadLetterQueueSourceArn", source.as_deref().map(queue_arn)),
        ("MessageGroupId", row.get("group_id")?),
        ("MessageDeduplicationId", dedup_id),
        ("SequenceNumber", fifo.then(|| sequence_number(receipt.seq))),
    ];
    let attributes = attributes
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    Ok(Message {
        receipt_handle: receipt.to_handle(),
        message_id: receipt.id,
        md5_of_body: md5(body.as_bytes()),
        body,
        attributes: attributes.collect(),
        md5_of_message_attributes: digest(&message_attributes),
        message_attributes,
    })
}
