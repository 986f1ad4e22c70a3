//! The modules of the library are what `lib.rs` says: all are listed, and none uses one above it.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders and files at the top, from top to bottom. Each may use those after it.
const LAYERS: [&str; 9] = [
    "http",
    "use_cases",
    "dynamodb",
    "sqs",
    "aws",
    "telemetry",
    "cold_start",
    "time",
    "domain",
];

/// Crates of the SDK and of HTTP.
const ADAPTERS: [&str; 8] = [
    "aws_",
    "http::",
    "hyper",
    "lambda_http",
    "rustls",
    "tokio",
    "tracing",
    "webpki",
];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The source of every module by its path, such as `domain/product`, without comments and unit tests.
fn modules() -> Vec<(String, String)> {
    let mut modules = Vec::new();
    let mut folders = vec![src()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let name = path.strip_prefix(src()).unwrap().with_extension("");
                let source = fs::read_to_string(&path).unwrap();
                let source = source.split("mod tests {").next().unwrap().lines();
                let code: Vec<_> = source
                    .filter(|line| !line.trim().starts_with("//"))
                    .collect();
                modules.push((name.to_str().unwrap().to_owned(), code.join("\n")));
            }
        }
    }
    modules.retain(|(name, _)| name != "lib" && name != "cold_start/tls/tests");
    assert!(modules.len() > 30, "{modules:?}");
    modules
}

fn layer(name: &str) -> usize {
    let top = name.split('/').next().unwrap();
    let layer = LAYERS.iter().position(|it| *it == top);
    layer.unwrap_or_else(|| panic!("{name} is in no layer"))
}

/// The layers that `source` names after `crate::`.
fn used(source: &str) -> BTreeSet<usize> {
    let names = source.split("crate::").skip(1);
    names
        .map(|rest| {
            layer(
                rest.split(|it: char| it != '_' && !it.is_alphanumeric())
                    .next()
                    .unwrap(),
            )
        })
        .collect()
}

#[test]
fn no_module_uses_one_above_it() {
    let mut arrows = 0;
    for (name, source) in modules() {
        for used in used(&source) {
            assert!(layer(&name) <= used, "{name} uses {}", LAYERS[used]);
            arrows += 1;
        }
    }
    assert!(arrows > 20, "{arrows}");
}

#[test]
fn the_domain_knows_neither_aws_nor_http() {
    let domain = modules().into_iter();
    for (name, source) in domain.filter(|(name, _)| name.starts_with("domain/")) {
        for line in source.lines().map(str::trim) {
            let line = line.strip_prefix("use ").unwrap_or(line);
            for adapter in ADAPTERS {
                assert!(!line.starts_with(adapter), "{name}: {line}");
            }
        }
    }
}

#[test]
fn every_module_is_listed() {
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let table: Vec<_> = lib.lines().filter(|it| it.starts_with("//! | ")).collect();
    let listed: BTreeSet<&str> = table
        .iter()
        .flat_map(|row| row.split('|').nth(1).unwrap().split(", "))
        .map(|name| {
            name.rsplit("::")
                .next()
                .unwrap()
                .trim_matches(['*', '[', ']', '`', ' '])
        })
        .collect();

    for (name, _) in modules() {
        let name = name.trim_end_matches("/mod").rsplit('/').next().unwrap();
        let is_of_tls = ["crypto", "trust"].contains(&name); // in the row of their folder
        assert!(is_of_tls || listed.contains(name), "{name}");
    }
}
