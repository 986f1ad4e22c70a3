//! The verbs around an exercise: `workshop labs`, `hint`, `reset` and `solution`.

use std::path::PathBuf;

use anyhow::Result;
use fs_err as fs;
use serde_json::json;
use time::OffsetDateTime;
use time::macros::format_description;

use super::Place;
use super::lab::Level;
use super::lesson::{Lesson, Variant};
use super::progress::Progress;
use crate::session::{BadInput, Session};
use crate::table::{row, table};

/// Of `workshop labs`.
#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    place: Place,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Of `workshop hint` and `workshop reset`.
#[derive(Debug, clap::Args)]
pub struct One {
    #[command(flatten)]
    place: Place,
    /// The lesson, such as 04
    #[arg(long, default_value = "")]
    lab: String,
}

/// Of `workshop solution`.
#[derive(Debug, clap::Args)]
pub struct Solution {
    #[command(flatten)]
    one: One,
    /// Show it although the exercise has not passed
    #[arg(long)]
    force: bool,
    /// Put it in the place of the exercise
    #[arg(long)]
    copy: bool,
}

/// The lessons in their order, and how far the student has come.
pub fn list(session: &Session, arguments: &List) -> Result<bool> {
    let lessons = Lesson::all(&arguments.place.labs(session))?;
    let mut progress = Progress::read(&arguments.place.target(session))?;
    let (mut rows, mut shown) = (Vec::new(), Vec::new());
    let (mut done, mut minutes, mut left) = (0, 0, 0);
    for lesson in &lessons {
        let of = progress.lesson(lesson).clone();
        let state = match (of.passed, &of.verdict) {
            (true, Some(last)) if !last.passed => "passed, and changed since",
            (true, _) => "passed",
            (false, Some(_)) => "tried",
            (false, None) => "",
        };
        let lab = &lesson.lab;
        done += usize::from(of.passed);
        minutes += lab.minutes;
        left += if of.passed { 0 } else { lab.minutes };
        let hints = format!("{} of {}", of.hints, lab.hints.len());
        rows.push(row! { "LAB": lesson.number.as_str(), "lesson": lab.title.as_str(), "minutes": lab.minutes,
            "level": level(lab.level), "hints": hints, "state": state });
        shown.push(json!({"lesson": lesson.name(), "title": lab.title, "minutes": lab.minutes, "level": lab.level,
            "hints": of.hints, "passed": of.passed, "verdict": of.verdict, "prediction": of.prediction}));
    }
    if arguments.json {
        session.say(serde_json::to_string_pretty(&shown)?);
        return Ok(true);
    }
    let all = lessons.len();
    let next = lessons.iter().find(|it| !progress.lesson(it).passed);
    let next = next.map_or(
        "All of them pass: `make hand-in` writes down what you have done.".to_owned(),
        |it| {
            let folder = it.folder.strip_prefix(&session.root).unwrap_or(&it.folder);
            let readme = folder.join("README.md");
            format!(
                "Next: read {}, then `make check LAB={}`.",
                readme.display(),
                it.number
            )
        },
    );
    let table = table("The lessons", "your progress", rows);
    session.say(format!(
        "{table}\n\n{done} of {all} lessons pass; {left} of {minutes} minutes are left. {next}"
    ));
    Ok(true)
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Beginner => "beginner",
        Level::Intermediate => "intermediate",
        Level::Advanced => "advanced",
    }
}

/// The next hint. The last one is given again and again.
pub fn hint(session: &Session, arguments: &One) -> Result<bool> {
    let lesson = arguments.find(session)?;
    let mut progress = Progress::read(&arguments.place.target(session))?;
    let hints = &lesson.lab.hints;
    let done = progress.lesson(&lesson);
    done.hints = (done.hints + 1).min(hints.len());
    let number = done.hints;
    progress.write()?;
    let after = match hints.len() - number {
        0 => format!(
            "That was the last one. `make solution LAB={}` comes after a pass, or with FORCE=1.",
            lesson.number
        ),
        left => format!("{left} more if you need them."),
    };
    let hint = &hints[number - 1];
    session.say(format!("Hint {number} of {}: {hint}\n{after}", hints.len()));
    Ok(true)
}

/// Puts the exercise back as it was, and keeps what the student had.
pub fn reset(session: &Session, arguments: &One) -> Result<bool> {
    let lesson = arguments.find(session)?;
    for edited in lesson.edited() {
        let (file, untouched) = (lesson.folder.join(edited), lesson.untouched(edited)?);
        let shown = file.strip_prefix(&session.root).unwrap_or(&file).display();
        let had = fs::read_to_string(&file).unwrap_or_default();
        if had == untouched {
            session.say(format!("{shown} is as it was at the beginning."));
            continue;
        }
        let kept = arguments.keep(session, &lesson, edited, &had)?;
        fs::write(&file, untouched)?;
        let kept = kept.strip_prefix(&session.root).unwrap_or(&kept).display();
        session.say(format!(
            "{shown} is as it was at the beginning. What you had is in {kept}."
        ));
    }
    Ok(true)
}

/// Shows the solution, or puts it in the place of the exercise.
pub fn solution(session: &Session, arguments: &Solution) -> Result<bool> {
    let one = &arguments.one;
    let lesson = one.find(session)?;
    let passed = Progress::read(&one.place.target(session))?
        .lesson(&lesson)
        .passed;
    if !passed && !arguments.force {
        let number = &lesson.number;
        let why = format!(
            "your exercise of lesson {number} has not passed yet: `make hint LAB={number}` helps, and `make solution LAB={number} FORCE=1` shows it anyway"
        );
        return Err(BadInput(why).into());
    }
    for edited in lesson.edited() {
        let file = lesson.source(edited, &Variant::Solution);
        if !arguments.copy {
            let text = fs::read_to_string(&file)?;
            let shown = file.strip_prefix(&session.root).unwrap_or(&file).display();
            session.say(format!("{}\n\nThis is {shown}.", text.trim_end()));
            continue;
        }
        let exercise = lesson.folder.join(edited);
        let had = fs::read_to_string(&exercise).unwrap_or_default();
        let kept = one.keep(session, &lesson, edited, &had)?;
        fs::write(&exercise, lesson.as_exercise(edited, &Variant::Solution)?)?;
        let kept = kept.strip_prefix(&session.root).unwrap_or(&kept).display();
        session.say(format!(
            "The solution is in the place of the exercise. What you had is in {kept}."
        ));
    }
    Ok(true)
}

impl One {
    fn find(&self, session: &Session) -> Result<Lesson> {
        Lesson::find(&self.place.labs(session), &self.lab)
    }

    /// Writes what the student had to a file of its own.
    fn keep(&self, session: &Session, lesson: &Lesson, edited: &str, had: &str) -> Result<PathBuf> {
        let now = OffsetDateTime::now_utc().format(format_description!(
            "[year][month][day]-[hour][minute][second]-[subsecond digits:3]"
        ))?;
        let folder = self.place.target(session).join("kept");
        fs::create_dir_all(&folder)?;
        let file = folder.join(format!("{}-{now}-{edited}", lesson.name()));
        fs::write(&file, had)?;
        Ok(file)
    }
}
