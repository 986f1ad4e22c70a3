//! The limits of this machine that all environments share.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::tmp::TmpFolders;

/// Simultaneous starts for each core. More would only make each of them slower, until all exceed
/// the limit of the init phase.
const STARTS: usize = 4;

/// Open files that macOS allows at most, whatever the hard limit says (`OPEN_MAX`).
const MACOS_DESCRIPTORS: u64 = 10_240;

/// Open files that an environment takes at most: its Runtime API and two connections, both ends of
/// its output, its process, and some while it starts.
const DESCRIPTORS: u64 = 10;

/// Open files for everything else: clients, queues, tables.
const OTHER_DESCRIPTORS: u64 = 200;

/// What all environments of a stack share. Clones are the same machine.
#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) tmp: Arc<TmpFolders>,
    starts: Arc<Semaphore>,
    /// Environments that the limit of open files allows.
    room: Arc<Semaphore>,
}

impl Machine {
    /// Raises the limit of open files, and finds out how environments get a `/tmp` of their own.
    /// They see the folders of `visible` even where those are below `/tmp`.
    ///
    /// # Errors
    /// If the system's temporary folder cannot be written to.
    pub fn prepare(visible: Vec<PathBuf>) -> Result<Machine, String> {
        let limit = getrlimit(Resource::Nofile);
        for current in [limit.maximum, Some(MACOS_DESCRIPTORS)] {
            let maximum = limit.maximum;
            if setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok() {
                break;
            }
        }
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let room = descriptors.saturating_sub(OTHER_DESCRIPTORS) / DESCRIPTORS;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        Ok(Machine {
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            tmp: TmpFolders::create(visible)?,
            starts: Arc::new(Semaphore::new(STARTS * cores)),
        })
    }

    /// Room for one more environment, as long as the permit is kept.
    pub(super) fn room(&self) -> io::Result<OwnedSemaphorePermit> {
        let room = Arc::clone(&self.room).try_acquire_owned();
        room.map_err(|_| io::Error::from_raw_os_error(Errno::EMFILE as i32))
    }

    /// A notice for people if this machine differs from AWS.
    pub fn notice(&self) -> Option<&'static str> {
        (!self.tmp.mounts).then_some(
            "a /tmp of its own for each environment: this system has no mount namespaces for us, \
             so TMPDIR names a folder of its own",
        )
    }

    /// Waits until an environment may start. The permit ends with the start.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.starts).acquire_owned().await.ok()
    }
}
