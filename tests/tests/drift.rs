//! Nothing drifts: the template, the description of the API and the README name the same routes, the
//! latter two the same statuses, the description has the code's bounds, the load test the limits of
//! the template, the documentation its windows, and each build its profile.
//! `load-tests/test/scenarios.test.mjs` compares the scenarios of the load test with the template,
//! `tests/template/rules.py` alarms and dashboard.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use local::template::{self, Context};
use saphyr::{LoadableYamlNode, Yaml};
use shop::domain::{
    BatchRequest, Field, Fields, Limit, Lines, PriceCents, Quantity, Stock, TotalCents, Version,
};

/// Statuses by route, such as `GET /products/{id}`.
type Statuses = BTreeMap<String, BTreeSet<u16>>;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn yaml(name: &str) -> Yaml<'static> {
    let text = fs::read_to_string(file(name)).unwrap().leak();
    Yaml::load_from_str(text).unwrap().remove(0)
}

fn openapi() -> Yaml<'static> {
    yaml("openapi.yaml")
}

/// The value at a JSON pointer.
fn at<'a>(yaml: &'a Yaml<'static>, pointer: &str) -> &'a Yaml<'static> {
    let names = pointer.split('/').skip(1);
    names.fold(yaml, |yaml, name| {
        let name = name.replace("~1", "/");
        let value = yaml.as_mapping_get(&name);
        value.unwrap_or_else(|| panic!("{pointer}: there is no {name}"))
    })
}

fn entries<'a>(
    yaml: &'a Yaml<'static>,
) -> impl Iterator<Item = (&'a str, &'a Yaml<'static>)> + use<'a> {
    let map = yaml.as_mapping().unwrap();
    map.iter()
        .map(|(key, value)| (key.as_str().unwrap(), value))
}

/// Every operation of openapi.yaml, by its route.
fn operations(openapi: &Yaml<'static>) -> BTreeMap<String, Yaml<'static>> {
    let paths = entries(at(openapi, "/paths"));
    let operations = paths.flat_map(|(path, item)| {
        let methods = entries(item).filter(|(name, _)| *name != "parameters");
        methods.map(move |(method, it)| (format!("{} {path}", method.to_uppercase()), it.clone()))
    });
    operations.collect()
}

/// The statuses that a function gives. Those that API Gateway alone gives have no problem+json.
fn statuses_of_functions(openapi: &Yaml<'static>) -> Statuses {
    let is_of_function = |status: u16, response: &Yaml<'static>| {
        let response = match response.as_mapping_get("$ref") {
            Some(reference) => at(openapi, reference.as_str().unwrap().trim_start_matches('#')),
            None => response,
        };
        let content = response.as_mapping_get("content");
        status < 400
            || content.is_some_and(|it| it.contains_mapping_key("application/problem+json"))
    };
    let operations = operations(openapi).into_iter().map(|(route, operation)| {
        let responses = entries(at(&operation, "/responses"));
        let statuses = responses
            .map(|(status, response)| (status.parse().unwrap(), response))
            .filter(|(status, response)| is_of_function(*status, response))
            .map(|(status, _)| status);
        (route, statuses.collect())
    });
    operations.collect()
}

/// The statuses of the table in the README's section on the API, with those that it says any route may answer.
fn statuses_of_readme() -> Statuses {
    let readme = fs::read_to_string(file("README.md")).unwrap();
    let (_, api) = readme.split_once("\n## The API\n").unwrap();
    let api = api.split("\n## ").next().unwrap();
    let statuses = |text: &str| -> BTreeSet<u16> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words.filter_map(|word| word.parse().ok()).collect()
    };
    let (_, of_any) = api.split_once("Any of them answers").unwrap();
    let of_any = statuses(of_any.split("\n\n").next().unwrap());
    assert!(!of_any.is_empty());
    let rows = api.lines().filter_map(|line| {
        let (route, statuses_of_route) = line.strip_prefix("| `")?.split_once("` |")?;
        let route = route.split('?').next()?.to_owned();
        let known = ["GET ", "PUT ", "POST ", "PATCH ", "DELETE "];
        let is_route = known.iter().any(|method| route.starts_with(method));
        is_route.then(|| (route, &statuses(statuses_of_route) | &of_any))
    });
    rows.collect()
}

fn nowhere() -> Context {
    Context {
        aws_endpoint_url: String::new(),
        api_url: String::new(),
        stack_name: "local".to_owned(),
        region: "us-east-1".to_owned(),
        account: "000000000000".to_owned(),
    }
}

fn functions_of_template() -> Vec<template::Function> {
    let open = BTreeMap::from([("CatalogueWrites".to_owned(), "open".to_owned())]);
    let template = template::load(&file("template.yaml"), &open, &nowhere()).unwrap();
    template.functions
}

/// A number of the template's service level objectives, such as `Latency/P99Milliseconds`.
fn slo(name: &str) -> f64 {
    let template = template::to_json(&file("template.yaml"), &BTreeMap::new(), &nowhere());
    let template = template.unwrap();
    let value = template.pointer(&format!("/Mappings/Slo/{name}"));
    value.unwrap().as_str().unwrap().parse().unwrap()
}

/// The functions of template.yaml by the route that they answer.
fn routes_of_template() -> BTreeMap<String, String> {
    let functions = functions_of_template().into_iter();
    let routes = functions.flat_map(|function| {
        let routes = function.routes.into_iter();
        routes.map(move |route| {
            let method = route.method.unwrap();
            (
                format!("{method} {}", route.path),
                function.logical_id.clone(),
            )
        })
    });
    routes.collect()
}

/// The settings of a profile of a Cargo.toml, without those that it inherits.
fn profile(manifest: &str, name: &str) -> BTreeMap<String, String> {
    let manifest = fs::read_to_string(file(manifest)).unwrap();
    let (_, rest) = manifest
        .split_once(&format!("\n[profile.{name}]\n"))
        .unwrap();
    let lines = rest.lines().take_while(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with('#'));
    let settings = lines.map(|line| {
        let (key, value) = line.split_once(" = ").unwrap();
        let (value, _) = value.split_once(" #").unwrap_or((value, ""));
        (key.to_owned(), value.to_owned())
    });
    settings.collect()
}

#[test]
fn each_operation_of_the_description_is_the_function_of_its_route() {
    let operations = operations(&openapi())
        .into_iter()
        .map(|(route, operation)| {
            let id = at(&operation, "/operationId").as_str().unwrap().to_owned();
            (route, id)
        });

    assert_eq!(operations.collect::<BTreeMap<_, _>>(), routes_of_template());
}

#[test]
fn the_readme_and_the_description_name_the_same_routes_and_statuses() {
    let described = statuses_of_functions(&openapi());

    assert_eq!(described.len(), routes_of_template().len());
    assert_eq!(statuses_of_readme(), described);
}

#[test]
fn the_description_has_the_bounds_of_the_code() {
    let openapi = openapi();
    let number = |pointer: &str| at(&openapi, pointer).as_integer().unwrap() as u64;
    let bounds = |pointer: &str| {
        (
            number(&format!("{pointer}/minimum")),
            number(&format!("{pointer}/maximum")),
        )
    };
    let schemas = "/components/schemas";

    for (schema, min, max) in [
        ("Cents", PriceCents::MIN, PriceCents::MAX),
        ("Cents", TotalCents::MIN, TotalCents::MAX),
        ("Stock", Stock::MIN, Stock::MAX),
        ("Quantity", Quantity::MIN, Quantity::MAX),
        ("ProductPart/properties/version", Version::MIN, Version::MAX),
    ] {
        assert_eq!(
            bounds(&format!("{schemas}/{schema}")),
            (min, max),
            "{schema}"
        );
    }
    let parameters = at(&openapi, "/paths/~1products/get/parameters")
        .as_vec()
        .unwrap();
    let limit = parameters
        .iter()
        .find(|it| it.contains_mapping_key("name") && it["name"].as_str() == Some("limit"));
    let limit = at(limit.unwrap(), "/schema");
    let limit =
        ["minimum", "maximum", "default"].map(|name| limit[name].as_integer().unwrap() as u64);
    assert_eq!(limit, [Limit::MIN, Limit::MAX, Limit::default().get()]);
    let lines = format!("{schemas}/NewOrder/properties/lines/maxItems");
    assert_eq!(number(&lines), Lines::MAX as u64);
    let ids = "/paths/~1products~1batch-get/post/requestBody/content/application~1json/schema/properties/ids/maxItems";
    assert_eq!(number(ids), BatchRequest::MAX_IDS as u64);
    let names = at(&openapi, &format!("{schemas}/FieldNames/items/enum"))
        .as_vec()
        .unwrap();
    let names: Vec<_> = names.iter().map(|name| name.as_str().unwrap()).collect();
    let fields: Vec<_> = Fields::all().iter().map(Field::name).collect();
    assert_eq!(names, fields);
}

#[test]
fn the_load_test_has_the_limits_of_the_template() {
    let load_test = yaml("load-tests/artillery.yml");
    let thresholds = at(&load_test, "/config/plugins/ensure/thresholds");
    let thresholds: BTreeMap<&str, i64> = thresholds
        .as_vec()
        .unwrap()
        .iter()
        .flat_map(entries)
        .map(|(metric, limit)| (metric, limit.as_integer().unwrap()))
        .collect();
    let latency = slo("Latency/P99Milliseconds") as i64;

    assert_eq!(at(&load_test, "/slo_ms").as_integer(), Some(latency));
    assert_eq!(
        thresholds["orders.placed_to_final.p99"],
        slo("Orders/PlacedToFinalP99Milliseconds") as i64
    );
    // All routes together, and each by itself.
    let routes = routes_of_template();
    let prefixes = routes.keys().map(|route| format!("{route}."));
    for prefix in prefixes.chain([String::new()]) {
        for percentile in ["p95", "p99"] {
            let metric = format!("http.response_time.2xx.{prefix}{percentile}");
            assert_eq!(thresholds.get(&*metric), Some(&latency), "{metric}");
        }
    }
}

#[test]
fn the_documentation_has_the_windows_of_the_template() {
    let docs = fs::read_to_string(file("docs/aws.md")).unwrap();
    // `1 h` and `5 min` in seconds, `2 days` in days.
    let number = |cell: &str| -> f64 {
        let (number, unit) = cell.split_once(' ').unwrap_or((cell, ""));
        let scale = match unit {
            "h" => 3600.0,
            "min" => 60.0,
            "" | "days" => 1.0,
            other => panic!("{other}"),
        };
        number.parse::<f64>().unwrap() * scale
    };
    for (row, pair) in [("fast", "FastBurn"), ("slow", "SlowBurn")] {
        let line = docs
            .lines()
            .find(|it| it.starts_with(&format!("| {row} |")));
        let cells = line.unwrap().trim_matches('|').split('|').skip(1);
        let cells: Vec<_> = cells.map(|cell| number(cell.trim())).collect();

        let rate = slo(&format!("{pair}/Rate"));
        let windows = ["Long", "Short"].map(|it| slo(&format!("{pair}/{it}WindowSeconds")));
        // A rate of 1 spends the budget in 30 days.
        let days = (30.0 / rate).round();
        assert_eq!(cells, [rate, windows[0], windows[1], days], "{row}");
    }
    let least = format!("with at least {} ", slo("Samples/Least"));
    assert_eq!(docs.matches(&least).count(), 2, "{least}");
}

#[test]
fn the_benchmarks_peers_are_built_as_the_functions() {
    let both = |name| {
        let [ours, theirs] = ["Cargo.toml", "benchmarks/Cargo.toml"].map(|it| profile(it, name));
        (ours, theirs)
    };
    let (ours, theirs) = both("release");
    assert_eq!(ours, theirs);
    let (ours, theirs) = both("release.package");
    assert_eq!(ours["ring.opt-level"], theirs["ring.opt-level"]);
}

#[test]
fn the_readme_s_lessons_lead_to_functions_that_exist() {
    let readme = fs::read_to_string(file("README.md")).unwrap();
    let (_, lessons) = readme.split_once("| lesson | where |\n").unwrap();
    let lessons = lessons.split("\n\n").next().unwrap();

    let (mut functions, mut files) = (0, 0);
    for link in lessons.split('[').skip(1) {
        let (text, rest) = link.split_once("](").unwrap();
        let path = file(rest.split(')').next().unwrap());
        assert!(path.exists(), "{}", path.display());
        files += 1;
        if let Some(name) = text.strip_prefix('`').and_then(|it| it.strip_suffix('`')) {
            let name = name.rsplit("::").next().unwrap();
            let source = fs::read_to_string(&path).unwrap();
            let defined =
                source.contains(&format!("fn {name}(")) || source.contains(&format!("fn {name}<"));
            assert!(defined, "{name} in {}", path.display());
            functions += 1;
        }
    }
    assert!(functions >= 15 && files >= 20, "{functions}, {files}");
}
