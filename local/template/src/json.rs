//! The whole template as JSON, for programs that need more of it than this host runs.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::Mistake;
use crate::intrinsics::Resolver;
use crate::properties::Notices;
use crate::yaml::{Content, Node};
use crate::{Context, TemplateError, resources, section, text_of, yaml};

/// Resolves a template for the values of its parameters, and leaves references to resources (`Ref`, `Fn::GetAtt`, and
/// `Fn::Sub` or `Fn::Join` of them) as they are: only a deployment gives a resource its name.
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
    let text = text_of(file)?;
    let resolved = yaml::read(&text).and_then(|root| {
        let notices = Notices::default();
        let mut resolver = crate::resolver(&root, parameters, context, &notices)?;
        resolver.keeps_references = true;
        sections(&root, &resolver, &notices)
    });
    resolved.map_err(|mistake| mistake.in_file(file))
}

fn sections(root: &Node, resolver: &Resolver<'_>, notices: &Notices) -> Result<Value, Mistake> {
    let parameters = Node::new(root.line, Content::Map(resolver.parameters.clone()));
    let mappings = Node::new(root.line, Content::Map(resolver.mappings.clone()));
    let mut conditions = Map::new();
    for (name, condition) in &resolver.conditions {
        let truth = resolver.truth(condition);
        let truth = truth.map_err(|mistake| mistake.on(condition.line).at(name))?;
        conditions.insert(name.clone(), truth.into());
    }
    let mut resources = Map::new();
    for resource in resources::existing(resolver, notices)? {
        let mut whole = resource.whole.map().cloned().unwrap_or_default();
        whole.shift_remove("Condition");
        whole.insert("Properties".to_owned(), resource.properties);
        let whole = resolver.resolve(&Node::new(root.line, Content::Map(whole)));
        resources.insert(resource.id.to_owned(), whole.to_json(resource.id)?);
    }
    let mut outputs = Map::new();
    for (name, output) in section(root, "Outputs")? {
        if resolver.exists(&output)? {
            let path = format!("Outputs.{name}");
            outputs.insert(name, resolver.resolve(&output).to_json(&path)?);
        }
    }
    Ok(json!({
        "Parameters": parameters.to_json("Parameters")?,
        "Mappings": mappings.to_json("Mappings")?,
        "Conditions": conditions,
        "Resources": resources,
        "Outputs": outputs,
    }))
}
