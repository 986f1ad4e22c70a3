//! What the project links: the licences, sources and bans of deny.toml, which `make deny` checks more
//! closely, and one build for `make run` and the tests.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What cargo prints about this project; it does not use the network.
fn cargo(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    let output = command
        .args(args)
        .args(["--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn deny() -> toml::Table {
    fs::read_to_string(root().join("deny.toml"))
        .unwrap()
        .parse()
        .unwrap()
}

fn texts(list: &toml::Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter().map(|text| text.as_str().unwrap()).collect()
}

/// The crates that some platform of deny.toml links, those of build scripts and tests included.
fn packages() -> BTreeMap<String, Value> {
    let deny = deny();
    let mut packages = BTreeMap::new();
    for target in texts(&deny["graph"]["targets"]) {
        let output = cargo(&[
            "metadata",
            "--format-version=1",
            "--filter-platform",
            target,
        ]);
        let metadata: Value = serde_json::from_str(&output).unwrap();
        let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
        let linked: BTreeSet<_> = nodes
            .iter()
            .map(|node| node["id"].as_str().unwrap())
            .collect();
        for package in metadata["packages"].as_array().unwrap() {
            let id = package["id"].as_str().unwrap();
            if linked.contains(id) {
                packages.insert(id.to_owned(), package.clone());
            }
        }
    }
    assert!(packages.len() > 200, "{}", packages.len());
    packages
}

#[test]
fn every_crate_has_a_licence_of_deny_toml_and_comes_from_the_registry() {
    let deny = deny();
    let allowed = texts(&deny["licenses"]["allow"]);
    for package in packages().values() {
        let name = &package["name"];
        let Some(source) = package["source"].as_str() else {
            let publish = package["publish"].as_array();
            assert!(publish.is_some_and(Vec::is_empty), "{name} is not private");
            continue;
        };
        assert_eq!(
            source, "registry+https://github.com/rust-lang/crates.io-index",
            "{name}"
        );
        let licence = package["license"].as_str().unwrap_or("");
        let expression = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX);
        let expression = expression.unwrap_or_else(|error| panic!("{name}: {licence}: {error}"));
        let fits = expression.evaluate(|required| {
            let id = required.license.id();
            id.is_some_and(|id| allowed.contains(&id.name))
        });
        assert!(fits, "{name} has the licence {licence}");
    }
}

#[test]
fn no_crate_that_deny_toml_bans_is_linked_and_every_version_is_pinned() {
    let deny = deny();
    let banned = deny["bans"]["deny"].as_array().unwrap();
    let banned: Vec<_> = banned.iter().map(|ban| ban["crate"].as_str()).collect();
    assert!(banned.contains(&Some("aws-lc-rs")), "{banned:?}");
    for package in packages().values() {
        let name = package["name"].as_str();
        assert!(!banned.contains(&name), "{name:?} is linked");
        if package["source"].is_null() {
            for dependency in package["dependencies"].as_array().unwrap() {
                let is_pinned = dependency["req"] != "*" || !dependency["path"].is_null();
                assert!(is_pinned, "{name:?} takes any {}", dependency["name"]);
            }
        }
    }
}

/// Each crate with the features it is built with, the project's own left out.
fn features(edges: &str) -> BTreeSet<String> {
    let tree = cargo(&[
        "tree",
        "--workspace",
        "--prefix=none",
        "--no-dedupe",
        "--format={p} [{f}]",
        "--edges",
        edges,
    ]);
    let lines = tree.lines().filter(|line| !line.contains(" (/"));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_tests_build_each_crate_with_the_features_that_make_run_has() {
    let name = |line: &str| line.split(" [").next().unwrap().to_owned();
    let run = features("normal,build");
    let names: BTreeSet<_> = run.iter().map(|line| name(line)).collect();

    let tests = features("normal,build,dev").into_iter();
    let twice: Vec<_> = tests
        .filter(|line| names.contains(&name(line)) && !run.contains(line))
        .collect();

    assert!(
        twice.is_empty(),
        "tests/Cargo.toml says what to do: {twice:#?}"
    );
}
