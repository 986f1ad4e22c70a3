//! Refusals of SQS, with the code and the HTTP status that AWS gives each.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html>

use std::fmt::Display;

use http::StatusCode;

use crate::aws_json::Refusal;

/// Exceptions that all services have.
const COMMON: [&str; 5] = [
    "InternalFailure",
    "InvalidParameterValueException",
    "MissingRequiredParameterException",
    "SerializationException",
    "UnknownOperationException",
];

/// Refuses with an exception of SQS, or with one that all services have.
pub(super) fn refuse(exception: &str, message: impl Into<String>) -> Refusal {
    let (code, status) = match exception {
        "InternalFailure" => (exception, 500),
        "InvalidAttributeName" | "InvalidAttributeValue" | "InvalidMessageContents" => {
            (exception, 400)
        }
        "InvalidParameterValueException" => ("InvalidParameterValue", 400),
        "MissingRequiredParameterException" => ("MissingParameter", 400),
        "OverLimit" => (exception, 403),
        "PurgeQueueInProgress" => ("", 403),
        "QueueDoesNotExist" => ("AWS.SimpleQueueService.NonExistentQueue", 400),
        "QueueNameExists" => ("QueueAlreadyExists", 400),
        "InvalidAddress" | "ReceiptHandleIsInvalid" | "ResourceNotFoundException" => {
            (exception, 404)
        }
        "SerializationException" => ("MalformedInput", 400),
        "UnknownOperationException" => ("InvalidAction", 400),
        _ => ("", 400),
    };
    let namespace = match COMMON.contains(&exception) {
        true => "com.amazon.coral.service",
        false => "com.amazonaws.sqs",
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    Refusal {
        query_error: Some(match code {
            "" => format!("AWS.SimpleQueueService.{exception}"),
            code => code.to_owned(),
        }),
        ..Refusal::new(status, &format!("{namespace}#{exception}"), message)
    }
}

pub(super) fn no_queue() -> Refusal {
    refuse("QueueDoesNotExist", "The specified queue does not exist.")
}

pub(super) fn missing(parameter: &str) -> Refusal {
    let message = format!("The request must contain the parameter {parameter}.");
    refuse("MissingRequiredParameterException", message)
}

pub(super) fn invalid(message: impl Into<String>) -> Refusal {
    refuse("InvalidParameterValueException", message)
}

pub(super) fn invalid_value(value: impl Display, parameter: &str, reason: &str) -> Refusal {
    let what = format!("Value {value} for parameter {parameter} is invalid.");
    invalid(format!("{what} Reason: {reason}"))
}

/// The database failed: the disk is full, or the folder is gone.
impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        refuse(
            "InternalFailure",
            format!("the queues' database failed: {error}"),
        )
    }
}
