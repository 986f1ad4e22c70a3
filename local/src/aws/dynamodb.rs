//! DynamoDB: dynoxide on its own thread, with the template's tables.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::upstream::Upstream;
use super::{AwsError, lock};
use crate::template;

/// Open connections close with their request; this limit is for one that hangs.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=local/20000101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0";

#[derive(Debug)]
pub(super) struct DynamoDb {
    upstream: Upstream,
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl DynamoDb {
    /// Serves an empty database in memory, or the one in `data_dir`.
    ///
    /// dynoxide runs each operation to its end on the thread that took the request, behind one
    /// lock. On its own thread it cannot delay the functions' Runtime API.
    pub(super) fn start(data_dir: Option<&Path>) -> Result<DynamoDb, String> {
        let database = match data_dir {
            None => dynoxide::Database::memory().map_err(|e| e.to_string())?,
            Some(dir) => {
                let file = dir.join("dynamodb.sqlite");
                let path = file.to_str().ok_or("the data folder's name is not UTF-8")?;
                let database = dynoxide::Database::new(path)
                    .map_err(|e| format!("{}: {e}", file.display()))?;
                // Despite its name, this sets SQLite's `synchronous` to NORMAL: state survives the
                // end of the process, without an fsync for each write.
                database.disable_bulk_loading().map_err(|e| e.to_string())?;
                database
            }
        };
        let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|e| e.to_string())?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;

        let upstream = Upstream::new("DynamoDB");
        let (stop, stopped) = oneshot::channel();
        let served = upstream.clone();
        let thread = std::thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(move || {
                let serve = async {
                    let listener =
                        tokio::net::TcpListener::from_std(listener).map_err(|e| e.to_string())?;
                    dynoxide::server::serve_with_shutdown(listener, database, async {
                        // A dropped sender means the same.
                        let _ = stopped.await;
                    })
                    .await
                };
                if let Err(why) = runtime.block_on(serve) {
                    served.failed(&format!("DynamoDB ended: {why}"));
                }
            })
            .map_err(|e| e.to_string())?;
        upstream.started(address);
        Ok(DynamoDb {
            upstream,
            running: Mutex::new(Some((stop, thread))),
        })
    }

    pub(super) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(super) async fn shutdown(&self) {
        let Some((stop, thread)) = lock(&self.running).take() else {
            return;
        };
        let _ = stop.send(());
        let ended = tokio::task::spawn_blocking(move || thread.join());
        if tokio::time::timeout(SHUTDOWN_LIMIT, ended).await.is_err() {
            eprintln!("local: DynamoDB did not end within {SHUTDOWN_LIMIT:?}");
        }
    }

    /// Creates the tables. One that exists must have the same keys and indexes.
    pub(super) async fn create_tables(&self, tables: &[template::Table]) -> Result<(), AwsError> {
        for table in tables {
            self.create_table(table)
                .await
                .map_err(|reason| AwsError::Table {
                    table: table.logical_id.clone(),
                    reason,
                })?;
        }
        Ok(())
    }

    async fn create_table(&self, table: &template::Table) -> Result<(), String> {
        match self.call("CreateTable", &table.create).await {
            Ok(_) => {}
            Err(Refused { kind, .. }) if kind == "ResourceInUseException" => {
                self.check_same(table).await?;
            }
            Err(refused) => return Err(refused.into()),
        }
        match &table.ttl_attribute {
            Some(attribute) => self.enable_ttl(&table.name, attribute).await,
            None => Ok(()),
        }
    }

    async fn check_same(&self, table: &template::Table) -> Result<(), String> {
        let described = self
            .call("DescribeTable", &json!({"TableName": table.name}))
            .await?;
        if Keys::of(&table.create) == Keys::of(&described["Table"]) {
            return Ok(());
        }
        Err(format!(
            "{} exists in the data folder with other keys or indexes; remove the folder, or name another with --data-dir",
            table.name
        ))
    }

    async fn enable_ttl(&self, table: &str, attribute: &str) -> Result<(), String> {
        let described = self
            .call("DescribeTimeToLive", &json!({"TableName": table}))
            .await?;
        // DynamoDB refuses to enable it twice.
        if described["TimeToLiveDescription"]["AttributeName"] == attribute {
            return Ok(());
        }
        let update = json!({
            "TableName": table,
            "TimeToLiveSpecification": {"AttributeName": attribute, "Enabled": true},
        });
        self.call("UpdateTimeToLive", &update).await?;
        Ok(())
    }

    async fn call(&self, operation: &str, body: &Value) -> Result<Value, Refused> {
        let refused = |message: String| Refused {
            kind: String::new(),
            message,
        };
        let target = HeaderValue::try_from(format!("DynamoDB_20120810.{operation}"))
            .map_err(|e| refused(e.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-amz-json-1.0"),
        );
        headers.insert("x-amz-target", target);
        // dynoxide requires a signature, but does not check it.
        headers.insert(AUTHORIZATION, HeaderValue::from_static(SIGNATURE));
        headers.insert("x-amz-date", HeaderValue::from_static("20000101T000000Z"));
        let path = PathAndQuery::from_static("/");
        let response = self
            .upstream
            .send(Method::POST, path, headers, Bytes::from(body.to_string()))
            .await
            .map_err(|e| refused(e.to_string()))?;
        let answer: Value =
            serde_json::from_slice(response.body()).map_err(|e| refused(e.to_string()))?;
        if response.status().is_success() {
            return Ok(answer);
        }
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let kind = text("__type")
            .rsplit('#')
            .next()
            .unwrap_or_default()
            .to_owned();
        let message = format!("{kind}: {}{}", text("message"), text("Message"));
        Err(Refused { kind, message })
    }
}

struct Refused {
    kind: String,
    message: String,
}

impl From<Refused> for String {
    fn from(refused: Refused) -> String {
        refused.message
    }
}

/// Two tables with the same keys are the same to a program that uses them.
#[derive(PartialEq)]
struct Keys(Vec<(String, Value)>);

impl Keys {
    fn of(table: &Value) -> Keys {
        let mut keys = vec![(String::new(), table["KeySchema"].clone())];
        for indexes in ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"] {
            for index in table[indexes].as_array().into_iter().flatten() {
                let name = index["IndexName"].as_str().unwrap_or_default();
                keys.push((name.to_owned(), index["KeySchema"].clone()));
            }
        }
        keys.sort_by(|one, other| one.0.cmp(&other.0));
        Keys(keys)
    }
}
