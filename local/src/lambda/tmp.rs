//! The `/tmp` of execution environments: each has one of its own, as on AWS.
//!
//! On Linux a thread leaves this host's mount namespace, mounts the environment's folder over
//! `/tmp`, and starts the process, which inherits what the thread sees. So nothing runs in the
//! process before the function itself, and no CPU time is added to its cold start. This needs root,
//! or [`enter_user_namespace`]. Without either, `TMPDIR` names the folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use uuid::Uuid;

/// The start of the name of each run's folder.
const PREFIX: &str = "local-tmp-";

/// Lets this process, without root, give each environment a `/tmp` of its own. To be called before
/// there is a second thread. Does nothing where the system forbids it.
#[cfg(target_os = "linux")]
pub fn enter_user_namespace() {
    use nix::sched::{CloneFlags, unshare};
    use nix::unistd::{getgid, getuid};

    let (user, group) = (getuid(), getgid());
    if user.is_root() || unshare(CloneFlags::CLONE_NEWUSER).is_err() {
        return;
    }
    // This process stays who it is. Without `deny`, Linux refuses to map the group.
    let _ = fs::write("/proc/self/uid_map", format!("{user} {user} 1"));
    let _ = fs::write("/proc/self/setgroups", "deny");
    let _ = fs::write("/proc/self/gid_map", format!("{group} {group} 1"));
}

/// Other systems have no such namespaces.
#[cfg(not(target_os = "linux"))]
pub fn enter_user_namespace() {}

/// The folders of one run, which are removed with it.
#[derive(Debug)]
pub(super) struct TmpFolders {
    folder: TempDir,
    /// Tells a later run that this one has not been killed.
    _lock: File,
    /// Folders that environments see even if they are below `/tmp`.
    visible: Vec<PathBuf>,
    /// Whether environments have a `/tmp` of their own, rather than a folder in `TMPDIR`.
    pub(super) mounts: bool,
}

impl TmpFolders {
    /// Makes the folder of this run below the system's temporary folder, and removes those of runs
    /// that were killed.
    pub(super) fn create(visible: Vec<PathBuf>) -> Result<Arc<TmpFolders>, String> {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        let open = || {
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .tempdir_in(&parent)?;
            let lock = File::open(folder.path())?;
            lock.try_lock()?;
            Ok((folder, lock))
        };
        let (folder, lock) = open().map_err(|error: io::Error| {
            let parent = parent.display();
            format!(
                "cannot make a folder in {parent}: {error}; set TMPDIR to one that can be written"
            )
        })?;
        let trial = folder.path().to_owned();
        let mounts = thread::spawn(move || isolate(&trial, &[]).is_ok()).join();
        Ok(Arc::new(TmpFolders {
            folder,
            _lock: lock,
            visible: visible
                .into_iter()
                .filter_map(|folder| folder.canonicalize().ok())
                .collect(),
            mounts: mounts.unwrap_or(false),
        }))
    }

    /// The folder of a new environment that runs the code in `code_dir`.
    pub(super) fn folder(self: &Arc<Self>, code_dir: &Path) -> Tmp {
        let name = Uuid::new_v4().simple().to_string();
        let mut visible = self.visible.clone();
        visible.push(code_dir.to_owned());
        // It may be a link to a file elsewhere.
        let bootstrap = code_dir.join("bootstrap").canonicalize().ok();
        visible.extend(
            bootstrap
                .iter()
                .filter_map(|it| it.parent())
                .map(Path::to_owned),
        );
        Tmp {
            folder: self.folder.path().join(name),
            visible,
            run: Arc::clone(self),
        }
    }
}

/// Removes the folders of runs that hold no lock any more. A folder that was made just now may not
/// be locked yet.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let age = |metadata: fs::Metadata| metadata.modified().ok()?.elapsed().ok();
        let is_old = entry.metadata().ok().and_then(age) > Some(Duration::from_secs(60));
        if is_ours
            && is_old
            && let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The folder of one environment; removed when dropped, once its processes are gone.
#[derive(Debug)]
pub(super) struct Tmp {
    folder: PathBuf,
    visible: Vec<PathBuf>,
    run: Arc<TmpFolders>,
}

impl Tmp {
    /// The value of `TMPDIR`, if it has to tell the function where its folder is.
    pub(super) fn variable(&self) -> Option<&Path> {
        (!self.run.mounts).then_some(&self.folder)
    }

    /// Starts a process that sees this folder.
    pub(super) async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let mounted = self.run.mounts;
        let (tmp, visible) = (self.folder.clone(), self.visible.clone());
        fs::create_dir_all(&tmp)?;
        let runtime = Handle::current();
        let (started, child) = oneshot::channel();
        // A thread of its own, because it cannot go back. Starting a process also takes about a
        // millisecond, in which this thread can serve requests.
        thread::Builder::new().spawn(move || {
            let _context = runtime.enter();
            let isolated = if mounted {
                isolate(&tmp, &visible)
            } else {
                Ok(())
            };
            let isolated = isolated
                .map_err(|error| io::Error::other(format!("its /tmp cannot be mounted: {error}")));
            // Nobody waits if the environment has been given up; the process is then killed.
            let _ = started.send(isolated.and_then(|()| command.spawn()));
        })?;
        child.await.map_err(io::Error::other)?
    }
}

impl Drop for Tmp {
    fn drop(&mut self) {
        // There is none if no process was started. The folder of the run goes last.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Mounts a folder over `/tmp` for this thread and the processes that it starts. Folders of `visible`
/// stay where they are.
#[cfg(target_os = "linux")]
fn isolate(tmp: &Path, visible: &[PathBuf]) -> io::Result<()> {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    let bind = |from: &Path, to: &Path| {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(from), to, None::<&str>, flags, None::<&str>)
    };
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Or the mounts would reach the system's namespace too.
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    for folder in visible {
        if let Ok(below) = folder.strip_prefix("/tmp")
            && !below.as_os_str().is_empty()
        {
            let inside = tmp.join(below);
            fs::create_dir_all(&inside)?;
            bind(folder, &inside)?;
        }
    }
    bind(tmp, Path::new("/tmp"))?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn isolate(_: &Path, _: &[PathBuf]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
