//! `workshop advise`: what a load test, or a host that runs, has to say about its functions.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use local::conditions::Medians;
use reqwest::{Client, Url};

use super::{Advice, Known};
use crate::event_log::Log;
use crate::files::read_json;
use crate::prices::Prices;
use crate::session::{BadInput, Session};
use crate::summary::Summary;

/// Of `workshop advise`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The folder of a load test; without it, target/load-test
    #[arg(long, value_name = "DIR", default_value = "")]
    run: String,
    /// Read the log of a host that runs, by the control address that it prints, such as `http://127.0.0.1:3001`
    #[arg(long, value_name = "URL", default_value = "")]
    host: String,
    /// Print what is found as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb: 0 whether something is found or not, 2 if there is nothing to read.
pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let advice = if arguments.host.is_empty() {
        let run = match arguments.run.as_str() {
            "" => "target/load-test",
            run => run,
        };
        of_run(&session.root.join(run))?
    } else {
        session
            .or_interrupted(of_host(session, &arguments.host))
            .await?
    };
    session.say(if arguments.json {
        serde_json::to_string_pretty(&advice)?
    } else {
        advice.text()
    });
    Ok(session.verdict(true))
}

fn of_run(folder: &Path) -> Result<Advice> {
    let file = folder.join("summary.json");
    let shown = file.display();
    if !file.exists() {
        let why = format!(
            "there is nothing to read: {shown} does not exist. `make load-test` writes it; --host URL reads the log of a host that runs"
        );
        return Err(BadInput(why).into());
    }
    let summary: Summary = read_json(&file)?;
    let advice = summary.advice.ok_or_else(|| {
        BadInput(format!(
            "there is nothing to read: the run of {shown} had no log of events, as a stack on AWS has none"
        ))
    })?;
    Ok(advice)
}

async fn of_host(session: &Session, given: &str) -> Result<Advice> {
    let url = Url::parse(given).ok();
    let control = given.trim_end_matches('/').trim_end_matches("/events");
    if url.is_none_or(|url| url.scheme() != "http") {
        let why = format!("--host {given} is no address; `local` prints its control address");
        return Err(BadInput(why).into());
    }
    // This machine is never behind a proxy.
    let client = Client::builder().no_proxy().build()?;
    let asked = async {
        let entries = Log::new(&client, control).read().await?;
        let conditions = client.get(format!("{control}/conditions")).send().await?;
        let conditions: Option<Medians> = conditions.error_for_status()?.json().await?;
        anyhow::Ok((entries, conditions))
    };
    let (entries, conditions) = asked.await.map_err(|error| {
        BadInput(format!(
            "there is nothing to read: no host answers at {control} ({error:#})"
        ))
    })?;
    let prices = Prices::read(&session.root).context("list prices")?;
    let advice = Advice::of(
        &entries,
        &Known {
            prices: &prices,
            // Lambda's default. The host does not say.
            architecture: "x86_64",
            conditions: conditions.as_ref(),
        },
    );
    if advice.invocations == 0 {
        let why = format!("there is nothing to read: no function has run at {control} yet");
        return Err(BadInput(why).into());
    }
    Ok(advice)
}
