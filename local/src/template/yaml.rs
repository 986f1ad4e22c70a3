//! Reads YAML, with CloudFormation's short tags in their long form.
//!
//! The document is built from the parser's events and not by recursion, so that depth and size are
//! bounded before memory is taken.

use std::borrow::Cow;

use indexmap::IndexMap;
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::error::{Fault, one_line};

/// CloudFormation takes a template body of at most 1 MB.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// Twice the nesting of the deepest templates in use; keeps every later recursion shallow.
const MAX_DEPTH: usize = 64;

/// A map in the order of the file.
pub(super) type Map = IndexMap<String, Node>;

/// A value of the template.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// For a value in a map the line of its key, which is what a person looks for.
    pub(super) line: usize,
    pub(super) content: Content,
}

/// CloudFormation sees numbers and truth values as text, and so they are text here: what is written
/// `000000000000` or `1.10` stays as it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Nothing, or `AWS::NoValue`.
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// Lines say where a value stands, not what it is.
impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.content == other.content
    }
}

impl Node {
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

    pub(super) fn is_null(&self) -> bool {
        self.content == Content::Null
    }

    /// The name and argument of an intrinsic function.
    pub(super) fn call(&self) -> Option<(&str, &Node)> {
        let map = self.map().filter(|map| map.len() == 1)?;
        let (name, argument) = map.first()?;
        (name == "Ref" || name.starts_with("Fn::")).then_some((name, argument))
    }

    /// Roughly the bytes of memory that the value takes.
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
            // Long enough for an ARN, short enough for one line.
            Content::Text(text) => format!("\"{}\"", one_line(text, 80)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        }
    }
}

/// A list or map that is not at its end yet.
struct Open {
    node: Node,
    function: Option<String>,
    /// The key of the value to come, and its line.
    key: Option<(String, usize)>,
}

/// # Errors
/// Where the text is not one YAML document that CloudFormation takes.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    if text.len() > MAX_BYTES {
        let message = format!("more than {MAX_BYTES} bytes, the most that CloudFormation takes");
        return Err(Fault::new(message));
    }
    let mut root = None;
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            Fault::new(format!("not YAML: {}", error.info())).on(error.marker().line())
        })?;
        let line = span.start.line();
        let refuse = |message: &str| Err(Fault::new(message).on(line));
        let value = match event {
            Event::Scalar(text, style, _, tag) => {
                let is_key = open.last().is_some_and(Open::wants_key);
                let content = if is_key || style != ScalarStyle::Plain || tag.is_some() {
                    Content::Text(text.into_owned())
                } else {
                    plain(text)
                };
                wrap(function_of(tag.as_deref()), Node { line, content })
            }
            Event::SequenceStart(_, tag) => {
                open.push(Open::new(Content::List(Vec::new()), line, tag.as_deref()));
                continue;
            }
            Event::MappingStart(..) if open.len() >= MAX_DEPTH => {
                return refuse("nested too deeply");
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
                return refuse("a YAML alias (`*name`), which CloudFormation does not take");
            }
            Event::DocumentStart(_) if root.is_some() => {
                return refuse("a second YAML document; a template is one");
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
