//! Reads properties by name. A property that nothing asks for is refused, noted or passed over.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{place, refuse};
use crate::intrinsics::{Resolver, entries};

/// Properties that have no effect on one machine and need no notice, or that give a name.
const SILENT: &str = "AccessLogSettings Architectures AutoPublishAlias AutoPublishAliasAllProperties \
    AutoPublishCodeSha256 DeletionProtectionEnabled DeploymentPreference Description FailOnWarnings FunctionName \
    KmsMasterKeyId Name NoEcho PermissionsBoundary PointInTimeRecoverySpecification Policies QueueName Role \
    SSESpecification SqsManagedSseEnabled TableName Tags Tracing VersionDescription";

/// The reason to refuse a property that changes how a function behaves or is called.
fn refusal(property: &str) -> Option<&'static str> {
    Some(match property {
        "Auth" => "authorizers are not hosted",
        "DefinitionUri" => "declare routes as HttpApi events",
        "DurableConfig" => "durable functions are not hosted",
        "FileSystemConfigs" => "file systems are not mounted",
        "FilterCriteria" => "event filters are not hosted",
        "ImageUri" | "InlineCode" => "is not hosted: build a bootstrap and set CodeUri",
        "VpcConfig" => "not hosted: put it behind a condition that is false here",
        _ => return None,
    })
}

/// The properties of a resource or event, or of a part of it.
pub(crate) struct Properties<'r> {
    pub(crate) resolver: &'r Resolver<'r>,
    /// Not resolved: one that is not hosted may refer to something that is not hosted either.
    values: &'r Value,
    asked: RefCell<Vec<&'static str>>,
}

impl Resolver<'_> {
    /// Reads properties with `read`, which asks for each that it knows.
    pub(crate) fn read<T>(
        &self,
        values: &Value,
        read: impl FnOnce(&Properties<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        if !values.is_object() && !values.is_null() {
            refuse!("must be a map, not {values}");
        }
        let properties = Properties {
            resolver: self,
            values,
            asked: RefCell::default(),
        };
        let read = read(&properties)?;
        let asked = properties.asked.borrow();
        for (name, value) in entries(values) {
            if !asked.contains(&name.as_str()) && SILENT.split(' ').all(|it| it != name) {
                self.leave_out(name, value, &asked)?;
            }
        }
        Ok(read)
    }

    /// Decides about a property that is none of those that are `known`.
    fn leave_out(&self, name: &str, value: &Value, known: &[&str]) -> Result<(), String> {
        let depth = self.path.borrow().len();
        let resolved = self.resolve(value);
        self.path.borrow_mut().truncate(depth);
        if resolved.is_ok_and(|value| value.is_null()) {
            return Ok(());
        }
        // Two letters may differ. A misspelt property would otherwise have no effect.
        let meant = known.iter().find(|it| strsim::osa_distance(it, name) <= 2);
        self.at(&[name], || match (refusal(name), meant) {
            (Some(reason), _) => refuse!("{reason}"),
            (_, Some(meant)) => refuse!("unknown property; is {meant} meant?"),
            _ => Ok(()),
        })?;
        self.note(name);
        Ok(())
    }

    /// Notes that a part of what is read is left out.
    pub(crate) fn note(&self, what: &str) {
        let mut properties = self.notices.properties.borrow_mut();
        let places = properties.entry(what.to_owned()).or_default();
        places.push(place(&self.path.borrow()));
    }
}

impl Properties<'_> {
    /// One of them, not resolved.
    pub(crate) fn raw(&self, name: &'static str) -> &Value {
        self.asked.borrow_mut().push(name);
        &self.values[name]
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, name: &'static str) -> Result<Option<T>, String> {
        let resolver = self.resolver;
        resolver.at(&[name], || match resolver.resolve(self.raw(name))? {
            Value::Null => Ok(None),
            value => resolver.typed(&value).map(Some),
        })
    }

    /// One that must be there.
    pub(crate) fn need<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, String> {
        let value = self.get(name)?;
        value.ok_or_else(|| format!("the property {name} is missing"))
    }

    /// Reads a map within; an empty one if it is not there.
    pub(crate) fn within<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Properties<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let values: Value = self.get(name)?.unwrap_or_default();
        let resolver = self.resolver;
        resolver.at(&[name], || resolver.read(&values, read))
    }

    /// A number within AWS's limits, or a boolean.
    pub(crate) fn number<N: FromStr + PartialOrd + Display>(
        &self,
        name: &'static str,
        limits: RangeInclusive<N>,
    ) -> Result<Option<N>, String> {
        let Some(text) = self.get::<String>(name)? else {
            return Ok(None);
        };
        self.resolver.at(&[name], || match text.parse() {
            Ok(number) if limits.contains(&number) => Ok(Some(number)),
            _ => refuse!(
                "must be {} to {}, not {text:?}",
                limits.start(),
                limits.end()
            ),
        })
    }

    /// One that must be one of these; the first if it is not there.
    pub(crate) fn one_of(&self, name: &'static str, known: &[&str]) -> Result<String, String> {
        let value = self.get(name)?.unwrap_or_else(|| known[0].to_owned());
        self.resolver
            .at(&[name], || match known.contains(&value.as_str()) {
                true => Ok(value),
                false => refuse!("must be {}, not {value:?}", known.join(" or ")),
            })
    }
}
