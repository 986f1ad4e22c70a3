//! Reads YAML into JSON values, with CloudFormation's short tags in their long form.
//!
//! The document is built from the parser's events and not by recursion, so that depth and size are
//! bounded before memory is taken.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Number, Value};

/// CloudFormation takes a template body of at most 1 MB.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// Twice the nesting of the deepest templates in use; keeps every later recursion shallow.
const MAX_DEPTH: usize = 64;

/// A YAML document and the line on which each of its values stands.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) value: Value,
    lines: Lines,
}

/// Line numbers, in the shape of the document.
#[derive(Debug, Default)]
struct Lines {
    line: usize,
    children: HashMap<String, Lines>,
}

/// Text that is not a YAML document CloudFormation takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) line: usize,
    pub(super) message: String,
}

impl Document {
    /// The line of the value at `path`, or of the nearest value around it.
    pub(super) fn line(&self, path: &[String]) -> usize {
        let mut lines = &self.lines;
        for name in path {
            match lines.children.get(name) {
                Some(inner) => lines = inner,
                None => break,
            }
        }
        lines.line
    }

    pub(super) fn read(text: &str) -> Result<Document, Malformed> {
        if text.len() > MAX_BYTES {
            let message = format!(
                "{} bytes, and CloudFormation takes at most {MAX_BYTES}",
                text.len()
            );
            return Err(Malformed { line: 1, message });
        }
        let mut builder = Builder::default();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| scan_error(&error))?;
            builder.take(event, span)?;
        }
        let (value, lines) = builder.root.ok_or_else(|| Malformed {
            line: 1,
            message: "the file is empty".to_owned(),
        })?;
        Ok(Document { value, lines })
    }
}

fn scan_error(error: &ScanError) -> Malformed {
    Malformed {
        line: error.marker().line(),
        message: format!("not YAML: {}", error.info()),
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Collection>,
    root: Option<(Value, Lines)>,
}

/// A list or map that is not at its end yet.
struct Collection {
    content: Content,
    lines: Lines,
    function: Option<String>,
}

enum Content {
    List(Vec<Value>),
    /// The key is that of the value to come.
    Map(Map<String, Value>, Option<(String, usize)>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Malformed> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, _, tag) => {
                let tag = tag.as_deref();
                if self.is_key_next() {
                    return self.key(text.into_owned(), line, tag);
                }
                let function = function_of(tag, line)?;
                let forced_text = tag.is_some_and(|tag| function.is_none() && is_text_tag(tag));
                let value = if style == ScalarStyle::Plain && !forced_text && function.is_none() {
                    plain(&text)
                } else {
                    Value::String(text.into_owned())
                };
                self.value(
                    wrap(function, value),
                    Lines {
                        line,
                        ..Lines::default()
                    },
                )
            }
            Event::SequenceStart(_, tag) => {
                self.open(Content::List(Vec::new()), tag.as_deref(), line)
            }
            Event::MappingStart(_, tag) => {
                self.open(Content::Map(Map::new(), None), tag.as_deref(), line)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(collection) = self.open.pop() else {
                    return Ok(());
                };
                let value = match collection.content {
                    Content::List(items) => Value::Array(items),
                    Content::Map(map, _) => Value::Object(map),
                };
                self.value(wrap(collection.function, value), collection.lines)
            }
            Event::Alias(_) => Err(Malformed {
                line,
                message: "a YAML alias (`*name`), which CloudFormation does not take: write the \
                          value out"
                    .to_owned(),
            }),
            Event::DocumentStart(_) if self.root.is_some() => Err(Malformed {
                line,
                message: "a second YAML document; a template is one".to_owned(),
            }),
            Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::StreamStart
            | Event::StreamEnd
            | Event::Nothing => Ok(()),
        }
    }

    fn is_key_next(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Collection {
                content: Content::Map(_, None),
                ..
            })
        )
    }

    fn open(&mut self, content: Content, tag: Option<&Tag>, line: usize) -> Result<(), Malformed> {
        if self.is_key_next() {
            return Err(Malformed {
                line,
                message: "a key that is not text".to_owned(),
            });
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Malformed {
                line,
                message: format!("nested deeper than {MAX_DEPTH}"),
            });
        }
        let function = function_of(tag, line)?;
        let lines = Lines {
            line,
            ..Lines::default()
        };
        self.open.push(Collection {
            content,
            lines,
            function,
        });
        Ok(())
    }

    fn key(&mut self, text: String, line: usize, tag: Option<&Tag>) -> Result<(), Malformed> {
        if tag.is_some_and(|tag| !is_text_tag(tag)) {
            return Err(Malformed {
                line,
                message: "a key that is not text".to_owned(),
            });
        }
        let Some(Collection {
            content: Content::Map(map, key),
            ..
        }) = self.open.last_mut()
        else {
            return Ok(());
        };
        if text == "<<" {
            return Err(Malformed {
                line,
                message: "a YAML merge (`<<`), which CloudFormation does not take: write the \
                          values out"
                    .to_owned(),
            });
        }
        if map.contains_key(&text) {
            return Err(Malformed {
                line,
                message: format!("the key {text:?} stands here twice"),
            });
        }
        *key = Some((text, line));
        Ok(())
    }

    fn value(&mut self, value: Value, mut lines: Lines) -> Result<(), Malformed> {
        let Some(collection) = self.open.last_mut() else {
            self.root = Some((value, lines));
            return Ok(());
        };
        match &mut collection.content {
            Content::List(items) => {
                collection
                    .lines
                    .children
                    .insert(items.len().to_string(), lines);
                items.push(value);
            }
            Content::Map(map, key) => {
                let Some((name, line)) = key.take() else {
                    return Err(Malformed {
                        line: lines.line,
                        message: "a key that is not text".to_owned(),
                    });
                };
                // A person looks for the key; a nested value starts on a later line.
                lines.line = line;
                collection.lines.children.insert(name.clone(), lines);
                map.insert(name, value);
            }
        }
        Ok(())
    }
}

/// `!Sub` is `Fn::Sub`; only `Ref` and `Condition` have no prefix.
fn function_of(tag: Option<&Tag>, line: usize) -> Result<Option<String>, Malformed> {
    let Some(tag) = tag else { return Ok(None) };
    if is_text_tag(tag) || tag.is_yaml_core_schema() {
        return Ok(None);
    }
    let known = match tag.suffix.as_str() {
        "Ref" | "Condition" => Some(tag.suffix.clone()),
        "And" | "Base64" | "Cidr" | "Equals" | "FindInMap" | "GetAtt" | "GetAZs" | "If"
        | "ImportValue" | "Join" | "Not" | "Or" | "Select" | "Split" | "Sub" | "Transform" => {
            Some(format!("Fn::{}", tag.suffix))
        }
        _ => None,
    };
    match known {
        Some(function) if tag.handle == "!" => Ok(Some(function)),
        _ => Err(Malformed {
            line,
            message: format!("{tag} is not an intrinsic function of CloudFormation"),
        }),
    }
}

/// `!!str` and the bare `!`, which both mean text.
fn is_text_tag(tag: &Tag) -> bool {
    (tag.is_yaml_core_schema() && tag.suffix == "str")
        || (tag.suffix.is_empty() && tag.handle == "!")
        || (tag.handle.is_empty() && tag.suffix == "!")
}

fn wrap(function: Option<String>, value: Value) -> Value {
    match function {
        Some(function) => Value::Object(Map::from_iter([(function, value)])),
        None => value,
    }
}

/// A plain scalar as YAML 1.1 reads it, which is what CloudFormation and SAM follow.
///
/// A number that would not be printed as it was written, such as the account id `000000000000`, the
/// date `2010-09-09` or the version `1.10`, stays text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let integer = text.parse::<i64>().ok().map(Number::from);
    let number = integer.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64));
    match number {
        Some(number) if number.to_string() == text => Value::Number(number),
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &str) -> Value {
        Document::read(text).expect("the text is YAML").value
    }

    fn refusal(text: &str) -> (usize, String) {
        let malformed = Document::read(text).expect_err("the text is refused");
        (malformed.line, malformed.message)
    }

    #[test]
    fn short_tags_become_the_long_form() {
        let value = read(
            "a: !Ref X\nb: !GetAtt Y.Arn\nc: !Sub ['${z}', {z: !Ref W}]\nd: !If\n  - C\n  - 1\n  - 2",
        );
        assert_eq!(
            value,
            json!({
                "a": {"Ref": "X"},
                "b": {"Fn::GetAtt": "Y.Arn"},
                "c": {"Fn::Sub": ["${z}", {"z": {"Ref": "W"}}]},
                "d": {"Fn::If": ["C", 1, 2]},
            })
        );
    }

    #[test]
    fn json_is_read_as_yaml() {
        assert_eq!(
            read("{\"a\": [1, \"x\", {\"Ref\": \"Y\"}]}"),
            json!({"a": [1, "x", {"Ref": "Y"}]})
        );
    }

    #[test]
    fn scalars_that_would_print_differently_stay_text() {
        assert_eq!(
            read("[512, 2010-09-09, 000000000000, 1.10, 1.5, yes, 'no', ~, !!str 7, -3, 1e3]"),
            json!([
                512,
                "2010-09-09",
                "000000000000",
                "1.10",
                1.5,
                true,
                "no",
                null,
                "7",
                -3,
                "1e3"
            ])
        );
    }

    #[test]
    fn a_value_is_found_on_the_line_of_its_key() {
        let document = Document::read("a:\n  b:\n    - x\n    - y\n").expect("YAML");
        let path = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        assert_eq!(document.line(&path(&["a"])), 1);
        assert_eq!(document.line(&path(&["a", "b"])), 2);
        assert_eq!(document.line(&path(&["a", "b", "1"])), 4);
        assert_eq!(document.line(&path(&["a", "b", "1", "deeper"])), 4);
    }

    #[test]
    fn what_cloudformation_does_not_take_is_refused_with_its_line() {
        assert_eq!(refusal("a: &x 1\nb: *x").0, 2);
        assert_eq!(refusal("a: 1\nb:\n  <<: {c: 1}").0, 3);
        assert_eq!(
            refusal("a: 1\na: 2"),
            (2, "the key \"a\" stands here twice".to_owned())
        );
        assert!(
            refusal("a: !Foo b")
                .1
                .contains("!Foo is not an intrinsic function")
        );
        assert!(
            refusal("a: 1\n---\nb: 2")
                .1
                .contains("second YAML document")
        );
        assert!(refusal("? [a]\n: b").1.contains("key that is not text"));
        assert!(refusal("").1.contains("empty"));
        assert!(refusal("a: [").1.contains("not YAML"));
    }

    #[test]
    fn deep_or_large_text_is_refused() {
        assert!(refusal(&"[".repeat(100)).1.contains("nested deeper"));
        assert!(refusal(&"- ".repeat(100_000)).1.contains("nested deeper"));
        assert!(refusal(&"a".repeat(MAX_BYTES + 1)).1.contains("at most"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = Document::read(&text);
        }

        #[test]
        fn arbitrary_text_of_yaml_letters_is_read_or_refused(text in "[-:?!&*{}\\[\\],#|>'\"%@` \n\tab1<]{0,80}") {
            let _ = Document::read(&text);
        }

        #[test]
        fn any_json_text_is_read_back(text in "[a-zA-Z0-9 _.:${}!/-]{0,40}", number in any::<i32>()) {
            let value = json!({"text": text, "list": [number, text]});
            prop_assert_eq!(read(&value.to_string()), value);
        }
    }
}
