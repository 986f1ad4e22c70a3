//! Learns the capacity that each DynamoDB call consumed, even if the caller did not ask for it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Capacity units of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Units {
    pub(super) read: f64,
    pub(super) write: f64,
}

#[derive(Clone, Copy)]
enum Side {
    Read,
    Write,
}

/// The operations that report their consumption. `PartiQL` does too, but its response does not say
/// whether it read or wrote, so it is left out.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ConsumedCapacity.html>
fn side(operation: &str) -> Option<Side> {
    match operation {
        "GetItem" | "Query" | "Scan" | "BatchGetItem" | "TransactGetItems" => Some(Side::Read),
        "PutItem" | "UpdateItem" | "DeleteItem" | "BatchWriteItem" | "TransactWriteItems" => {
            Some(Side::Write)
        }
        _ => None,
    }
}

/// A JSON object whose values are not parsed, so nothing below the first level changes.
type Members<'a> = BTreeMap<String, &'a RawValue>;

/// A call whose response will say what it consumed.
pub(super) struct Metered {
    side: Side,
    /// Whether the caller asked for it too.
    asked: bool,
}

impl Metered {
    /// Asks for the consumed capacity if the request does not. `None` if the operation does not
    /// report it, or if the body is not an object; the service then judges the body.
    pub(super) fn ask(operation: &str, body: &mut Bytes) -> Option<Metered> {
        let side = side(operation)?;
        let mut members: Members<'_> = serde_json::from_slice(body).ok()?;
        let asked = members
            .get("ReturnConsumedCapacity")
            .is_some_and(|value| !matches!(value.get(), "null" | "\"NONE\""));
        if !asked {
            let total: &RawValue = serde_json::from_str("\"TOTAL\"").ok()?;
            members.insert("ReturnConsumedCapacity".to_owned(), total);
            *body = serde_json::to_vec(&members).ok()?.into();
        }
        Some(Metered { side, asked })
    }

    /// Reads the units of a successful response, and removes them if the caller did not ask for
    /// them. True if the body was changed.
    pub(super) fn answer(&self, body: &mut Bytes) -> (Units, bool) {
        let Some((consumed, rest)) = split(body) else {
            return (Units::default(), false);
        };
        let units = match self.side {
            Side::Read => Units {
                read: consumed,
                write: 0.0,
            },
            Side::Write => Units {
                read: 0.0,
                write: consumed,
            },
        };
        if self.asked {
            return (units, false);
        }
        *body = rest;
        (units, true)
    }
}

/// One table's units, or a list of them from operations that may name several tables.
#[derive(Deserialize)]
#[serde(untagged)]
enum Consumed {
    One(Share),
    Several(Vec<Share>),
}

#[derive(Deserialize)]
struct Share {
    #[serde(rename = "CapacityUnits")]
    capacity_units: f64,
}

fn split(body: &Bytes) -> Option<(f64, Bytes)> {
    let mut members: Members<'_> = serde_json::from_slice(body).ok()?;
    let consumed = match serde_json::from_str(members.remove("ConsumedCapacity")?.get()).ok()? {
        Consumed::One(share) => share.capacity_units,
        Consumed::Several(shares) => shares.iter().map(|share| share.capacity_units).sum(),
    };
    Some((consumed, serde_json::to_vec(&members).ok()?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn asked(request: &'static str) -> (Option<Metered>, Value) {
        let mut body = Bytes::from_static(request.as_bytes());
        let metered = Metered::ask("GetItem", &mut body);
        (
            metered,
            serde_json::from_slice(&body).unwrap_or(Value::Null),
        )
    }

    #[test]
    fn a_request_that_does_not_ask_is_made_to_ask() {
        for request in [
            "{}",
            r#"{"ReturnConsumedCapacity": null}"#,
            r#"{"ReturnConsumedCapacity": "NONE"}"#,
        ] {
            let (metered, body) = asked(request);
            assert!(!metered.unwrap().asked, "{request}");
            assert_eq!(
                body,
                json!({"ReturnConsumedCapacity": "TOTAL"}),
                "{request}"
            );
        }
    }

    #[test]
    fn a_request_that_asks_is_left_as_it_is() {
        let (metered, body) = asked(r#"{"ReturnConsumedCapacity": "INDEXES", "TableName": "t"}"#);
        assert!(metered.unwrap().asked);
        assert_eq!(
            body,
            json!({"ReturnConsumedCapacity": "INDEXES", "TableName": "t"})
        );
    }

    #[test]
    fn a_body_that_is_not_an_object_is_left_to_the_service() {
        for request in ["", "[]", "{", "\"x\"", "null"] {
            let mut body = Bytes::from_static(request.as_bytes());
            assert!(Metered::ask("GetItem", &mut body).is_none(), "{request}");
            assert_eq!(body, request);
        }
    }

    #[test]
    fn nesting_that_a_recursive_parser_refuses_passes() {
        let deep = format!("{{\"Key\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let mut body = Bytes::from(deep);
        assert!(Metered::ask("GetItem", &mut body).is_some());
    }

    #[test]
    fn units_are_summed_and_taken_out() {
        let metered = Metered {
            side: Side::Write,
            asked: false,
        };
        let mut body = Bytes::from_static(
            br#"{"ConsumedCapacity":[{"TableName":"a","CapacityUnits":2.0},{"TableName":"b","CapacityUnits":1.5}],"UnprocessedItems":{}}"#,
        );
        let (units, changed) = metered.answer(&mut body);
        assert_eq!(
            units,
            Units {
                read: 0.0,
                write: 3.5
            }
        );
        assert!(changed);
        assert_eq!(body, r#"{"UnprocessedItems":{}}"#);
    }

    #[test]
    fn units_that_the_caller_asked_for_stay() {
        let metered = Metered {
            side: Side::Read,
            asked: true,
        };
        let response = r#"{"ConsumedCapacity":{"TableName":"a","CapacityUnits":0.5}}"#;
        let mut body = Bytes::from_static(response.as_bytes());
        assert_eq!(
            metered.answer(&mut body),
            (
                Units {
                    read: 0.5,
                    write: 0.0
                },
                false
            )
        );
        assert_eq!(body, response);
    }
}
