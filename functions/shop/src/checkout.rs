//! Placing an order: price it, store it, queue it. Three calls to AWS, in an order that can be cut
//! short anywhere.
//!
//! | cut short after | what is there | what the client does |
//! |---|---|---|
//! | the prices | nothing | asks again |
//! | the order is stored | a pending order that nobody settles | asks again with its key: it is queued |
//! | the message is sent | everything but the answer | asks again with its key: same order |
//!
//! The promise needs an idempotency key. Without one the shop cannot know a repeated request from
//! a new one: a client that got no 202 has no order that it could ask for.

use crate::catalog::Catalog;
use crate::deadline::Deadline;
use crate::order::{IdempotencyKey, Lines, Order, OrderId, Status, Timestamp};
use crate::order_queue::OrderQueue;
use crate::orders::{Orders, StoredOrder};
use crate::problem::Problem;

/// Where orders are placed.
#[derive(Clone, Debug)]
pub struct Checkout {
    catalog: Catalog,
    orders: Orders,
    queue: OrderQueue,
}

/// An order that is in the table and in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The order, as it now is.
    pub order: Order,
    /// Whether an earlier request with the same key had placed it.
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

    /// Places an order for `lines`, or finds the one that `key` stands for.
    ///
    /// # Errors
    /// 422 for a product that is not sold, a total that is too large, and a key that stands for
    /// other lines; 503 if the order could not be stored or queued, or 500 if DynamoDB fails
    /// otherwise.
    pub async fn place(
        &self,
        lines: &Lines,
        key: Option<&IdempotencyKey>,
        deadline: Deadline,
    ) -> Result<Placed, Problem> {
        let prices = self.catalog.prices(&lines.product_ids(), deadline).await?;
        let id = key.map_or_else(OrderId::random, OrderId::derived_from);
        let fingerprint = lines.fingerprint();
        let earlier = match Order::place(id.clone(), lines, &prices, Timestamp::now()) {
            Ok(order) => {
                let new = StoredOrder {
                    order,
                    fingerprint: fingerprint.clone(),
                };
                match self.orders.create(&new, deadline).await? {
                    Some(earlier) => earlier,
                    None => {
                        self.queue.send(&new.order.message()).await?;
                        return Ok(Placed {
                            order: new.order,
                            replayed: false,
                        });
                    }
                }
            }
            // What cannot be ordered now may have been ordered before: a repeated request must not
            // be refused because a product has gone since, or has another price.
            Err(refusal) => match key {
                Some(_) => self.orders.get(&id).await?.ok_or(refusal)?,
                None => return Err(refusal),
            },
        };
        if earlier.fingerprint != fingerprint {
            return Err(Problem::unprocessable(
                "The Idempotency-Key was used for an order with other lines.",
            ));
        }
        // Pending may mean that the message was never sent. If it was, one more does no harm: an
        // order is settled once, however many messages ask for it.
        if earlier.order.status == Status::Pending {
            self.queue.send(&earlier.order.message()).await?;
        }
        // A random id meets an order only if the SDK repeated our own write; that is no replay.
        Ok(Placed {
            order: earlier.order,
            replayed: key.is_some(),
        })
    }
}
