//! The domain: values that are checked once, when they are parsed, and trusted from then on.
//!
//! It knows neither AWS nor HTTP, so a product can be parsed, and an order priced, anywhere.

mod checked_value;
mod hex_id;
mod json_object;
mod listing;
mod order;
mod order_lines;
mod precondition;
mod problem;
mod product;
mod product_field;
mod timestamp;
mod write_id;

pub use checked_value::{Invalid, MAX_SAFE_INTEGER};
pub use listing::Listing;
pub use order::{
    Customer, IdempotencyKey, Order, OrderId, OrderMessage, PricedLine, Status, TotalCents,
};
pub use order_lines::{Fingerprint, Line, Lines, Quantity};
pub use precondition::{Precondition, Revision, Revisions};
pub use problem::{FieldError, Problem};
pub use product::{
    BatchRequest, Category, Description, Limit, NewProduct, PriceCents, Product, ProductId,
    ProductName, Stock, Version,
};
pub use product_field::{Field, Fields};
pub use timestamp::Timestamp;
pub use write_id::WriteId;
