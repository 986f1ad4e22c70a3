//! Reads a SAM or CloudFormation template into the resources that the host runs.
//!
//! The steps, in order: `yaml` (text to values with line numbers), `parameters`, and the `rules`
//! for their combinations, `intrinsics` with `names` (the results of `Ref` and `GetAtt`), and
//! `resources` with `globals` (SAM's shared properties) and one file for each kind of resource.
//! `object` reads properties and decides about those that this host does not have. Checks that
//! `sam validate` and cfn-lint make are left to them. Limits that AWS checks at deployment are checked
//! here too, if a run here would mislead without them.

mod api;
mod error;
mod events;
mod function;
mod globals;
mod intrinsics;
mod model;
mod names;
mod object;
mod parameters;
mod queue;
mod resources;
mod rules;
mod table;
mod yaml;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

pub use error::TemplateError;
pub use model::*;

use error::{Fault, short};
use intrinsics::{Found, Resolver};
use yaml::{Map, Node};

/// Values that a template can refer to but does not contain.
#[derive(Debug, Clone)]
pub struct Context {
    /// The AWS endpoint of this host; queue URLs start with it.
    pub aws_endpoint_url: String,
    /// The HTTP API of this host, for `GetAtt Api.ApiEndpoint`.
    pub api_url: String,
    /// `AWS::StackName`, the prefix of the names of resources.
    pub stack_name: String,
    /// `AWS::Region`.
    pub region: String,
    /// `AWS::AccountId`, 12 digits.
    pub account: String,
}

/// Reads and resolves a template.
///
/// # Errors
/// If the file cannot be read, is not a template, or asks for something that AWS refuses or this
/// host cannot run.
pub fn load(
    file: &Path,
    parameters: &BTreeMap<String, String>,
    context: &Context,
) -> Result<Template, TemplateError> {
    let mut text = String::new();
    // One byte above the limit is enough for `parse` to refuse.
    let most = yaml::MAX_BYTES as u64 + 1;
    let read = File::open(file).and_then(|file| file.take(most).read_to_string(&mut text));
    read.map_err(|error| {
        let message = match error.kind() {
            ErrorKind::NotFound => "there is no such file; choose one with --template".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        Fault::new(message).in_file(file.to_owned())
    })?;
    parse(&text, file, parameters, context)
}

/// Resolves the text of a template. `file` is used in messages, and `CodeUri` is relative to it.
///
/// # Errors
/// As [`load`].
pub fn parse(
    text: &str,
    file: &Path,
    parameters: &BTreeMap<String, String>,
    context: &Context,
) -> Result<Template, TemplateError> {
    let base = file.parent().unwrap_or(Path::new(""));
    yaml::read(text)
        .and_then(|root| interpret(&root, base, parameters, context))
        .map_err(|fault| fault.in_file(file.to_owned()))
}

fn interpret(
    root: &Node,
    base: &Path,
    parameters: &BTreeMap<String, String>,
    context: &Context,
) -> Result<Template, Fault> {
    if root.get("Resources").is_none() {
        return Err(Fault::new("the template has no Resources").on(root.line));
    }
    let mut resolver = Resolver {
        context,
        parameters: BTreeMap::new(),
        globals: section(root, "Globals")?,
        mappings: section(root, "Mappings")?,
        conditions: section(root, "Conditions")?,
        resources: section(root, "Resources")?,
        found: Found::default(),
    };
    root.get("Transform").map_or(Ok(()), check_transform)?;
    let declared = section(root, "Parameters")?;
    resolver.parameters = parameters::resolve(&resolver, &declared, parameters)?;
    rules::check(&resolver, &section(root, "Rules")?)?;
    let mut template = resources::read(&resolver, base)?;
    template.notices = resolver.found.notices();
    Ok(template)
}

fn section(root: &Node, name: &str) -> Result<Map, Fault> {
    match root.get(name).filter(|section| !section.is_null()) {
        None => Ok(Map::new()),
        Some(section) => section.map().cloned().ok_or_else(|| {
            let message = format!("must be a map, not {}", section.show());
            Fault::new(message).on(section.line).within(name)
        }),
    }
}

/// Macros other than SAM's cannot run here.
fn check_transform(transform: &Node) -> Result<(), Fault> {
    let names = transform.list().unwrap_or(std::slice::from_ref(transform));
    for name in names.iter().map(Node::text) {
        if !matches!(
            name,
            Some("AWS::Serverless-2016-10-31" | "AWS::LanguageExtensions")
        ) {
            let name = short(name.unwrap_or("with parameters"));
            let fault = Fault::new(format!("the macro {name} cannot run on this machine"));
            return Err(fault.on(transform.line).within("Transform"));
        }
    }
    Ok(())
}
