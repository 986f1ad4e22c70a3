//! The HTTP client under the AWS SDK: hyper for HTTP/1.1 and rustls with ring for TLS.
//!
//! The SDK has one of its own, which can also do HTTP/2 and proxies. DynamoDB and SQS are called
//! over HTTP/1.1 and nothing stands between, so this one takes 0.24 MB less of the zip; see
//! `docs/cold-start.md`. Retries and timeouts of whole calls stay with the SDK.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{self, CaptureConnection, capture_connection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, KeyProvider, ring};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

/// A function talks to DynamoDB and to SQS. The default would make room for the sessions of 256
/// hosts.
const HOSTS: usize = 2;

/// The certificates that the client trusts: those of the file in `SSL_CERT_FILE`, or the system's.
///
/// # Errors
/// Why there is none.
pub(crate) fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(reasons.join("; "));
    }
    Ok(roots)
}

/// A client that trusts `roots`, and gives up opening a TCP connection after `connect_timeout`.
///
/// # Errors
/// If ring had none of the TLS versions that rustls allows, which is not so.
pub(crate) fn new(
    roots: RootCertStore,
    connect_timeout: Duration,
) -> Result<SharedHttpClient, rustls::Error> {
    let crypto = CryptoProvider {
        key_provider: &NoKeys,
        ..ring::default_provider()
    };
    let mut tls = ClientConfig::builder_with_provider(Arc::new(crypto))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.resumption = Resumption::in_memory_sessions(HOSTS);
    let mut tcp = connect::HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(connect_timeout));
    // Nagle's algorithm would hold back a small request while another is unacknowledged.
    tcp.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector);
    Ok(SharedHttpClient::new(Hyper(client)))
}

/// A client proves who it is by signed requests and not by a certificate, so nothing that could sign
/// with the key of one is linked.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("no client certificates".to_owned()))
    }
}

#[derive(Clone, Debug)]
struct Hyper(Client<HttpsConnector<connect::HttpConnector>, SdkBody>);

#[derive(Debug)]
struct Connector {
    client: Hyper,
    read_timeout: Option<Duration>,
}

impl HttpClient for Hyper {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            client: self.clone(),
            read_timeout: settings.read_timeout(),
        })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Hyper(client) = self.client.clone();
        let read_timeout = self.read_timeout;
        HttpConnectorFuture::new(async move {
            let mut request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(error.into()))?;
            // The SDK does not repeat a failed call on the connection that it failed on.
            let connection = capture_connection(&mut request);
            if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
                capture.set_connection_retriever(move || metadata(&connection));
            }
            let response = client.request(request);
            let response = match read_timeout {
                Some(limit) => timeout(limit, response)
                    .await
                    .map_err(|elapsed| ConnectorError::timeout(elapsed.into()))?,
                None => response.await,
            };
            HttpResponse::try_from(response.map_err(failure)?.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

fn metadata(connection: &CaptureConnection) -> Option<ConnectionMetadata> {
    connection.connection_metadata().as_ref()?;
    let connection = connection.clone();
    let poison = move || {
        if let Some(connected) = connection.connection_metadata().as_ref() {
            connected.poison();
        }
    };
    Some(
        ConnectionMetadata::builder()
            .proxied(false)
            .poison_fn(poison)
            .build(),
    )
}

/// The SDK repeats a call after either, with a pause; which it was is for the log.
fn failure(error: legacy::Error) -> ConnectorError {
    let mut cause: Option<&dyn StdError> = Some(&error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::TimedOut
        {
            return ConnectorError::timeout(error.into());
        }
        cause = inner.source();
    }
    ConnectorError::io(error.into())
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::{Credentials, Region};
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A DynamoDB of one answer at `https://localhost:<port>`, and the certificate that proves it.
    async fn server() -> (String, RootCertStore) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut request = [0; 8192];
                let _ = stream.read(&mut request).await.unwrap();
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        (url, roots)
    }

    fn dynamodb(url: &str, roots: RootCertStore) -> aws_sdk_dynamodb::Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version_latest()
            .region(Region::new("here"))
            .credentials_provider(Credentials::from_keys("key", "secret", None))
            .endpoint_url(url)
            .retry_config(aws_smithy_types::retry::RetryConfig::disabled())
            .http_client(new(roots, Duration::from_secs(5)).unwrap());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    #[tokio::test]
    async fn a_certificate_that_is_trusted_is_accepted() {
        let (url, roots) = server().await;

        let answer = dynamodb(&url, roots).list_tables().send().await;

        assert!(answer.is_ok(), "{answer:?}");
    }

    #[tokio::test]
    async fn an_untrusted_certificate_is_refused() {
        let (url, _) = server().await;
        let (_, roots_of_another) = server().await;

        let error = dynamodb(&url, roots_of_another)
            .list_tables()
            .send()
            .await
            .unwrap_err();

        let text = format!("{error:?}");
        assert!(text.contains("InvalidCertificate"), "{text}");
    }

    #[tokio::test]
    async fn a_certificate_for_another_name_is_refused() {
        let (url, roots) = server().await;
        let by_address = url.replace("localhost", "127.0.0.1");

        let error = dynamodb(&by_address, roots)
            .list_tables()
            .send()
            .await
            .unwrap_err();

        let text = format!("{error:?}");
        assert!(text.contains("NotValidForName"), "{text}");
    }
}
