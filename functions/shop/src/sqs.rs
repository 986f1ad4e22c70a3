//! The queue of placed orders, in SQS.

use std::env;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeNameForSends, MessageSystemAttributeValue};

use crate::domain::{OrderMessage, Problem};
use crate::telemetry;

/// The queue that triggers `process-orders`.
#[derive(Clone, Debug)]
pub struct OrderQueue {
    client: Client,
    url: String,
}

impl OrderQueue {
    /// The queue at `url`.
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends a message, with the trace of the invocation. SQS has stored it when this returns.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] for every failure: the order is in the table already, and a repeated
    /// request can queue it. [`Problem::EnvironmentUnusable`] if AWS refuses the credentials.
    pub async fn send(&self, message: &OrderMessage) -> Result<(), Problem> {
        let body =
            serde_json::to_string(message).map_err(|error| Problem::internal(error.to_string()))?;
        let mut request = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body);
        // The runtime sets it for each invocation; the SDK reads it too.
        if let Some(trace) = env::var("_X_AMZN_TRACE_ID").ok().and_then(trace_attribute) {
            let name = MessageSystemAttributeNameForSends::AwsTraceHeader;
            request = request.message_system_attributes(name, trace);
        }
        match request.send().await.map_err(Problem::from) {
            Ok(_) => Ok(()),
            Err(Problem::Internal { cause }) => Err(Problem::Unavailable { cause }),
            Err(problem) => Err(problem),
        }
    }
}

/// The trace header, if SQS will accept it. SQS would refuse a message with any other header, and
/// an order must not fail because of its trace.
fn trace_attribute(header: String) -> Option<MessageSystemAttributeValue> {
    telemetry::trace_id(&header)?;
    let attribute = MessageSystemAttributeValue::builder()
        .data_type("String")
        .string_value(header);
    attribute.build().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_bears_the_trace_header_as_it_is() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";

        let attribute = trace_attribute(header.to_owned()).unwrap();

        assert_eq!(attribute.data_type(), "String");
        assert_eq!(attribute.string_value(), Some(header));
    }

    #[test]
    fn what_is_no_trace_header_is_not_sent() {
        for header in ["", "Root=", "Sampled=0", "Root=forged;Parent=x"] {
            assert_eq!(trace_attribute(header.to_owned()), None, "{header}");
        }
    }
}
