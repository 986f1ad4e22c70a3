//! The queue of placed orders.

use aws_sdk_sqs::Client;
use aws_smithy_types::error::display::DisplayErrorContext;

use crate::order::OrderMessage;
use crate::problem::Problem;

/// The queue that `process-orders` is triggered by.
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

    /// Sends a message. When this returns, SQS has stored it.
    ///
    /// # Errors
    /// 503 whatever went wrong: the order is in the table already, and the client can have it
    /// queued by asking again.
    pub async fn send(&self, message: &OrderMessage) -> Result<(), Problem> {
        let body =
            serde_json::to_string(message).map_err(|error| Problem::internal(error.to_string()))?;
        let request = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(Problem::unavailable(
                DisplayErrorContext(&error).to_string(),
            )),
        }
    }
}
