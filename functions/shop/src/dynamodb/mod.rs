//! The two tables: every expression and condition that is sent to DynamoDB, and how its items are
//! read.

mod attribute;
mod catalog;
mod condition;
mod conflict;
mod order_item;
mod orders;
mod product_item;
mod projection;
mod settlements;

pub use catalog::{Batch, Catalog, Page, Written};
pub use order_item::StoredOrder;
pub use orders::Orders;
pub use settlements::Settlements;
pub(crate) use settlements::{Refused, Settlement, StoredState};
