//! `AWS::Serverless::HttpApi` and the `HttpApi` events of functions.
//! <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-httpapi.html>

use super::error::{Fault, Place};
use super::model::Route;
use super::names;
use super::object::Object;
use super::resources::{Reading, properties};

/// The HTTP APIs of the template.
#[derive(Debug, Default)]
pub(super) struct Api {
    /// Logical ids.
    declared: Vec<String>,
    /// The one that has routes.
    served: Option<String>,
    /// Every route so far and the function that has it.
    routes: Vec<(Route, String)>,
}

pub(super) fn read(reading: &mut Reading<'_>, id: &str) -> Result<(), Fault> {
    let ignored = ["AccessLogSettings", "Domain", "Tags"];
    let value = properties(reading.resolver, id, &ignored)?;
    reading.note_references(id);
    let section = Place::root("Resources");
    let resource = section.child(id);
    let api = Object::of(&value, resource.child("Properties"))?;
    api.only(&[
        "AccessLogSettings",
        "Auth",
        "CorsConfiguration",
        "DefaultRouteSettings",
        "DefinitionBody",
        "DefinitionUri",
        "Description",
        "DisableExecuteApiEndpoint",
        "Domain",
        "FailOnWarnings",
        "Name",
        "PropagateTags",
        "RouteSettings",
        "StageName",
        "StageVariables",
        "Tags",
    ])?;
    for property in ["DefinitionBody", "DefinitionUri", "StageVariables"] {
        if api.get(property).is_some() {
            let message = "is not hosted: declare the routes as HttpApi events of the functions";
            return Err(api.fault(property, message));
        }
    }
    if let Some(auth) = api.object("Auth")?
        && let Some(property) = ["DefaultAuthorizer", "EnableIamAuthorizer"]
            .into_iter()
            .find(|property| auth.get(property).is_some())
    {
        return Err(auth.fault(property, "authorizers are not hosted"));
    }
    if api
        .text("StageName")?
        .is_some_and(|stage| stage != "$default")
    {
        reading.skip(
            &api,
            "StageName",
            "paths are served without the stage's name before them",
        );
    }
    reading.skip(&api, "CorsConfiguration", "CORS is not hosted");
    reading.skip(&api, "Domain", "custom domains are not hosted");
    for property in ["DefaultRouteSettings", "RouteSettings"] {
        reading.skip(
            &api,
            property,
            "throttling and metrics of routes are not hosted",
        );
    }
    reading.api.declared.push(id.to_owned());
    Ok(())
}

/// One `HttpApi` event of the function `function`.
pub(super) fn read_event(
    reading: &mut Reading<'_>,
    function: &str,
    event: &Object<'_>,
) -> Result<Route, Fault> {
    event.only(&[
        "ApiId",
        "Auth",
        "Method",
        "Path",
        "PayloadFormatVersion",
        "RouteSettings",
        "Stage",
        "TimeoutInMillis",
    ])?;
    let api = served_api(reading, event)?;
    // SAM writes each function's ARN into the API's definition.
    reading
        .graph
        .entry(api)
        .or_default()
        .insert(function.to_owned());

    if let Some(auth) = event.object("Auth")?
        && auth
            .text("Authorizer")?
            .is_some_and(|authorizer| authorizer != "NONE")
    {
        return Err(auth.fault("Authorizer", "authorizers are not hosted"));
    }
    event.one_of("PayloadFormatVersion", &["2.0"])?;
    reading.skip(
        event,
        "RouteSettings",
        "throttling and metrics of routes are not hosted",
    );
    // https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
    if event
        .integer("TimeoutInMillis", 50..=30_000, "ms")?
        .is_some_and(|ms| ms < 30_000)
    {
        reading.skip(
            event,
            "TimeoutInMillis",
            "the API's own limit of 30 s is used",
        );
    }
    let route = match (event.text("Method")?, event.text("Path")?) {
        (None, None) => Route {
            method: None,
            path: "$default".to_owned(),
        },
        (Some(method), Some(path)) => {
            check_path(event, &path)?;
            Route {
                method: check_method(event, &method)?,
                path,
            }
        }
        (None, Some(_)) => return Err(event.missing("Method")),
        (Some(_), None) => return Err(event.missing("Path")),
    };
    if let Some((_, other)) = reading.api.routes.iter().find(|(other, _)| *other == route) {
        return Err(event.fault("Path", format!("{other} has the same route")));
    }
    reading
        .api
        .routes
        .push((route.clone(), function.to_owned()));
    Ok(route)
}

/// The logical id of the event's API.
fn served_api(reading: &mut Reading<'_>, event: &Object<'_>) -> Result<String, Fault> {
    let api = match event.text("ApiId")? {
        None => names::IMPLICIT_API.to_owned(),
        Some(wanted) => {
            let mut found = None;
            for id in &reading.api.declared {
                if names::physical_id(reading.resolver, id, event.place())? == wanted {
                    found = Some(id.clone());
                }
            }
            let message = "must be !Ref of an AWS::Serverless::HttpApi of this template";
            found.ok_or_else(|| event.fault("ApiId", message))?
        }
    };
    match &reading.api.served {
        Some(served) if *served != api => Err(event.fault(
            "ApiId",
            format!("this host serves one HTTP API: {served} has routes already, and {api} too"),
        )),
        _ => {
            reading.api.served = Some(api.clone());
            Ok(api)
        }
    }
}

fn check_method(event: &Object<'_>, method: &str) -> Result<Option<String>, Fault> {
    const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
    let method = method.to_ascii_uppercase();
    if method == "ANY" {
        return Ok(None);
    }
    if !METHODS.contains(&method.as_str()) {
        let message = format!(
            "must be ANY or one of {}, not {method:?}",
            METHODS.join(", ")
        );
        return Err(event.fault("Method", message));
    }
    Ok(Some(method))
}

/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html>
fn check_path(event: &Object<'_>, path: &str) -> Result<(), Fault> {
    if path == "$default" {
        return Ok(());
    }
    let Some(rest) = path.strip_prefix('/') else {
        return Err(event.fault("Path", format!("must start with /, not {path:?}")));
    };
    let segments: Vec<&str> = rest.split('/').collect();
    for (index, segment) in segments.iter().enumerate() {
        if !segment.contains(['{', '}']) {
            continue;
        }
        let name = segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        let is_last = index + 1 == segments.len();
        let name = name.map(|name| match name.strip_suffix('+') {
            Some(greedy) if is_last => greedy,
            _ => name,
        });
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        };
        if !name.is_some_and(is_name) {
            let message = format!(
                "{segment:?} must be {{name}} as a whole segment, or {{name+}} as the last one"
            );
            return Err(event.fault("Path", message));
        }
    }
    Ok(())
}
