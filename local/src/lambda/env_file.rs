//! A file of environment variables, in the form of
//! [`sam local start-api --env-vars`](https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/serverless-sam-cli-using-invoke.html#serverless-sam-cli-using-invoke-environment-file).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::template;

/// Variables by the logical id of a function. Those of this name are for all functions.
type Variables = BTreeMap<String, BTreeMap<String, Value>>;
const FOR_ALL: &str = "Parameters";

/// Sets the variables of a file in the functions. A function's own win over those for all; both win
/// over the template's.
///
/// # Errors
/// If the file cannot be read, has another form, or names a function that is not there.
pub fn apply(path: &Path, functions: &mut [template::Function]) -> Result<(), String> {
    let refuse = |what: String| format!("{} (--env-file): {what}", path.display());
    let json = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let mut variables: Variables = serde_json::from_slice(&json).map_err(|error| {
        refuse(format!(
            "{error}; the form is {{\"FunctionLogicalId\": {{\"NAME\": \"value\"}}}}"
        ))
    })?;
    let for_all = variables.remove(FOR_ALL).unwrap_or_default();
    for function in functions.iter_mut() {
        let own = variables.remove(&function.logical_id).unwrap_or_default();
        for (name, value) in for_all.iter().chain(&own) {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => {
                    return Err(refuse(format!(
                        "the value of {name} must be text, not {value}"
                    )));
                }
            };
            function.environment.insert(name.clone(), value);
        }
    }
    match variables.keys().next() {
        None => Ok(()),
        Some(unknown) => {
            let ids: Vec<&str> = functions.iter().map(|it| it.logical_id.as_str()).collect();
            Err(refuse(format!(
                "there is no function {unknown}; there are {} and {FOR_ALL}",
                ids.join(", ")
            )))
        }
    }
}
