//! The writes that settle an order.
//!
//! To fulfil an order, one transaction takes the stock and changes the status, so there is no
//! moment at which stock is gone and the order still pending. Every write requires PENDING, and
//! stores the id of its message in the order.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, ProvideErrorMetadata};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use aws_smithy_types::error::display::DisplayErrorContext;

use super::attribute::{self, Item, Malformed, number_value, text_value};
use super::conflict::retry_conflicts;
use crate::domain::{Fingerprint, Line, OrderMessage, Problem, Status, Stock, Timestamp, Version};
use crate::time::Deadline;

/// Both tables, as the worker writes them.
#[derive(Clone, Debug)]
pub struct Settlements {
    client: Client,
    products_table: String,
    orders_table: String,
}

/// A message whose order is being settled.
pub(crate) struct Settlement<'a> {
    /// The message.
    pub(crate) message: &'a OrderMessage,
    /// SQS's id of it, the same in each delivery.
    pub(crate) message_id: &'a str,
    /// The hash of its lines.
    pub(crate) fingerprint: Fingerprint,
    /// When it is settled.
    pub(crate) now: Timestamp,
}

/// Why a write changed nothing.
pub(crate) enum Refused {
    /// It conflicts with another transaction, which is over in milliseconds.
    Conflict(String),
    /// There is no order with the message's id, or its item is no order; which of them, in words.
    NoOrder(String),
    /// The order is not pending, or has other lines than the message.
    ByOrder(StoredState),
    /// A product is out of stock or cannot be sold, for this reason.
    CannotBeSold(String),
    /// The call failed, in all attempts of the SDK.
    Failed(Problem),
}

/// What the worker has to know of an order that refuses to be settled.
pub(crate) struct StoredState {
    /// The hash of its lines.
    pub(crate) fingerprint: Fingerprint,
    /// Its status.
    pub(crate) status: Status,
    /// The message that settled it.
    pub(crate) settled_by: Option<String>,
    /// Why it was rejected.
    pub(crate) reason: Option<String>,
    /// When its status last changed.
    pub(crate) updated_at: Timestamp,
}

impl Refused {
    fn by_order(item: Option<&Item>) -> Self {
        let Some(item) = item else {
            return Self::NoOrder("there is no order with its id".to_owned());
        };
        match StoredState::read(item) {
            Ok(state) => Self::ByOrder(state),
            Err(malformed) => Self::NoOrder(malformed.to_string()),
        }
    }
}

impl StoredState {
    fn read(item: &Item) -> Result<Self, Malformed> {
        Ok(Self {
            fingerprint: attribute::text(item, "fingerprint")?,
            status: attribute::text(item, "status")?,
            settled_by: attribute::optional_text(item, "settled_by").unwrap_or_default(),
            reason: attribute::optional_text(item, "reason").unwrap_or_default(),
            updated_at: attribute::text(item, "updated_at")?,
        })
    }
}

impl Settlements {
    /// The orders of one table, for products of the other.
    pub fn new(client: Client, products_table: String, orders_table: String) -> Self {
        Self {
            client,
            products_table,
            orders_table,
        }
    }

    /// Takes the stock of every line and makes the order FULFILLED, in one transaction.
    pub(crate) async fn fulfil(&self, settlement: &Settlement<'_>) -> Result<(), Refused> {
        let lines = settlement.message.lines.as_slice();
        let order = self.fulfil_order(settlement);
        let products = lines.iter().map(|line| self.take_line(line));
        let items: Result<Vec<_>, _> = std::iter::once(order).chain(products).collect();
        let items = items.map_err(|error| Refused::Failed(Problem::internal(error.to_string())))?;
        // The SDK adds a client request token. Its own repeat of a transaction whose answer was
        // lost thus succeeds, instead of conflicting with the first one's writes.
        let call = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items));
        let Err(error) = call.send().await else {
            return Ok(());
        };
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            return Err(read_cancellation(cancelled.cancellation_reasons(), lines));
        }
        if error.code() == Some("TransactionInProgressException") {
            // The SDK's own repeat of a transaction that is still running.
            let cause = DisplayErrorContext(&error).to_string();
            return Err(Refused::Conflict(cause));
        }
        Err(Refused::Failed(error.into()))
    }

    /// Makes the order REJECTED, for `reason`. It may conflict with the transaction of another
    /// delivery; the write is then retried until `deadline`.
    pub(crate) async fn reject(
        &self,
        settlement: &Settlement<'_>,
        reason: &str,
        deadline: Deadline,
    ) -> Result<(), Refused> {
        let request = self
            .client
            .update_item()
            .table_name(&self.orders_table)
            .key("id", text_value(&settlement.message.order_id))
            .update_expression(
                "SET #status = :rejected, reason = :reason, updated_at = :now, settled_by = :message",
            )
            .condition_expression("#status = :pending AND fingerprint = :fingerprint")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":rejected", text_value(Status::Rejected.as_str()))
            .expression_attribute_values(":pending", text_value(Status::Pending.as_str()))
            .expression_attribute_values(
                ":fingerprint",
                text_value(settlement.fingerprint.as_str()),
            )
            .expression_attribute_values(":reason", text_value(reason))
            .expression_attribute_values(":now", text_value(&settlement.now))
            .expression_attribute_values(":message", text_value(settlement.message_id))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = retry_conflicts(deadline, || request.clone().send()).await else {
            return Ok(());
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                Err(Refused::by_order(failed.item()))
            }
            _ => Err(Refused::Failed(error.into())),
        }
    }

    fn fulfil_order(&self, settlement: &Settlement<'_>) -> Result<TransactWriteItem, BuildError> {
        let update = Update::builder()
            .table_name(&self.orders_table)
            .key("id", text_value(&settlement.message.order_id))
            .update_expression("SET #status = :fulfilled, updated_at = :now, settled_by = :message")
            .condition_expression("#status = :pending AND fingerprint = :fingerprint")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":fulfilled", text_value(Status::Fulfilled.as_str()))
            .expression_attribute_values(":pending", text_value(Status::Pending.as_str()))
            .expression_attribute_values(
                ":fingerprint",
                text_value(settlement.fingerprint.as_str()),
            )
            .expression_attribute_values(":now", text_value(&settlement.now))
            .expression_attribute_values(":message", text_value(settlement.message_id))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn take_line(&self, line: &Line) -> Result<TransactWriteItem, BuildError> {
        let update = Update::builder()
            .table_name(&self.products_table)
            .key("id", text_value(&line.product_id))
            .update_expression("SET stock = stock - :quantity, version = version + :one")
            // A stock or a version that is missing, not a number or out of range fails the
            // condition, so that the order is rejected. Without the condition DynamoDB would refuse
            // the transaction as invalid each time, and the order would stay pending.
            .condition_expression(
                "stock BETWEEN :quantity AND :most AND version BETWEEN :one AND :last",
            )
            .expression_attribute_values(":quantity", number_value(&line.quantity))
            .expression_attribute_values(":most", number_value(&Stock::MAX))
            .expression_attribute_values(":last", number_value(&(Version::MAX - 1)))
            .expression_attribute_values(":one", number_value(&1))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }
}

/// Reads why a transaction was cancelled: one reason for each item, first the order's, then the
/// lines'.
fn read_cancellation(reasons: &[CancellationReason], lines: &[Line]) -> Refused {
    let Some((order, products)) = reasons.split_first() else {
        let cause = "a transaction was cancelled without a reason".to_owned();
        return Refused::Failed(Problem::internal(cause));
    };
    if order.code() == Some("ConditionalCheckFailed") {
        return Refused::by_order(order.item());
    }
    let (mut short, mut unsellable) = (Vec::new(), Vec::new());
    for (line, reason) in lines.iter().zip(products) {
        // The item can never take the update, for example because it would be too large.
        let invalid = ["ValidationError", "ItemCollectionSizeLimitExceeded"];
        match reason.code() {
            Some("ConditionalCheckFailed") if has_less_than(line, reason.item()) => {
                short.push(line);
            }
            Some("ConditionalCheckFailed") => unsellable.push(line),
            Some(code) if invalid.contains(&code) => unsellable.push(line),
            _ => {}
        }
    }
    let clauses = [
        ("insufficient stock", short),
        ("no longer sold", unsellable),
    ];
    let clauses = clauses.iter().filter(|(_, lines)| !lines.is_empty());
    let clauses: Vec<_> = clauses
        .map(|(reason, lines)| {
            let ids: Vec<_> = lines.iter().map(|line| line.product_id.as_str()).collect();
            format!("{reason}: {}", ids.join(", "))
        })
        .collect();
    if !clauses.is_empty() {
        return Refused::CannotBeSold(clauses.join("; "));
    }
    let codes: Vec<_> = reasons
        .iter()
        .filter_map(CancellationReason::code)
        .filter(|code| *code != "None")
        .collect();
    let cause = format!("the transaction was cancelled: {}", codes.join(", "));
    let throttled = ["ThrottlingError", "ProvisionedThroughputExceeded"];
    let passes = |code: &&str| *code == "TransactionConflict" || throttled.contains(code);
    if codes.is_empty() || !codes.iter().all(passes) {
        Refused::Failed(Problem::internal(cause))
    } else if codes.iter().any(|code| throttled.contains(code)) {
        Refused::Failed(Problem::unavailable(cause))
    } else {
        Refused::Conflict(cause)
    }
}

/// Whether `item` is a product that can be sold, but has fewer pieces than `line` asks for.
fn has_less_than(line: &Line, item: Option<&Item>) -> bool {
    let stock = item.and_then(|item| attribute::number::<Stock>(item, "stock").ok());
    stock.is_some_and(|stock| stock.get() < line.quantity.get())
}
