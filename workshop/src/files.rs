//! Reads and writes JSON, and reads YAML as JSON.

use std::path::Path;

use anyhow::{Context, Result};
use fs_err as fs;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Reads a file of JSON.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&fs::read(path)?).with_context(|| cannot_read(path))
}

/// Writes a file of JSON for people and programs.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    fs::write(path, serde_json::to_string_pretty(value)? + "\n")?;
    Ok(())
}

/// Reads a file of one YAML document. CloudFormation's short forms are written out: `!Ref x` becomes
/// `{"Ref": "x"}`, `!Sub x` becomes `{"Fn::Sub": "x"}`, and `!GetAtt a.b` becomes `{"Fn::GetAtt": ["a", "b"]}`
/// (<https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html>).
pub fn read_yaml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path)?;
    let documents = Yaml::load_from_str(&text).with_context(|| cannot_read(path))?;
    let document = documents.first().with_context(|| cannot_read(path))?;
    serde_json::from_value(json(document)).with_context(|| cannot_read(path))
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

fn json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::from(*value),
            Scalar::Integer(value) => Value::from(*value),
            Scalar::FloatingPoint(value) => Value::from(value.into_inner()),
            Scalar::String(value) => Value::from(value.as_ref()),
        },
        Yaml::Sequence(items) => items.iter().map(json).collect(),
        Yaml::Mapping(entries) => {
            let key = |key: &Yaml<'_>| match json(key) {
                Value::String(key) => key,
                other => other.to_string(), // a number as a key, such as a status
            };
            entries
                .iter()
                .map(|(name, value)| (key(name), json(value)))
                .collect()
        }
        Yaml::Tagged(tag, value) => short_form(&tag.suffix, json(value)),
        // Left for documents that are parsed lazily, and for aliases that lead nowhere.
        Yaml::Representation(text, ..) => Value::from(text.as_ref()),
        Yaml::Alias(_) | Yaml::BadValue => Value::Null,
    }
}

fn short_form(tag: &str, value: Value) -> Value {
    let (name, value) = match (tag, value) {
        ("Ref" | "Condition", value) => (tag.to_owned(), value),
        ("GetAtt", Value::String(path)) => ("Fn::GetAtt".to_owned(), path.split('.').collect()),
        (_, value) => (format!("Fn::{tag}"), value),
    };
    Value::Object(Map::from_iter([(name, value)]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn anchors_numbers_and_short_forms_are_resolved() {
        let text = "a: &x 100\nb: [*x, 1.5, \"7\", yes, ~]\nc: !Ref Table\nd: !GetAtt Table.Arn\n\
            e: !Sub \"${A}-b\"\nf: !If [C, !Ref D, 200]\n200: true\n";
        assert_eq!(
            super::json(&Yaml::load_from_str(text).unwrap()[0]),
            json!({
                "a": 100, "b": [100, 1.5, "7", "yes", null], "c": {"Ref": "Table"}, "d": {"Fn::GetAtt": ["Table", "Arn"]},
                "e": {"Fn::Sub": "${A}-b"}, "f": {"Fn::If": ["C", {"Ref": "D"}, 200]}, "200": true
            })
        );
    }

    #[test]
    fn a_file_that_is_no_yaml_or_no_json_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("broken");
        fs::write(&file, "a: [1, 2").unwrap();
        for refused in [read_yaml::<Value>(&file), read_json::<Value>(&file)] {
            let refused = format!("{:#}", refused.unwrap_err());
            assert!(
                refused.starts_with("cannot read ") && refused.contains("broken: "),
                "{refused}"
            );
        }
        let missing = format!(
            "{:#}",
            read_json::<Value>(&folder.path().join("missing")).unwrap_err()
        );
        assert!(missing.contains("missing"), "{missing}");
    }
}
