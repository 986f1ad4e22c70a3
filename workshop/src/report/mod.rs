//! Reports: one page that is worth keeping, of each load test, benchmark, comparison and power curve.
//!
//! | module | is about |
//! |---|---|
//! | [`model`] | a report, whatever it is of: its JSON |
//! | [`load_test`] | the report of a load test |
//! | [`answers`] | latency of the client's answers |
//! | [`platform`], [`waterfall`] | what the host's log of events says, and [`follow`] how it is read |
//! | [`money`] | list prices of what was used |
//! | [`page`], [`markdown`] | the report as HTML and as Markdown |
//! | [`verb`] | `workshop report` |

pub mod answers;
pub mod follow;
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
    // In one line: a chart has thousands of numbers.
    fs::write(folder.join(JSON), serde_json::to_string(report)? + "\n")?;
    fs::write(folder.join("report.md"), markdown::markdown(report))?;
    let page = folder.join("report.html");
    fs::write(&page, page::html(report)?)?;
    let shown = page.strip_prefix(&session.root).unwrap_or(&page);
    session.say(format!("\nReport: {}", shown.display()));
    Ok(page)
}
