//! `workshop check`: judges one variant of a lesson.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use serde_json::json;

use super::build::build;
use super::judge::{Taken, Verdict, compares, is_advised, judge};
use super::lab::Judge;
use super::lesson::{Lesson, Variant};
use super::progress::Progress;
use super::stage::{Stage, Theatre, Wrong};
use super::{Place, load_test, query, run_name, template};
use crate::advise::Advice;
use crate::machine::MEASURED;
use crate::session::{Session, exit_code};
use crate::table::{row, table};

/// Counts need no factor of the machine, so no time is spent on measuring it.
const CONDITIONS: &str = "lambda,factor=1";

/// Of `workshop check`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pub place: Place,
    /// The lesson, such as 04
    #[arg(long, default_value = "")]
    pub lab: String,
    /// before, exercise, solution, cheats/NAME, or all: for authors, whether each ends as lab.toml says
    #[arg(long, default_value = "")]
    pub variant: String,
    /// Print the verdict as JSON
    #[arg(long)]
    pub json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Said<'a> {
    lesson: String,
    variant: String,
    /// From the start of the build.
    seconds: f64,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

/// Runs the verb: 0 if the variant passes, 1 if not, 2 if it could not be judged.
pub async fn run(session: &Session, arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let judged = async {
        let lesson = Lesson::find(&arguments.place.labs(session), &arguments.lab)?;
        if arguments.variant == "all" {
            return all(session, arguments, &lesson).await;
        }
        let variant = lesson.variant(&arguments.variant)?;
        let (verdict, _) = judged(session, &arguments.place, &lesson, &variant).await?;
        if variant == Variant::Exercise {
            let mut progress = Progress::read(&arguments.place.target(session))?;
            progress.lesson(&lesson).judged(&verdict);
            progress.write()?;
        }
        if !arguments.json {
            session.say(&verdict.says);
            return Ok(verdict.passed);
        }
        session.say(serde_json::to_string_pretty(&Said {
            lesson: lesson.name(),
            variant: variant.name(),
            seconds: seconds(begun),
            verdict: &verdict,
        })?);
        Ok(verdict.passed)
    };
    let judged: Result<bool> = judged.await;
    match judged {
        Ok(passed) => session.verdict(passed),
        Err(error) if session.interrupted_by().is_some() => exit_code(&error),
        Err(error) => {
            let why = format!("{error:#}");
            eprintln!("could not judge: {why}");
            if arguments.json {
                session.say(json!({"passed": null, "says": why}).to_string());
            }
            ExitCode::from(2)
        }
    }
}

/// A variant, and whether it ends as `lab.toml` says.
#[derive(Debug, Serialize)]
struct Ended {
    variant: String,
    seconds: f64,
    as_expected: bool,
    /// What the adviser finds; none if a wrong answer has ended the run.
    advice: Option<Vec<&'static str>>,
    #[serde(flatten)]
    verdict: Verdict,
}

/// Judges every variant; the result is whether each ends as it should: `solution` passes, and each of the others fails
/// with its own sentence and no other's; and the adviser finds what `lab.toml` says.
async fn all(session: &Session, arguments: &Arguments, lesson: &Lesson) -> Result<bool> {
    let mut ended = Vec::new();
    for variant in lesson.variants() {
        let begun = Instant::now();
        let (verdict, advice) = judged(session, &arguments.place, lesson, &variant).await?;
        let advice = advice.map(|it| it.rules());
        let advised = advice.as_deref().unwrap_or_default();
        let as_expected =
            verdict.is_expected(lesson, &variant) && is_advised(lesson, &variant, advised);
        ended.push(Ended {
            variant: variant.name(),
            seconds: seconds(begun),
            as_expected,
            advice,
            verdict,
        });
    }
    session.say(if arguments.json {
        serde_json::to_string_pretty(&ended)?
    } else {
        let rows = ended.iter().map(|it| {
            row! { "variant": it.variant.as_str(), "as expected": if it.as_expected { "yes" } else { "NO" },
                "advice": it.advice.as_ref().map(|rules| rules.join(", ")), "says": it.verdict.says.as_str() }
        });
        table(&lesson.lab.title, MEASURED, rows)
    });
    Ok(ended.iter().all(|it| it.as_expected))
}

fn seconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 10.0).round() / 10.0
}

/// Builds and runs a variant, with `before` beside it where a check compares the two, and judges it. The adviser reads the
/// same events, unless a wrong answer has ended the run.
pub async fn judged(
    session: &Session,
    place: &Place,
    lesson: &Lesson,
    variant: &Variant,
) -> Result<(Verdict, Option<Advice>)> {
    let (labs, target) = (place.labs(session), place.target(session));
    let run = match &lesson.lab.judge {
        Judge::Run(run) => run,
        Judge::LoadTest(it) => {
            let verdict = load_test::judged(session, &target, lesson, variant, it).await?;
            return Ok((verdict, None));
        }
        Judge::Template(it) => {
            let verdict = template::judged(session, place, lesson, variant, it).await?;
            return Ok((verdict, None));
        }
        Judge::Query(it) => {
            let verdict = query::judged(session, place, lesson, variant, it, CONDITIONS).await?;
            return Ok((verdict, None));
        }
    };
    let mut variants = vec![variant.clone()];
    if compares(&lesson.lab.check) && *variant != Variant::Before {
        variants.push(Variant::Before);
    }
    let binaries = build(session, &labs, &target, lesson, &variants).await?;
    let theatre = Theatre {
        session,
        lesson,
        local: &place.local(session),
        target: &target,
        run: run_name(),
    };
    let mut stages: Vec<Stage> = Vec::new();
    let taken = async {
        for (variant, binaries) in variants.into_iter().zip(&binaries) {
            stages.push(Stage::start(&theatre, variant, binaries, CONDITIONS).await?);
        }
        for stage in &mut stages {
            if let Err(wrong) = stage.prepare(run).await? {
                return Ok(Err(wrong));
            }
        }
        for number in 0..run.rounds {
            // Which is first alternates, so that neither gains by it.
            let mut order: Vec<_> = stages.iter_mut().collect();
            if number % 2 == 1 {
                order.reverse();
            }
            for stage in order {
                if let Err(wrong) = stage.round(run).await? {
                    return Ok(Err(wrong));
                }
            }
        }
        Ok(Ok(()))
    };
    let taken: Result<std::result::Result<(), Wrong>> = session.or_interrupted(taken).await;
    let judged = match taken {
        Err(error) => Err(error),
        Ok(Err(Wrong(said))) => Ok((Verdict::wrong(said), None)),
        Ok(Ok(())) => {
            // `before` is compared with itself.
            let [own, before] = [&stages[0], &stages[stages.len() - 1]].map(|it| Taken {
                rounds: &it.rounds[..],
                prices: &it.prices,
            });
            let verdict = judge(&lesson.lab.check, &own, &before);
            let advice = stages[0].advice(session).await;
            advice.map(|advice| (verdict, Some(advice)))
        }
    };
    for stage in stages {
        stage.stop().await;
    }
    judged
}
