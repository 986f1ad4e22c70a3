//! DynamoDB: dynoxide in this process, with the template's tables. It listens nowhere.

use std::path::Path;

use bytes::Bytes;
use dynoxide::actions::{
    batch_get_item, batch_write_item, delete_item, get_item, put_item, query, scan,
    transact_get_items, transact_write_items, update_item,
};
use dynoxide::types::ConsumedCapacity;
use dynoxide::{Database, DynoxideError};
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::aws_json::{Operation, Refusal, Reply, Service, Units};
use crate::events::ItemsRead;
use crate::template::Table;

const ARNS_HERE: &str = "arn:aws:dynamodb:us-east-1:";
const ARNS_OF_DYNOXIDE: &str = "arn:aws:dynamodb:dynoxide:";

const REQUEST_VALIDATION: &str = "1 validation error detected: ";
const EMPTY_VALUE: &str = "Supplied AttributeValue is empty, must contain exactly one of the \
                           supported datatypes";
const TOO_DEEP: &str = "Nesting Levels have exceeded supported limits: Attributes in the item have \
                        nested levels beyond supported limit";

/// The database. Cheap to clone: all clones are the same.
///
/// dynoxide runs each operation to its end on the calling thread, behind one lock. On a thread of its
/// own it cannot delay the functions' Runtime API. The thread ends with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct DynamoDb {
    calls: mpsc::UnboundedSender<Request>,
}

#[derive(Debug)]
struct Request {
    operation: String,
    body: Bytes,
    reply: oneshot::Sender<Reply>,
}

impl DynamoDb {
    /// Opens an empty database in memory, or the one in `data_dir`.
    ///
    /// # Errors
    /// If the file cannot be opened, or there is no thread left.
    pub(crate) fn open(data_dir: Option<&Path>) -> Result<DynamoDb, String> {
        let database = match data_dir {
            None => Database::memory().map_err(|e| e.to_string())?,
            Some(dir) => {
                let file = dir.join("dynamodb.sqlite");
                let path = file.to_str().ok_or("the data folder's name is not UTF-8")?;
                let database =
                    Database::new(path).map_err(|e| format!("{}: {e}", file.display()))?;
                // Despite its name, this sets SQLite's `synchronous` to NORMAL: state survives the
                // end of the process, without an fsync for each write.
                database.disable_bulk_loading().map_err(|e| e.to_string())?;
                database
            }
        };
        let (calls, mut received) = mpsc::unbounded_channel::<Request>();
        std::thread::Builder::new()
            .name("dynamodb".to_owned())
            .spawn(move || {
                while let Some(request) = received.blocking_recv() {
                    let answer = answer(&database, &request.operation, &request.body);
                    // A caller that has gone away does not undo its call.
                    let _ = request.reply.send(answer);
                }
            })
            .map_err(|e| e.to_string())?;
        Ok(DynamoDb { calls })
    }

    /// Makes one call of the JSON protocol, and says what capacity it consumed.
    pub(crate) async fn call(&self, operation: &str, body: Bytes) -> Reply {
        let (reply, answered) = oneshot::channel();
        let operation = operation.to_owned();
        let _ = self.calls.send(Request {
            operation,
            body,
            reply,
        });
        answered.await.unwrap_or_else(|_| {
            let error = DynoxideError::InternalServerError("DynamoDB has ended".to_owned());
            refusal(&error).into()
        })
    }

    /// Creates the template's tables. One that exists must have the same keys and indexes.
    ///
    /// # Errors
    /// One line that names the table.
    pub(crate) async fn create_tables(&self, tables: &[Table]) -> Result<(), String> {
        for table in tables {
            let created = self.create_table(table).await;
            created.map_err(|reason| format!("table {}: {reason}", table.logical_id))?;
        }
        Ok(())
    }

    async fn create_table(&self, table: &Table) -> Result<(), String> {
        let described = json!({"TableName": table.name});
        match self.json("DescribeTable", &described).await {
            Ok(described) if keys(&described["Table"]) == keys(&table.create) => {}
            Ok(_) => {
                return Err(format!(
                    "{} exists in the data folder with other keys or indexes; remove the folder, or \
                     name another with --data-dir",
                    table.name
                ));
            }
            Err(_) => drop(self.json("CreateTable", &table.create).await?),
        }
        let Some(attribute) = &table.ttl_attribute else {
            return Ok(());
        };
        let enabled = json!({"AttributeName": attribute, "Enabled": true});
        let update = json!({"TableName": table.name, "TimeToLiveSpecification": enabled});
        self.json("UpdateTimeToLive", &update).await?;
        Ok(())
    }

    async fn json(&self, operation: &str, body: &Value) -> Result<Value, String> {
        let reply = self.call(operation, body.to_string().into()).await;
        let answer = reply.result.map_err(|refusal| refusal.to_string())?;
        serde_json::from_slice(&answer).map_err(|e| e.to_string())
    }
}

/// The key of a table and of each of its indexes, by index name. Two tables with the same keys are
/// the same to a program that uses them.
fn keys(table: &Value) -> Vec<(&str, &Value)> {
    let indexes = ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"].into_iter();
    let indexes = indexes.flat_map(|kind| table[kind].as_array().into_iter().flatten());
    let mut keys: Vec<_> = indexes
        .map(|index| {
            (
                index["IndexName"].as_str().unwrap_or_default(),
                &index["KeySchema"],
            )
        })
        .collect();
    keys.push(("", &table["KeySchema"]));
    keys.sort_by_key(|(name, _)| *name);
    keys
}

fn answer(database: &Database, operation: &str, body: &[u8]) -> Reply {
    match run(database, operation, body) {
        Ok((body, units)) => Reply {
            units,
            ..Ok(body.into()).into()
        },
        Err(DynoxideError::EnvelopedValidation(message)) => {
            // AWS words it so for writes of one item.
            let enveloped = matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem");
            let envelope = if enveloped { REQUEST_VALIDATION } else { "" };
            let error = DynoxideError::ValidationException(format!("{envelope}{message}"));
            refusal(&error).into()
        }
        Err(DynoxideError::UnsupportedCapability(_)) => {
            let name = operation.to_owned();
            let service = Service::DynamoDb;
            Refusal::unknown_operation(&Operation { service, name }).into()
        }
        Err(error) => refusal(&error).into(),
    }
}

fn refusal(error: &DynoxideError) -> Refusal {
    let status = StatusCode::from_u16(error.status_code());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Refusal {
        body: Some(error.to_json().into()),
        ..Refusal::new(status, error.error_type(), error.to_string())
    }
}

/// The operations that dynoxide has. Those that report their consumed capacity are asked for it
/// even if the caller did not ask; then it is left out of the answer.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ConsumedCapacity.html>
fn run(
    database: &Database,
    operation: &str,
    body: &[u8],
) -> Result<(Vec<u8>, Units), DynoxideError> {
    macro_rules! plain {
        ($method:ident) => {{
            let response = database.$method(parse(body)?)?;
            Ok((to_json(&response)?, Units::default()))
        }};
    }
    // ARNs stand in these alone; dynoxide has a region of its own in them.
    macro_rules! with_arns {
        ($method:ident) => {{
            let body = String::from_utf8_lossy(body).replace(ARNS_HERE, ARNS_OF_DYNOXIDE);
            let response = to_json(&database.$method(parse(body.as_bytes())?)?)?;
            let response = String::from_utf8_lossy(&response);
            let response = response.replace(ARNS_OF_DYNOXIDE, ARNS_HERE);
            Ok((response.into_bytes(), Units::default()))
        }};
    }
    macro_rules! metered {
        ($method:ident, $request:ty, $side:ident $(, $scanned:ident / $matched:ident)?) => {{
            let mut request: $request = parse(body)?;
            let asked = request.return_consumed_capacity.take();
            let asked = asked.filter(|level| level != "NONE");
            let level = asked.clone().unwrap_or_else(|| "TOTAL".to_owned());
            request.return_consumed_capacity = Some(level);
            let mut response = database.$method(request)?;
            let consumed = response.consumed_capacity.as_ref();
            let mut units = Units::default();
            units.$side = consumed.map_or(0.0, |consumed| consumed.units());
            $(units.items = Some(ItemsRead {
                scanned: response.$scanned as u64,
                matched: response.$matched as u64,
            });)?
            if asked.is_none() {
                response.consumed_capacity = None;
            }
            Ok((to_json(&response)?, units))
        }};
    }
    match operation {
        "GetItem" => metered!(get_item, get_item::GetItemRequest, read),
        "Query" => metered!(query, query::QueryRequest, read, scanned_count / count),
        "Scan" => metered!(scan, scan::ScanRequest, read, scanned_count / count),
        "BatchGetItem" => metered!(batch_get_item, batch_get_item::BatchGetItemRequest, read),
        "TransactGetItems" => metered!(
            transact_get_items,
            transact_get_items::TransactGetItemsRequest,
            read
        ),
        "PutItem" => metered!(put_item, put_item::PutItemRequest, write),
        "UpdateItem" => metered!(update_item, update_item::UpdateItemRequest, write),
        "DeleteItem" => metered!(delete_item, delete_item::DeleteItemRequest, write),
        "BatchWriteItem" => metered!(
            batch_write_item,
            batch_write_item::BatchWriteItemRequest,
            write
        ),
        "TransactWriteItems" => metered!(
            transact_write_items,
            transact_write_items::TransactWriteItemsRequest,
            write
        ),
        // The answers of PartiQL do not say whether the units were read or written.
        "ExecuteStatement" => plain!(execute_statement),
        "ExecuteTransaction" => plain!(execute_transaction),
        "BatchExecuteStatement" => plain!(batch_execute_statement),
        "CreateTable" => with_arns!(create_table),
        "DeleteTable" => with_arns!(delete_table),
        "DescribeTable" => with_arns!(describe_table),
        "ListTables" => plain!(list_tables),
        "UpdateTable" => with_arns!(update_table),
        "DescribeTimeToLive" => plain!(describe_time_to_live),
        "UpdateTimeToLive" => plain!(update_time_to_live),
        "TagResource" => with_arns!(tag_resource),
        "UntagResource" => with_arns!(untag_resource),
        "ListTagsOfResource" => with_arns!(list_tags_of_resource),
        "ListStreams" => with_arns!(list_streams),
        "DescribeStream" => with_arns!(describe_stream),
        "GetShardIterator" => with_arns!(get_shard_iterator),
        "GetRecords" => plain!(get_records),
        _ => Err(DynoxideError::UnsupportedCapability(operation.to_owned())),
    }
}

/// One table's units, or those of several tables.
trait Consumed {
    fn units(&self) -> f64;
}

impl Consumed for ConsumedCapacity {
    fn units(&self) -> f64 {
        self.capacity_units
    }
}

impl Consumed for Vec<ConsumedCapacity> {
    fn units(&self) -> f64 {
        self.iter().map(Consumed::units).sum()
    }
}

/// Reads a request. dynoxide marks in a message which error of DynamoDB it means.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, DynoxideError> {
    use DynoxideError::{EnvelopedValidation, SerializationException, ValidationException};

    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        if text.starts_with("recursion limit") {
            return ValidationException(TOO_DEEP.to_owned());
        }
        if text.starts_with("empty AttributeValue") {
            return ValidationException(EMPTY_VALUE.to_owned());
        }
        if !error.is_data() {
            return SerializationException(String::new());
        }
        let text = text.split(" at line ").next().unwrap_or_default();
        let owned = str::to_owned;
        match text.split_once(':') {
            Some(("VALIDATION_REQUEST", rest)) => EnvelopedValidation(owned(rest)),
            Some(("VALIDATION" | "VALIDATION_AS_READ", rest)) => ValidationException(owned(rest)),
            Some(("SERIALIZATION" | "SERIALIZATION_AS_READ", rest)) => {
                SerializationException(owned(rest))
            }
            // DynamoDB counts a member that is missing or null, and a value outside an enumeration,
            // as invalid; any other type as unreadable.
            _ => {
                let invalid = ["missing field", "unknown variant", "invalid type: null"];
                let invalid = invalid.iter().any(|start| text.starts_with(start))
                    || text.starts_with("Supplied AttributeValue");
                if invalid {
                    ValidationException(owned(text))
                } else {
                    SerializationException(owned(text))
                }
            }
        }
    })
}

fn to_json(response: &impl Serialize) -> Result<Vec<u8>, DynoxideError> {
    serde_json::to_vec(response).map_err(|e| DynoxideError::InternalServerError(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scan_says_what_it_read_and_what_its_filter_let_through() {
        let database = DynamoDb::open(None).expect("a database in memory");
        let table = json!({
            "TableName": "Things", "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        });
        let made = database.json("CreateTable", &table).await;
        made.expect("the table is made");
        for (id, colour) in [("a", "red"), ("b", "blue"), ("c", "red")] {
            let item = json!({"id": {"S": id}, "colour": {"S": colour}});
            let put = json!({"TableName": "Things", "Item": item});
            let put = database.json("PutItem", &put).await;
            put.expect("it is put");
        }
        let read = async |operation: &str, more: Value| {
            let mut body = json!({
                "TableName": "Things", "ExpressionAttributeValues": {":blue": {"S": "blue"}},
                "FilterExpression": "colour = :blue",
            });
            for (name, value) in more.as_object().into_iter().flatten() {
                body[name] = value.clone();
            }
            let reply = database.call(operation, body.to_string().into()).await;
            reply.result.expect("it is answered");
            let items = reply.units.items;
            items.map(|ItemsRead { scanned, matched }| (scanned, matched))
        };
        assert_eq!(read("Scan", json!({})).await, Some((3, 1)));
        let key = json!({
            "KeyConditionExpression": "id = :a",
            "ExpressionAttributeValues": {":a": {"S": "a"}, ":blue": {"S": "blue"}},
        });
        assert_eq!(read("Query", key).await, Some((1, 0)));
    }
}
