//! `AWS::Serverless::Function`.
//! <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html>

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::api;
use super::error::{Fault, Place, show};
use super::model::Function;
use super::names;
use super::object::{Object, to_text};
use super::queue_trigger;
use super::resources::{Reading, properties};

/// Properties without an effect on one machine: permissions, deployment, tags, monitoring.
const IGNORED: [&str; 22] = [
    "AssumeRolePolicyDocument",
    "AutoPublishAliasAllProperties",
    "AutoPublishCodeSha256",
    "CodeSigningConfigArn",
    "DeploymentPreference",
    "Description",
    "EphemeralStorage",
    "KmsKeyArn",
    "LoggingConfig",
    "PermissionsBoundary",
    "Policies",
    "PropagateTags",
    "PublishToLatestPublished",
    "RecursiveLoop",
    "Role",
    "RolePath",
    "RuntimeManagementConfig",
    "SourceKMSKeyArn",
    "Tags",
    "Tracing",
    "VersionDeletionPolicy",
    "VersionDescription",
];

/// Properties left out with a notice, and what that means.
const SKIPPED: [(&str, &str); 4] = [
    ("DeadLetterQueue", "asynchronous invocation is not hosted"),
    ("EventInvokeConfig", "asynchronous invocation is not hosted"),
    ("FunctionUrlConfig", "function URLs are not hosted"),
    (
        "Layers",
        "layers are not mounted: what the function needs must be in its CodeUri",
    ),
];

/// Properties that change what the function does, and that this host does not have.
const REFUSED: [(&str, &str); 10] = [
    (
        "CapacityProviderConfig",
        "capacity providers are not hosted",
    ),
    ("DurableConfig", "durable functions are not hosted"),
    ("FileSystemConfigs", "file systems are not mounted"),
    ("FunctionScalingConfig", "capacity providers are not hosted"),
    (
        "ImageConfig",
        "container images are not hosted: build a bootstrap and set CodeUri",
    ),
    (
        "ImageUri",
        "container images are not hosted: build a bootstrap and set CodeUri",
    ),
    (
        "InlineCode",
        "is for other runtimes: build a bootstrap and set CodeUri",
    ),
    (
        "SnapStart",
        "Lambda has no SnapStart for provided.* runtimes",
    ),
    ("TenancyConfig", "tenant isolation is not hosted"),
    (
        "VpcConfig",
        "a VPC is not hosted: put it behind a condition that is false here",
    ),
];

const HOSTED: [&str; 13] = [
    "Architectures",
    "AutoPublishAlias",
    "CodeUri",
    "Environment",
    "Events",
    "FunctionName",
    "Handler",
    "MemorySize",
    "PackageType",
    "ProvisionedConcurrencyConfig",
    "ReservedConcurrentExecutions",
    "Runtime",
    "Timeout",
];

pub(super) fn read(reading: &mut Reading<'_>, id: &str) -> Result<(), Fault> {
    // Events become resources of their own on AWS, so what they refer to does not hold back the
    // function, and cannot close a circle with it.
    let without: Vec<&str> = IGNORED
        .into_iter()
        .chain(SKIPPED.map(|(name, _)| name))
        .chain(["Events"])
        .collect();
    let value = properties(reading.resolver, id, &without)?;
    reading.note_references(id);
    let section = Place::root("Resources");
    let resource = section.child(id);
    let place = resource.child("Properties");
    let object = Object::of(&value, place.clone())?;
    let known: Vec<&str> = HOSTED
        .into_iter()
        .chain(IGNORED)
        .chain(SKIPPED.map(|(name, _)| name))
        .chain(REFUSED.map(|(name, _)| name))
        .collect();
    object.only(&known)?;
    for (property, reason) in REFUSED {
        if object.get(property).is_some() {
            return Err(object.fault(property, reason));
        }
    }
    for (property, reason) in SKIPPED {
        reading.skip(&object, property, reason);
    }
    let mut function = read_settings(reading, id, &object)?;

    let events = reading
        .resolver
        .resources
        .get(id)
        .and_then(|it| it["Properties"].get("Events"));
    let events = events.unwrap_or(&Value::Null);
    let place = place.child("Events");
    let events = reading
        .resolver
        .resolve(events, &place)?
        .unwrap_or(Value::Null);
    reading.resolver.take_references();
    if !events.is_null() {
        read_events(reading, &mut function, &Object::of(&events, place.clone())?)?;
    }
    reading.template.functions.push(function);
    Ok(())
}

fn read_settings(reading: &Reading<'_>, id: &str, object: &Object<'_>) -> Result<Function, Fault> {
    object.one_of("PackageType", &["Zip"])?;
    let runtime = object.required_text("Runtime")?;
    if !["provided.al2023", "provided.al2"].contains(&runtime.as_str()) {
        let message = format!(
            "{runtime:?} is not hosted: this host runs provided.al2023 and provided.al2, with a \
             bootstrap in CodeUri"
        );
        return Err(object.fault("Runtime", message));
    }
    if let Some((architectures, place)) = object.list("Architectures")?
        && !matches!(architectures, [Value::String(one)] if one == "arm64" || one == "x86_64")
    {
        return Err(place.fault("must be a list of arm64 or x86_64"));
    }
    let reserved_concurrency =
        object.integer("ReservedConcurrentExecutions", 0..=u32::MAX, "executions")?;
    let provisioned_concurrency = provisioned_concurrency(object)?;
    if let Some(reserved) = reserved_concurrency
        && provisioned_concurrency > reserved
    {
        return Err(object.fault(
            "ProvisionedConcurrencyConfig",
            format!("{provisioned_concurrency} is above ReservedConcurrentExecutions, {reserved}"),
        ));
    }
    // Limits and defaults: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
    let timeout = object.integer("Timeout", 1..=900, "seconds")?.unwrap_or(3);
    Ok(Function {
        logical_id: id.to_owned(),
        name: names::name(reading.resolver, id, object.place())?,
        code_dir: code_dir(reading, object)?,
        handler: object.required_text("Handler")?,
        memory_mb: object
            .integer("MemorySize", 128..=10_240, "MB")?
            .unwrap_or(128),
        timeout: Duration::from_secs(u64::from(timeout)),
        environment: environment(object)?,
        reserved_concurrency,
        provisioned_concurrency,
        routes: Vec::new(),
        queue_triggers: Vec::new(),
    })
}

fn code_dir(reading: &Reading<'_>, object: &Object<'_>) -> Result<PathBuf, Fault> {
    let message = "must be a folder that holds the function's bootstrap";
    let uri = match object.get("CodeUri") {
        None => return Err(object.missing("CodeUri")),
        Some(Value::String(uri)) => uri,
        Some(other) => {
            return Err(object.fault("CodeUri", format!("{message}, not {}", show(other))));
        }
    };
    let is_archive = uri.to_ascii_lowercase().ends_with(".zip");
    if uri.is_empty() || is_archive || uri.contains("://") {
        return Err(object.fault("CodeUri", format!("{message}, not {uri:?}")));
    }
    Ok(reading.base.join(uri))
}

fn provisioned_concurrency(object: &Object<'_>) -> Result<u32, Fault> {
    let Some(config) = object.object("ProvisionedConcurrencyConfig")? else {
        return Ok(0);
    };
    config.only(&["ProvisionedConcurrentExecutions"])?;
    if object.text("AutoPublishAlias")?.is_none() {
        let message = "needs AutoPublishAlias: an alias has provisioned concurrency";
        return Err(object.fault("ProvisionedConcurrencyConfig", message));
    }
    config
        .integer(
            "ProvisionedConcurrentExecutions",
            1..=u32::MAX,
            "executions",
        )?
        .ok_or_else(|| config.missing("ProvisionedConcurrentExecutions"))
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>
fn environment(object: &Object<'_>) -> Result<BTreeMap<String, String>, Fault> {
    const MAX_BYTES: usize = 4096;
    const RESERVED: [&str; 16] = [
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ];
    let Some(environment) = object.object("Environment")? else {
        return Ok(BTreeMap::new());
    };
    environment.only(&["Variables"])?;
    let Some(variables) = environment.object("Variables")? else {
        return Ok(BTreeMap::new());
    };
    let mut result = BTreeMap::new();
    for (name, value) in variables.entries() {
        let starts_with_letter = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let is_name =
            name.len() >= 2 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if RESERVED.contains(&name.as_str()) {
            return Err(variables.fault(name, "is reserved: Lambda sets it"));
        }
        if !starts_with_letter || !is_name {
            let message = "a variable's name is a letter, then letters, digits and `_`";
            return Err(variables.fault(name, message));
        }
        let text = to_text(value)
            .ok_or_else(|| variables.fault(name, format!("must be text, not {}", show(value))))?;
        if text.contains('\0') {
            return Err(variables.fault(name, "holds a null character"));
        }
        result.insert(name.clone(), text);
    }
    let bytes: usize = result
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MAX_BYTES {
        let message = format!("{bytes} bytes, and Lambda takes at most {MAX_BYTES}");
        return Err(environment.fault("Variables", message));
    }
    Ok(result)
}

fn read_events(
    reading: &mut Reading<'_>,
    function: &mut Function,
    events: &Object<'_>,
) -> Result<(), Fault> {
    for (name, event) in events.entries() {
        let event = Object::of(event, events.place().child(name.as_str()))?;
        event.only(&["Type", "Properties"])?;
        let empty = Value::Object(serde_json::Map::new());
        let properties = event.get("Properties").unwrap_or(&empty);
        let properties = Object::of(properties, event.place().child("Properties"))?;
        match event.required_text("Type")?.as_str() {
            "HttpApi" => {
                let route = api::read_event(reading, &function.logical_id, &properties)?;
                function.routes.push(route);
            }
            "SQS" => {
                let trigger = queue_trigger::read_event(reading, function, &properties)?;
                function.queue_triggers.extend(trigger);
            }
            "Api" => {
                let message = "a REST API is not hosted: use the event type HttpApi";
                return Err(event.fault("Type", message));
            }
            other => {
                let message =
                    format!("{other:?} is not hosted: this host has HttpApi and SQS events");
                return Err(event.fault("Type", message));
            }
        }
    }
    Ok(())
}
