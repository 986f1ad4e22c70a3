//! Settling an order: its stock is taken and it is FULFILLED, or it is REJECTED and takes nothing.
//!
//! To fulfil an order, one transaction takes the stock and changes the status, so there is no
//! moment at which stock is gone and the order still pending. A message may be delivered often, cut
//! short or handled twice at once: its order leaves PENDING once, because every write requires
//! PENDING.
//!
//! Each of these writes stores the id of its message in the order. A delivery may find the order
//! settled by its own message. Then its answer was lost, or an earlier delivery was cut short
//! before it could report. So every settled order is counted.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::display::DisplayErrorContext;
use thiserror::Error;

use crate::backoff::{Backoff, retry_conflicts};
use crate::deadline::Deadline;
use crate::item::{self, Item, number_value, text_value};
use crate::order::{Fingerprint, Line, OrderMessage, Status, Timestamp};
use crate::problem::{ends_environment, is_transient};
use crate::product::{Stock, Version};

/// Attempts for one order while DynamoDB throttles or does not answer, on top of the SDK's retries
/// while it has a retry budget. Then the order goes back to the queue, for a minute, so that an
/// outage does not meet as many calls as fit into an invocation.
const OUTAGE_ATTEMPTS: u32 = 4;

/// Both tables, as the worker writes them.
#[derive(Clone, Debug)]
pub struct Fulfilment {
    client: Client,
    products_table: String,
    orders_table: String,
}

/// How the order of a message was settled. In every case the message is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The outcome of the order.
    pub outcome: Outcome,
    /// When it left PENDING.
    pub at: Timestamp,
}

/// The outcome of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The stock is taken.
    Fulfilled,
    /// The order is rejected, for this reason.
    Rejected(String),
    /// Another message for the same order had settled it. That message's delivery reports it.
    SettledByAnother,
}

impl Outcome {
    /// As it stands in the log.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fulfilled => Status::Fulfilled.as_str(),
            Self::Rejected(_) => Status::Rejected.as_str(),
            Self::SettledByAnother => "SETTLED_BY_ANOTHER",
        }
    }
}

/// Why a message was not settled. It goes back to the queue.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotSettled {
    /// It never will be: there is no such order, or it has other lines. The message ends in the
    /// dead-letter queue, for a person to look at.
    #[error("the message fits no order: {0}")]
    Poison(&'static str),
    /// It may be later.
    #[error("DynamoDB did not settle the order: {0}")]
    Failed(String),
    /// It may be later, but not by this execution environment.
    #[error("AWS refuses the credentials: {0}")]
    CredentialsRefused(String),
}

/// The outcome of one transaction.
enum Attempt {
    Done,
    /// It conflicts with another transaction, which is over in milliseconds.
    Conflict(String),
    /// DynamoDB throttled it or did not answer, in all attempts of the SDK.
    Unavailable(String),
    /// The order is not pending, or differs from the message; this is the stored item.
    OrderRefused(Option<Item>),
    /// A product is out of stock or cannot be sold, for this reason.
    CannotBeSold(String),
    Failed(NotSettled),
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

    /// Settles the order of a message, usually with one transaction. `message_id` is SQS's id of
    /// the message, the same in each delivery.
    ///
    /// # Errors
    /// [`NotSettled`]; then nothing was changed.
    pub async fn settle(
        &self,
        message: &OrderMessage,
        message_id: &str,
        deadline: Deadline,
    ) -> Result<Settled, NotSettled> {
        let settlement = Settlement {
            message,
            message_id,
            fingerprint: message.lines.fingerprint(),
            now: Timestamp::now(),
        };
        // Conflicts pass as soon as the other transaction ends, so only time limits the attempts.
        let mut conflicts = Backoff::new(u32::MAX, deadline);
        let mut outages = Backoff::new(OUTAGE_ATTEMPTS, deadline);
        loop {
            match self.take_stock(&settlement).await {
                Attempt::Done => return Ok(settlement.done(Outcome::Fulfilled)),
                Attempt::OrderRefused(item) => return settlement.found(item.as_ref()),
                Attempt::CannotBeSold(reason) => {
                    return self.reject(&settlement, reason, deadline).await;
                }
                Attempt::Failed(reason) => return Err(reason),
                Attempt::Conflict(cause) => {
                    if !conflicts.pause().await {
                        return Err(NotSettled::Failed(cause));
                    }
                }
                Attempt::Unavailable(cause) => {
                    if !outages.pause().await {
                        return Err(NotSettled::Failed(cause));
                    }
                }
            }
        }
    }

    async fn take_stock(&self, settlement: &Settlement<'_>) -> Attempt {
        let lines = settlement.message.lines.as_slice();
        let order = self.fulfil_order(settlement);
        let products = lines.iter().map(|line| self.take_line(line));
        let items: Result<Vec<_>, _> = std::iter::once(order).chain(products).collect();
        let items = match items {
            Ok(items) => items,
            Err(error) => return Attempt::Failed(NotSettled::Failed(error.to_string())),
        };
        // The SDK adds a client request token. Its own repeat of a transaction whose answer was
        // lost thus succeeds, instead of conflicting with the first one's writes.
        let call = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items));
        let Err(error) = call.send().await else {
            return Attempt::Done;
        };
        if let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
            error.as_service_error()
        {
            return read_cancellation(cancelled.cancellation_reasons(), lines);
        }
        let cause = DisplayErrorContext(&error).to_string();
        if error.code() == Some("TransactionInProgressException") {
            // The SDK's own repeat of a transaction that is still running.
            Attempt::Conflict(cause)
        } else if is_transient(&error) {
            Attempt::Unavailable(cause)
        } else {
            Attempt::Failed(not_settled(&error))
        }
    }

    fn fulfil_order(
        &self,
        settlement: &Settlement<'_>,
    ) -> Result<TransactWriteItem, aws_sdk_dynamodb::error::BuildError> {
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

    fn take_line(
        &self,
        line: &Line,
    ) -> Result<TransactWriteItem, aws_sdk_dynamodb::error::BuildError> {
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

    async fn reject(
        &self,
        settlement: &Settlement<'_>,
        reason: String,
        deadline: Deadline,
    ) -> Result<Settled, NotSettled> {
        let mut outages = Backoff::new(OUTAGE_ATTEMPTS, deadline);
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
            .expression_attribute_values(":reason", text_value(&reason))
            .expression_attribute_values(":now", text_value(&settlement.now))
            .expression_attribute_values(":message", text_value(settlement.message_id))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        loop {
            // It may conflict with the transaction of another delivery.
            let rejected = retry_conflicts(deadline, || request.clone().send()).await;
            let Err(error) = rejected else {
                return Ok(settlement.done(Outcome::Rejected(reason)));
            };
            if let Some(UpdateItemError::ConditionalCheckFailedException(failed)) =
                error.as_service_error()
            {
                return settlement.found(failed.item());
            }
            if !is_transient(&error) || !outages.pause().await {
                return Err(not_settled(&error));
            }
        }
    }
}

/// A message that is being settled.
struct Settlement<'a> {
    message: &'a OrderMessage,
    message_id: &'a str,
    fingerprint: Fingerprint,
    now: Timestamp,
}

impl Settlement<'_> {
    fn done(&self, outcome: Outcome) -> Settled {
        Settled {
            outcome,
            at: self.now.clone(),
        }
    }

    /// The order `item` refused the write. Either it is settled, which is fine, or it is not the
    /// order of the message.
    fn found(&self, item: Option<&Item>) -> Result<Settled, NotSettled> {
        let item = item.ok_or(NotSettled::Poison("there is no order with its id"))?;
        let stored: Fingerprint = item::text(item, "fingerprint")
            .map_err(|_| NotSettled::Poison("the stored order has no fingerprint"))?;
        if stored != self.fingerprint {
            return Err(NotSettled::Poison("the order with its id has other lines"));
        }
        let settled_by: Option<String> =
            item::optional_text(item, "settled_by").unwrap_or_default();
        let reason = || item::text(item, "reason").unwrap_or_default();
        let outcome = match item::text(item, "status") {
            Ok(Status::Pending) => {
                return Err(NotSettled::Failed("the order changed meanwhile".to_owned()));
            }
            Ok(_) if settled_by.as_deref() != Some(self.message_id) => Outcome::SettledByAnother,
            Ok(Status::Fulfilled) => Outcome::Fulfilled,
            Ok(Status::Rejected) => Outcome::Rejected(reason()),
            Err(_) => return Err(NotSettled::Poison("the stored order has no status")),
        };
        let at = item::text(item, "updated_at")
            .map_err(|_| NotSettled::Poison("the stored order has no updated_at"))?;
        Ok(Settled { outcome, at })
    }
}

fn not_settled<E>(error: &SdkError<E, HttpResponse>) -> NotSettled
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let cause = DisplayErrorContext(error).to_string();
    if ends_environment(error) {
        NotSettled::CredentialsRefused(cause)
    } else {
        NotSettled::Failed(cause)
    }
}

/// Reads why a transaction was cancelled: one reason for each item, first the order's, then the
/// lines'.
fn read_cancellation(reasons: &[CancellationReason], lines: &[Line]) -> Attempt {
    let Some((order, products)) = reasons.split_first() else {
        let cause = "a transaction was cancelled without a reason".to_owned();
        return Attempt::Failed(NotSettled::Failed(cause));
    };
    if order.code() == Some("ConditionalCheckFailed") {
        return Attempt::OrderRefused(order.item().cloned());
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
        return Attempt::CannotBeSold(clauses.join("; "));
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
        Attempt::Failed(NotSettled::Failed(cause))
    } else if codes.iter().any(|code| throttled.contains(code)) {
        Attempt::Unavailable(cause)
    } else {
        Attempt::Conflict(cause)
    }
}

/// Whether `item` is a product that can be sold, but has fewer pieces than `line` asks for.
fn has_less_than(line: &Line, item: Option<&Item>) -> bool {
    let stock = item.and_then(|item| item::number::<Stock>(item, "stock").ok());
    stock.is_some_and(|stock| stock.get() < line.quantity.get())
}

/// The longest time for one order on a quiet table: a transaction, and a write if it is rejected.
///
/// A worker with less time left does not begin. DynamoDB answers in milliseconds; this leaves room
/// for one attempt that times out.
pub const TIME_TO_SETTLE: Duration = Duration::from_secs(2);
