//! Where and of what a figure was measured.

use std::path::Path;

use local::conditions::Medians;
use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use tokio::process::Command;

use crate::program;

/// The origins of a number.
pub const MEASURED: &str = "measured here";
/// Counted as AWS would charge, by a program that stands in for it.
pub const SIMULATED: &str = "simulated here";
/// Not known without an account.
pub const NEEDS_AWS: &str = "needs AWS";
/// From the logs of a stack on AWS.
pub const MEASURED_ON_AWS: &str = "measured on AWS";
/// Everything but the response times is the client's.
pub const LATENCY_LOGGED: &str = "measured here; response times: as API Gateway logged them";

/// A machine; `None` for what is not known.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: Option<String>,
    /// Threads that it runs at once.
    pub cores: usize,
    /// GB of 2^30 bytes.
    pub memory_gb: u64,
    pub os: String,
    /// The version of Node.js, which runs Artillery.
    pub node: Option<String>,
}

/// Conditions in words.
pub fn conditions(known: Option<&Medians>) -> String {
    known.map_or_else(|| "none".to_owned(), ToString::to_string)
}

impl Machine {
    /// This machine.
    pub async fn this() -> Self {
        let memory = MemoryRefreshKind::nothing().with_ram();
        let what = RefreshKind::nothing().with_memory(memory);
        let system = System::new_with_specifics(what.with_cpu(CpuRefreshKind::nothing()));
        let brand = system.cpus().first().map(|cpu| cpu.brand().trim());
        let node = program::output(Command::new("node").arg("--version")).await;
        let os = System::name().unwrap_or_else(|| std::env::consts::OS.to_owned());
        let version = System::kernel_version().unwrap_or_default();
        Self {
            cpu: brand.filter(|brand| !brand.is_empty()).map(str::to_owned),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gb: (system.total_memory() as f64 / f64::from(1 << 30)).round() as u64,
            os: format!("{os} {version} {}", std::env::consts::ARCH),
            node: node.ok().map(|version| version.trim().to_owned()),
        }
    }

    /// In two lines.
    pub fn describe(&self) -> String {
        let (cores, memory, os) = (self.cores, self.memory_gb, &self.os);
        let cpu = self.cpu.as_deref().unwrap_or("unknown processor");
        let node = self.node.as_deref().unwrap_or("unknown");
        format!("{cpu}, {cores} cores, {memory} GB\n{os}, Node.js {node}")
    }
}

/// The commit that is measured, with `+changes` if the tree differs from it; `None` outside a repository.
pub async fn commit(root: &Path) -> Option<String> {
    let git = async |arguments: &[&str]| {
        let output = program::output(Command::new("git").args(arguments).current_dir(root)).await;
        output.ok().map(|text| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"]).await?;
    let changes = git(&["status", "--porcelain"]).await?;
    Some(commit + if changes.is_empty() { "" } else { "+changes" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_has_cores_memory_and_a_system() {
        let machine = Machine::this().await;
        assert!(machine.cores > 0 && machine.memory_gb > 0, "{machine:?}");
        assert!(
            machine.describe().contains(std::env::consts::ARCH),
            "{}",
            machine.describe()
        );
    }

    #[tokio::test]
    async fn outside_a_repository_there_is_no_commit() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(commit(folder.path()).await, None);
    }
}
