//! `workshop lab` of a lesson that no requests to a host judge: the verdicts of before, exercise and solution, side by side.

use std::time::Instant;

use anyhow::Result;
use fs_err as fs;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Place;
use super::check::judged;
use super::judge::Verdict;
use super::lesson::{Lesson, Variant};
use super::progress::Prediction;
use crate::files::write_json;
use crate::machine::{MEASURED, Machine, commit};
use crate::report::model::{Fact, Kind, Outcome, Report, Section, Table, VERSION, facts};
use crate::report::write_quietly;
use crate::session::Session;
use crate::table::{Row, row, table};

const HOLDS: &str = "What holds";

/// The result; `target/labs/<lesson>.json`.
#[derive(Debug, Serialize)]
struct Shown {
    lesson: String,
    title: String,
    /// RFC 3339.
    started_at: String,
    machine: Machine,
    commit: Option<String>,
    prediction: Option<Prediction>,
    variants: Vec<Judged>,
}

#[derive(Debug, Serialize)]
struct Judged {
    variant: String,
    seconds: f64,
    /// How many checks it passes.
    right: usize,
    #[serde(flatten)]
    verdict: Verdict,
}

/// Judges the three variants, one after another, and shows them. The result is whether all could be judged.
pub async fn run(
    session: &Session,
    place: &Place,
    lesson: &Lesson,
    prediction: Option<Prediction>,
    json: bool,
) -> Result<bool> {
    let started_at = OffsetDateTime::now_utc().format(&Rfc3339)?;
    let mut variants = Vec::new();
    for variant in [Variant::Before, Variant::Exercise, Variant::Solution] {
        let begun = Instant::now();
        let (verdict, _) = judged(session, place, lesson, &variant).await?;
        variants.push(Judged {
            variant: variant.name(),
            seconds: begun.elapsed().as_secs_f64(),
            right: verdict.checks.iter().filter(|it| it.passed).count(),
            verdict,
        });
    }
    let shown = Shown {
        lesson: lesson.name(),
        title: lesson.lab.title.clone(),
        started_at,
        machine: Machine::this().await,
        commit: commit(&session.root).await,
        prediction,
        variants,
    };
    let target = place.target(session);
    fs::create_dir_all(&target)?;
    write_json(&target.join(format!("{}.json", lesson.name())), &shown)?;
    let page = write_quietly(&target, &report(&shown))?;
    session.say(if json {
        serde_json::to_string_pretty(&shown)?
    } else {
        let page = page.strip_prefix(&session.root).unwrap_or(&page).display();
        format!("{}\n\nReport: {page}", text(&shown, lesson))
    });
    Ok(true)
}

/// Each check, and which variants it holds for.
fn holds(shown: &Shown) -> Vec<Row> {
    // Variants that were refused before their checks have none.
    let checks = shown.variants.iter().map(|it| &it.verdict.checks);
    let longest = checks.max_by_key(|it| it.len());
    let rows = longest.into_iter().flatten().map(|check| {
        let of = |index: usize| {
            let judged: &Judged = &shown.variants[index];
            let mut own = judged.verdict.checks.iter();
            let found = own.find(|it| it.what == check.what);
            found.map_or("not judged", |it| if it.passed { "yes" } else { "no" })
        };
        row! { "check": check.what.as_str(), "before": of(0), "exercise": of(1), "solution": of(2) }
    });
    rows.collect()
}

/// The page of the lesson. It says of the exercise what `make check` would.
fn report(shown: &Shown) -> Report {
    let exercise = &shown.variants[1].verdict;
    let outcome = if exercise.passed {
        Outcome::Passed
    } else {
        Outcome::Failed
    };
    let predicted = shown.prediction.iter();
    let predicted = predicted.map(|it| Fact::new("you predicted", it.to_string()));
    let verdicts = shown.variants.iter().map(|it| {
        row! { "variant": it.variant.as_str(), "seconds": (it.seconds * 10.0).round() / 10.0, "verdict": it.verdict.says.as_str() }
    });
    let verdicts = Table::of_rows("Verdicts", MEASURED, verdicts);
    Report {
        version: VERSION,
        kind: Kind::Lesson,
        title: format!("Lesson {}: {}", shown.lesson, shown.title),
        started_at: shown.started_at.clone(),
        outcome,
        verdict: exercise.says.clone(),
        gates: Vec::new(),
        gates_origin: MEASURED.to_owned(),
        facts: predicted
            .chain(facts(&shown.machine, shown.commit.as_deref(), None))
            .collect(),
        sections: vec![Section {
            id: "holds".to_owned(),
            title: HOLDS.to_owned(),
            notes: Vec::new(),
            tables: vec![Table::of_rows(HOLDS, MEASURED, holds(shown)), verdicts],
            charts: Vec::new(),
        }],
    }
}

fn text(shown: &Shown, lesson: &Lesson) -> String {
    let mut parts = vec![
        format!(
            "Lesson {}: {}\n{}",
            shown.lesson,
            shown.title,
            shown.machine.describe()
        ),
        table(HOLDS, MEASURED, holds(shown)),
    ];
    let predicts = lesson.lab.judge.predicts();
    let predicted = |it: &Prediction| predicts.names.first().and_then(|name| it.get(name));
    match shown.prediction.as_ref().and_then(predicted) {
        Some(predicted) => parts.push(match &shown.variants[1] {
            it if it.verdict.checks.is_empty() => {
                format!("You predicted {predicted}, and your exercise was refused before that.")
            }
            it => format!(
                "You predicted {predicted} for {}; it is {} of {}.",
                predicts.asks,
                it.right,
                it.verdict.checks.len()
            ),
        }),
        None => parts.push(format!(
            "No prediction: PREDICT=\"{}\" sets yours beside the numbers.",
            predicts.example
        )),
    }
    for it in &shown.variants {
        parts.push(format!(
            "{} ({:.1} s): {}",
            it.variant, it.seconds, it.verdict.says
        ));
    }
    parts.join("\n\n")
}
