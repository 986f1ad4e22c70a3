//! AWS clients, built once for each execution environment. What makes a cold start quick is chosen
//! here or in [`cold_start`]; figures are CPU time from `make bench-ladder`, and
//! `docs/cold-start.md` has the rest, with what was tried and left out. How long calls may take is
//! chosen in [`time`](crate::time).
//!
//! - **TLS is rustls with ring.** The first handshake of the SDK's default costs 30 ms: over 400 ms
//!   of waiting at 128 MB.
//! - **Credentials, region and endpoints come from environment variables**, where Lambda puts them.
//!   The provider chain of `aws-config` costs 0.2 ms and 0.3 MB of zip.
//! - **Amazon's roots are compiled in**, see `cold_start/tls/trust.rs`. To read the system's takes
//!   0.6 ms.
//! - **The HTTP client is hyper alone**, and `tls` links no more than AWS needs: 0.26 MB of zip less.
//! - **One call is made before the first request**, see [`prime`]: 0.5 ms of it are moved from the
//!   first invocation to the init phase, for 0.15 ms more in all.
//!
//! Left as the SDK has it: request signing, certificate verification, retries with backoff and jitter.
//! Credentials are never renewed: they are in variables that Lambda set when the environment started.
//! Where AWS refuses them, only a fresh environment helps, see
//! [`end_environment`](super::end_environment).

use std::future::Future;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;

use super::variables::{StartError, Variables};
use crate::cold_start::{self, Trust};
use crate::time::{
    ATTEMPT_TIMEOUT, CONNECT_TIMEOUT, FIRST_PAUSE, PATIENT_ATTEMPT_TIMEOUT, PRIMING_TIMEOUT,
};

/// One call and two repeats: what the SDK's standard mode has by default.
const ATTEMPTS: u32 = 3;

/// The retry budget of a client, in tokens: the SDK takes 10 for a repeat after a timeout or a fault of
/// AWS and 5 for one after throttling, gives them back if the repeat succeeds, and one for any other
/// success. Without tokens a call is made once.
///
/// So each environment makes ten calls more than it has requests when an outage begins, and none
/// after that. The SDK's default, 500, is meant for a client that many requests share.
const RETRY_TOKENS: usize = 100;

/// Makes a first call in the init phase, and throws its answer away.
///
/// It opens the connection and makes the SDK ready, so that the first request costs as much as any
/// other. Lambda bills the init phase, but runs it on a whole vCPU, while an invocation gets only
/// the share that its memory buys. It costs one more read for each environment.
///
/// If AWS cannot be reached, the first request reports it.
pub async fn prime<T>(call: impl Future<Output = T>) {
    let _ = tokio::time::timeout(PRIMING_TIMEOUT, call).await;
}

/// The parts that all clients of one execution environment share.
#[derive(Debug, Clone)]
pub struct Aws {
    variables: Variables,
    http_client: SharedHttpClient,
    attempt_timeout: Duration,
}

/// Both SDKs have a configuration builder of their own type, with the same methods.
macro_rules! client {
    ($sdk:ident, $aws:expr, $endpoint:expr) => {{
        let mut config = $sdk::Config::builder()
            .region($sdk::config::Region::new($aws.variables.region.clone()))
            .credentials_provider($aws.variables.credentials.clone())
            .http_client($aws.http_client.clone())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(ATTEMPTS)
                    .with_initial_backoff(FIRST_PAUSE),
            )
            .retry_partition(
                $sdk::config::retry::RetryPartition::custom("shop")
                    .token_bucket($sdk::config::retry::TokenBucket::new(RETRY_TOKENS))
                    .build(),
            )
            // All attempts together end with the request, see `deadline`.
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_attempt_timeout($aws.attempt_timeout)
                    .build(),
            )
            // It watches long transfers. Ours are a few kilobytes, and the timeouts bound them.
            .stalled_stream_protection($sdk::config::StalledStreamProtectionConfig::disabled())
            // Lambda's credentials stay the same as long as the execution environment does.
            .identity_cache($sdk::config::IdentityCache::no_cache());
        config.set_endpoint_url($endpoint.clone());
        $sdk::Client::from_conf(config.build())
    }};
}

impl Aws {
    /// Reads region, credentials and endpoints from the variables that AWS defines for them.
    ///
    /// # Errors
    /// [`StartError`] for a variable that is missing or no URL.
    pub fn from_env() -> Result<Self, StartError> {
        let variables = Variables::read()?;
        let trust = Trust::from_env().map_err(StartError::NoRoots)?;
        let http_client = cold_start::http_client(trust, CONNECT_TIMEOUT)
            .map_err(|error| StartError::Tls(error.to_string()))?;
        Ok(Self::new(variables, http_client))
    }

    fn new(variables: Variables, http_client: SharedHttpClient) -> Self {
        Self {
            variables,
            http_client,
            attempt_timeout: ATTEMPT_TIMEOUT,
        }
    }

    /// For work that no client waits for: each attempt of a call may take 1.5 s instead of 250 ms.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.attempt_timeout = PATIENT_ATTEMPT_TIMEOUT;
        self
    }

    /// A client for DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        client!(aws_sdk_dynamodb, self, self.variables.dynamodb_endpoint)
    }

    /// A client for SQS, on the same HTTP client.
    #[cfg(feature = "orders-queue")]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        client!(aws_sdk_sqs, self, self.variables.sqs_endpoint)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_credential_types::Credentials;
    use aws_sdk_dynamodb::types::AttributeValue;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::domain::Problem;

    /// Answers each connection by `answer`. Gives the address and the count of connections.
    async fn serve<F>(
        answer: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> (String, Arc<AtomicUsize>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(answer(stream));
            }
        });
        (address, connections)
    }

    fn aws(endpoint: String) -> Aws {
        let variables = Variables {
            region: "here".to_owned(),
            credentials: Credentials::from_keys("key", "secret", None),
            dynamodb_endpoint: Some(endpoint),
            #[cfg(feature = "orders-queue")]
            sqs_endpoint: None,
        };
        let http_client = cold_start::http_client(Trust::default(), CONNECT_TIMEOUT).unwrap();
        Aws::new(variables, http_client)
    }

    async fn read(aws: &Aws) -> Result<(), Problem> {
        let call = aws.dynamodb().get_item().table_name("table");
        let call = call.key("id", AttributeValue::S("mug".to_owned()));
        let answer = tokio::time::timeout(Duration::from_secs(20), call.send()).await;
        answer.expect("each attempt ends")?;
        Ok(())
    }

    fn assert_unavailable(outcome: &Result<(), Problem>, why: &str) {
        assert!(
            matches!(outcome, Err(Problem::Unavailable { .. })),
            "{why}: {outcome:?}"
        );
    }

    async fn say(mut stream: TcpStream, answer: &str) {
        let mut request = [0; 8192];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        pending::<()>().await;
    }

    #[tokio::test]
    async fn however_aws_cannot_be_reached_it_is_asked_three_times_and_the_client_to_come_back() {
        let nothing = serve(async |_| pending().await).await;
        let the_end = serve(async |_| ()).await;
        let nonsense = serve(async |stream| say(stream, "SSH-2.0-OpenSSH_9.9\r\n\r\n").await).await;

        for (way, (address, connections)) in [
            ("no answer", nothing),
            ("the end of the connection", the_end),
            ("another protocol", nonsense),
        ] {
            for scheme in ["http", "https"] {
                connections.store(0, Ordering::Relaxed);

                let outcome = read(&aws(format!("{scheme}://{address}"))).await;

                assert_unavailable(&outcome, &format!("{way} to {scheme}"));
                assert_eq!(connections.load(Ordering::Relaxed), 3, "{way} to {scheme}");
            }
        }
    }

    #[tokio::test]
    async fn a_refused_connection_is_an_answer_to_come_back_later() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        drop(listener);

        let outcome = read(&aws(endpoint)).await;

        assert_unavailable(&outcome, "a refused connection");
    }

    #[tokio::test]
    async fn a_call_that_takes_longer_than_a_client_waits_is_waited_for_by_the_patient() {
        let (address, _) = serve(async |stream| {
            tokio::time::sleep(2 * ATTEMPT_TIMEOUT).await;
            say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        })
        .await;
        let aws = aws(format!("http://{address}"));

        assert_unavailable(&read(&aws).await, "a slow answer");
        assert_eq!(read(&aws.patient()).await, Ok(()));
    }
}
