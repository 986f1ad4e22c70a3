//! `AWS::Serverless::HttpApi`.
//! <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-httpapi.html>

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::error::refuse;
use crate::function::Function;
use crate::intrinsics::{Resolver, entries, items};
use crate::properties::Properties;

/// The HTTP API that this host serves.
#[derive(Debug, Clone, Default)]
pub struct Api {
    /// `CorsConfiguration`; without it no header about other origins is sent.
    pub cors: Option<Cors>,
    /// `DefaultRouteSettings`: the limits of each route.
    pub throttle: Throttle,
    /// `RouteSettings`: the limits of a route by its key, such as `POST /orders`, in place of `throttle`.
    pub route_throttles: BTreeMap<String, Throttle>,
}

/// The pages of other origins that may call the API: AWS answers their preflights itself.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html>
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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
    pub max_age: Option<i32>,
    /// `Access-Control-Allow-Credentials`.
    pub allow_credentials: bool,
}

/// How many requests pass before the API answers 429. None is the account's limit.
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-throttling.html>
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Throttle {
    /// `ThrottlingRateLimit`: requests a second.
    pub rate: Option<f64>,
    /// `ThrottlingBurstLimit`: requests at once, the size of the token bucket.
    pub burst: Option<u32>,
}

pub(crate) fn read(properties: &Properties<'_>, functions: &[Function]) -> Result<Api, String> {
    let resolver = properties.resolver;
    let definition = properties.raw("DefinitionBody");
    if !definition.is_null() {
        let check = || resolver.check_definition(&definition["paths"], functions);
        resolver.at(&["DefinitionBody", "paths"], check)?;
    }
    let mut api = Api {
        cors: cors(properties)?,
        throttle: properties.within("DefaultRouteSettings", throttle)?,
        route_throttles: BTreeMap::new(),
    };
    let settings: Value = properties.get("RouteSettings")?.unwrap_or_default();
    for (route, settings) in entries(&settings) {
        let read = || resolver.read(settings, throttle);
        let throttle = resolver.at(&["RouteSettings", route], read)?;
        api.route_throttles.insert(route.clone(), throttle);
    }
    Ok(api)
}

fn throttle(settings: &Properties<'_>) -> Result<Throttle, String> {
    Ok(Throttle {
        rate: settings.number("ThrottlingRateLimit", 0.0..=f64::INFINITY)?,
        burst: settings.number("ThrottlingBurstLimit", 0..=u32::MAX)?,
    })
}

fn cors(properties: &Properties<'_>) -> Result<Option<Cors>, String> {
    let mut cors = Cors::default();
    match properties.get("CorsConfiguration")? {
        // SAM's short forms: false is no origin, true is any, another text is the one.
        None => return Ok(None),
        Some(Value::String(origin)) => match origin.as_str() {
            "false" => return Ok(None),
            "true" => cors.allow_origins.push("*".to_owned()),
            _ => cors.allow_origins.push(origin),
        },
        Some(_) => properties.within("CorsConfiguration", |given| {
            let list = |name| Ok::<_, String>(given.get(name)?.unwrap_or_default());
            cors.allow_origins = list("AllowOrigins")?;
            cors.allow_methods = list("AllowMethods")?;
            cors.allow_headers = list("AllowHeaders")?;
            cors.expose_headers = list("ExposeHeaders")?;
            cors.max_age = given.number("MaxAge", -1..=86_400)?;
            cors.allow_credentials = given.number("AllowCredentials", false..=true)? == Some(true);
            if cors.allow_credentials && cors.allow_origins.iter().any(|it| it == "*") {
                refuse!("AllowCredentials needs AllowOrigins without *");
            }
            Ok(())
        })?,
    }
    Ok(Some(cors))
}

impl Resolver<'_> {
    /// A definition may say who may call a function's route, as long as that is anyone: this host checks no signature
    /// and no token.
    fn check_definition(&self, paths: &Value, functions: &[Function]) -> Result<(), String> {
        let is_route = |path: &str, method: &str| {
            let mut routes = functions.iter().flat_map(|function| &function.routes);
            routes.any(|route| {
                let known = route.method.as_deref();
                let known = known.unwrap_or("x-amazon-apigateway-any-method");
                route.path == path && known.eq_ignore_ascii_case(method)
            })
        };
        let resolved = self.resolve(paths)?;
        if !resolved.is_object() {
            refuse!("declare routes as HttpApi events");
        }
        for (path, item) in entries(&resolved) {
            for (method, operation) in entries(item) {
                self.at(&[path, method], || {
                    if !is_route(path, method) {
                        refuse!("declare the route as an HttpApi event");
                    }
                    if items(&operation["security"]).is_empty() {
                        return Ok(());
                    }
                    let mut parameters = BTreeSet::new();
                    self.parameters_of(&paths[path][method], &mut parameters);
                    match Vec::from_iter(parameters).join(" or ").as_str() {
                        "" => refuse!("authorizers are not hosted: leave `security` away by a condition"),
                        names => refuse!("authorizers are not hosted: open the route with --parameter {names}=..."),
                    }
                })?;
            }
        }
        Ok(())
    }

    /// The parameters that a value names, directly or through conditions.
    fn parameters_of(&self, value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::String(name) if self.parameters.contains_key(name) => {
                found.insert(name.clone());
            }
            Value::String(name) => self.parameters_of(&self.template["Conditions"][name], found),
            Value::Array(items) => items.iter().for_each(|it| self.parameters_of(it, found)),
            Value::Object(map) => map.values().for_each(|it| self.parameters_of(it, found)),
            _ => {}
        }
    }
}
