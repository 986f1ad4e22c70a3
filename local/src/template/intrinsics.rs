//! Intrinsic functions, conditions and pseudo parameters.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html>

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use indexmap::IndexMap;

use super::Context;
use super::error::{Fault, refuse, short};
use super::yaml::{Content, Map, Node};

/// Deeper than any document that the YAML reader accepts. Names that refer to other names can add
/// depth.
const MAX_DEPTH: usize = 100;

/// The memory of all results of functions, in bytes. A function can use its argument twice, so a
/// few nested ones would fill any memory. Real templates stay near the 1 MB of their body.
const MAX_OUTPUT: usize = 16 * 1024 * 1024;

/// The inputs of resolving.
pub(super) struct Resolver<'a> {
    pub(super) context: &'a Context,
    pub(super) parameters: BTreeMap<String, Node>,
    pub(super) globals: Map,
    pub(super) mappings: Map,
    pub(super) conditions: Map,
    /// All resources, also those with a false condition.
    pub(super) resources: Map,
    pub(super) found: Found,
}

/// The results of resolving so far, and the work done.
#[derive(Default)]
pub(super) struct Found {
    /// `None` while a text is being looked for; meeting it again means a circle.
    texts: RefCell<HashMap<(&'static str, String), Option<String>>>,
    depth: Cell<usize>,
    output: Cell<usize>,
    /// Properties and events that are left out, and their places.
    notices: RefCell<IndexMap<String, Vec<String>>>,
    /// Kinds of resources that are left out, with their number.
    kinds: RefCell<BTreeMap<String, usize>>,
}

impl Found {
    /// The parts that are left out: one sentence for all kinds of resources, one for each property
    /// or event.
    pub(super) fn notices(self) -> Vec<String> {
        /// The most places that a sentence names.
        const MOST: usize = 3;
        let kinds = self.kinds.into_inner().into_iter();
        let kinds: Vec<String> = kinds
            .map(|(kind, count)| match count {
                1 => kind,
                _ => format!("{kind} ({count})"),
            })
            .collect();
        let kinds = (!kinds.is_empty()).then(|| format!("not hosted: {}", kinds.join(", ")));
        let others = self.notices.into_inner().into_iter().map(|(what, paths)| {
            let more = match paths.len().saturating_sub(MOST) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let paths = paths[..paths.len().min(MOST)].join(", ");
            format!("{paths}{more}: {what} is not hosted")
        });
        kinds.into_iter().chain(others).collect()
    }
}

impl Resolver<'_> {
    /// A value without intrinsic functions. `AWS::NoValue` becomes null, and is left out of lists
    /// and maps.
    pub(super) fn resolve(&self, node: &Node) -> Result<Node, Fault> {
        let content = self.deeper(|| match (&node.content, node.call()) {
            (_, Some((function, argument))) => {
                let value = Node::new(node.line, self.call(function, argument)?);
                self.charge(value.size())?;
                Ok(value.content)
            }
            (Content::Map(map), _) => {
                let mut resolved = Map::new();
                for (name, value) in map {
                    let value = self.resolve(value).map_err(|fault| fault.within(name))?;
                    if !value.is_null() {
                        resolved.insert(name.clone(), value);
                    }
                }
                Ok(Content::Map(resolved))
            }
            (Content::List(items), _) => {
                let mut resolved = each(items, |item| self.resolve(item))?;
                resolved.retain(|item| !item.is_null());
                Ok(Content::List(resolved))
            }
            (scalar, _) => Ok(scalar.clone()),
        });
        let content = content.map_err(|fault| fault.on(node.line))?;
        Ok(Node::new(node.line, content))
    }

    /// Notes a property or event that is left out.
    pub(super) fn notice(&self, path: &str, what: &str) {
        let mut notices = self.found.notices.borrow_mut();
        notices
            .entry(short(what))
            .or_default()
            .push(path.to_owned());
    }

    /// Notes a resource that is left out.
    pub(super) fn notice_kind(&self, kind: &str) {
        *self
            .found
            .kinds
            .borrow_mut()
            .entry(short(kind))
            .or_default() += 1;
    }

    fn deeper<T>(&self, step: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let depth = self.found.depth.get();
        if depth >= MAX_DEPTH {
            refuse!("nested deeper than {MAX_DEPTH}");
        }
        self.found.depth.set(depth + 1);
        let result = step();
        self.found.depth.set(depth);
        result
    }

    /// Counts the bytes that a function returns, or that `Globals` add to a resource.
    pub(super) fn charge(&self, bytes: usize) -> Result<(), Fault> {
        let output = self.found.output.get().saturating_add(bytes);
        self.found.output.set(output);
        if output > MAX_OUTPUT {
            refuse!("functions produce more than {MAX_OUTPUT} bytes");
        }
        Ok(())
    }

    /// A text that is looked up once, such as `the name of Queue`.
    pub(super) fn once(
        &self,
        what: &'static str,
        of: &str,
        find: impl FnOnce() -> Result<String, Fault>,
    ) -> Result<String, Fault> {
        let key = (what, of.to_owned());
        let texts = &self.found.texts;
        match texts.borrow().get(&key) {
            Some(Some(text)) => return Ok(text.clone()),
            Some(None) => refuse!("the {what} {of} depends on itself"),
            None => {}
        }
        texts.borrow_mut().insert(key.clone(), None);
        let text = self.deeper(find);
        match &text {
            Ok(text) => texts.borrow_mut().insert(key, Some(text.clone())),
            Err(_) => texts.borrow_mut().remove(&key),
        };
        text
    }

    fn call(&self, function: &str, argument: &Node) -> Result<Content, Fault> {
        Ok(match function {
            "Ref" => self.reference(plain(argument)?)?,
            "Fn::GetAtt" => {
                let name = match argument.list() {
                    Some([resource, attribute]) => {
                        format!("{}.{}", self.text(resource)?, self.text(attribute)?)
                    }
                    _ => self.text(argument)?,
                };
                Content::Text(self.attribute(&name)?)
            }
            "Fn::Sub" => Content::Text(self.substitute(argument)?),
            "Fn::Join" => {
                let [delimiter, items] = arguments(argument, "a delimiter and a list")?;
                let (delimiter, items) = (self.text(delimiter)?, self.items(items)?);
                self.charge(delimiter.len().saturating_mul(items.len()))?;
                Content::Text(each(&items, plain)?.join(&delimiter))
            }
            "Fn::Select" => {
                let [index, items] = arguments(argument, "an index and a list")?;
                let (index, mut items) = (self.text(index)?, self.items(items)?);
                match index.trim().parse::<usize>() {
                    Ok(at) if at < items.len() => items.swap_remove(at).content,
                    _ => refuse!("there is no item {index} in {} items", items.len()),
                }
            }
            "Fn::Split" => {
                let [delimiter, text] = arguments(argument, "a delimiter and text")?;
                let (delimiter, text) = (self.text(delimiter)?, self.text(text)?);
                if delimiter.is_empty() {
                    refuse!("the delimiter is empty");
                }
                texts(text.split(&delimiter), argument.line)
            }
            "Fn::FindInMap" => self.find_in_map(argument)?,
            "Fn::Base64" => {
                let text = self.text(argument)?;
                Content::Text(base64::engine::general_purpose::STANDARD.encode(text))
            }
            "Fn::GetAZs" => {
                let zones = ["a", "b", "c"].map(|zone| format!("{}{zone}", self.context.region));
                texts(zones.iter().map(String::as_str), argument.line)
            }
            "Fn::If" => {
                let [condition, yes, no] = arguments(argument, "a condition and two values")?;
                // The branch that is not taken may refer to resources that do not exist.
                let branch = if self.truth(condition)? { yes } else { no };
                self.resolve(branch)?.content
            }
            "Fn::Equals" => {
                let [one, other] = arguments(argument, "two values")?;
                Content::Text((self.text(one)? == self.text(other)?).to_string())
            }
            "Fn::Contains" => {
                let [items, text] = arguments(argument, "a list and a value")?;
                let (items, text) = (self.items(items)?, self.text(text)?);
                let is_it = |item: &Node| item.text() == Some(&text);
                Content::Text(items.iter().any(is_it).to_string())
            }
            "Fn::Not" => {
                let [condition] = arguments(argument, "a list of one condition")?;
                Content::Text((!self.truth(condition)?).to_string())
            }
            "Fn::And" | "Fn::Or" => {
                let conditions = argument.list().unwrap_or_default();
                let truths = each(conditions, |condition| self.truth(condition))?;
                // One false decides And, one true decides Or.
                let decisive = function == "Fn::Or";
                Content::Text((truths.contains(&decisive) == decisive).to_string())
            }
            other => refuse!("{} is not evaluated by this host", short(other)),
        })
    }

    /// The text of an argument that may itself be a function.
    fn text(&self, node: &Node) -> Result<String, Fault> {
        let value = self.resolve(node)?;
        plain(&value).map(str::to_owned)
    }

    /// The items of an argument that is a list, or a function that returns one.
    fn items(&self, node: &Node) -> Result<Vec<Node>, Fault> {
        let value = self.resolve(node)?;
        let items = value.list().map(<[Node]>::to_vec);
        items.ok_or_else(|| Fault::new(format!("needs a list, not {}", value.show())))
    }

    /// `Ref`: a pseudo parameter, a parameter, or the physical id of a resource.
    fn reference(&self, name: &str) -> Result<Content, Fault> {
        let context = self.context;
        let stack = &context.stack_name;
        Ok(Content::Text(match name {
            "AWS::NoValue" => return Ok(Content::Null),
            "AWS::Region" => context.region.clone(),
            "AWS::AccountId" => context.account.clone(),
            "AWS::StackName" => stack.clone(),
            "AWS::Partition" => "aws".to_owned(),
            "AWS::URLSuffix" => "amazonaws.com".to_owned(),
            "AWS::StackId" => self.arn("cloudformation", &format!("stack/{stack}/0")),
            _ => match self.parameters.get(name) {
                Some(value) => return Ok(value.content.clone()),
                None => self.physical_id(name)?,
            },
        }))
    }

    fn substitute(&self, argument: &Node) -> Result<String, Fault> {
        let (text, variables) = match argument.list() {
            Some([text, variables]) => (text.text(), variables.map()),
            _ => (argument.text(), None),
        };
        let needed = "needs text, or a list of text and a map";
        let mut rest = text.ok_or_else(|| Fault::new(needed))?;
        let mut result = String::new();
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                refuse!("`${{` without `}}`");
            };
            result.push_str(before);
            rest = after;
            // `${!Name}` is the text `${Name}`.
            if let Some(literal) = name.strip_prefix('!') {
                result.push_str(&format!("${{{literal}}}"));
                continue;
            }
            let name = name.trim();
            let value = match variables.and_then(|variables| variables.get(name)) {
                Some(value) => self.text(value)?,
                None if name.contains('.') => self.attribute(name)?,
                None => self.text(&Node::new(argument.line, self.reference(name)?))?,
            };
            self.charge(value.len())?;
            result.push_str(&value);
        }
        Ok(result + rest)
    }

    fn find_in_map(&self, argument: &Node) -> Result<Content, Fault> {
        let (keys, default) = match argument.list() {
            Some([keys @ .., options]) if keys.len() == 3 => (keys, options.get("DefaultValue")),
            Some(keys) if keys.len() == 3 => (keys, None),
            _ => refuse!("needs a map, a first and a second key"),
        };
        let keys = each(keys, |key| self.text(key))?;
        let map = self.mappings.get(&keys[0]);
        let value = map.and_then(|map| map.get(&keys[1])?.get(&keys[2]));
        match (value, default) {
            (Some(value), _) => Ok(value.content.clone()),
            (None, Some(default)) => Ok(self.resolve(default)?.content),
            (None, None) => {
                let path = short(&keys.join("."));
                refuse!("there is nothing at {path:?} in Mappings")
            }
        }
    }

    /// The truth of a condition, named or written out.
    pub(super) fn truth(&self, expression: &Node) -> Result<bool, Fault> {
        let name = expression.get("Condition").unwrap_or(expression);
        if let Some(name) = name.text() {
            let truth = self.once("condition", name, || match self.conditions.get(name) {
                Some(condition) => Ok(self.truth(condition)?.to_string()),
                None => refuse!("there is no condition {:?}", short(name)),
            });
            return Ok(truth? == "true");
        }
        match self.resolve(expression)?.text() {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            _ => refuse!("needs a condition function such as !Equals"),
        }
    }
}

/// Exactly `N` arguments.
fn arguments<'n, const N: usize>(argument: &'n Node, needed: &str) -> Result<&'n [Node; N], Fault> {
    let arguments = argument.list().and_then(|items| items.try_into().ok());
    arguments.ok_or_else(|| Fault::new(format!("needs {needed}")))
}

fn plain(node: &Node) -> Result<&str, Fault> {
    let text = node.text();
    text.ok_or_else(|| Fault::new(format!("needs text, not {}", node.show())).on(node.line))
}

fn each<'n, T>(
    nodes: &'n [Node],
    read: impl Fn(&'n Node) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    nodes.iter().map(read).collect()
}

pub(super) fn texts<'t>(texts: impl Iterator<Item = &'t str>, line: usize) -> Content {
    let text = |text: &str| Node::new(line, Content::Text(text.to_owned()));
    Content::List(texts.map(text).collect())
}
