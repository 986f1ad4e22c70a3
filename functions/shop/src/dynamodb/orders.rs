//! The table of orders.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;

use super::attribute::{Item, text_value};
use super::conflict::retry_conflicts;
use super::order_item::{StoredOrder, from_item, to_item};
use crate::domain::{OrderId, Problem};
use crate::time::Deadline;

/// The table of orders.
#[derive(Clone, Debug)]
pub struct Orders {
    client: Client,
    table: String,
}

impl Orders {
    /// The orders in `table`.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads an order. The read is strongly consistent, so that a client finds the order that it
    /// has just placed.
    ///
    /// # Errors
    /// 503 or 500 if DynamoDB fails or the stored item is not an order.
    pub async fn get(&self, id: &OrderId) -> Result<Option<StoredOrder>, Problem> {
        let call = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("id", text_value(id))
            .consistent_read(true);
        let answer = call.send().await?;
        answer.item().map(|item| read(id, item)).transpose()
    }

    /// Stores a new order, unless another request has stored one with its id. In that case it
    /// writes nothing and returns that order.
    ///
    /// The SDK repeats a write whose answer was lost. The repeat finds the order that the first
    /// attempt stored, and recognises it by [`StoredOrder::placed_by`].
    ///
    /// A repeated order may conflict with the transaction that settles it; the write is then
    /// retried until `deadline`.
    ///
    /// # Errors
    /// 503 or 500 if DynamoDB fails or the stored item is not an order.
    pub async fn create(
        &self,
        new: &StoredOrder,
        deadline: Deadline,
    ) -> Result<Option<StoredOrder>, Problem> {
        let write = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(to_item(new)))
            .condition_expression("attribute_not_exists(id)")
            // DynamoDB returns the existing order with the refusal: no second call to read it.
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let outcome = retry_conflicts(deadline, || write.clone().send()).await;
        let Err(error) = outcome else { return Ok(None) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                let item = failed.item().ok_or_else(|| {
                    Problem::internal("DynamoDB did not return the order that is there")
                })?;
                let stored = read(&new.order.id, item)?;
                let is_ours = stored.placed_by.is_some() && stored.placed_by == new.placed_by;
                Ok(Some(stored).filter(|_| !is_ours))
            }
            _ => Err(error.into()),
        }
    }
}

fn read(id: &OrderId, item: &Item) -> Result<StoredOrder, Problem> {
    from_item(item).map_err(|error| Problem::internal(format!("order {id}: {error}")))
}
