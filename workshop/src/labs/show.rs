//! `workshop lab`: before, exercise and solution in rounds that alternate, under the same requests and conditions.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use fs_err as fs;
use local::conditions::Medians;
use local::events::{Entry, Event};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::build::build;
use super::judge::compared;
use super::lesson::{Judge, Lesson, Run, Variant};
use super::measure::{Measure, Per, Round, What};
use super::progress::{Prediction, Progress};
use super::stage::{Stage, Theatre, Wrong};
use super::{Place, query, run_name};
use crate::compare::{NO_DIFFERENCE, Ratio, Verdict, ratio, width};
use crate::files::write_json;
use crate::machine::{MEASURED, Machine, SIMULATED, commit, conditions};
use crate::session::Session;
use crate::table::{row, table};

/// Of `workshop lab`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The lesson, such as 04
    #[arg(long, default_value = "")]
    lab: String,
    /// What you expect of the exercise: "calls=2 ms=10 usd=3"; asked for on a terminal
    #[arg(long, value_name = "NUMBERS", default_value = "")]
    predict: String,
    /// Rounds of all variants
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=200))]
    rounds: u32,
    /// What AWS takes where this machine takes almost nothing: none, lambda, or a file (docs/conditions.md)
    #[arg(long, value_name = "NAME|FILE", default_value = "lambda")]
    conditions: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result; `target/labs/<lesson>.json`.
#[derive(Debug, Serialize)]
struct Shown {
    lesson: String,
    title: String,
    /// RFC 3339.
    started_at: String,
    interrupted_by: Option<String>,
    machine: Machine,
    commit: Option<String>,
    conditions: Option<Medians>,
    rounds: usize,
    prediction: Option<Prediction>,
    variants: Vec<Measured>,
    ratios: Vec<Compared>,
}

/// One variant: each number by its name, in the table's order.
#[derive(Debug, Serialize)]
struct Measured {
    variant: String,
    /// Why it was not measured to the end.
    wrong: Option<String>,
    numbers: Vec<Number>,
}

#[derive(Debug, Clone, Serialize)]
struct Number {
    what: String,
    value: Option<f64>,
}

/// A time of `exercise` or `solution`, divided by that of `before`.
#[derive(Debug, Serialize)]
struct Compared {
    what: String,
    variant: String,
    #[serde(flatten)]
    ratio: Ratio,
}

/// Times that are compared in pairs of rounds.
const TIMES: [What; 3] = [What::WarmCpuMs, What::WarmMs, What::WaitMs];

/// Runs the verb.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let place = &arguments.place;
    let (labs, target) = (place.labs(session), place.target(session));
    let lesson = Lesson::find(&labs, &arguments.lab)?;
    let prediction = prediction(session, arguments, &lesson)?;
    let started_at = OffsetDateTime::now_utc().format(&Rfc3339)?;
    let run = match &lesson.lab.judge {
        Judge::Run(run) => run,
        Judge::Query(it) => {
            let show = query::Show {
                place,
                rounds: arguments.rounds.into(),
                conditions: &arguments.conditions,
                prediction,
                json: arguments.json,
                started_at,
            };
            return query::show(session, &lesson, it, &show).await;
        }
    };
    let variants = [Variant::Before, Variant::Exercise, Variant::Solution];
    let binaries = build(session, &labs, &target, &lesson, &variants).await?;
    let theatre = Theatre {
        session,
        lesson: &lesson,
        local: &place.local(session),
        target: &target,
        run: run_name(),
    };
    let mut stages: Vec<(Stage, Option<Wrong>)> = Vec::new();
    let mut known = None;
    let rounds = async {
        let mut given = arguments.conditions.clone();
        for (variant, binaries) in variants.into_iter().zip(&binaries) {
            let stage = Stage::start(&theatre, variant, binaries, &given).await?;
            // All need the same factor of this machine, which the first has measured.
            if stages.is_empty() {
                known = stage.host().conditions().await?;
                if let Some(known) = &known {
                    given = format!("{given},factor={}", known.cpu_factor);
                }
            }
            stages.push((stage, None));
        }
        play(session, arguments, run, &mut stages).await
    };
    let played: Result<()> = session.or_interrupted(rounds).await;
    let interrupted = session.interrupted_by().map(|signal| signal.to_string());
    let least = stages.iter().map(|(stage, _)| stage.rounds.len()).min();
    let mut shown = Shown {
        lesson: lesson.name(),
        title: lesson.lab.title.clone(),
        started_at,
        interrupted_by: interrupted,
        machine: Machine::this().await,
        commit: commit(&session.root).await,
        conditions: known,
        rounds: stages
            .iter()
            .map(|(it, _)| it.rounds.len())
            .max()
            .unwrap_or(0),
        prediction,
        variants: stages
            .iter()
            .map(|(stage, wrong)| measured(&lesson, stage, wrong.as_ref()))
            .collect(),
        ratios: Vec::new(),
    };
    if let [(before, _), others @ ..] = &stages[..] {
        shown.ratios = ratios(before, others);
    }
    for (stage, _) in stages {
        stage.stop().await;
    }
    if shown.interrupted_by.is_none() || least.unwrap_or(0) < 2 {
        played?;
    }
    fs::create_dir_all(&target)?;
    write_json(&target.join(format!("{}.json", lesson.name())), &shown)?;
    session.say(if arguments.json {
        serde_json::to_string_pretty(&shown)?
    } else {
        text(&shown)
    });
    Ok(shown.variants.iter().all(|it| it.wrong.is_none()))
}

/// All rounds. A variant that answers wrongly takes no part in the rest.
async fn play(
    session: &Session,
    arguments: &Arguments,
    run: &Run,
    stages: &mut [(Stage, Option<Wrong>)],
) -> Result<()> {
    for (stage, wrong) in &mut *stages {
        *wrong = stage.prepare(run).await?.err();
    }
    let bar = session.bar(arguments.rounds.into());
    for number in 1..=arguments.rounds {
        let mut order: Vec<_> = stages.iter_mut().collect();
        fastrand::shuffle(&mut order);
        for (stage, wrong) in order {
            if wrong.is_none() {
                *wrong = stage.round(run).await?.err();
            }
        }
        bar.set_position(number.into());
        if !bar.is_hidden() {
            session.progress(&bar, format!("round {number} of {}", arguments.rounds));
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// The numbers of a variant: calls by operation, the other causes, what the lesson's checks look at, times and money.
fn measured(lesson: &Lesson, stage: &Stage, wrong: Option<&Wrong>) -> Measured {
    let rounds: Vec<_> = stage.rounds.iter().collect();
    let mut operations = BTreeMap::new();
    for entry in rounds.iter().flat_map(|round| round.events()) {
        if let Event::Call(call) = &entry.event
            && stage.prices.functions.contains_key(&call.function)
        {
            *operations.entry(call.operation.clone()).or_insert(0) += 1;
        }
    }
    let by_operation = operations.keys().map(|operation| Measure {
        operation: Some(operation.clone()),
        ..Measure::plain(What::Calls)
    });
    let an_environment = Measure {
        per: Some(Per::Environment),
        ..Measure::plain(What::Connections)
    };
    // One cold start is an anecdote.
    let cold: &[What] = match rounds.iter().map(|it| cold_starts(it)).sum() {
        0..5 => &[],
        _ => &[What::ColdMs, What::ColdCpuMs],
    };
    let plain = [
        What::RoundTrips,
        What::Connections,
        What::RequestBytes,
        What::ResponseBytes,
        What::ReadUnits,
        What::WriteUnits,
    ];
    let times = [What::WarmCpuMs, What::WarmMs, What::WaitMs, What::Usd];
    let measures = [Measure::plain(What::Calls)].into_iter();
    let measures = measures
        .chain(by_operation)
        .chain(plain.map(Measure::plain))
        .chain([an_environment]);
    let times = cold.iter().copied().chain(times).map(Measure::plain);
    let checked = lesson.lab.check.iter().map(|it| it.measure.clone());
    let mut all: Vec<_> = measures.chain(times).collect();
    for measure in checked {
        if !all.iter().any(|it| it.to_string() == measure.to_string()) {
            all.push(measure);
        }
    }
    let numbers = all.iter().map(|measure| Number {
        what: measure.to_string(),
        value: measure.of(&rounds, &stage.prices),
    });
    Measured {
        variant: stage.variant.name(),
        wrong: wrong.map(|Wrong(said)| said.clone()),
        numbers: numbers.collect(),
    }
}

fn cold_starts(round: &Round) -> usize {
    let is_cold = |it: &&Entry| matches!(&it.event, Event::Invocation(it) if it.cold);
    round.events().filter(is_cold).count()
}

fn ratios(before: &Stage, others: &[(Stage, Option<Wrong>)]) -> Vec<Compared> {
    let width = |rounds| width(rounds, TIMES.len() * others.len());
    let base: Vec<_> = before.rounds.iter().collect();
    let pairs = others
        .iter()
        .flat_map(|(stage, _)| TIMES.map(|what| (stage, what)));
    pairs
        .filter_map(|(stage, what)| {
            let own: Vec<_> = stage.rounds.iter().collect();
            let rounds = own.len().min(base.len());
            let measure = Measure::plain(what);
            let [old, new] = compared(&measure, &own[..rounds], &base[..rounds], &stage.prices)?;
            Some(Compared {
                what: measure.to_string(),
                variant: stage.variant.name(),
                ratio: ratio(&old, &new, width(rounds)),
            })
        })
        .collect()
}

/// The prediction: given, known from before, or asked for where a person can answer.
fn prediction(
    session: &Session,
    arguments: &Arguments,
    lesson: &Lesson,
) -> Result<Option<Prediction>> {
    let mut progress = Progress::read(&arguments.place.target(session))?;
    let known = &mut progress.lesson(lesson).prediction;
    if !arguments.predict.is_empty() {
        *known = Some(Prediction::parse(&arguments.predict)?);
    } else if known.is_none() && io::stdin().is_terminal() && io::stdout().is_terminal() {
        *known = ask()?;
    }
    let prediction = *known;
    progress.write()?;
    Ok(prediction)
}

/// An empty line is no prediction.
fn ask() -> Result<Option<Prediction>> {
    print_now(
        "Before you measure: what do you expect of your exercise once it is mended?\n\
        Calls a request, ms of a warm invocation, dollars a million requests; such as: calls=2 ms=10 usd=3\n> ",
    )?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let line = line.trim();
    if line.is_empty() {
        Ok(None)
    } else {
        Prediction::parse(line).map(Some)
    }
}

fn print_now(text: &str) -> Result<()> {
    write!(io::stdout(), "{text}")?;
    Ok(io::stdout().flush()?)
}

fn text(shown: &Shown) -> String {
    let mut parts = vec![format!(
        "Lesson {}: {}\n{}\nconditions: {}\n{} rounds of before, exercise and solution",
        shown.lesson,
        shown.title,
        shown.machine.describe(),
        conditions(shown.conditions.as_ref()),
        shown.rounds
    )];
    if let Some(signal) = &shown.interrupted_by {
        parts.push(format!("PARTIAL: {signal} cut it short"));
    }
    // A number that is zero in all variants is left out.
    let mut names: Vec<&String> = Vec::new();
    for number in shown.variants.iter().flat_map(|it| &it.numbers) {
        if number.value.is_some_and(|it| it > 0.0) && !names.contains(&&number.what) {
            names.push(&number.what);
        }
    }
    names.sort_by_key(|name| !name.ends_with("calls a request"));
    let of = |index: usize, name: &str| {
        let numbers = &shown.variants.get(index)?.numbers;
        numbers.iter().find(|it| it.what == name)?.value
    };
    let predicted = |name: &str| {
        let it = shown.prediction?;
        let pairs = [
            (What::Calls, it.calls),
            (What::WarmMs, it.ms),
            (What::Usd, it.usd),
        ];
        let found = pairs
            .into_iter()
            .find(|(what, _)| Measure::plain(*what).to_string() == name);
        found.map(|(_, value)| value)
    };
    let rows = names.iter().map(|name| {
        row! { "number": name.as_str(), "before": of(0, name), "you predicted": predicted(name),
        "exercise": of(1, name), "solution": of(2, name) }
    });
    let origin = if shown.conditions.is_some() {
        SIMULATED
    } else {
        MEASURED
    };
    parts.push(table("Causes, times and money", origin, rows));
    let rows = shown.ratios.iter().map(|it| {
        let Ratio { ratio, from, to, verdict } = it.ratio;
        let verdict = match verdict {
            Verdict::Slower => "slower",
            Verdict::Quicker => "quicker",
            Verdict::NoDifference => NO_DIFFERENCE,
        };
        let variant = it.variant.as_str();
        row! { "time": it.what.as_str(), "of": variant, "to that of before": ratio, "from": from, "to": to, "verdict": verdict }
    });
    parts.push(table(
        "Ratios of the pairs of rounds, with their intervals",
        origin,
        rows,
    ));
    for variant in &shown.variants {
        if let Some(wrong) = &variant.wrong {
            parts.push(format!(
                "{} is not measured to the end: {wrong}",
                variant.variant
            ));
        }
    }
    if shown.prediction.is_none() {
        parts.push(
            "No prediction: PREDICT=\"calls=2 ms=10 usd=3\" sets yours beside the numbers."
                .to_owned(),
        );
    }
    parts.join("\n\n")
}
