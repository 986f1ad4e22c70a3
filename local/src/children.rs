//! Makes sure that no process started by this host outlives it, not even after `kill -9`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

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
    guard: Child,
}

impl Children {
    /// Starts the guard.
    ///
    /// # Errors
    /// If `/bin/sh` cannot be started.
    pub fn start() -> io::Result<Children> {
        let guard = Command::new("/bin/sh")
            .args(["-c", GUARD])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Children { guard })
    }

    /// The group's id, for `Command::process_group`. Terminal signals such as Ctrl-C do not reach it.
    pub fn group(&self) -> i32 {
        // Process ids are `pid_t`, a signed 32-bit number, on Linux and macOS.
        self.guard.id().cast_signed()
    }
}

impl Drop for Children {
    /// Kills every process left in the group.
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        // Waiting fails only if the guard is gone already.
        let _ = self.guard.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
