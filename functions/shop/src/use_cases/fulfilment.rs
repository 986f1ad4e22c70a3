//! Settling an order: its stock is taken and it is FULFILLED, or it is REJECTED and takes nothing.
//!
//! A message may be delivered often, cut short or handled twice at once: its order leaves PENDING
//! once, because every write of [`Settlements`] requires PENDING.
//!
//! A delivery may find the order settled by its own message. Then its answer was lost, or an
//! earlier delivery was cut short before it could report. So every settled order is counted.

use thiserror::Error;

use crate::domain::{OrderMessage, Problem, Status, Timestamp};
use crate::dynamodb::{Refused, Settlement, Settlements, StoredState};
use crate::time::{Backoff, Deadline};

/// Attempts for one order while DynamoDB throttles or does not answer, on top of the SDK's retries
/// while it has a retry budget. Then the order goes back to the queue, for a minute, so that an
/// outage does not meet as many calls as fit into an invocation.
const OUTAGE_ATTEMPTS: u32 = 4;

/// The worker, which settles orders.
#[derive(Clone, Debug)]
pub struct Fulfilment {
    settlements: Settlements,
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
    Poison(String),
    /// It may be later.
    #[error("DynamoDB did not settle the order: {0}")]
    Failed(String),
    /// It may be later, but not by this execution environment.
    #[error("AWS refuses the credentials: {0}")]
    CredentialsRefused(String),
}

impl Fulfilment {
    /// A worker that writes by `settlements`.
    pub fn new(settlements: Settlements) -> Self {
        Self { settlements }
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
        // Set once a product cannot be sold: then the order is to be rejected.
        let mut rejection: Option<String> = None;
        loop {
            let written = match &rejection {
                None => self.settlements.fulfil(&settlement).await,
                Some(reason) => self.settlements.reject(&settlement, reason, deadline).await,
            };
            let refused = match written {
                Ok(()) => {
                    let outcome = rejection.map_or(Outcome::Fulfilled, Outcome::Rejected);
                    let at = settlement.now;
                    return Ok(Settled { outcome, at });
                }
                Err(refused) => refused,
            };
            let (pauses, cause) = match refused {
                Refused::ByOrder(state) => return found(&settlement, state),
                Refused::CannotBeSold(reason) => {
                    rejection = Some(reason);
                    outages = Backoff::new(OUTAGE_ATTEMPTS, deadline);
                    continue;
                }
                Refused::Conflict(cause) => (&mut conflicts, cause),
                Refused::Failed(Problem::Unavailable { cause }) => (&mut outages, cause),
                Refused::Failed(Problem::EnvironmentUnusable { cause }) => {
                    return Err(NotSettled::CredentialsRefused(cause));
                }
                Refused::Failed(problem) => return Err(NotSettled::Failed(problem.to_string())),
                Refused::NoOrder(cause) => return Err(NotSettled::Poison(cause)),
            };
            if !pauses.pause().await {
                return Err(NotSettled::Failed(cause));
            }
        }
    }
}

/// The order refused the write. Either it is settled, which is fine, or it is not the order of the
/// message.
fn found(settlement: &Settlement<'_>, order: StoredState) -> Result<Settled, NotSettled> {
    if order.fingerprint != settlement.fingerprint {
        let cause = "the order with its id has other lines";
        return Err(NotSettled::Poison(cause.to_owned()));
    }
    let outcome = match order.status {
        Status::Pending => {
            return Err(NotSettled::Failed("the order changed meanwhile".to_owned()));
        }
        _ if order.settled_by.as_deref() != Some(settlement.message_id) => {
            Outcome::SettledByAnother
        }
        Status::Fulfilled => Outcome::Fulfilled,
        Status::Rejected => Outcome::Rejected(order.reason.unwrap_or_default()),
    };
    Ok(Settled {
        outcome,
        at: order.updated_at,
    })
}
