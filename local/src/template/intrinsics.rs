//! Intrinsic functions, conditions and pseudo parameters.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html>

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine;
use serde_json::{Map, Value};

use super::Context;
use super::error::{Fault, Place, show};
use super::names;
use super::object::to_text;

/// Deeper than any document that the YAML reader lets through; what comes on top are names that
/// refer to other names.
const MAX_DEPTH: usize = 100;

/// All text that functions may produce. A function can use its argument twice, so that a few nested
/// ones would fill any memory; real templates stay below the 1 MB of their body.
const MAX_OUTPUT: usize = 4 * 1024 * 1024;

/// What resolving needs to know, and what it has found out.
pub(super) struct Resolver<'a> {
    pub(super) context: &'a Context,
    pub(super) parameters: BTreeMap<String, Value>,
    pub(super) mappings: Map<String, Value>,
    pub(super) conditions: Map<String, Value>,
    /// After `Globals`; all of them, those with a false condition too.
    pub(super) resources: Map<String, Value>,
    /// None while a condition or name is being resolved: to meet it again is a circle.
    pub(super) known_conditions: RefCell<HashMap<String, Option<bool>>>,
    known_names: RefCell<HashMap<String, Option<String>>>,
    /// Resources referred to since the last `take_references`.
    references: RefCell<BTreeSet<String>>,
    depth: Cell<usize>,
    output: Cell<usize>,
}

/// The name and argument of an intrinsic function in its long form.
pub(super) fn function_call(map: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (name, argument) = map.iter().next()?;
    let is_function = map.len() == 1 && (name == "Ref" || name.starts_with("Fn::"));
    is_function.then_some((name.as_str(), argument))
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        context: &'a Context,
        parameters: BTreeMap<String, Value>,
        mappings: Map<String, Value>,
        conditions: Map<String, Value>,
        resources: Map<String, Value>,
    ) -> Resolver<'a> {
        Resolver {
            context,
            parameters,
            mappings,
            conditions,
            resources,
            known_conditions: RefCell::default(),
            known_names: RefCell::default(),
            references: RefCell::default(),
            depth: Cell::new(0),
            output: Cell::new(0),
        }
    }

    /// The resources referred to since the last call.
    pub(super) fn take_references(&self) -> BTreeSet<String> {
        self.references.take()
    }

    /// A value without intrinsic functions; none where it is `AWS::NoValue`.
    pub(super) fn resolve(&self, value: &Value, place: &Place<'_>) -> Result<Option<Value>, Fault> {
        self.deeper(place, || match value {
            Value::Object(map) => match function_call(map) {
                Some((name, argument)) => self.call(name, argument, &place.child(name)),
                None => {
                    let mut resolved = Map::new();
                    for (name, value) in map {
                        if let Some(value) = self.resolve(value, &place.child(name.as_str()))? {
                            resolved.insert(name.clone(), value);
                        }
                    }
                    Ok(Some(Value::Object(resolved)))
                }
            },
            Value::Array(items) => {
                let mut resolved = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    resolved.extend(self.resolve(item, &place.index(index))?);
                }
                Ok(Some(Value::Array(resolved)))
            }
            scalar => Ok(Some(scalar.clone())),
        })
    }

    pub(super) fn deeper<T>(
        &self,
        place: &Place<'_>,
        step: impl FnOnce() -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.depth.get() >= MAX_DEPTH {
            return Err(place.fault(format!("nested deeper than {MAX_DEPTH}")));
        }
        self.depth.set(self.depth.get() + 1);
        let result = step();
        self.depth.set(self.depth.get() - 1);
        result
    }

    fn call(
        &self,
        name: &str,
        argument: &Value,
        place: &Place<'_>,
    ) -> Result<Option<Value>, Fault> {
        let value = match name {
            "Ref" => self.reference(&plain(argument, place)?, place)?,
            "Fn::If" => return self.choose(argument, place),
            "Fn::GetAtt" => Some(Value::String(self.attribute(argument, place)?)),
            "Fn::Sub" => Some(Value::String(self.substitute(argument, place)?)),
            "Fn::Join" => Some(Value::String(self.join(argument, place)?)),
            "Fn::Select" => Some(self.select(argument, place)?),
            "Fn::Split" => Some(self.split(argument, place)?),
            "Fn::FindInMap" => self.find_in_map(argument, place)?,
            "Fn::Base64" => {
                let text = self.text(argument, place)?;
                Some(Value::String(
                    base64::engine::general_purpose::STANDARD.encode(text),
                ))
            }
            "Fn::GetAZs" => {
                let region = &self.context.region;
                Some(Value::from_iter(
                    ["a", "b", "c"].map(|zone| format!("{region}{zone}")),
                ))
            }
            "Fn::And" | "Fn::Or" | "Fn::Not" | "Fn::Equals" => {
                return Err(place.fault(format!("{name} stands only in Conditions")));
            }
            other => return Err(place.fault(format!("{other} is not evaluated by this host"))),
        };
        if let Some(value) = &value {
            self.charge(size(value), place)?;
        }
        Ok(value)
    }

    fn charge(&self, bytes: usize, place: &Place<'_>) -> Result<(), Fault> {
        let output = self.output.get().saturating_add(bytes);
        if output > MAX_OUTPUT {
            return Err(place.fault(format!("functions produce more than {MAX_OUTPUT} bytes")));
        }
        self.output.set(output);
        Ok(())
    }

    /// The text of an argument that may itself be a function.
    fn text(&self, value: &Value, place: &Place<'_>) -> Result<String, Fault> {
        let value = self.resolve(value, place)?.unwrap_or(Value::Null);
        plain(&value, place)
    }

    /// The items of an argument that is a list, or a function that gives one.
    fn items(&self, value: &Value, place: &Place<'_>) -> Result<Vec<Value>, Fault> {
        match self.resolve(value, place)? {
            Some(Value::Array(items)) => Ok(items),
            other => {
                let shown = show(&other.unwrap_or(Value::Null));
                Err(place.fault(format!("needs a list, not {shown}")))
            }
        }
    }

    /// `Ref`: a pseudo parameter, a parameter, or the physical id of a resource.
    fn reference(&self, name: &str, place: &Place<'_>) -> Result<Option<Value>, Fault> {
        let context = self.context;
        let text = match name {
            "AWS::NoValue" => return Ok(None),
            "AWS::NotificationARNs" => return Ok(Some(Value::Array(Vec::new()))),
            "AWS::Region" => context.region.clone(),
            "AWS::AccountId" => context.account.clone(),
            "AWS::StackName" => context.stack_name.clone(),
            "AWS::Partition" => "aws".to_owned(),
            "AWS::URLSuffix" => "amazonaws.com".to_owned(),
            "AWS::StackId" => {
                let unique = "00000000-0000-0000-0000-000000000000";
                let stack = format!("stack/{}/{unique}", context.stack_name);
                names::arn(context, "cloudformation", &stack)
            }
            name => match self.parameters.get(name) {
                Some(value) => return Ok(Some(value.clone())),
                None => {
                    self.refer(name, place)?;
                    names::physical_id(self, name, place)?
                }
            },
        };
        Ok(Some(Value::String(text)))
    }

    /// Notes that the resource is referred to, and that it exists.
    fn refer(&self, name: &str, place: &Place<'_>) -> Result<(), Fault> {
        if !self.exists(name, place)? {
            return Err(place.fault(format!(
                "refers to {:?}, which is no resource or parameter of this template",
                name.chars().take(80).collect::<String>()
            )));
        }
        self.references.borrow_mut().insert(name.to_owned());
        Ok(())
    }

    /// Whether a resource stands in the template, its own condition being true.
    pub(super) fn exists(&self, name: &str, place: &Place<'_>) -> Result<bool, Fault> {
        match self.resources.get(name) {
            None => Ok(name == names::IMPLICIT_API),
            Some(resource) => match resource.get("Condition").and_then(Value::as_str) {
                Some(condition) => self.condition(condition, place),
                None => Ok(true),
            },
        }
    }

    /// The name that a resource has on AWS, found once.
    pub(super) fn name(
        &self,
        id: &str,
        place: &Place<'_>,
        find: impl FnOnce() -> Result<String, Fault>,
    ) -> Result<String, Fault> {
        match self.known_names.borrow().get(id) {
            Some(Some(name)) => return Ok(name.clone()),
            Some(None) => {
                return Err(place.fault(format!("the name of {id} depends on itself")));
            }
            None => {}
        }
        self.known_names.borrow_mut().insert(id.to_owned(), None);
        let name = find()?;
        self.known_names
            .borrow_mut()
            .insert(id.to_owned(), Some(name.clone()));
        Ok(name)
    }

    fn attribute(&self, argument: &Value, place: &Place<'_>) -> Result<String, Fault> {
        let (resource, attribute) = match argument {
            Value::String(text) => text
                .split_once('.')
                .map(|(resource, attribute)| (resource.to_owned(), attribute.to_owned())),
            Value::Array(items) => match items.as_slice() {
                [Value::String(resource), attribute] => {
                    Some((resource.clone(), self.text(attribute, place)?))
                }
                _ => None,
            },
            _ => None,
        }
        .ok_or_else(|| place.fault("needs Resource.Attribute"))?;
        self.refer(&resource, place)?;
        names::attribute(self, &resource, &attribute, place)
    }

    fn substitute(&self, argument: &Value, place: &Place<'_>) -> Result<String, Fault> {
        let (text, variables) = match argument {
            Value::String(text) => (text, None),
            Value::Array(items) => match items.as_slice() {
                [Value::String(text), Value::Object(variables)] => (text, Some(variables)),
                _ => return Err(place.fault("needs text, or a list of text and a map")),
            },
            _ => return Err(place.fault("needs text, or a list of text and a map")),
        };
        let mut result = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            result.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                return Err(place.fault("`${` without `}`"));
            };
            rest = after;
            // `${!Name}` is the text `${Name}`.
            if let Some(literal) = name.strip_prefix('!') {
                result.push_str(&format!("${{{literal}}}"));
                continue;
            }
            let name = name.trim();
            let value = match variables.and_then(|variables| variables.get(name)) {
                Some(value) => self.text(value, &place.child(name))?,
                None => match name.split_once('.') {
                    Some(_) => self.attribute(&Value::String(name.to_owned()), place)?,
                    None => {
                        let value = self.reference(name, place)?.unwrap_or(Value::Null);
                        plain(&value, &place.child(name))?
                    }
                },
            };
            self.charge(value.len(), place)?;
            result.push_str(&value);
        }
        result.push_str(rest);
        Ok(result)
    }

    fn join(&self, argument: &Value, place: &Place<'_>) -> Result<String, Fault> {
        let Some([delimiter, items]) = arguments(argument) else {
            return Err(place.fault("needs a delimiter and a list"));
        };
        let delimiter = plain(delimiter, place)?;
        let texts: Vec<String> = self
            .items(items, place)?
            .iter()
            .map(|item| plain(item, place))
            .collect::<Result<_, _>>()?;
        self.charge(delimiter.len().saturating_mul(texts.len()), place)?;
        Ok(texts.join(&delimiter))
    }

    fn select(&self, argument: &Value, place: &Place<'_>) -> Result<Value, Fault> {
        let Some([index, items]) = arguments(argument) else {
            return Err(place.fault("needs an index and a list"));
        };
        let index = self.text(index, place)?;
        let mut items = self.items(items, place)?;
        match index.trim().parse::<usize>() {
            Ok(index) if index < items.len() => Ok(items.swap_remove(index)),
            _ => Err(place.fault(format!("there is no item {index} in {} items", items.len()))),
        }
    }

    fn split(&self, argument: &Value, place: &Place<'_>) -> Result<Value, Fault> {
        let Some([delimiter, text]) = arguments(argument) else {
            return Err(place.fault("needs a delimiter and text"));
        };
        let delimiter = plain(delimiter, place)?;
        if delimiter.is_empty() {
            return Err(place.fault("the delimiter is empty"));
        }
        Ok(self
            .text(text, place)?
            .split(&delimiter)
            .map(str::to_owned)
            .collect())
    }

    fn find_in_map(&self, argument: &Value, place: &Place<'_>) -> Result<Option<Value>, Fault> {
        let (keys, default) = match argument.as_array().map(Vec::as_slice) {
            Some([map, top, second]) => ([map, top, second], None),
            Some([map, top, second, options]) => ([map, top, second], options.get("DefaultValue")),
            _ => return Err(place.fault("needs a map, a first and a second key")),
        };
        let mut found = None;
        let mut path = Vec::new();
        for key in keys {
            let key = self.text(key, place)?;
            found = match found {
                None if path.is_empty() => self.mappings.get(&key),
                found => found.and_then(|inner: &Value| inner.get(&key)),
            };
            path.push(key);
        }
        match (found, default) {
            (Some(value), _) => Ok(Some(value.clone())),
            (None, Some(default)) => self.resolve(default, place),
            (None, None) => {
                let path = show(&Value::String(path.join(".")));
                Err(place.fault(format!("there is nothing at {path} in Mappings")))
            }
        }
    }
}

/// Exactly `N` arguments.
pub(super) fn arguments<const N: usize>(argument: &Value) -> Option<&[Value; N]> {
    argument
        .as_array()
        .and_then(|items| items.as_slice().try_into().ok())
}

fn plain(value: &Value, place: &Place<'_>) -> Result<String, Fault> {
    to_text(value).ok_or_else(|| place.fault(format!("needs text, not {}", show(value))))
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| name.len() + size(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}
