//! The page of a report: one HTML file that needs no other. Text is escaped by the template, the numbers of charts are
//! JSON that no text can leave, and the browser runs no script but the two that are named by their hashes.

use anyhow::Result;
use askama::Template;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::model::{Outcome, Report, Table};
use crate::table::three_digits;

/// The charting library and its notice, as its packages have them (`make test-report` compares them).
const LIBRARY: [&str; 2] = [
    include_str!("vendor/d3.min.js"),
    include_str!("vendor/plot.umd.min.js"),
];
const LICENCES: &str = include_str!("vendor/LICENSES.txt");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    report: &'a Report,
    outcome: &'static str,
    /// The outcome without a blank, for the style.
    class: String,
    failed: Vec<Gate<'a>>,
    passed: Vec<Gate<'a>>,
    /// Notes, tables and charts of each section.
    sections: Vec<Section<'a>>,
    policy: String,
    style: &'static str,
    library: String,
    script: &'static str,
    licences: &'static str,
    /// The report as JSON.
    data: String,
}

struct Gate<'a> {
    name: &'a str,
    limit: &'a str,
    value: String,
    by: &'a str,
}

struct Section<'a> {
    of: &'a super::model::Section,
    tables: Vec<Shown<'a>>,
}

/// A table whose numbers are written out.
pub struct Shown<'a> {
    pub of: &'a Table,
    /// Whether a column has numbers, which stand at the right.
    pub numbers: Vec<bool>,
    pub rows: Vec<Vec<String>>,
}

impl Shown<'_> {
    fn is_number(&self, index: &usize) -> bool {
        self.numbers.get(*index).copied().unwrap_or_default()
    }
}

/// Writes out the numbers of a table: three digits, whole where a column has whole numbers, `-` for what is not known.
pub fn shown(table: &Table) -> Shown<'_> {
    let column = |index: usize| table.rows.iter().filter_map(move |row| row.get(index));
    let columns = 0..table.columns.len();
    let whole: Vec<_> = columns
        .clone()
        .map(|index| column(index).all(|it| it.as_f64().is_none_or(|it| it.fract() == 0.0)))
        .collect();
    let numbers = columns.map(|index| !column(index).any(Value::is_string));
    let rows = table.rows.iter().map(|row| {
        let cells = row.iter().zip(&whole).map(|(cell, whole)| match cell {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
            number => three_digits(number.as_f64().unwrap_or_default(), *whole),
        });
        cells.collect()
    });
    Shown {
        of: table,
        numbers: numbers.collect(),
        rows: rows.collect(),
    }
}

/// The word for an outcome.
pub fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        Outcome::Partial => "partial",
        Outcome::Unjudged => "not judged",
    }
}

/// JSON that is safe inside of `<script>`: it has no character that HTML or an old JavaScript would read.
fn for_script(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                safe.push_str(&format!("\\u{:04x}", character as u32));
            }
            other => safe.push(other),
        }
    }
    safe
}

fn hash(script: &str) -> String {
    BASE64_STANDARD.encode(Sha256::digest(script.as_bytes()))
}

/// The whole page.
pub fn html(report: &Report) -> Result<String> {
    let library = LIBRARY.join("\n");
    let (of_library, of_script) = (hash(&library), hash(SCRIPT));
    let gates = |pass: bool| {
        let gates = report.gates.iter().filter(move |gate| gate.pass == pass);
        gates.map(|gate| Gate {
            name: &gate.name,
            limit: &gate.limit,
            value: gate.value.map_or("-".to_owned(), super::model::short),
            by: &gate.by,
        })
    };
    let sections = report.sections.iter().map(|of| Section {
        of,
        tables: of.tables.iter().map(shown).collect(),
    });
    let page = Page {
        report,
        outcome: word(report.outcome),
        class: word(report.outcome).replace(' ', "-"),
        failed: gates(false).collect(),
        passed: gates(true).collect(),
        sections: sections.collect(),
        policy: format!(
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{of_library}' 'sha256-{of_script}'; base-uri 'none'; form-action 'none'"
        ),
        style: STYLE,
        library,
        script: SCRIPT,
        licences: LICENCES,
        data: for_script(&serde_json::to_string(report)?),
    };
    Ok(page.render()?)
}

#[cfg(test)]
mod tests {
    use super::super::load_test::tests::of;
    use super::*;
    use crate::summary::tests::summary;

    #[test]
    fn the_library_cannot_end_its_own_script_and_the_page_is_small() {
        for script in LIBRARY.iter().chain([&SCRIPT]) {
            let script = script.to_lowercase();
            assert!(!script.contains("</script") && !script.contains("<!--"));
        }
        let page = html(&of(&summary(), &[])).unwrap();
        assert!(page.len() < 1_000_000, "{}", page.len());
        assert!(LICENCES.contains("Observable, Inc.") && page.contains("Observable, Inc."));
    }

    #[test]
    fn the_data_is_the_report_and_has_no_markup() {
        let mut report = of(&summary(), &[]);
        report.title = "</script><script>alert(1)</script>\u{2028}&lt;".to_owned();
        let page = html(&report).unwrap();
        let begin = page.find("type=\"application/json\">").unwrap() + 24;
        let end = begin + page[begin..].find("</script>").unwrap();
        let data = &page[begin..end];
        assert!(!data.contains(['<', '>', '&', '\u{2028}']), "{data}");
        let read: Value = serde_json::from_str(data).unwrap();
        assert_eq!(read, serde_json::to_value(&report).unwrap());
    }

    /// Puts a text into each text of a JSON.
    fn poison(value: &mut Value, text: &str) {
        match value {
            // An empty unit has no element of its own.
            Value::String(old) if !old.is_empty() => *old = format!("{text}{old}"),
            Value::Array(items) => items.iter_mut().for_each(|it| poison(it, text)),
            Value::Object(fields) => fields.values_mut().for_each(|it| poison(it, text)),
            _ => {}
        }
    }

    #[test]
    fn no_text_of_a_report_becomes_markup() {
        let report = of(&summary(), &[]);
        let tags = |page: &str| page.matches('<').count();
        let clean = tags(&html(&report).unwrap());
        let hostile = "\"'><img src=x onerror=alert(1)></script><!--";
        let mut poisoned = serde_json::to_value(&report).unwrap();
        poison(&mut poisoned, hostile);
        // What a program has written, and not a person: one of few words each.
        let (kind, outcome) = (&report.kind, &report.outcome);
        poisoned["kind"] = serde_json::to_value(kind).unwrap();
        poisoned["outcome"] = serde_json::to_value(outcome).unwrap();
        for section in poisoned["sections"].as_array_mut().unwrap() {
            for chart in section["charts"].as_array_mut().unwrap() {
                chart["kind"] = "bars".into();
            }
        }
        let poisoned: Report = serde_json::from_value(poisoned).unwrap();
        let page = html(&poisoned).unwrap();
        assert_eq!(tags(&page), clean, "as many tags as without it");
        assert!(!page.contains("<img") && page.contains("&#60;img src=x"));
    }

    #[test]
    fn the_policy_names_the_scripts_that_stand_in_the_page() {
        let page = html(&of(&summary(), &[])).unwrap();
        let mut scripts = 0;
        for part in page.split("<script>").skip(1) {
            let script = &part[..part.find("</script>").unwrap()];
            assert!(page.contains(&format!("'sha256-{}'", hash(script))));
            scripts += 1;
        }
        assert_eq!(scripts, 2);
    }
}
