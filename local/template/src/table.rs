//! `AWS::DynamoDB::Table` and `AWS::Serverless::SimpleTable`.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html>

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::Mistake;
use crate::properties::Reader;

/// One DynamoDB table.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name in the template.
    pub logical_id: String,
    /// Its name on AWS: `TableName`, or `local-<logical id>`.
    pub name: String,
    /// The body of `CreateTable`, which CloudFormation's properties follow.
    pub create: Value,
    /// `TimeToLiveSpecification.AttributeName`, where enabled.
    pub ttl_attribute: Option<String>,
}

/// The properties that `CreateTable` takes unchanged, which DynamoDB itself checks, and the time to live.
#[derive(Deserialize, Serialize)]
#[serde(rename = "Table", rename_all = "PascalCase")]
struct Properties {
    #[serde(default = "provisioned")]
    billing_mode: String,
    attribute_definitions: Option<Value>,
    key_schema: Option<Value>,
    global_secondary_indexes: Option<Value>,
    local_secondary_indexes: Option<Value>,
    provisioned_throughput: Option<Value>,
    #[serde(rename = "TimeToLiveSpecification.AttributeName", skip_serializing)]
    ttl_attribute: Option<String>,
    #[serde(rename = "TimeToLiveSpecification.Enabled", skip_serializing, default)]
    ttl_is_enabled: bool,
}

/// A table with nothing but a primary key.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-simpletable.html>
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SimpleTable {
    #[serde(rename = "PrimaryKey.Name", default = "id")]
    key: String,
    #[serde(rename = "PrimaryKey.Type", default)]
    key_type: KeyType,
    provisioned_throughput: Option<Value>,
}

#[derive(Default, Clone, Copy, Deserialize, Serialize)]
enum KeyType {
    #[default]
    #[serde(rename(serialize = "S"))]
    String,
    #[serde(rename(serialize = "N"))]
    Number,
    #[serde(rename(serialize = "B"))]
    Binary,
}

fn id() -> String {
    "id".to_owned()
}

fn provisioned() -> String {
    "PROVISIONED".to_owned()
}

pub(crate) fn read(table: &Reader<'_>, name: String) -> Result<Table, Mistake> {
    let properties: Properties = table.read()?;
    let mut create = json!(properties);
    create["TableName"] = name.as_str().into();
    Ok(Table {
        logical_id: table.path.clone(),
        name,
        create: with_numbers(create),
        ttl_attribute: properties
            .ttl_attribute
            .filter(|_| properties.ttl_is_enabled),
    })
}

pub(crate) fn read_simple(table: &Reader<'_>, name: String) -> Result<Table, Mistake> {
    let properties: SimpleTable = table.read()?;
    let (key, key_type) = (properties.key, properties.key_type);
    let throughput = properties.provisioned_throughput;
    let billing = throughput
        .as_ref()
        .map_or("PAY_PER_REQUEST", |_| "PROVISIONED");
    let create = json!({
        "TableName": name,
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": key_type}],
        "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
        "BillingMode": billing,
        "ProvisionedThroughput": throughput,
    });
    Ok(Table {
        logical_id: table.path.clone(),
        name,
        create: with_numbers(create),
        ttl_attribute: None,
    })
}

/// The body as DynamoDB's API takes it: a number of units is no text, and nothing is null.
fn with_numbers(value: Value) -> Value {
    let entry = |(name, value): (String, Value)| match value {
        Value::Null => None,
        Value::String(text) if name.ends_with("Units") => {
            let number = text
                .parse()
                .map_or(Value::String(text), |it: u64| it.into());
            Some((name, number))
        }
        value => Some((name, with_numbers(value))),
    };
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().filter_map(entry).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(with_numbers).collect(),
        other => other,
    }
}
