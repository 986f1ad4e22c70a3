//! The verbs that show reports from elsewhere: `workshop add-reports` and `workshop judge`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::artillery::{Report, Script};
use crate::files::{read_json, write_json};
use crate::functions::Function;
use crate::gates::{evaluate, exit_gate};
use crate::machine::MEASURED_ON_AWS;
use crate::render;
use crate::report::{self, load_test};
use crate::report_lines::parse_reports;
use crate::session::Session;
use crate::summary::{LoadResult, PerThousand, Summary};

/// Of `workshop add-reports`.
#[derive(Debug, clap::Args)]
pub struct AddReports {
    /// Exports of CloudWatch Logs: of `aws logs filter-log-events` or `tail`, or a result of Logs Insights
    #[arg(required = true, value_name = "EXPORT")]
    exports: Vec<PathBuf>,
    /// The summary to add them to
    #[arg(
        long,
        value_name = "FILE",
        default_value = "target/load-test/summary.json"
    )]
    summary: PathBuf,
}

/// Adds a deployed stack's functions to the summary of a run, from exports of its logs. The log group names a function
/// if the export has it (`@log` of Logs Insights), else the file does.
pub fn add_reports(session: &Session, arguments: &AddReports) -> Result<bool> {
    let file = session.root.join(&arguments.summary);
    let mut summary: Summary = read_json(&file)?;
    let mut by_function: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for export in &arguments.exports {
        let name = export.file_stem().unwrap_or_default().to_string_lossy();
        let reports = parse_reports(&fs::read_to_string(export)?);
        for report in reports.with_context(|| format!("cannot read {}", export.display()))? {
            let name = report
                .function
                .clone()
                .unwrap_or_else(|| name.clone().into_owned());
            by_function.entry(name).or_default().push(report);
        }
    }
    if by_function.is_empty() {
        bail!("there is no REPORT line in these exports");
    }
    let functions = by_function.into_iter();
    summary.functions = functions
        .map(|(name, reports)| Function::summarise(name, &reports, &reports))
        .collect();
    summary.origin.functions = MEASURED_ON_AWS.to_owned();
    summary.per_thousand_requests = PerThousand::of(
        &summary.load,
        &summary.functions,
        summary.aws_calls.as_ref(),
    );
    write_json(&file, &summary)?;
    session.say(render::summary(&summary));
    // Beside it are the answers of the run.
    if let Some(folder) = file.parent().filter(|it| it.join("summary.json") == file) {
        let report = load_test::of_folder(&session.root, folder)?;
        report::write(session, folder, &report)?;
    }
    Ok(true)
}

/// Of `workshop judge`.
#[derive(Debug, clap::Args)]
pub struct Judge {
    /// A report of Artillery
    #[arg(value_name = "FILE")]
    report: PathBuf,
    /// Artillery's exit code
    #[arg(long, value_name = "CODE")]
    exit_code: i32,
}

/// Shows a report of Artillery from elsewhere, and holds it to Artillery's own gates.
pub fn judge(session: &Session, arguments: &Judge) -> Result<bool> {
    let script = Script::read(&session.root)?;
    let mut report: Report = read_json(&arguments.report)?;
    report.exit_code = Some(arguments.exit_code);
    let mut gates = evaluate(script.ensure(), &report.aggregate)?;
    gates.push(exit_gate(&report));
    let mut blocks = render::load(&LoadResult::of(&report.aggregate, None), MEASURED_ON_AWS);
    blocks.push(render::gates("Gates", &gates, MEASURED_ON_AWS));
    session.say(blocks.join("\n\n"));
    Ok(gates.iter().all(|gate| gate.pass))
}
