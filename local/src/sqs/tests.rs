//! The store on a clock that the tests set: nothing here waits.

use std::collections::BTreeMap;

use super::message::{Message, MessageAttributes, digest};
use super::messages::{MOST_IN_FLIGHT, Outgoing};
use super::store::Store;
use crate::aws_json::Refusal;
use crate::events::Depth;

/// Some time in 2026, in ms.
const START: i64 = 1_790_000_000_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A store with its clock.
struct Clocked {
    store: Store,
    now: i64,
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    owned.collect()
}

fn redrive(target: &str, most: u32) -> String {
    let arn = super::queue_arn(target);
    format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{most}}}"#)
}

fn message(body: &str) -> Outgoing<'_> {
    static NONE: MessageAttributes = BTreeMap::new();
    Outgoing {
        body,
        attributes: &NONE,
        trace: None,
        delay_seconds: 0,
        group_id: None,
        dedup_id: None,
    }
}

impl Clocked {
    fn new() -> Clocked {
        let store = Store::open(None).unwrap();
        Clocked { store, now: START }
    }

    fn with(queue: &str, attributes: &[(&str, &str)]) -> Clocked {
        let mut it = Clocked::new();
        it.create(queue, attributes);
        it
    }

    fn create(&mut self, queue: &str, attributes: &[(&str, &str)]) {
        let fifo = queue.ends_with(".fifo").then_some(("FifoQueue", "true"));
        let attributes: Vec<_> = attributes.iter().copied().chain(fifo).collect();
        let (attributes, tags) = (map(&attributes), map(&[]));
        self.store
            .create(queue, &attributes, &tags, self.now)
            .unwrap();
    }

    fn send(&mut self, queue: &str, body: &str) -> String {
        self.store.send(queue, &message(body), self.now).unwrap().0
    }

    /// Sends to a FIFO queue; the body is the deduplication id too. Returns the message's id.
    fn send_to_group(&mut self, queue: &str, group: &str, body: &str) -> String {
        self.deduplicated(queue, group, body, body)
    }

    fn deduplicated(&mut self, queue: &str, group: &str, dedup_id: &str, body: &str) -> String {
        let message = Outgoing {
            group_id: Some(group),
            dedup_id: Some(dedup_id.to_owned()),
            ..message(body)
        };
        self.store.send(queue, &message, self.now).unwrap().0
    }

    fn receive(&mut self, queue: &str) -> Vec<Message> {
        self.store.receive(queue, 10, None, self.now).unwrap()
    }

    fn bodies(&mut self, queue: &str) -> Vec<String> {
        let received = self.receive(queue).into_iter();
        received.map(|message| message.body).collect()
    }

    /// Visible, in flight, delayed.
    fn depth(&mut self, queue: &str) -> (u64, u64, u64) {
        let Depth {
            visible,
            in_flight,
            delayed,
        } = self.store.depth(queue, self.now).unwrap();
        (visible, in_flight, delayed)
    }

    fn delete(&mut self, queue: &str, message: &Message) -> Result<(), Refusal> {
        self.store.delete(queue, &message.receipt_handle, self.now)
    }
}

#[test]
fn a_received_message_is_invisible_until_its_timeout_and_then_has_another_handle() {
    let mut it = Clocked::with("q", &[("VisibilityTimeout", "30")]);
    it.send("q", "one");
    let first = it.receive("q").remove(0);
    it.now += 30 * SECOND - 1;
    assert!(it.receive("q").is_empty());
    assert_eq!(it.store.next_visible("q", it.now), Ok(Some(it.now + 1)));
    it.now += 1;
    let second = it.receive("q").remove(0);
    assert_eq!(second.message_id, first.message_id);
    assert_ne!(second.receipt_handle, first.receipt_handle);
    let attribute = |message: &Message, name| message.attributes[name].clone();
    let received = "ApproximateReceiveCount";
    assert_eq!(attribute(&first, received), "1");
    assert_eq!(attribute(&second, received), "2");
    let when = "ApproximateFirstReceiveTimestamp";
    assert_eq!(attribute(&second, when), START.to_string());
    assert_eq!(attribute(&second, "SentTimestamp"), START.to_string());

    // The old handle deletes nothing; the new one does, even after its timeout.
    it.delete("q", &first).unwrap();
    it.now += HOUR;
    assert_eq!(it.depth("q"), (1, 0, 0));
    it.delete("q", &second).unwrap();
    assert_eq!(it.depth("q"), (0, 0, 0));
    it.delete("q", &second).unwrap();
}

#[test]
fn a_receive_may_have_its_own_visibility_timeout() {
    let mut it = Clocked::with("q", &[]);
    it.send("q", "one");
    for _ in 0..3 {
        let received = it.store.receive("q", 10, Some(0), it.now).unwrap();
        assert_eq!(received.len(), 1);
    }
    let received = it.store.receive("q", 10, Some(5), it.now).unwrap();
    assert_eq!(received.len(), 1);
    it.now += 5 * SECOND - 1;
    assert!(it.receive("q").is_empty());
    it.now += 1;
    assert_eq!(it.receive("q").len(), 1);
}

#[test]
fn visibility_can_be_shortened_and_extended_to_twelve_hours_from_the_receive() {
    let mut it = Clocked::with("q", &[]);
    it.send("q", "one");
    let handle = it.receive("q").remove(0).receipt_handle;
    it.now += HOUR;
    let mut change = |seconds| {
        let now = it.now;
        it.store.change_visibility("q", &handle, seconds, now)
    };
    let refused = change(11 * 3_600 + 1).unwrap_err();
    assert!(refused.message.contains("beyond the limit"), "{refused}");
    change(11 * 3_600).unwrap();
    assert_eq!(it.depth("q"), (0, 1, 0));
    it.store.change_visibility("q", &handle, 0, it.now).unwrap();
    assert_eq!(it.depth("q"), (1, 0, 0));
    it.receive("q");
    let refused = it.store.change_visibility("q", &handle, 1, it.now);
    assert_eq!(
        refused.unwrap_err().query_error.as_deref(),
        Some("InvalidParameterValue")
    );
}

#[test]
fn a_delayed_message_is_not_there_yet() {
    let mut it = Clocked::with("q", &[]);
    let delayed = Outgoing {
        delay_seconds: 900,
        ..message("late")
    };
    it.store.send("q", &delayed, it.now).unwrap();
    it.send("q", "now");
    assert_eq!(it.depth("q"), (1, 0, 1));
    assert_eq!(it.bodies("q"), ["now"]);
    assert_eq!(it.depth("q"), (0, 1, 1));
    it.now += 900 * SECOND;
    assert_eq!(it.bodies("q"), ["now", "late"]);
}

#[test]
fn messages_are_gone_after_the_retention_period_in_flight_or_not() {
    let mut it = Clocked::with("q", &[("MessageRetentionPeriod", "60")]);
    it.send("q", "one");
    let received = it.receive("q").remove(0);
    it.now += SECOND;
    it.send("q", "two");
    it.now += 59 * SECOND - 1;
    assert_eq!(it.depth("q"), (2, 0, 0));
    it.now += 1;
    assert_eq!(it.depth("q"), (1, 0, 0));
    it.delete("q", &received).unwrap();
    it.now += SECOND;
    assert!(it.receive("q").is_empty());
}

#[test]
fn a_message_that_was_received_too_often_goes_to_the_dead_letter_queue_as_it_is() {
    let mut it = Clocked::with("dead", &[("MessageRetentionPeriod", "120")]);
    let policy = redrive("dead", 2);
    it.create(
        "q",
        &[("RedrivePolicy", &policy), ("VisibilityTimeout", "0")],
    );
    let id = it.send("q", "poison");
    it.now += MINUTE;
    assert_eq!(it.bodies("q"), ["poison"]);
    assert_eq!(it.bodies("q"), ["poison"]);
    assert!(it.bodies("q").is_empty());
    assert_eq!((it.depth("q"), it.depth("dead")), ((0, 0, 0), (1, 0, 0)));
    let dead = it.receive("dead").remove(0);
    assert_eq!(dead.message_id, id);
    assert_eq!(dead.attributes["ApproximateReceiveCount"], "3");
    assert_eq!(
        dead.attributes["DeadLetterQueueSourceArn"],
        super::queue_arn("q")
    );
    // It is as old as it was: the retention period counts from the first sending.
    assert_eq!(dead.attributes["SentTimestamp"], START.to_string());
    it.now += MINUTE;
    assert_eq!(it.depth("dead"), (0, 0, 0));
}

#[test]
fn the_others_are_received_while_a_dead_one_moves() {
    let mut it = Clocked::with("dead", &[]);
    it.create(
        "q",
        &[
            ("RedrivePolicy", &redrive("dead", 1)),
            ("VisibilityTimeout", "5"),
        ],
    );
    it.send("q", "poison");
    it.receive("q");
    it.now += 5 * SECOND;
    it.send("q", "good");
    assert_eq!(it.bodies("q"), ["good"]);
    assert_eq!(it.depth("dead"), (1, 0, 0));
}

#[test]
fn a_queue_that_is_its_own_dead_letter_queue_delivers_a_dead_message_no_more() {
    let mut it = Clocked::with("q", &[("VisibilityTimeout", "0")]);
    let policy = map(&[("RedrivePolicy", &redrive("q", 1))]);
    it.store.set_attributes("q", &policy, it.now).unwrap();
    it.send("q", "poison");
    assert_eq!(it.bodies("q"), ["poison"]);
    assert!(it.bodies("q").is_empty());
    assert_eq!(it.depth("q"), (1, 0, 0));
}

#[test]
fn without_its_dead_letter_queue_a_message_is_delivered_on() {
    let mut it = Clocked::with("dead", &[]);
    it.create(
        "q",
        &[
            ("RedrivePolicy", &redrive("dead", 1)),
            ("VisibilityTimeout", "0"),
        ],
    );
    it.send("q", "poison");
    it.store.delete_queue("dead").unwrap();
    for _ in 0..3 {
        assert_eq!(it.bodies("q"), ["poison"]);
    }
}

#[test]
fn a_group_is_received_in_order_and_one_receive_at_a_time() {
    let mut it = Clocked::with("q.fifo", &[]);
    for (group, body) in [
        ("a", "a1"),
        ("b", "b1"),
        ("a", "a2"),
        ("b", "b2"),
        ("a", "a3"),
    ] {
        it.send_to_group("q.fifo", group, body);
    }
    // As many of one group as there are, then the next group.
    let received = it.store.receive("q.fifo", 4, None, it.now).unwrap();
    let bodies: Vec<&str> = received.iter().map(|it| it.body.as_str()).collect();
    assert_eq!(bodies, ["a1", "a2", "a3", "b1"]);
    assert!(it.bodies("q.fifo").is_empty());
    // b2 is visible, and waits for b1.
    assert_eq!(it.depth("q.fifo"), (1, 4, 0));
    it.delete("q.fifo", &received[3]).unwrap();
    assert_eq!(it.bodies("q.fifo"), ["b2"]);
    // What comes back comes before what follows.
    it.send_to_group("q.fifo", "a", "a4");
    it.now += 30 * SECOND;
    assert_eq!(it.bodies("q.fifo"), ["a1", "a2", "a3", "a4", "b2"]);
}

#[test]
fn an_invisible_message_hides_those_behind_it_in_its_group_alone() {
    for (hidden, visible) in [(0, vec![]), (1, vec!["a0"]), (2, vec!["a0", "a1"])] {
        let mut it = Clocked::with("q.fifo", &[("VisibilityTimeout", "1")]);
        for number in 0..3 {
            it.send_to_group("q.fifo", "a", &format!("a{number}"));
        }
        let handle = it.receive("q.fifo").remove(hidden).receipt_handle;
        let now = it.now;
        it.store
            .change_visibility("q.fifo", &handle, 60, now)
            .unwrap();
        it.now += SECOND;
        assert_eq!(it.bodies("q.fifo"), visible, "{hidden}");
    }
}

#[test]
fn a_handle_of_a_fifo_queue_expires_with_the_visibility_timeout() {
    let mut it = Clocked::with("q.fifo", &[]);
    it.send_to_group("q.fifo", "a", "a1");
    let received = it.receive("q.fifo").remove(0);
    it.now += 30 * SECOND;
    let refused = it.delete("q.fifo", &received).unwrap_err();
    assert!(
        refused.message.ends_with("The receipt handle has expired."),
        "{refused}"
    );
    let refused = it
        .store
        .change_visibility("q.fifo", &received.receipt_handle, 5, it.now);
    assert!(refused.is_err());
    assert_eq!(it.bodies("q.fifo"), ["a1"]);
}

#[test]
fn a_duplicate_within_five_minutes_is_accepted_and_not_delivered() {
    let mut it = Clocked::with("q.fifo", &[]);
    let first = it.deduplicated("q.fifo", "a", "id", "first");
    it.now += 5 * MINUTE - 1;
    // Also for another group, and after the first was deleted.
    let received = it.receive("q.fifo").remove(0);
    it.delete("q.fifo", &received).unwrap();
    assert_eq!(it.deduplicated("q.fifo", "b", "id", "second"), first);
    assert_eq!(it.depth("q.fifo"), (0, 0, 0));
    it.now += 1;
    assert_ne!(it.deduplicated("q.fifo", "b", "id", "third"), first);
    assert_eq!(it.bodies("q.fifo"), ["third"]);
}

#[test]
fn deduplication_by_group_lets_another_group_have_the_same_id() {
    let scope = ("DeduplicationScope", "messageGroup");
    let mut it = Clocked::with("q.fifo", &[scope]);
    let first = it.deduplicated("q.fifo", "a", "id", "1");
    assert_eq!(it.deduplicated("q.fifo", "a", "id", "2"), first);
    assert_ne!(it.deduplicated("q.fifo", "b", "id", "3"), first);
    assert_eq!(it.bodies("q.fifo"), ["1", "3"]);
}

#[test]
fn a_dead_letter_of_a_fifo_queue_frees_its_group_and_goes_to_the_end() {
    let mut it = Clocked::with("dead.fifo", &[]);
    it.create(
        "q.fifo",
        &[
            ("RedrivePolicy", &redrive("dead.fifo", 1)),
            ("VisibilityTimeout", "1"),
        ],
    );
    it.send_to_group("q.fifo", "a", "poison");
    it.receive("q.fifo");
    it.now += SECOND;
    it.send_to_group("dead.fifo", "a", "before");
    it.send_to_group("q.fifo", "a", "good");
    assert_eq!(it.bodies("q.fifo"), ["good"]);
    assert_eq!(it.bodies("dead.fifo"), ["before", "poison"]);
}

#[test]
fn a_purge_empties_a_queue_once_a_minute_and_forgets_what_was_sent() {
    let mut it = Clocked::with("q.fifo", &[]);
    let first = it.send_to_group("q.fifo", "a", "a1");
    it.receive("q.fifo");
    it.store.purge("q.fifo", it.now).unwrap();
    assert_eq!(it.depth("q.fifo"), (0, 0, 0));
    assert_ne!(it.send_to_group("q.fifo", "a", "a1"), first);
    it.now += MINUTE - 1;
    let refused = it.store.purge("q.fifo", it.now).unwrap_err();
    assert_eq!(
        (refused.status.as_u16(), refused.query_error.as_deref()),
        (403, Some("AWS.SimpleQueueService.PurgeQueueInProgress"))
    );
    it.now += 1;
    it.store.purge("q.fifo", it.now).unwrap();
    assert_eq!(it.depth("q.fifo"), (0, 0, 0));
}

#[test]
fn no_more_messages_are_in_flight_than_aws_allows() {
    for (queue, over) in [("q", Some("OverLimit")), ("q.fifo", None)] {
        let mut it = Clocked::with(queue, &[]);
        let row = it.store.queue(queue).unwrap().row;
        let fill = "WITH RECURSIVE n(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n LIMIT ?2)
            INSERT INTO message (seq, queue, id, visible_at, receive_count, last_received,
                group_id, attributes, body)
            SELECT ?3 + n, ?1, n, ?4, 1, ?4, n, '{}', 'x' FROM n";
        let place = super::messages::seq_at(START);
        let values = [row, MOST_IN_FLIGHT as i64 - 2, place, START + 1];
        it.store.run(fill, values).unwrap();
        it.store.last_seq = place + 200_000;
        for number in 0..3 {
            it.send_to_group(queue, &format!("group {number}"), &number.to_string());
        }
        assert_eq!(it.receive(queue).len(), 2, "{queue}");
        let refused = it.store.receive(queue, 10, None, it.now);
        match over {
            Some(code) => assert_eq!(refused.unwrap_err().query_error.as_deref(), Some(code)),
            None => assert!(refused.unwrap().is_empty()),
        }
        it.now += 1;
        assert_eq!(it.receive(queue).len(), 10, "{queue}");
    }
}

#[test]
fn a_move_makes_new_messages_of_dead_ones() {
    let mut it = Clocked::with("dead", &[]);
    it.create(
        "q",
        &[
            ("RedrivePolicy", &redrive("dead", 1)),
            ("VisibilityTimeout", "0"),
        ],
    );
    it.create("other", &[]);
    let ids = ["one", "two", "three"].map(|body| it.send("q", body));
    it.receive("q");
    it.receive("q");
    assert_eq!(it.depth("dead"), (3, 0, 0));
    it.now += MINUTE;
    let moved = |it: &mut Clocked, to, most| it.store.redrive("dead", to, most, START + MINUTE);
    assert_eq!(moved(&mut it, Some("other"), 1), Ok(1));
    assert_eq!(moved(&mut it, None, 10), Ok(2));
    assert_eq!(moved(&mut it, None, 10), Ok(0));
    assert_eq!(it.bodies("other"), ["one"]);
    let back = it.receive("q");
    assert_eq!(back.len(), 2);
    for message in back {
        assert!(!ids.contains(&message.message_id));
        assert_eq!(message.attributes["ApproximateReceiveCount"], "1");
        assert_eq!(
            message.attributes["SentTimestamp"],
            (START + MINUTE).to_string()
        );
        assert!(!message.attributes.contains_key("DeadLetterQueueSourceArn"));
    }
    it.send("dead", "sent here");
    let refused = it.store.redrive("dead", None, 10, it.now).unwrap_err();
    assert_eq!(
        refused.query_error.as_deref(),
        Some("CouldNotDetermineMessageSource")
    );
}

#[test]
fn what_a_file_holds_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sqs.sqlite");
    let open = || Clocked {
        store: Store::open(Some(&file)).unwrap(),
        now: START,
    };
    let mut first = open();
    first.create("q.fifo", &[("DelaySeconds", "7")]);
    first
        .store
        .set_tags("q.fifo", map(&[("team", "shop")]))
        .unwrap();
    let id = first.send_to_group("q.fifo", "a", "a1");
    // Nothing closes it: the next one finds the write-ahead log, as after `kill -9`.
    let mut second = open();
    let queue = second.store.queue("q.fifo").unwrap();
    assert_eq!(queue.attributes.number("DelaySeconds"), 7);
    assert_eq!(queue.tags, map(&[("team", "shop")]));
    // Time has gone back, and the order of sending holds.
    second.now -= HOUR;
    second.send_to_group("q.fifo", "a", "a2");
    assert_eq!(second.send_to_group("q.fifo", "a", "a1"), id);
    second.now += 2 * HOUR;
    assert_eq!(second.bodies("q.fifo"), ["a1", "a2"]);
    drop(first);
}

#[test]
fn a_refused_call_changes_nothing() {
    let mut it = Clocked::with("q", &[]);
    let refused: Result<(), Refusal> = it.store.transaction(|store| {
        store.send("q", &message("one"), START)?;
        Err(super::error::no_queue())
    });
    assert!(refused.is_err());
    assert_eq!(it.depth("q"), (0, 0, 0));
    it.store
        .transaction(|store| store.send("q", &message("two"), START))
        .unwrap();
    assert_eq!(it.depth("q"), (1, 0, 0));
}

/// Recorded from AWS.
#[test]
fn digests_of_attributes_are_aws_s() {
    let text = |json: &str| {
        let attributes: MessageAttributes = serde_json::from_str(json).unwrap();
        digest(&attributes)
    };
    assert_eq!(text("{}"), None);
    let foo = r#"{"Foo": {"DataType": "String", "StringValue": "Bar"}}"#;
    assert_eq!(
        text(foo).as_deref(),
        Some("ae7155c6026991b6d54b11589678bf9c")
    );
    let three = r#"{"Help.Me": {"DataType": "String", "StringValue": "Me"},
        "Hello": {"DataType": "String", "StringValue": "There"},
        "General": {"DataType": "String", "StringValue": "Kenobi"}}"#;
    assert_eq!(
        text(three).as_deref(),
        Some("4c360f3fdafd970e05fae2f149d997f5")
    );
    let bytes = r#"{"attr1": {"DataType": "Binary", "BinaryValue":
        "dHJhY2VwYXJlbnQeMDAtNzc0MDYyZDZjMzcwODFhNWEwYjliNWI4OGUzMDYyN2MtMmQyNDgyMjExZjY0ODlkYS0wMQ=="}}"#;
    let recorded = "8cbe4db156db8a94db8b801b7addb984";
    assert_eq!(text(bytes).as_deref(), Some(recorded));
}
