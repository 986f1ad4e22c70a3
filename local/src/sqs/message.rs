//! A message: what it may hold, and its digests.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::error::{invalid, invalid_value, missing, refuse};
use crate::aws_json::Refusal;

/// The most attributes of one message.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>
const MOST_ATTRIBUTES: usize = 10;

/// A received message.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Message {
    /// Its id, the same each time it is received.
    pub message_id: String,
    /// The handle that deletes it; a new one for each receive.
    pub receipt_handle: String,
    /// Its text.
    pub body: String,
    /// MD5 of the body, in hex.
    #[serde(rename = "MD5OfBody")]
    pub md5_of_body: String,
    /// MD5 of the message attributes, where there are any.
    #[serde(
        rename = "MD5OfMessageAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    pub md5_of_message_attributes: Option<String>,
    /// System attributes such as `SentTimestamp`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<&'static str, String>,
    /// The sender's own attributes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub message_attributes: MessageAttributes,
}

/// Attributes by name, in the order in which their digest takes them.
pub type MessageAttributes = BTreeMap<String, MessageAttribute>;

/// One attribute that the sender gave to a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, perhaps with `.<custom type>`.
    pub data_type: String,
    /// The value of a `String` or `Number`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The value of a `Binary`, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

impl Message {
    /// Leaves only the attributes that were asked for. The digest covers those that are left.
    pub(super) fn select(&mut self, system: &[String], own: &[String]) {
        let all = system.iter().any(|it| it == "All");
        self.attributes
            .retain(|name, _| all || system.iter().any(|it| it == name));
        self.message_attributes.retain(|name, _| {
            own.iter().any(|wanted| match wanted.strip_suffix(".*") {
                Some(prefix) => name.starts_with(prefix),
                None => wanted == "All" || wanted == name,
            })
        });
        self.md5_of_message_attributes = digest(&self.message_attributes);
    }
}

impl MessageAttribute {
    /// The value's bytes; `None` if it has none, or one that is not base64.
    fn bytes(&self) -> Option<Vec<u8>> {
        match (&self.string_value, &self.binary_value) {
            (Some(text), None) => Some(text.clone().into_bytes()),
            (None, Some(base64)) => BASE64.decode(base64).ok(),
            _ => None,
        }
    }

    fn check(&self, name: &str) -> Result<(), Refusal> {
        let kind = self.data_type.split('.').next().unwrap_or_default();
        let fits = match kind {
            "String" | "Number" => self.binary_value.is_none(),
            "Binary" => self.string_value.is_none(),
            _ => false,
        };
        let text = self.string_value.as_deref().unwrap_or_default();
        let problem = if !fits || self.data_type.len() > 256 {
            "must have the type Binary, Number or String, perhaps with a label, and a value of it"
        } else if self.bytes().is_none_or(|bytes| bytes.is_empty()) {
            "must contain a non-empty value of its type"
        } else if !text.chars().all(is_allowed) {
            "contains characters that are not allowed"
        } else if kind == "Number" && text.parse::<f64>().is_err() {
            "must contain a number"
        } else {
            return Ok(());
        };
        Err(invalid(format!(
            "Message (user) attribute '{name}' {problem}."
        )))
    }
}

/// The characters of XML 1.0: `#x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to
/// #x10FFFF`. A `char` is no surrogate.
fn is_allowed(it: char) -> bool {
    matches!(it, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

/// Refuses a body that is absent or has other characters than XML's.
pub(super) fn check_body(body: &str) -> Result<(), Refusal> {
    if body.is_empty() {
        return Err(missing("MessageBody"));
    }
    if body.chars().all(is_allowed) {
        return Ok(());
    }
    let message = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 \
                   to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF";
    Err(refuse("InvalidMessageContents", message))
}

/// Refuses names, types and values that SQS does not take.
pub(super) fn check_attributes(attributes: &MessageAttributes) -> Result<(), Refusal> {
    let count = attributes.len();
    if count > MOST_ATTRIBUTES {
        let message = format!("Number of message attributes [{count}] exceeds the allowed maximum");
        return Err(invalid(format!("{message} [{MOST_ATTRIBUTES}].")));
    }
    for (name, attribute) in attributes {
        let lower = name.to_ascii_lowercase();
        let reserved = lower.starts_with("aws.") || lower.starts_with("amazon.");
        let allowed = |it: char| it.is_alphanumeric() || "_-.".contains(it);
        let valid = (1..=256).contains(&name.chars().count()) && name.chars().all(allowed);
        let periods = name.starts_with('.') || name.ends_with('.') || name.contains("..");
        if !valid || reserved || periods {
            let message = format!("The message attribute name '{name}' is invalid: 1 to 256");
            return Err(invalid(format!(
                "{message} letters, digits, _, - and single periods inside, not starting with \
                 AWS. or Amazon.",
            )));
        }
        attribute.check(name)?;
    }
    Ok(())
}

/// The one system attribute that a sender may give: the X-Ray trace header, a string.
pub(super) fn trace_header(attributes: &MessageAttributes) -> Result<Option<&str>, Refusal> {
    for (name, attribute) in attributes {
        attribute.check(name)?;
        if name != "AWSTraceHeader" || attribute.data_type != "String" {
            let message = format!("Message system attribute '{name}' must be AWSTraceHeader, of");
            return Err(invalid(format!("{message} type String.")));
        }
    }
    let header = attributes.get("AWSTraceHeader");
    Ok(header.and_then(|it| it.string_value.as_deref()))
}

/// Refuses the id of a group or a deduplication that is not 1 to 128 letters, digits and
/// punctuation characters.
pub(super) fn check_token(parameter: &str, token: Option<&str>) -> Result<(), Refusal> {
    let valid =
        |it: &str| (1..=128).contains(&it.len()) && it.chars().all(|c| c.is_ascii_graphic());
    let Some(token) = token.filter(|it| !valid(it)) else {
        return Ok(());
    };
    let reason = "can only include alphanumeric and punctuation characters. 1 to 128 in length.";
    let reason = format!("{parameter} {reason}");
    Err(invalid_value(token, parameter, &reason))
}

/// The bytes that count towards the limit: the body, and names, types and values of the sender's
/// attributes. System attributes do not count.
pub(super) fn size(body: &str, attributes: &MessageAttributes) -> usize {
    let attributes = attributes.iter().map(|(name, it)| {
        name.len() + it.data_type.len() + it.bytes().map_or(0, |bytes| bytes.len())
    });
    body.len() + attributes.sum::<usize>()
}

pub(super) fn md5(bytes: &[u8]) -> String {
    format!("{:x}", md5::compute(bytes))
}

/// MD5 of attributes; none of none.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html#sqs-attributes-md5-message-digest-calculation>
pub(super) fn digest(attributes: &MessageAttributes) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    let mut encoded = Vec::new();
    let part = |encoded: &mut Vec<u8>, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        encoded.extend(length.to_be_bytes());
        encoded.extend(bytes);
    };
    for (name, attribute) in attributes {
        part(&mut encoded, name.as_bytes());
        part(&mut encoded, attribute.data_type.as_bytes());
        // How the value travels: 1 as text, 2 as bytes.
        let binary = attribute.binary_value.is_some();
        encoded.push(if binary { 2 } else { 1 });
        part(&mut encoded, &attribute.bytes().unwrap_or_default());
    }
    Some(md5(&encoded))
}
