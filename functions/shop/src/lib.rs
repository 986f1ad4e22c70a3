//! The code that the shop's functions share: the domain, and its adapters to DynamoDB, SQS and
//! HTTP.
//!
//! | module | holds |
//! |---|---|
//! | **[`http`]** | **reading a request of the HTTP API and answering it** |
//! | `http::request` | path, query, headers, body and customer of a request |
//! | `http::conditional` | `If-Match` and `If-None-Match` |
//! | `http::respond` | the way from a handler's outcome to a response, within a deadline |
//! | `http::response` | the answers of handlers |
//! | `http::problem_json` | which status and body answer a problem |
//! | **[`use_cases`]** | **the two halves of an order's life** |
//! | `use_cases::checkout` | placing an order |
//! | `use_cases::fulfilment` | settling it |
//! | **[`dynamodb`]** | **the two tables** |
//! | `dynamodb::catalog` | the table of products |
//! | `dynamodb::orders` | the table of orders |
//! | `dynamodb::settlements` | the writes that settle an order, in both tables |
//! | `dynamodb::product_item`, `order_item` | items as products and as orders |
//! | `dynamodb::attribute` | single attributes of an item |
//! | `dynamodb::condition`, `projection` | expressions: what must hold, and what is returned |
//! | `dynamodb::conflict` | writes that conflict with a transaction |
//! | **[`sqs`]** | **the queue of placed orders** |
//! | **[`aws`]** | **AWS clients** |
//! | `aws::clients` | how they are built, and primed |
//! | `aws::variables` | the environment variables that say where AWS is |
//! | `aws::failures` | which problem each failed call is |
//! | **[`telemetry`]** | **what is observed** |
//! | `telemetry::log`, `metrics` | lines of JSON, and metrics among them |
//! | **[`cold_start`]** | **what is written by hand for the sake of the cold start** |
//! | `cold_start::http_client` | hyper as the SDK's HTTP client |
//! | `cold_start::tls` | its TLS: `crypto`, the algorithms, and `trust`, the roots |
//! | `cold_start::log_subscriber`, `trace` | the writer of the log, and the reader of trace headers |
//! | `cold_start::library_defaults` | the same by libraries, for whoever copies this code |
//! | **[`time`]** | **time that may pass** |
//! | `time::timeouts` | how long each part of the work may take |
//! | `time::deadline`, `backoff` | the end of a request, and the pauses until then |
//! | **[`domain`]** | **values that are checked once, when they are parsed** |
//! | `domain::product`, `product_field`, `listing` | products, their attributes, and lists of them |
//! | `domain::precondition` | the state of a product that a client asks for |
//! | `domain::order`, `order_lines` | orders and what is ordered |
//! | `domain::write_id`, `hex_id`, `timestamp` | the mark of a write, ids and points in time |
//! | `domain::problem` | the one error type |
//! | `domain::checked_value`, `json_object` | how values are checked, and bodies read |
//!
//! A module uses those below it, never one above: `domain` and `time` use nothing of the shop.
//! Only [`http`] depends on a Lambda crate, so the rest runs in any test.

pub mod aws;
pub mod cold_start;
pub mod domain;
pub mod dynamodb;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "orders-queue")]
pub mod sqs;
pub mod telemetry;
pub mod time;
pub mod use_cases;
