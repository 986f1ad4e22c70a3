//! The template's `Parameters`: values from the command line or by default, and their limits.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html>

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde::Deserialize;
use serde_json::Number;

use crate::error::{Mistake, refuse};
use crate::intrinsics::{Resolver, texts};
use crate::properties::{Notices, Reader};
use crate::yaml::{Content, Map, Node};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Declaration {
    #[serde(rename = "Type")]
    kind: String,
    default: Option<String>,
    #[serde(default)]
    allowed_values: Vec<String>,
    allowed_pattern: Option<String>,
    constraint_description: Option<String>,
    min_value: Option<String>,
    max_value: Option<String>,
    min_length: Option<String>,
    max_length: Option<String>,
}

/// The value of each parameter: text, a number, or a list of texts.
pub(crate) fn resolve(
    resolver: &Resolver<'_>,
    declared: &Map,
    given: &BTreeMap<String, String>,
    notices: &Notices,
) -> Result<Map, Mistake> {
    if let Some(unknown) = given.keys().find(|name| !declared.contains_key(*name)) {
        let known: Vec<&str> = declared.keys().map(String::as_str).collect();
        let known = known.join(", ");
        refuse!("there is no parameter {unknown:?} (--parameter); the template declares: {known}");
    }
    let mut values = Map::new();
    for (name, node) in declared {
        let node = resolver.resolve(node);
        let path = format!("Parameters.{name}");
        let place = Reader {
            node: &node,
            path,
            notices,
        };
        let content = value(&place.read()?, node.line, given.get(name));
        let content = content.map_err(|mistake| mistake.on(node.line).at(&place.path))?;
        values.insert(name.clone(), Node::new(node.line, content));
    }
    Ok(values)
}

fn value(declared: &Declaration, line: usize, given: Option<&String>) -> Result<Content, Mistake> {
    let kind = &declared.kind;
    // An SSM parameter's default is the name of its value.
    let default = declared
        .default
        .as_ref()
        .filter(|_| !kind.starts_with("AWS::SSM::"));
    let Some(text) = given.or(default) else {
        refuse!("it has no Default: pass --parameter Name=Value");
    };
    let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
    let split = text.split(',').map(str::trim);
    let items: Vec<&str> = if is_list { split.collect() } else { vec![text] };
    for item in &items {
        if let Some(rule) = broken_rule(declared, item) {
            refuse!("the value {item:?} is refused: it must {rule}");
        }
    }
    Ok(match text.parse::<Number>() {
        _ if is_list => texts(items.into_iter(), line),
        Ok(_) if kind == "Number" => Content::Literal(text.clone()),
        _ => Content::Text(text.clone()),
    })
}

/// The rule of a declaration that a value breaks.
fn broken_rule(declared: &Declaration, value: &str) -> Option<String> {
    let allowed = &declared.allowed_values;
    if !allowed.is_empty() && !allowed.iter().any(|it| it == value) {
        return Some(format!("be one of {}", allowed.join(", ")));
    }
    // CloudFormation's patterns are Java's. One that Rust does not know is left to AWS.
    let pattern = declared.allowed_pattern.as_deref().unwrap_or_default();
    if let Ok(whole) = Regex::new(&format!("^(?:{pattern})$"))
        && !pattern.is_empty()
        && !whole.is_match(value)
    {
        let words = declared.constraint_description.as_deref();
        let words = words.map(|it| it.trim_start_matches("must ").to_owned());
        return Some(words.unwrap_or_else(|| format!("match {pattern}")));
    }
    let outside = |size: f64, least: &Option<String>, most: &Option<String>, what: &str| {
        let limit = |text: &Option<String>| text.as_ref()?.parse::<f64>().ok();
        match (limit(least), limit(most)) {
            (Some(least), _) if size < least => Some(format!("{what} at least {least}")),
            (_, Some(most)) if size > most => Some(format!("{what} at most {most}")),
            _ => None,
        }
    };
    if !declared.kind.contains("Number") {
        let length = value.chars().count() as f64;
        return outside(
            length,
            &declared.min_length,
            &declared.max_length,
            "have a length of",
        );
    }
    match value.trim().parse() {
        Ok(number) => outside(number, &declared.min_value, &declared.max_value, "be"),
        Err(_) => Some("be a number".to_owned()),
    }
}
