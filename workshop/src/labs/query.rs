//! Lessons of which the answer is a query: the lesson's application runs, and the student's queries are run over its logs.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use local::conditions::Medians;
use local::events::Event;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::Place;
use super::build::build;
use super::judge::{Checked, Verdict, short};
use super::lab::{Answer, Query};
use super::lesson::{Lesson, Variant};
use super::measure::{Measure, Prices, Round, What};
use super::progress::Prediction;
use super::run_name;
use super::stage::{Stage, Theatre, Wrong};
use super::steps::Names;
use crate::files::write_json;
use crate::insights::{Found, Named, Record, Value, parse_all, read_folder};
use crate::machine::{MEASURED, Machine, SIMULATED, commit, conditions};
use crate::percentile::ms;
use crate::prices;
use crate::report::model::{Fact, Kind, Outcome, Report, Section, Table, VERSION, facts};
use crate::report::write_quietly;
use crate::session::{BadInput, Session};
use crate::table::{Row, row, table};

/// Of a number: results are compared to within rounding.
const NEAR: f64 = 0.005;

/// What a run has left behind.
struct Observed {
    log: Vec<Record>,
    rounds: Vec<Round>,
    prices: Prices,
    names: Names,
    conditions: Option<Medians>,
}

/// Runs the lesson's application, and judges a variant by what its queries find in the logs.
///
/// # Errors
/// [`BadInput`] for a query that cannot be understood.
pub async fn judged(
    session: &Session,
    place: &Place,
    lesson: &Lesson,
    variant: &Variant,
    query: &Query,
    conditions: &str,
) -> Result<Verdict> {
    // Before anything is started.
    let own = queries(lesson, variant)?;
    let solution = queries(lesson, &Variant::Solution)?;
    let rounds = query.run.rounds;
    let observed = observe(session, place, lesson, variant, query, rounds, conditions).await?;
    match observed {
        Err(Wrong(says)) => Ok(Verdict::wrong(says)),
        Ok(observed) => query.judge(&own, &solution, &observed),
    }
}

/// The queries of a variant.
fn queries(lesson: &Lesson, variant: &Variant) -> Result<Vec<Named>> {
    let file = lesson.source(&lesson.lab.edits, variant);
    let text = fs::read_to_string(&file)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    parse_all(&text).map_err(|error| BadInput(format!("{name}: {error}")).into())
}

async fn observe(
    session: &Session,
    place: &Place,
    lesson: &Lesson,
    variant: &Variant,
    query: &Query,
    rounds: u64,
    conditions: &str,
) -> Result<std::result::Result<Observed, Wrong>> {
    let (labs, target) = (place.labs(session), place.target(session));
    let variants = std::slice::from_ref(variant);
    let binaries = build(session, &labs, &target, lesson, variants).await?;
    let binaries = binaries.first().context("nothing was built")?;
    let theatre = Theatre {
        session,
        lesson,
        local: &place.local(session),
        target: &target,
        run: run_name(),
    };
    let mut stage = Stage::start(&theatre, variant.clone(), binaries, conditions).await?;
    let known = stage.host().conditions().await?;
    let log_dir = stage.host().ready.log_dir.clone();
    let (names, prices) = (stage.names().clone(), stage.prices.clone());
    let taken = async {
        if let Err(wrong) = stage.prepare(&query.run).await? {
            return Ok(Err(wrong));
        }
        for _ in 0..rounds {
            if let Err(wrong) = stage.round(&query.run).await? {
                return Ok(Err(wrong));
            }
        }
        Ok(Ok(()))
    };
    let taken: Result<std::result::Result<(), Wrong>> = session.or_interrupted(taken).await;
    let rounds = std::mem::take(&mut stage.rounds);
    // Its logs are complete only then.
    stage.stop().await;
    Ok(match taken? {
        Err(wrong) => Err(wrong),
        Ok(()) => Ok(Observed {
            log: read_folder(&log_dir)?,
            rounds,
            prices,
            names,
            conditions: known,
        }),
    })
}

impl Query {
    fn judge(&self, own: &[Named], solution: &[Named], observed: &Observed) -> Result<Verdict> {
        let (mut judged, mut failure) = (Vec::new(), None);
        for answer in &self.answer {
            let looked = self.look(answer, own, solution, observed)?;
            if !looked.passed && failure.is_none() {
                let says = answer.says.replace("{measured}", &looked.measured);
                failure = Some(says.replace("{wanted}", &looked.wanted));
            }
            judged.push(looked);
        }
        let passed = || {
            let mut all: BTreeMap<_, Vec<&str>> = BTreeMap::new();
            for looked in judged.iter().filter(|it| it.is_found) {
                all.entry((looked.place, &*looked.what))
                    .or_default()
                    .push(&looked.measured);
            }
            let all = all
                .iter()
                .map(|((_, name), found)| format!("{name}: {}", found.join(", ")));
            let all: Vec<_> = all.collect();
            format!("Passed: {}.", all.join("; "))
        };
        Ok(Verdict {
            passed: failure.is_none(),
            says: failure.unwrap_or_else(passed),
            checks: judged.into_iter().map(Looked::checked).collect(),
        })
    }

    fn look(
        &self,
        answer: &Answer,
        own: &[Named],
        solution: &[Named],
        observed: &Observed,
    ) -> Result<Looked> {
        let name = &answer.query;
        let of = |all: &'_ [Named]| all.iter().position(|it| it.name == *name);
        let known = of(solution).with_context(|| format!("solution.query has no query {name}"))?;
        let Some(place) = of(own) else {
            let measured = format!("no query `## {name}`");
            let wanted = "one below each question".to_owned();
            return Ok(Looked::new(known, name, measured, wanted, false));
        };
        let query = &own[place].query;
        if answer.unpicked {
            let mut lists = self.shuffled.values();
            let picked = lists.find_map(|list| query.picks(list));
            let measured =
                picked.map_or("nothing that is drawn".to_owned(), |it| format!("`{it}`"));
            let wanted = "fields of the log".to_owned();
            return Ok(Looked::new(known, name, measured, wanted, picked.is_none()).lack());
        }
        let found = query.run(&observed.log);
        if let Some(row) = answer.never.as_ref().or(answer.first.as_ref()) {
            let (measured, same) = compare(&found, row, &observed.names)?;
            let passed = same == answer.first.is_some();
            // What is right stands in the answer to the same query that says what comes first.
            let same_query = self.answer.iter().filter(|it| it.query == *name);
            let first = answer.first.as_ref();
            let first = first.or(same_query.filter_map(|it| it.first.as_ref()).next());
            let wanted = first.context("a `never` without a `first` of its query")?;
            let wanted = described(wanted, &observed.names)?;
            let looked = Looked::new(known, name, measured, wanted, passed);
            return Ok(if answer.first.is_some() {
                looked
            } else {
                looked.lack()
            });
        }
        if answer.columns.is_empty() {
            bail!("lab.toml: an answer to {name} is one of unpicked, never, first and columns");
        }
        let wanted = solution[known].query.run(&observed.log);
        Ok(answer.numbers(known, &found, &wanted))
    }
}

impl Answer {
    /// The first number that differs from that of the solution, or the first one.
    fn numbers(&self, place: usize, found: &Found, solution: &Found) -> Looked {
        let mut first = None;
        for (index, right) in solution.rows.iter().enumerate() {
            let key = self.by.as_ref().and_then(|by| right.get(by));
            let row = match (&self.by, key) {
                (Some(by), Some(key)) => {
                    let mut rows = found.rows.iter();
                    rows.find(|row| row.get(by) == Some(key))
                }
                _ => found.rows.get(index),
            };
            for column in &self.columns {
                let number = |row: &Record| row.get(column).and_then(Value::number);
                let (own, wanted) = (row.and_then(number), number(right));
                let near = own.zip(wanted);
                let near = near.is_some_and(|(a, b)| (a - b).abs() <= NEAR * b.abs());
                let of = key.map(|key| format!("{} ", last_part(&key.to_string())));
                let of = of.unwrap_or_default();
                let shown = |it: Option<f64>| it.map_or("nothing".to_owned(), short);
                let measured = format!("{of}{column} {}", shown(own));
                let looked = Looked::new(place, &self.query, measured, shown(wanted), near);
                if !near {
                    return looked;
                }
                first.get_or_insert(looked);
            }
        }
        let nothing = || Looked::new(place, &self.query, "nothing".into(), "rows".into(), false);
        first.unwrap_or_else(nothing)
    }
}

/// The values of the first row, and whether they are these.
fn compare(found: &Found, row: &BTreeMap<String, Json>, names: &Names) -> Result<(String, bool)> {
    let (mut values, mut same) = (Vec::new(), true);
    for (column, wanted) in row {
        let value = found.value(0, column).filter(|it| **it != Value::None);
        let is = value.map(|it| last_part(&it.to_string()));
        same &= is
            .as_ref()
            .is_some_and(|is| *is == filled(wanted, names).unwrap_or_default());
        values.push(is.map_or_else(|| format!("no {column}"), |it| format!("{column} {it}")));
    }
    Ok((values.join(", "), same))
}

fn described(row: &BTreeMap<String, Json>, names: &Names) -> Result<String> {
    let values = row.iter().map(|(column, it)| {
        let value = filled(it, names)?;
        Ok(format!("{column} {value}"))
    });
    let values: Result<Vec<_>> = values.collect();
    Ok(values?.join(", "))
}

fn filled(value: &Json, names: &Names) -> Result<String> {
    let value = names.value(value)?;
    let text = value.as_str().map(str::to_owned);
    Ok(text.unwrap_or_else(|| value.to_string()))
}

/// `Search` of `000000000000:/aws/lambda/Search`, in small letters.
fn last_part(text: &str) -> String {
    let part = text.rsplit('/').next().unwrap_or_default();
    part.to_lowercase()
}

/// An answer, looked at.
#[derive(Debug)]
struct Looked {
    /// Of the query in its file.
    place: usize,
    what: String,
    measured: String,
    wanted: String,
    passed: bool,
    /// Whether it is something that was found, and not the lack of something.
    is_found: bool,
}

impl Looked {
    fn new(place: usize, what: &str, measured: String, wanted: String, passed: bool) -> Self {
        let what = what.to_owned();
        Self {
            place,
            what,
            measured,
            wanted,
            passed,
            is_found: true,
        }
    }

    fn lack(self) -> Self {
        Self {
            is_found: false,
            ..self
        }
    }

    fn checked(self) -> Checked {
        let number = self.measured.rsplit(' ').next();
        Checked {
            measured: number.and_then(|it| it.parse().ok()),
            what: format!("{}: {}", self.what, self.measured),
            wanted: self.wanted,
            passed: self.passed,
        }
    }
}

const COSTS: &str = "What a line costs";

/// What `workshop lab` needs to know.
#[derive(Debug)]
pub struct Show<'a> {
    pub place: &'a Place,
    pub rounds: u64,
    pub conditions: &'a str,
    pub prediction: Option<Prediction>,
    pub json: bool,
    /// RFC 3339.
    pub started_at: String,
}

/// What a request of a function costs.
#[derive(Debug, Serialize)]
struct Cost {
    function: String,
    invocations: usize,
    log_bytes: Option<f64>,
    log_usd_a_million: Option<f64>,
    /// Of the invocation: its request and its time.
    run_usd_a_million: f64,
}

/// Runs the lesson's application once, and shows what the queries of all three find in the same logs.
pub async fn show(
    session: &Session,
    lesson: &Lesson,
    query: &Query,
    show: &Show<'_>,
) -> Result<bool> {
    let variants = [Variant::Before, Variant::Exercise, Variant::Solution];
    let read: Result<Vec<_>> = variants.iter().map(|it| queries(lesson, it)).collect();
    let read = read?;
    let place = show.place;
    let (exercise, given) = (&Variant::Exercise, show.conditions);
    let observed = observe(session, place, lesson, exercise, query, show.rounds, given).await?;
    let observed = match observed {
        Err(Wrong(said)) => {
            session.say(said);
            return Ok(false);
        }
        Ok(observed) => observed,
    };
    let costs = costs(&session.root, &observed)?;
    let found = variants.iter().zip(&read).map(|(variant, queries)| {
        let found = queries
            .iter()
            .map(|it| (it.name.clone(), it.query.run(&observed.log)));
        (variant.name(), found.collect::<Vec<_>>())
    });
    let found: Vec<_> = found.collect();
    let rows = found.iter().map(|(variant, found)| {
        let found = found
            .iter()
            .map(|(name, found)| json!({"query": name, "rows": found.json()}));
        json!({"variant": variant, "queries": found.collect::<Vec<_>>()})
    });
    let (machine, commit) = (Machine::this().await, commit(&session.root).await);
    let shown = json!({
        "lesson": lesson.name(), "title": lesson.lab.title, "started_at": show.started_at, "machine": machine,
        "commit": commit, "conditions": observed.conditions, "rounds": show.rounds,
        "prediction": show.prediction, "variants": rows.collect::<Vec<_>>(), "costs": costs,
    });
    let target = place.target(session);
    fs::create_dir_all(&target)?;
    write_json(&target.join(format!("{}.json", lesson.name())), &shown)?;
    let origin = match observed.conditions {
        Some(_) => SIMULATED,
        None => MEASURED,
    };
    let costs = costs.iter().map(|it| {
        row! { "function": it.function.as_str(), "invocations": it.invocations, "log bytes a request": it.log_bytes,
            "log, $ a million": it.log_usd_a_million, "run, $ a million": it.run_usd_a_million }
    });
    let costs: Vec<Row> = costs.collect();
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in found.iter().flat_map(|(_, found)| found) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let all_found = names.into_iter().map(|name| {
        let of = found.iter().filter_map(|(variant, found)| {
            let (_, found) = found.iter().find(|(own, _)| own == name)?;
            Some((format!("{name}, {variant}"), found))
        });
        (name.as_str(), of.collect())
    });
    let all_found: Vec<(&str, Vec<_>)> = all_found.collect();
    let sections = all_found.iter().map(|(name, of)| section(name, of, origin));
    let mut sections: Vec<_> = sections.collect();
    sections.push(Section {
        id: "costs".to_owned(),
        title: COSTS.to_owned(),
        notes: Vec::new(),
        tables: vec![Table::of_rows(COSTS, origin, costs.clone())],
        charts: Vec::new(),
    });
    let mut all_facts = vec![Fact::new("rounds", show.rounds.to_string())];
    all_facts.extend(predicted(show).map(|it| Fact::new("you predicted", it)));
    all_facts.extend(facts(
        &machine,
        commit.as_deref(),
        observed.conditions.as_ref(),
    ));
    let report = Report {
        version: VERSION,
        kind: Kind::Lesson,
        title: format!("Lesson {}: {}", lesson.name(), lesson.lab.title),
        started_at: show.started_at.clone(),
        outcome: Outcome::Unjudged,
        verdict: "What the queries of all three find in the same logs; `make check` judges them."
            .to_owned(),
        gates: Vec::new(),
        gates_origin: origin.to_owned(),
        facts: all_facts,
        sections,
    };
    let page = write_quietly(&target, &report)?;
    if show.json {
        session.say(serde_json::to_string_pretty(&shown)?);
        return Ok(true);
    }
    let mut parts = vec![format!(
        "Lesson {}: {}\n{}\nconditions: {}\n{} rounds, of which all queries read the same logs",
        lesson.name(),
        lesson.lab.title,
        machine.describe(),
        conditions(observed.conditions.as_ref()),
        show.rounds
    )];
    let of_all = all_found.iter().flat_map(|(_, of)| of);
    parts.extend(of_all.map(|(title, found)| found.text(title, origin)));
    parts.push(table(COSTS, origin, costs));
    parts.push(match predicted(show) {
        Some(predicted) => format!("You predicted, {predicted}"),
        None => "No prediction: PREDICT=\"calls=2 ms=10 usd=3\" keeps yours.".to_owned(),
    });
    let page = page.strip_prefix(&session.root).unwrap_or(&page).display();
    parts.push(format!("Report: {page}"));
    session.say(parts.join("\n\n"));
    Ok(true)
}

fn predicted(show: &Show<'_>) -> Option<String> {
    let predicted = show.prediction.as_ref();
    predicted.map(|it| format!("of the slow request: {it}"))
}

/// What the query of this name has found, of each variant.
fn section(name: &str, of: &[(String, &Found)], origin: &str) -> Section {
    let tables = of.iter().map(|(title, found)| {
        let columns: Vec<_> = found.columns.iter().map(|it| (it.as_str(), "")).collect();
        let rows = found.json();
        let rows = rows.as_array().into_iter().flatten().map(|row| {
            let cells = found.columns.iter().map(|it| row[it].clone());
            cells.collect::<Vec<_>>()
        });
        Table::new(title, origin, &columns).with(rows)
    });
    Section {
        id: name
            .to_lowercase()
            .replace(|it: char| !it.is_alphanumeric(), "-"),
        title: name.to_owned(),
        notes: Vec::new(),
        tables: tables.collect(),
        charts: Vec::new(),
    }
}

/// Of each function: its log beside its run.
fn costs(root: &Path, observed: &Observed) -> Result<Vec<Cost>> {
    let prices = prices::Prices::read(root)?;
    let (log_byte, run) = (prices.usd("log_gb")? / 1e9, prices.usd("lambda_request")?);
    let rounds: Vec<_> = observed.rounds.iter().collect();
    let functions = observed.prices.functions.iter();
    let costs = functions.map(|(name, function)| {
        let events = rounds.iter().flat_map(|round| round.events());
        let own = events.filter_map(|entry| match &entry.event {
            Event::Invocation(it) if it.function == *name => Some(ms(it.duration).ceil()),
            _ => None,
        });
        let billed: Vec<f64> = own.collect();
        let mean = billed.iter().sum::<f64>() / billed.len().max(1) as f64;
        let compute = mean / 1e3 * function.memory_mb / 1024.0 * function.gb_second;
        let log_bytes = Measure {
            function: Some(name.clone()),
            per: Some(super::measure::Per::Invocation),
            ..Measure::plain(What::LogBytes)
        };
        let log_bytes = log_bytes.of(&rounds, &observed.prices);
        Cost {
            function: name.clone(),
            invocations: billed.len(),
            log_bytes,
            log_usd_a_million: log_bytes.map(|it| it * log_byte * 1e6),
            run_usd_a_million: (compute + run) * 1e6,
        }
    });
    Ok(costs.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::*;
    use crate::insights::read;

    const QUERY: &str = r#"
        [shuffled]
        function = ["search", "offers"]
        [run]
        rounds = 1
        step = []
        [[answer]]
        query = "slow"
        unpicked = true
        says = "picked {measured}, {wanted}"
        [[answer]]
        query = "slow"
        never = { function = "{function:2}" }
        says = "never {measured}, {wanted}"
        [[answer]]
        query = "slow"
        first = { function = "{function:1}", "@log" = "{function:1}" }
        says = "first {measured}, {wanted}"
        [[answer]]
        query = "time"
        by = "function"
        columns = ["ms"]
        says = "time {measured}, {wanted}"
    "#;
    const SOLUTION: &str = "## slow\nstats max(ms) as most by function, @log | sort most desc\n## time\nstats sum(ms) as ms by function";

    fn judged(own: &str) -> Verdict {
        let query: Query = toml::from_str(QUERY).unwrap();
        let log = [
            read(
                "Search",
                "{\"function\":\"search\",\"ms\":5}\n{\"function\":\"search\",\"ms\":1}",
            ),
            read("Offers", "{\"function\":\"offers\",\"ms\":4}"),
        ];
        let names = Names {
            lists: query.shuffled.clone(),
            ..Names::default()
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let observed = Observed {
            log: log.concat(),
            rounds: Vec::new(),
            prices: Prices::read(&root, &Json::Null, &root).unwrap(),
            names,
            conditions: None,
        };
        let [own, solution] = [own, SOLUTION].map(|it| parse_all(it).unwrap());
        query.judge(&own, &solution, &observed).unwrap()
    }

    #[test]
    fn a_query_that_finds_what_was_planted_passes_and_says_so() {
        let verdict = judged(SOLUTION);
        assert!(verdict.passed);
        let expected = "Passed: slow: @log search, function search; time: search ms 6.";
        assert_eq!(verdict.says, expected);
        // Other names, other rows beside them, and rounding are no mistake.
        let other = "## time\nstats sum(ms) * 1.004 as ms, count(*) by function | sort ms\n## slow\nstats max(ms) as x by function, @log | sort x desc";
        assert!(judged(other).passed);
    }

    #[test]
    fn each_way_to_be_wrong_has_its_sentence() {
        for (old, new, said) in [
            (
                "stats max(ms)",
                "filter function = 'search' | stats max(ms)",
                "picked `search`, fields of the log",
            ),
            (
                "desc",
                "asc",
                "never function offers, @log search, function search",
            ),
            (
                "max(ms) as most by function, @log",
                "max(ms) as most by function",
                "first no @log, function search, @log search, function search",
            ),
            ("sum(ms) as ms", "avg(ms) as ms", "time search ms 3, 6"),
            ("sum(ms) as ms", "sum(ms)", "time search ms nothing, 6"),
            (
                "## time",
                "## times",
                "time no query `## time`, one below each question",
            ),
            (
                "stats sum",
                "filter function = 'x' | stats sum",
                "time search ms nothing, 6",
            ),
        ] {
            let verdict = judged(&SOLUTION.replacen(old, new, 1));
            assert_eq!((verdict.passed, &*verdict.says), (false, said), "{new}");
        }
    }
}
