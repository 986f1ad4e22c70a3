//! What `Ref` and `GetAtt` of a resource give: physical ids, ARNs and URLs in AWS's formats.

use serde_json::Value;

use super::Context;
use super::error::{Fault, Place};
use super::intrinsics::Resolver;
use super::object::to_text;

/// The API that SAM makes for `HttpApi` events without `ApiId`.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-generated-resources-httpapi.html>
pub(super) const IMPLICIT_API: &str = "ServerlessHttpApi";

/// How a resource type is named on AWS.
struct Naming {
    /// The property that sets the name.
    property: &'static str,
    /// The name's limits in characters.
    length: std::ops::RangeInclusive<usize>,
    /// Characters besides letters, digits, `-` and `_`.
    also: &'static str,
}

fn naming(kind: &str) -> Option<Naming> {
    let (property, length, also) = match kind {
        // https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
        "AWS::Serverless::Function" => ("FunctionName", 1..=64, ""),
        // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
        "AWS::SQS::Queue" => ("QueueName", 1..=80, "."),
        // https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html
        "AWS::DynamoDB::Table" | "AWS::Serverless::SimpleTable" => ("TableName", 3..=255, "."),
        _ => return None,
    };
    Some(Naming {
        property,
        length,
        also,
    })
}

/// An ARN of a resource of this stack's region and account.
pub(super) fn arn(context: &Context, service: &str, resource: &str) -> String {
    format!(
        "arn:aws:{service}:{}:{}:{resource}",
        context.region, context.account
    )
}

fn kind<'a>(resolver: &'a Resolver<'_>, id: &str) -> &'a str {
    if id == IMPLICIT_API && !resolver.resources.contains_key(id) {
        return "AWS::Serverless::HttpApi";
    }
    resolver
        .resources
        .get(id)
        .and_then(|it| it.get("Type"))
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// The name of a resource on AWS: that of the template, or `<stack>-<logical id>`.
pub(super) fn name(resolver: &Resolver<'_>, id: &str, place: &Place<'_>) -> Result<String, Fault> {
    let Some(naming) = naming(kind(resolver, id)) else {
        return Ok(format!("{}-{id}", resolver.context.stack_name));
    };
    resolver.name(id, place, || {
        let null = Value::Null;
        let properties = resolver
            .resources
            .get(id)
            .and_then(|it| it.get("Properties"));
        let property = |name| properties.and_then(|it| it.get(name)).unwrap_or(&null);
        let resources = Place::root("Resources");
        let resource = resources.child(id);
        let properties = resource.child("Properties");
        let place = properties.child(naming.property);

        let is_fifo = resolver
            .resolve(property("FifoQueue"), &properties.child("FifoQueue"))?
            .and_then(|value| to_text(&value))
            .is_some_and(|text| text == "true");
        let given = match resolver.resolve(property(naming.property), &place)? {
            None | Some(Value::Null) => None,
            Some(value) => Some(to_text(&value).ok_or_else(|| place.fault("must be text"))?),
        };
        let Some(name) = given else {
            let suffix = if is_fifo { ".fifo" } else { "" };
            let most = naming.length.end() - suffix.len();
            let name = format!("{}-{id}", resolver.context.stack_name);
            return Ok(name.chars().take(most).collect::<String>() + suffix);
        };
        let is_known =
            |c: char| c.is_ascii_alphanumeric() || "-_".contains(c) || naming.also.contains(c);
        if !naming.length.contains(&name.len()) || !name.chars().all(is_known) {
            return Err(place.fault(format!(
                "must be {} to {} letters, digits and any of `-_{}`",
                naming.length.start(),
                naming.length.end(),
                naming.also,
            )));
        }
        if kind(resolver, id) == "AWS::SQS::Queue" {
            let stem = if is_fifo {
                name.strip_suffix(".fifo")
            } else {
                Some(name.as_str())
            };
            if stem.is_none_or(|stem| stem.contains('.')) {
                return Err(place.fault("must end with .fifo if FifoQueue is true, and only then"));
            }
        }
        Ok(name)
    })
}

/// The URL of a queue at the AWS endpoint.
fn queue_url(context: &Context, name: &str) -> String {
    format!("{}/{}/{name}", context.aws_endpoint_url, context.account)
}

/// What `Ref` of a resource gives.
pub(super) fn physical_id(
    resolver: &Resolver<'_>,
    id: &str,
    place: &Place<'_>,
) -> Result<String, Fault> {
    let name = name(resolver, id, place)?;
    Ok(match kind(resolver, id) {
        "AWS::SQS::Queue" => queue_url(resolver.context, &name),
        "AWS::Serverless::HttpApi" => api_id(id),
        _ => name,
    })
}

/// API Gateway's ids are lower-case letters and digits.
fn api_id(id: &str) -> String {
    id.to_ascii_lowercase()
}

/// What `GetAtt` of a resource gives.
pub(super) fn attribute(
    resolver: &Resolver<'_>,
    id: &str,
    attribute: &str,
    place: &Place<'_>,
) -> Result<String, Fault> {
    let context = resolver.context;
    let name = name(resolver, id, place)?;
    let kind = kind(resolver, id);
    let value = match (kind, attribute) {
        ("AWS::Serverless::Function", "Arn") => {
            Some(arn(context, "lambda", &format!("function:{name}")))
        }
        ("AWS::DynamoDB::Table" | "AWS::Serverless::SimpleTable", "Arn") => {
            Some(arn(context, "dynamodb", &format!("table/{name}")))
        }
        ("AWS::SQS::Queue", "Arn") => Some(arn(context, "sqs", &name)),
        ("AWS::SQS::Queue", "QueueName") => Some(name),
        ("AWS::SQS::Queue", "QueueUrl") => Some(queue_url(context, &name)),
        ("AWS::Serverless::HttpApi", "ApiId") => Some(api_id(id)),
        ("AWS::Serverless::HttpApi", "ApiEndpoint") => Some(context.api_url.clone()),
        (hosted, _) if naming(hosted).is_some() || hosted == "AWS::Serverless::HttpApi" => None,
        // A resource that is not hosted: something of the right shape, since nothing here reads it.
        ("AWS::IAM::Role", "Arn") => Some(format!("arn:aws:iam::{}:role/{name}", context.account)),
        (other, "Arn") => {
            let service = other
                .split("::")
                .nth(1)
                .unwrap_or("unknown")
                .to_ascii_lowercase();
            Some(arn(context, &service, &name))
        }
        (_, other) => Some(format!("{name}-{other}")),
    };
    value.ok_or_else(|| {
        place.fault(format!(
            "{id} ({kind}) has no attribute {attribute:?} that is hosted here"
        ))
    })
}
