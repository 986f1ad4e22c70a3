//! `AWS::Serverless::HttpApi`: the parts of its definition that add to the routes of functions.

use std::collections::BTreeSet;

use super::error::{Fault, refuse};
use super::intrinsics::Resolver;
use super::model::Function;
use super::object::Object;
use super::yaml::{Content, Node};

const DEFINITION: &str = "DefinitionBody";

/// The key of a route for any method in a definition.
const ANY: &str = "x-amazon-apigateway-any-method";

/// A definition may say who may call a function's route, as long as that is anyone: this host
/// checks no signature and no token.
pub(super) fn check(api: &Object<'_>, functions: &[Function]) -> Result<(), Fault> {
    if api.get(DEFINITION)?.is_none() {
        return Ok(());
    }
    let definition = api.unresolved(DEFINITION);
    let Some(paths) = definition.and_then(|it| it.get("paths")?.map()) else {
        return Err(api.fault(DEFINITION, "declare routes as HttpApi events"));
    };
    let is_route = |path: &str, method: &str| {
        let mut routes = functions.iter().flat_map(|function| &function.routes);
        routes.any(|it| {
            let known = it.method.as_deref().unwrap_or(ANY);
            it.path == path && known.eq_ignore_ascii_case(method)
        })
    };
    for (path, item) in paths {
        for (method, operation) in item.map().into_iter().flatten() {
            let checked = match is_route(path, method) {
                true => is_open(api.resolver, operation),
                false => Err(Fault::new("declare the route as an HttpApi event")),
            };
            checked.map_err(|fault| {
                let fault = fault.on(operation.line).within(method).within(path);
                fault.within("paths").within(DEFINITION).within(&api.path)
            })?;
        }
    }
    Ok(())
}

fn is_open(resolver: &Resolver<'_>, operation: &Node) -> Result<(), Fault> {
    let security = resolver.resolve(operation)?;
    let security = security.get("security").and_then(Node::list);
    if security.unwrap_or_default().is_empty() {
        return Ok(());
    }
    let names = parameters_of(resolver, operation).into_iter();
    match names.collect::<Vec<_>>().join(" or ").as_str() {
        "" => refuse!("authorizers are not hosted: leave `security` away by a condition"),
        names => {
            refuse!("authorizers are not hosted: open the route with --parameter {names}=...")
        }
    }
}

/// The parameters that a value depends on, directly or through conditions.
fn parameters_of<'r>(resolver: &'r Resolver<'_>, node: &'r Node) -> BTreeSet<&'r str> {
    let (mut parameters, mut conditions) = (BTreeSet::new(), BTreeSet::new());
    let mut nodes = vec![node];
    while let Some(node) = nodes.pop() {
        let condition = match (node.call(), &node.content) {
            (Some(("Ref", name)), _) => {
                let known = |name: &&str| resolver.parameters.contains_key(*name);
                parameters.extend(name.text().filter(known));
                continue;
            }
            (Some(("Fn::If", arguments)), _) => arguments.list().and_then(<[Node]>::first),
            (_, Content::Map(map)) => {
                nodes.extend(map.values());
                map.get("Condition")
            }
            (_, Content::List(items)) => {
                nodes.extend(items);
                None
            }
            _ => None,
        };
        // Once each, because conditions may form a circle.
        let name = condition.and_then(Node::text);
        let name = name.filter(|name| conditions.insert(*name));
        nodes.extend(name.and_then(|name| resolver.conditions.get(name)));
    }
    parameters
}
