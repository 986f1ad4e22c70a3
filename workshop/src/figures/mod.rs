//! `workshop figures`: the figures of README and docs. They are those of `docs/figures.json`, which holds the results of
//! one load test and one benchmark as the verbs wrote them. Each block between `<!-- figures: NAME -->` and
//! `<!-- end of figures -->` is written from it, and a test holds every block to it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::bench::{self, Results};
use crate::files::{read_json, write_json};
use crate::session::{BadInput, Session};
use crate::summary::Summary;

mod blocks;

const FILE: &str = "docs/figures.json";

const BEGIN: &str = "<!-- figures: ";
const END: &str = "<!-- end of figures -->";

/// Of `workshop figures`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder of a load test; `PROFILE=load`, under conditions of Lambda
    #[arg(long, value_name = "DIR", default_value = "target/load-test")]
    load_test: PathBuf,
    /// The folder of a benchmark
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    bench: PathBuf,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    load_test: Summary,
    bench: Results,
}

/// Runs the verb. A run that is not there leaves the figures that are committed.
pub fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let root = &session.root;
    let file = root.join(FILE);
    let load_test = root.join(&arguments.load_test).join("summary.json");
    let bench = root.join(&arguments.bench).join(bench::RESULTS);
    let committed: Option<Figures> = file.exists().then(|| read_json(&file)).transpose()?;
    let (kept_load_test, kept_bench) = committed.map(|it| (it.load_test, it.bench)).unzip();
    let mut figures = Figures {
        load_test: of_run(session, &load_test, "make load-test", kept_load_test)?,
        bench: of_run(session, &bench, "make bench", kept_bench)?,
    };
    figures.check()?;
    for machine in [&mut figures.load_test.machine, &mut figures.bench.machine] {
        machine.os = without_version(&machine.os);
    }
    let pages = pages(root)?;
    let mut written = Vec::new();
    for page in pages {
        let old = fs::read_to_string(&page)?;
        let new = rewritten(&old, &figures).with_context(|| page.display().to_string())?;
        if new != old {
            written.push((page, new));
        }
    }
    write_json(&file, &figures)?;
    session.say(format!("{FILE}: written"));
    for (page, text) in written {
        fs::write(&page, text)?;
        let page = page
            .strip_prefix(root)
            .unwrap_or(&page)
            .display()
            .to_string();
        session.say(format!("{page}: written"));
    }
    Ok(true)
}

/// The result of a run, or what is committed where there was none.
fn of_run<T: serde::de::DeserializeOwned>(
    session: &Session,
    file: &Path,
    verb: &str,
    committed: Option<T>,
) -> Result<T> {
    if file.exists() {
        return read_json(file);
    }
    let why = || BadInput(format!("{} is missing: `{verb}` writes it", file.display()));
    let committed = committed.ok_or_else(why)?;
    session.say(format!(
        "no `{verb}` has run here: its figures stay as they are"
    ));
    Ok(committed)
}

impl Figures {
    /// Refuses runs that the pages do not speak of.
    fn check(&self) -> Result<()> {
        let Self { load_test, bench } = self;
        let wrong = match () {
            () if load_test.profile != "load" => "the load test was of another PROFILE than load",
            () if load_test.conditions.is_none() => {
                "the load test was not under conditions of Lambda"
            }
            () if load_test.interrupted_by.is_some() => "the load test was cut short",
            () if bench.interrupted_by.is_some() => "the benchmark was cut short",
            () if bench.lambda.is_none() => "the benchmark has nothing under conditions of Lambda",
            () if bench.targets.is_empty() => "the benchmark has no targets",
            () => return Ok(()),
        };
        Err(BadInput(format!(
            "{wrong}: run `make load-test` and `make bench` as they are"
        ))
        .into())
    }
}

/// README and docs.
fn pages(root: &Path) -> Result<Vec<PathBuf>> {
    let docs = fs::read_dir(root.join("docs"))?;
    let docs: Vec<_> = docs.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let mut docs: Vec<_> = docs
        .into_iter()
        .filter(|file| file.extension().is_some_and(|it| it == "md"))
        .collect();
    docs.sort();
    docs.insert(0, root.join("README.md"));
    Ok(docs)
}

/// A page with its blocks as the figures have them.
fn rewritten(page: &str, figures: &Figures) -> Result<String> {
    let mut text = String::with_capacity(page.len());
    let mut rest = page;
    while let Some((before, after)) = rest.split_once(BEGIN) {
        let (name, after) = after.split_once(" -->").context("a block without a name")?;
        let known = blocks::BLOCKS.iter().find(|(known, _)| *known == name);
        let (_, block) = known.with_context(|| format!("no figures are called {name:?}"))?;
        let (_, after) = after
            .split_once(END)
            .with_context(|| format!("the block {name} has no {END:?}"))?;
        let block = block(figures);
        text += &format!("{before}{BEGIN}{name} -->\n{}\n{END}", block.trim_end());
        rest = after;
    }
    Ok(text + rest)
}

/// A system without the version of its kernel, which tells a reader nothing.
fn without_version(os: &str) -> String {
    let words = os
        .split(' ')
        .filter(|word| !word.starts_with(|it: char| it.is_ascii_digit()));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn committed() -> Figures {
        read_json(&root().join(FILE)).unwrap()
    }

    #[test]
    fn every_figure_of_readme_and_docs_is_that_of_the_committed_runs() {
        let figures = committed();
        figures.check().unwrap();
        let mut used = Vec::new();
        for page in pages(&root()).unwrap() {
            let text = fs::read_to_string(&page).unwrap();
            let expected = rewritten(&text, &figures).unwrap();
            let lines = text.lines().zip(expected.lines());
            let first = lines.clone().find(|(is, should)| is != should);
            let page = page.file_name().unwrap();
            assert!(text == expected, "{page:?}: run `make figures`; {first:?}");
            used.extend(
                blocks::BLOCKS
                    .iter()
                    .filter(|(name, _)| text.contains(&format!("{BEGIN}{name} -->"))),
            );
        }
        for (name, _) in blocks::BLOCKS {
            assert!(used.iter().any(|(it, _)| *it == name), "no page has {name}");
        }
    }

    #[test]
    fn a_block_is_written_again_and_the_text_around_it_stays() {
        let figures = committed();
        let page = |inside: &str| format!("before\n{BEGIN}targets -->\n{inside}{END}\nafter\n");
        let right = rewritten(&page(""), &figures).unwrap();
        assert!(
            right.contains("| cold CPU of get-product / floor, as on AWS |"),
            "{right}"
        );
        assert!(right.starts_with("before\n") && right.ends_with("\nafter\n"));
        assert_eq!(rewritten(&right, &figures).unwrap(), right);
        assert_eq!(
            rewritten(&page("an old figure\n"), &figures).unwrap(),
            right
        );
        assert_eq!(rewritten("no block\n", &figures).unwrap(), "no block\n");
        for (page, why) in [
            (
                format!("{BEGIN}nobody -->\n{END}"),
                "no figures are called \"nobody\"",
            ),
            (format!("{BEGIN}targets -->\n"), "the block targets has no"),
        ] {
            let refused = rewritten(&page, &figures).unwrap_err().to_string();
            assert!(refused.starts_with(why), "{refused}");
        }
    }

    #[test]
    fn a_run_of_another_kind_is_refused() {
        let refused = |spoil: fn(&mut Figures)| {
            let mut figures = committed();
            spoil(&mut figures);
            figures.check().unwrap_err().to_string()
        };
        let smoke = refused(|it| "smoke".clone_into(&mut it.load_test.profile));
        assert!(
            smoke.starts_with("the load test was of another PROFILE"),
            "{smoke}"
        );
        let bare = refused(|it| it.load_test.conditions = None);
        assert!(
            bare.starts_with("the load test was not under conditions"),
            "{bare}"
        );
        let short = refused(|it| it.bench.interrupted_by = Some("SIGINT".to_owned()));
        assert!(short.starts_with("the benchmark was cut short"), "{short}");
    }
}
