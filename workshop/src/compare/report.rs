//! The page of a comparison.

use super::Comparison;
use super::render::verdict;
use super::rounds::WARM;
use crate::machine::{MEASURED, SIMULATED};
use crate::ratio::LEAST_EFFECT;
use crate::report::model::{
    Chart, ChartKind, Fact, Kind, Outcome, Report, Section, Table, VERSION, cells, facts, known,
};

pub fn report(comparison: &Comparison) -> Report {
    let Comparison {
        before,
        after,
        counts,
        times,
        rounds,
        ..
    } = comparison;
    let said = verdict(comparison);
    let (outcome, said) = match (&comparison.interrupted_by, comparison.worse) {
        (Some(signal), _) => (
            Outcome::Partial,
            format!("Cut short by {signal}. Of the rounds until then: {said}."),
        ),
        (None, 0) => (
            Outcome::Passed,
            format!("There is {said}.")
                .replace("There is nothing", "Nothing")
                .replace("There is something", "Something"),
        ),
        (None, _) => (Outcome::Failed, format!("{said}.")),
    };
    let differ: Vec<_> = counts.iter().filter(|it| it.before != it.after).collect();
    let columns = [
        ("counted", ""),
        ("before", ""),
        ("after", ""),
        ("verdict", ""),
    ];
    let rows = differ.iter().map(|it| {
        let verdict = if it.after > it.before { "more" } else { "less" };
        cells![it.what.as_str(), it.before, it.after, verdict]
    });
    let title = format!(
        "Counted causes: {} of {} differ",
        differ.len(),
        counts.len()
    );
    let counted = Table::new(&title, SIMULATED, &columns).with(rows);
    let origin = if comparison.conditions.is_none() {
        MEASURED
    } else {
        SIMULATED
    };
    let columns = [
        ("time", ""),
        ("before", "ms"),
        ("after", "ms"),
        ("ratio", ""),
        ("from", ""),
        ("to", ""),
        ("verdict", ""),
    ];
    let rows = times.iter().map(|it| {
        cells![
            it.what.as_str(),
            known(Some(it.before_ms)),
            known(Some(it.after_ms)),
            known(Some(it.ratio.ratio)),
            known(Some(it.ratio.from)),
            known(Some(it.ratio.to)),
            it.ratio.verdict.word(),
        ]
    });
    let title = "Medians, and the ratio with its interval";
    let ratios = Table::new(title, origin, &columns).with(rows);
    let mut all_facts = vec![
        Fact::new("before", before.clone()),
        Fact::new("after", after.clone()),
        Fact::new("rounds", rounds.to_string()),
    ];
    all_facts.extend(facts(
        &comparison.machine,
        None,
        comparison.conditions.as_ref(),
    ));
    let mut charts = Vec::new();
    if !times.is_empty() {
        charts.push(Chart {
            id: "ratios".to_owned(),
            kind: ChartKind::Ratios,
            title: "Times, after divided by before".to_owned(),
            text: format!(
                "The ratio of {} times, each with its interval; 1 is no difference.",
                times.len()
            ),
            tables: vec![ratios],
        });
    }
    Report {
        version: VERSION,
        kind: Kind::Comparison,
        title: "Comparison of two builds".to_owned(),
        started_at: comparison.started_at.clone(),
        outcome,
        verdict: said,
        gates: Vec::new(),
        gates_origin: origin.to_owned(),
        facts: all_facts,
        sections: vec![
            Section {
                id: "counts".to_owned(),
                title: "Causes".to_owned(),
                notes: vec![format!(
                    "{rounds} rounds, each with one cold start and {WARM} warm requests of each route. Calls, bytes, units, connections and cold starts are counted, and have to be equal."
                )],
                tables: vec![counted],
                charts: Vec::new(),
            },
            Section {
                id: "times".to_owned(),
                title: "Times".to_owned(),
                notes: vec![format!(
                    "The intervals hold all {} ratios at once with 95 %. A difference is beyond {:.0} % with its whole interval.",
                    times.len(),
                    LEAST_EFFECT * 100.0
                )],
                tables: Vec::new(),
                charts,
            },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Count, Time};
    use super::*;
    use crate::machine::Machine;
    use crate::ratio::{Ratio, Verdict};

    #[test]
    fn a_comparison_has_its_ratios_and_what_differs() {
        let count = |what: &str, after| Count {
            what: what.to_owned(),
            before: 20.0,
            after,
        };
        let mut comparison = Comparison {
            before: "a".to_owned(),
            after: "b".to_owned(),
            started_at: String::new(),
            interrupted_by: None,
            machine: Machine::default(),
            conditions: None,
            rounds: 20,
            counts: vec![count("calls", 21.0), count("bytes", 20.0)],
            times: vec![Time {
                what: "GetProduct warm".to_owned(),
                before_ms: 10.0,
                after_ms: 13.0,
                ratio: Ratio {
                    ratio: 1.3,
                    from: 1.2,
                    to: 1.4,
                    verdict: Verdict::Slower,
                },
            }],
            worse: 2,
        };
        let told = report(&comparison);
        assert_eq!(told.outcome, Outcome::Failed);
        assert_eq!(told.verdict, "2 of these numbers are more or slower.");
        assert_eq!(told.sections[0].tables[0].rows.len(), 1);
        assert_eq!(told.sections[1].charts[0].tables[0].rows[0][6], "slower");
        comparison.worse = 0;
        comparison.counts.clear();
        comparison.times.clear();
        let told = report(&comparison);
        assert_eq!(told.verdict, "There is no difference that could be told.");
        assert!(told.sections[1].charts.is_empty());
    }
}
