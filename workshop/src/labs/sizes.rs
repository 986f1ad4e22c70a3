//! `workshop sizes`: the exercise of a lesson at every memory size, beside `before`, and the cheapest that keeps the gate.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use local::conditions::Medians;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::build::build;
use super::judge::{Taken, compared};
use super::lab::{Judge, Limit, Run};
use super::lesson::{Lesson, TEMPLATE, Variant};
use super::measure::{Measure, What};
use super::stage::{Stage, Theatre, Wrong};
use super::{Place, run_name};
use crate::files::write_json;
use crate::machine::{MEASURED, Machine, SIMULATED, commit, conditions};
use crate::ratio::{Ratio, ratio, width};
use crate::report::model::{
    Chart, ChartKind, Kind, Outcome, Report, Section, Table, VERSION, cells, facts, known,
};
use crate::report::write_quietly;
use crate::session::{BadInput, Session};
use crate::table::{Row, row, table};

/// MB: each twice the one before, and one vCPU with what is beyond it.
const SIZES: [u32; 7] = [128, 256, 512, 1024, 1769, 2048, 3008];

/// Prices that differ by less cannot be told apart in a few rounds.
const SAME_PRICE: f64 = 1.1;

const KEY: &str = "MemorySize: ";

/// Of `workshop sizes`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// A lesson whose template.yaml is edited, such as 09
    #[arg(long, default_value = "")]
    lab: String,
    /// Rounds at each size
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(5..=200))]
    rounds: u32,
    /// What AWS takes where this machine takes almost nothing: none, lambda, or a file (docs/conditions.md)
    #[arg(long, value_name = "NAME|FILE", default_value = "lambda")]
    conditions: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result; `target/labs/<lesson>-sizes.json`, and as a page in `target/labs/report.html`.
#[derive(Debug, Serialize)]
struct Curve {
    lesson: String,
    title: String,
    /// RFC 3339.
    started_at: String,
    interrupted_by: Option<String>,
    origin: &'static str,
    machine: Machine,
    commit: Option<String>,
    conditions: Option<Medians>,
    /// Of the size that has least.
    rounds: usize,
    /// What the gate looks at, and the most that it may be of `before`.
    gate: String,
    at_most: f64,
    sizes: Vec<Size>,
    /// The smallest of the cheapest sizes that keep the gate.
    choice: Option<u32>,
}

/// One memory size. Times are ms.
#[derive(Debug, Serialize)]
struct Size {
    memory_mb: u32,
    /// What the gate looks at.
    gated_ms: Option<f64>,
    /// The same, divided by that of `before`, with its interval.
    ratio: Option<Ratio>,
    /// Whether the whole interval is within the gate.
    keeps: bool,
    duration_ms: Option<f64>,
    /// Of a million requests.
    usd: Option<f64>,
}

/// Runs the verb.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let place = &arguments.place;
    let (labs, target) = (place.labs(session), place.target(session));
    let lesson = Lesson::find(&labs, &arguments.lab)?;
    let (run, gate) = gated(&lesson)?;
    let started_at = OffsetDateTime::now_utc().format(&Rfc3339)?;
    let variants = [Variant::Before, Variant::Exercise];
    let binaries = build(session, &labs, &target, &lesson, &variants).await?;
    let theatre = Theatre {
        session,
        lesson: &lesson,
        local: &place.local(session),
        target: &target,
        run: run_name(),
    };
    let mut stages = Vec::new();
    let mut known = None;
    let rounds = async {
        let before = Stage::start(
            &theatre,
            Variant::Before,
            &binaries[0],
            &arguments.conditions,
        );
        stages.push(before.await?);
        known = stages[0].host().conditions().await?;
        // All need the same factor of this machine, which the first has measured.
        let given = match &known {
            Some(known) => format!("{},factor={}", arguments.conditions, known.cpu_factor),
            None => arguments.conditions.clone(),
        };
        for size in SIZES {
            let out = theatre.folder().join("sizes").join(size.to_string());
            let template = of_size(&lesson, size, &out)?;
            let (variant, binaries) = (Variant::Exercise, &binaries[1]);
            let stage = Stage::of_template(&theatre, variant, binaries, &given, &template, &out);
            stages.push(stage.await?);
        }
        play(session, arguments, run, &mut stages).await
    };
    let played: Result<()> = session.or_interrupted(rounds).await;
    let least = stages.iter().map(|it| it.rounds.len()).min().unwrap_or(0);
    let interrupted = session.interrupted_by().map(|signal| signal.to_string());
    let mut curve = Curve {
        lesson: lesson.name(),
        title: lesson.lab.title.clone(),
        started_at,
        interrupted_by: interrupted,
        origin: if known.is_some() { SIMULATED } else { MEASURED },
        machine: Machine::this().await,
        commit: commit(&session.root).await,
        conditions: known,
        rounds: least,
        gate: gate.measure.to_string(),
        at_most: gate.at_most,
        sizes: Vec::new(),
        choice: None,
    };
    if let [before, own @ ..] = &stages[..]
        && least >= 2
    {
        let sizes = SIZES.iter().zip(own);
        let sizes = sizes.map(|(size, stage)| Size::of(*size, &gate, stage, before, least));
        curve.sizes = sizes.collect();
        curve.choice = choice(&curve.sizes);
    }
    for stage in stages {
        stage.stop().await;
    }
    if curve.interrupted_by.is_none() || curve.sizes.is_empty() {
        played?;
    }
    write_json(
        &target.join(format!("{}-sizes.json", lesson.name())),
        &curve,
    )?;
    let page = write_quietly(&target, &report(&curve))?;
    if arguments.json {
        session.say(serde_json::to_string_pretty(&curve)?);
    } else {
        let page = page.strip_prefix(&session.root).unwrap_or(&page).display();
        session.say(format!("{}\n\nReport: {page}", text(&curve)));
    }
    Ok(true)
}

/// What keeps the memory from being too little: a number, and the most that it may be of that of `before`.
struct Gate<'a> {
    measure: &'a Measure,
    at_most: f64,
}

/// The steps of a lesson whose memory is chosen, and its gate: the first check that compares with `before`.
fn gated(lesson: &Lesson) -> Result<(&Run, Gate<'_>)> {
    let mut checks = lesson.lab.check.iter();
    let gate = checks.find_map(|it| match it.limit {
        Limit::RatioAtMost(at_most) => Some(Gate {
            measure: &it.measure,
            at_most,
        }),
        _ => None,
    });
    match (&lesson.lab.judge, gate) {
        (Judge::Run(run), Some(gate)) if lesson.lab.edits_template => Ok((run, gate)),
        _ => {
            let name = lesson.name();
            let why = format!("no memory is chosen in lesson {name}; it is in LAB=09");
            Err(BadInput(why).into())
        }
    }
}

/// The exercise's template with another memory, in an empty folder.
fn of_size(lesson: &Lesson, memory_mb: u32, folder: &Path) -> Result<PathBuf> {
    let file = lesson.folder.join(TEMPLATE);
    let text = fs::read_to_string(&file)?;
    let text = with_memory(&text, memory_mb).with_context(|| {
        let why = format!("{} has no `{KEY}` with a number behind it", file.display());
        BadInput(why)
    })?;
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder)?;
    let file = folder.join(TEMPLATE);
    fs::write(&file, text)?;
    Ok(file)
}

fn with_memory(template: &str, memory_mb: u32) -> Option<String> {
    let (begin, rest) = template.split_once(KEY)?;
    let end = rest.trim_start_matches(|it: char| it.is_ascii_digit());
    (end.len() < rest.len()).then(|| format!("{begin}{KEY}{memory_mb}{end}"))
}

/// All rounds, the sizes of each in another order. An answer that is wrong is so at every size.
async fn play(
    session: &Session,
    arguments: &Arguments,
    run: &Run,
    stages: &mut [Stage],
) -> Result<()> {
    let right = |taken: std::result::Result<(), Wrong>| {
        taken.map_err(|Wrong(said)| {
            BadInput(format!(
                "make the answers right first (`make check`): {said}"
            ))
        })
    };
    for stage in &mut *stages {
        right(stage.prepare(run).await?)?;
    }
    let bar = session.bar(arguments.rounds.into());
    for number in 1..=arguments.rounds {
        let mut order: Vec<_> = stages.iter_mut().collect();
        fastrand::shuffle(&mut order);
        for stage in order {
            right(stage.round(run).await?)?;
        }
        bar.set_position(number.into());
        if !bar.is_hidden() {
            session.progress(&bar, format!("round {number} of {}", arguments.rounds));
        }
    }
    bar.finish_and_clear();
    Ok(())
}

impl Size {
    fn of(memory_mb: u32, gate: &Gate<'_>, own: &Stage, before: &Stage, rounds: usize) -> Self {
        let [all, base]: [Vec<_>; 2] = [own, before].map(|it| it.rounds[..rounds].iter().collect());
        let of = |measure: &Measure| measure.of(&all, &own.prices);
        let taken = [(&all, own), (&base, before)].map(|(rounds, stage)| Taken {
            rounds,
            prices: &stage.prices,
        });
        let [taken, base] = taken;
        let pairs = compared(gate.measure, taken, base);
        let ratio = pairs.map(|[before, own]| ratio(&before, &own, width(own.len(), 1)));
        Self {
            memory_mb,
            gated_ms: of(gate.measure),
            keeps: ratio.is_some_and(|it| it.to <= gate.at_most),
            ratio,
            duration_ms: of(&Measure::plain(What::WarmMs)),
            usd: of(&Measure::plain(What::Usd)),
        }
    }
}

/// The smallest size of those that keep the gate and cost no more than the cheapest of them, as far as that can be told.
fn choice(sizes: &[Size]) -> Option<u32> {
    let keep = || sizes.iter().filter(|size| size.keeps);
    let cheapest = keep().filter_map(|size| size.usd).min_by(f64::total_cmp)?;
    let cheap = |it: &&Size| it.usd.is_some_and(|usd| usd <= cheapest * SAME_PRICE);
    keep().filter(cheap).map(|size| size.memory_mb).min()
}

impl Curve {
    fn verdict(&self) -> String {
        match (&self.interrupted_by, self.choice) {
            (Some(signal), _) => {
                format!("Cut short by {signal}. This is what was measured until then.")
            }
            (None, Some(memory)) => format!(
                "The cheapest size that keeps the gate is {memory} MB; prices within a tenth count as the same."
            ),
            (None, None) => "No size keeps the gate: mend the code first.".to_owned(),
        }
    }
}

fn text(curve: &Curve) -> String {
    let rows = curve.sizes.iter().map(|it| -> Row {
        row! { "MB": it.memory_mb, "gated, ms": it.gated_ms, "of before": it.ratio.map(|it| it.ratio),
            "surely at most": it.ratio.map(|it| it.to), "keeps the gate": if it.keeps { "yes" } else { "no" },
            "duration, ms": it.duration_ms, "$ a million": it.usd }
    });
    format!(
        "Lesson {}: {}\n{}\nconditions: {}\n{} rounds of before and of the exercise at each size\n\n{}\n\n\"gated\" is {}, wanted at most {} of that of before, surely.\n{}",
        curve.lesson,
        curve.title,
        curve.machine.describe(),
        conditions(curve.conditions.as_ref()),
        curve.rounds,
        table("Your exercise by memory size", curve.origin, rows),
        curve.gate,
        curve.at_most,
        curve.verdict(),
    )
}

fn report(curve: &Curve) -> Report {
    let outcome = match (&curve.interrupted_by, curve.choice) {
        (Some(_), _) => Outcome::Partial,
        (None, Some(_)) => Outcome::Passed,
        (None, None) => Outcome::Failed,
    };
    let columns = [
        ("memory", "MB"),
        ("gated", "of before"),
        ("duration", "ms"),
        ("price", "$ a million"),
    ];
    let rows = curve.sizes.iter().map(|it| {
        let ratio = it.ratio.map(|it| it.ratio);
        cells![
            it.memory_mb,
            known(ratio),
            known(it.duration_ms),
            known(it.usd)
        ]
    });
    let drawn = Table::new("By memory size", curve.origin, &columns)
        .with(rows)
        .limited("gated", curve.at_most);
    Report {
        version: VERSION,
        kind: Kind::PowerCurve,
        title: format!("Lesson {}: {}, by memory size", curve.lesson, curve.title),
        started_at: curve.started_at.clone(),
        outcome,
        verdict: curve.verdict(),
        gates: Vec::new(),
        gates_origin: curve.origin.to_owned(),
        facts: facts(
            &curve.machine,
            curve.commit.as_deref(),
            curve.conditions.as_ref(),
        ),
        sections: vec![Section {
            id: "sizes".to_owned(),
            title: "By memory size".to_owned(),
            notes: vec![format!("\"gated\" is {}.", curve.gate)],
            tables: Vec::new(),
            charts: vec![Chart {
                id: "power-curve".to_owned(),
                kind: ChartKind::Lines,
                title: "Your exercise by memory size".to_owned(),
                text: format!(
                    "The time that the gate looks at, duration and price at {} memory sizes.",
                    curve.sizes.len()
                ),
                tables: vec![drawn],
            }],
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_template_is_replaced_and_nothing_else() {
        let template = "  A:\n    MemorySize: 3008 # it was slow\n    Timeout: 20\n";
        let expected = "  A:\n    MemorySize: 256 # it was slow\n    Timeout: 20\n";
        assert_eq!(with_memory(template, 256).as_deref(), Some(expected));
        assert_eq!(with_memory("MemorySize: !Ref Memory", 256), None);
        assert_eq!(with_memory("Timeout: 20", 256), None);
    }

    #[test]
    fn the_choice_is_the_smallest_of_the_cheapest_that_keep_the_gate() {
        let size = |memory_mb, keeps, usd| Size {
            memory_mb,
            gated_ms: Some(1.0),
            ratio: None,
            keeps,
            duration_ms: Some(1.0),
            usd: Some(usd),
        };
        let sizes = [
            size(128, false, 1.4),
            size(256, true, 1.6),
            size(512, true, 1.5),
            size(1024, true, 2.5),
        ];
        assert_eq!(choice(&sizes), Some(256));
        assert_eq!(choice(&sizes[2..]), Some(512));
        assert_eq!(choice(&sizes[..1]), None);
    }
}
