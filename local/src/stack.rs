//! Brings all parts of a template up in order, and down in reverse.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::aws::{self, ACCOUNT, Aws, AwsError, REGION};
use crate::children::Children;
use crate::control::{Control, Subject};
use crate::http_api::HttpApi;
use crate::lambda::{self, AccountConcurrency, Function, Host};
use crate::sqs_trigger::SqsTrigger;
use crate::template::{self, Context, Template, TemplateError};

/// `AWS::StackName`; resources without a name of their own are called `local-<logical id>`.
const STACK_NAME: &str = "local";

/// How long the shutdown of one part may take before it is cut off. Longer than any request of the
/// shop takes, and shorter than a person at a terminal waits.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// What to run, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The SAM template.
    pub template: PathBuf,
    /// Values for its parameters.
    pub parameters: BTreeMap<String, String>,
    /// Port of the HTTP API on 127.0.0.1; 0 is any free one.
    pub port: u16,
    /// Port of the control server on 127.0.0.1; 0 is any free one.
    pub control_port: u16,
    /// Where set, a function's code is in this folder, under the last part of its `CodeUri`.
    pub code_dir: Option<PathBuf>,
    /// Where set, tables and queues are kept here; otherwise they are in memory.
    pub data_dir: Option<PathBuf>,
    /// Folder of the logs, one file a function.
    pub log_dir: PathBuf,
    /// The Node.js that runs the queues.
    pub node: PathBuf,
    /// How long an execution environment may be idle before it is ended.
    pub idle_timeout: Duration,
}

/// Why a stack did not start. Each message is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Without the guard, processes could be left behind.
    #[error("cannot start the guard of child processes (/bin/sh): {0}")]
    Guard(io::Error),
    /// A folder that cannot be made or written to.
    #[error("cannot use the folder {} ({option}): {source}", path.display())]
    Folder {
        /// Which one.
        path: PathBuf,
        /// The command line's option for it.
        option: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Another stack writes there.
    #[error(
        "the folder {} is used by another running `local`: stop that one, or choose another \
         folder with {option}", path.display()
    )]
    FolderTaken {
        /// Which one.
        path: PathBuf,
        /// The command line's option for it.
        option: &'static str,
    },
    /// Somebody else listens there.
    #[error(
        "port {port} is taken: stop what listens on it, or choose another with {option} (0 takes \
         any free one)"
    )]
    PortTaken {
        /// Which port.
        port: u16,
        /// The command line's option for it.
        option: &'static str,
    },
    /// The port cannot be had for another reason.
    #[error("cannot listen on port {port} ({option}): {source}")]
    Port {
        /// Which port.
        port: u16,
        /// The command line's option for it.
        option: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The template is wrong, or asks for what this host does not have.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// DynamoDB, SQS or the endpoint before them.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// A function cannot be run.
    #[error(transparent)]
    Function(#[from] lambda::StartError),
}

/// A running stack. Dropping it kills every process that it started; [`Stack::shutdown`] lets them
/// finish first.
#[derive(Debug)]
pub struct Stack {
    // Fields are dropped in this order, the guard of all processes last.
    control: Control,
    triggers: Vec<SqsTrigger>,
    api: HttpApi,
    functions: Vec<Function>,
    aws: Arc<Aws>,
    template: Template,
    api_url: String,
    control_url: String,
    log_folder: Folder,
    _data_folder: Option<Folder>,
    _children: Children,
}

impl Stack {
    /// Starts everything that the template describes. When this returns, requests are answered.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running then.
    pub async fn start(options: Options) -> Result<Stack, StartError> {
        let children = Children::start().map_err(StartError::Guard)?;
        // First of all, because a port that is taken is the likeliest error.
        let (api_listener, api_url) = listen(options.port, "--port").await?;
        let (control_listener, control_url) =
            listen(options.control_port, "--control-port").await?;

        // Functions run in folders of their own, where a relative path would mean another file.
        let log_folder = Folder::take(&options.log_dir, "--log-dir")?;
        let log_dir = log_folder.path.clone();
        let data_folder = match &options.data_dir {
            Some(data_dir) => Some(Folder::take(data_dir, "--data-dir")?),
            None => None,
        };
        let aws = Aws::bind(aws::Options {
            ca_dir: log_dir.clone(),
            data_dir: data_folder.as_ref().map(|folder| folder.path.clone()),
            log_dir: log_dir.clone(),
            node: options.node.clone(),
            children_group: children.group(),
        })
        .await?;
        let aws = Arc::new(aws);

        let context = Context {
            aws_endpoint_url: aws.endpoint_url().to_owned(),
            api_url: api_url.clone(),
            stack_name: STACK_NAME.to_owned(),
            region: REGION.to_owned(),
            account: ACCOUNT.to_owned(),
        };
        let mut template = template::load(&options.template, &options.parameters, &context)?;
        if let Some(code_dir) = &options.code_dir {
            for function in &mut template.functions {
                let name = function.code_dir.file_name().unwrap_or_default();
                function.code_dir = code_dir.join(name);
            }
        }
        aws.create(&template.tables, &template.queues).await?;

        let host = Host {
            region: REGION.to_owned(),
            account_id: ACCOUNT.to_owned(),
            aws_endpoint_url: aws.endpoint_url().to_owned(),
            ca_file: aws.ca_file().to_owned(),
            children_group: children.group(),
            log_dir: log_dir.clone(),
            idle_timeout: options.idle_timeout,
            concurrency: AccountConcurrency::default(),
            faults: aws.faults().clone(),
        };
        let mut functions = Vec::with_capacity(template.functions.len());
        for spec in &template.functions {
            functions.push(Function::start(spec.clone(), host.clone()).await?);
        }
        let api = HttpApi::start(api_listener, &functions);
        let triggers = start_triggers(&aws, &template, &functions);
        let subject = Subject {
            aws: aws.clone(),
            functions: functions.clone(),
        };
        let control = Control::start(control_listener, subject);
        Ok(Stack {
            control,
            triggers,
            api,
            functions,
            aws,
            template,
            api_url,
            control_url,
            log_folder,
            _data_folder: data_folder,
            _children: children,
        })
    }

    /// `http://127.0.0.1:<port>` of the HTTP API.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// `http://127.0.0.1:<port>` of the control server.
    pub fn control_url(&self) -> &str {
        &self.control_url
    }

    /// `https://127.0.0.1:<port>` of DynamoDB and SQS.
    pub fn aws_endpoint_url(&self) -> &str {
        self.aws.endpoint_url()
    }

    /// The certificate that clients of the AWS endpoint have to trust, in PEM.
    pub fn ca_file(&self) -> &Path {
        self.aws.ca_file()
    }

    /// DynamoDB, SQS and the meter, past the endpoint.
    pub fn aws(&self) -> &Aws {
        &self.aws
    }

    /// Folder of the logs.
    pub fn log_dir(&self) -> &Path {
        &self.log_folder.path
    }

    /// What is hosted.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Takes no more work, lets what is under way finish for a few seconds, and ends everything.
    pub async fn shutdown(self) {
        drop(self.control);
        // Both front doors close at the same moment, so that neither waits for the other's work. What
        // is cut off is no error here: its clients see it, and messages are delivered again.
        let triggers = join_all(self.triggers.into_iter().map(SqsTrigger::shutdown));
        let _ = tokio::join!(
            timeout(SHUTDOWN_LIMIT, triggers),
            timeout(SHUTDOWN_LIMIT, self.api.shutdown())
        );
        let functions = self.functions.iter().map(Function::shutdown);
        let _ = timeout(SHUTDOWN_LIMIT, join_all(functions)).await;
        let _ = timeout(SHUTDOWN_LIMIT, self.aws.shutdown()).await;
    }
}

fn start_triggers(aws: &Aws, template: &Template, functions: &[Function]) -> Vec<SqsTrigger> {
    let mut triggers = Vec::new();
    for function in functions {
        for trigger in &function.spec().queue_triggers {
            let Some(queue) = template
                .queues
                .iter()
                .find(|it| it.logical_id == trigger.queue)
            else {
                continue;
            };
            let faulty = function.spec().logical_id.clone();
            let function = function.clone();
            let invoke = move |event| {
                let function = function.clone();
                async move { function.invoke(event, None).await }
            };
            triggers.push(SqsTrigger::start(
                trigger.clone(),
                aws.queue_url(&queue.name),
                aws.sqs().clone(),
                aws.meter().clone(),
                aws.faults().of(&faulty),
                invoke,
            ));
        }
    }
    triggers
}

async fn listen(port: u16, option: &'static str) -> Result<(TcpListener, String), StartError> {
    let refuse = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortTaken { port, option },
        _ => StartError::Port {
            port,
            option,
            source,
        },
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    Ok((listener, format!("http://{address}")))
}

/// A folder that this stack writes to, and no other. The system lets go of the lock however this
/// process ends.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    lock: File,
}

impl Folder {
    fn take(path: &Path, option: &'static str) -> Result<Folder, StartError> {
        let path = path.to_owned();
        let opened = std::path::absolute(&path).and_then(|path| {
            fs::create_dir_all(&path)?;
            let lock = File::create(path.join(".lock"))?;
            Ok(Folder { path, lock })
        });
        let folder = match opened {
            Ok(folder) => folder,
            Err(source) => {
                return Err(StartError::Folder {
                    path,
                    option,
                    source,
                });
            }
        };
        match folder.lock.try_lock() {
            Ok(()) => Ok(folder),
            Err(TryLockError::WouldBlock) => Err(StartError::FolderTaken { path, option }),
            Err(TryLockError::Error(source)) => Err(StartError::Folder {
                path,
                option,
                source,
            }),
        }
    }
}
