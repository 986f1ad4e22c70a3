//! The section `Resources`, with the properties of `Globals`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::refuse;
use crate::intrinsics::{Resolver, call, entries, items};
use crate::names::{FUNCTION, HTTP_API, MAPPING, QUEUE, SIMPLE_TABLE, TABLE};
use crate::properties::Properties;
use crate::{Template, api, events, function, queue, table};

impl Resolver<'_> {
    /// The resources whose condition holds. SAM merges `Globals` before it resolves functions.
    pub(crate) fn existing(&self) -> Result<Map<String, Value>, String> {
        let mut existing = Map::new();
        for (id, resource) in entries(&self.template["Resources"]) {
            let resource = self.at(&["Resources", id], || self.with_globals(id, resource))?;
            existing.extend(resource.map(|resource| (id.clone(), resource)));
        }
        Ok(existing)
    }

    fn with_globals(&self, id: &str, resource: &Value) -> Result<Option<Value>, String> {
        // Ids become names of files and of AWS resources.
        if id.is_empty() || id.len() > 255 || !id.chars().all(|it| it.is_ascii_alphanumeric()) {
            refuse!("a logical id is 1 to 255 letters and digits");
        }
        let Some(kind) = resource["Type"].as_str() else {
            refuse!("needs a Type, which is text");
        };
        if !self.exists(resource)? {
            return Ok(None);
        }
        let mut whole = resource.clone();
        whole["Condition"] = Value::Null;
        if whole["Properties"].is_null() {
            whole["Properties"] = json!({});
        }
        let section = kind.strip_prefix("AWS::Serverless::").unwrap_or_default();
        let ignored = &resource["IgnoreGlobals"];
        for (name, shared) in entries(&self.template["Globals"][section]) {
            if ignored != "*" && !items(ignored).contains(&json!(name)) {
                merge(&mut whole["Properties"], &json!({ name: shared }));
            }
        }
        Ok(Some(whole))
    }
}

/// Maps are merged key by key. Lists are joined, the global items first. Of anything else the resource's own wins.
/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-template-anatomy-globals.html>
fn merge(own: &mut Value, shared: &Value) {
    if call(own).is_some() || call(shared).is_some() {
        return;
    }
    match (own, shared) {
        (Value::Object(own), Value::Object(shared)) => {
            for (name, value) in shared {
                let own = own.entry(name).and_modify(|own| merge(own, value));
                own.or_insert_with(|| value.clone());
            }
        }
        (Value::Array(own), Value::Array(shared)) => {
            own.splice(0..0, shared.iter().cloned());
        }
        _ => {}
    }
}

/// Reads the resources that this host runs. `base` is the folder of the template.
pub(crate) fn read(resolver: &Resolver<'_>, base: &Path) -> Result<Template, String> {
    let mut template = Template::default();
    let mut served_api = None;
    // A function's events refer to queues, a mapping to functions, an API to their routes.
    let mut resources = Vec::from_iter(&resolver.resources);
    resources.sort_by_key(|(_, resource)| match resource["Type"].as_str() {
        Some(FUNCTION) => 1,
        Some(MAPPING | HTTP_API) => 2,
        _ => 0,
    });
    for (id, resource) in resources {
        let kind = resource["Type"].as_str().unwrap_or_default();
        let read = |given: &Properties<'_>| {
            match kind {
                FUNCTION => {
                    let mut function = function::read(given, id, base)?;
                    events::read(given, &mut function, &template.queues, &mut served_api)?;
                    template.functions.push(function);
                }
                HTTP_API => template.api = api::read(given, &template.functions)?,
                MAPPING => {
                    events::read_mapping(given, &mut template.functions, &template.queues)?;
                }
                QUEUE => template.queues.push(queue::read(given, id)?),
                SIMPLE_TABLE => template.tables.push(table::read_simple(given, id)?),
                _ => template.tables.push(table::read(given, id)?),
            }
            Ok(())
        };
        match kind {
            FUNCTION | HTTP_API | MAPPING | QUEUE | SIMPLE_TABLE | TABLE => {
                let names = ["Resources", id, "Properties"];
                resolver.at(&names, || resolver.read(&resource["Properties"], read))?;
            }
            "AWS::Serverless::Api" => resolver.at(&["Resources", id], || {
                refuse!("REST APIs are not hosted: use HttpApi")
            })?,
            _ => resolver.notices.resource(kind),
        }
    }
    template.notices = resolver.notices.sentences();
    Ok(template)
}
