//! The results of `Ref` and `GetAtt` of a resource: physical ids, ARNs and URLs in AWS's formats.

use crate::error::{Mistake, refuse};
use crate::intrinsics::{Resolver, text};
use crate::properties::Reader;
use crate::yaml::Node;

pub(crate) const EVENT_SOURCE_MAPPING: &str = "AWS::Lambda::EventSourceMapping";
pub(crate) const FUNCTION: &str = "AWS::Serverless::Function";
pub(crate) const HTTP_API: &str = "AWS::Serverless::HttpApi";
pub(crate) const LOG_GROUP: &str = "AWS::Logs::LogGroup";
pub(crate) const QUEUE: &str = "AWS::SQS::Queue";
pub(crate) const SIMPLE_TABLE: &str = "AWS::Serverless::SimpleTable";
pub(crate) const TABLE: &str = "AWS::DynamoDB::Table";

/// The property of an API that holds its OpenAPI definition.
pub(crate) const DEFINITION_BODY: &str = "DefinitionBody";

/// The API that SAM makes for `HttpApi` events without `ApiId`.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-generated-resources-httpapi.html>
pub(crate) const IMPLICIT_API: &str = "ServerlessHttpApi";

impl Resolver<'_> {
    /// An ARN in this stack's region and account.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        let (region, account) = (&self.context.region, &self.context.account);
        format!("arn:aws:{service}:{region}:{account}:{resource}")
    }

    /// Whether a resource's condition is true.
    pub(crate) fn exists(&self, resource: &Node) -> Result<bool, Mistake> {
        let condition = resource.get("Condition");
        condition.map_or(Ok(true), |it| {
            self.truth(it).map_err(|mistake| mistake.on(it.line))
        })
    }

    /// The type of a resource that exists.
    fn kind(&self, id: &str) -> Result<&str, Mistake> {
        match self.resources.get(id) {
            Some(resource) if self.exists(resource)? => Ok(resource.kind()),
            None if id == IMPLICIT_API => Ok(HTTP_API),
            _ => refuse!("refers to {id:?}, no resource or parameter here"),
        }
    }

    /// The name of a resource on AWS: the one in the template, or `<stack>-<logical id>`.
    pub(crate) fn name(&self, id: &str) -> Result<String, Mistake> {
        let property = match self.kind(id)? {
            FUNCTION => "FunctionName",
            LOG_GROUP => "LogGroupName",
            QUEUE => "QueueName",
            TABLE | SIMPLE_TABLE => "TableName",
            _ => "",
        };
        let properties = self.resources.get(id).and_then(|it| it.get("Properties"));
        self.once_at_a_time(format!("the name of {id}"), || {
            let given = |property: &str| {
                let value = properties.and_then(|properties| properties.get(property));
                let value = value.map(|value| self.resolve(value));
                let value = value.filter(|value| !value.is_null());
                value
                    .map(|value| text(&value).map(str::to_owned))
                    .transpose()
            };
            if let Some(name) = given(property)? {
                return Ok(name);
            }
            let is_fifo = given("FifoQueue")?.as_deref() == Some("true");
            let suffix = if is_fifo { ".fifo" } else { "" };
            Ok(format!("{}-{id}{suffix}", self.context.stack_name))
        })
    }

    fn queue_url(&self, name: &str) -> String {
        let (endpoint, account) = (&self.context.aws_endpoint_url, &self.context.account);
        format!("{endpoint}/{account}/{name}")
    }

    /// The logical id of the queue whose ARN a property of `place` holds.
    pub(crate) fn queue_of_arn(
        &self,
        arn: &str,
        place: &Reader<'_>,
        property: &str,
    ) -> Result<String, Mistake> {
        for (id, resource) in &self.resources {
            let is_queue = resource.kind() == QUEUE && self.exists(resource)?;
            if is_queue && self.arn("sqs", &self.name(id)?) == arn {
                return Ok(id.clone());
            }
        }
        Err(place.mistake(
            property,
            "must be !GetAtt Queue.Arn of a queue in this template",
        ))
    }

    /// The result of `Ref` of a resource.
    pub(crate) fn physical_id(&self, id: &str) -> Result<String, Mistake> {
        Ok(match self.kind(id)? {
            QUEUE => self.queue_url(&self.name(id)?),
            HTTP_API => api_id(id),
            _ => self.name(id)?,
        })
    }

    /// The result of `GetAtt` of a resource.
    pub(crate) fn attribute_of(&self, id: &str, attribute: &str) -> Result<String, Mistake> {
        let (kind, name) = (self.kind(id)?, self.name(id)?);
        Ok(match (kind, attribute) {
            (FUNCTION, "Arn") => self.arn("lambda", &format!("function:{name}")),
            (TABLE | SIMPLE_TABLE, "Arn") => self.arn("dynamodb", &format!("table/{name}")),
            (TABLE | SIMPLE_TABLE, "StreamArn") => {
                self.arn("dynamodb", &format!("table/{name}/stream/0"))
            }
            (QUEUE, "Arn") => self.arn("sqs", &name),
            (QUEUE, "QueueName") => name,
            (QUEUE, "QueueUrl") => self.queue_url(&name),
            (HTTP_API, "ApiId") => api_id(id),
            (HTTP_API, "ApiEndpoint") => self.context.api_url.clone(),
            (FUNCTION | TABLE | SIMPLE_TABLE | QUEUE | HTTP_API, _) => {
                refuse!("{id} ({kind}) has no attribute {attribute:?} here")
            }
            // A resource that is not hosted: a value of the right shape is enough, since nothing
            // here reads it.
            (other, "Arn") => {
                let service = other.split("::").nth(1).unwrap_or("unknown");
                self.arn(&service.to_ascii_lowercase(), &name)
            }
            (_, other) => format!("{name}-{other}"),
        })
    }
}

/// API Gateway's ids are lower-case letters and digits.
pub(crate) fn api_id(id: &str) -> String {
    id.to_ascii_lowercase()
}
