//! The text of a template as JSON values. CloudFormation's short tags (`!Sub`) become the long form (`Fn::Sub`).

use std::collections::BTreeMap;

use saphyr::{MarkedYaml, ScalarStyle, Tag, YamlData, YamlLoader};
use saphyr_parser::{Parser, ScanError};
use serde_json::{Map, Number, Value};

/// The line of each value by its path. In a map it is the line of the key, which a person looks for.
pub(crate) type Lines = BTreeMap<Vec<String>, usize>;

/// The line of an error, and the error.
type Refused = (usize, String);

/// # Errors
/// If the text is not one YAML document that CloudFormation accepts.
pub(crate) fn read(text: &str) -> Result<(Value, Lines), Refused> {
    let mut loader = YamlLoader::default();
    loader.early_parse(false);
    loader.alias_limit(0);
    let parsed = Parser::new_from_str(text).load(&mut loader, true);
    parsed.map_err(|error| not_yaml(&error))?;
    if let Some(error) = loader.error() {
        return Err(not_yaml(error));
    }
    let documents: Vec<MarkedYaml<'_>> = loader.into_documents();
    let mut walk = Walk::default();
    match &documents[..] {
        [] => Err((1, "the file is empty".to_owned())),
        [document] => Ok((walk.value(document)?, walk.lines)),
        [_, second, ..] => Err((
            line(second),
            "a second document; a template is one".to_owned(),
        )),
    }
}

fn not_yaml(error: &ScanError) -> Refused {
    let message = match error.info() {
        info if info.starts_with("alias") => "an alias, which CloudFormation does not take",
        info => info,
    };
    (error.marker().line(), format!("not YAML: {message}"))
}

fn line(yaml: &MarkedYaml<'_>) -> usize {
    yaml.span.start.line()
}

#[derive(Default)]
struct Walk {
    path: Vec<String>,
    lines: Lines,
}

impl Walk {
    fn value(&mut self, yaml: &MarkedYaml<'_>) -> Result<Value, Refused> {
        Ok(match &yaml.data {
            YamlData::Representation(text, ScalarStyle::Plain, None) => plain(text),
            YamlData::Representation(text, _, tag) => {
                called(tag.as_deref().and_then(function), text.as_ref().into())
            }
            YamlData::Tagged(tag, value) => match function(tag) {
                Some(name) => called(Some(name.clone()), self.child(name, line(yaml), value)?),
                None => self.value(value)?,
            },
            YamlData::Sequence(items) => {
                let items = items.iter().enumerate();
                let items = items.map(|(at, item)| self.child(at.to_string(), line(item), item));
                items.collect::<Result<_, _>>()?
            }
            YamlData::Mapping(map) => {
                let mut read = Map::new();
                for (key, value) in map {
                    let YamlData::Representation(name, _, None) = &key.data else {
                        return Err((line(key), "a key that is not text".to_owned()));
                    };
                    let value = self.child(name.to_string(), line(key), value)?;
                    read.insert(name.to_string(), value);
                }
                read.into()
            }
            YamlData::Value(_) | YamlData::Alias(_) | YamlData::BadValue => Value::Null,
        })
    }

    fn child(
        &mut self,
        name: String,
        line: usize,
        yaml: &MarkedYaml<'_>,
    ) -> Result<Value, Refused> {
        self.path.push(name);
        self.lines.insert(self.path.clone(), line);
        let value = self.value(yaml);
        self.path.pop();
        value
    }
}

/// Only `Ref` and `Condition` have no prefix. A bare `!` and YAML's own tags, such as `!!str`, are no functions.
fn function(tag: &Tag) -> Option<String> {
    match tag.suffix.as_str() {
        "" => None,
        _ if tag.handle != "!" => None,
        name @ ("Ref" | "Condition") => Some(name.to_owned()),
        name => Some(format!("Fn::{name}")),
    }
}

fn called(function: Option<String>, argument: Value) -> Value {
    match function {
        Some(name) => Map::from_iter([(name, argument)]).into(),
        None => argument,
    }
}

/// A scalar without quotes, by YAML 1.1, which CloudFormation and SAM follow. A number that JSON would write in another
/// way stays text: `1.10` is a version, and `000000000000` an account.
pub(crate) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true.into(),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => false.into(),
        _ => match text.parse::<Number>() {
            Ok(number) if number.to_string() == text => number.into(),
            _ => text.into(),
        },
    }
}
