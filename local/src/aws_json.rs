//! AWS's JSON protocol, which DynamoDB and SQS speak: the operation stands in `X-Amz-Target`, and a
//! refusal names its type in the body.
//!
//! <https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html>

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::json;

use crate::events::ItemsRead;

/// The region that all services here report.
pub(crate) const REGION: &str = "us-east-1";
/// The account that owns every resource here.
pub(crate) const ACCOUNT: &str = "000000000000";

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// The services of AWS that this host knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    DynamoDb,
    DynamoDbStreams,
    Sqs,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) service: Service,
    pub(crate) name: String,
}

impl Operation {
    pub(crate) fn of(headers: &HeaderMap) -> Operation {
        let target = headers.get(TARGET);
        let target = target.and_then(|target| target.to_str().ok()).unwrap_or("");
        let (service, name) = match target.split_once('.') {
            Some(("DynamoDB_20120810", name)) => (Service::DynamoDb, name),
            Some(("DynamoDBStreams_20120810", name)) => (Service::DynamoDbStreams, name),
            Some(("AmazonSQS", name)) => (Service::Sqs, name),
            _ => (Service::Other, target),
        };
        Operation {
            service,
            name: name.to_owned(),
        }
    }
}

/// `DynamoDB.GetItem`: the name under which calls are counted. Of other services, the target.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = match self.service {
            Service::DynamoDb => "DynamoDB",
            Service::DynamoDbStreams => "DynamoDBStreams",
            Service::Sqs => "SQS",
            Service::Other if self.name.is_empty() => return f.write_str("Unknown"),
            Service::Other => return f.write_str(&self.name),
        };
        write!(f, "{service}.{}", self.name)
    }
}

/// A call that a service refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", self.name())]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// `__type`, such as `com.amazonaws.sqs#QueueDoesNotExist`.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// The code in the older query protocol, which SDKs show in place of `kind`; SQS alone has it.
    /// <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait>
    pub query_error: Option<String>,
    /// The whole body, if it says more than type and message.
    pub body: Option<Bytes>,
}

impl Refusal {
    /// A refusal of this type, without more.
    pub fn new(status: StatusCode, kind: &str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            kind: kind.to_owned(),
            message: message.into(),
            query_error: None,
            body: None,
        }
    }

    /// `kind` without its namespace.
    pub(crate) fn name(&self) -> &str {
        self.kind.rsplit('#').next().unwrap_or_default()
    }

    /// Whether the caller can do something about it.
    pub fn is_senders(&self) -> bool {
        self.status.is_client_error()
    }

    pub(crate) fn body(&self) -> Bytes {
        let short = || json!({"__type": self.kind, "message": self.message});
        let body = self.body.clone();
        body.unwrap_or_else(|| short().to_string().into())
    }

    /// An operation that no service here has.
    pub(crate) fn unknown_operation(operation: &Operation) -> Refusal {
        let what = match operation.name.as_str() {
            "" => "this service".to_owned(),
            _ => operation.to_string(),
        };
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "com.amazon.coral.service#UnknownOperationException",
            format!("{what} is not hosted here; DynamoDB, SQS and Lambda's Invoke are"),
        )
    }
}

/// The answer of a service, and the capacity that the call consumed.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) result: Result<Bytes, Refusal>,
    pub(crate) units: Units,
    /// AWS's time, where a fault has set another one.
    pub(crate) date: Option<SystemTime>,
}

/// Capacity units of one call, and what a `Query` or a `Scan` read for them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Units {
    pub(crate) read: f64,
    pub(crate) write: f64,
    pub(crate) items: Option<ItemsRead>,
}

impl From<Result<Bytes, Refusal>> for Reply {
    fn from(result: Result<Bytes, Refusal>) -> Reply {
        Reply {
            result,
            units: Units::default(),
            date: None,
        }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        Err(refusal).into()
    }
}
