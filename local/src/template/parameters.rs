//! The template's `Parameters`: values from the command line or by default, and their limits.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html>

use std::collections::BTreeMap;

use super::error::{Fault, refuse, short};
use super::intrinsics::{Resolver, texts};
use super::object::Object;
use super::yaml::{Content, Map, Node};

/// The value of each parameter: text, or a list of texts.
pub(super) fn resolve(
    resolver: &Resolver<'_>,
    declared: &Map,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Node>, Fault> {
    if let Some(unknown) = given.keys().find(|name| !declared.contains_key(*name)) {
        let known: Vec<&str> = declared.keys().map(String::as_str).collect();
        let known = known.join(", ");
        refuse!("there is no parameter {unknown:?} (--parameter); the template declares: {known}");
    }
    let mut values = BTreeMap::new();
    for (name, node) in declared {
        let declaration = Object::of(resolver, "", format!("Parameters.{name}"), node)?;
        let content = value(&declaration, node.line, given.get(name))?;
        declaration.finish()?;
        values.insert(name.clone(), Node::new(node.line, content));
    }
    Ok(values)
}

fn value(declaration: &Object<'_>, line: usize, given: Option<&String>) -> Result<Content, Fault> {
    let kind = declaration.required_text("Type")?;
    // An SSM parameter's default is the name of its value.
    let default = declaration.text("Default")?;
    let default = default.filter(|_| !kind.starts_with("AWS::SSM::"));
    let Some(text) = given.cloned().or(default) else {
        // The name `Default` may be misspelt.
        declaration.finish()?;
        return Err(declaration.wrong("it has no Default: pass --parameter Name=Value"));
    };
    let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
    let split = text.split(',').map(str::trim);
    let items: Vec<&str> = if is_list {
        split.collect()
    } else {
        vec![&text]
    };
    for item in &items {
        check(declaration, item, kind.contains("Number"))?;
    }
    Ok(match is_list {
        true => texts(items.into_iter(), line),
        false => Content::Text(text),
    })
}

fn check(declaration: &Object<'_>, value: &str, is_number: bool) -> Result<(), Fault> {
    let refuse = |rule: String| {
        let value = short(value);
        Err(declaration.wrong(format!("the value {value:?} is refused: it must {rule}")))
    };
    let allowed = declaration.list("AllowedValues")?;
    let allowed: Vec<&str> = allowed.iter().filter_map(Node::text).collect();
    if !allowed.is_empty() && !allowed.contains(&value) {
        return refuse(format!("be one of {}", allowed.join(", ")));
    }
    // Patterns are left to AWS: CloudFormation's are Java's.
    if !is_number {
        return Ok(());
    }
    let Ok(number) = value.trim().parse::<f64>() else {
        return refuse("be a number".to_owned());
    };
    for (limit, is_least) in [("MinValue", true), ("MaxValue", false)] {
        let text = declaration.text(limit)?.unwrap_or_default();
        let bound = text.parse().ok();
        if bound.is_some_and(|bound: f64| {
            if is_least {
                number < bound
            } else {
                number > bound
            }
        }) {
            let side = if is_least { "least" } else { "most" };
            return refuse(format!("be at {side} {text}"));
        }
    }
    Ok(())
}
