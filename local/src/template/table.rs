//! `AWS::DynamoDB::Table` and `AWS::Serverless::SimpleTable`.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html>

use serde_json::{Value, json};

use super::error::Fault;
use super::model::Table;
use super::object::Object;
use super::yaml::{Content, Node};

/// Properties that `CreateTable` takes unchanged. DynamoDB itself checks them.
const OF_CREATE_TABLE: [&str; 5] = [
    "AttributeDefinitions",
    "KeySchema",
    "GlobalSecondaryIndexes",
    "LocalSecondaryIndexes",
    "ProvisionedThroughput",
];

pub(super) fn read(table: &Object<'_>) -> Result<Table, Fault> {
    let billing = table.text("BillingMode")?;
    let mut create = json!({"BillingMode": billing.as_deref().unwrap_or("PROVISIONED")});
    for property in OF_CREATE_TABLE {
        if let Some(value) = table.get(property)? {
            create[property] = to_json(&value);
        }
    }
    let ttl_attribute = table.object("TimeToLiveSpecification", |ttl| {
        let (attribute, enabled) = (ttl.text("AttributeName")?, ttl.is_true("Enabled")?);
        Ok(attribute.filter(|_| enabled))
    })?;
    named(table, create, ttl_attribute.flatten())
}

/// A table with nothing but a primary key.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-simpletable.html>
pub(super) fn read_simple(table: &Object<'_>) -> Result<Table, Fault> {
    let key = table.object("PrimaryKey", |key| {
        let kind = key.one_of("Type", &["String", "Number", "Binary"])?;
        Ok((key.text("Name")?, kind))
    })?;
    let (name, kind) = key.unwrap_or_default();
    let name = name.as_deref().unwrap_or("id");
    // DynamoDB calls `String` `S`, and so on.
    let kind = kind.as_deref().map_or("S", |kind| &kind[..1]);
    let mut create = json!({
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind}],
        "KeySchema": [{"AttributeName": name, "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    });
    if let Some(throughput) = table.get("ProvisionedThroughput")? {
        create["BillingMode"] = "PROVISIONED".into();
        create["ProvisionedThroughput"] = to_json(&throughput);
    }
    named(table, create, None)
}

fn named(
    table: &Object<'_>,
    mut create: Value,
    ttl_attribute: Option<String>,
) -> Result<Table, Fault> {
    let (logical_id, name) = (table.path.clone(), table.physical_name("TableName")?);
    create["TableName"] = name.as_str().into();
    Ok(Table {
        logical_id,
        name,
        create,
        ttl_attribute,
    })
}

/// CloudFormation accepts `"5"` for 5; DynamoDB's API does not.
fn to_json(node: &Node) -> Value {
    match &node.content {
        Content::Null => Value::Null,
        Content::Text(text) => text.as_str().into(),
        Content::List(items) => items.iter().map(to_json).collect(),
        Content::Map(map) => {
            let entry = |(name, node): (&String, &Node)| {
                let number = node.text().and_then(|text| text.parse::<u64>().ok());
                let number = number.filter(|_| name.ends_with("Units"));
                (
                    name.clone(),
                    number.map_or_else(|| to_json(node), Value::from),
                )
            };
            map.iter().map(entry).collect()
        }
    }
}
