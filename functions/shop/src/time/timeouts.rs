//! How long each part of the work may take.
//!
//! Each inner timeout is shorter than the outer one, so that each layer reports its own failure:
//!
//! | layer | timeout | then |
//! |---|---|---|
//! | a connection (`aws`) | 100 ms | the attempt has failed |
//! | an attempt of a call to AWS | 250 ms, in the worker 1.5 s | it is retried after a pause, while the retry budget lasts |
//! | priming, in the init phase | 200 ms | the first request opens the connection itself |
//! | a request of the API, all its calls together | [`REQUEST_LIMIT`], or the rest of the invocation | 503 |
//! | the worker, all orders of a batch together | the rest of the invocation | the orders go back to the queue |
//! | Lambda | the function's `Timeout` | the environment is ended |

use std::time::Duration;

/// A connection within a region takes a millisecond or two. Without an answer after this its first
/// packet is lost, and the system would send that again only after a second.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

/// One attempt of a call, with connection and TLS handshake. DynamoDB and SQS answer in milliseconds;
/// the handshake, which costs 0.5 ms of CPU, takes some 15 ms on the share of a vCPU that 128 MB buys.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(250);

/// The same in the worker, where no client waits. A slower call is lost; a faster one is cheaper to
/// await than to retry, because an order that fails ten times is taken for poison.
pub(crate) const PATIENT_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

/// Repeats wait up to 50 ms, then up to 100 ms, at random. The SDK's own first pause is up to a
/// second, which suits neither DynamoDB nor a client that waits.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest that `aws::prime` keeps an environment from its first request. If DynamoDB takes longer,
/// it has a problem that waiting in the init phase does not cure.
pub const PRIMING_TIMEOUT: Duration = Duration::from_millis(200);

/// How long a request of the API may work before it answers 503.
///
/// If DynamoDB does not answer, every request takes this long until the retry budget is used up,
/// and each one holds an environment. A short limit keeps an outage from using up the account's
/// concurrency as well. It is ample otherwise: a request makes at most three calls, each in
/// [single-digit milliseconds](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Introduction.html).
pub const REQUEST_LIMIT: Duration = Duration::from_millis(700);

// After a call on a dead connection there is time for one on a new connection.
const _: () = assert!(
    2 * ATTEMPT_TIMEOUT.as_millis() + FIRST_PAUSE.as_millis() < REQUEST_LIMIT.as_millis()
        && CONNECT_TIMEOUT.as_millis() < ATTEMPT_TIMEOUT.as_millis()
);
// A refusal takes less than a second, even if an environment has to start for it.
const _: () = assert!(PRIMING_TIMEOUT.as_millis() + REQUEST_LIMIT.as_millis() <= 900);

/// The longest time for one order on a quiet table: a transaction, and a write if it is rejected.
///
/// A worker with less time left does not begin. DynamoDB answers in milliseconds; this leaves room
/// for one attempt that times out.
pub const TIME_TO_SETTLE: Duration = Duration::from_secs(2);
