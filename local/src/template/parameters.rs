//! The template's `Parameters`: values given on the command line or by default, and their limits.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html>

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::{Map, Value};

use super::error::{Fault, Place, show};
use super::object::{Object, to_text};

/// The value of each parameter: text, or a list of texts.
pub(super) fn resolve(
    declared: &Map<String, Value>,
    given: &BTreeMap<String, String>,
    notices: &mut Vec<String>,
) -> Result<BTreeMap<String, Value>, Fault> {
    let section = Place::root("Parameters");
    if let Some(unknown) = given.keys().find(|name| !declared.contains_key(*name)) {
        let known: Vec<&str> = declared.keys().map(String::as_str).collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        return Err(section.fault(format!(
            "there is no parameter {unknown:?} (--parameter); the template declares: {known}"
        )));
    }
    let mut values = BTreeMap::new();
    for (name, declaration) in declared {
        let declaration = Object::of(declaration, section.child(name.as_str()))?;
        let value = value(&declaration, given.get(name), notices)?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

fn value(
    declaration: &Object<'_>,
    given: Option<&String>,
    notices: &mut Vec<String>,
) -> Result<Value, Fault> {
    declaration.only(&[
        "Type",
        "Default",
        "Description",
        "NoEcho",
        "ConstraintDescription",
        "AllowedValues",
        "AllowedPattern",
        "MinLength",
        "MaxLength",
        "MinValue",
        "MaxValue",
    ])?;
    let place = declaration.place();
    let kind = declaration.required_text("Type")?;
    let text = match (given, declaration.text("Default")?) {
        (Some(given), _) => given.clone(),
        (None, Some(_)) if kind.starts_with("AWS::SSM::Parameter::Value") => {
            return Err(place.fault(
                "its value is in the SSM Parameter Store, which is not hosted: pass --parameter \
                 Name=Value",
            ));
        }
        (None, Some(default)) => default,
        (None, None) => {
            return Err(place.fault("it has no Default: pass --parameter Name=Value"));
        }
    };
    let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
    let items: Vec<&str> = if is_list {
        text.split(',').map(str::trim).collect()
    } else {
        vec![text.as_str()]
    };
    let is_number = kind == "Number" || kind == "List<Number>";
    for item in &items {
        check(declaration, item, is_number, notices)?;
    }
    Ok(if is_list {
        Value::Array(
            items
                .into_iter()
                .map(|item| Value::String(item.to_owned()))
                .collect(),
        )
    } else {
        Value::String(text)
    })
}

fn check(
    declaration: &Object<'_>,
    value: &str,
    is_number: bool,
    notices: &mut Vec<String>,
) -> Result<(), Fault> {
    let refuse = |rule: String| {
        let reason = declaration.text("ConstraintDescription")?.unwrap_or(rule);
        let shown = show(&Value::String(value.to_owned()));
        Err(declaration
            .place()
            .fault(format!("the value {shown} is refused: {reason}")))
    };
    if let Some((allowed, place)) = declaration.list("AllowedValues")? {
        let allowed: Vec<String> = allowed
            .iter()
            .map(|item| to_text(item).ok_or_else(|| place.fault("must hold plain values")))
            .collect::<Result<_, _>>()?;
        if !allowed.iter().any(|item| item == value) {
            return refuse(format!("it must be one of {}", allowed.join(", ")));
        }
    }
    if let Some(pattern) = declaration.text("AllowedPattern")? {
        // CloudFormation's pattern is Java's and covers the whole value.
        match Regex::new(&format!("^(?:{pattern})$")) {
            Ok(regex) if !regex.is_match(value) => {
                return refuse(format!("it must match {pattern}"));
            }
            Ok(_) => {}
            Err(_) => notices.push(format!(
                "{}: AllowedPattern {} is not checked: it uses what only Java's patterns have",
                declaration.name(),
                show(&Value::String(pattern)),
            )),
        }
    }
    if is_number {
        let Ok(number) = value.trim().parse::<f64>() else {
            return refuse("it must be a number".to_owned());
        };
        if let Some(least) = declaration.number("MinValue")?
            && number < least
        {
            return refuse(format!("it must be at least {least}"));
        }
        if let Some(most) = declaration.number("MaxValue")?
            && number > most
        {
            return refuse(format!("it must be at most {most}"));
        }
    } else {
        let length = value.chars().count() as f64;
        if let Some(least) = declaration.number("MinLength")?
            && length < least
        {
            return refuse(format!("it must have at least {least} characters"));
        }
        if let Some(most) = declaration.number("MaxLength")?
            && length > most
        {
            return refuse(format!("it must have at most {most} characters"));
        }
    }
    Ok(())
}
