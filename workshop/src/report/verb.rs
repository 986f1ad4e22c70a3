//! `workshop report`: makes a report again from its JSON, shows it, or prints it.

use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use anyhow::Result;
use fs_err as fs;
use tokio::process::Command;

use super::model::{Report, VERSION};
use super::{JSON, load_test, write};
use crate::bench;
use crate::files::read_json;
use crate::session::{BadInput, Session};

/// Of `workshop report`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder of a run; without it, the last one
    #[arg(long, value_name = "DIR", default_value = "")]
    run: String,
    /// Print the report as JSON, and write nothing
    #[arg(long)]
    json: bool,
    /// Print the report as Markdown, and write nothing
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Open the page, if this is a terminal and the machine has a browser
    #[arg(long)]
    open: bool,
}

/// Runs the verb.
pub fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let root = &session.root;
    let folder = if arguments.run.is_empty() {
        last(&root.join("target"))?
    } else {
        root.join(&arguments.run)
    };
    let report = read(root, &folder)?;
    if arguments.json {
        session.say(serde_json::to_string_pretty(&report)?);
    } else if arguments.markdown {
        session.say(super::markdown::markdown(&report).trim_end());
    } else {
        let page = write(session, &folder, &report)?;
        if arguments.open && stdout().is_terminal() {
            open(&page);
        }
    }
    Ok(true)
}

/// The report of a folder, or what the figures of an earlier load test or benchmark still say.
fn read(root: &Path, folder: &Path) -> Result<Report> {
    let file = folder.join(JSON);
    if file.exists() {
        let report: Report = read_json(&file)?;
        if report.version != VERSION {
            let why = format!(
                "{} is a report of version {}, and this program knows {VERSION}: run the verb again that made it",
                file.display(),
                report.version
            );
            return Err(BadInput(why).into());
        }
        return Ok(report);
    }
    if folder.join("summary.json").exists() {
        return load_test::of_folder(root, folder);
    }
    let results = folder.join(bench::RESULTS);
    if results.exists() {
        return bench::report_of(&results);
    }
    let why = format!(
        "there is no report in {} (RUN): a folder of a run has {JSON}, such as target/load-test",
        folder.display()
    );
    Err(BadInput(why).into())
}

/// The folder of the newest report of any verb.
fn last(target: &Path) -> Result<PathBuf> {
    let folders = fs::read_dir(target).into_iter().flatten();
    let folders = folders.filter_map(|folder| Some(folder.ok()?.path()));
    let reports = folders.filter_map(|folder| {
        let written = fs::metadata(folder.join(JSON)).and_then(|file| file.modified());
        Some((written.ok()?, folder))
    });
    let newest = reports.max_by_key(|(written, _): &(SystemTime, _)| *written);
    newest.map(|(_, folder)| folder).ok_or_else(|| {
        let why = "there is no report yet: `make load-test`, `make bench`, `make compare`, `make power-curve` and `make lab` each write one";
        BadInput(why.to_owned()).into()
    })
}

/// Asks the desktop to show a file. A machine without one has no such program, and the path is printed anyway.
fn open(page: &Path) {
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let mut command = Command::new(program);
    command.arg(page).stdin(Stdio::null());
    let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}

#[cfg(test)]
mod tests {
    use super::super::load_test::tests::of;
    use super::*;
    use crate::files::write_json;
    use crate::summary::tests::summary;

    #[test]
    fn a_report_is_read_as_it_was_written_and_one_of_another_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut report = of(&summary(), &[]);
        write_json(&folder.path().join(JSON), &report).unwrap();
        let again = read(&root, folder.path()).unwrap();
        assert_eq!(
            serde_json::to_value(&again).unwrap(),
            serde_json::to_value(&report).unwrap()
        );
        report.version = 0;
        write_json(&folder.path().join(JSON), &report).unwrap();
        let refused = read(&root, folder.path()).unwrap_err().to_string();
        assert!(
            refused.contains("is a report of version 0, and this program knows 1"),
            "{refused}"
        );
    }

    #[test]
    fn a_folder_with_a_summary_alone_still_has_a_report_and_an_empty_one_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let refused = read(&root, folder.path()).unwrap_err();
        assert!(
            refused.is::<BadInput>() && refused.to_string().starts_with("there is no report in ")
        );
        write_json(&folder.path().join("summary.json"), &summary()).unwrap();
        assert_eq!(read(&root, folder.path()).unwrap().title, "Load test: soak");
    }

    #[test]
    fn the_committed_figures_of_a_benchmark_have_a_report() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let figures: serde_json::Value = read_json(&root.join("docs/figures.json")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write_json(&folder.path().join(bench::RESULTS), &figures["bench"]).unwrap();
        let report = read(&root, folder.path()).unwrap();
        assert_eq!(report.title, bench::TITLE);
        let gates = figures["bench"]["targets"].as_array().unwrap();
        assert_eq!(report.gates.len(), gates.len());
    }

    #[test]
    fn the_last_report_is_the_newest_of_all_verbs() {
        let target = tempfile::tempdir().unwrap();
        assert!(
            last(target.path())
                .unwrap_err()
                .to_string()
                .starts_with("there is no report yet")
        );
        for (name, seconds) in [("bench", 20), ("load-test", 30), ("compare", 10)] {
            let folder = target.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            let file = std::fs::File::create(folder.join(JSON)).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            file.set_modified(at).unwrap();
        }
        assert!(last(target.path()).unwrap().ends_with("load-test"));
    }
}
