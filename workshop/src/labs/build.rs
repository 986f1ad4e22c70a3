//! The binaries of a lesson's variants.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use super::lesson::{Lesson, Variant};
use super::stage::place;
use crate::files::read_yaml;
use crate::program::output;
use crate::session::{BadInput, Session};

/// The end of a binary's name, and of its folder in `CodeUri`, where a variant's own takes its place.
const EXERCISE: &str = "exercise";

/// The binaries of one variant, by the last part of the `CodeUri` that each is for.
pub type Binaries = BTreeMap<String, PathBuf>;

/// Builds the functions of some variants at once. What the compiler says goes to the standard error.
///
/// # Errors
/// [`BadInput`] if they cannot be built.
pub async fn build(
    session: &Session,
    labs: &Path,
    target: &Path,
    lesson: &Lesson,
    variants: &[Variant],
) -> Result<Vec<Binaries>> {
    if !target.join("lab/deps").exists() {
        let why = "the lessons' dependencies are not built yet: run `make labs-setup` once";
        return Err(BadInput(why.to_owned()).into());
    }
    let known = known(labs).await?;
    let mut all = Vec::new();
    let mut by_crate: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for variant in variants {
        let mut binaries = Binaries::new();
        for folder in code_folders(&lesson.template(variant))? {
            let name = binary(&folder, variant, &known);
            let Some(own) = known.get(&name) else {
                let shown = labs.display();
                bail!("no crate in {shown} has the binary {name}");
            };
            binaries.insert(folder, target.join("lab").join(&name));
            // All other crates are built with one set of features, so that their dependencies are built once.
            let own = if lesson.lab.edits_manifest && own.is_of(lesson) {
                own.name.as_str()
            } else {
                ""
            };
            by_crate.entry(own).or_default().insert(name);
        }
        all.push(binaries);
    }
    for (own, names) in by_crate {
        let mut cargo = cargo(labs, target);
        cargo.args(["build", "--workspace", "--quiet", "--offline"]);
        cargo.args(["--profile", "lab"]);
        if !own.is_empty() {
            // Cargo unites the features that all crates ask of a dependency; the other variants' are left out.
            let others = known.values().filter(|it| it.name != own);
            let others = others.filter(|it| it.is_of(lesson));
            for name in others.map(|it| &it.name).collect::<BTreeSet<_>>() {
                cargo.args(["--exclude", name]);
            }
        }
        for name in names {
            cargo.args(["--bin", &name]);
        }
        let mut child = cargo
            .kill_on_drop(true)
            .spawn()
            .context("cargo cannot be started; the README says what you need")?;
        let status = session
            .or_interrupted(async { Ok(child.wait().await?) })
            .await?;
        if !status.success() {
            let names: Vec<_> = variants.iter().map(Variant::name).collect();
            let names = names.join(", ");
            return Err(BadInput(format!(
                "lesson {} ({names}) cannot be built; what the compiler says is above",
                lesson.number
            ))
            .into());
        }
    }
    // Where the template says that the code is, so that `local` and `sam deploy` take the student's.
    for (variant, binaries) in variants.iter().zip(&all) {
        if *variant == Variant::Exercise {
            for (folder, binary) in binaries {
                place(binary, &target.join("lambda").join(folder))?;
            }
        }
    }
    Ok(all)
}

/// A variant's binary for a folder of code. A cheat that has none of its own for a function shares the solution's.
fn binary(folder: &str, variant: &Variant, known: &BTreeMap<String, Crate>) -> String {
    let Some(stem) = folder.strip_suffix(EXERCISE) else {
        return folder.to_owned(); // the same for all
    };
    let own = format!("{stem}{}", variant.binary());
    match variant {
        Variant::Cheat(_) if !known.contains_key(&own) => format!("{stem}solution"),
        _ => own,
    }
}

/// The last part of each function's `CodeUri`.
fn code_folders(template: &Path) -> Result<Vec<String>> {
    let template: Value = read_yaml(template)?;
    let global = &template["Globals"]["Function"]["CodeUri"];
    let resources = template["Resources"].as_object().into_iter().flatten();
    let functions = resources.filter(|(_, it)| it["Type"] == "AWS::Serverless::Function");
    let folders = functions.filter_map(|(_, it)| {
        let uri = it["Properties"]["CodeUri"].as_str().or(global.as_str())?;
        let name = Path::new(uri).file_name()?;
        Some(name.to_string_lossy().into_owned())
    });
    Ok(folders.collect())
}

/// What a binary is built of.
#[derive(Debug)]
struct Crate {
    name: String,
    /// Below that of all lessons.
    folder: PathBuf,
}

impl Crate {
    fn is_of(&self, lesson: &Lesson) -> bool {
        self.folder.starts_with(lesson.name())
    }
}

/// All binaries of the lessons.
async fn known(labs: &Path) -> Result<BTreeMap<String, Crate>> {
    let mut metadata = cargo(labs, labs);
    metadata.args(["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&output(&mut metadata).await?)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = text(&metadata["workspace_root"]);
    let mut known = BTreeMap::new();
    for package in packages {
        let manifest = text(&package["manifest_path"]);
        let folder = Path::new(&manifest).parent();
        let folder = folder.and_then(|it| it.strip_prefix(&all).ok());
        let targets = package["targets"].as_array().into_iter().flatten();
        for target in targets.filter(|it| it["kind"][0] == "bin") {
            let own = Crate {
                name: text(&package["name"]),
                folder: folder.unwrap_or(Path::new("")).to_owned(),
            };
            known.insert(text(&target["name"]), own);
        }
    }
    Ok(known)
}

fn cargo(labs: &Path, target: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(labs).stdin(Stdio::null());
    cargo.env("CARGO_TARGET_DIR", target);
    // Of the make or the cargo that may have started this. Build scripts look at some, and would run again (ring's takes
    // half a minute).
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_others = [
            "MAKEFLAGS",
            "CARGO_MAKEFLAGS",
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
        ];
        if of_others.iter().any(|it| text.starts_with(it)) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_a_variant_is_its_own_or_the_one_for_all() {
        let known = ["lab-06-send-cheat-lost", "lab-06-status"].map(|name| {
            let own = Crate {
                name: "lab-06".to_owned(),
                folder: "06-later".into(),
            };
            (name.to_owned(), own)
        });
        let known = BTreeMap::from(known);
        let cheat = Variant::Cheat("lost".to_owned());
        for (folder, variant, expected) in [
            (
                "lab-06-send-exercise",
                &Variant::Before,
                "lab-06-send-before",
            ),
            (
                "lab-06-send-exercise",
                &Variant::Exercise,
                "lab-06-send-exercise",
            ),
            ("lab-06-send-exercise", &cheat, "lab-06-send-cheat-lost"),
            ("lab-06-work-exercise", &cheat, "lab-06-work-solution"),
            ("lab-06-status", &cheat, "lab-06-status"),
        ] {
            assert_eq!(binary(folder, variant, &known), expected);
        }
    }
}
