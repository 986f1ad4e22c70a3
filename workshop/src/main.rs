//! The program behind the verbs that measure; `make help` lists them. `workshop load-test` runs the shop under
//! Artillery and holds it to its gates. `workshop bench` measures cold starts and warm requests beside other
//! ways to write the same function. `workshop compare` finds what a change has made slower, and `workshop power-curve`
//! shows what each memory size costs and takes. `workshop truth` holds the conditions against what was published.
//!
//! | module | is about |
//! |---|---|
//! | [`load_test`] | a load test, from start to exit code |
//! | [`prove`] | usual mistakes, and the gates that have to find them |
//! | [`reports`] | the verbs that show reports from elsewhere |
//! | [`artillery`] | the load: what Artillery is told, and what it reports |
//! | [`burst`] | many orders at once, after the load |
//! | [`gates`], [`limits`] | what a run is held to: `artillery.yml` and `gates.yml` |
//! | [`report_lines`], [`functions`] | what the functions did, by their REPORT lines |
//! | [`host`], [`event_log`], [`trend`] | the host of this machine, its log of events, and its memory |
//! | [`cloudwatch`] | the logs of a stack on AWS |
//! | [`conditions`] | the numbers of `local --conditions`, measured on AWS |
//! | [`summary`], [`render`], [`table`], [`machine`] | the result, and how it is shown |
//! | [`report`], [`prices`] | one page of each run, and what it would cost on AWS |
//! | [`figures`] | the figures of README and docs, from runs |
//! | [`bench`] | the benchmark |
//! | [`compare`] | two builds, measured beside each other |
//! | [`power_curve`] | one function at every memory size |
//! | [`prices`], [`provisioned`] | what AWS charges, and for environments that are kept ready |
//! | [`truth`] | the conditions beside published figures |
//! | [`advise`] | what the log of events says could be better |
//! | [`insights`] | queries over log files |
//! | [`labs`] | the lessons of `labs/` |
//! | [`ratio`], [`percentile`] | whether two times differ, and the order of numbers |
//! | [`session`], [`program`], [`files`] | Ctrl-C and output, other programs, small helpers |

#![allow(
    unreachable_pub,
    reason = "nobody links a program: `pub` is for its other modules"
)]

mod advise;
mod artillery;
mod bench;
mod burst;
mod cloudwatch;
mod compare;
mod conditions;
mod event_log;
mod figures;
mod files;
mod functions;
mod gates;
mod host;
mod insights;
mod labs;
mod limits;
mod load_test;
mod machine;
mod percentile;
mod power_curve;
mod prices;
mod program;
mod prove;
mod provisioned;
mod ratio;
mod render;
mod report;
mod report_lines;
mod reports;
mod session;
mod summary;
mod table;
mod trend;
mod truth;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use session::Session;

/// Measures the shop: under load, and one function beside others.
///
/// Exit code: 0 if every gate or target holds, 1 if one does not or anything goes wrong, 2 for a command
/// line that cannot be understood, 128 and the signal's number if it is interrupted.
#[derive(Debug, Parser)]
#[command(name = "workshop", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a stack under Artillery and check every gate
    LoadTest(load_test::Arguments),
    /// Add a deployed stack's functions to the summary of a load test, from exports of its logs
    AddReports(reports::AddReports),
    /// Show a report of Artillery from elsewhere, and check its gates
    Judge(reports::Judge),
    /// Load functions with one usual mistake each, which the gates have to find
    ProveGates(prove::Arguments),
    /// Measure cold starts and warm requests beside other languages
    Bench(bench::Arguments),
    /// Measure on AWS what `local --conditions` simulates, and write its file
    Conditions(conditions::Arguments),
    /// Compare two commits, builds or load tests: counts exactly, times in interleaved rounds
    Compare(compare::Arguments),
    /// Measure a function at every memory size from 128 to 3,008 MB
    PowerCurve(power_curve::Arguments),
    /// Show what the conditions give beside what others have published
    Truth(truth::Arguments),
    /// Say what could be better, by the log of events of the last load test or of a host that runs
    Advise(advise::verb::Arguments),
    /// List the lessons, and how far you have come
    Labs(labs::student::List),
    /// Run a lesson before, as an exercise and solved, and compare the three with your prediction
    Lab(labs::show::Arguments),
    /// Run the exercise of a lesson at every memory size
    Sizes(labs::sizes::Arguments),
    /// Judge a lesson: 0 it passes, 1 it does not, 2 it could not be judged
    Check(labs::check::Arguments),
    /// Give the next hint to a lesson
    Hint(labs::student::One),
    /// Put an exercise back as it was
    Reset(labs::student::One),
    /// Show the solution of a lesson that has passed
    Solution(labs::student::Solution),
    /// Write down what you have done, in one file
    HandIn(labs::hand_in::HandIn),
    /// Check again what was handed in; it builds and runs that code
    HandInCheck(labs::hand_in::Check),
    /// Run queries of Logs Insights over log files of this machine
    Insights(insights::Arguments),
    /// Make the page of a run again from its JSON, and show it
    Report(report::verb::Arguments),
    /// Write the figures of README and docs from the last load test and benchmark
    Figures(figures::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { verb } = Arguments::parse();
    let name = match &verb {
        Verb::LoadTest(_) => "load test",
        Verb::AddReports(_) => "add-reports",
        Verb::Judge(_) => "judge",
        Verb::ProveGates(_) => "prove-gates",
        Verb::Bench(_) => "benchmark",
        Verb::Conditions(_) => "conditions",
        Verb::Compare(_) => "compare",
        Verb::PowerCurve(_) => "power-curve",
        Verb::Truth(_) => "truth",
        Verb::Advise(_) => "advise",
        Verb::Labs(_) => "labs",
        Verb::Lab(_) => "lab",
        Verb::Sizes(_) => "sizes",
        Verb::Check(_) => "check",
        Verb::Hint(_) => "hint",
        Verb::Reset(_) => "reset",
        Verb::Solution(_) => "solution",
        Verb::HandIn(_) => "hand-in",
        Verb::HandInCheck(_) => "hand-in-check",
        Verb::Insights(_) => "insights",
        Verb::Report(_) => "report",
        Verb::Figures(_) => "figures",
    };
    run(&verb).await.unwrap_or_else(|error| {
        eprintln!("{name} failed: {error:#}");
        session::exit_code(&error)
    })
}

async fn run(verb: &Verb) -> Result<ExitCode> {
    let session = Session::start()?;
    let passed = match verb {
        Verb::LoadTest(arguments) => load_test::run(&session, arguments).await?,
        Verb::AddReports(arguments) => reports::add_reports(&session, arguments)?,
        Verb::Judge(arguments) => reports::judge(&session, arguments)?,
        Verb::ProveGates(arguments) => prove::run(&session, arguments).await?,
        Verb::Bench(arguments) => bench::run(&session, arguments).await?,
        Verb::Conditions(arguments) => conditions::run(&session, arguments).await?,
        Verb::Compare(arguments) => compare::run(&session, arguments).await?,
        Verb::PowerCurve(arguments) => power_curve::run(&session, arguments).await?,
        Verb::Truth(arguments) => truth::run(&session, arguments).await?,
        Verb::Advise(arguments) => return advise::verb::run(&session, arguments).await,
        Verb::Labs(arguments) => labs::student::list(&session, arguments)?,
        Verb::Lab(arguments) => labs::show::run(&session, arguments).await?,
        Verb::Sizes(arguments) => labs::sizes::run(&session, arguments).await?,
        Verb::Check(arguments) => return Ok(labs::check::run(&session, arguments).await),
        Verb::Hint(arguments) => labs::student::hint(&session, arguments)?,
        Verb::Reset(arguments) => labs::student::reset(&session, arguments)?,
        Verb::Solution(arguments) => labs::student::solution(&session, arguments)?,
        Verb::HandIn(arguments) => labs::hand_in::hand_in(&session, arguments).await?,
        Verb::HandInCheck(arguments) => labs::hand_in::check(&session, arguments).await?,
        Verb::Insights(arguments) => insights::run(&session, arguments)?,
        Verb::Report(arguments) => report::verb::run(&session, arguments)?,
        Verb::Figures(arguments) => figures::run(&session, arguments)?,
    };
    Ok(session.verdict(passed))
}
