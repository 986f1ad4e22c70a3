//! `AWS::Serverless::HttpApi`.
//! <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-httpapi.html>

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

use crate::error::Mistake;
use crate::function::Function;
use crate::intrinsics::{Resolver, texts};
use crate::names::DEFINITION_BODY;
use crate::properties::{Reader, number, requests};
use crate::yaml::{Content, Map, Node};

/// The key of a route for any method in a definition.
const ANY: &str = "x-amazon-apigateway-any-method";

/// The HTTP API that this host serves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename = "HttpApi")]
pub struct Api {
    /// `CorsConfiguration`; without it no header about other origins is sent.
    #[serde(rename = "CorsConfiguration")]
    pub cors: Option<Cors>,
    /// `DefaultRouteSettings`: the limits of each route.
    #[serde(rename = "DefaultRouteSettings", default)]
    pub throttle: Throttle,
    /// `RouteSettings`: the limits of a route by its key, such as `POST /orders`, in place of `throttle`.
    #[serde(rename = "RouteSettings", default)]
    pub route_throttles: BTreeMap<String, Throttle>,
}

/// The pages of other origins that may call the API: AWS answers their preflights itself.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html>
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Cors {
    /// `Access-Control-Allow-Origin`: origins, `*`, or `https://*`.
    pub allow_origins: Vec<String>,
    /// `Access-Control-Allow-Methods`.
    pub allow_methods: Vec<String>,
    /// `Access-Control-Allow-Headers`.
    pub allow_headers: Vec<String>,
    /// `Access-Control-Expose-Headers`.
    pub expose_headers: Vec<String>,
    /// `Access-Control-Max-Age`: seconds that a browser may remember a preflight; -1 for not at all.
    #[serde(deserialize_with = "max_age")]
    pub max_age: Option<i32>,
    /// `Access-Control-Allow-Credentials`.
    pub allow_credentials: bool,
}

/// How many requests pass before the API answers 429. None is the account's limit.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html>
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Throttle {
    /// `ThrottlingRateLimit`: requests a second.
    #[serde(rename = "ThrottlingRateLimit", deserialize_with = "rate")]
    pub rate: Option<f64>,
    /// `ThrottlingBurstLimit`: requests at once, the size of the token bucket.
    #[serde(
        rename = "ThrottlingBurstLimit",
        deserialize_with = "requests::<0, { u32::MAX }, _, _>"
    )]
    pub burst: Option<u32>,
}

fn rate<'n, D: Deserializer<'n>>(value: D) -> Result<Option<f64>, D::Error> {
    number(value, 0.0..=f64::INFINITY, "requests a second").map(Some)
}

fn max_age<'n, D: Deserializer<'n>>(value: D) -> Result<Option<i32>, D::Error> {
    number(value, -1..=86_400, "seconds").map(Some)
}

/// Reads an API, of which `unresolved` are the properties before they were resolved.
pub(crate) fn read(
    api: &Reader<'_>,
    unresolved: &Node,
    resolver: &Resolver<'_>,
    functions: &[Function],
) -> Result<Api, Mistake> {
    check_definition(api, unresolved, resolver, functions)?;
    let mut node = api.node.clone();
    if let Content::Map(properties) = &mut node.content
        && let Some(cors) = properties.shift_remove("CorsConfiguration")
    {
        let cors = written_out(cors).map(|cors| ("CorsConfiguration".to_owned(), cors));
        properties.extend(cors);
    }
    let node = &node;
    let read: Api = Reader {
        node,
        ..api.clone()
    }
    .read()?;
    match &read.cors {
        Some(cors) if cors.allow_credentials && cors.allow_origins.iter().any(|it| it == "*") => {
            Err(api.mistake(
                "CorsConfiguration",
                "AllowCredentials needs AllowOrigins without *",
            ))
        }
        _ => Ok(read),
    }
}

/// SAM has short forms of CORS: `true` is any origin, `false` is none, another text is the one origin.
fn written_out(cors: Node) -> Option<Node> {
    let origin = match cors.text() {
        None => return Some(cors),
        Some("false") => return None,
        Some("true") => "*",
        Some(origin) => origin,
    };
    let origins = Node::new(cors.line, texts([origin].into_iter(), cors.line));
    let map = Map::from([("AllowOrigins".to_owned(), origins)]);
    Some(Node::new(cors.line, Content::Map(map)))
}

/// A definition may say who may call a function's route, as long as that is anyone: this host
/// checks no signature and no token.
fn check_definition(
    api: &Reader<'_>,
    unresolved: &Node,
    resolver: &Resolver<'_>,
    functions: &[Function],
) -> Result<(), Mistake> {
    let Some(definition) = api.get(DEFINITION_BODY) else {
        return Ok(());
    };
    let Some(paths) = definition.get("paths") else {
        return Err(api.mistake(DEFINITION_BODY, "declare routes as HttpApi events"));
    };
    let is_route = |path: &str, method: &str| {
        let mut routes = functions.iter().flat_map(|function| &function.routes);
        routes.any(|it| {
            let known = it.method.as_deref().unwrap_or(ANY);
            it.path == path && known.eq_ignore_ascii_case(method)
        })
    };
    for (path, item) in paths.entries()? {
        for (method, operation) in item.entries()? {
            if !is_route(path, method) {
                return Err(item.mistake(method, "declare the route as an HttpApi event"));
            }
            let security = operation.get("security");
            if security.is_none_or(|it| it.node.list().is_some_and(<[Node]>::is_empty)) {
                continue;
            }
            let names = [DEFINITION_BODY, "paths", path, method];
            let written = names
                .iter()
                .try_fold(unresolved, |node, name| node.get(name));
            let parameters = written
                .map(|it| parameters_of(resolver, it))
                .unwrap_or_default();
            let how = match Vec::from_iter(parameters).join(" or ").as_str() {
                "" => "leave `security` away by a condition".to_owned(),
                names => format!("open the route with --parameter {names}=..."),
            };
            return Err(item.mistake(method, format!("authorizers are not hosted: {how}")));
        }
    }
    Ok(())
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
