//! A comparison as text.

use super::Comparison;
use super::rounds::WARM;
use crate::machine::{MEASURED, SIMULATED, conditions};
use crate::ratio::{LEAST_EFFECT, NO_DIFFERENCE, Ratio, Verdict};
use crate::table::{row, table};

pub fn text(comparison: &Comparison) -> String {
    let Comparison {
        before,
        after,
        counts,
        times,
        rounds,
        ..
    } = comparison;
    let differ = counts.iter().filter(|count| count.before != count.after);
    let differ: Vec<_> = differ.collect();
    let mut parts = vec![format!(
        "before: {before}\nafter:  {after}\n{}\nconditions: {}\n{rounds} rounds, each with one cold start and {WARM} warm requests of each route",
        comparison.machine.describe(),
        conditions(comparison.conditions.as_ref())
    )];
    if let Some(signal) = &comparison.interrupted_by {
        parts.push(format!("PARTIAL: {signal} cut it short"));
    }
    parts.push(match differ.len() {
        0 => format!("Counted causes: all {} counts are equal", counts.len()),
        many => {
            let rows = differ.iter().map(|count| {
                row! { "counted": count.what.as_str(), "before": count.before, "after": count.after,
                "verdict": if count.after > count.before { "MORE" } else { "less" } }
            });
            let title = format!("Counted causes: {many} of {} differ", counts.len());
            table(&title, SIMULATED, rows)
        }
    });
    let rows = times.iter().map(|time| {
        let Ratio {
            ratio,
            from,
            to,
            verdict,
        } = time.ratio;
        let verdict = match verdict {
            Verdict::Slower => "SLOWER",
            Verdict::Quicker => "quicker",
            Verdict::NoDifference => "",
        };
        row! { "time": time.what.as_str(), "before, ms": time.before_ms, "after, ms": time.after_ms,
        "after/before": ratio, "from": from, "to": to, "verdict": verdict }
    });
    let origin = if comparison.conditions.is_none() {
        MEASURED
    } else {
        SIMULATED
    };
    parts.push(table(
        "Times: medians, and the ratio with its interval",
        origin,
        rows,
    ));
    parts.push(format!(
        "The intervals hold all {} ratios at once with 95 %. A difference is beyond {:.0} % with its whole interval.",
        times.len(),
        LEAST_EFFECT * 100.0
    ));
    parts.push(verdict(comparison));
    parts.join("\n\n")
}

/// What it comes to, in a few words.
pub fn verdict(comparison: &Comparison) -> String {
    let Comparison { counts, times, .. } = comparison;
    let differ = counts.iter().any(|count| count.before != count.after);
    let told = times
        .iter()
        .any(|time| time.ratio.verdict != Verdict::NoDifference);
    match comparison.worse {
        0 if !differ && !told => NO_DIFFERENCE.to_owned(),
        0 => "nothing is more or slower; something is less or quicker".to_owned(),
        worse => format!("{worse} of these numbers are more or slower"),
    }
}
