//! Intrinsic functions, conditions and pseudo parameters.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html>

use std::cell::RefCell;

use base64::Engine;

use crate::Context;
use crate::error::{Mistake, refuse};
use crate::yaml::{Content, Map, Node};

/// The inputs of resolving.
pub(crate) struct Resolver<'a> {
    pub(crate) context: &'a Context,
    /// Leave references to resources as they are, as CloudFormation has to before it creates them.
    pub(crate) keeps_references: bool,
    pub(crate) parameters: Map,
    pub(crate) globals: Map,
    pub(crate) mappings: Map,
    pub(crate) conditions: Map,
    /// All resources, also those with a false condition.
    pub(crate) resources: Map,
    /// The conditions and names that are being looked for. Meeting one again means a circle.
    pub(crate) pending: RefCell<Vec<String>>,
}

impl Resolver<'_> {
    /// A value without intrinsic functions. `AWS::NoValue` becomes null, and is left out of lists
    /// and maps.
    pub(crate) fn resolve(&self, node: &Node) -> Node {
        let content = match (&node.content, node.call()) {
            (_, Some((function, argument))) => {
                let value = self.call(function, argument);
                value.unwrap_or_else(|mistake| Content::Failed(mistake.on(node.line)))
            }
            (Content::Map(map), _) => {
                let values = map
                    .iter()
                    .map(|(name, it)| (name.clone(), self.resolve(it)));
                Content::Map(values.filter(|(_, value)| !value.is_null()).collect())
            }
            (Content::List(items), _) => {
                let items = items.iter().map(|item| self.resolve(item));
                Content::List(items.filter(|item| !item.is_null()).collect())
            }
            (scalar, _) => scalar.clone(),
        };
        Node::new(node.line, content)
    }

    /// Looks for something that may depend on itself, such as `the name of Queue`.
    pub(crate) fn once_at_a_time<T>(
        &self,
        what: String,
        find: impl FnOnce() -> Result<T, Mistake>,
    ) -> Result<T, Mistake> {
        if self.pending.borrow().contains(&what) {
            refuse!("{what} depends on itself");
        }
        self.pending.borrow_mut().push(what);
        let found = find();
        self.pending.borrow_mut().pop();
        found
    }

    fn call(&self, function: &str, argument: &Node) -> Result<Content, Mistake> {
        // These do not look at all of their argument.
        match (function, argument.list()) {
            ("Ref", _) => return self.reference(text(argument)?),
            ("Fn::Sub", _) => return self.substitute(argument),
            ("Fn::If", Some([condition, yes, no])) => {
                let branch = if self.truth(condition)? { yes } else { no };
                return Ok(self.resolve(branch).content);
            }
            ("Fn::Not", Some([condition])) => return Ok(boolean(!self.truth(condition)?)),
            ("Fn::And" | "Fn::Or", Some(conditions)) => {
                let truths = conditions.iter().map(|condition| self.truth(condition));
                let truths = truths.collect::<Result<Vec<_>, _>>()?;
                // One false decides And, one true decides Or.
                let decisive = function == "Fn::Or";
                return Ok(boolean(truths.contains(&decisive) == decisive));
            }
            _ => {}
        }
        let argument = self.resolve(argument);
        if let Some(Content::Failed(mistake)) =
            find(&argument, |it| matches!(it, Content::Failed(_)))
        {
            return Err(mistake.clone());
        }
        let is_function = |it: &Content| Node::new(0, it.clone()).call().is_some();
        if self.keeps_references && find(&argument, is_function).is_some() {
            return Ok(Content::Map(Map::from([(function.to_owned(), argument)])));
        }
        let arguments = argument.list().unwrap_or(std::slice::from_ref(&argument));
        Ok(match (function, arguments) {
            ("Fn::GetAtt", [name]) => match text(name)?.split_once('.') {
                Some((resource, attribute)) => self.attribute(resource, attribute)?,
                None => refuse!("needs Resource.Attribute"),
            },
            ("Fn::GetAtt", [resource, attribute]) => {
                self.attribute(text(resource)?, text(attribute)?)?
            }
            ("Fn::Join", [delimiter, items]) => {
                let texts = list(items)?
                    .iter()
                    .map(text)
                    .collect::<Result<Vec<_>, _>>()?;
                Content::Text(texts.join(text(delimiter)?))
            }
            ("Fn::Select", [index, items]) => {
                let (index, items) = (text(index)?, list(items)?);
                match index
                    .trim()
                    .parse()
                    .ok()
                    .and_then(|at: usize| items.get(at))
                {
                    Some(item) => item.content.clone(),
                    None => refuse!("there is no item {index} in {} items", items.len()),
                }
            }
            ("Fn::Split", [delimiter, whole]) => match text(delimiter)? {
                "" => refuse!("the delimiter is empty"),
                delimiter => texts(text(whole)?.split(delimiter), argument.line),
            },
            ("Fn::FindInMap", [map, first, second, options @ ..]) => {
                let keys = [text(map)?, text(first)?, text(second)?];
                let map = self.mappings.get(keys[0]);
                let value = map.and_then(|map| map.get(keys[1])?.get(keys[2]));
                let default = options
                    .first()
                    .and_then(|options| options.get("DefaultValue"));
                match value.or(default) {
                    Some(value) => value.content.clone(),
                    None => refuse!("there is nothing at {:?} in Mappings", keys.join(".")),
                }
            }
            ("Fn::Base64", [whole]) => {
                Content::Text(base64::engine::general_purpose::STANDARD.encode(text(whole)?))
            }
            ("Fn::GetAZs", _) => {
                let zones = ["a", "b", "c"].map(|zone| format!("{}{zone}", self.context.region));
                texts(zones.iter().map(String::as_str), argument.line)
            }
            ("Fn::Equals", [one, other]) => boolean(text(one)? == text(other)?),
            ("Fn::Contains", [items, value]) => {
                let value = Some(text(value)?);
                boolean(list(items)?.iter().any(|item| item.text() == value))
            }
            ("Fn::Join", _) => refuse!("needs a delimiter and a list"),
            ("Fn::Select", _) => refuse!("needs an index and a list"),
            ("Fn::Split", _) => refuse!("needs a delimiter and text"),
            ("Fn::FindInMap", _) => refuse!("needs a map, a first and a second key"),
            ("Fn::If", _) => refuse!("needs a condition and two values"),
            ("Fn::Equals", _) => refuse!("needs two values"),
            ("Fn::Contains", _) => refuse!("needs a list and a value"),
            ("Fn::And" | "Fn::Or" | "Fn::Not", _) => refuse!("needs a list of conditions"),
            _ if self.keeps_references => {
                Content::Map(Map::from([(function.to_owned(), argument)]))
            }
            _ => refuse!("{function} is not evaluated by this host"),
        })
    }

    /// `Ref`: a pseudo parameter, a parameter, or the physical id of a resource.
    fn reference(&self, name: &str) -> Result<Content, Mistake> {
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
                None if self.keeps_references => {
                    return Ok(kept("Ref", Content::Text(name.to_owned())));
                }
                None => self.physical_id(name)?,
            },
        }))
    }

    /// `GetAtt`.
    fn attribute(&self, resource: &str, attribute: &str) -> Result<Content, Mistake> {
        if self.keeps_references {
            return Ok(kept(
                "Fn::GetAtt",
                texts([resource, attribute].into_iter(), 0),
            ));
        }
        self.attribute_of(resource, attribute).map(Content::Text)
    }

    fn substitute(&self, argument: &Node) -> Result<Content, Mistake> {
        let (template, variables) = match argument.list() {
            Some([template, variables]) => (template.text(), variables.map()),
            _ => (argument.text(), None),
        };
        let Some(mut rest) = template else {
            refuse!("needs text, or a list of text and a map");
        };
        let (mut result, mut is_kept) = (String::new(), false);
        // As text if nothing is kept; `${!Name}` is the text `${Name}`.
        let mut escapes = Vec::new();
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                refuse!("`${{` without `}}`");
            };
            result.push_str(before);
            rest = after;
            if name.starts_with('!') {
                escapes.push(result.len() + "${".len());
                result.push_str(&format!("${{{name}}}"));
                continue;
            }
            let name = name.trim();
            let value = match variables.and_then(|variables| variables.get(name)) {
                Some(value) => self.resolve(value).content,
                None => match name.split_once('.') {
                    Some((resource, attribute)) => self.attribute(resource, attribute)?,
                    None => self.reference(name)?,
                },
            };
            let value = Node::new(argument.line, value);
            is_kept |= value.call().is_some();
            result.push_str(&variable(&value)?);
        }
        result.push_str(rest);
        if is_kept {
            return Ok(kept("Fn::Sub", Content::Text(result)));
        }
        for at in escapes.into_iter().rev() {
            result.remove(at);
        }
        Ok(Content::Text(result))
    }

    /// The truth of a condition, named or written out.
    pub(crate) fn truth(&self, expression: &Node) -> Result<bool, Mistake> {
        let name = expression.get("Condition").unwrap_or(expression);
        if let Some(name) = name.text() {
            return self.once_at_a_time(format!("the condition {name}"), || {
                match self.conditions.get(name) {
                    Some(condition) => self.truth(condition),
                    None => refuse!("there is no condition {name:?}"),
                }
            });
        }
        let value = self.resolve(expression);
        match (&value.content, value.text()) {
            (Content::Failed(mistake), _) => Err(mistake.clone()),
            (_, Some("true")) => Ok(true),
            (_, Some("false")) => Ok(false),
            _ => refuse!("needs a condition function such as !Equals"),
        }
    }
}

fn kept(function: &str, argument: Content) -> Content {
    Content::Map(Map::from([(function.to_owned(), Node::new(0, argument))]))
}

/// A value within the text of `Sub`: a reference that is kept becomes `${Name}` there.
fn variable(value: &Node) -> Result<String, Mistake> {
    match value.call() {
        Some(("Ref", name)) => Ok(format!("${{{}}}", text(name)?)),
        Some(("Fn::Sub", template)) => text(template).map(str::to_owned),
        Some(("Fn::GetAtt", names)) => {
            let names = list(names)?
                .iter()
                .map(text)
                .collect::<Result<Vec<_>, _>>()?;
            Ok(format!("${{{}}}", names.join(".")))
        }
        Some(("Fn::Join", arguments)) => match list(arguments)? {
            [delimiter, items] => {
                let items = list(items)?
                    .iter()
                    .map(variable)
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(items.join(text(delimiter)?))
            }
            _ => refuse!("needs a delimiter and a list"),
        },
        _ => text(value).map(str::to_owned),
    }
}

/// The first value for which this holds, at any depth.
fn find(node: &Node, holds: impl Fn(&Content) -> bool + Copy) -> Option<&Content> {
    match &node.content {
        content if holds(content) => Some(content),
        Content::List(items) => items.iter().find_map(|item| find(item, holds)),
        Content::Map(map) => map.values().find_map(|value| find(value, holds)),
        _ => None,
    }
}

pub(crate) fn text(node: &Node) -> Result<&str, Mistake> {
    match (&node.content, node.text()) {
        (_, Some(text)) => Ok(text),
        (Content::Failed(mistake), _) => Err(mistake.clone()),
        _ => Err(Mistake::new(format!("needs text, not {}", node.show())).on(node.line)),
    }
}

fn list(node: &Node) -> Result<&[Node], Mistake> {
    let message = || Mistake::new(format!("needs a list, not {}", node.show()));
    node.list().ok_or_else(message)
}

fn boolean(truth: bool) -> Content {
    Content::Literal(truth.to_string())
}

pub(crate) fn texts<'t>(texts: impl Iterator<Item = &'t str>, line: usize) -> Content {
    let text = |text: &str| Node::new(line, Content::Text(text.to_owned()));
    Content::List(texts.map(text).collect())
}
