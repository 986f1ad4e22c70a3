//! The AWS side of a host, and the clients that functions have.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region, SharedHttpClient, retry::RetryConfig};
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use local::aws::Aws;
use local::conditions::Conditions;
use local::events::Snapshot;
use local::template::{Queue, Table};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An AWS side with what a test needs around it.
pub(crate) struct Host {
    pub(crate) aws: Aws,
    _dir: TempDir,
}

impl Host {
    pub(crate) async fn start(tables: &[Table], queues: &[Queue]) -> Host {
        let dir = tempfile::tempdir().unwrap();
        let aws = start(dir.path(), None, tables, queues).await.unwrap();
        Host { aws, _dir: dir }
    }

    /// The URL of a queue by its name (not its logical id).
    pub(crate) fn queue_url(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.aws.endpoint_url)
    }
}

pub(crate) async fn start(
    ca_dir: &Path,
    data_dir: Option<&Path>,
    tables: &[Table],
    queues: &[Queue],
) -> Result<Aws, String> {
    let aws = Aws::start(ca_dir, data_dir, Conditions::default()).await?;
    aws.create(tables, queues).await?;
    Ok(aws)
}

/// A table with the key `id`, and the index `by-kind` on `kind` and `id`.
pub(crate) fn table(logical_id: &str) -> Table {
    Table {
        logical_id: logical_id.to_owned(),
        name: format!("local-{logical_id}"),
        create: json!({
            "TableName": format!("local-{logical_id}"),
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": "id", "AttributeType": "S"},
                {"AttributeName": "kind", "AttributeType": "S"},
            ],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "GlobalSecondaryIndexes": [{
                "IndexName": "by-kind",
                "KeySchema": [
                    {"AttributeName": "kind", "KeyType": "HASH"},
                    {"AttributeName": "id", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }],
        }),
        ttl_attribute: Some("expires_at".to_owned()),
    }
}

pub(crate) fn queue(
    logical_id: &str,
    attributes: &[(&str, &str)],
    redrive_policy: Option<String>,
) -> Queue {
    Queue {
        logical_id: logical_id.to_owned(),
        name: format!("local-{logical_id}"),
        attributes: attributes
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        redrive_policy,
    }
}

/// `OrdersQueue`, which gives up on a message after two receives, and where it then goes.
pub(crate) fn queues(visibility_timeout: &str) -> [Queue; 2] {
    let arn = local::sqs::queue_arn("local-OrdersDeadLetterQueue");
    let redrive = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 2}).to_string();
    let attributes = [("VisibilityTimeout", visibility_timeout)];
    [
        queue("OrdersQueue", &attributes, Some(redrive)),
        queue("OrdersDeadLetterQueue", &[], None),
    ]
}

pub(crate) fn dynamodb(aws: &Aws, caller: &str) -> aws_sdk_dynamodb::Client {
    let pem = std::fs::read(&aws.ca_file).unwrap();
    dynamodb_trusting(aws, caller, TrustStore::empty().with_pem_certificate(pem))
}

pub(crate) fn dynamodb_trusting(
    aws: &Aws,
    caller: &str,
    trust: TrustStore,
) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::from_conf(
        aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::from_keys(caller, "secret", None))
            .retry_config(RetryConfig::disabled())
            .http_client(http_client(trust))
            .endpoint_url(&aws.endpoint_url)
            .build(),
    )
}

pub(crate) fn sqs(aws: &Aws, caller: &str) -> aws_sdk_sqs::Client {
    let pem = std::fs::read(&aws.ca_file).unwrap();
    aws_sdk_sqs::Client::from_conf(
        aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
            .region(aws_sdk_sqs::config::Region::from_static("us-east-1"))
            .credentials_provider(Credentials::from_keys(caller, "secret", None))
            .retry_config(aws_sdk_sqs::config::retry::RetryConfig::disabled())
            .http_client(http_client(TrustStore::empty().with_pem_certificate(pem)))
            .endpoint_url(&aws.endpoint_url)
            .build(),
    )
}

fn http_client(trust: TrustStore) -> SharedHttpClient {
    let tls = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .unwrap();
    aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build_https()
}

/// An answer to a request that no SDK would make.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One signed request on a connection of its own, to `name`, by one version of TLS.
pub(crate) async fn request(
    aws: &Aws,
    name: &'static str,
    version: &'static rustls::SupportedProtocolVersion,
    target: &str,
    body: Bytes,
) -> Answer {
    let credential = "AWS4-HMAC-SHA256 Credential=Raw/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";
    let request = http::Request::post("/")
        .header("host", if name == "::1" { "[::1]" } else { name })
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", target)
        .header("x-amz-date", "20260101T000000Z")
        .header("authorization", credential)
        .body(Full::new(body))
        .unwrap();
    send(aws, name, version, request).await
}

/// Any request on a connection of its own.
pub(crate) async fn send(
    aws: &Aws,
    name: &'static str,
    version: &'static rustls::SupportedProtocolVersion,
    request: http::Request<Full<Bytes>>,
) -> Answer {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&aws.ca_file).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let address = aws.endpoint_url.strip_prefix("https://").unwrap();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(name).unwrap(), stream)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response
            .headers()
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_str().unwrap().to_owned()))
            .collect(),
        body: response.into_body().collect().await.unwrap().to_bytes(),
    }
}

/// Waits until what the meter says fits, and returns it.
pub(crate) async fn measured(aws: &Aws, what: &str, fits: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let wait = async {
        loop {
            let measured = aws.measured();
            if fits(&measured) {
                return measured;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(30), wait).await {
        Ok(measured) => measured,
        Err(_) => panic!("{what} did not happen: {:#?}", aws.measured()),
    }
}
