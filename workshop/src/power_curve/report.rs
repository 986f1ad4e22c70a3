//! The page of a power curve.

use super::{COLD_GOAL_MS, Curve};
use crate::report::model::{
    Chart, ChartKind, Fact, Kind, Outcome, Report, Section, Table, VERSION, cells, facts, known,
};

pub fn report(curve: &Curve) -> Report {
    let (name, limit) = (&curve.function, curve.p99_limit_ms);
    let (outcome, verdict) = match (&curve.interrupted_by, curve.choice) {
        (Some(signal), _) => (
            Outcome::Partial,
            format!("Cut short by {signal}. These are the sizes until then."),
        ),
        (None, Some(memory)) => (
            Outcome::Passed,
            format!("The cheapest size that keeps both limits is {memory} MB."),
        ),
        (None, None) => (Outcome::Failed, "No size keeps both limits.".to_owned()),
    };
    let columns = [
        ("memory", "MB"),
        ("cold start p50", "ms"),
        ("warm p99", "ms"),
        ("price", "$ a million"),
    ];
    let rows = curve.sizes.iter().map(|it| {
        cells![
            it.memory_mb,
            known(Some(it.cold_p50_ms)),
            known(Some(it.warm_p99_ms)),
            known(Some(it.usd)),
        ]
    });
    let drawn = Table::new("By memory size", curve.origin, &columns)
        .with(rows)
        .limited("cold start p50", COLD_GOAL_MS)
        .limited("warm p99", limit);
    let columns = [
        ("memory", "MB"),
        ("cold p50", "ms"),
        ("cold worst", "ms"),
        ("warm p50", "ms"),
        ("warm p99", "ms"),
        ("compute", "GB-s a million"),
        ("price", "$ a million"),
        ("keeps both limits", ""),
    ];
    let rows = curve.sizes.iter().map(|it| {
        cells![
            it.memory_mb,
            known(Some(it.cold_p50_ms)),
            known(Some(it.cold_worst_ms)),
            known(Some(it.warm_p50_ms)),
            known(Some(it.warm_p99_ms)),
            known(Some(it.gb_seconds)),
            known(Some(it.usd)),
            if it.keeps(limit) { "yes" } else { "no" },
        ]
    });
    let all = Table::new("Every size", curve.origin, &columns).with(rows);
    let mut all_facts = vec![Fact::new("priced for", curve.architecture.clone())];
    all_facts.extend(facts(
        &curve.machine,
        curve.commit.as_deref(),
        curve.conditions.as_ref(),
    ));
    Report {
        version: VERSION,
        kind: Kind::PowerCurve,
        title: format!("Power curve: {name}"),
        started_at: curve.started_at.clone(),
        outcome,
        verdict,
        gates: Vec::new(),
        gates_origin: curve.origin.to_owned(),
        facts: all_facts,
        sections: vec![Section {
            id: "sizes".to_owned(),
            title: "By memory size".to_owned(),
            notes: vec![
                format!(
                    "A cold start is the function's own part, init and first invocation, of {} cold starts; warm are {} invocations.",
                    curve.cold_starts, curve.warm_invocations
                ),
                format!(
                    "Both limits: a cold start's median of {COLD_GOAL_MS} ms, a warm 99th percentile of {limit} ms."
                ),
            ],
            tables: vec![all],
            charts: vec![Chart {
                id: "power-curve".to_owned(),
                kind: ChartKind::Lines,
                title: format!("{name} by memory size"),
                text: format!(
                    "Cold start, warm latency and price of {name} at {} memory sizes.",
                    curve.sizes.len()
                ),
                tables: vec![drawn],
            }],
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::super::Size;
    use super::*;
    use crate::machine::{Machine, SIMULATED};

    #[test]
    fn a_curve_has_each_size_and_its_choice() {
        let size = |memory_mb, cold_p50_ms| Size {
            memory_mb,
            cold_p50_ms,
            warm_p99_ms: 9.0,
            ..Size::default()
        };
        let mut curve = Curve {
            function: "GetProduct".to_owned(),
            architecture: "arm64".to_owned(),
            origin: SIMULATED,
            conditions: None,
            machine: Machine::default(),
            commit: None,
            started_at: String::new(),
            interrupted_by: None,
            cold_starts: 20,
            warm_invocations: 200,
            p99_limit_ms: 100.0,
            sizes: vec![size(128, 60.0), size(256, 20.0)],
            choice: Some(256),
        };
        let told = report(&curve);
        assert_eq!(told.outcome, Outcome::Passed);
        assert!(told.verdict.contains("256 MB"));
        let [all] = &told.sections[0].tables[..] else {
            panic!("one table")
        };
        assert_eq!(
            (&all.rows[0][7], &all.rows[1][7]),
            (&"no".into(), &"yes".into())
        );
        let drawn = &told.sections[0].charts[0].tables[0];
        assert_eq!(drawn.columns[1].limit, Some(COLD_GOAL_MS));
        curve.interrupted_by = Some("SIGINT".to_owned());
        assert_eq!(report(&curve).outcome, Outcome::Partial);
    }
}
