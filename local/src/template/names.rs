//! The results of `Ref` and `GetAtt` of a resource: physical ids, ARNs and URLs in AWS's formats.

use super::error::{Fault, refuse, short};
use super::intrinsics::Resolver;
use super::yaml::Node;

pub(super) const EVENT_SOURCE_MAPPING: &str = "AWS::Lambda::EventSourceMapping";
pub(super) const FUNCTION: &str = "AWS::Serverless::Function";
pub(super) const HTTP_API: &str = "AWS::Serverless::HttpApi";
pub(super) const QUEUE: &str = "AWS::SQS::Queue";
pub(super) const SIMPLE_TABLE: &str = "AWS::Serverless::SimpleTable";
pub(super) const TABLE: &str = "AWS::DynamoDB::Table";

/// The API that SAM makes for `HttpApi` events without `ApiId`.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-generated-resources-httpapi.html>
pub(super) const IMPLICIT_API: &str = "ServerlessHttpApi";

impl Resolver<'_> {
    /// An ARN in this stack's region and account.
    pub(super) fn arn(&self, service: &str, resource: &str) -> String {
        let (region, account) = (&self.context.region, &self.context.account);
        format!("arn:aws:{service}:{region}:{account}:{resource}")
    }

    /// The type of a resource that exists, that is, whose condition is true.
    pub(super) fn kind(&self, id: &str) -> Result<&str, Fault> {
        match self.resources.get(id) {
            Some(resource) if self.exists(resource)? => Ok(resource.kind()),
            None if id == IMPLICIT_API => Ok(HTTP_API),
            _ => refuse!("refers to {:?}, no resource or parameter here", short(id)),
        }
    }

    /// Whether a resource's condition is true.
    pub(super) fn exists(&self, resource: &Node) -> Result<bool, Fault> {
        let Some(condition) = resource.get("Condition") else {
            return Ok(true);
        };
        self.truth(condition)
            .map_err(|fault| fault.on(condition.line))
    }

    /// The name of a resource on AWS: the one in the template, or `<stack>-<logical id>`.
    pub(super) fn name(&self, id: &str) -> Result<String, Fault> {
        let property = match self.kind(id)? {
            FUNCTION => "FunctionName",
            QUEUE => "QueueName",
            TABLE | SIMPLE_TABLE => "TableName",
            _ => "",
        };
        let resource = self.resources.get(id);
        let properties = resource.and_then(|resource| resource.get("Properties"));
        let value = |property: &str| {
            let node = properties.and_then(|properties| properties.get(property));
            node.map(|node| self.resolve(node)).transpose()
        };
        self.once("name of", id, || {
            if let Some(name) = value(property)?.as_ref().and_then(Node::text) {
                return Ok(name.to_owned());
            }
            let is_fifo = value("FifoQueue")?.as_ref().and_then(Node::text) == Some("true");
            let suffix = if is_fifo { ".fifo" } else { "" };
            Ok(format!("{}-{id}{suffix}", self.context.stack_name))
        })
    }

    fn queue_url(&self, name: &str) -> String {
        let (endpoint, account) = (&self.context.aws_endpoint_url, &self.context.account);
        format!("{endpoint}/{account}/{name}")
    }

    /// The logical id of the queue that has this ARN.
    pub(super) fn queue_of_arn(&self, arn: &str) -> Result<Option<&str>, Fault> {
        for (id, resource) in &self.resources {
            let is_queue = resource.kind() == QUEUE && self.exists(resource)?;
            if is_queue && self.arn("sqs", &self.name(id)?) == arn {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// The result of `Ref` of a resource.
    pub(super) fn physical_id(&self, id: &str) -> Result<String, Fault> {
        Ok(match self.kind(id)? {
            QUEUE => self.queue_url(&self.name(id)?),
            HTTP_API => api_id(id),
            _ => self.name(id)?,
        })
    }

    /// The result of `GetAtt` of `Resource.Attribute`.
    pub(super) fn attribute(&self, resource_and_attribute: &str) -> Result<String, Fault> {
        let Some((id, attribute)) = resource_and_attribute.split_once('.') else {
            refuse!("needs Resource.Attribute");
        };
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
                refuse!("{id} ({kind}) has no attribute {:?} here", short(attribute))
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
pub(super) fn api_id(id: &str) -> String {
    id.to_ascii_lowercase()
}
