//! The SQS process: fauxqs on Node.js.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::upstream::Upstream;

/// The first Node.js with `node:sqlite`, which fauxqs needs.
const LEAST_NODE: (u32, u32) = (22, 5);
/// A start takes about a third of a second; the rest is for a machine that is busy building.
const START_LIMIT: Duration = Duration::from_secs(30);
/// It has nothing to finish, so it ends within milliseconds.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Fauxqs {
    stop: oneshot::Sender<()>,
    watch: JoinHandle<()>,
}

impl Fauxqs {
    /// Starts it and waits until it listens.
    pub(super) async fn start(
        node: &Path,
        endpoint_url: &str,
        data_dir: Option<&Path>,
        log: &Path,
        group: i32,
        upstream: Upstream,
    ) -> Result<Fauxqs, String> {
        check_node(node).await?;
        // Beside this program's own sources: it runs from its repository.
        let server = server(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fauxqs"))?;
        let stderr = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
        let mut child = Command::new(node)
            // SQLite needs the flag before 22.13. It still prints a warning.
            .args([
                "--experimental-sqlite",
                "--disable-warning=ExperimentalWarning",
            ])
            .arg(&server)
            .arg(endpoint_url)
            .args(data_dir)
            .env_remove("NODE_OPTIONS")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .process_group(group)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("{}: {e}", node.display()))?;
        let stdin = child.stdin.take();
        let port = tokio::time::timeout(START_LIMIT, port(&mut child)).await;
        let Ok(Some(port)) = port else {
            return Err(format!("fauxqs did not start; see {}", log.display()));
        };
        upstream.started(SocketAddr::from(([127, 0, 0, 1], port)));
        let (stop, stopped) = oneshot::channel();
        let watch = tokio::spawn(watch(child, stdin, stopped, upstream, log.to_owned()));
        Ok(Fauxqs { stop, watch })
    }

    pub(super) async fn shutdown(self) {
        let _ = self.stop.send(());
        let _ = self.watch.await;
    }
}

/// Waits until the process ends, by itself (which is reported) or on request.
async fn watch(
    mut child: Child,
    stdin: Option<ChildStdin>,
    stopped: oneshot::Receiver<()>,
    upstream: Upstream,
    log: PathBuf,
) {
    tokio::select! {
        ended = child.wait() => {
            let how = ended.map_or_else(|e| e.to_string(), |status: ExitStatus| status.to_string());
            upstream.failed(&format!(
                "SQS (fauxqs) ended by itself: {how}; start again for a new one, and see {}",
                log.display()
            ));
        }
        _ = stopped => {
            // The process ends when its standard input closes.
            drop(stdin);
            if tokio::time::timeout(SHUTDOWN_LIMIT, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
    }
}

async fn port(child: &mut Child) -> Option<u16> {
    #[derive(Deserialize)]
    struct Listening {
        port: u16,
    }
    let mut line = String::new();
    BufReader::new(child.stdout.take()?)
        .read_line(&mut line)
        .await
        .ok()?;
    Some(serde_json::from_str::<Listening>(&line).ok()?.port)
}

/// The path of `server.mjs`, if its packages are installed beside it.
fn server(dir: &Path) -> Result<PathBuf, String> {
    if dir.join("node_modules/fauxqs/package.json").is_file() {
        return Ok(dir.join("server.mjs"));
    }
    Err(format!(
        "fauxqs is not installed in {}: run `make install`",
        dir.display()
    ))
}

async fn check_node(node: &Path) -> Result<(), String> {
    let wanted = format!(
        "Node.js {}.{} or later is needed: run `make install` and pass what it installed, or any other, with --node PATH",
        LEAST_NODE.0, LEAST_NODE.1
    );
    let output = Command::new(node)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .await;
    let output = output.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => format!("{} was not found; {wanted}", node.display()),
        _ => format!("{}: {e}; {wanted}", node.display()),
    })?;
    let version = String::from_utf8_lossy(&output.stdout);
    let version = version.lines().next().unwrap_or_default();
    if parse_version(version).is_some_and(|version| version >= LEAST_NODE) {
        return Ok(());
    }
    Err(format!("{} is {version:?}; {wanted}", node.display()))
}

/// `v22.5.1`: major and minor.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (text, enough) in [
            ("v22.5.0", true),
            ("v24.0.1", true),
            ("v22.4.9", false),
            ("v9.11.2", false),
            ("22.5", false),
            ("", false),
        ] {
            let version = parse_version(text);
            assert_eq!(version.is_some_and(|v| v >= LEAST_NODE), enough, "{text:?}");
        }
    }

    #[test]
    fn a_missing_installation_says_how_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let why = server(dir.path()).unwrap_err();
        assert!(why.starts_with("fauxqs is not installed in "), "{why}");
        assert!(why.ends_with(": run `make install`"), "{why}");
    }

    #[tokio::test]
    async fn a_node_that_is_missing_is_named() {
        let why = check_node(Path::new("/nowhere/node")).await.unwrap_err();
        assert!(why.contains("/nowhere/node was not found"), "{why}");
    }
}
