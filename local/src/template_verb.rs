//! `local template --json`: the resolved template, for tools that need it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::aws_json::{ACCOUNT, REGION};
use crate::template::{self, Context};

/// Print a template with its parameters, conditions and functions resolved.
///
/// References to resources stay as they are: only a deployment gives a resource its name.
#[derive(Debug, Args)]
pub struct TemplateArguments {
    /// As JSON: Parameters, Mappings, Conditions, Resources, Outputs
    #[arg(long, required = true)]
    json: bool,
    /// The SAM template
    #[arg(long, value_name = "FILE", default_value = "template.yaml")]
    template: PathBuf,
    /// A value for a parameter of the template; may be repeated
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// Fail unless Lambda can run each function's bootstrap: there, for its Architectures, with a C library that Lambda has
    #[arg(long)]
    check_code: bool,
}

/// Reads `NAME=VALUE`.
///
/// # Errors
/// If there is no `=`, or no name.
pub fn parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it has the form NAME=VALUE".to_owned()),
    }
}

/// Prints the template.
///
/// # Errors
/// One line: the error in the template with its place, the binary that Lambda could not run, or a broken pipe.
pub fn run(arguments: TemplateArguments) -> Result<(), String> {
    let context = Context {
        aws_endpoint_url: String::new(),
        api_url: String::new(),
        stack_name: "local".to_owned(),
        region: REGION.to_owned(),
        account: ACCOUNT.to_owned(),
    };
    let file = &arguments.template;
    let parameters = BTreeMap::from_iter(arguments.parameters);
    let template = template::to_json(file, &parameters, &context);
    let template = template.map_err(|error| error.to_string())?;
    if arguments.check_code {
        template::check_code(&template, file.parent().unwrap_or(Path::new("")))?;
    }
    writeln!(io::stdout(), "{template:#}").map_err(|error| error.to_string())
}
