//! Sorts the answers of DynamoDB and SQS for the meter.

use serde::Deserialize;

use crate::aws_json::Refusal;
use crate::meter::Outcome;

/// The part of a refused transaction that says why.
#[derive(Deserialize)]
struct Reasons {
    #[serde(rename = "CancellationReasons", default)]
    reasons: Vec<Reason>,
}

/// Why one item cancelled its transaction.
#[derive(Deserialize)]
struct Reason {
    #[serde(rename = "Code")]
    code: String,
}

/// A transaction that only conditions cancelled counts as one condition that did not hold.
pub(super) fn of(refusal: &Refusal) -> Outcome {
    match refusal.kind.rsplit('#').next().unwrap_or_default() {
        "ConditionalCheckFailedException" => Outcome::ConditionalFailure,
        "TransactionCanceledException" => {
            let body = refusal.body();
            let Ok(Reasons { reasons }) = serde_json::from_slice(&body) else {
                return Outcome::Error;
            };
            let mut codes = reasons.iter().map(|reason| reason.code.as_str());
            if codes.clone().any(|code| code == "ConditionalCheckFailed")
                && codes.all(|code| matches!(code, "None" | "ConditionalCheckFailed"))
            {
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

#[cfg(test)]
mod tests {
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
}
