//! Items of a lesson's tables, written and read past its functions through the host's own endpoint.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, crypto};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::host::Ready;

/// The endpoint checks no signature, and takes the key's id for the caller's name.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=workshop/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";

/// A call takes a millisecond here.
const LIMIT: Duration = Duration::from_secs(30);

/// Items of one call (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>).
const BATCH: usize = 25;

/// A client of the host's DynamoDB.
#[derive(Debug)]
pub struct Tables {
    endpoint: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Tables {
    /// Trusts the host's own authority alone.
    pub fn of(host: &Ready) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&host.ca_file)? {
            roots.add(certificate?)?;
        }
        let provider = crypto::ring::default_provider();
        let tls = ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(tls);
        let https = https.https_only().enable_http1().build();
        Ok(Self {
            endpoint: host.aws_endpoint_url.clone(),
            client: Client::builder(TokioExecutor::new()).build(https),
        })
    }

    /// Writes items. `table` is the table's own name.
    pub async fn put(&self, table: &str, items: &[Value]) -> Result<()> {
        for batch in items.chunks(BATCH) {
            let put = |item| json!({"PutRequest": {"Item": attributes(item)}});
            let puts: Vec<_> = batch.iter().map(put).collect();
            let body = json!({"RequestItems": {table: puts}});
            self.call("BatchWriteItem", &body).await?;
        }
        Ok(())
    }

    /// Deletes an item.
    pub async fn delete(&self, table: &str, key: &Value) -> Result<()> {
        let body = json!({"TableName": table, "Key": attributes(key)});
        self.call("DeleteItem", &body).await.map(drop)
    }

    /// Reads an item, if it exists.
    pub async fn get(&self, table: &str, key: &Value) -> Result<Option<Value>> {
        let body = json!({"TableName": table, "Key": attributes(key), "ConsistentRead": true});
        let answer = self.call("GetItem", &body).await?;
        Ok(answer.get("Item").map(plain))
    }

    async fn call(&self, operation: &str, body: &Value) -> Result<Value> {
        let request = hyper::Request::post(&self.endpoint)
            .header(AUTHORIZATION, SIGNED)
            .header(CONTENT_TYPE, "application/x-amz-json-1.0")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .body(Full::from(body.to_string()))?;
        let answer = timeout(LIMIT, self.client.request(request)).await;
        let answer = answer.context(operation.to_owned())??;
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{operation}: {}", String::from_utf8_lossy(&text));
        }
        Ok(serde_json::from_slice(&text)?)
    }
}

/// An item as DynamoDB has it: `{"id": "lamp"}` is `{"id": {"S": "lamp"}}`.
fn attributes(item: &Value) -> Value {
    let members = item.as_object().into_iter().flatten();
    let members = members.map(|(name, value)| (name.clone(), attribute(value)));
    Value::Object(members.collect::<Map<_, _>>())
}

fn attribute(value: &Value) -> Value {
    match value {
        Value::Null => json!({"NULL": true}),
        Value::Bool(value) => json!({"BOOL": value}),
        Value::Number(number) => json!({"N": number.to_string()}),
        Value::String(text) => json!({"S": text}),
        Value::Array(all) => json!({"L": all.iter().map(attribute).collect::<Vec<_>>()}),
        Value::Object(_) => json!({"M": attributes(value)}),
    }
}

/// The other way round. What a lesson cannot write, such as a set, stays as DynamoDB has it.
fn plain(item: &Value) -> Value {
    let members = item.as_object().into_iter().flatten();
    let members = members.map(|(name, value)| (name.clone(), plain_attribute(value)));
    Value::Object(members.collect::<Map<_, _>>())
}

fn plain_attribute(value: &Value) -> Value {
    let member = value.as_object().and_then(|it| it.iter().next());
    match member.map(|(kind, inner)| (kind.as_str(), inner)) {
        Some(("NULL", _)) => Value::Null,
        Some(("BOOL" | "S", inner)) => inner.clone(),
        Some(("N", Value::String(number))) => {
            serde_json::from_str(number).unwrap_or_else(|_| value.clone())
        }
        Some(("L", Value::Array(all))) => all.iter().map(plain_attribute).collect(),
        Some(("M", inner)) => plain(inner),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_written_and_read_as_dynamodb_has_it() {
        let item = json!({"id": "lamp", "price": 12, "tags": ["a", true, null], "size": {"cm": 7}});
        let stored = json!({
            "id": {"S": "lamp"}, "price": {"N": "12"},
            "tags": {"L": [{"S": "a"}, {"BOOL": true}, {"NULL": true}]}, "size": {"M": {"cm": {"N": "7"}}},
        });
        assert_eq!(attributes(&item), stored);
        assert_eq!(plain(&stored), item);
    }
}
