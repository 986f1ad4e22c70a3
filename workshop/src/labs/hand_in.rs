//! `workshop hand-in` and `hand-in-check`: what a student has done, as one file, and the same checks once more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Place;
use super::check::judged;
use super::judge::Verdict;
use super::lesson::{Lesson, Variant};
use super::progress::{Prediction, Progress};
use crate::files::{read_json, write_json};
use crate::machine::{Machine, commit};
use crate::session::{BadInput, Session};
use crate::table::{row, table};

/// Of `workshop hand-in`.
#[derive(Debug, clap::Args)]
pub struct HandIn {
    #[command(flatten)]
    place: Place,
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "target/labs/hand-in.json")]
    file: PathBuf,
}

/// Of `workshop hand-in-check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    place: Place,
    /// The file that was handed in
    #[arg(long, value_name = "FILE", default_value = "")]
    file: String,
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Handed {
    /// RFC 3339.
    at: String,
    commit: Option<String>,
    machine: Machine,
    lessons: Vec<Work>,
}

/// One lesson.
#[derive(Debug, Serialize, Deserialize)]
struct Work {
    lesson: String,
    verdict: Verdict,
    prediction: Option<Prediction>,
    hints: usize,
    /// What `workshop lab` measured last, if it has run.
    measured: Option<Value>,
    /// The files that were edited, whole, by name.
    exercise: BTreeMap<String, String>,
}

/// Judges the exercises of all lessons, and writes them down.
pub async fn hand_in(session: &Session, arguments: &HandIn) -> Result<bool> {
    let place = &arguments.place;
    let target = place.target(session);
    let mut progress = Progress::read(&target)?;
    let mut lessons = Vec::new();
    for lesson in Lesson::all(&place.labs(session))? {
        let verdict = verdict(session, place, &lesson).await?;
        let done = progress.lesson(&lesson);
        done.judged(&verdict);
        session.say(format!("{}: {}", lesson.name(), verdict.says));
        let measured = target.join(format!("{}.json", lesson.name()));
        let edited = lesson.edited().into_iter();
        let exercise: std::io::Result<_> = edited
            .map(|name| {
                Ok((
                    name.to_owned(),
                    fs::read_to_string(lesson.folder.join(name))?,
                ))
            })
            .collect();
        lessons.push(Work {
            lesson: lesson.name(),
            verdict,
            prediction: done.prediction.clone(),
            hints: done.hints,
            measured: measured
                .exists()
                .then(|| read_json(&measured))
                .transpose()?,
            exercise: exercise?,
        });
    }
    progress.write()?;
    let passed = lessons.iter().filter(|it| it.verdict.passed).count();
    let all = lessons.len();
    let handed = Handed {
        at: OffsetDateTime::now_utc().format(&Rfc3339)?,
        commit: commit(&session.root).await,
        machine: Machine::this().await,
        lessons,
    };
    let file = session.root.join(&arguments.file);
    write_json(&file, &handed)?;
    let file = file.display();
    session.say(format!("{passed} of {all} lessons pass. Hand in {file}: it holds your code, your predictions and what was measured."));
    Ok(true)
}

/// An exercise that cannot be built or run has not passed, and does not stop the others. One that nobody has touched needs no
/// judge.
async fn verdict(session: &Session, place: &Place, lesson: &Lesson) -> Result<Verdict> {
    let is_untouched = |name: &&str| -> Result<bool> {
        Ok(fs::read_to_string(lesson.folder.join(name))? == lesson.untouched(name)?)
    };
    let untouched: Result<Vec<_>> = lesson.edited().iter().map(is_untouched).collect();
    if untouched?.iter().all(|it| *it) {
        return Ok(Verdict::wrong("not begun".to_owned()));
    }
    match judged(session, place, lesson, &Variant::Exercise).await {
        Err(error) if session.interrupted_by().is_none() => {
            Ok(Verdict::wrong(format!("could not be judged: {error:#}")))
        }
        judged => judged.map(|(verdict, _)| verdict),
    }
}

/// Judges what was handed in on this machine, and compares. The result is whether every verdict is the same.
pub async fn check(session: &Session, arguments: &Check) -> Result<bool> {
    if arguments.file.is_empty() {
        return Err(BadInput(
            "FILE names what was handed in, such as FILE=hand-in.json".to_owned(),
        )
        .into());
    }
    let file = session.root.join(&arguments.file);
    let handed: Handed = read_json(&file).map_err(|error| BadInput(format!("{error:#}")))?;
    let place = &arguments.place;
    // In a copy, so that the exercises of whoever checks stay as they are.
    let copy = place.target(session).join("handed-in");
    copy_lessons(&place.labs(session), &copy)?;
    let place = Place {
        labs: copy.clone(),
        target: place.target.clone(),
        local: place.local.clone(),
    };
    let (mut rows, mut same) = (Vec::new(), true);
    for work in &handed.lessons {
        let lesson = Lesson::find(&copy, &work.lesson)?;
        for name in lesson.edited() {
            let handed = work.exercise.get(name);
            let handed = handed.ok_or_else(|| {
                BadInput(format!(
                    "{} has no {name} of {}",
                    file.display(),
                    work.lesson
                ))
            })?;
            fs::write(lesson.folder.join(name), handed)?;
        }
        let here = verdict(session, &place, &lesson).await?;
        let agrees = here.passed == work.verdict.passed;
        same &= agrees;
        rows.push(row! { "lesson": work.lesson.as_str(), "handed in": word(&work.verdict), "here": word(&here),
            "says": if agrees { String::new() } else { format!("DIFFERS: {}", here.says) } });
    }
    let _ = fs::remove_dir_all(&copy);
    let here = commit(&session.root).await;
    let by = handed.machine.describe().replace('\n', ", ");
    let mut said = table(&format!("Handed in at {}", handed.at), &by, rows);
    if handed.commit != here {
        let name = |commit: &Option<String>| commit.clone().unwrap_or("no commit".to_owned());
        said += &format!(
            "\n\nIt was made with {}, and this is {}.",
            name(&handed.commit),
            name(&here)
        );
    }
    session.say(said);
    Ok(same)
}

fn word(verdict: &Verdict) -> &'static str {
    if verdict.passed { "passed" } else { "failed" }
}

/// Copies the lessons, as another version: cargo takes crates with the same name, version and place in their workspaces for the
/// same, and would take the binary of a copy for that of the original.
fn copy_lessons(labs: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(to);
    copy_folder(labs, to)?;
    let manifest = to.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    let parsed: toml::Table = text.parse()?;
    let version = &parsed["workspace"]["package"]["version"];
    let version = version.as_str().context("the lessons have no version")?;
    let [old, new] = ["", "-handed-in"].map(|end| format!("version = \"{version}{end}\""));
    fs::write(&manifest, text.replacen(&old, &new, 1))?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to).context("a copy of the lessons")?;
        }
    }
    Ok(())
}
