//! The environment variables by which a function finds its region, credentials, endpoints and
//! resources. Lambda, the SDKs and `template.yaml` define them.

use std::fmt;

use aws_credential_types::Credentials;
use thiserror::Error;

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

/// What the SDKs' own variables say.
#[derive(Clone, Debug)]
pub(super) struct Variables {
    pub(super) region: String,
    pub(super) credentials: Credentials,
    pub(super) dynamodb_endpoint: Option<String>,
    #[cfg(feature = "orders-queue")]
    pub(super) sqs_endpoint: Option<String>,
}

impl Variables {
    /// Reads them.
    ///
    /// # Errors
    /// [`StartError`] for a variable that is missing or no URL.
    pub(super) fn read() -> Result<Self, StartError> {
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
        })
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
    use super::*;

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

            let message = Variables::from_lookup(&lookup(&rest))
                .unwrap_err()
                .to_string();

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
}
