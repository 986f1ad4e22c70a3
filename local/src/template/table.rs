//! `AWS::DynamoDB::Table` and `AWS::Serverless::SimpleTable`.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html>

use serde_json::{Map, Value, json};

use super::error::{Fault, Place};
use super::model::Table;
use super::names;
use super::object::Object;
use super::resources::{Reading, properties};

/// Properties that `CreateTable` takes as they are.
const OF_CREATE_TABLE: [&str; 5] = [
    "AttributeDefinitions",
    "KeySchema",
    "GlobalSecondaryIndexes",
    "LocalSecondaryIndexes",
    "ProvisionedThroughput",
];

pub(super) fn read(reading: &mut Reading<'_>, id: &str) -> Result<(), Fault> {
    let ignored = [
        "ContributorInsightsSpecification",
        "ImportSourceSpecification",
        "KinesisStreamSpecification",
        "PointInTimeRecoverySpecification",
        "ResourcePolicy",
        "SSESpecification",
        "Tags",
    ];
    let value = properties(reading.resolver, id, &ignored)?;
    reading.note_references(id);
    let section = Place::root("Resources");
    let resource = section.child(id);
    let table = Object::of(&value, resource.child("Properties"))?;
    let known: Vec<&str> = ignored
        .into_iter()
        .chain(OF_CREATE_TABLE)
        .chain([
            "BillingMode",
            "DeletionProtectionEnabled",
            "OnDemandThroughput",
            "StreamSpecification",
            "TableClass",
            "TableName",
            "TimeToLiveSpecification",
            "WarmThroughput",
        ])
        .collect();
    table.only(&known)?;
    for property in [
        "ImportSourceSpecification",
        "KinesisStreamSpecification",
        "StreamSpecification",
    ] {
        reading.skip(&table, property, "imports and streams are not hosted");
    }
    reading.skip(
        &table,
        "OnDemandThroughput",
        "the limit of throughput is not hosted",
    );

    let mut create = Map::new();
    for property in OF_CREATE_TABLE {
        if let Some(value) = table.get(property) {
            create.insert(property.to_owned(), with_whole_numbers(value));
        }
    }
    for property in ["KeySchema", "AttributeDefinitions"] {
        if table.list(property)?.is_none() {
            return Err(table.missing(property));
        }
    }
    let billing = table.one_of("BillingMode", &["PAY_PER_REQUEST", "PROVISIONED"])?;
    let billing = billing.unwrap_or_else(|| "PROVISIONED".to_owned());
    check_throughput(&table, &billing)?;
    create.insert("BillingMode".to_owned(), Value::String(billing));
    let ttl_attribute = match table.object("TimeToLiveSpecification")? {
        Some(ttl) => {
            ttl.only(&["AttributeName", "Enabled"])?;
            let enabled = ttl
                .boolean("Enabled")?
                .ok_or_else(|| ttl.missing("Enabled"))?;
            let attribute = ttl.text("AttributeName")?;
            if enabled && attribute.is_none() {
                return Err(ttl.missing("AttributeName"));
            }
            attribute.filter(|_| enabled)
        }
        None => None,
    };
    push(reading, id, &table, create, ttl_attribute)
}

/// A table with nothing but a primary key.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-simpletable.html>
pub(super) fn read_simple(reading: &mut Reading<'_>, id: &str) -> Result<(), Fault> {
    let ignored = [
        "PointInTimeRecoverySpecification",
        "SSESpecification",
        "Tags",
    ];
    let value = properties(reading.resolver, id, &ignored)?;
    reading.note_references(id);
    let section = Place::root("Resources");
    let resource = section.child(id);
    let table = Object::of(&value, resource.child("Properties"))?;
    let known: Vec<&str> = ignored
        .into_iter()
        .chain(["PrimaryKey", "ProvisionedThroughput", "TableName"])
        .collect();
    table.only(&known)?;
    let (name, kind) = match table.object("PrimaryKey")? {
        None => ("id".to_owned(), "S"),
        Some(key) => {
            key.only(&["Name", "Type"])?;
            let kind = match key
                .one_of("Type", &["String", "Number", "Binary"])?
                .as_deref()
            {
                Some("Number") => "N",
                Some("Binary") => "B",
                _ => "S",
            };
            (key.text("Name")?.unwrap_or_else(|| "id".to_owned()), kind)
        }
    };
    let mut create = Map::new();
    let definitions = json!([{"AttributeName": name, "AttributeType": kind}]);
    create.insert("AttributeDefinitions".to_owned(), definitions);
    create.insert(
        "KeySchema".to_owned(),
        json!([{"AttributeName": name, "KeyType": "HASH"}]),
    );
    let billing = match table.get("ProvisionedThroughput") {
        Some(throughput) => {
            check_throughput(&table, "PROVISIONED")?;
            create.insert(
                "ProvisionedThroughput".to_owned(),
                with_whole_numbers(throughput),
            );
            "PROVISIONED"
        }
        None => "PAY_PER_REQUEST",
    };
    create.insert("BillingMode".to_owned(), billing.into());
    push(reading, id, &table, create, None)
}

fn push(
    reading: &mut Reading<'_>,
    id: &str,
    table: &Object<'_>,
    mut create: Map<String, Value>,
    ttl_attribute: Option<String>,
) -> Result<(), Fault> {
    let name = names::name(reading.resolver, id, table.place())?;
    create.insert("TableName".to_owned(), Value::String(name.clone()));
    let create = Value::Object(create);
    reading.template.tables.push(Table {
        logical_id: id.to_owned(),
        name,
        create,
        ttl_attribute,
    });
    Ok(())
}

fn check_throughput(table: &Object<'_>, billing: &str) -> Result<(), Fault> {
    let Some(throughput) = table.object("ProvisionedThroughput")? else {
        if billing == "PROVISIONED" {
            let message = "is missing: give it, or BillingMode: PAY_PER_REQUEST";
            return Err(table.fault("ProvisionedThroughput", message));
        }
        return Ok(());
    };
    if billing != "PROVISIONED" {
        let message = "does not go with BillingMode: PAY_PER_REQUEST";
        return Err(table.fault("ProvisionedThroughput", message));
    }
    throughput.only(&["ReadCapacityUnits", "WriteCapacityUnits"])?;
    for property in ["ReadCapacityUnits", "WriteCapacityUnits"] {
        throughput
            .integer(property, 1..=u32::MAX, "capacity units")?
            .ok_or_else(|| throughput.missing(property))?;
    }
    Ok(())
}

/// CloudFormation takes `"5"` for 5; DynamoDB's API does not.
fn with_whole_numbers(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(with_whole_numbers).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| {
                let number = value
                    .as_str()
                    .and_then(|text| text.trim().parse::<i64>().ok());
                let value = match number {
                    Some(number) if name.ends_with("CapacityUnits") => number.into(),
                    _ => with_whole_numbers(value),
                };
                (name.clone(), value)
            })
            .collect(),
        scalar => scalar.clone(),
    }
}
