//! Makes sure that no process started by this host outlives it, not even after `kill -9`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};

use tokio::sync::watch;

/// Reads until its standard input closes, then kills its own process group, itself included. It
/// uses shell built-ins only, so nothing can be missing from `PATH`.
const GUARD: &str = "trap '' HUP INT TERM; while read -r _; do :; done; kill -s KILL 0";

/// The process group of everything that this host starts.
///
/// A small guard process leads the group and reads from a pipe whose other end only this process
/// holds. The kernel closes that end however this process ends, and the guard then kills the group.
/// A child that is just starting holds the pipe open until it has joined the group, so none
/// escapes.
#[derive(Debug)]
pub struct Children {
    group: i32,
    /// Closing it tells the guard to kill the group.
    stdin: Option<ChildStdin>,
    /// Waits for the guard's end.
    waiter: Option<JoinHandle<()>>,
    /// Its sender is gone once the guard is.
    lost: watch::Receiver<()>,
}

impl Children {
    /// Starts the guard.
    ///
    /// # Errors
    /// If `/bin/sh` or a thread cannot be started.
    pub fn start() -> io::Result<Children> {
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        // Process ids are `pid_t`, a signed 32-bit number, on Linux and macOS.
        let group = guard.id().cast_signed();
        let stdin = guard.stdin.take();
        let (running, lost) = watch::channel(());
        let waiter = thread::Builder::new().spawn(move || {
            // Waiting fails only if the guard is gone already.
            let _ = guard.wait();
            drop(running);
        })?;
        Ok(Children {
            group,
            stdin,
            waiter: Some(waiter),
            lost,
        })
    }

    /// The group's id, for `Command::process_group`. Terminal signals such as Ctrl-C do not reach it.
    pub fn group(&self) -> i32 {
        self.group
    }

    /// Resolves if the guard has ended, so that children could be left behind.
    pub async fn lost(&self) {
        // Nothing is ever sent: this fails once the sender is gone.
        let _ = self.lost.clone().changed().await;
    }
}

impl Drop for Children {
    /// Kills every process left in the group.
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Some(waiter) = self.waiter.take() {
            // It fails only if the thread panicked.
            let _ = waiter.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Child;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;

    #[tokio::test]
    async fn a_guard_that_is_killed_is_noticed() {
        let children = Children::start().expect("the guard starts");
        kill(Pid::from_raw(children.group()), Signal::SIGKILL).expect("it runs");
        children.lost().await;
    }

    fn sleeper(children: &Children) -> Child {
        Command::new("/bin/sh")
            .args(["-c", "while :; do sleep 1; done"])
            .process_group(children.group())
            .spawn()
            .expect("a shell starts")
    }

    #[test]
    fn dropping_the_guard_kills_every_child() {
        use std::os::unix::process::ExitStatusExt;

        let children = Children::start().expect("the guard starts");
        let mut first = sleeper(&children);
        let mut second = sleeper(&children);
        drop(children);
        for child in [&mut first, &mut second] {
            let status = child.wait().expect("the child can be waited for");
            assert_eq!(status.signal(), Some(9));
        }
    }
}
