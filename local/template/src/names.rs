//! The results of `Ref` and `GetAtt` of a resource: physical ids, ARNs and URLs in AWS's formats.

use serde_json::Value;

use crate::error::refuse;
use crate::intrinsics::Resolver;

pub(crate) const FUNCTION: &str = "AWS::Serverless::Function";
pub(crate) const HTTP_API: &str = "AWS::Serverless::HttpApi";
pub(crate) const MAPPING: &str = "AWS::Lambda::EventSourceMapping";
pub(crate) const QUEUE: &str = "AWS::SQS::Queue";
pub(crate) const SIMPLE_TABLE: &str = "AWS::Serverless::SimpleTable";
pub(crate) const TABLE: &str = "AWS::DynamoDB::Table";

/// The API that SAM makes for `HttpApi` events without `ApiId`.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-generated-resources-httpapi.html>
pub(crate) const IMPLICIT_API: &str = "ServerlessHttpApi";

impl Resolver<'_> {
    /// An ARN in this stack's region and account.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        let (region, account) = (&self.context.region, &self.context.account);
        format!("arn:aws:{service}:{region}:{account}:{resource}")
    }

    /// The name of a resource on AWS: the one in the template, or `<stack>-<logical id>`.
    pub(crate) fn name(&self, id: &str) -> Result<String, String> {
        let properties = &self.resources.get(id).unwrap_or(&Value::Null)["Properties"];
        self.once(&format!("the name of {id}"), || {
            for property in ["FunctionName", "LogGroupName", "QueueName", "TableName"] {
                let name = self.resolve(&properties[property])?;
                if !name.is_null() {
                    return self.typed(&name);
                }
            }
            let is_fifo = self.resolve(&properties["FifoQueue"])?;
            let suffix = if is_fifo == true || is_fifo == "true" {
                ".fifo"
            } else {
                ""
            };
            Ok(format!("{}-{id}{suffix}", self.context.stack_name))
        })
    }

    /// The logical id of the queue that has an ARN.
    pub(crate) fn queue_of_arn(&self, arn: &str) -> Result<String, String> {
        for (id, _) in self.resources.iter().filter(|(_, it)| it["Type"] == QUEUE) {
            if self.value_of(id, "Arn")? == arn {
                return Ok(id.clone());
            }
        }
        refuse!("must be !GetAtt Queue.Arn of a queue in this template, not {arn:?}")
    }

    /// The result of `GetAtt` of a resource, or of `Ref`, if that is the attribute.
    pub(crate) fn value_of(&self, id: &str, attribute: &str) -> Result<String, String> {
        let kind = match self.resources.get(id) {
            Some(resource) => resource["Type"].as_str().unwrap_or_default(),
            None if id == IMPLICIT_API => HTTP_API,
            None => refuse!("refers to {id:?}, no resource or parameter here"),
        };
        let name = self.name(id)?;
        Ok(match (kind, attribute) {
            (FUNCTION, "Arn") => self.arn("lambda", &format!("function:{name}")),
            (TABLE | SIMPLE_TABLE, "Arn") => self.arn("dynamodb", &format!("table/{name}")),
            (TABLE | SIMPLE_TABLE, "StreamArn") => {
                self.arn("dynamodb", &format!("table/{name}/stream/0"))
            }
            (QUEUE, "Arn") => self.arn("sqs", &name),
            (QUEUE, "QueueUrl" | "Ref") => {
                let (endpoint, account) = (&self.context.aws_endpoint_url, &self.context.account);
                format!("{endpoint}/{account}/{name}")
            }
            (HTTP_API, "ApiId" | "Ref") => api_id(id),
            (HTTP_API, "ApiEndpoint") => self.context.api_url.clone(),
            (QUEUE, "QueueName") | (_, "Ref") => name,
            (FUNCTION | TABLE | SIMPLE_TABLE | QUEUE | HTTP_API, _) => {
                refuse!("{id} ({kind}) has no attribute {attribute:?} here")
            }
            // Of a resource that is not hosted: nothing here reads it, so the right shape is enough.
            (_, "Arn") => {
                let service = kind.split("::").nth(1).unwrap_or("unknown");
                self.arn(&service.to_ascii_lowercase(), &name)
            }
            _ => format!("{name}-{attribute}"),
        })
    }
}

/// API Gateway's ids are lower-case letters and digits.
pub(crate) fn api_id(id: &str) -> String {
    id.to_ascii_lowercase()
}
