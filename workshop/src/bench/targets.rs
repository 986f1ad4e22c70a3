//! The request for each function, the template that runs them all, and the targets that the results have to reach.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Results;
use super::peers::{Made, Peer, Roots};
use super::row::Row;
use crate::files::{read_json, read_yaml};
use crate::gates::{Gate, gates};
use crate::host::Host;
use crate::percentile::worst;

/// A function that is measured, and the request that runs it.
#[derive(Debug, Clone)]
pub struct Target {
    pub peer: Peer,
    /// Its function in the template.
    pub function_id: String,
    pub request: Request,
    /// The product that every answer has to be.
    pub expected: Option<Map<String, Value>>,
}

/// The file `benchmarks/requests.yml`, which describes its parts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// By the name of the function's folder.
    pub shop: BTreeMap<String, Request>,
    pub aws: Vec<AwsCall>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    pub body: Option<Value>,
    pub drains: bool,
    pub behind_queue: bool,
}

impl Request {
    /// Makes it, and returns the text of the answer.
    pub async fn send(&self, host: &Host) -> Result<String> {
        let url = format!("{}{}", host.ready.api_url, self.path);
        let method: Method = self.method.parse()?;
        host.request(method, &url, self.body.as_ref()).await
    }
}

/// A call to AWS of a function on the warm path.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsCall {
    /// The function.
    pub of: String,
    /// The header `x-amz-target`.
    pub operation: String,
    /// With `{endpoint}` in the place of the endpoint's address.
    pub body: Value,
}

impl Requests {
    pub fn read(root: &Path) -> Result<Self> {
        read_yaml(&root.join("benchmarks/requests.yml"))
    }
}

/// The product that every peer reads, in its stored form, of an ordinary size for the catalogue.
pub fn product(root: &Path) -> Result<Map<String, Value>> {
    read_json(&root.join("benchmarks/product.json"))
}

/// `get-product` is `GetProduct`.
pub fn logical_id(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_uppercase() + rest
    });
    words.collect()
}

/// A peer with a route of its own.
pub fn of_peer(root: &Path, peer: Peer) -> Result<Target> {
    let product = product(root)?;
    let id = product["id"].as_str().unwrap_or_default();
    let request = Request {
        method: "GET".to_owned(),
        path: format!("/{}/products/{id}", peer.name),
        ..Request::default()
    };
    let function_id = format!("Peer{}", logical_id(&peer.name));
    Ok(Target {
        peer,
        function_id,
        request,
        expected: Some(product),
    })
}

fn functions(template: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    let resources = template["Resources"].as_object_mut().into_iter().flatten();
    resources.filter(|(_, resource)| resource["Type"] == "AWS::Serverless::Function")
}

/// The shop's functions in the template's order.
pub fn shop(root: &Path, template: &mut Value, requests: &Requests) -> Result<Vec<Target>> {
    let targets = functions(template).map(|(id, function)| {
        let code = function["Properties"]["CodeUri"].as_str();
        let code = Path::new(code.unwrap_or_default());
        let name = code.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let request = requests.shop.get(&name);
        let request = request.with_context(|| format!("requests.yml has none for {name}"))?;
        Ok(Target {
            function_id: id.clone(),
            request: request.clone(),
            expected: (name == "get-product").then(|| product(root)).transpose()?,
            peer: Peer {
                name,
                note: "roots as on AWS: Amazon's".to_owned(),
                made: Made::Shop(code.join("bootstrap")),
                roots: Roots::Amazon,
            },
        })
    });
    targets.collect()
}

/// The template of the shop, run from copies of its programs, with each peer as one more function that has a route of its
/// own on the same table.
pub fn with_peers(mut template: Value, root: &Path, shop: &[Target], peers: &[Target]) -> Value {
    for (id, function) in functions(&mut template) {
        let properties = &mut function["Properties"];
        let code = root.join(properties["CodeUri"].as_str().unwrap_or_default());
        properties["CodeUri"] = json!(code);
        if let Some(Target { peer, .. }) = shop.iter().find(|target| target.function_id == *id) {
            properties["CodeUri"] = json!(peer.code_dir(root));
            for (name, value) in peer.environment(root) {
                properties["Environment"]["Variables"][name] = json!(value);
            }
        }
    }
    for Target {
        peer,
        function_id,
        request,
        ..
    } in peers
    {
        let mut variables = json!({"PRODUCTS_TABLE": {"Ref": "ProductsTable"}});
        for (name, value) in peer.environment(root) {
            variables[name] = json!(value);
        }
        let path = request.path.rsplit_once('/');
        let path = path.map(|(folder, _)| format!("{folder}/{{id}}"));
        let event = json!({"ApiId": {"Ref": "Api"}, "Method": "GET", "Path": path});
        template["Resources"][function_id] = json!({
            "Type": "AWS::Serverless::Function",
            "Properties": {
                "CodeUri": peer.code_dir(root),
                "Environment": {"Variables": variables},
                "Events": {"Http": {"Type": "HttpApi", "Properties": event}}
            }
        });
    }
    template
}

/// The project's targets. A value that was not measured does not reach its target.
pub fn targets(results: &Results) -> Vec<Gate> {
    const MB: f64 = 1_000_000.0; // the usual unit of the size of a zip
    let (functions, host) = (&results.functions, results.host.as_ref());
    let all = || functions.iter().chain(&results.peers);
    let row = |name: &str| all().find(|row| row.name == name);
    let cold = |name| Some(row(name)?.cold_cpu_ms.p50);
    let first = |name| Some(row(name)?.first_cpu_ms.p50);
    let warm = |name| Some(row(name)?.warm_cpu_ms.p50);
    let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
    let zip = |row: &Row| row.zip_bytes as f64 / MB;
    let calls = |name| {
        let operations = row(name)?.warm_calls.values();
        Some(operations.map(|it| it.calls).sum::<u64>() as f64)
    };
    let without_sqs = functions.iter().filter(|row| row.name != "place-order");
    let memory: Vec<_> = functions.iter().map(|row| row.peak_memory_mb).collect();
    gates! {
        "cold CPU of get-product / floor, as on AWS": ratio(cold("get-product"), cold("floor")), <= 1.9;
        "cold CPU of sdk-defaults / get-product": ratio(cold("sdk-defaults"), cold("get-product")), >= 10;
        "cold CPU of python / get-product": ratio(cold("python"), cold("get-product")), >= 80;
        "first / warm CPU of get-product": ratio(first("get-product"), warm("get-product")), <= 1.2;
        "warm CPU of get-product / floor": ratio(warm("get-product"), warm("floor")), <= 4;
        "zip of get-product, MB": row("get-product").map(zip), <= 1.6;
        "largest zip of a function without SQS, MB": worst(&without_sqs.map(zip).collect::<Vec<_>>()), <= 1.7;
        "zip of place-order, MB": row("place-order").map(zip), <= 2;
        "peak memory of any function, MB": worst(&memory), <= 8;
        "AWS calls of get-product": calls("get-product"), == 1;
        "AWS calls of place-order": calls("place-order"), == 3;
        "AWS calls of process-orders for one order": calls("process-orders"), == 1;
        "host: added at p50, 1 connection, ms": host.map(|host| host.p50_ms), <= 0.3;
        "host: added at p99, 1 connection, ms": host.map(|host| host.p99_ms), <= 2;
        // No request should wait for more than one cold start; a tenth more is for HTTP on both sides.
        "host: longest wait / slowest cold start": results.scaling.as_ref().map(|it| it.wait_in_cold_starts.p50), <= 1.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peers::Peers;

    #[test]
    fn every_function_of_the_template_has_a_request_and_every_peer_a_route_of_its_own() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let requests = Requests::read(&root).unwrap();
        let mut template: Value = read_yaml(&root.join("template.yaml")).unwrap();
        let shop = shop(&root, &mut template, &requests).unwrap();
        assert_eq!(shop.len(), 8);
        assert_eq!(requests.shop.len(), 8);
        assert!(
            shop.iter()
                .all(|target| target.request.method.parse::<Method>().is_ok())
        );
        assert!(
            requests
                .aws
                .iter()
                .all(|call| requests.shop.contains_key(&call.of))
        );

        let peers = Peers::read(&root).unwrap().peers.into_iter();
        let peers: Vec<_> = peers.map(|peer| of_peer(&root, peer).unwrap()).collect();
        let whole = with_peers(template, &root, &shop, &peers);
        let get = &whole["Resources"]["GetProduct"]["Properties"];
        assert_eq!(
            get["CodeUri"],
            json!(root.join("target/bench/code/get-product"))
        );
        let variables = &get["Environment"]["Variables"];
        assert_eq!(variables["SSL_CERT_FILE"], "");
        assert_eq!(variables["PRODUCTS_TABLE"], json!({"Ref": "ProductsTable"}));
        let floor = &whole["Resources"]["PeerFloor"]["Properties"]["Events"]["Http"]["Properties"];
        assert_eq!(floor["Path"], "/floor/products/{id}");
        assert!(whole["Resources"]["PeerSdkDefaults"].is_object());
    }

    #[test]
    fn what_was_not_measured_reaches_no_target() {
        let gates = targets(&Results::default());
        assert_eq!(gates.len(), 15);
        assert!(gates.iter().all(|gate| !gate.pass && gate.value.is_none()));
    }
}
