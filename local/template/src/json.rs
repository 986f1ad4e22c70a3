//! The whole template as JSON, for programs that need more of it than this host runs.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::intrinsics::{Resolver, entries, with_references};
use crate::{Context, TemplateError, resolved, text_of};

/// Resolves a template for the values of its parameters, and leaves references to resources (`Ref`, `Fn::GetAtt`, and
/// `Fn::Sub` of them) as they are: only a deployment gives a resource its name.
///
/// The result has the sections of the template: `Parameters` and `Conditions` with their values, `Mappings`, and
/// `Resources` and `Outputs` without those whose condition is false. Each resource has the properties of `Globals`.
///
/// # Errors
/// If the file cannot be read, is not a template, or if its rules refuse the parameters. A template that this host
/// could not run is no error.
pub fn to_json(
    file: &Path,
    parameters: &BTreeMap<String, String>,
    context: &Context,
) -> Result<Value, TemplateError> {
    resolved(&text_of(file)?, file, parameters, context, true, sections)
}

fn sections(resolver: &Resolver<'_>) -> Result<Value, String> {
    let mut conditions = Map::new();
    for (name, _) in entries(&resolver.template["Conditions"]) {
        conditions.insert(name.clone(), resolver.condition(name)?.into());
    }
    let mut outputs = Map::new();
    for (name, output) in entries(&resolver.template["Outputs"]) {
        if resolver.exists(output)? {
            outputs.insert(name.clone(), output.clone());
        }
    }
    let mappings = resolver.template.get("Mappings").cloned();
    let resolve = |name: &str, section: &Map<String, Value>| {
        let section = resolver.at(&[name], || resolver.resolve(&json!(section)))?;
        Ok::<_, String>(with_references(&section))
    };
    Ok(json!({
        "Parameters": resolver.parameters,
        "Mappings": mappings.unwrap_or(json!({})),
        "Conditions": conditions,
        "Resources": resolve("Resources", &resolver.resources)?,
        "Outputs": resolve("Outputs", &outputs)?,
    }))
}
