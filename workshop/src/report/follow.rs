//! Reads a host's log of events while it runs. The host keeps the last 200,000, and a long load has more.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use local::events::{Entry, Event};
use reqwest::Client;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// A second of load is a few thousand events.
const EVERY: Duration = Duration::from_secs(1);

/// Follows a host until it is dropped.
#[derive(Debug)]
pub struct Follower {
    log: Arc<Log>,
    _task: JoinSet<()>,
}

#[derive(Debug)]
struct Log {
    client: Client,
    url: String,
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    entries: Vec<Entry>,
    /// The number of the next event.
    next: u64,
}

impl Follower {
    /// Begins with the first event of the host with this control address.
    pub fn start(client: &Client, control_url: &str) -> Self {
        let log = Arc::new(Log {
            client: client.clone(),
            url: format!("{control_url}/events"),
            read: Mutex::default(),
        });
        let (mut task, followed) = (JoinSet::new(), log.clone());
        task.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                // A host that has gone is noticed by others.
                let _ = followed.pull().await;
            }
        });
        Self { log, _task: task }
    }

    /// Everything that has happened. What can no longer be read is left out.
    pub async fn finish(self) -> Vec<Entry> {
        let _ = self.log.pull().await;
        std::mem::take(&mut self.log.read.lock().await.entries)
    }
}

impl Log {
    /// Reads what is new.
    async fn pull(&self) -> Result<()> {
        let mut read = self.read.lock().await;
        let url = format!("{}?from={}&until=now", self.url, read.next);
        let answer = self.client.get(url).send().await?.error_for_status()?;
        let lines = answer.text().await?;
        let entries = lines.lines().map(serde_json::from_str::<Entry>);
        let entries: serde_json::Result<Vec<_>> = entries.collect();
        for entry in entries.context("GET /events of the host")? {
            read.next += match entry.event {
                Event::Lost { count } => count,
                _ => 1,
            };
            read.entries.push(entry);
        }
        Ok(())
    }
}
