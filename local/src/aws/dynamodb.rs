//! DynamoDB: dynoxide on a thread of its own, and the template's tables in it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::upstream::Upstream;
use super::{AwsError, REGION, lock};
use crate::template;

/// Open connections end as soon as their request does; this is for one that hangs.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct DynamoDb {
    upstream: Upstream,
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl DynamoDb {
    /// Serves an empty database in memory, or the one in `data_dir`.
    ///
    /// dynoxide runs every operation to its end on the thread that took the request, behind one
    /// lock. On a thread of its own it cannot hold up the functions' Runtime API.
    pub(super) fn start(data_dir: Option<&Path>) -> Result<DynamoDb, String> {
        let database = match data_dir {
            None => dynoxide::Database::memory().map_err(|e| e.to_string())?,
            Some(dir) => {
                let file = dir.join("dynamodb.sqlite");
                let path = file.to_str().ok_or("the data folder's name is not UTF-8")?;
                let database = dynoxide::Database::new(path)
                    .map_err(|e| format!("{}: {e}", file.display()))?;
                // Named for something else, this is what sets SQLite's `synchronous` to NORMAL:
                // state survives the end of the process, without an fsync for each write.
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
                        // A sender that is dropped asks for the same.
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

    /// Creates the tables; one that exists already has to have the same keys and indexes.
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
        let create = create_request(table)?;
        match self.call("CreateTable", &create).await {
            Ok(_) => {}
            Err(Refused { kind, .. }) if kind == "ResourceInUseException" => {
                self.check_same(table, &create).await?;
            }
            Err(refused) => return Err(refused.message),
        }
        match &table.ttl_attribute {
            Some(attribute) => self.enable_ttl(&table.name, attribute).await,
            None => Ok(()),
        }
    }

    async fn check_same(&self, table: &template::Table, create: &Value) -> Result<(), String> {
        let described = self
            .call("DescribeTable", &json!({"TableName": table.name}))
            .await
            .map_err(|refused| refused.message)?;
        if Keys::of(create) == Keys::of(&described["Table"]) {
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
            .await
            .map_err(|refused| refused.message)?;
        // DynamoDB refuses to enable what is enabled.
        if described["TimeToLiveDescription"]["AttributeName"] == attribute {
            return Ok(());
        }
        let update = json!({
            "TableName": table,
            "TimeToLiveSpecification": {"AttributeName": attribute, "Enabled": true},
        });
        self.call("UpdateTimeToLive", &update)
            .await
            .map_err(|refused| refused.message)?;
        Ok(())
    }

    async fn call(&self, operation: &str, body: &Value) -> Result<Value, Refused> {
        let refused = |message: String| Refused {
            kind: String::new(),
            message,
        };
        let mut headers = HeaderMap::new();
        let target = format!("DynamoDB_20120810.{operation}");
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=local/19700101/{REGION}/dynamodb/aws4_request, SignedHeaders=host, Signature=0"
        );
        for (name, value) in [
            ("x-amz-target", target),
            (AUTHORIZATION.as_str(), authorization),
            ("x-amz-date", "19700101T000000Z".to_owned()),
        ] {
            let value = HeaderValue::try_from(value).map_err(|e| refused(e.to_string()))?;
            headers.insert(
                http::HeaderName::try_from(name).map_err(|e| refused(e.to_string()))?,
                value,
            );
        }
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-amz-json-1.0"),
        );
        let response = self
            .upstream
            .send(
                Method::POST,
                PathAndQuery::from_static("/"),
                headers,
                Bytes::from(body.to_string()),
            )
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

/// What makes two tables the same to a program that uses them.
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

/// The properties that CloudFormation and `CreateTable` share, and that mean something here.
/// Encryption, backups, tags of cost and other matters of operation are left out.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html>
const SHARED: [&str; 6] = [
    "AttributeDefinitions",
    "BillingMode",
    "GlobalSecondaryIndexes",
    "KeySchema",
    "LocalSecondaryIndexes",
    "ProvisionedThroughput",
];

/// `CreateTable` from CloudFormation's properties.
fn create_request(table: &template::Table) -> Result<Value, String> {
    let properties = table
        .create
        .as_object()
        .ok_or("its properties are not an object")?;
    let mut request: Map<String, Value> = properties
        .iter()
        .filter(|(name, _)| SHARED.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    request.insert("TableName".to_owned(), Value::from(table.name.as_str()));
    // CloudFormation's default is provisioned, and it then insists on the throughput.
    throughput_as_numbers(&mut request)?;
    if let Some(indexes) = request
        .get_mut("GlobalSecondaryIndexes")
        .and_then(Value::as_array_mut)
    {
        for index in indexes.iter_mut().filter_map(Value::as_object_mut) {
            index.remove("ContributorInsightsSpecification");
            throughput_as_numbers(index)?;
        }
    }
    // CloudFormation knows no disabled stream, so it has no `StreamEnabled`.
    if let Some(view) = properties
        .get("StreamSpecification")
        .and_then(|s| s.get("StreamViewType"))
    {
        let stream = json!({"StreamEnabled": true, "StreamViewType": view});
        request.insert("StreamSpecification".to_owned(), stream);
    }
    Ok(Value::Object(request))
}

/// A parameter's value is a string; CloudFormation takes it for a number, the API does not.
fn throughput_as_numbers(properties: &mut Map<String, Value>) -> Result<(), String> {
    let Some(throughput) = properties.get_mut("ProvisionedThroughput") else {
        return Ok(());
    };
    for name in ["ReadCapacityUnits", "WriteCapacityUnits"] {
        if let Some(value) = throughput.get_mut(name)
            && let Some(text) = value.as_str()
        {
            let units: u64 = text
                .parse()
                .map_err(|_| format!("{name} {text:?} is not a number"))?;
            *value = units.into();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(create: Value) -> template::Table {
        template::Table {
            logical_id: "Table".to_owned(),
            name: "local-Table".to_owned(),
            create,
            ttl_attribute: None,
        }
    }

    #[test]
    fn what_create_table_does_not_take_is_left_out() {
        let request = create_request(&table(json!({
            "KeySchema": [],
            "TimeToLiveSpecification": {"AttributeName": "expires", "Enabled": true},
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": true},
            "SSESpecification": {"SSEEnabled": true},
            "StreamSpecification": {"StreamViewType": "NEW_IMAGE"},
            "ProvisionedThroughput": {"ReadCapacityUnits": "5", "WriteCapacityUnits": 1},
        })))
        .unwrap();
        assert_eq!(
            request,
            json!({
                "TableName": "local-Table",
                "KeySchema": [],
                "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_IMAGE"},
                "ProvisionedThroughput": {"ReadCapacityUnits": 5, "WriteCapacityUnits": 1},
            })
        );
    }
}
