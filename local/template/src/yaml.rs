//! The text of a template as a tree of values with line numbers. CloudFormation's short tags (`!Sub`) become the
//! long form (`Fn::Sub`).

use indexmap::IndexMap;
use saphyr::{MarkedYaml, ScalarStyle, Tag, YamlData, YamlLoader};
use saphyr_parser::{Parser, ScanError};
use serde_json::{Number, Value};

use crate::error::Mistake;

/// A map in the order of the file.
pub(crate) type Map = IndexMap<String, Node>;

/// A value of the template.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// For a value in a map, the line of its key, which is the line a person looks for.
    pub(crate) line: usize,
    pub(crate) content: Content,
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Nothing, or `AWS::NoValue`.
    Null,
    Text(String),
    /// A number or boolean. CloudFormation treats it as text, so it keeps its form: `1.10` is no `1.1`.
    Literal(String),
    List(Vec<Node>),
    Map(Map),
    /// A function that gives no value. It is an error only if the value is needed.
    Failed(Mistake),
}

impl Node {
    pub(crate) fn new(line: usize, content: Content) -> Node {
        Node { line, content }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) | Content::Literal(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Node]> {
        match &self.content {
            Content::List(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn map(&self) -> Option<&Map> {
        match &self.content {
            Content::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.map()?.get(name)
    }

    /// The type of a resource.
    pub(crate) fn kind(&self) -> &str {
        self.get("Type").and_then(Node::text).unwrap_or_default()
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.content, Content::Null)
    }

    /// The name and argument of an intrinsic function.
    pub(crate) fn call(&self) -> Option<(&str, &Node)> {
        let (name, argument) = self.map().filter(|map| map.len() == 1)?.first()?;
        (name == "Ref" || name.starts_with("Fn::")).then_some((name, argument))
    }

    /// A short form for messages.
    pub(crate) fn show(&self) -> String {
        match &self.content {
            Content::Null | Content::Failed(_) => "nothing".to_owned(),
            Content::Text(text) | Content::Literal(text) => format!("{text:?}"),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        }
    }

    /// The value as JSON. Numbers and booleans have their type again.
    ///
    /// # Errors
    /// The first function in it that gives no value.
    pub(crate) fn to_json(&self, path: &str) -> Result<Value, Mistake> {
        Ok(match &self.content {
            Content::Null => Value::Null,
            Content::Text(text) => text.as_str().into(),
            Content::Literal(text) => serde_json::from_str(text).unwrap_or(text.as_str().into()),
            Content::List(items) => {
                let items = items.iter().map(|item| item.to_json(path));
                items.collect::<Result<_, _>>()?
            }
            Content::Map(map) => {
                let entry = |(name, it): (&String, &Node)| {
                    Ok((name.clone(), it.to_json(&format!("{path}.{name}"))?))
                };
                map.iter().map(entry).collect::<Result<_, Mistake>>()?
            }
            Content::Failed(mistake) => return Err(mistake.clone().on(self.line).at(path)),
        })
    }
}

/// # Errors
/// If the text is not one YAML document that CloudFormation accepts.
pub(crate) fn read(text: &str) -> Result<Node, Mistake> {
    let mut loader = YamlLoader::default();
    loader.early_parse(false);
    loader.alias_limit(0);
    let not_yaml = |error: &ScanError| {
        let message = match error.info() {
            it if it.starts_with("alias") => {
                "a YAML alias, which CloudFormation does not take".into()
            }
            info => format!("not YAML: {info}"),
        };
        Mistake::new(message).on(error.marker().line())
    };
    let loaded = Parser::new_from_str(text).load(&mut loader, true);
    loaded.map_err(|error| not_yaml(&error))?;
    loader
        .error()
        .map_or(Ok(()), |error| Err(not_yaml(error)))?;
    let documents: Vec<MarkedYaml<'_>> = loader.into_documents();
    match &documents[..] {
        [] => Err(Mistake::new("the file is empty").on(1)),
        [document] => node(document),
        [_, second, ..] => {
            let mistake = Mistake::new("a second YAML document; a template is one");
            Err(mistake.on(second.span.start.line()))
        }
    }
}

fn node(yaml: &MarkedYaml<'_>) -> Result<Node, Mistake> {
    let line = yaml.span.start.line();
    let content = match &yaml.data {
        YamlData::Representation(text, style, tag) => {
            let is_plain = *style == ScalarStyle::Plain && tag.is_none();
            let scalar = if is_plain {
                plain(text)
            } else {
                Content::Text(text.to_string())
            };
            return Ok(called(tag.as_deref(), Node::new(line, scalar)));
        }
        YamlData::Tagged(tag, value) => return Ok(called(Some(tag.as_ref()), node(value)?)),
        YamlData::Sequence(items) => {
            Content::List(items.iter().map(node).collect::<Result<_, _>>()?)
        }
        YamlData::Mapping(map) => {
            let entry = |(key, value): (&MarkedYaml<'_>, &MarkedYaml<'_>)| {
                let line = key.span.start.line();
                match &key.data {
                    YamlData::Representation(key, _, None) => {
                        Ok((key.to_string(), Node::new(line, node(value)?.content)))
                    }
                    _ => Err(Mistake::new("a key that is not text").on(line)),
                }
            };
            Content::Map(map.iter().map(entry).collect::<Result<_, _>>()?)
        }
        YamlData::Value(_) | YamlData::Alias(_) | YamlData::BadValue => Content::Null,
    };
    Ok(Node::new(line, content))
}

/// `!Sub` is `Fn::Sub`; only `Ref` and `Condition` have no prefix. A bare `!` and YAML's own tags,
/// such as `!!str`, are not functions.
fn called(tag: Option<&Tag>, argument: Node) -> Node {
    let function = match tag {
        Some(tag) if tag.handle == "!" && !tag.suffix.is_empty() => match tag.suffix.as_str() {
            name @ ("Ref" | "Condition") => name.to_owned(),
            name => format!("Fn::{name}"),
        },
        _ => return argument,
    };
    Node::new(
        argument.line,
        Content::Map(Map::from([(function, argument)])),
    )
}

/// Reads a scalar without quotes as YAML 1.1, which CloudFormation and SAM follow.
fn plain(text: &str) -> Content {
    let text = match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => "true",
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => "false",
        number if number.parse::<Number>().is_ok() => number,
        other => return Content::Text(other.to_owned()),
    };
    Content::Literal(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parsed(text: &str) -> Value {
        read(text)
            .expect("YAML")
            .to_json("")
            .expect("no function is called")
    }

    fn refusal(text: &str) -> String {
        let mistake = read(text).expect_err("the text is refused");
        mistake.in_file("t".as_ref()).to_string()
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
    fn scalars_keep_the_form_in_which_they_are_written() {
        let scalars =
            "[512, 2010-09-09, 000000000000, 1.10, yes, Off, 'no', ~, !!str 7, !!str yes, '']";
        let texts = [
            "512",
            "2010-09-09",
            "000000000000",
            "1.10",
            "true",
            "false",
            "no",
            "7",
            "yes",
            "",
        ];
        let node = read(scalars).expect("YAML");
        let items = node.list().expect("a list");
        assert_eq!(
            items.iter().filter_map(Node::text).collect::<Vec<_>>(),
            texts
        );
        assert!(items[7].is_null());
        assert_eq!(
            parsed(scalars),
            json!([
                512,
                "2010-09-09",
                "000000000000",
                1.1,
                true,
                false,
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
            ("a: 1\na: 2", "t:2: not YAML: duplicated key in mapping"),
            ("a: 1\n---\nb: 2", "t:3: a second YAML document"),
            ("? [a]\n: b", "t:1: a key that is not text"),
            ("? !Ref a\n: b", "t:1: a key that is not text"),
            ("", "t:1: the file is empty"),
            ("a: [", "not YAML"),
        ] {
            assert!(refusal(text).contains(message), "{}", refusal(text));
        }
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
