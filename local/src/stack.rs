//! Starts all parts of a template in order, and stops them in reverse.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::TypedValueParser;
use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::aws::Aws;
use crate::aws_json::{ACCOUNT, REGION};
use crate::children::Children;
use crate::conditions::Conditions;
use crate::control::Control;
use crate::http_api;
use crate::lambda::{self, AccountConcurrency, Function, Host, Machine, Request};
use crate::sqs_trigger;
use crate::task::Task;
use crate::template::{self, Context, Template};
use crate::template_verb::parameter;

/// `AWS::StackName`; resources without a name are called `local-<logical id>`.
const STACK_NAME: &str = "local";

/// How long running work may take to finish at shutdown: longer than any request of the shop takes,
/// and no longer than a person waits after Ctrl-C.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// The options of a stack.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The SAM template to run
    #[arg(long, value_name = "FILE", default_value = "template.yaml")]
    pub template: PathBuf,
    /// A value for a parameter of the template; may be repeated
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    pub parameters: Vec<(String, String)>,
    /// Port of the HTTP API; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 3000)]
    pub port: u16,
    /// Port of the control server (meter, state of the functions); 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 3001)]
    pub control_port: u16,
    /// Folder of the logs, one file for each function
    #[arg(long, value_name = "DIR", default_value = "target/local/logs")]
    pub log_dir: PathBuf,
    /// Keep tables and queues in this folder; without it they are in memory
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Take each function's code from this folder, under the last part of its `CodeUri`
    #[arg(long, value_name = "DIR")]
    pub code_dir: Option<PathBuf>,
    /// End execution environments that were idle for this long
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = clap::value_parser!(u64).range(1..).map(Duration::from_secs))]
    pub idle_timeout: Duration,
    /// Show the functions' logs on the terminal too, each line behind the function's name
    #[arg(long = "logs")]
    pub log_to_terminal: bool,
    /// Environment variables for the functions, as JSON in the form of `sam local --env-vars`:
    /// {"FunctionLogicalId": {"NAME": "value"}, "Parameters": {"NAME": "value of all functions"}}
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub env_file: Option<PathBuf>,
    /// Invocations at one time, of all functions together; a new AWS account has 10
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub account_concurrency: u32,
    /// What AWS takes where this machine takes almost nothing: `none`, `lambda` (published numbers), or
    /// a file of your own (docs/conditions.md)
    #[arg(long, value_name = "NAME|FILE", default_value = "none", value_parser = Conditions::read)]
    pub conditions: Conditions,
}

/// A running stack. Dropping it kills every process that it started; [`Stack::shutdown`] lets them
/// finish first.
#[derive(Debug)]
pub struct Stack {
    // Fields are dropped in this order: the guard of all processes comes last.
    control: Task,
    triggers: Vec<Task>,
    api: Task,
    functions: Vec<Function>,
    /// DynamoDB, SQS and the meter.
    pub aws: Arc<Aws>,
    /// The resolved template.
    pub template: Template,
    /// `http://127.0.0.1:<port>` of the HTTP API.
    pub api_url: String,
    /// `http://127.0.0.1:<port>` of the control server.
    pub control_url: String,
    /// Folder of the logs.
    pub log_dir: PathBuf,
    _locks: (File, Option<File>),
    children: Children,
}

impl Stack {
    /// Starts all parts of the template. When this returns, requests are answered.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do. Nothing is left running then.
    pub async fn start(options: Options) -> Result<Stack, String> {
        let children = Children::start()
            .map_err(|e| format!("cannot start the guard of child processes (/bin/sh): {e}"))?;
        // First, because a port that is taken is the likeliest error.
        let (api_listener, api_url) = listen(options.port, "--port").await?;
        let (control_listener, control_url) =
            listen(options.control_port, "--control-port").await?;

        // Functions run in folders of their own, where a relative path would mean another file.
        let (log_dir, log_lock) = take(&options.log_dir, "--log-dir")?;
        let data = options.data_dir.as_deref();
        let data = data.map(|data_dir| take(data_dir, "--data-dir"));
        let (data_dir, data_lock) = data.transpose()?.unzip();
        let conditions = options.conditions.clone();
        let aws = Arc::new(Aws::start(&log_dir, data_dir.as_deref(), conditions).await?);

        let context = Context {
            aws_endpoint_url: aws.endpoint_url.clone(),
            api_url: api_url.clone(),
            stack_name: STACK_NAME.to_owned(),
            region: REGION.to_owned(),
            account: ACCOUNT.to_owned(),
        };
        let parameters = BTreeMap::from_iter(options.parameters);
        let template = template::load(&options.template, &parameters, &context);
        let mut template = template.map_err(|e| e.to_string())?;
        if let Some(code_dir) = &options.code_dir {
            for function in &mut template.functions {
                let name = function.code_dir.file_name().unwrap_or_default();
                function.code_dir = code_dir.join(name);
            }
        }
        if let Some(env_file) = &options.env_file {
            lambda::apply_env_file(env_file, &mut template.functions)?;
        }
        // Functions may need what is in the project, wherever that is.
        let mut visible = vec![log_dir.clone()];
        visible.extend(std::env::current_dir());
        let machine = Machine::prepare(visible)?;
        template.notices.extend(machine.notice().map(str::to_owned));
        aws.create(&template.tables, &template.queues).await?;

        let host = Host {
            aws_endpoint_url: aws.endpoint_url.clone(),
            ca_file: aws.ca_file.clone(),
            children_group: children.group(),
            log_dir: log_dir.clone(),
            log_to_terminal: options.log_to_terminal,
            idle_timeout: options.idle_timeout,
            concurrency: AccountConcurrency::new(options.account_concurrency),
            machine,
            faults: aws.services.faults.clone(),
            conditions: options.conditions.clone(),
            log: aws.services.log.clone(),
            sandboxes: aws.services.sandboxes.clone(),
        };
        let mut functions = Vec::with_capacity(template.functions.len());
        for spec in &template.functions {
            functions.push(Function::start(spec.clone(), host.clone()).await?);
        }
        aws.invoke_from_now_on(&functions);
        let control = Control {
            aws: Arc::clone(&aws),
            functions: functions.clone(),
        };
        Ok(Stack {
            control: control.serve(control_listener),
            triggers: start_triggers(&aws, &template, &functions),
            api: http_api::start(api_listener, &functions, &template.api, options.conditions),
            functions,
            aws,
            template,
            api_url,
            control_url,
            log_dir,
            _locks: (log_lock, data_lock),
            children,
        })
    }

    /// Resolves if the stack cannot go on, with one line for people.
    pub async fn failed(&self) -> &'static str {
        self.children.lost().await;
        "the guard of child processes has ended, without which they could be left behind; start again"
    }

    /// Takes no more work, lets running work finish for a few seconds, and ends everything.
    ///
    /// Work that is cut off is not reported here: HTTP clients see it, and messages are delivered
    /// again.
    pub async fn shutdown(self) {
        drop(self.control);
        let finished = async {
            // Both front doors close at the same moment, so that neither waits for the other's work.
            let triggers = join_all(self.triggers.into_iter().map(Task::shutdown));
            tokio::join!(triggers, self.api.shutdown());
            join_all(self.functions.iter().map(Function::shutdown)).await;
        };
        let _ = timeout(SHUTDOWN_LIMIT, finished).await;
    }
}

fn start_triggers(aws: &Aws, template: &Template, functions: &[Function]) -> Vec<Task> {
    let mut triggers = Vec::new();
    for function in functions {
        for trigger in &function.spec().queue_triggers {
            let queues = &mut template.queues.iter();
            let Some(queue) = queues.find(|it| it.logical_id == trigger.queue) else {
                continue;
            };
            let invoked = function.clone();
            let source = trigger.queue.clone();
            let invoke = move |request_id, event| {
                let function = invoked.clone();
                let request = Request {
                    request_id,
                    ..Request::new(source.clone(), event, None)
                };
                async move { function.invoke(request).await }
            };
            let id = &function.spec().logical_id;
            triggers.push(sqs_trigger::start(
                trigger.clone(),
                &queue.name,
                id,
                aws,
                invoke,
            ));
        }
    }
    triggers
}

async fn listen(port: u16, option: &str) -> Result<(TcpListener, String), String> {
    let refuse = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} is taken: stop what listens on it, or choose another with {option} (0 takes \
             any free one)"
        ),
        _ => format!("cannot listen on port {port} ({option}): {error}"),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    Ok((listener, format!("http://{address}")))
}

/// Makes a folder to which only this stack writes, until the lock is dropped. The system releases it
/// however this process ends.
fn take(path: &Path, option: &str) -> Result<(PathBuf, File), String> {
    let shown = path.display();
    let unusable = |e: io::Error| format!("cannot use the folder {shown} ({option}): {e}");
    let path = std::path::absolute(path).map_err(unusable)?;
    fs::create_dir_all(&path).map_err(unusable)?;
    let lock = File::create(path.join(".lock")).map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => Ok((path, lock)),
        Err(TryLockError::WouldBlock) => Err(format!(
            "the folder {shown} is used by another running `local`: stop that one, or choose another \
             folder with {option}"
        )),
        Err(TryLockError::Error(e)) => Err(unusable(e)),
    }
}
