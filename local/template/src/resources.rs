//! The section `Resources`: the resources that this host runs, and those it leaves out.

use std::path::Path;

use crate::error::Mistake;
use crate::intrinsics::Resolver;
use crate::names::{EVENT_SOURCE_MAPPING, FUNCTION, HTTP_API, QUEUE, SIMPLE_TABLE, TABLE};
use crate::properties::{Notices, Reader};
use crate::yaml::Node;
use crate::{Template, api, events, function, globals, queue, table};

/// A resource that exists.
pub(crate) struct Resource<'t> {
    pub(crate) id: &'t str,
    pub(crate) kind: &'t str,
    /// As it stands in the template.
    pub(crate) whole: &'t Node,
    /// With those of `Globals`, not resolved.
    pub(crate) properties: Node,
}

/// The resources whose condition holds.
pub(crate) fn existing<'t>(
    resolver: &'t Resolver<'_>,
    notices: &'t Notices,
) -> Result<Vec<Resource<'t>>, Mistake> {
    let mut existing = Vec::new();
    for (id, node) in &resolver.resources {
        let path = id.clone();
        let kind = Reader {
            node,
            path,
            notices,
        }
        .required("Type")?;
        let placed = |mistake: Mistake| mistake.on(node.line).at(id);
        // Ids become names of files and of AWS resources.
        if id.is_empty() || id.len() > 255 || !id.chars().all(|c| c.is_ascii_alphanumeric()) {
            let message = "a logical id is 1 to 255 letters and digits";
            return Err(placed(Mistake::new(message)));
        }
        if resolver.exists(node).map_err(placed)? {
            let properties = globals::properties(resolver, kind, node);
            existing.push(Resource {
                id,
                kind,
                whole: node,
                properties,
            });
        }
    }
    Ok(existing)
}

/// Reads the resources that this host runs.
pub(crate) fn read(
    resolver: &Resolver<'_>,
    base: &Path,
    notices: &Notices,
) -> Result<Template, Mistake> {
    let mut resources = existing(resolver, notices)?;
    // A function's events refer to queues, a mapping to functions, an API to their routes.
    resources.sort_by_key(|resource| match resource.kind {
        FUNCTION => 1,
        EVENT_SOURCE_MAPPING | HTTP_API => 2,
        _ => 0,
    });
    let mut template = Template::default();
    let mut served_api = None;
    for Resource {
        id,
        kind,
        properties: unresolved,
        ..
    } in &resources
    {
        let node = resolver.resolve(unresolved);
        let path = (*id).to_owned();
        let properties = Reader {
            node: &node,
            path,
            notices,
        };
        let name = || {
            resolver
                .name(id)
                .map_err(|mistake| mistake.on(node.line).at(id))
        };
        match *kind {
            FUNCTION => {
                let mut function = function::read(&properties, name()?, base)?;
                let queues = &template.queues;
                events::read(
                    &mut function,
                    &properties,
                    resolver,
                    queues,
                    &mut served_api,
                )?;
                template.functions.push(function);
            }
            QUEUE => template
                .queues
                .push(queue::read(&properties, name()?, resolver)?),
            TABLE => template.tables.push(table::read(&properties, name()?)?),
            SIMPLE_TABLE => template
                .tables
                .push(table::read_simple(&properties, name()?)?),
            EVENT_SOURCE_MAPPING => events::read_mapping(&properties, resolver, &mut template)?,
            HTTP_API => {
                template.api = api::read(&properties, unresolved, resolver, &template.functions)?;
            }
            "AWS::Serverless::Api" => {
                let mistake = Mistake::new("REST APIs are not hosted: use HttpApi");
                return Err(mistake.on(node.line).at(&format!("{id}.Type")));
            }
            _ => notices.kind(kind),
        }
    }
    Ok(template)
}
