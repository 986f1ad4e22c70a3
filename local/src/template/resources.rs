//! The section `Resources`: the resources that this host runs, and those it leaves out.

use std::path::Path;

use super::error::{Fault, refuse};
use super::intrinsics::Resolver;
use super::model::Template;
use super::names::{EVENT_SOURCE_MAPPING, FUNCTION, HTTP_API, QUEUE, SIMPLE_TABLE, TABLE};
use super::object::{Object, refusal};
use super::{api, events, function, globals, queue, table};

/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>
const MAX_RESOURCES: usize = 500;

/// Reads all resources whose condition holds.
pub(super) fn read(resolver: &Resolver<'_>, base: &Path) -> Result<Template, Fault> {
    if resolver.resources.len() > MAX_RESOURCES {
        refuse!("more than {MAX_RESOURCES} resources");
    }
    let mut resources = Vec::new();
    for (id, node) in &resolver.resources {
        let resource = Object::of(resolver, "", id, node)?;
        // Ids become names of files and of AWS resources.
        if id.is_empty() || id.len() > 255 || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(resource.wrong("a logical id is 1 to 255 letters and digits"));
        }
        let kind = resource.required_text("Type")?;
        if resolver.exists(node).map_err(|fault| fault.within(id))? {
            if let Some(reason) = refusal(&kind, "Type") {
                return Err(resource.fault("Type", reason));
            }
            resources.push((id, node, kind));
        }
    }
    // A function's events refer to queues, a mapping to functions, an API to their routes.
    resources.sort_by_key(|(_, _, kind)| match kind.as_str() {
        FUNCTION => 1,
        EVENT_SOURCE_MAPPING | HTTP_API => 2,
        _ => 0,
    });
    let mut template = Template::default();
    let mut served_api = None;
    for (id, node, kind) in &resources {
        let properties = globals::properties(resolver, kind, node)?;
        let properties = Object::of(resolver, kind, id.as_str(), &properties)?;
        match kind.as_str() {
            FUNCTION => {
                let mut function = function::read(&properties, base)?;
                let queues = &template.queues;
                events::read(&mut function, &properties, queues, &mut served_api)?;
                template.functions.push(function);
            }
            QUEUE => template.queues.push(queue::read(&properties)?),
            TABLE => template.tables.push(table::read(&properties)?),
            SIMPLE_TABLE => template.tables.push(table::read_simple(&properties)?),
            EVENT_SOURCE_MAPPING => {
                events::read_mapping(&properties, &mut template)?;
                continue;
            }
            HTTP_API => api::check(&properties, &template.functions)?,
            _ => {
                resolver.notice_kind(kind);
                continue;
            }
        }
        properties.finish()?;
    }
    Ok(template)
}
