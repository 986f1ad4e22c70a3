//! AWS clients, built once for each execution environment. Everything that makes a cold start quick is
//! chosen here, in `http_client` or in `tls`; figures are CPU time from `make bench-ladder`, and
//! `docs/cold-start.md` has the rest, with what was tried and left out. How long calls may take is
//! chosen with [`deadline`](crate::deadline).
//!
//! - **TLS is rustls with ring.** The first handshake of the SDK's default costs 30 ms: over 400 ms
//!   of waiting at 128 MB.
//! - **Credentials, region and endpoints come from environment variables**, where Lambda puts them.
//!   The provider chain of `aws-config` costs 0.2 ms and 0.3 MB of zip.
//! - **Amazon's roots are compiled in**, see `tls/trust.rs`. To read the system's takes 0.6 ms.
//! - **The HTTP client is hyper alone**, and `tls` links no more than AWS needs: 0.26 MB of zip less.
//! - **One call is made before the first request**, see [`prime`]: 0.5 ms of it are moved from the
//!   first invocation to the init phase, for 0.15 ms more in all.
//!
//! Left as the SDK has it: request signing, certificate verification, retries with backoff and jitter.
//! Credentials are never renewed: they are in variables that Lambda set when the environment started.
//! Where AWS refuses them, only a fresh environment helps, see [`end_environment`].

use std::fmt;
use std::future::Future;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use thiserror::Error;

use crate::http_client;
use crate::tls::Trust;

/// A connection within a region takes a millisecond or two. Without an answer after this its first
/// packet is lost, and the system would send that again only after a second.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

/// One attempt of a call, with connection and TLS handshake. DynamoDB and SQS answer in milliseconds;
/// the handshake, which costs 0.5 ms of CPU, takes some 15 ms on the share of a vCPU that 128 MB buys.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(250);

/// The same in the worker, where no client waits. A slower call is lost; a faster one is cheaper to
/// await than to retry, because an order that fails ten times is taken for poison.
const PATIENT_ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

/// One call and two repeats: what the SDK's standard mode has by default.
const ATTEMPTS: u32 = 3;

/// Repeats wait up to 50 ms, then up to 100 ms, at random. The SDK's own first pause is up to a
/// second, which suits neither DynamoDB nor a client that waits.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The retry budget of a client, in tokens: the SDK takes 10 for a repeat after a timeout or a fault of
/// AWS and 5 for one after throttling, gives them back if the repeat succeeds, and one for any other
/// success. Without tokens a call is made once.
///
/// So each environment makes ten calls more than it has requests when an outage begins, and none
/// after that. The SDK's default, 500, is meant for a client that many requests share.
const RETRY_TOKENS: usize = 100;

/// The longest that [`prime`] keeps an environment from its first request. If DynamoDB takes longer,
/// it has a problem that waiting in the init phase does not cure.
pub const PRIMING_TIMEOUT: Duration = Duration::from_millis(200);

/// Why a function cannot start: which variable is wrong, and what to do.
#[derive(Error, PartialEq, Eq)]
pub enum StartError {
    /// The variable is not set, or empty.
    #[error("the environment variable {0} is not set; {1}")]
    Missing(&'static str, &'static str),
    /// The variable does not hold a URL.
    #[error(
        "the environment variable {name} is {value:?}, which is no http:// or https:// URL; \
         correct it or remove it"
    )]
    NotAUrl {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// There is no certificate where `SSL_CERT_FILE` or `SSL_CERT_DIR` says.
    #[error(
        "no trusted root certificate is where SSL_CERT_FILE or SSL_CERT_DIR says ({0}); \
         correct it, or remove it: AWS is trusted without"
    )]
    NoRoots(String),
    /// The TLS library refused its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// `main` prints the error that it returns by its `Debug`; a person should read the sentence.
impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads a variable that a function cannot do without; `template.yaml` sets it.
///
/// # Errors
/// [`StartError::Missing`] when it is not set or empty.
pub fn required(name: &'static str) -> Result<String, StartError> {
    require(
        &environment,
        name,
        "set it under Environment in template.yaml",
    )
}

/// Ends this execution environment, because no later request to it could succeed: AWS refuses its
/// credentials, for example, and it has no others. Lambda starts a fresh one for the next request.
pub fn end_environment(cause: &str) -> ! {
    tracing::error!(
        cause,
        "this execution environment is of no more use, and ends"
    );
    std::process::exit(1)
}

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
    region: String,
    credentials: Credentials,
    dynamodb_endpoint: Option<String>,
    #[cfg(feature = "orders-queue")]
    sqs_endpoint: Option<String>,
    http_client: SharedHttpClient,
    attempt_timeout: Duration,
}

/// Both SDKs have a configuration builder of their own type, with the same methods.
macro_rules! client {
    ($sdk:ident, $aws:expr, $endpoint:expr) => {{
        let mut config = $sdk::Config::builder()
            .region($sdk::config::Region::new($aws.region.clone()))
            .credentials_provider($aws.credentials.clone())
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
        Self::from_lookup(&environment)
    }

    fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, StartError> {
        const FROM_LAMBDA: &str = "Lambda sets it; to run the function by hand, export it";
        let credentials = Credentials::from_keys(
            require(lookup, "AWS_ACCESS_KEY_ID", FROM_LAMBDA)?,
            require(lookup, "AWS_SECRET_ACCESS_KEY", FROM_LAMBDA)?,
            lookup("AWS_SESSION_TOKEN"),
        );
        Ok(Self {
            region: require(lookup, "AWS_REGION", FROM_LAMBDA)?,
            credentials,
            dynamodb_endpoint: endpoint(lookup, "AWS_ENDPOINT_URL_DYNAMODB")?,
            #[cfg(feature = "orders-queue")]
            sqs_endpoint: endpoint(lookup, "AWS_ENDPOINT_URL_SQS")?,
            http_client: http_client::new(
                Trust::from_env().map_err(StartError::NoRoots)?,
                CONNECT_TIMEOUT,
            )
            .map_err(|error| StartError::Tls(error.to_string()))?,
            attempt_timeout: ATTEMPT_TIMEOUT,
        })
    }

    /// For work that no client waits for: each attempt of a call may take 1.5 s instead of 250 ms.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.attempt_timeout = PATIENT_ATTEMPT_TIMEOUT;
        self
    }

    /// A client for DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        client!(aws_sdk_dynamodb, self, self.dynamodb_endpoint)
    }

    /// A client for SQS, on the same HTTP client.
    #[cfg(feature = "orders-queue")]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        client!(aws_sdk_sqs, self, self.sqs_endpoint)
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn require(
    lookup: &dyn Fn(&str) -> Option<String>,
    name: &'static str,
    advice: &'static str,
) -> Result<String, StartError> {
    lookup(name).ok_or(StartError::Missing(name, advice))
}

/// The endpoint for one service: its own variable, then the one for all services
/// ([service-specific endpoints](https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html)).
fn endpoint(
    lookup: &dyn Fn(&str) -> Option<String>,
    own: &'static str,
) -> Result<Option<String>, StartError> {
    for name in [own, "AWS_ENDPOINT_URL"] {
        let Some(value) = lookup(name) else { continue };
        let url = value.parse::<http::Uri>();
        let is_web = matches!(
            url.as_ref().map(http::Uri::scheme_str),
            Ok(Some("http" | "https"))
        );
        return if is_web {
            Ok(Some(value))
        } else {
            Err(StartError::NotAUrl { name, value })
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_sdk_dynamodb::types::AttributeValue;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::problem::Problem;

    fn lookup<'a>(variables: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        }
    }

    const COMPLETE: [(&str, &str); 3] = [
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "here"),
    ];

    #[test]
    fn a_missing_variable_is_named_with_what_to_do() {
        for missing in COMPLETE.map(|(name, _)| name) {
            let rest: Vec<_> = COMPLETE
                .into_iter()
                .filter(|(name, _)| *name != missing)
                .collect();

            let message = Aws::from_lookup(&lookup(&rest)).unwrap_err().to_string();

            assert!(
                message.contains(missing) && message.contains("export it"),
                "{message}"
            );
        }
    }

    #[test]
    fn the_endpoint_of_a_service_wins_over_the_one_for_all() {
        let variables = [
            ("AWS_ENDPOINT_URL", "http://all"),
            ("AWS_ENDPOINT_URL_SQS", "https://one:8"),
        ];

        let find = |name| endpoint(&lookup(&variables), name).unwrap();

        assert_eq!(
            find("AWS_ENDPOINT_URL_SQS").as_deref(),
            Some("https://one:8")
        );
        assert_eq!(
            find("AWS_ENDPOINT_URL_DYNAMODB").as_deref(),
            Some("http://all")
        );
    }

    #[test]
    fn an_endpoint_that_is_no_url_is_refused_by_name() {
        for value in ["localhost:8000", "/path", "ftp://host", "http://"] {
            let variables = [("AWS_ENDPOINT_URL", value)];

            let error = endpoint(&lookup(&variables), "AWS_ENDPOINT_URL_SQS").unwrap_err();

            assert!(
                error.to_string().contains("AWS_ENDPOINT_URL"),
                "{value}: {error}"
            );
        }
    }

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
        Aws {
            region: "here".to_owned(),
            credentials: Credentials::from_keys("key", "secret", None),
            dynamodb_endpoint: Some(endpoint),
            #[cfg(feature = "orders-queue")]
            sqs_endpoint: None,
            http_client: http_client::new(Trust::default(), CONNECT_TIMEOUT).unwrap(),
            attempt_timeout: ATTEMPT_TIMEOUT,
        }
    }

    async fn read(aws: &Aws) -> Result<(), Problem> {
        let call = aws.dynamodb().get_item().table_name("table");
        let call = call.key("id", AttributeValue::S("mug".to_owned()));
        let answer = tokio::time::timeout(Duration::from_secs(20), call.send()).await;
        answer.expect("each attempt ends")?;
        Ok(())
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

                let problem = outcome.unwrap_err();
                assert_eq!(problem.status(), 503, "{way} to {scheme}: {problem}");
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

        assert_eq!(outcome.unwrap_err().status(), 503);
    }

    #[tokio::test]
    async fn a_call_that_takes_longer_than_a_client_waits_is_waited_for_by_the_patient() {
        let (address, _) = serve(async |stream| {
            tokio::time::sleep(2 * ATTEMPT_TIMEOUT).await;
            say(stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        })
        .await;
        let aws = aws(format!("http://{address}"));

        assert_eq!(read(&aws).await.unwrap_err().status(), 503);
        assert_eq!(read(&aws.patient()).await, Ok(()));
    }
}
