//! Settling an order: its stock is taken and it is FULFILLED, or it is REJECTED and takes nothing.
//!
//! One transaction does both halves of the first, so there is no moment at which stock is gone and
//! the order still pending. Whatever is delivered twice, cut short or run side by side, an order
//! leaves PENDING once, because every write asks for PENDING.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use aws_smithy_types::error::display::DisplayErrorContext;
use thiserror::Error;

use crate::aws::on_heap;
use crate::backoff::{Backoff, past_transactions};
use crate::deadline::Deadline;
use crate::item::{self, Item, n, s};
use crate::order::{Fingerprint, Line, OrderMessage, Status, Timestamp};
use crate::problem::is_transient;

/// Calls for one order that DynamoDB does not answer, besides those that the SDK repeats while it has
/// a retry budget. Then the order goes back to the queue, for a minute: an outage is not met by as
/// many calls as fit into an invocation.
const OUTAGE_ATTEMPTS: u32 = 4;

/// Both tables, as the worker writes them.
#[derive(Clone, Debug)]
pub struct Fulfilment {
    client: Client,
    products_table: String,
    orders_table: String,
}

/// How a message was settled. Each of them means that the message is done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The stock is taken.
    Fulfilled,
    /// The order is rejected, for this reason.
    Rejected(String),
    /// An earlier delivery of the message had settled the order.
    Before,
}

/// Why a message was not settled. It goes back to the queue.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotSettled {
    /// It never will be: there is no such order, or it has other lines. It ends in the dead-letter
    /// queue, for a person to look at.
    #[error("the message fits no order: {0}")]
    Poison(&'static str),
    /// It may be later.
    #[error("DynamoDB did not settle the order: {0}")]
    Failed(String),
}

/// What came of one transaction.
enum Attempt {
    Done,
    /// It met another transaction, or throttling.
    Conflict(String),
    /// DynamoDB did not answer, however often the SDK asked.
    Outage(String),
    /// The order is not pending, or not as the message says; this is what the table holds.
    OrderRefused(Option<Item>),
    /// Stock is missing, for this reason.
    Short(String),
    Failed(String),
}

impl Fulfilment {
    /// A worker on these tables.
    pub fn new(client: Client, products_table: String, orders_table: String) -> Self {
        Self {
            client,
            products_table,
            orders_table,
        }
    }

    /// Settles the order of a message, with one transaction on the normal path.
    ///
    /// # Errors
    /// [`NotSettled`]; nothing is half done then.
    pub async fn settle(
        &self,
        message: &OrderMessage,
        deadline: Deadline,
    ) -> Result<Settled, NotSettled> {
        let fingerprint = message.lines.fingerprint();
        let now = Timestamp::now();
        // Conflicts pass as soon as the other transaction ends, so only time limits the attempts.
        let mut conflicts = Backoff::new(u32::MAX, deadline);
        let mut outages = Backoff::new(OUTAGE_ATTEMPTS, deadline);
        loop {
            match self.take_stock(message, &fingerprint, &now).await {
                Attempt::Done => return Ok(Settled::Fulfilled),
                Attempt::OrderRefused(item) => return settled_before(item.as_ref(), &fingerprint),
                Attempt::Short(reason) => {
                    return self
                        .reject(message, &fingerprint, &now, reason, deadline)
                        .await;
                }
                Attempt::Failed(cause) => return Err(NotSettled::Failed(cause)),
                Attempt::Conflict(cause) => {
                    if !conflicts.pause().await {
                        return Err(NotSettled::Failed(cause));
                    }
                }
                Attempt::Outage(cause) => {
                    if !outages.pause().await {
                        return Err(NotSettled::Failed(cause));
                    }
                }
            }
        }
    }

    async fn take_stock(
        &self,
        message: &OrderMessage,
        fingerprint: &Fingerprint,
        now: &Timestamp,
    ) -> Attempt {
        let order = self.fulfil_order(message, fingerprint, now);
        let products = message
            .lines
            .as_slice()
            .iter()
            .map(|line| self.take_line(line));
        let items: Result<Vec<_>, _> = std::iter::once(order).chain(products).collect();
        let items = match items {
            Ok(items) => items,
            Err(error) => return Attempt::Failed(error.to_string()),
        };
        // The SDK adds a client request token, so that its own repeat of a transaction whose answer
        // was lost succeeds instead of meeting the first one's work.
        let call = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items));
        let Err(error) = on_heap(|| call.send()).await else {
            return Attempt::Done;
        };
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            return read_cancellation(cancelled.cancellation_reasons(), message.lines.as_slice());
        }
        let cause = DisplayErrorContext(&error).to_string();
        if error.code() == Some("TransactionInProgressException") {
            // The SDK's own repeat of a transaction that is still being made.
            Attempt::Conflict(cause)
        } else if is_transient(&error) {
            Attempt::Outage(cause)
        } else {
            Attempt::Failed(cause)
        }
    }

    fn fulfil_order(
        &self,
        message: &OrderMessage,
        fingerprint: &Fingerprint,
        now: &Timestamp,
    ) -> Result<TransactWriteItem, aws_sdk_dynamodb::error::BuildError> {
        let update = Update::builder()
            .table_name(&self.orders_table)
            .key("id", s(&message.order_id))
            .update_expression("SET #status = :fulfilled, updated_at = :now")
            .condition_expression("#status = :pending AND fingerprint = :fingerprint")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":fulfilled", s(Status::Fulfilled.as_str()))
            .expression_attribute_values(":pending", s(Status::Pending.as_str()))
            .expression_attribute_values(":fingerprint", s(fingerprint.as_str()))
            .expression_attribute_values(":now", s(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    fn take_line(
        &self,
        line: &Line,
    ) -> Result<TransactWriteItem, aws_sdk_dynamodb::error::BuildError> {
        let update = Update::builder()
            .table_name(&self.products_table)
            .key("id", s(&line.product_id))
            .update_expression("SET stock = stock - :quantity, version = version + :one")
            .condition_expression("stock >= :quantity")
            .expression_attribute_values(":quantity", n(&line.quantity))
            .expression_attribute_values(":one", n(&1))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    async fn reject(
        &self,
        message: &OrderMessage,
        fingerprint: &Fingerprint,
        now: &Timestamp,
        reason: String,
        deadline: Deadline,
    ) -> Result<Settled, NotSettled> {
        let mut outages = Backoff::new(OUTAGE_ATTEMPTS, deadline);
        let request = self
            .client
            .update_item()
            .table_name(&self.orders_table)
            .key("id", s(&message.order_id))
            .update_expression("SET #status = :rejected, reason = :reason, updated_at = :now")
            .condition_expression("#status = :pending AND fingerprint = :fingerprint")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":rejected", s(Status::Rejected.as_str()))
            .expression_attribute_values(":pending", s(Status::Pending.as_str()))
            .expression_attribute_values(":fingerprint", s(fingerprint.as_str()))
            .expression_attribute_values(":reason", s(&reason))
            .expression_attribute_values(":now", s(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        loop {
            // It may meet the transaction of another delivery.
            let rejected = past_transactions(deadline, || request.clone().send()).await;
            let Err(error) = rejected else {
                return Ok(Settled::Rejected(reason));
            };
            if let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
                error.as_service_error()
            {
                return settled_before(failed.item(), fingerprint);
            }
            if !is_transient(&error) || !outages.pause().await {
                return Err(NotSettled::Failed(DisplayErrorContext(&error).to_string()));
            }
        }
    }
}

/// The order refused the write: because it is settled, which is fine, or because it is not the
/// order that the message speaks of.
fn settled_before(item: Option<&Item>, fingerprint: &Fingerprint) -> Result<Settled, NotSettled> {
    let item = item.ok_or(NotSettled::Poison("there is no order with its id"))?;
    let stored: Fingerprint = item::text(item, "fingerprint")
        .map_err(|_| NotSettled::Poison("the stored order has no fingerprint"))?;
    if stored != *fingerprint {
        return Err(NotSettled::Poison("the order with its id has other lines"));
    }
    match item::text(item, "status") {
        Ok(Status::Fulfilled | Status::Rejected) => Ok(Settled::Before),
        Ok(Status::Pending) => Err(NotSettled::Failed("the order changed meanwhile".to_owned())),
        Err(_) => Err(NotSettled::Poison("the stored order has no status")),
    }
}

/// Reads why a transaction was cancelled: one reason for each item, the order's first, then the
/// lines'.
fn read_cancellation(reasons: &[CancellationReason], lines: &[Line]) -> Attempt {
    let condition_failed =
        |reason: &CancellationReason| reason.code() == Some("ConditionalCheckFailed");
    let Some((order, products)) = reasons.split_first() else {
        return Attempt::Failed("a transaction was cancelled without a reason".to_owned());
    };
    if condition_failed(order) {
        return Attempt::OrderRefused(order.item().cloned());
    }
    let (mut short, mut gone) = (Vec::new(), Vec::new());
    for (line, reason) in lines
        .iter()
        .zip(products)
        .filter(|(_, reason)| condition_failed(reason))
    {
        let products = if reason.item().is_some() {
            &mut short
        } else {
            &mut gone
        };
        products.push(line.product_id.as_str());
    }
    let clauses = [("insufficient stock", short), ("no longer sold", gone)];
    let clauses = clauses.iter().filter(|(_, products)| !products.is_empty());
    let clauses: Vec<_> = clauses
        .map(|(what, products)| format!("{what}: {}", products.join(", ")))
        .collect();
    if !clauses.is_empty() {
        return Attempt::Short(clauses.join("; "));
    }
    let codes: Vec<_> = reasons
        .iter()
        .filter_map(CancellationReason::code)
        .filter(|code| *code != "None")
        .collect();
    let passes = |code: &&str| {
        [
            "TransactionConflict",
            "ThrottlingError",
            "ProvisionedThroughputExceeded",
        ]
        .contains(code)
    };
    let cause = format!("the transaction was cancelled: {}", codes.join(", "));
    if !codes.is_empty() && codes.iter().all(passes) {
        Attempt::Conflict(cause)
    } else {
        Attempt::Failed(cause)
    }
}

/// What one order takes at most on a quiet table: a transaction, and a write where it is rejected.
///
/// A worker that has less time left does not begin. DynamoDB answers in milliseconds; this leaves
/// room for one attempt that times out.
pub const TIME_TO_SETTLE: Duration = Duration::from_secs(2);
