//! Reads YAML, with CloudFormation's short tags in their long form.
//!
//! The document is built from the parser's events, without recursion, so that depth and size are
//! limited before memory is used.

use indexmap::IndexMap;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::error::{Fault, refuse, short};

/// CloudFormation takes a template body of at most 1 MB.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// Twice the depth of the deepest templates in use. It also keeps every later recursion shallow.
const MAX_DEPTH: usize = 64;

/// A map in the order of the file.
pub(super) type Map = IndexMap<String, Node>;

/// A value of the template.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// For a value in a map, the line of its key, which is the line a person looks for.
    pub(super) line: usize,
    pub(super) content: Content,
}

/// CloudFormation treats numbers and booleans as text, so they are text here: `000000000000` or
/// `1.10` keeps its form.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Nothing, or `AWS::NoValue`.
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

impl Node {
    pub(super) fn new(line: usize, content: Content) -> Node {
        Node { line, content }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Node]> {
        match &self.content {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn map(&self) -> Option<&Map> {
        match &self.content {
            Content::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.map()?.get(name)
    }

    /// The type of a resource.
    pub(super) fn kind(&self) -> &str {
        self.get("Type").and_then(Node::text).unwrap_or_default()
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// The name and argument of an intrinsic function.
    pub(super) fn call(&self) -> Option<(&str, &Node)> {
        let map = self.map().filter(|map| map.len() == 1)?;
        let (name, argument) = map.first()?;
        (name == "Ref" || name.starts_with("Fn::")).then_some((name, argument))
    }

    /// Roughly the bytes of memory that the value uses.
    pub(super) fn size(&self) -> usize {
        size_of::<Node>()
            + match &self.content {
                Content::Null => 0,
                Content::Text(text) => text.len(),
                Content::List(items) => items.iter().map(Node::size).sum(),
                Content::Map(map) => map.iter().map(|(name, it)| name.len() + it.size()).sum(),
            }
    }

    /// A short form for messages.
    pub(super) fn show(&self) -> String {
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Text(text) => format!("\"{}\"", short(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        }
    }
}

/// A list or map that is not complete yet.
struct Open {
    node: Node,
    function: Option<String>,
    /// The key of the value to come, and its line.
    key: Option<(String, usize)>,
}

/// # Errors
/// If the text is not one YAML document that CloudFormation accepts.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    if text.len() > MAX_BYTES {
        refuse!("more than {MAX_BYTES} bytes, the most that CloudFormation takes");
    }
    let mut root = None;
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let not_yaml = |error: &ScanError| Fault::new(format!("not YAML: {}", error.info()));
        let (event, span) = event.map_err(|error| not_yaml(&error).on(error.marker().line()))?;
        let line = span.start.line();
        let fault = |message: &str| Err(Fault::new(message).on(line));
        let value = match event {
            Event::Scalar(text, style, _, tag) => {
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                let content = match open.last() {
                    Some(map) if map.awaits_key() => Content::Text(text.into_owned()),
                    _ if is_plain => plain(&text),
                    _ => Content::Text(text.into_owned()),
                };
                wrap(function_of(tag.as_deref()), Node { line, content })
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= MAX_DEPTH => {
                return fault(&format!("nested deeper than {MAX_DEPTH}"));
            }
            Event::SequenceStart(_, tag) => {
                open.push(Open::new(Content::List(Vec::new()), line, tag.as_deref()));
                continue;
            }
            Event::MappingStart(_, tag) => {
                open.push(Open::new(Content::Map(Map::new()), line, tag.as_deref()));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(closed) => wrap(closed.function, closed.node),
                None => continue,
            },
            Event::Alias(_) => {
                return fault("a YAML alias (`*name`), which CloudFormation does not take");
            }
            Event::DocumentStart(_) if root.is_some() => {
                return fault("a second YAML document; a template is one");
            }
            _ => continue,
        };
        match open.last_mut() {
            Some(collection) => collection.take(value)?,
            None => root = Some(value),
        }
    }
    root.ok_or_else(|| Fault::new("the file is empty").on(1))
}

impl Open {
    fn new(content: Content, line: usize, tag: Option<&Tag>) -> Open {
        Open {
            node: Node { line, content },
            function: function_of(tag),
            key: None,
        }
    }

    fn awaits_key(&self) -> bool {
        self.node.map().is_some() && self.key.is_none()
    }

    /// The next item, key or value.
    fn take(&mut self, mut value: Node) -> Result<(), Fault> {
        let fault = |message: String| Err(Fault::new(message).on(value.line));
        match (&mut self.node.content, self.key.take()) {
            (Content::Map(map), Some((key, line))) => {
                value.line = line;
                map.insert(key, value);
            }
            (Content::Map(map), None) => match value.content {
                Content::Text(key) if map.contains_key(&key) => {
                    return fault(format!("the key {key:?} stands here twice"));
                }
                Content::Text(key) => self.key = Some((key, value.line)),
                _ => return fault("a key that is not text".into()),
            },
            (Content::List(items), _) => items.push(value),
            _ => {}
        }
        Ok(())
    }
}

/// `!Sub` is `Fn::Sub`; only `Ref` and `Condition` have no prefix. A bare `!` and YAML's own tags,
/// such as `!!str`, are not functions.
fn function_of(tag: Option<&Tag>) -> Option<String> {
    match tag.filter(|tag| tag.handle == "!")?.suffix.as_str() {
        "" => None,
        name @ ("Ref" | "Condition") => Some(name.to_owned()),
        name => Some(format!("Fn::{name}")),
    }
}

fn wrap(function: Option<String>, node: Node) -> Node {
    match function {
        Some(function) => Node::new(node.line, Content::Map(Map::from([(function, node)]))),
        None => node,
    }
}

/// Reads a scalar without quotes as YAML 1.1, which CloudFormation and SAM follow.
fn plain(text: &str) -> Content {
    let text = match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => "true",
        "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => "false",
        other => other,
    };
    Content::Text(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn value(node: &Node) -> Value {
        match &node.content {
            Content::Null => Value::Null,
            Content::Text(text) => text.as_str().into(),
            Content::List(items) => items.iter().map(value).collect(),
            Content::Map(map) => map
                .iter()
                .map(|(name, it)| (name.clone(), value(it)))
                .collect(),
        }
    }

    fn parsed(text: &str) -> Value {
        value(&read(text).expect("the text is YAML"))
    }

    fn refusal(text: &str) -> String {
        let fault = read(text).expect_err("the text is refused");
        fault.in_file("t".into()).to_string()
    }

    #[test]
    fn short_tags_become_the_long_form() {
        assert_eq!(
            parsed(
                "a: !Ref X\nb: !GetAtt Y.Arn\nc: !Sub ['${z}', {z: !Ref W}]\nd: !If\n  - C\n  - e\n  - f"
            ),
            json!({
                "a": {"Ref": "X"},
                "b": {"Fn::GetAtt": "Y.Arn"},
                "c": {"Fn::Sub": ["${z}", {"z": {"Ref": "W"}}]},
                "d": {"Fn::If": ["C", "e", "f"]},
            })
        );
    }

    #[test]
    fn json_is_read_as_yaml() {
        assert_eq!(
            parsed("{\"a\": [\"1\", \"x\", {\"Ref\": \"Y\"}]}"),
            json!({"a": ["1", "x", {"Ref": "Y"}]})
        );
    }

    #[test]
    fn scalars_are_text_as_it_is_written() {
        assert_eq!(
            parsed(
                "[512, 2010-09-09, 000000000000, 1.10, yes, Off, 'no', ~, !!str 7, !!str yes, '']"
            ),
            json!([
                "512",
                "2010-09-09",
                "000000000000",
                "1.10",
                "true",
                "false",
                "no",
                null,
                "7",
                "yes",
                ""
            ])
        );
    }

    #[test]
    fn a_value_is_found_on_the_line_of_its_key() {
        let node = read("a:\n  b:\n    - x\n    - y\n").expect("YAML");
        let list = node.get("a").and_then(|a| a.get("b")).expect("a list");
        assert_eq!(node.get("a").map(|a| a.line), Some(1));
        assert_eq!(list.line, 2);
        assert_eq!(list.list().expect("a list")[1].line, 4);
    }

    #[test]
    fn what_cloudformation_does_not_take_is_refused_with_its_line() {
        for (text, message) in [
            ("a: &x 1\nb: *x", "t:2: a YAML alias"),
            ("a: 1\na: 2", "t:2: the key \"a\" stands here twice"),
            ("a: 1\n---\nb: 2", "t:2: a second YAML document"),
            ("? [a]\n: b", "t:1: a key that is not text"),
            ("? !Ref a\n: b", "t:1: a key that is not text"),
            ("", "t:1: the file is empty"),
            ("a: [", "not YAML"),
        ] {
            assert!(refusal(text).contains(message), "{}", refusal(text));
        }
    }

    #[test]
    fn deep_or_large_text_is_refused() {
        assert!(refusal(&"[".repeat(100)).contains("nested deeper"));
        assert!(refusal(&"- ".repeat(100_000)).contains("nested deeper"));
        assert!(refusal(&"a".repeat(MAX_BYTES + 1)).contains("the most that CloudFormation"));
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn arbitrary_text_of_yaml_letters_is_read_or_refused(text in "[-:?!&*{}\\[\\],#|>'\"%@` \n\tab1<]{0,80}") {
            let _ = read(&text);
        }

        #[test]
        fn any_json_text_is_read_back(text in "[a-zA-Z0-9 _.:${}!/-]{0,40}") {
            let document = json!({"text": text, "list": [text]});
            prop_assert_eq!(parsed(&document.to_string()), document);
        }
    }
}
