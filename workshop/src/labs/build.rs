//! The binaries of a lesson's variants.

use std::collections::BTreeMap;
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
    for variant in variants {
        let mut binaries = Binaries::new();
        for folder in code_folders(&lesson.template(variant))? {
            let name = binary(&folder, variant, &known);
            if !known.contains(&name) {
                let shown = labs.display();
                bail!("no crate in {shown} has the binary {name}");
            }
            binaries.insert(folder, target.join("lab").join(name));
        }
        all.push(binaries);
    }
    let mut cargo = cargo(labs, target);
    cargo.args(["build", "--quiet", "--offline", "--profile", "lab"]);
    for path in all.iter().flat_map(BTreeMap::values) {
        cargo.arg("--bin").arg(path.file_name().unwrap_or_default());
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
fn binary(folder: &str, variant: &Variant, known: &[String]) -> String {
    let Some(stem) = folder.strip_suffix(EXERCISE) else {
        return folder.to_owned(); // the same for all
    };
    let own = format!("{stem}{}", variant.binary());
    match variant {
        Variant::Cheat(_) if !known.contains(&own) => format!("{stem}solution"),
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

/// All binaries of the lessons.
async fn known(labs: &Path) -> Result<Vec<String>> {
    let mut metadata = cargo(labs, labs);
    metadata.args(["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let metadata: Value = serde_json::from_str(&output(&mut metadata).await?)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.filter_map(|it| it["targets"].as_array()).flatten();
    let binaries = targets.filter(|it| it["kind"][0] == "bin");
    let names = binaries.filter_map(|it| it["name"].as_str().map(str::to_owned));
    Ok(names.collect())
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
        let known = ["lab-06-send-cheat-lost", "lab-06-status"].map(str::to_owned);
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
