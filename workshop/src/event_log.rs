//! Reads a host's log of events.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use local::events::{Entry, Event};
use reqwest::Client;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// A second of load is a few thousand events, and the host keeps 20,000.
const EVERY: Duration = Duration::from_millis(500);

/// A host's log of events, with the place up to which it was read.
#[derive(Debug)]
pub struct Log {
    client: Client,
    url: String,
    /// The number of the next event.
    next: u64,
}

impl Log {
    /// From the first event of the host with this control address.
    pub fn new(client: &Client, control_url: &str) -> Self {
        Self {
            client: client.clone(),
            url: format!("{control_url}/events"),
            next: 0,
        }
    }

    /// Everything that has happened since it was read last. The host keeps the last 20,000; an [`Event::Lost`] stands
    /// for those before.
    pub async fn read(&mut self) -> Result<Vec<Entry>> {
        let url = format!("{}?from={}&until=now", self.url, self.next);
        let answer = self.client.get(url).send().await?.error_for_status()?;
        let lines = answer.text().await?;
        let entries = lines.lines().map(serde_json::from_str::<Entry>);
        let entries: serde_json::Result<Vec<_>> = entries.collect();
        let entries = entries.context("GET /events of the host")?;
        let read = entries.iter().map(|entry| match entry.event {
            Event::Lost { count } => count,
            _ => 1,
        });
        self.next += read.sum::<u64>();
        Ok(entries)
    }

    /// Reads on while the host runs, since a long load has more events than the host keeps.
    pub fn follow(self) -> Follower {
        let followed = Arc::new(Mutex::new((self, Vec::new())));
        let (mut task, reader) = (JoinSet::new(), followed.clone());
        task.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                pull(&reader).await;
            }
        });
        Follower {
            followed,
            _task: task,
        }
    }
}

/// A log, and what was read of it.
type Followed = Mutex<(Log, Vec<Entry>)>;

/// Follows a log until it is dropped.
#[derive(Debug)]
pub struct Follower {
    followed: Arc<Followed>,
    _task: JoinSet<()>,
}

impl Follower {
    /// Everything that has happened. What can no longer be read is left out.
    pub async fn finish(self) -> Vec<Entry> {
        pull(&self.followed).await;
        std::mem::take(&mut self.followed.lock().await.1)
    }
}

async fn pull(followed: &Followed) {
    let (log, entries) = &mut *followed.lock().await;
    // A host that has gone is noticed by others.
    entries.extend(log.read().await.unwrap_or_default());
}
