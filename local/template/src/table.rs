//! `AWS::DynamoDB::Table` and `AWS::Serverless::SimpleTable`.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-dynamodb-table.html>

use serde_json::{Value, json};

use crate::properties::Properties;

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

pub(crate) fn read(properties: &Properties<'_>, id: &str) -> Result<Table, String> {
    let mut create = json!({ "BillingMode": "PROVISIONED" });
    // `CreateTable` takes these unchanged, and DynamoDB checks them itself.
    for name in [
        "AttributeDefinitions",
        "BillingMode",
        "GlobalSecondaryIndexes",
        "KeySchema",
        "LocalSecondaryIndexes",
        "ProvisionedThroughput",
    ] {
        if let Some(value) = properties.get(name)? {
            create[name] = value;
        }
    }
    let ttl_attribute = properties.within("TimeToLiveSpecification", |ttl| {
        let is_enabled = ttl.number("Enabled", false..=true)? == Some(true);
        Ok(ttl.get("AttributeName")?.filter(|_| is_enabled))
    })?;
    table(properties, id, create, ttl_attribute)
}

/// A table with nothing but a primary key.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-simpletable.html>
pub(crate) fn read_simple(properties: &Properties<'_>, id: &str) -> Result<Table, String> {
    let (key, kind) = properties.within("PrimaryKey", |key| {
        let kind = key.one_of("Type", &["String", "Number", "Binary"])?;
        let name: Option<String> = key.get("Name")?;
        Ok((name.unwrap_or("id".to_owned()), kind))
    })?;
    let mut create = json!({
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": kind[..1]}],
        "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    });
    if let Some(throughput) = properties.get("ProvisionedThroughput")? {
        create["BillingMode"] = "PROVISIONED".into();
        create["ProvisionedThroughput"] = throughput;
    }
    table(properties, id, create, None)
}

fn table(
    properties: &Properties<'_>,
    id: &str,
    mut create: Value,
    ttl_attribute: Option<String>,
) -> Result<Table, String> {
    let name = properties.resolver.name(id)?;
    create["TableName"] = name.as_str().into();
    count_units(&mut create);
    Ok(Table {
        logical_id: id.to_owned(),
        name,
        create,
        ttl_attribute,
    })
}

/// In DynamoDB's API a number of units is no text.
fn count_units(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value.as_str().map(str::parse::<u64>) {
                    Some(Ok(units)) if name.ends_with("Units") => *value = units.into(),
                    _ => count_units(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(count_units),
        _ => {}
    }
}
