//! Error answers with the status, type, message and headers that DynamoDB and SQS send. SDKs use
//! these to decide whether to retry.
//!
//! [Errors of DynamoDB](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html),
//! [errors of SQS](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html).

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::aws_json::Refusal;
use crate::faults::{Kind, Strike};

const DYNAMODB: &str = "com.amazonaws.dynamodb.v20120810";
const CONFLICT: &str = "Transaction is ongoing for the item";

/// The answer that AWS sends for this fault; `None` for a fault without an answer.
pub(super) fn answer(strike: &mut Strike, operation: &str, request: &[u8]) -> Option<Refusal> {
    let sqs = operation.starts_with("SQS.");
    let (status, kind, message) = match strike.kind {
        Kind::ProvisionedThroughputExceeded => (
            400,
            format!("{DYNAMODB}#ProvisionedThroughputExceededException"),
            "The level of configured provisioned throughput for the table was exceeded. \
             Consider increasing your provisioning level with the UpdateTable API.",
        ),
        Kind::Throttling if sqs => (
            400,
            "com.amazonaws.sqs#RequestThrottled".to_owned(),
            "Request is throttled.",
        ),
        Kind::Throttling => (
            400,
            "com.amazon.coral.availability#ThrottlingException".to_owned(),
            "Throughput exceeds the current capacity of your table or index. DynamoDB is \
             automatically scaling your table or index so please try again shortly.",
        ),
        Kind::InternalError if sqs => (
            500,
            "com.amazon.coral.service#InternalFailure".to_owned(),
            "The request processing has failed because of an unknown error, exception or failure.",
        ),
        Kind::InternalError => (
            500,
            format!("{DYNAMODB}#InternalServerError"),
            "Internal server error",
        ),
        Kind::ServiceUnavailable => (
            503,
            "com.amazon.coral.service#ServiceUnavailableException".to_owned(),
            "The request has failed due to a temporary failure of the server.",
        ),
        Kind::TransactionConflict if operation.contains("Transact") => {
            return Some(cancelled(strike, request));
        }
        Kind::TransactionConflict => (
            400,
            format!("{DYNAMODB}#TransactionConflictException"),
            CONFLICT,
        ),
        Kind::TransactionInProgress => (
            400,
            format!("{DYNAMODB}#TransactionInProgressException"),
            "The transaction with the given request token is already in progress.",
        ),
        _ => return None,
    };
    Some(error(operation, status, &kind, message))
}

/// A transaction cancelled because one of its items conflicts with another transaction.
fn cancelled(strike: &mut Strike, request: &[u8]) -> Refusal {
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    let items = request["TransactItems"]
        .as_array()
        .map_or(1, Vec::len)
        .max(1);
    let struck = strike.random.usize(..items);
    let mut codes = vec!["None"; items];
    codes[struck] = "TransactionConflict";
    let reason = |code: &&str| match *code {
        "None" => json!({"Code": code}),
        _ => json!({"Code": code, "Message": CONFLICT}),
    };
    let message = format!(
        "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
        codes.join(", ")
    );
    let body = json!({
        "__type": format!("{DYNAMODB}#TransactionCanceledException"),
        "CancellationReasons": codes.iter().map(reason).collect::<Vec<_>>(),
        "Message": message,
    });
    let kind = format!("{DYNAMODB}#TransactionCanceledException");
    Refusal {
        body: Some(body.to_string().into()),
        ..Refusal::new(StatusCode::BAD_REQUEST, &kind, message)
    }
}

pub(super) fn error(operation: &str, status: u16, kind: &str, message: &str) -> Refusal {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut refusal = Refusal::new(status, kind, message);
    if operation.starts_with("SQS.") {
        refusal.query_error = Some(refusal.name().to_owned());
    }
    refusal
}

/// A batch read that is carried out only in part.
pub(super) struct PartialRead {
    /// The request for that part.
    pub(super) request: Bytes,
    /// The rest, as `UnprocessedKeys` has it.
    left_out: serde_json::Map<String, Value>,
}

impl PartialRead {
    /// Leaves out some keys, but never all: if DynamoDB can read none, it answers with an error.
    /// `None` if there is only one key.
    pub(super) fn of(strike: &mut Strike, request: &[u8]) -> Option<PartialRead> {
        let mut request: Value = serde_json::from_slice(request).ok()?;
        let tables = request.get_mut("RequestItems")?.as_object_mut()?;
        let keys = |table: &Value| table["Keys"].as_array().map_or(0, Vec::len);
        let all: usize = tables.values().map(keys).sum();
        if all < 2 {
            return None;
        }
        // At least one key is left out, at least one is kept, and chance decides on the others.
        let out = strike.random.usize(..all);
        let kept = (out + 1 + strike.random.usize(..all - 1)) % all;
        let mut position = 0;
        let mut left_out = serde_json::Map::new();
        for (name, table) in tables.iter_mut() {
            let Some(keys) = table.get_mut("Keys").and_then(Value::as_array_mut) else {
                continue;
            };
            let (mut stay, mut leave) = (Vec::new(), Vec::new());
            for key in keys.drain(..) {
                let leaves = position == out || (position != kept && strike.random.bool());
                if leaves { &mut leave } else { &mut stay }.push(key);
                position += 1;
            }
            *keys = stay;
            if !leave.is_empty() {
                let mut rest = table.clone();
                rest["Keys"] = leave.into();
                left_out.insert(name.clone(), rest);
            }
        }
        tables.retain(|_, table| keys(table) > 0);
        Some(PartialRead {
            request: request.to_string().into(),
            left_out,
        })
    }

    /// Adds the keys left out to the answer for the part.
    pub(super) fn complete(self, answer: &mut Bytes) {
        let Ok(mut body) = serde_json::from_slice::<Value>(answer) else {
            return;
        };
        for (name, rest) in self.left_out {
            let unprocessed = &mut body["UnprocessedKeys"][name.as_str()];
            let also = unprocessed["Keys"].as_array().cloned().unwrap_or_default();
            *unprocessed = rest;
            if let Some(keys) = unprocessed["Keys"].as_array_mut() {
                keys.extend(also);
            }
        }
        *answer = body.to_string().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strike(kind: Kind, seed: u64) -> Strike {
        Strike {
            kind,
            ms: 0,
            seconds: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    fn key(number: usize) -> Value {
        json!({"id": {"S": number.to_string()}})
    }

    #[test]
    fn a_conflict_strikes_one_item_of_a_transaction() {
        let request = json!({"TransactItems": [{}, {}, {}]}).to_string();
        for seed in 0..20 {
            let mut strike = strike(Kind::TransactionConflict, seed);
            let refusal = answer(
                &mut strike,
                "DynamoDB.TransactWriteItems",
                request.as_bytes(),
            )
            .unwrap();
            assert_eq!(refusal.status, 400);
            let body: Value = serde_json::from_slice(&refusal.body()).unwrap();
            let reasons = body["CancellationReasons"].as_array().unwrap();
            let conflicts = reasons
                .iter()
                .filter(|reason| reason["Code"] == "TransactionConflict");
            assert_eq!((reasons.len(), conflicts.count()), (3, 1), "{body}");
        }
    }

    #[test]
    fn a_partial_read_leaves_out_some_keys_and_reads_the_others() {
        for seed in 0..200 {
            let count = 2 + usize::try_from(seed).unwrap() % 5;
            let keys: Vec<_> = (0..count).map(key).collect();
            let request = json!({"RequestItems": {
                "one": {"Keys": keys[..1], "ConsistentRead": true},
                "two": {"Keys": keys[1..], "ProjectionExpression": "#id"},
            }});
            let mut strike = strike(Kind::UnprocessedKeys, seed);
            let partial = PartialRead::of(&mut strike, request.to_string().as_bytes()).unwrap();
            let sent: Value = serde_json::from_slice(&partial.request).unwrap();
            let mut body = Bytes::from_static(b"{\"UnprocessedKeys\":{}}");
            partial.complete(&mut body);
            let answered: Value = serde_json::from_slice(&body).unwrap();

            let of = |tables: &Value| -> Vec<Value> {
                let tables = tables.as_object().unwrap().values();
                tables
                    .flat_map(|table| table["Keys"].as_array().unwrap().clone())
                    .collect()
            };
            let (read, left) = (of(&sent["RequestItems"]), of(&answered["UnprocessedKeys"]));
            assert!(!read.is_empty() && !left.is_empty(), "{sent} {answered}");
            let mut together = [read, left].concat();
            together.sort_by_key(|key| key["id"]["S"].as_str().unwrap().to_owned());
            assert_eq!(together, keys);
            for (name, table) in answered["UnprocessedKeys"].as_object().unwrap() {
                let mut whole = request["RequestItems"][name].clone();
                whole["Keys"] = table["Keys"].clone();
                assert_eq!(*table, whole, "what else was asked of the table stays");
            }
        }
    }

    #[test]
    fn a_read_of_one_key_is_never_partial() {
        let request = json!({"RequestItems": {"one": {"Keys": [key(1)]}}}).to_string();
        let mut strike = strike(Kind::UnprocessedKeys, 1);
        assert!(PartialRead::of(&mut strike, request.as_bytes()).is_none());
    }
}
