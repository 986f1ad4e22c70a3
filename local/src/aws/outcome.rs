//! Sorts the answers of DynamoDB and SQS, and finds out what a call is about.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::aws_json::Refusal;
use crate::events::Outcome;

/// A transaction that only conditions cancelled counts as one condition that did not hold.
pub(super) fn of(refusal: &Refusal) -> Outcome {
    match refusal.name() {
        "ConditionalCheckFailedException" => Outcome::ConditionalFailure,
        "TransactionCanceledException" => {
            let body: Value = serde_json::from_slice(&refusal.body()).unwrap_or_default();
            let reasons = body["CancellationReasons"].as_array().into_iter().flatten();
            let codes = reasons.map(|reason| reason["Code"].as_str());
            let mut codes = codes.filter(|code| *code != Some("None")).peekable();
            if codes.peek().is_some() && codes.all(|it| it == Some("ConditionalCheckFailed")) {
                Outcome::ConditionalFailure
            } else {
                Outcome::Error
            }
        }
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "RequestThrottled" => Outcome::Throttle,
        _ => Outcome::Error,
    }
}

/// The members of requests that name a table or a queue.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Named {
    table_name: String,
    queue_url: String,
    request_items: BTreeMap<String, IgnoredAny>,
    transact_items: Vec<BTreeMap<String, Named>>,
}

/// The tables of a request, or its queue, by the names in it, without those that come twice.
pub(super) fn resources(body: &[u8]) -> Vec<String> {
    // What cannot be read names nothing; the service itself refuses it.
    let named: Named = serde_json::from_slice(body).unwrap_or_default();
    let queue = named.queue_url.rsplit('/').next().unwrap_or_default();
    let items = named.transact_items.into_iter().flatten();
    let mut names = vec![named.table_name, queue.to_owned()];
    names.extend(named.request_items.into_keys());
    names.extend(items.map(|(_, item)| item.table_name));
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names
}

/// Requests that read from tables and change nothing.
const READS: [&str; 5] = [
    "GetItem",
    "BatchGetItem",
    "Query",
    "Scan",
    "TransactGetItems",
];

/// The fingerprint of a read ([`Call::fingerprint`](crate::events::Call::fingerprint)). Members count in any order: the
/// maps of an SDK have none.
pub(super) fn fingerprint(secret: &impl BuildHasher, name: &str, body: &[u8]) -> Option<u64> {
    if !READS.contains(&name) {
        return None;
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    let hash = secret.hash_one((name, body));
    Some(hash >> (u64::BITS - f64::MANTISSA_DIGITS))
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;

    fn outcome_of(body: &str) -> Outcome {
        let parsed: serde_json::Value = serde_json::from_str(body).unwrap();
        let kind = parsed["__type"].as_str().unwrap();
        let mut refusal = Refusal::new(http::StatusCode::BAD_REQUEST, kind, "");
        refusal.body = Some(body.to_owned().into());
        of(&refusal)
    }

    #[test]
    fn a_failed_condition_is_not_an_error() {
        let alone =
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"}"#;
        assert_eq!(outcome_of(alone), Outcome::ConditionalFailure);
        let in_transaction = r#"{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "CancellationReasons":[{"Code":"None"},{"Code":"ConditionalCheckFailed","Message":"m"}]}"#;
        assert_eq!(outcome_of(in_transaction), Outcome::ConditionalFailure);
    }

    #[test]
    fn a_transaction_cancelled_for_another_reason_is_an_error() {
        for codes in [
            r#"{"Code":"TransactionConflict"}"#,
            r#"{"Code":"ConditionalCheckFailed"},{"Code":"ValidationError"}"#,
            r#"{"Code":"None"}"#,
        ] {
            let body = format!(
                r#"{{"__type":"x#TransactionCanceledException","CancellationReasons":[{codes}]}}"#
            );
            assert_eq!(outcome_of(&body), Outcome::Error, "{codes}");
        }
    }

    #[test]
    fn throttles_are_counted_apart_from_errors() {
        let throttle = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}"#;
        assert_eq!(outcome_of(throttle), Outcome::Throttle);
        let error = r#"{"__type":"com.amazon.coral.validate#ValidationException"}"#;
        assert_eq!(outcome_of(error), Outcome::Error);
    }

    #[test]
    fn a_request_names_its_tables_or_its_queue() {
        for (body, names) in [
            (r#"{"TableName":"Products","Key":{}}"#, vec!["Products"]),
            (
                r#"{"QueueUrl":"https://127.0.0.1:1/000000000000/Orders"}"#,
                vec!["Orders"],
            ),
            (
                r#"{"RequestItems":{"b":{"Keys":[]},"a":[]}}"#,
                vec!["a", "b"],
            ),
            (
                r#"{"TransactItems":[{"Put":{"TableName":"b"}},{"Update":{"TableName":"a"}},{"Delete":{"TableName":"a"}}]}"#,
                vec!["a", "b"],
            ),
            ("{}", vec![]),
            ("nonsense", vec![]),
        ] {
            assert_eq!(resources(body.as_bytes()), names, "{body}");
        }
    }
    #[test]
    fn a_read_is_known_again_within_a_run_and_a_write_is_not_known() {
        let secret = RandomState::new();
        let read = |name, body: &str| fingerprint(&secret, name, body.as_bytes());
        let first = read("GetItem", r#"{"TableName":"a","Key":{"id":{"S":"1"}}}"#);
        assert!(first.is_some_and(|it| it < 1 << 53));
        let turned = r#"{"Key": {"id": {"S": "1"}}, "TableName": "a"}"#;
        assert_eq!(read("GetItem", turned), first);
        let other = r#"{"TableName":"a","Key":{"id":{"S":"2"}}}"#;
        assert_ne!(read("GetItem", other), first);
        assert_ne!(read("Query", turned), first);
        assert_ne!(
            fingerprint(&RandomState::new(), "GetItem", turned.as_bytes()),
            first,
            "in another run"
        );
        assert_eq!(read("PutItem", turned), None);
        assert_eq!(read("GetItem", "nonsense"), None);
    }
}
