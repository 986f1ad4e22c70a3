//! Reads a request of the HTTP API, and answers it. The only folder that knows Lambda and HTTP.

mod conditional;
mod problem_json;
mod request;
mod respond;
mod response;

pub use conditional::precondition;
pub use problem_json::{problem_json, status};
pub use request::{
    MAX_BODY, customer, header, json_bytes, parsed, path_parameter, product_id, query_parameters,
};
pub use respond::{Answer, respond};
pub use response::{empty, json, revalidated, with_etag};
