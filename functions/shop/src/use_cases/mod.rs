//! The two halves of an order's life: placing it, and settling it.

#[cfg(feature = "orders-queue")]
mod checkout;
mod fulfilment;

#[cfg(feature = "orders-queue")]
pub use checkout::{Checkout, Placed};
pub use fulfilment::{Fulfilment, NotSettled, Outcome, Settled};
