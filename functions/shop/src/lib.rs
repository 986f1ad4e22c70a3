//! The code that the shop's functions share: the domain, and its adapters to DynamoDB, SQS and
//! HTTP.
//!
//! | module | holds |
//! |---|---|
//! | [`product`], [`order`] | the domain: values that are checked once, when they are parsed |
//! | [`precondition`], [`cursor`] | the conditions of a client, and where a page ended |
//! | [`write_id`] | the mark by which a repeated write knows itself |
//! | [`catalog`], [`orders`] | the two tables: every expression and condition that is sent to DynamoDB |
//! | [`order_queue`] | the queue of placed orders |
//! | [`checkout`], [`fulfilment`] | the two halves of an order's life: placing it, and settling it |
//! | [`problem`] | the one error type, and how each failure of AWS becomes an answer |
//! | [`http`] | reading a request of the HTTP API and answering it; the only module that knows Lambda |
//! | [`aws`], [`deadline`], [`telemetry`], [`metrics`] | clients, time, logs and metrics |
//!
//! Only [`http`] depends on a Lambda crate, so the rest runs in any test.

pub mod aws;
mod backoff;
pub mod catalog;
#[cfg(feature = "orders-queue")]
pub mod checkout;
pub mod cursor;
pub mod deadline;
mod fields;
pub mod fulfilment;
#[cfg(feature = "http")]
pub mod http;
mod http_client;
mod item;
pub mod json;
mod lines;
pub mod metrics;
mod newtype;
pub mod order;
#[cfg(feature = "orders-queue")]
pub mod order_queue;
pub mod orders;
pub mod precondition;
pub mod problem;
pub mod product;
pub mod telemetry;
mod tls;
pub mod write_id;
