//! `AWS::Serverless::Function`.
//! <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html>

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::error::Fault;
use super::model::Function;
use super::object::Object;

/// Reads a function, without its events.
pub(super) fn read(function: &Object<'_>, base: &Path) -> Result<Function, Fault> {
    let runtime = function.one_of("Runtime", &["provided.al2023", "provided.al2"])?;
    function.required("Runtime", runtime)?;
    function.one_of("PackageType", &["Zip"])?;
    let code_uri = "must be a folder that holds the function's bootstrap";
    let uri = function.required("CodeUri", function.get("CodeUri")?)?;
    let uri = match uri.text() {
        Some(uri) if !uri.is_empty() && !uri.ends_with(".zip") && !uri.contains("://") => uri,
        _ => return Err(function.fault("CodeUri", format!("{code_uri}, not {}", uri.show()))),
    };
    let reserved = function.integer("ReservedConcurrentExecutions", 0..=u32::MAX, "executions")?;
    let provisioned = function.object("ProvisionedConcurrencyConfig", |config| {
        let name = "ProvisionedConcurrentExecutions";
        config.required(name, config.integer(name, 1..=u32::MAX, "executions")?)
    })?;
    let provisioned = provisioned.unwrap_or(0);
    if let Some(reserved) = reserved.filter(|reserved| provisioned > *reserved) {
        let message = format!("{provisioned} is above ReservedConcurrentExecutions, {reserved}");
        return Err(function.fault("ProvisionedConcurrencyConfig", message));
    }
    // Limits and defaults: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
    let timeout = function.integer("Timeout", 1..=900, "seconds")?;
    let memory = function.integer("MemorySize", 128..=10_240, "MB")?;
    let variables = function.object("Environment", |it| it.object("Variables", environment))?;
    Ok(Function {
        logical_id: function.path.clone(),
        name: function.physical_name("FunctionName")?,
        code_dir: base.join(uri),
        handler: function.required_text("Handler")?,
        memory_mb: memory.unwrap_or(128),
        timeout: Duration::from_secs(timeout.unwrap_or(3).into()),
        environment: variables.flatten().unwrap_or_default(),
        reserved_concurrency: reserved,
        provisioned_concurrency: provisioned,
        routes: Vec::new(),
        queue_triggers: Vec::new(),
    })
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>
fn environment(variables: &Object<'_>) -> Result<BTreeMap<String, String>, Fault> {
    /// Bytes of names and values together.
    const MOST: usize = 4096;
    let mut result = BTreeMap::new();
    let mut bytes = 0;
    for name in variables.names() {
        let text = variables.text(name)?.unwrap_or_default();
        bytes += name.len() + text.len();
        result.insert(name.clone(), text);
    }
    if bytes > MOST {
        let message = format!("{bytes} bytes, and Lambda takes at most {MOST}");
        return Err(variables.wrong(message));
    }
    Ok(result)
}
