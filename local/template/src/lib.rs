//! Reads a SAM or CloudFormation template: [`load`] gives the resources that the local host runs, [`to_json`] the
//! whole template with its functions resolved, [`check_code`] says whether Lambda could run the functions' binaries.
//!
//! The steps, in order: `yaml` (text to values with line numbers), `parameters`, and the `rules`
//! for their combinations, `intrinsics` with `names` (the results of `Ref` and `GetAtt`), and
//! `resources` with `globals` (SAM's shared properties) and one file for each kind of resource.
//! `properties` reads values into structs and decides about the properties that this host does not have. Checks that
//! `sam validate` and cfn-lint make are left to them. Limits that AWS checks at deployment are checked
//! here too, if a run here would mislead without them.

mod api;
mod code;
mod error;
mod events;
mod function;
mod globals;
mod intrinsics;
mod json;
mod names;
mod parameters;
mod properties;
mod queue;
mod resources;
mod rules;
mod table;
mod yaml;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

pub use api::{Api, Cors, Throttle};
pub use code::check_code;
pub use error::TemplateError;
pub use events::{QueueTrigger, Route};
pub use function::{Function, LogFormat, LogLevel};
pub use json::to_json;
pub use queue::{Queue, Redrive};
pub use table::Table;

use error::Mistake;
use intrinsics::Resolver;
use properties::Notices;
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
    /// The parts of the template that this host leaves out: one sentence for all kinds of
    /// resources, one for each property.
    pub notices: Vec<String>,
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
    let notices = Notices::default();
    yaml::read(text)
        .and_then(|root| resolver(&root, parameters, context, &notices))
        .and_then(|resolver| resources::read(&resolver, base, &notices))
        .map(|template| Template {
            notices: notices.sentences(),
            ..template
        })
        .map_err(|mistake| mistake.in_file(file))
}

fn text_of(file: &Path) -> Result<String, TemplateError> {
    std::fs::read_to_string(file).map_err(|error| {
        let message = match error.kind() {
            ErrorKind::NotFound => "there is no such file; choose one with --template".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        Mistake::new(message).in_file(file)
    })
}

/// What resolves the values of a template, its parameters checked.
fn resolver<'c>(
    root: &Node,
    parameters: &BTreeMap<String, String>,
    context: &'c Context,
    notices: &Notices,
) -> Result<Resolver<'c>, Mistake> {
    if root.get("Resources").is_none() {
        return Err(Mistake::new("the template has no Resources").on(root.line));
    }
    let mut resolver = Resolver {
        context,
        keeps_references: false,
        parameters: Map::new(),
        globals: section(root, "Globals")?,
        mappings: section(root, "Mappings")?,
        conditions: section(root, "Conditions")?,
        resources: section(root, "Resources")?,
        pending: RefCell::default(),
    };
    root.get("Transform").map_or(Ok(()), check_transform)?;
    let declared = section(root, "Parameters")?;
    resolver.parameters = parameters::resolve(&resolver, &declared, parameters, notices)?;
    rules::check(&resolver, &section(root, "Rules")?)?;
    Ok(resolver)
}

fn section(root: &Node, name: &str) -> Result<Map, Mistake> {
    match root.get(name).filter(|section| !section.is_null()) {
        None => Ok(Map::new()),
        Some(section) => section.map().cloned().ok_or_else(|| {
            let message = format!("must be a map, not {}", section.show());
            Mistake::new(message).on(section.line).at(name)
        }),
    }
}

/// Macros other than SAM's cannot run here.
fn check_transform(transform: &Node) -> Result<(), Mistake> {
    let names = transform.list().unwrap_or(std::slice::from_ref(transform));
    for name in names.iter().map(Node::text) {
        if !matches!(
            name,
            Some("AWS::Serverless-2016-10-31" | "AWS::LanguageExtensions")
        ) {
            let name = name.unwrap_or("with parameters");
            let mistake = Mistake::new(format!("the macro {name} cannot run on this machine"));
            return Err(mistake.on(transform.line).at("Transform"));
        }
    }
    Ok(())
}
