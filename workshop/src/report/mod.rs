//! Reports: one page that is worth keeping, of each load test, benchmark, comparison, power curve and lesson.
//!
//! | module | is about |
//! |---|---|
//! | [`model`] | a report, whatever it is of: its JSON |
//! | [`load_test`] | the report of a load test |
//! | [`answers`] | latency of the client's answers |
//! | [`platform`], [`waterfall`] | what the host's log of events says |
//! | [`money`] | list prices of what was used |
//! | [`page`], [`markdown`] | the report as HTML and as Markdown |
//! | [`verb`] | `workshop report` |

pub mod answers;
pub mod load_test;
mod markdown;
pub mod model;
pub mod money;
mod page;
pub mod platform;
pub mod verb;
mod waterfall;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use fs_err as fs;

use crate::cloudwatch::Stack;
use crate::host::resolved;
use crate::prices::Prices;
use crate::session::Session;
use model::Report;
use money::Money;

/// The file of a report in the folder of its run.
pub const JSON: &str = "report.json";

/// The prices of a run on this machine. None where the host cannot say what the template has.
pub async fn money_here(
    root: &Path,
    program: &Path,
    template: &Path,
    parameters: &BTreeMap<String, String>,
) -> Option<Money> {
    let template = resolved(root, program, template, parameters).await.ok()?;
    Money::of_template(Prices::read(root).ok()?, &template)
}

/// The prices of a stack on AWS. None where its processor is not known.
pub async fn money_of_stack(root: &Path, stack: &Stack) -> Option<Money> {
    let architecture = stack.architecture().await.ok()?;
    Money::new(Prices::read(root).ok()?, &architecture, BTreeMap::new())
}

/// Writes the report as JSON, HTML and Markdown into the folder of its run, and names the page as the last line of the
/// verb. Returns its path.
pub fn write(session: &Session, folder: &Path, report: &Report) -> Result<PathBuf> {
    let page = write_quietly(folder, report)?;
    let shown = page.strip_prefix(&session.root).unwrap_or(&page);
    session.say(format!("\nReport: {}", shown.display()));
    Ok(page)
}

/// As [`write`], and says nothing.
pub fn write_quietly(folder: &Path, report: &Report) -> Result<PathBuf> {
    // In one line: a chart has thousands of numbers.
    let json = serde_json::to_string(report)? + "\n";
    fs::write(folder.join(JSON), json)?;
    fs::write(folder.join("report.md"), markdown::markdown(report))?;
    let page = folder.join("report.html");
    fs::write(&page, page::html(report)?)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use boon::{Compiler, Schemas};
    use serde_json::Value;

    use super::*;
    use crate::artillery::Record;
    use crate::summary::tests::summary;

    /// The faults of a report, by the schema that its readers rely on.
    fn faults(report: &Value) -> Option<String> {
        let schema = serde_json::from_str(include_str!("report.schema.json")).unwrap();
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.add_resource("report", schema).unwrap();
        let schema = compiler.compile("report", &mut schemas).unwrap();
        let fault = schemas.validate(report, schema).err()?;
        Some(format!("{fault:#}"))
    }

    #[test]
    fn a_report_is_as_its_schema_says() {
        let record = Record {
            at: 1000.0,
            route: "GET /a".to_owned(),
            status: 200,
            ms: 3.0,
            id: None,
        };
        let report = load_test::tests::of(&summary(), &[record]);
        let report = serde_json::to_value(report).unwrap();
        assert_eq!(faults(&report), None);
    }

    /// A report, and what is changed in it.
    type Wrong = (&'static str, fn(&mut Value));

    #[test]
    fn the_schema_refuses_what_is_no_report() {
        let good = serde_json::to_value(load_test::tests::of(&summary(), &[])).unwrap();
        let wrong: [Wrong; 6] = [
            ("another version", |it| it["version"] = 2.into()),
            ("an unknown outcome", |it| it["outcome"] = "fine".into()),
            ("a field that nobody knows", |it| it["more"] = 1.into()),
            ("a gate that passes without a value", |it| {
                it["gates"][0]["value"] = Value::Null;
                it["gates"][0]["pass"] = true.into();
            }),
            ("numbers without an origin", |it| {
                it["sections"][0]["tables"][0]["origin"] = "".into();
            }),
            ("a cell that is no number and no text", |it| {
                it["sections"][0]["tables"][0]["rows"][0][0] = true.into();
            }),
        ];
        for (what, spoil) in wrong {
            let mut report = good.clone();
            spoil(&mut report);
            assert!(faults(&report).is_some(), "{what}");
        }
    }

    #[test]
    fn each_part_of_a_page_has_an_id_of_its_own() {
        let report = load_test::tests::of(&summary(), &[]);
        let charts = report.sections.iter().flat_map(|it| &it.charts);
        let ids = charts.map(|it| it.id.as_str());
        let ids: Vec<_> = ids
            .chain(report.sections.iter().map(|it| it.id.as_str()))
            .collect();
        assert_eq!(
            ids.iter().collect::<BTreeSet<_>>().len(),
            ids.len(),
            "{ids:?}"
        );
    }
}
