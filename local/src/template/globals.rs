//! `Globals`: properties that every function, API or table of the template starts from.
//! <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-template-anatomy-globals.html>

use serde_json::{Map, Value};

use super::error::{Fault, Place};
use super::intrinsics::function_call;
use super::object::Object;

/// Properties of functions that SAM does not take from `Globals`.
const OWN_ONLY: [&str; 10] = [
    "AutoPublishCodeSha256",
    "Events",
    "FunctionName",
    "ImageConfig",
    "ImageUri",
    "InlineCode",
    "PackageType",
    "Policies",
    "Role",
    "VersionDescription",
];

/// The resource type that a section of `Globals` stands for, where this host runs that type.
fn resource_type(section: &str) -> Option<&'static str> {
    match section {
        "Function" => Some("AWS::Serverless::Function"),
        "HttpApi" => Some("AWS::Serverless::HttpApi"),
        "SimpleTable" => Some("AWS::Serverless::SimpleTable"),
        _ => None,
    }
}

/// Merges `Globals` into the resources, before intrinsic functions are resolved, as SAM does.
pub(super) fn merge(
    globals: Option<&Value>,
    resources: &mut Map<String, Value>,
) -> Result<(), Fault> {
    let Some(globals) = globals else {
        return Ok(());
    };
    let globals = Object::of(globals, Place::root("Globals"))?;
    globals.only(&[
        "Function",
        "HttpApi",
        "SimpleTable",
        // Of types that are not hosted.
        "Api",
        "StateMachine",
        "LayerVersion",
        "WebSocketApi",
        "CapacityProvider",
        "MicroVMImage",
        "NetworkConnector",
    ])?;
    for (section, shared) in globals.entries() {
        let shared = Object::of(shared, globals.place().child(section.as_str()))?;
        let Some(wanted) = resource_type(section) else {
            continue;
        };
        if section == "Function"
            && let Some(name) = OWN_ONLY.iter().find(|name| shared.get(name).is_some())
        {
            return Err(shared.fault(name, "each function has its own; SAM refuses it here"));
        }
        for resource in resources.values_mut().filter_map(Value::as_object_mut) {
            if resource.get("Type").and_then(Value::as_str) != Some(wanted) {
                continue;
            }
            // <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-template-anatomy-globals.html#sam-specification-template-anatomy-globals-ignore>
            let ignored = resource.remove("IgnoreGlobals");
            let is_ignored = |name: &str| match &ignored {
                Some(Value::String(all)) => all == "*",
                Some(Value::Array(names)) => names.iter().any(|ignored| ignored == name),
                _ => false,
            };
            let own = resource
                .entry("Properties")
                .or_insert_with(|| Value::Object(Map::new()));
            if own.is_null() {
                *own = Value::Object(Map::new());
            }
            if let Some(own) = own.as_object_mut() {
                for (name, value) in shared.entries().filter(|(name, _)| !is_ignored(name)) {
                    merge_property(own, name, value);
                }
            }
        }
    }
    Ok(())
}

/// Where a property stands that a resource has from `Globals` alone.
pub(super) fn origin(root: &Value, path: &[String]) -> Option<Vec<String>> {
    let at = |path: &[String]| path.iter().try_fold(root, |value, name| value.get(name));
    let [resources, id, properties, property @ ..] = path else {
        return None;
    };
    if resources != "Resources" || properties != "Properties" || at(path).is_some() {
        return None;
    }
    let kind = root["Resources"].get(id)?.get("Type")?.as_str()?;
    let section = root
        .get("Globals")?
        .as_object()?
        .keys()
        .find(|name| resource_type(name) == Some(kind))?;
    let shared = ["Globals".to_owned(), section.clone()];
    let origin: Vec<String> = shared.into_iter().chain(property.iter().cloned()).collect();
    at(&origin).map(|_| origin)
}

/// Maps are merged key by key, lists are joined with the global items first, and of anything else
/// the resource's own value stays.
fn merge_property(own: &mut Map<String, Value>, name: &str, shared: &Value) {
    let Some(value) = own.get_mut(name) else {
        own.insert(name.to_owned(), shared.clone());
        return;
    };
    match (value, shared) {
        (Value::Object(own), Value::Object(shared))
            if function_call(own).is_none() && function_call(shared).is_none() =>
        {
            for (name, value) in shared {
                merge_property(own, name, value);
            }
        }
        (Value::Array(own), Value::Array(shared)) => {
            own.splice(0..0, shared.iter().cloned());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn maps_and_lists_are_merged_and_other_values_are_the_resources_own() {
        let globals = json!({"Function": {
            "Timeout": 10,
            "MemorySize": 128,
            "Environment": {"Variables": {"A": "global", "B": "global"}},
            "Layers": ["one"],
            "Tracing": {"Ref": "Mode"},
        }});
        let mut resources = json!({
            "F": {"Type": "AWS::Serverless::Function", "Properties": {
                "Timeout": 20,
                "Environment": {"Variables": {"B": "own", "C": "own"}},
                "Layers": ["two"],
                "Tracing": {"Mode": "x"},
            }},
            "G": {"Type": "AWS::Serverless::Function"},
            "H": {"Type": "AWS::Serverless::Function", "IgnoreGlobals": ["Timeout", "Layers",
                "Environment", "Tracing"]},
            "Q": {"Type": "AWS::SQS::Queue"},
        });
        merge(Some(&globals), resources.as_object_mut().expect("a map")).expect("it merges");
        assert_eq!(
            resources["F"]["Properties"],
            json!({
                "Timeout": 20,
                "MemorySize": 128,
                "Environment": {"Variables": {"A": "global", "B": "own", "C": "own"}},
                "Layers": ["one", "two"],
                "Tracing": {"Mode": "x"},
            })
        );
        assert_eq!(resources["G"]["Properties"], globals["Function"]);
        assert_eq!(resources["H"]["Properties"], json!({"MemorySize": 128}));
        assert_eq!(resources["Q"], json!({"Type": "AWS::SQS::Queue"}));
    }
}
