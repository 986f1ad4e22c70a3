//! Runs a SAM template on this machine: Lambda, HTTP API, SQS triggers, DynamoDB.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use local::conditions::Conditions;
use local::faults::Plan;
use local::lambda::enter_user_namespace;
use local::stack::{Options, Stack};
use local::template_verb::{self, TemplateArguments, parameter};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs a SAM template on this machine.
///
/// Hosts, on 127.0.0.1 only: functions on provided.al2023 behind an HTTP API,
/// DynamoDB tables, SQS queues and their triggers. No AWS account, no Docker.
///
/// Stop it with Ctrl-C. A second Ctrl-C does not wait for running requests.
#[derive(Debug, Parser)]
// The last of several values wins, so that a script can append to its defaults.
#[command(
    name = "local",
    version,
    args_override_self = true,
    args_conflicts_with_subcommands = true,
    verbatim_doc_comment
)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// The SAM template to run
    #[arg(long, value_name = "FILE", default_value = "template.yaml")]
    template: PathBuf,
    /// A value for a parameter of the template; may be repeated
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// Port of the HTTP API; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 3000)]
    port: u16,
    /// Port of the control server (meter, state of the functions); 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 3001)]
    control_port: u16,
    /// Folder of the logs, one file for each function
    #[arg(long, value_name = "DIR", default_value = "target/local/logs")]
    log_dir: PathBuf,
    /// Keep tables and queues in this folder; without it they are in memory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Inject these faults from the start (docs/faults.md); `PUT /faults` on the control port changes them
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Take each function's code from this folder, under the last part of its `CodeUri`
    #[arg(long, value_name = "DIR")]
    code_dir: Option<PathBuf>,
    /// End execution environments that were idle for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    idle_timeout: u64,
    /// Show the functions' logs on the terminal too, each line behind the function's name
    #[arg(long)]
    logs: bool,
    /// Environment variables for the functions, as JSON in the form of `sam local --env-vars`:
    /// {"FunctionLogicalId": {"NAME": "value"}, "Parameters": {"NAME": "value of all functions"}}
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    env_file: Option<PathBuf>,
    /// Invocations at one time, of all functions together; a new AWS account has 10
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    account_concurrency: u32,
    /// What AWS takes where this machine takes almost nothing: `none`, `lambda` (published numbers), or
    /// a file of your own (docs/conditions.md)
    #[arg(long, value_name = "NAME|FILE", default_value = "none", value_parser = Conditions::read)]
    conditions: Conditions,
    /// Once all is up, write URLs and process id to this file, as JSON; it is removed at the end
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Template(TemplateArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.verb {
        Some(Verb::Template(arguments)) => template_verb::run(arguments),
        None => {
            // Before the runtime starts its threads.
            enter_user_namespace();
            run(arguments)
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local: {error}");
            ExitCode::FAILURE
        }
    }
}

/// # Errors
/// One line that says what is wrong and what to do.
#[tokio::main]
async fn run(arguments: Arguments) -> Result<(), String> {
    let listened = StopSignal::listen();
    let mut stop = listened.map_err(|e| format!("cannot listen for Ctrl-C: {e}"))?;
    let ready_file = arguments.ready_file.clone();
    let faults = arguments.faults.as_deref().map(read_faults).transpose()?;
    if let Some(path) = &ready_file {
        // A run that was killed could not remove its own file.
        let _ = std::fs::remove_file(path);
    }
    let stack = tokio::select! {
        stack = Stack::start(options(arguments)) => stack?,
        // Nothing is running yet except processes that end with their guard.
        () = stop.received() => return Ok(()),
    };
    if let Some(plan) = faults {
        stack.aws().faults().set(plan);
    }
    let ready_file = ready_file
        .map(|path| ReadyFile::write(path, &stack))
        .transpose()?;
    eprint!("{}", banner(&stack));

    let ended = tokio::select! {
        () = stop.received() => Ok(()),
        why = stack.failed() => Err(why.to_owned()),
    };
    eprintln!("local: stopping");
    drop(ready_file);
    tokio::select! {
        () = stack.shutdown() => {}
        // Dropping the stack kills the remaining processes.
        () = stop.received() => {}
    }
    ended
}

fn read_faults(path: &Path) -> Result<Plan, String> {
    let shown = path.display();
    let json = std::fs::read(path)
        .map_err(|e| format!("cannot read the faults of {shown} (--faults): {e}"))?;
    Plan::parse(&json).map_err(|e| format!("{shown} (--faults): {e}"))
}

fn options(arguments: Arguments) -> Options {
    Options {
        template: arguments.template,
        parameters: BTreeMap::from_iter(arguments.parameters),
        port: arguments.port,
        control_port: arguments.control_port,
        code_dir: arguments.code_dir,
        data_dir: arguments.data_dir,
        log_dir: arguments.log_dir,
        idle_timeout: Duration::from_secs(arguments.idle_timeout),
        account_concurrency: arguments.account_concurrency,
        log_to_terminal: arguments.logs,
        env_file: arguments.env_file,
        conditions: arguments.conditions,
    }
}

/// Ctrl-C or SIGTERM.
struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    fn listen() -> std::io::Result<StopSignal> {
        Ok(StopSignal {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Tells other programs that the stack answers, and its addresses. Removed when dropped.
struct ReadyFile {
    path: PathBuf,
}

impl ReadyFile {
    fn write(path: PathBuf, stack: &Stack) -> Result<ReadyFile, String> {
        let content = serde_json::json!({
            "api_url": stack.api_url(),
            "control_url": stack.control_url(),
            "aws_endpoint_url": stack.aws_endpoint_url(),
            "ca_file": stack.ca_file(),
            "log_dir": stack.log_dir(),
            "events_since_us": stack.aws().log().started_at_us(),
            "pid": std::process::id(),
        });
        write_at_once(&path, &content.to_string())
            .map_err(|e| format!("cannot write the ready file {}: {e}", path.display()))?;
        Ok(ReadyFile { path })
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // Another program may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes to a second file and renames it, so that no reader sees half of it.
fn write_at_once(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(name);
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(content.as_bytes())?;
    file.write_all(b"\n")?;
    std::fs::rename(&beside, path)
}

/// The text printed when the stack is up.
fn banner(stack: &Stack) -> String {
    let template = stack.template();
    let mut lines = Vec::new();
    for notice in &template.notices {
        lines.push(format!("local: left out: {notice}"));
    }
    lines.push(String::new());
    lines.push(format!("  HTTP API      {}", stack.api_url()));
    for function in &template.functions {
        for route in &function.routes {
            let method = route.method.as_deref().unwrap_or("ANY");
            lines.push(format!(
                "    {method:<7} {:<28} {}",
                route.path, function.logical_id
            ));
        }
    }
    let triggers = template.functions.iter().flat_map(|function| {
        function
            .queue_triggers
            .iter()
            .map(move |trigger| (trigger, function))
    });
    for (trigger, function) in triggers {
        lines.push(format!(
            "    SQS     {:<28} {}",
            trigger.queue, function.logical_id
        ));
    }
    lines.push(format!("  AWS endpoint  {}", stack.aws_endpoint_url()));
    lines.push(format!("    its CA      {}", stack.ca_file().display()));
    lines.push(format!("  Control       {}", stack.control_url()));
    let faults = stack.aws().faults().plan();
    if !faults.faults.is_empty() {
        let (count, seed) = (faults.faults.len(), faults.seed);
        lines.push(format!("  Faults        {count} rules, seed {seed}"));
    }
    lines.push(format!("  Conditions    {}", stack.aws().conditions()));
    lines.push(format!("  Logs          {}", stack.log_dir().display()));
    let read = template
        .functions
        .iter()
        .flat_map(|function| &function.routes)
        .find(|route| {
            route.method.as_deref().is_none_or(|method| method == "GET")
                && !route.path.contains('{')
        });
    if let Some(route) = read {
        let path = if route.path == "$default" {
            "/"
        } else {
            &route.path
        };
        lines.push(format!("\n  Try           curl {}{path}", stack.api_url()));
    }
    lines.push("  Stop          Ctrl-C\n\n".to_owned());
    lines.join("\n")
}
