//! Reads a SAM or CloudFormation template into what the host runs.
//!
//! The steps, in order: `yaml` (text to values with line numbers), `globals` (SAM's shared
//! properties), `parameters`, `intrinsics` with `names` (what `Ref` and `GetAtt` give), and
//! `resources` with one file for each kind of resource. Limits that AWS checks at deployment are
//! checked here too, so that a wrong value is found before `sam deploy` finds it.

mod api;
mod conditions;
mod error;
mod function;
mod globals;
mod graph;
mod intrinsics;
mod model;
mod names;
mod object;
mod parameters;
mod queue;
mod queue_trigger;
mod resources;
mod table;
mod yaml;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

pub use error::TemplateError;
pub use model::*;

use error::{Fault, Place};
use intrinsics::Resolver;
use object::Object;
use yaml::Document;

/// What a template can refer to that it does not hold.
#[derive(Debug, Clone)]
pub struct Context {
    /// The AWS endpoint of this host; queue URLs start with it.
    pub aws_endpoint_url: String,
    /// The HTTP API of this host, for `GetAtt Api.ApiEndpoint`.
    pub api_url: String,
    /// `AWS::StackName`, with which the names of resources start.
    pub stack_name: String,
    /// `AWS::Region`.
    pub region: String,
    /// `AWS::AccountId`, 12 digits.
    pub account: String,
}

/// Reads and resolves a template.
///
/// # Errors
/// Where the file cannot be read, is not a template, or asks for what AWS refuses or this host
/// cannot run.
pub fn load(
    file: &Path,
    parameters: &BTreeMap<String, String>,
    context: &Context,
) -> Result<Template, TemplateError> {
    let refuse = |message: String| TemplateError::new(file.to_owned(), None, &message);
    if !file.is_file() {
        return Err(refuse(
            "there is no such file; choose the template with --template".to_owned(),
        ));
    }
    let size = fs::metadata(file).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if size.len() > yaml::MAX_BYTES as u64 {
        return Err(refuse(format!(
            "{} bytes, and CloudFormation takes at most {}",
            size.len(),
            yaml::MAX_BYTES
        )));
    }
    let text =
        fs::read_to_string(file).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    parse(&text, file, parameters, context)
}

/// Resolves the text of a template; `file` is for messages and is what `CodeUri` is relative to.
///
/// # Errors
/// As [`load`].
pub fn parse(
    text: &str,
    file: &Path,
    parameters: &BTreeMap<String, String>,
    context: &Context,
) -> Result<Template, TemplateError> {
    let document = Document::read(text).map_err(|malformed| {
        TemplateError::new(file.to_owned(), Some(malformed.line), &malformed.message)
    })?;
    interpret(&document.value, file, parameters, context).map_err(|fault| {
        let origin = globals::origin(&document.value, &fault.path);
        let line = document.line(origin.as_ref().unwrap_or(&fault.path));
        TemplateError::new(file.to_owned(), Some(line), &fault.to_string())
    })
}

fn interpret(
    root: &Value,
    file: &Path,
    parameters: &BTreeMap<String, String>,
    context: &Context,
) -> Result<Template, Fault> {
    let Value::Object(sections) = root else {
        let fault = Place::root("Resources").fault("the template must be a map with Resources");
        return Err(Fault {
            path: Vec::new(),
            ..fault
        });
    };
    check_sections(sections)?;
    let mut notices = Vec::new();
    let parameters =
        parameters::resolve(&section(sections, "Parameters")?, parameters, &mut notices)?;
    let mut resources = section(sections, "Resources")?;
    check_transform(sections.get("Transform"), &resources)?;
    globals::merge(sections.get("Globals"), &mut resources)?;
    let resolver = Resolver::new(
        context,
        parameters,
        section(sections, "Mappings")?,
        section(sections, "Conditions")?,
        resources,
    );
    let base = file.parent().unwrap_or(Path::new(""));
    resources::interpret(&resolver, base, notices)
}

fn check_sections(sections: &Map<String, Value>) -> Result<(), Fault> {
    // https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/template-anatomy.html
    const SECTIONS: &[&str] = &[
        "AWSTemplateFormatVersion",
        "Conditions",
        "Description",
        "Globals",
        "Hooks",
        "Mappings",
        "Metadata",
        "Outputs",
        "Parameters",
        "Resources",
        "Rules",
        "Transform",
    ];
    if let Some(unknown) = sections
        .keys()
        .find(|name| !SECTIONS.contains(&name.as_str()))
    {
        return Err(Place::root(unknown).fault("is no section of a template"));
    }
    if !sections.contains_key("Resources") {
        let fault = Place::root("Resources").fault("the template has no Resources");
        return Err(Fault {
            path: Vec::new(),
            ..fault
        });
    }
    Ok(())
}

fn section(sections: &Map<String, Value>, name: &'static str) -> Result<Map<String, Value>, Fault> {
    match sections.get(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(section) => {
            let section = Object::of(section, Place::root(name))?;
            Ok(section
                .entries()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect())
        }
    }
}

/// SAM's resource types need SAM's transform; macros of others cannot run here.
fn check_transform(transform: Option<&Value>, resources: &Map<String, Value>) -> Result<(), Fault> {
    const SAM: &str = "AWS::Serverless-2016-10-31";
    let place = Place::root("Transform");
    let name_of = |value: &Value| value.as_str().map(str::to_owned);
    let names = match transform {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(names)) => names.iter().map(name_of).collect(),
        Some(name) => name_of(name).map(|name| vec![name]),
    };
    let Some(names) = names else {
        return Err(place.fault("macros with parameters cannot run on this machine"));
    };
    let is_hosted = |name: &str| name == SAM || name == "AWS::LanguageExtensions";
    if let Some(other) = names.iter().find(|name| !is_hosted(name.as_str())) {
        return Err(place.fault(format!("the macro {other} cannot run on this machine")));
    }
    let is_sam = |resource: &Value| {
        resource["Type"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("AWS::Serverless::"))
    };
    match resources.iter().find(|(_, resource)| is_sam(resource)) {
        Some((id, _)) if !names.iter().any(|name| name == SAM) => Err(Place::root("Resources")
            .child(id.as_str())
            .child("Type")
            .fault(format!(
                "needs `Transform: {SAM}` at the top of the template"
            ))),
        _ => Ok(()),
    }
}
