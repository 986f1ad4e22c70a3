//! The section `Resources`: what of it this host runs, and what it leaves out.

use std::path::Path;

use serde_json::{Map, Value};

use super::api::{self, Api};
use super::error::{Fault, Place, show};
use super::function;
use super::graph::{self, Graph};
use super::intrinsics::Resolver;
use super::model::Template;
use super::object::Object;
use super::queue;
use super::queue_trigger;
use super::table;

/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>
const MAX_RESOURCES: usize = 500;

/// What every kind of resource is read with.
pub(super) struct Reading<'a> {
    pub(super) resolver: &'a Resolver<'a>,
    /// The template's folder, which `CodeUri` is relative to.
    pub(super) base: &'a Path,
    pub(super) template: Template,
    pub(super) api: Api,
    pub(super) graph: Graph,
}

impl Reading<'_> {
    /// Notes that a property is left out.
    pub(super) fn skip(&mut self, object: &Object<'_>, property: &str, reason: &str) {
        if object.get(property).is_some() {
            self.template
                .notices
                .push(format!("{}.{property}: {reason}", object.name()));
        }
    }

    /// Notes which resources `id` refers to since the last note.
    pub(super) fn note_references(&mut self, id: &str) {
        let references = self.resolver.take_references();
        self.graph
            .entry(id.to_owned())
            .or_default()
            .extend(references);
    }
}

/// Reads all resources whose condition holds.
pub(super) fn interpret(
    resolver: &Resolver<'_>,
    base: &Path,
    notices: Vec<String>,
) -> Result<Template, Fault> {
    let section = Place::root("Resources");
    if resolver.resources.len() > MAX_RESOURCES {
        return Err(section.fault(format!("more than {MAX_RESOURCES} resources")));
    }
    let template = Template {
        notices,
        ..Template::default()
    };
    let (api, graph) = (Api::default(), Graph::new());
    let mut reading = Reading {
        resolver,
        base,
        template,
        api,
        graph,
    };

    let mut kinds = Vec::new();
    for (id, resource) in &resolver.resources {
        let resource = Object::of(resource, section.child(id.as_str()))?;
        let kind = check_resource(&resource, id)?;
        if resolver.exists(id, resource.place())? {
            check_dependencies(&mut reading, id, &resource)?;
            kinds.push((id, kind));
        }
    }
    // A function needs to know the queues and APIs, and a mapping the functions.
    for pass in 0..3 {
        for (id, kind) in &kinds {
            if pass_of(kind) == pass {
                read(&mut reading, id, kind)?;
            }
        }
    }
    queue::check_redrive(&reading)?;
    check_names(&reading)?;
    if let Some(circle) = graph::find_circle(&reading.graph) {
        let fault = section.child(circle[0].as_str()).fault(format!(
            "resources wait for one another in a circle: {}",
            circle.join(" -> ")
        ));
        return Err(fault);
    }
    Ok(reading.template)
}

fn pass_of(kind: &str) -> usize {
    match kind {
        "AWS::Serverless::Function" => 1,
        "AWS::Lambda::EventSourceMapping" => 2,
        _ => 0,
    }
}

fn read(reading: &mut Reading<'_>, id: &str, kind: &str) -> Result<(), Fault> {
    let read = match kind {
        "AWS::Serverless::Function" => function::read,
        "AWS::Serverless::HttpApi" => api::read,
        "AWS::Serverless::SimpleTable" => table::read_simple,
        "AWS::DynamoDB::Table" => table::read,
        "AWS::SQS::Queue" => queue::read,
        "AWS::Lambda::EventSourceMapping" => queue_trigger::read_mapping,
        _ => {
            let kind = show(&Value::String(kind.to_owned())).replace('"', "");
            reading
                .template
                .notices
                .push(format!("{id}: {kind} is not hosted"));
            return Ok(());
        }
    };
    read(reading, id)
}

/// A resource's properties with their functions resolved, except those named, which have no effect
/// here and may refer to anything.
pub(super) fn properties(
    resolver: &Resolver<'_>,
    id: &str,
    without: &[&str],
) -> Result<Value, Fault> {
    let section = Place::root("Resources");
    let resource = section.child(id);
    let place = resource.child("Properties");
    let properties = match resolver
        .resources
        .get(id)
        .and_then(|it| it.get("Properties"))
    {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(properties) => properties.clone(),
    };
    let Value::Object(mut properties) = properties else {
        return Err(place.fault("must be a map"));
    };
    // Kept as a mark that the property is there, for notices and for the check of names.
    for name in without {
        if let Some(value) = properties.get_mut(*name) {
            *value = Value::Bool(true);
        }
    }
    let resolved = resolver.resolve(&Value::Object(properties), &place)?;
    Ok(resolved.unwrap_or_else(|| Value::Object(Map::new())))
}

/// The resource's type, after a check of what stands beside its properties.
fn check_resource(resource: &Object<'_>, id: &str) -> Result<String, Fault> {
    if id.is_empty() || id.len() > 255 || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(resource
            .place()
            .fault("a logical id is 1 to 255 letters and digits"));
    }
    resource.only(&[
        "Type",
        "Properties",
        "Condition",
        "DependsOn",
        "Metadata",
        "DeletionPolicy",
        "UpdateReplacePolicy",
        "CreationPolicy",
        "UpdatePolicy",
        "Connectors",
        "IgnoreGlobals",
    ])?;
    resource.text("Condition")?;
    resource.required_text("Type")
}

fn check_dependencies(
    reading: &mut Reading<'_>,
    id: &str,
    resource: &Object<'_>,
) -> Result<(), Fault> {
    let place = resource.place().child("DependsOn");
    let names: Vec<&str> = match resource.get("DependsOn") {
        None => Vec::new(),
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        Some(other) => {
            return Err(place.fault(format!("must be a list of resources, not {}", show(other))));
        }
    };
    for name in names {
        if !reading.resolver.exists(name, &place)? {
            return Err(place.fault(format!("{name:?} is no resource of this template")));
        }
        reading
            .graph
            .entry(id.to_owned())
            .or_default()
            .insert(name.to_owned());
    }
    Ok(())
}

/// Two resources of one kind cannot have one name.
fn check_names(reading: &Reading<'_>) -> Result<(), Fault> {
    let template = &reading.template;
    let functions = template
        .functions
        .iter()
        .map(|it| ("functions", &it.name, &it.logical_id));
    let tables = template
        .tables
        .iter()
        .map(|it| ("tables", &it.name, &it.logical_id));
    let queues = template
        .queues
        .iter()
        .map(|it| ("queues", &it.name, &it.logical_id));
    let mut seen = std::collections::BTreeMap::new();
    for (kind, name, id) in functions.chain(tables).chain(queues) {
        if let Some(other) = seen.insert((kind, name), id) {
            let message = format!("{other} and {id} are two {kind} of one name, {name}");
            return Err(Place::root("Resources").child(id.as_str()).fault(message));
        }
    }
    Ok(())
}
