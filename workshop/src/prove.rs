//! `workshop prove-gates`: functions with one usual mistake each. A gate that was made for the mistake has to fail.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use fs_err as fs;
use serde_json::Value;

use crate::files::read_json;
use crate::load_test;
use crate::session::Session;
use crate::table::{row, table};

/// A usual mistake.
struct Mistake {
    name: &'static str,
    /// The folder of the function that is replaced.
    function: &'static str,
    /// The program that takes its place.
    program: &'static str,
    parameters: &'static str,
    /// How the name of the gate begins that has to fail.
    gate: &'static str,
}

const MISTAKES: [Mistake; 4] = [
    Mistake {
        name: "the SDK's defaults, at 128 MB",
        function: "get-product",
        program: "target/bench/cargo/release/sdk-defaults",
        parameters: "ApiMemorySize=128",
        gate: "cold start of GetProduct: p50",
    },
    Mistake {
        name: "a client built in the handler",
        function: "get-product",
        program: "target/release/clients-in-handler",
        parameters: "",
        gate: "connections to AWS beyond those needed",
    },
    Mistake {
        name: "one GetItem for each product of a batch",
        function: "batch-get-products",
        program: "target/release/one-get-each",
        parameters: "",
        gate: "calls to AWS beyond those needed",
    },
    Mistake {
        name: "5 ms of work more in a handler",
        function: "get-product",
        program: "target/release/five-ms-more",
        parameters: "",
        gate: "latency of GET /products/{id}: p50",
    },
];

/// Of the verb.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The host of this machine
    #[arg(long, value_name = "PATH", default_value = "target/host/local")]
    local: PathBuf,
    /// The folder of the functions that ship
    #[arg(long, value_name = "DIR", default_value = "target/lambda")]
    code_dir: PathBuf,
    /// The folder for the results, one folder in it for each mistake
    #[arg(long, value_name = "DIR", default_value = "target/prove-gates")]
    out: PathBuf,
}

/// Loads the shop as it ships, and then with each mistake. The result is whether the shop passed and each mistake failed
/// its gate.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let out = session.root.join(&arguments.out);
    let shipped = session.root.join(&arguments.code_dir);
    let mut rows = Vec::new();
    let passes = load(session, arguments, &out.join("shop"), &shipped, "").await?;
    rows.push(row! {
        "build": "the shop as it ships", "has to": "pass every gate",
        "": if passes.is_empty() { "pass" } else { "FAIL" },
    });
    let mut proved = passes.is_empty();
    for mistake in &MISTAKES {
        let folder = out.join(mistake.program.rsplit('/').next().unwrap_or_default());
        let code_dir = folder.join("code");
        replace(session, mistake, &shipped, &code_dir)?;
        let failed = load(session, arguments, &folder, &code_dir, mistake.parameters).await?;
        let found = failed.iter().any(|gate| gate.starts_with(mistake.gate));
        proved &= found;
        rows.push(row! {
            "build": mistake.name, "has to": format!("fail \"{}\"", mistake.gate),
            "": if found { "pass" } else { "FAIL" },
        });
    }
    session.say(table(
        "Usual mistakes, and the gates that have to find them",
        "simulated here",
        rows,
    ));
    Ok(proved)
}

/// A folder of the functions that ship, one of which is replaced.
fn replace(session: &Session, mistake: &Mistake, shipped: &Path, code_dir: &Path) -> Result<()> {
    let program = session.root.join(mistake.program);
    if !program.is_file() {
        bail!(
            "{} is missing; `make prove-gates` builds it",
            program.display()
        );
    }
    let _ = fs::remove_dir_all(code_dir);
    for entry in fs::read_dir(shipped)? {
        let entry = entry?;
        let folder = code_dir.join(entry.file_name());
        fs::create_dir_all(&folder)?;
        let ships = entry.path().join("bootstrap");
        let is_replaced = entry.file_name() == mistake.function;
        symlink(
            if is_replaced { &program } else { &ships },
            folder.join("bootstrap"),
        )?;
    }
    Ok(())
}

/// A short load test; the names of the gates that failed.
async fn load(
    session: &Session,
    arguments: &Arguments,
    out: &Path,
    code_dir: &Path,
    parameters: &str,
) -> Result<Vec<String>> {
    let test = load_test::Arguments::short(&arguments.local, code_dir, parameters, out);
    load_test::run(session, &test).await?;
    session.pause(std::time::Duration::ZERO).await?; // an interrupted run is judged by nobody
    let summary: Value = read_json(&out.join("summary.json"))?;
    let gates = summary["gates"].as_array().into_iter().flatten();
    let failed = gates.filter(|gate| gate["pass"] == false);
    let failed = failed.filter_map(|gate| gate["name"].as_str().map(str::to_owned));
    Ok(failed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_function_is_replaced_and_the_others_ship() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["get-product", "put-product"] {
            fs::create_dir_all(root.join("shipped").join(name)).unwrap();
            fs::write(root.join("shipped").join(name).join("bootstrap"), name).unwrap();
        }
        let session = Session::in_folder(root.to_owned());
        let mistake = Mistake {
            name: "a mistake",
            function: "get-product",
            program: "wrong",
            parameters: "",
            gate: "",
        };
        let (shipped, code) = (root.join("shipped"), root.join("code"));
        let missing = replace(&session, &mistake, &shipped, &code).unwrap_err();
        assert!(
            missing.to_string().contains("make prove-gates"),
            "{missing}"
        );
        fs::write(root.join("wrong"), "wrong").unwrap();
        replace(&session, &mistake, &shipped, &code).unwrap();
        let read = |name: &str| fs::read_to_string(code.join(name).join("bootstrap")).unwrap();
        assert_eq!(
            (read("get-product"), read("put-product")),
            ("wrong".to_owned(), "put-product".to_owned())
        );
    }
}
