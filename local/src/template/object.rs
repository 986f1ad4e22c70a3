//! Typed reading of the properties of a resource, with errors that name the property.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::error::{Fault, short};
use super::intrinsics::Resolver;
use super::names::{EVENT_SOURCE_MAPPING, FUNCTION, HTTP_API};
use super::yaml::{Content, Map, Node};

/// Properties that have no effect on one machine and need no notice: permissions, deployment,
/// encryption, monitoring, descriptions.
const SILENT: [&str; 24] = [
    "AccessLogSettings",
    "AllowedPattern",
    "Architectures",
    "AutoPublishAlias",
    "AutoPublishAliasAllProperties",
    "AutoPublishCodeSha256",
    "ConstraintDescription",
    "DeletionProtectionEnabled",
    "DeploymentPreference",
    "Description",
    "FailOnWarnings",
    "KmsMasterKeyId",
    "LoggingConfig",
    "Name",
    "NoEcho",
    "PermissionsBoundary",
    "PointInTimeRecoverySpecification",
    "Policies",
    "Role",
    "SSESpecification",
    "SqsManagedSseEnabled",
    "Tags",
    "Tracing",
    "VersionDescription",
];

/// Properties that change how a function behaves or is called, and that this host does not have:
/// the type of the resource or event, the property, the reason. `Type` stands for the whole
/// resource or event. Every other property that is not hosted is left out with a notice.
pub(super) fn refusal(kind: &str, property: &str) -> Option<&'static str> {
    Some(match (kind, property) {
        (FUNCTION, "DurableConfig") => "durable functions are not hosted",
        (FUNCTION, "FileSystemConfigs") => "file systems are not mounted",
        (FUNCTION, "ImageUri") => "images are not hosted: build a bootstrap and set CodeUri",
        (FUNCTION, "InlineCode") => "is not hosted: build a bootstrap and set CodeUri",
        (FUNCTION, "VpcConfig") => "not hosted: put it behind a condition that is false here",
        (HTTP_API | "HttpApi", "Auth") => "authorizers are not hosted",
        (HTTP_API, "DefinitionUri") => "declare routes as HttpApi events",
        ("SQS" | EVENT_SOURCE_MAPPING, "FilterCriteria") => "event filters are not hosted",
        ("Api" | "AWS::Serverless::Api", "Type") => "REST APIs are not hosted: use HttpApi",
        _ => return None,
    })
}

/// Whether two names differ only by a typo: two letters at most.
fn alike(one: &str, other: &str) -> bool {
    // The lengths first: a name may be a megabyte long.
    one.len().abs_diff(other.len()) <= 2 && strsim::osa_distance(one, other) <= 2
}

/// A map of the template. It records the names that were asked for, so that `finish` can report the
/// others.
pub(super) struct Object<'a> {
    pub(super) resolver: &'a Resolver<'a>,
    /// `F.Events.E`, as messages name it.
    pub(super) path: String,
    map: Map,
    pub(super) line: usize,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Object<'a> {
    /// # Errors
    /// If `node` is not a map.
    pub(super) fn of(
        resolver: &'a Resolver<'a>,
        kind: &str,
        path: impl Into<String>,
        node: &Node,
    ) -> Result<Object<'a>, Fault> {
        let path = path.into();
        let Some(map) = node.map() else {
            let message = format!("must be a map, not {}", node.show());
            return Err(Fault::new(message).on(node.line).within(&path));
        };
        let object = Object {
            resolver,
            path,
            map: map.clone(),
            line: node.line,
            asked: RefCell::default(),
        };
        for (name, node) in &object.map {
            let refused = refusal(kind, name).filter(|_| !object.is_absent(node));
            if let Some(reason) = refused {
                return Err(object.fault(name, reason));
            }
        }
        Ok(object)
    }

    /// The resolved value of a property; `AWS::NoValue` counts as none.
    pub(super) fn get(&self, name: &str) -> Result<Option<Node>, Fault> {
        self.asked.borrow_mut().insert(name.to_owned());
        let Some(node) = self.map.get(name) else {
            return Ok(None);
        };
        let value = self.resolver.resolve(node);
        let value = value.map_err(|fault| fault.within(name).within(&self.path))?;
        Ok(Some(value).filter(|value| !value.is_null()))
    }

    /// A property as it is written, unresolved.
    pub(super) fn unresolved(&self, name: &str) -> Option<&Node> {
        self.map.get(name)
    }

    /// Whether a value that is not hosted is `AWS::NoValue`. It may also refer to something that is
    /// not hosted, which is no error.
    fn is_absent(&self, node: &Node) -> bool {
        let value = self.resolver.resolve(node);
        value.is_ok_and(|value| value.is_null())
    }

    /// An error about the whole map.
    pub(super) fn wrong(&self, message: impl Into<String>) -> Fault {
        Fault::new(message).on(self.line).within(&self.path)
    }

    /// An error about one property.
    pub(super) fn fault(&self, name: &str, message: impl Into<String>) -> Fault {
        let line = self.map.get(name).map_or(self.line, |node| node.line);
        Fault::new(message).on(line).within(name).within(&self.path)
    }

    /// A property that is required.
    pub(super) fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Fault> {
        value.ok_or_else(|| match self.map.keys().find(|key| alike(key, name)) {
            Some(key) => self.misspelt(key, name),
            None => self.wrong(format!("the property {name} is missing")),
        })
    }

    fn misspelt(&self, key: &str, meant: &str) -> Fault {
        self.fault(key, format!("unknown property; is {meant} meant?"))
    }

    pub(super) fn required_text(&self, name: &str) -> Result<String, Fault> {
        self.required(name, self.text(name)?)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Fault> {
        let Some(value) = self.get(name)? else {
            return Ok(None);
        };
        match value.text() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(self.fault(name, format!("must be text, not {}", value.show()))),
        }
    }

    /// A text out of a few allowed ones.
    pub(super) fn one_of(&self, name: &str, allowed: &[&str]) -> Result<Option<String>, Fault> {
        let text = self.text(name)?;
        match &text {
            Some(text) if !allowed.contains(&text.as_str()) => {
                let (allowed, text) = (allowed.join(" or "), short(text));
                Err(self.fault(name, format!("must be {allowed}, not {text:?}")))
            }
            _ => Ok(text),
        }
    }

    /// A whole number within AWS's limits, with its `unit` for the message.
    pub(super) fn integer(
        &self,
        name: &str,
        limits: RangeInclusive<u32>,
        unit: &str,
    ) -> Result<Option<u32>, Fault> {
        let Some(value) = self.get(name)? else {
            return Ok(None);
        };
        let number = value.text().and_then(|text| text.trim().parse().ok());
        if let Some(number) = number.filter(|number| limits.contains(number)) {
            return Ok(Some(number));
        }
        let (least, most, shown) = (limits.start(), limits.end(), value.show());
        let message = format!("must be {least} to {most} {unit}, not {shown}");
        Err(self.fault(name, message))
    }

    /// False unless set.
    pub(super) fn is_true(&self, name: &str) -> Result<bool, Fault> {
        Ok(self.one_of(name, &["true", "false"])?.as_deref() == Some("true"))
    }

    pub(super) fn list(&self, name: &str) -> Result<Vec<Node>, Fault> {
        match self.get(name)?.map(|node| node.content) {
            None => Ok(Vec::new()),
            Some(Content::List(items)) => Ok(items),
            Some(_) => Err(self.fault(name, "must be a list")),
        }
    }

    /// Reads a map within this one.
    pub(super) fn object<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Object<'a>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let Some(node) = self.get(name)? else {
            return Ok(None);
        };
        let object = Object::of(self.resolver, "", format!("{}.{name}", self.path), &node)?;
        let value = read(&object)?;
        object.finish()?;
        Ok(Some(value))
    }

    /// The keys of a map whose keys the template chooses.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.map.keys()
    }

    /// The logical id of the queue whose ARN a property holds.
    pub(super) fn queue(&self, name: &str) -> Result<String, Fault> {
        let arn = self.required_text(name)?;
        let queue = self.resolver.queue_of_arn(&arn)?.map(str::to_owned);
        let message = "must be !GetAtt Queue.Arn of a queue in this template";
        queue.ok_or_else(|| self.fault(name, message))
    }

    /// The resource's name on AWS, which `property` may set.
    pub(super) fn physical_name(&self, property: &str) -> Result<String, Fault> {
        self.text(property)?;
        self.resolver.name(&self.path)
    }

    /// Refuses misspelt names, which would otherwise have no effect, and notes the ones left out.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        let asked = self.asked.borrow();
        for (name, node) in &self.map {
            if asked.contains(name) || SILENT.contains(&name.as_str()) {
                continue;
            }
            if let Some(meant) = asked.iter().find(|asked| alike(asked, name)) {
                return Err(self.misspelt(name, meant));
            }
            if !self.is_absent(node) {
                self.resolver.notice(&self.path, name);
            }
        }
        Ok(())
    }
}
