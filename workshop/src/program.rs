//! Starts and stops other programs: the host, Node.js, Artillery.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err::File;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// From SIGTERM to SIGKILL: enough for the host to end its environments.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// A program that was started here. It is killed when dropped; [`Program::stop`] is gentler.
///
/// It has a process group of its own, so that Ctrl-C in a terminal reaches this process alone, which then stops
/// its programs in order.
#[derive(Debug)]
pub struct Program(Child);

impl Program {
    /// Starts a program with both its outputs in the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let log = log.into_file();
        command.stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        command.process_group(0).kill_on_drop(true);
        let child = command.spawn().with_context(|| cannot_start(command))?;
        Ok(Self(child))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Waits until it ends.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.0.wait().await?)
    }

    /// Sends SIGTERM, and SIGKILL to a program that has not ended in time. It is gone afterwards.
    pub async fn stop(&mut self) {
        if let Some(id) = self.0.id() {
            // Process ids are `pid_t`, a signed 32-bit number. It fails only if it has just ended.
            let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM);
        }
        if timeout(STOP_TIMEOUT, self.0.wait()).await.is_err() {
            let _ = self.0.kill().await;
        }
    }
}

/// How a program ended, in words.
pub fn how(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

/// Runs a program to its end and returns its standard output. If it fails, the error is the last line of its
/// standard error that says why.
pub async fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = output.await.with_context(|| cannot_start(command))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // npm ends with a line that points to a file.
    let mut lines = said.trim().lines().rev();
    let last = lines.find(|line| !line.contains("A complete log of this run"));
    let last = last.unwrap_or("it said nothing");
    let (name, how) = (name(command), how(output.status));
    bail!("{name} ended with {how}: {last}");
}

fn name(command: &Command) -> String {
    let name = command.as_std().get_program();
    name.to_string_lossy().into_owned()
}

fn cannot_start(command: &Command) -> String {
    let name = name(command);
    format!("{name} cannot be started (the verbs of the Makefile build and install what they need)")
}
