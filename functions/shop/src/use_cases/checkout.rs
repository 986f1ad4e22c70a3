//! Placing an order: price it, store it, queue it. Three calls to AWS, in an order so that a client
//! with a key can safely retry after any of them.
//!
//! | cut short after | state | the client |
//! |---|---|---|
//! | the prices | nothing | asks again |
//! | the order is stored | a pending order that nobody settles | asks again with its key: it is queued |
//! | the message is sent | all but the answer | asks again with its key: same order |
//!
//! The promise needs an idempotency key. Without one the shop cannot tell a repeated request from a
//! new one, and a client that got no 202 has no order to ask for.

use crate::domain::{Lines, Order, OrderId, Problem, Status, Timestamp, WriteId};
use crate::dynamodb::{Catalog, Orders, StoredOrder};
use crate::sqs::OrderQueue;
use crate::time::Deadline;

/// The checkout, where orders are placed.
#[derive(Clone, Debug)]
pub struct Checkout {
    catalog: Catalog,
    orders: Orders,
    queue: OrderQueue,
}

/// An order that is in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The order, in its current state.
    pub order: Order,
    /// Whether another request with the same key had stored it.
    pub replayed: bool,
}

impl Checkout {
    /// A checkout for the products of `catalog`.
    pub fn new(catalog: Catalog, orders: Orders, queue: OrderQueue) -> Self {
        Self {
            catalog,
            orders,
            queue,
        }
    }

    /// Prices an order for `lines` and stores it, or finds the one that another request has stored
    /// as `id`. An order without an `id` is always new.
    ///
    /// # Errors
    /// 422 for a product that is not sold, a total that is too large, or an id that belongs to
    /// other lines; 503 if the order could not be stored, or 500 if DynamoDB fails otherwise.
    pub async fn store(
        &self,
        lines: &Lines,
        id: Option<OrderId>,
        deadline: Deadline,
    ) -> Result<Placed, Problem> {
        let prices = self.catalog.prices(&lines.product_ids(), deadline).await?;
        let fingerprint = lines.fingerprint();
        let new_id = id.clone().unwrap_or_else(OrderId::random);
        let earlier = match Order::place(new_id, lines, &prices, Timestamp::now()) {
            Ok(order) => {
                let new = StoredOrder {
                    order,
                    fingerprint: fingerprint.clone(),
                    placed_by: Some(WriteId::random()),
                };
                match self.orders.create(&new, deadline).await? {
                    Some(earlier) => earlier,
                    None => {
                        return Ok(Placed {
                            order: new.order,
                            replayed: false,
                        });
                    }
                }
            }
            // An order that would be refused now may have been placed before. A repeated request
            // must not be refused because a product has gone since, or has another price.
            Err(refusal) => match id {
                Some(id) => self.orders.get(&id).await?.ok_or(refusal)?,
                None => return Err(refusal),
            },
        };
        if earlier.fingerprint != fingerprint {
            return Err(Problem::Unprocessable(
                "The Idempotency-Key was used for an order with other lines.",
            ));
        }
        Ok(Placed {
            order: earlier.order,
            replayed: true,
        })
    }

    /// Sends the message of an order that is not settled yet.
    ///
    /// If it is pending, an earlier request may have failed to send the message. If it was sent, a
    /// second one does no harm: an order is settled once, however many messages ask for it.
    ///
    /// # Errors
    /// 503 if SQS did not take it.
    pub async fn queue(&self, order: &Order) -> Result<(), Problem> {
        if order.status == Status::Pending {
            self.queue.send(&order.message()).await?;
        }
        Ok(())
    }
}
