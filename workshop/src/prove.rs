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
    wrong: Wrong,
    parameters: &'static str,
    /// How the name of the gate begins that has to fail.
    gate: &'static str,
}

/// The mistake: a program, or a line of the template.
enum Wrong {
    /// A program in the place of the function in this folder.
    Program {
        function: &'static str,
        program: &'static str,
    },
    /// The first text of the template is replaced by the second.
    Template(&'static str, &'static str),
}

const MISTAKES: [Mistake; 6] = [
    Mistake {
        name: "the SDK's defaults, at 128 MB",
        wrong: Wrong::Program {
            function: "get-product",
            program: "target/bench/cargo/release/sdk-defaults",
        },
        parameters: "ApiMemorySize=128",
        gate: "cold start of GetProduct: p50",
    },
    Mistake {
        name: "a client built in the handler",
        wrong: Wrong::Program {
            function: "get-product",
            program: "target/release/clients-in-handler",
        },
        parameters: "",
        gate: "connections to AWS beyond those needed",
    },
    Mistake {
        name: "one GetItem for each product of a batch",
        wrong: Wrong::Program {
            function: "batch-get-products",
            program: "target/release/one-get-each",
        },
        parameters: "",
        gate: "calls to AWS beyond those needed",
    },
    Mistake {
        name: "5 ms of work more in a handler",
        wrong: Wrong::Program {
            function: "get-product",
            program: "target/release/five-ms-more",
        },
        parameters: "",
        gate: "latency of GET /products/{id}: p50",
    },
    Mistake {
        name: "a worker that settles the orders of a batch one after another",
        wrong: Wrong::Program {
            function: "process-orders",
            program: "target/release/one-order-at-a-time",
        },
        parameters: "",
        gate: "burst: time for each message of a run",
    },
    Mistake {
        name: "a trigger that hands over one order at a time",
        wrong: Wrong::Template("BatchSize: 10", "BatchSize: 1"),
        parameters: "",
        gate: "burst: messages of a run",
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
    let run = Run {
        template: session.root.join("template.yaml"),
        code_dir: shipped.clone(),
        out: out.join("shop"),
    };
    let passes = run.load(session, arguments, "").await?;
    rows.push(row! {
        "build": "the shop as it ships", "has to": "pass every gate",
        "": if passes.is_empty() { "pass" } else { "FAIL" },
    });
    let mut proved = passes.is_empty();
    for mistake in &MISTAKES {
        let run = mistake.prepare(session, &shipped, &out)?;
        let failed = run.load(session, arguments, mistake.parameters).await?;
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

/// A load test of these functions.
struct Run {
    template: PathBuf,
    code_dir: PathBuf,
    out: PathBuf,
}

impl Mistake {
    /// Makes what is wrong, in a folder of its own in `out`.
    fn prepare(&self, session: &Session, shipped: &Path, out: &Path) -> Result<Run> {
        let template = session.root.join("template.yaml");
        match self.wrong {
            Wrong::Program { function, program } => {
                let out = out.join(program.rsplit('/').next().unwrap_or_default());
                let code_dir = out.join("code");
                replace(&session.root.join(program), function, shipped, &code_dir)?;
                Ok(Run {
                    template,
                    code_dir,
                    out,
                })
            }
            Wrong::Template(right, wrong) => {
                let text = fs::read_to_string(&template)?;
                if text.matches(right).count() != 1 {
                    bail!("{} does not have one {right:?}", template.display());
                }
                let out = out.join(wrong.replace(": ", "-"));
                let template = out.join("template.yaml");
                fs::create_dir_all(&out)?;
                fs::write(&template, text.replace(right, wrong))?;
                Ok(Run {
                    template,
                    code_dir: shipped.to_owned(),
                    out,
                })
            }
        }
    }
}

/// A folder of the functions that ship, one of which is replaced.
fn replace(program: &Path, function: &str, shipped: &Path, code_dir: &Path) -> Result<()> {
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
        let is_replaced = entry.file_name() == function;
        symlink(
            if is_replaced { program } else { &ships },
            folder.join("bootstrap"),
        )?;
    }
    Ok(())
}

impl Run {
    /// A short load test; the names of the gates that failed.
    async fn load(
        &self,
        session: &Session,
        arguments: &Arguments,
        parameters: &str,
    ) -> Result<Vec<String>> {
        let Self {
            template,
            code_dir,
            out,
        } = self;
        let local = &arguments.local;
        let test = load_test::Arguments::short(local, template, code_dir, parameters, out);
        load_test::run(session, &test).await?;
        session.pause(std::time::Duration::ZERO).await?; // an interrupted run is judged by nobody
        let summary: Value = read_json(&out.join("summary.json"))?;
        let gates = summary["gates"].as_array().into_iter().flatten();
        let failed = gates.filter(|gate| gate["pass"] == false);
        let failed = failed.filter_map(|gate| gate["name"].as_str().map(str::to_owned));
        Ok(failed.collect())
    }
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
            wrong: Wrong::Program {
                function: "get-product",
                program: "wrong",
            },
            parameters: "",
            gate: "",
        };
        let shipped = root.join("shipped");
        let missing = mistake
            .prepare(&session, &shipped, &root.join("out"))
            .err()
            .unwrap();
        assert!(
            missing.to_string().contains("make prove-gates"),
            "{missing}"
        );
        fs::write(root.join("wrong"), "wrong").unwrap();
        let code = mistake.prepare(&session, &shipped, &root.join("out"));
        let code = code.unwrap().code_dir;
        let read = |name: &str| fs::read_to_string(code.join(name).join("bootstrap")).unwrap();
        assert_eq!(
            (read("get-product"), read("put-product")),
            ("wrong".to_owned(), "put-product".to_owned())
        );
    }

    #[test]
    fn a_template_is_changed_in_one_place_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let session = Session::in_folder(root.to_owned());
        let mistake = Mistake {
            name: "a mistake",
            wrong: Wrong::Template("Size: 10", "Size: 1"),
            parameters: "",
            gate: "",
        };
        let prepare = |text: &str| {
            fs::write(root.join("template.yaml"), text).unwrap();
            mistake.prepare(&session, &root.join("shipped"), &root.join("out"))
        };
        let run = prepare("a: {Size: 10}\n").unwrap();
        assert_eq!(fs::read_to_string(run.template).unwrap(), "a: {Size: 1}\n");
        for text in ["a: {Size: 5}\n", "a: {Size: 10}\nb: {Size: 10}\n"] {
            let refused = prepare(text).err().unwrap().to_string();
            assert!(
                refused.contains("does not have one \"Size: 10\""),
                "{refused}"
            );
        }
    }
}
