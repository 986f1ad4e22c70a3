//! Runs a SAM template on this machine: Lambda, HTTP API, SQS triggers, DynamoDB.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use local::faults::Plan;
use local::lambda::enter_user_namespace;
use local::stack::{Options, Stack};
use local::template_verb::{self, TemplateArguments};
use tempfile::TempPath;
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
    #[command(flatten)]
    options: Options,
    /// Inject these faults from the start (docs/faults.md); `PUT /faults` on the control port changes them
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
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
    let ready_file = arguments.ready_file;
    let faults = arguments.faults.as_deref().map(read_faults).transpose()?;
    if let Some(path) = &ready_file {
        // A run that was killed could not remove its own file.
        let _ = std::fs::remove_file(path);
    }
    let stack = tokio::select! {
        stack = Stack::start(arguments.options) => stack?,
        // Nothing is running yet except processes that end with their guard.
        () = stop.received() => return Ok(()),
    };
    if let Some(plan) = faults {
        stack.aws.services.faults.set(plan);
    }
    let ready_file = ready_file.map(|path| {
        write_ready_file(&path, &stack)
            .map_err(|e| format!("cannot write the ready file {}: {e}", path.display()))
    });
    let ready_file = ready_file.transpose()?;
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

/// Tells other programs that the stack answers, and its addresses, until the result is dropped.
fn write_ready_file(path: &Path, stack: &Stack) -> std::io::Result<TempPath> {
    let content = serde_json::json!({
        "api_url": stack.api_url,
        "control_url": stack.control_url,
        "aws_endpoint_url": stack.aws.endpoint_url,
        "ca_file": stack.aws.ca_file,
        "log_dir": stack.log_dir,
        "events_since_us": stack.aws.services.log.started_at_us(),
        "pid": std::process::id(),
    });
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // To a second file that is then renamed, so that no reader sees half of it.
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    std::fs::write(&beside, format!("{content}\n"))?;
    std::fs::rename(&beside, path)?;
    TempPath::try_from_path(path)
}

/// The text printed when the stack is up.
fn banner(stack: &Stack) -> String {
    let template = &stack.template;
    let mut lines = Vec::new();
    for notice in &template.notices {
        lines.push(format!("local: left out: {notice}"));
    }
    lines.push(String::new());
    lines.push(format!("  HTTP API      {}", stack.api_url));
    for function in &template.functions {
        for route in &function.routes {
            let method = route.method.as_deref().unwrap_or("ANY");
            let (path, id) = (&route.path, &function.logical_id);
            lines.push(format!("    {method:<7} {path:<28} {id}"));
        }
    }
    for function in &template.functions {
        for trigger in &function.queue_triggers {
            let (queue, id) = (&trigger.queue, &function.logical_id);
            lines.push(format!("    SQS     {queue:<28} {id}"));
        }
    }
    lines.push(format!("  AWS endpoint  {}", stack.aws.endpoint_url));
    lines.push(format!("    its CA      {}", stack.aws.ca_file.display()));
    lines.push(format!("  Control       {}", stack.control_url));
    let faults = stack.aws.services.faults.plan();
    if !faults.faults.is_empty() {
        let (count, seed) = (faults.faults.len(), faults.seed);
        lines.push(format!("  Faults        {count} rules, seed {seed}"));
    }
    lines.push(format!("  Conditions    {}", stack.aws.services.conditions));
    lines.push(format!("  Logs          {}", stack.log_dir.display()));
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
        lines.push(format!("\n  Try           curl {}{path}", stack.api_url));
    }
    lines.push("  Stop          Ctrl-C\n\n".to_owned());
    lines.join("\n")
}
