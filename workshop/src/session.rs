//! The surroundings of a verb: the project's folder, the person who watches, and Ctrl-C. After it, what runs is
//! stopped in order, and what was measured is kept.

use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// The verb was stopped by a person, or by the end of the reader of its output.
#[derive(Debug, thiserror::Error)]
#[error("interrupted by {0}")]
pub struct Interrupted(Signal);

/// What a person asked for does not exist, or cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

/// The exit code of a verb that ended so: 1, 2 for bad input, or 128 and the signal's number, as a shell has it.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<BadInput>() {
        return ExitCode::from(2);
    }
    let interrupted = error.downcast_ref::<Interrupted>();
    interrupted.map_or(ExitCode::FAILURE, |Interrupted(signal)| of_signal(*signal))
}

fn of_signal(signal: Signal) -> ExitCode {
    // Numbers of signals are below 64 on every system.
    ExitCode::from(128 + (signal as i32).unsigned_abs() as u8)
}

/// What every verb is given.
#[derive(Debug)]
pub struct Session {
    /// The folder of the project.
    pub root: PathBuf,
    bars: MultiProgress,
    interrupted: watch::Sender<Option<Signal>>,
}

impl Session {
    /// Finds the project, and listens for SIGINT, SIGTERM and SIGHUP.
    pub fn start() -> Result<Self> {
        let session = Self::in_folder(project()?);
        for (kind, number) in [
            (SignalKind::interrupt(), Signal::SIGINT),
            (SignalKind::terminate(), Signal::SIGTERM),
            (SignalKind::hangup(), Signal::SIGHUP),
        ] {
            let mut signals = signal(kind)?;
            let interrupted = session.interrupted.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    raise(&interrupted, number);
                }
            });
        }
        Ok(session)
    }

    /// A session that no signal reaches.
    pub fn in_folder(root: PathBuf) -> Self {
        Self {
            root,
            bars: MultiProgress::new(),
            interrupted: watch::Sender::new(None),
        }
    }

    /// The signal that has interrupted, if one has.
    pub fn interrupted_by(&self) -> Option<Signal> {
        *self.interrupted.borrow()
    }

    /// The exit code of a verb that came to its end.
    pub fn verdict(&self, passed: bool) -> ExitCode {
        let failed = u8::from(!passed).into();
        self.interrupted_by().map_or(failed, of_signal)
    }

    /// The result of `work`, or the interruption if that comes first; then `work` is dropped.
    pub async fn or_interrupted<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut interrupted = self.interrupted.subscribe();
        tokio::select! {
            biased;
            Ok(signal) = interrupted.wait_for(Option::is_some) => match *signal {
                Some(signal) => Err(Interrupted(signal).into()),
                None => unreachable!("it was waited for"),
            },
            result = work => result,
        }
    }

    /// Waits, unless it is interrupted.
    pub async fn pause(&self, time: Duration) -> Result<()> {
        self.or_interrupted(async {
            tokio::time::sleep(time).await;
            Ok(())
        })
        .await
    }

    /// Writes a line to the standard output. A reader that has gone interrupts the verb.
    pub fn say(&self, line: impl AsRef<str>) {
        let write = || writeln!(io::stdout(), "{}", line.as_ref());
        if self.bars.suspend(write).is_err() {
            raise(&self.interrupted, Signal::SIGPIPE);
        }
    }

    /// A bar of so many steps, on the standard error if that is a terminal; it disappears at its end.
    pub fn bar(&self, steps: u64) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(steps));
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}") {
            bar.set_style(style);
        }
        bar
    }

    /// Shows how far it has come: beside the bar if a person sees it, else in a line of its own.
    pub fn progress(&self, bar: &ProgressBar, text: String) {
        if bar.is_hidden() {
            self.say(text);
        } else {
            bar.set_message(text);
        }
    }
}

/// The first signal is the one that counts.
fn raise(interrupted: &watch::Sender<Option<Signal>>, signal: Signal) {
    interrupted.send_modify(|raised| {
        raised.get_or_insert(signal);
    });
}

/// The working folder, or the nearest above it that has a load test.
fn project() -> Result<PathBuf> {
    let here = std::env::current_dir()?;
    let mut folders = here.ancestors();
    let found = folders.find(|folder| folder.join("load-tests/artillery.yml").exists());
    let found = found.with_context(|| format!("{} is not in the project", here.display()))?;
    Ok(found.to_owned())
}
