//! DynamoDB and SQS on this machine, behind one metering TLS endpoint.

mod capacity;
mod certificate;
mod dynamodb;
mod endpoint;
pub mod faults;
pub mod meter;
pub mod refusal;
pub mod sqs;
mod upstream;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use crate::template;
use certificate::Authority;
use dynamodb::DynamoDb;
pub use faults::Faults;
pub use meter::{Meter, Snapshot};
pub use sqs::Sqs;

/// The region that all services here report.
pub const REGION: &str = "us-east-1";
/// The account that owns every resource here.
pub const ACCOUNT: &str = "000000000000";

/// The folders and programs that the AWS side uses.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder for `ca.pem`, the certificate that clients must trust. Made if missing.
    pub ca_dir: PathBuf,
    /// Folder for tables and queues; without it they are in memory. Made if missing.
    pub data_dir: Option<PathBuf>,
}

/// Why the AWS side did not start. Each message is complete in itself.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// A file or folder could not be made or read.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No port on loopback is free, or there is no certificate.
    #[error("cannot start the AWS endpoint: {0}")]
    Endpoint(String),
    /// dynoxide did not start.
    #[error("cannot start DynamoDB: {0}")]
    DynamoDb(String),
    /// A table of the template was refused.
    #[error("table {table}: {reason}")]
    Table {
        /// Its logical id.
        table: String,
        /// Why.
        reason: String,
    },
    /// The queues' database cannot be used.
    #[error("cannot start SQS: {0}")]
    Sqs(String),
    /// A queue of the template was refused.
    #[error("{0}")]
    Queue(String),
}

/// The TLS endpoint with DynamoDB and SQS behind it.
#[derive(Debug)]
pub struct Aws {
    endpoint_url: String,
    ca_file: PathBuf,
    meter: Meter,
    faults: Faults,
    sqs: Sqs,
    dynamodb: DynamoDb,
    endpoint: JoinHandle<()>,
    queues: Mutex<BTreeMap<String, String>>,
}

impl Aws {
    /// Binds the endpoint to a free port of 127.0.0.1, writes its CA certificate and starts
    /// DynamoDB and SQS.
    ///
    /// # Errors
    /// If a folder, a port or the database file is not available.
    pub async fn bind(options: Options) -> Result<Aws, AwsError> {
        for dir in [&options.ca_dir].into_iter().chain(&options.data_dir) {
            std::fs::create_dir_all(dir).map_err(|source| AwsError::File {
                path: dir.clone(),
                source,
            })?;
        }
        let authority = Authority::new().map_err(|e| AwsError::Endpoint(e.to_string()))?;
        let ca_file = options.ca_dir.join("ca.pem");
        std::fs::write(&ca_file, authority.certificate_pem()).map_err(|source| AwsError::File {
            path: ca_file.clone(),
            source,
        })?;
        let tls = authority
            .server_config()
            .map_err(|e| AwsError::Endpoint(e.to_string()))?;
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .map_err(|e| AwsError::Endpoint(e.to_string()))?;
        let address = listener
            .local_addr()
            .map_err(|e| AwsError::Endpoint(e.to_string()))?;

        let dynamodb = DynamoDb::start(options.data_dir.as_deref()).map_err(AwsError::DynamoDb)?;
        let meter = Meter::default();
        let faults = Faults::new(meter.clone());
        let endpoint_url = format!("https://{address}");
        let sqs = Sqs::open(options.data_dir.as_deref(), &endpoint_url).map_err(AwsError::Sqs)?;
        let endpoint = tokio::spawn(endpoint::serve(
            listener,
            tls,
            Arc::new(endpoint::Backends {
                dynamodb: dynamodb.upstream().clone(),
                sqs: sqs.clone(),
                meter: meter.clone(),
                faults: faults.clone(),
            }),
        ));
        Ok(Aws {
            endpoint_url,
            ca_file,
            meter,
            faults,
            sqs,
            dynamodb,
            endpoint,
            queues: Mutex::default(),
        })
    }

    /// Creates the template's tables and queues. Those that a data folder already holds are kept and
    /// updated.
    ///
    /// # Errors
    /// If a table or queue is refused.
    pub async fn create(
        &self,
        tables: &[template::Table],
        queues: &[template::Queue],
    ) -> Result<(), AwsError> {
        self.sqs.create_queues(queues).map_err(AwsError::Queue)?;
        for queue in queues {
            self.meter.know_queue(&queue.logical_id);
            lock(&self.queues).insert(queue.logical_id.clone(), queue.name.clone());
        }
        self.dynamodb.create_tables(tables).await
    }

    /// `https://127.0.0.1:<port>`, without a slash at the end.
    pub fn endpoint_url(&self) -> &str {
        &self.endpoint_url
    }

    /// The URL of a queue by its name (not its logical id).
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/{ACCOUNT}/{name}", self.endpoint_url)
    }

    /// The certificate, as PEM, that a client has to trust. Deleted by [`Aws::shutdown`].
    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The counts of calls through the endpoint, and of the SQS triggers' work.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The injected faults; none until a plan is set.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The queues. The meter does not see what is asked of them here.
    pub fn sqs(&self) -> &Sqs {
        &self.sqs
    }

    /// All measurements so far, with the number of messages in each queue now.
    pub async fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.meter.snapshot();
        let queues = lock(&self.queues).clone();
        for (logical_id, name) in queues {
            // A client may have deleted the queue.
            if let Ok(depth) = self.sqs.depth(&name) {
                snapshot.queues.entry(logical_id).or_default().depth = Some(depth);
            }
        }
        snapshot
    }

    /// Stops the endpoint and DynamoDB, and removes the CA certificate. Takes at most a few
    /// seconds.
    pub async fn shutdown(&self) {
        self.endpoint.abort();
        self.dynamodb.shutdown().await;
        // The file may be gone already, and a certificate without its key is harmless.
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        self.endpoint.abort();
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

/// A lock whose data stays valid if a thread panics while holding it: every change here is one
/// step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
