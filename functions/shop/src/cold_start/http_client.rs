//! The HTTP client under the AWS SDK: hyper for HTTP/1.1, over [`tls`].
//!
//! The SDK has one of its own, which can also do HTTP/2 and proxies. DynamoDB and SQS are called
//! over HTTP/1.1 and nothing stands between, so this one takes 0.21 MB less of the zip; see
//! `docs/cold-start.md`. Retries and timeouts of whole calls stay with the SDK.

use std::error::Error as StdError;
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
use tokio::time::timeout;

use super::tls::{self, Trust};

/// A client that connects to servers that `trust` accepts, and gives up opening a TCP connection after
/// `connect_timeout`.
///
/// # Errors
/// As [`tls::config`].
pub(crate) fn new(
    trust: Trust,
    connect_timeout: Duration,
) -> Result<SharedHttpClient, rustls::Error> {
    let mut tcp = connect::HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(connect_timeout));
    // Nagle's algorithm would hold back a small request while another is unacknowledged.
    tcp.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls::config(trust)?)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector);
    Ok(SharedHttpClient::new(Hyper(client)))
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
    use std::sync::Arc;

    use aws_sdk_dynamodb::config::{Credentials, Region};
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::version::{TLS12, TLS13};
    use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A DynamoDB of one answer at `https://localhost:<port>`, and the certificate that proves it.
    async fn server() -> (String, RootCertStore) {
        server_with(&TLS13).await
    }

    async fn server_with(version: &'static SupportedProtocolVersion) -> (String, RootCertStore) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let cert = cert.self_signed(&key).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let tls =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[version])
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
            .http_client(new(Trust::Given(roots), Duration::from_secs(5)).unwrap());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    #[tokio::test]
    async fn a_server_is_reached_by_tls_1_3_and_by_tls_1_2_alone() {
        for version in [&TLS13, &TLS12] {
            let (url, roots) = server_with(version).await;

            let answer = dynamodb(&url, roots).list_tables().send().await;

            assert!(answer.is_ok(), "{version:?}: {answer:?}");
        }
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
