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
use super::judge::{Taken, compared};
use super::lab::{Judge, Predicts, Run};
use super::lesson::{Lesson, Variant};
use super::measure::{Measure, Per, Round, What};
use super::progress::{Prediction, Progress};
use super::stage::{Stage, Theatre, Wrong};
use super::{Place, query, run_name, verdicts};
use crate::files::write_json;
use crate::machine::{MEASURED, Machine, SIMULATED, commit, conditions};
use crate::ratio::{NO_DIFFERENCE, Ratio, Verdict, ratio, width};
use crate::report::model::{
    Chart, ChartKind, Fact, Kind, Outcome, Report, Section, Table, VERSION, cells, facts, rounded,
};
use crate::report::write_quietly;
use crate::session::Session;
use crate::table::{Row, row, table};

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

/// The result; `target/labs/<lesson>.json`, and as a page in `target/labs/report.html`.
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

/// Titles of the two tables.
const CAUSES: &str = "Causes, times and money";
const TIMES_OF_PAIRS: &str = "Ratios of the pairs of rounds, with their intervals";

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
        _ => return verdicts::run(session, place, &lesson, prediction, arguments.json).await,
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
    let page = write_quietly(&target, &report(&shown))?;
    if arguments.json {
        session.say(serde_json::to_string_pretty(&shown)?);
    } else {
        let page = page.strip_prefix(&session.root).unwrap_or(&page).display();
        session.say(format!("{}\n\nReport: {page}", text(&shown)));
    }
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

/// The numbers of a variant: calls by operation, the other causes, what the lesson's checks look at or shows, times and money.
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
    let times = [
        What::WarmCpuMs,
        What::WarmMs,
        What::WaitMs,
        What::EndToEndMs,
        What::Usd,
    ];
    let measures = [Measure::plain(What::Calls)].into_iter();
    let measures = measures
        .chain(by_operation)
        .chain(plain.map(Measure::plain))
        .chain([an_environment]);
    let times = cold.iter().copied().chain(times).map(Measure::plain);
    let checked = lesson.lab.check.iter().map(|it| &it.measure);
    let mut all: Vec<_> = measures.chain(times).collect();
    for measure in checked.chain(&lesson.lab.show).cloned() {
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
            let own = Taken {
                rounds: &own[..rounds],
                prices: &stage.prices,
            };
            let base = Taken {
                rounds: &base[..rounds],
                prices: &before.prices,
            };
            let [old, new] = compared(&measure, own, base)?;
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
    let predicts = lesson.lab.judge.predicts();
    let known = &mut progress.lesson(lesson).prediction;
    if !arguments.predict.is_empty() {
        *known = Some(Prediction::parse(&arguments.predict, predicts)?);
    } else if known.is_none() && io::stdin().is_terminal() && io::stdout().is_terminal() {
        *known = ask(predicts)?;
    }
    let prediction = known.clone();
    progress.write()?;
    Ok(prediction)
}

/// An empty line is no prediction.
fn ask(predicts: &Predicts) -> Result<Option<Prediction>> {
    let Predicts {
        asks,
        means,
        example,
        ..
    } = predicts;
    print_now(&format!(
        "Before you measure: what do you expect of {asks}?\nWrite {means}; such as: {example}\n> "
    ))?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    let line = line.trim();
    if line.is_empty() {
        Ok(None)
    } else {
        Prediction::parse(line, predicts).map(Some)
    }
}

fn print_now(text: &str) -> Result<()> {
    write!(io::stdout(), "{text}")?;
    Ok(io::stdout().flush()?)
}

/// Each number that is not zero in all variants, beside the prediction.
fn causes(shown: &Shown) -> Vec<Row> {
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
        let it = shown.prediction.as_ref()?;
        let pairs = [
            (What::Calls, it.get("calls")),
            (What::WarmMs, it.get("ms")),
            (What::Usd, it.get("usd")),
        ];
        let found = pairs
            .into_iter()
            .find(|(what, _)| Measure::plain(*what).to_string() == name);
        found.and_then(|(_, value)| value)
    };
    let rows = names.iter().map(|name| {
        row! { "number": name.as_str(), "before": of(0, name), "you predicted": predicted(name),
        "exercise": of(1, name), "solution": of(2, name) }
    });
    rows.collect()
}

/// The ratio of each time, in words.
fn times(shown: &Shown) -> Vec<Row> {
    let rows = shown.ratios.iter().map(|it| {
        let Ratio { ratio, from, to, .. } = it.ratio;
        let verdict = it.ratio.verdict.word();
        let variant = it.variant.as_str();
        row! { "time": it.what.as_str(), "of": variant, "to that of before": ratio, "from": from, "to": to, "verdict": verdict }
    });
    rows.collect()
}

/// Why variants were not measured to the end.
fn wrong(shown: &Shown) -> Vec<String> {
    let wrong = shown.variants.iter().filter_map(|it| {
        let why = it.wrong.as_ref()?;
        Some(format!("{} is not measured to the end: {why}", it.variant))
    });
    wrong.collect()
}

impl Shown {
    fn origin(&self) -> &'static str {
        if self.conditions.is_some() {
            SIMULATED
        } else {
            MEASURED
        }
    }
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
    parts.push(table(CAUSES, shown.origin(), causes(shown)));
    parts.push(table(TIMES_OF_PAIRS, shown.origin(), times(shown)));
    parts.extend(wrong(shown));
    if shown.prediction.is_none() {
        parts.push(
            "No prediction: PREDICT=\"calls=2 ms=10 usd=3\" sets yours beside the numbers."
                .to_owned(),
        );
    }
    parts.join("\n\n")
}

/// The page of the lesson.
fn report(shown: &Shown) -> Report {
    let (outcome, verdict) = match &shown.interrupted_by {
        Some(signal) => (
            Outcome::Partial,
            format!("Cut short by {signal}. This is what was measured until then."),
        ),
        None => (Outcome::Unjudged, exercise(shown)),
    };
    let mut all_facts = vec![Fact::new("rounds", shown.rounds.to_string())];
    if let Some(it) = &shown.prediction {
        all_facts.push(Fact::new("you predicted", it.to_string()));
    }
    let (commit, known) = (shown.commit.as_deref(), shown.conditions.as_ref());
    all_facts.extend(facts(&shown.machine, commit, known));
    let columns = ["time", "ratio", "from", "to", "verdict"].map(|it| (it, ""));
    let rows = shown.ratios.iter().map(|it| {
        let name = format!("{}, {}", it.variant, it.what);
        let Ratio {
            ratio, from, to, ..
        } = it.ratio;
        cells![
            name,
            rounded(ratio),
            rounded(from),
            rounded(to),
            it.ratio.verdict.word()
        ]
    });
    let ratios = Table::new(TIMES_OF_PAIRS, shown.origin(), &columns).with(rows);
    let charts = if ratios.rows.is_empty() {
        Vec::new()
    } else {
        vec![Chart {
            id: "ratios".to_owned(),
            kind: ChartKind::Ratios,
            title: "Times, divided by those of before".to_owned(),
            text: format!(
                "The ratio of {} times, each with its interval; 1 is no difference.",
                ratios.rows.len()
            ),
            tables: vec![ratios],
        }]
    };
    Report {
        version: VERSION,
        kind: Kind::Lesson,
        title: format!("Lesson {}: {}", shown.lesson, shown.title),
        started_at: shown.started_at.clone(),
        outcome,
        verdict,
        gates: Vec::new(),
        gates_origin: shown.origin().to_owned(),
        facts: all_facts,
        sections: vec![
            Section {
                id: "causes".to_owned(),
                title: CAUSES.to_owned(),
                notes: wrong(shown),
                tables: vec![Table::of_rows(CAUSES, shown.origin(), causes(shown))],
                charts: Vec::new(),
            },
            Section {
                id: "times".to_owned(),
                title: "Times".to_owned(),
                notes: vec!["Each round has a pair of times; 1 is no difference.".to_owned()],
                tables: Vec::new(),
                charts,
            },
        ],
    }
}

/// What the exercise came to, in a sentence.
fn exercise(shown: &Shown) -> String {
    let own = shown
        .ratios
        .iter()
        .filter(|it| it.variant == Variant::Exercise.name());
    let of = |wanted| own.clone().filter(|it| it.ratio.verdict == wanted).count();
    let (quicker, slower) = (of(Verdict::Quicker), of(Verdict::Slower));
    let same = of(Verdict::NoDifference);
    format!(
        "Of the exercise's {} times {quicker} are quicker than those of before, {slower} slower, and for {same} there is \
         {NO_DIFFERENCE}. `make check` judges the cause.",
        quicker + slower + same
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Shown {
        let measured = |variant: &str, calls| Measured {
            variant: variant.to_owned(),
            wrong: None,
            numbers: vec![Number {
                what: Measure::plain(What::Calls).to_string(),
                value: Some(calls),
            }],
        };
        let compared = |variant: &str, verdict| Compared {
            what: "warm duration, ms".to_owned(),
            variant: variant.to_owned(),
            ratio: Ratio {
                ratio: 0.5,
                from: 0.4,
                to: 0.6,
                verdict,
            },
        };
        Shown {
            lesson: "04-one-call".to_owned(),
            title: "One call".to_owned(),
            started_at: String::new(),
            interrupted_by: None,
            machine: Machine::default(),
            commit: None,
            conditions: None,
            rounds: 5,
            prediction: serde_json::from_str(r#"{"calls": 2, "ms": 10, "usd": 3}"#).unwrap(),
            variants: vec![
                measured("before", 21.0),
                measured("exercise", 20.0),
                measured("solution", 2.0),
            ],
            ratios: vec![
                compared("exercise", Verdict::NoDifference),
                compared("solution", Verdict::Quicker),
            ],
        }
    }

    #[test]
    fn the_page_sets_the_prediction_beside_the_numbers_and_says_where_there_is_no_difference() {
        let page = report(&shown());
        assert_eq!(
            page.sections[0].tables[0].rows,
            [cells!["calls a request", 21.0, 2.0, 20.0, 2.0]]
        );
        assert_eq!(page.sections[1].charts[0].tables[0].rows.len(), 2);
        assert!(page.verdict.starts_with(
            "Of the exercise's 1 times 0 are quicker than those of before, 0 slower, and for 1 there is no difference"
        ));
        assert_eq!(page.outcome, Outcome::Unjudged);
    }

    #[test]
    fn a_lesson_that_was_cut_short_has_a_page_that_says_so() {
        let mut shown = shown();
        shown.interrupted_by = Some("SIGINT".to_owned());
        shown.ratios.clear();
        let page = report(&shown);
        assert_eq!(page.outcome, Outcome::Partial);
        assert!(page.verdict.starts_with("Cut short by SIGINT."));
        assert!(page.sections[1].charts.is_empty());
    }
}
