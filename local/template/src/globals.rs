//! `Globals`: the properties shared by every function, API or table of the template.
//! <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-template-anatomy-globals.html>

use crate::intrinsics::Resolver;
use crate::yaml::{Content, Map, Node};

/// The properties of a resource, with those of `Globals`. They are merged before intrinsic
/// functions are resolved, as in SAM.
pub(crate) fn properties(resolver: &Resolver<'_>, kind: &str, resource: &Node) -> Node {
    let empty = Node::new(resource.line, Content::Map(Map::new()));
    let given = resource.get("Properties").filter(|given| !given.is_null());
    let mut properties = given.unwrap_or(&empty).clone();
    let section = kind.strip_prefix("AWS::Serverless::").unwrap_or_default();
    let shared = resolver.globals.get(section).and_then(Node::map);
    let ignored = resource.get("IgnoreGlobals");
    let is_ignored = |name: &str| {
        let names = ignored.and_then(Node::list).unwrap_or_default();
        ignored.and_then(Node::text) == Some("*") || names.iter().any(|it| it.text() == Some(name))
    };
    if let (Content::Map(own), Some(shared)) = (&mut properties.content, shared) {
        for (name, value) in shared.iter().filter(|(name, _)| !is_ignored(name)) {
            merge(own, name, value);
        }
    }
    properties
}

/// Maps are merged key by key. Lists are joined, the global items first. For anything else the
/// resource's own value wins.
fn merge(own: &mut Map, name: &str, shared: &Node) {
    let Some(value) = own.get_mut(name) else {
        own.insert(name.to_owned(), shared.clone());
        return;
    };
    if value.call().is_some() || shared.call().is_some() {
        return;
    }
    match (&mut value.content, &shared.content) {
        (Content::Map(own), Content::Map(shared)) => {
            for (name, value) in shared {
                merge(own, name, value);
            }
        }
        (Content::List(own), Content::List(shared)) => {
            own.splice(0..0, shared.iter().cloned());
        }
        _ => {}
    }
}
