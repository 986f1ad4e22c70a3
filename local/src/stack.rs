//! Starts all parts of a template in order, and stops them in reverse.

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

/// `AWS::StackName`; resources without a name are called `local-<logical id>`.
const STACK_NAME: &str = "local";

/// How long one part may take to shut down before it is cut off: longer than any request of the
/// shop takes, and shorter than a person at a terminal waits.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// The template, ports and folders of a stack.
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
    /// If set, a function's code is in this folder, under the last part of its `CodeUri`.
    pub code_dir: Option<PathBuf>,
    /// If set, tables and queues are kept here; otherwise they are in memory.
    pub data_dir: Option<PathBuf>,
    /// Folder of the logs, one file for each function.
    pub log_dir: PathBuf,
    /// How long an execution environment may be idle before it ends.
    pub idle_timeout: Duration,
}

/// Why a stack did not start. Each message is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The guard did not start. Without it, processes could be left behind.
    #[error("cannot start the guard of child processes (/bin/sh): {0}")]
    Guard(io::Error),
    /// A folder cannot be made or written to.
    #[error("cannot use the folder {} ({option}): {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The command line's option for it.
        option: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Another stack uses the folder.
    #[error(
        "the folder {} is used by another running `local`: stop that one, or choose another \
         folder with {option}", path.display()
    )]
    FolderTaken {
        /// The folder.
        path: PathBuf,
        /// The command line's option for it.
        option: &'static str,
    },
    /// The port is taken.
    #[error(
        "port {port} is taken: stop what listens on it, or choose another with {option} (0 takes \
         any free one)"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// The command line's option for it.
        option: &'static str,
    },
    /// The port is not available for another reason.
    #[error("cannot listen on port {port} ({option}): {source}")]
    Port {
        /// The port.
        port: u16,
        /// The command line's option for it.
        option: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The template is wrong, or asks for something that this host does not have.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// DynamoDB, SQS or their endpoint did not start.
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
    // Fields are dropped in this order: the guard of all processes comes last.
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
    /// Starts all parts of the template. When this returns, requests are answered.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running then.
    pub async fn start(options: Options) -> Result<Stack, StartError> {
        let children = Children::start().map_err(StartError::Guard)?;
        // First, because a port that is taken is the likeliest error.
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

    /// DynamoDB, SQS and the meter, without the endpoint in between.
    pub fn aws(&self) -> &Aws {
        &self.aws
    }

    /// Folder of the logs.
    pub fn log_dir(&self) -> &Path {
        &self.log_folder.path
    }

    /// The resolved template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Takes no more work, lets running work finish for a few seconds, and ends everything.
    pub async fn shutdown(self) {
        drop(self.control);
        // Both front doors close at the same moment, so that neither waits for the other's work.
        // Work that is cut off is not reported here: HTTP clients see it, and messages are
        // delivered again.
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
                &queue.name,
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

/// A folder that only this stack writes to. The system releases the lock however this process ends.
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
