//! Reads a SAM or CloudFormation template: [`load`] gives the resources that the local host runs, [`to_json`] the
//! whole template with its functions resolved, [`check_code`] says whether Lambda could run the functions' binaries.
//!
//! The steps, in order: `yaml` (text to values), `parameters`, `intrinsics` with `names` (the results of `Ref` and
//! `GetAtt`), and `resources` with one file for each kind of resource, which read their `properties` by name. Limits that
//! AWS checks at deployment are checked where a run here would mislead without them. The rest is left to `sam validate`
//! and cfn-lint.

mod api;
mod code;
mod error;
mod events;
mod function;
mod intrinsics;
mod json;
mod names;
mod notices;
mod parameters;
mod properties;
mod queue;
mod resources;
mod table;
mod yaml;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value};

pub use api::{Api, Cors, Throttle};
pub use code::check_code;
pub use error::TemplateError;
pub use function::{Function, LogFormat, LogLevel, QueueTrigger, Route};
pub use json::to_json;
pub use queue::Queue;
pub use table::Table;

use error::{line_of, place, refuse};
use intrinsics::{Resolver, entries};
use notices::Notices;

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

/// A resolved template: the resources that this host runs.
#[derive(Debug, Clone, Default)]
pub struct Template {
    /// `AWS::Serverless::Function`, in the order of the file.
    pub functions: Vec<Function>,
    /// `AWS::Serverless::HttpApi`, or the one that SAM makes for events without `ApiId`.
    pub api: Api,
    /// `AWS::DynamoDB::Table` and `AWS::Serverless::SimpleTable`.
    pub tables: Vec<Table>,
    /// `AWS::SQS::Queue`.
    pub queues: Vec<Queue>,
    /// The parts of the template that this host leaves out: one sentence for all types of resources, one for each
    /// property.
    pub notices: Vec<String>,
}

/// Reads and resolves a template.
///
/// # Errors
/// If the file cannot be read, is not a template, or asks for something that AWS refuses or this host cannot run.
pub fn load(
    file: &Path,
    parameters: &BTreeMap<String, String>,
    context: &Context,
) -> Result<Template, TemplateError> {
    parse(&text_of(file)?, file, parameters, context)
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
    resolved(text, file, parameters, context, false, |resolver| {
        resources::read(resolver, base)
    })
}

fn text_of(file: &Path) -> Result<String, TemplateError> {
    std::fs::read_to_string(file).map_err(|error| {
        let message = match error.kind() {
            ErrorKind::NotFound => "there is no such file; choose one with --template".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        TemplateError::new(file, None, &message)
    })
}

fn resolved<T>(
    text: &str,
    file: &Path,
    parameters: &BTreeMap<String, String>,
    context: &Context,
    keeps_references: bool,
    read: impl FnOnce(&Resolver<'_>) -> Result<T, String>,
) -> Result<T, TemplateError> {
    let yaml = yaml::read(text);
    let (template, lines) =
        yaml.map_err(|(line, message)| TemplateError::new(file, Some(line), &message))?;
    let mut resolver = Resolver {
        context,
        template: &template,
        parameters: Map::new(),
        resources: Map::new(),
        keeps_references,
        path: RefCell::default(),
        notices: Notices::default(),
    };
    let result = check(&mut resolver, parameters).and_then(|()| read(&resolver));
    result.map_err(|message| {
        let path = resolver.path.borrow();
        let separator = if path.is_empty() { "" } else { ": " };
        let message = format!("{}{separator}{message}", place(&path));
        TemplateError::new(file, line_of(&path, &lines), &message)
    })
}

/// Checks the sections that the resources depend on, in the order in which CloudFormation reads them.
fn check(resolver: &mut Resolver<'_>, given: &BTreeMap<String, String>) -> Result<(), String> {
    let template = resolver.template;
    if !template["Resources"].is_object() {
        refuse!("the template needs Resources, which is a map");
    }
    let transforms = match &template["Transform"] {
        Value::Array(transforms) => &transforms[..],
        transform => std::slice::from_ref(transform),
    };
    for transform in transforms {
        let known = ["AWS::Serverless-2016-10-31", "AWS::LanguageExtensions"];
        if !transform.is_null() && !known.iter().any(|it| transform == it) {
            refuse!("the macro {transform} cannot run on this machine");
        }
    }
    resolver.parameters = resolver.parameters(given)?;
    for (name, condition) in entries(&template["Conditions"]) {
        resolver.at(&["Conditions", name], || resolver.truth(condition))?;
    }
    resolver.check_rules()?;
    resolver.resources = resolver.existing()?;
    Ok(())
}
