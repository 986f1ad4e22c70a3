//! Intrinsic functions, conditions and pseudo parameters.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html>

use std::cell::RefCell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::Context;
use crate::error::refuse;
use crate::notices::Notices;

/// Stands before a reference that is kept, such as `${Queue.Arn}`. The character is for private use, so in no template.
const KEPT: char = '\u{e000}';

/// What values are resolved with.
pub(crate) struct Resolver<'t> {
    pub(crate) context: &'t Context,
    pub(crate) template: &'t Value,
    pub(crate) parameters: Map<String, Value>,
    /// Those whose condition holds, with the properties of `Globals`, not resolved.
    pub(crate) resources: Map<String, Value>,
    /// Keep references to resources: only a deployment gives a resource its name.
    pub(crate) keeps_references: bool,
    /// Where it is at work; after an error, where that was met.
    pub(crate) path: RefCell<Vec<String>>,
    pub(crate) notices: Notices,
}

impl Resolver<'_> {
    /// A value without intrinsic functions. `AWS::NoValue` is null, and is left out of lists and maps.
    pub(crate) fn resolve(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::Object(map) => {
                if let Some((function, argument)) = call(value) {
                    return self.at(&[function], || self.call(function, argument));
                }
                let mut resolved = Map::new();
                for (name, value) in map {
                    resolved.insert(name.clone(), self.at(&[name], || self.resolve(value))?);
                }
                resolved.retain(|_, value| !value.is_null());
                resolved.into()
            }
            Value::Array(items) => {
                let mut resolved = Vec::new();
                for (at, item) in items.iter().enumerate() {
                    resolved.push(self.at(&[&at.to_string()], || self.resolve(item))?);
                }
                resolved.retain(|item| !item.is_null());
                resolved.into()
            }
            scalar => scalar.clone(),
        })
    }

    /// Finds something further within the template.
    pub(crate) fn at<T>(
        &self,
        names: &[&str],
        find: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let depth = self.path.borrow().len();
        let names = names.iter().map(ToString::to_string);
        self.path.borrow_mut().extend(names);
        let found = find()?;
        self.path.borrow_mut().truncate(depth);
        Ok(found)
    }

    /// Finds something elsewhere in the template that may depend on itself.
    pub(crate) fn once<T>(
        &self,
        what: &str,
        find: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        if self.path.borrow().iter().any(|it| it == what) {
            refuse!("{what} depends on itself");
        }
        self.at(&[what], find)
    }

    fn call(&self, function: &str, argument: &Value) -> Result<Value, String> {
        if function == "Fn::If" {
            let [Value::String(condition), yes, no] = items(argument) else {
                refuse!("needs the name of a condition and two values");
            };
            return self.resolve(if self.condition(condition)? { yes } else { no });
        }
        let argument = &self.resolve(argument)?;
        if self.keeps_references {
            let json = argument.to_string();
            let has_reference = json.contains(KEPT) && !matches!(function, "Fn::Sub" | "Fn::Join");
            if has_reference || json.contains("{\"Fn::") || json.contains("{\"Ref\":") {
                return Ok(json!({ function: argument }));
            }
        }
        Ok(match function {
            "Ref" => self.reference(&self.typed::<String>(argument)?)?,
            "Condition" => self.condition(&self.typed::<String>(argument)?)?.into(),
            "Fn::GetAtt" => match argument {
                Value::String(dotted) => self.attribute(dotted)?,
                names => self.attribute(&self.typed::<Vec<String>>(names)?.join("."))?,
            },
            "Fn::Sub" => match items(argument) {
                [Value::String(text), variables] => self.substitute(text, variables)?,
                _ => self.substitute(&self.typed::<String>(argument)?, &Value::Null)?,
            },
            "Fn::Join" => {
                let (delimiter, items): (String, Vec<String>) = self.typed(argument)?;
                items.join(&delimiter).into()
            }
            "Fn::Select" => {
                let (index, items): (String, Vec<Value>) = self.typed(argument)?;
                match index.parse().ok().and_then(|at: usize| items.get(at)) {
                    Some(item) => item.clone(),
                    None => refuse!("there is no item {index} in {} items", items.len()),
                }
            }
            "Fn::Split" => {
                let (delimiter, whole): (String, String) = self.typed(argument)?;
                if delimiter.is_empty() {
                    refuse!("the delimiter is empty");
                }
                whole.split(&delimiter).collect()
            }
            "Fn::FindInMap" => {
                let keys = items(argument).iter().take(3).cloned().collect();
                let keys: [String; 3] = self.typed(&keys)?;
                let mappings = &self.template["Mappings"];
                let found = keys.iter().fold(mappings, |map, key| &map[key]);
                match (found, &argument[3]["DefaultValue"]) {
                    (Value::Null, Value::Null) => refuse!("{keys:?} is not in Mappings"),
                    (Value::Null, default) => default.clone(),
                    (found, _) => found.clone(),
                }
            }
            "Fn::Base64" => STANDARD.encode(self.typed::<String>(argument)?).into(),
            "Fn::GetAZs" => {
                let zones = ["a", "b", "c"].iter();
                zones
                    .map(|zone| self.context.region.clone() + zone)
                    .collect()
            }
            "Fn::Equals" => {
                let (one, other): (String, String) = self.typed(argument)?;
                (one == other).into()
            }
            "Fn::Contains" => {
                let (items, value): (Vec<String>, String) = self.typed(argument)?;
                items.contains(&value).into()
            }
            "Fn::And" => truths(argument)?.iter().all(|it| *it).into(),
            "Fn::Or" => truths(argument)?.iter().any(|it| *it).into(),
            "Fn::Not" => (!truths(argument)?.iter().all(|it| *it)).into(),
            _ if self.keeps_references => json!({ function: argument }),
            _ => refuse!("is not evaluated by this host"),
        })
    }

    /// Reads a value that is resolved. CloudFormation takes numbers and booleans as text, so all scalars are text.
    pub(crate) fn typed<T: DeserializeOwned>(&self, value: &Value) -> Result<T, String> {
        let texts = each_scalar(value, &|scalar| match scalar {
            Value::Number(_) | Value::Bool(_) => scalar.to_string().into(),
            _ => scalar.clone(),
        });
        serde_path_to_error::deserialize(texts).map_err(|error| {
            let inner = error.path().iter().map(ToString::to_string);
            self.path.borrow_mut().extend(inner);
            error.inner().to_string()
        })
    }

    fn reference(&self, name: &str) -> Result<Value, String> {
        let stack = &self.context.stack_name;
        Ok(match name {
            "AWS::NoValue" => Value::Null,
            "AWS::Region" => self.context.region.clone().into(),
            "AWS::AccountId" => self.context.account.clone().into(),
            "AWS::StackName" => stack.clone().into(),
            "AWS::Partition" => "aws".into(),
            "AWS::URLSuffix" => "amazonaws.com".into(),
            "AWS::StackId" => self
                .arn("cloudformation", &format!("stack/{stack}/0"))
                .into(),
            _ => match self.parameters.get(name) {
                Some(value) => value.clone(),
                // SAM's own, such as `Function.Version`.
                None if self.keeps_references && name.contains('.') => json!({ "Ref": name }),
                None if self.keeps_references => format!("{KEPT}${{{name}}}").into(),
                None => self.value_of(name, "Ref")?.into(),
            },
        })
    }

    fn attribute(&self, dotted: &str) -> Result<Value, String> {
        match dotted.split_once('.') {
            None => refuse!("needs Resource.Attribute, not {dotted:?}"),
            Some(_) if self.keeps_references => Ok(format!("{KEPT}${{{dotted}}}").into()),
            Some((id, attribute)) => self.value_of(id, attribute).map(Value::from),
        }
    }

    fn substitute(&self, template: &str, variables: &Value) -> Result<Value, String> {
        let (mut result, mut rest) = (String::new(), template);
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                refuse!("`${{` without `}}`");
            };
            (result, rest) = (result + before, after);
            let name = name.trim();
            let value = match (variables.get(name), name.strip_prefix('!')) {
                (Some(value), _) => value.clone(),
                (_, Some(literal)) => format!("${{{literal}}}").into(),
                _ if name.contains('.') => self.attribute(name)?,
                _ => self.reference(name)?,
            };
            result += &self.typed::<String>(&value)?;
        }
        Ok((result + rest).into())
    }

    /// Whether a condition of the template holds.
    pub(crate) fn condition(&self, name: &str) -> Result<bool, String> {
        match &self.template["Conditions"][name] {
            Value::Null => refuse!("there is no condition {name:?}"),
            it => self.once(&format!("the condition {name}"), || self.truth(it)),
        }
    }

    /// The result of a condition function.
    pub(crate) fn truth(&self, condition: &Value) -> Result<bool, String> {
        match self.resolve(condition)? {
            Value::Bool(truth) => Ok(truth),
            _ => refuse!("needs a condition function such as !Equals"),
        }
    }

    /// Whether a resource or an output exists.
    pub(crate) fn exists(&self, part: &Value) -> Result<bool, String> {
        match &part["Condition"] {
            Value::Null => Ok(true),
            name => self.condition(&self.typed::<String>(name)?),
        }
    }
}

/// The name and argument of an intrinsic function. A policy's `Condition` is a map.
pub(crate) fn call(value: &Value) -> Option<(&String, &Value)> {
    let map = value.as_object().filter(|map| map.len() == 1)?;
    let (name, argument) = map.iter().next()?;
    let is_call = match name.as_str() {
        "Condition" => argument.is_string(),
        name => name == "Ref" || name.starts_with("Fn::"),
    };
    is_call.then_some((name, argument))
}

/// The entries of a map; none if it is not there.
pub(crate) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// The items of a list; none if it is not there.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn truths(conditions: &Value) -> Result<Vec<bool>, String> {
    let truths = items(conditions).iter().map(Value::as_bool);
    match truths.collect::<Option<Vec<bool>>>() {
        Some(truths) if !truths.is_empty() => Ok(truths),
        _ => refuse!("needs a list of conditions"),
    }
}

fn each_scalar(value: &Value, change: &impl Fn(&Value) -> Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|it| each_scalar(it, change)).collect(),
        Value::Object(map) => {
            let entries = map.iter();
            let entries = entries.map(|(name, it)| (name.clone(), each_scalar(it, change)));
            Value::Object(entries.collect())
        }
        scalar => change(scalar),
    }
}

/// Gives references that were kept CloudFormation's form.
pub(crate) fn with_references(value: &Value) -> Value {
    each_scalar(value, &|scalar| {
        let Some(text) = scalar.as_str().filter(|text| text.contains(KEPT)) else {
            return scalar.clone();
        };
        // `${Name}` and no more.
        let name = text.strip_prefix(KEPT).and_then(|it| it.strip_prefix("${"));
        match name.and_then(|it| it.split_once('}')) {
            Some((name, "")) => match name.split_once('.') {
                Some((id, attribute)) => json!({ "Fn::GetAtt": [id, attribute] }),
                None => json!({ "Ref": name }),
            },
            _ => {
                let escaped = text.replace("${", "${!");
                json!({ "Fn::Sub": escaped.replace(&format!("{KEPT}${{!"), "${") })
            }
        }
    })
}
