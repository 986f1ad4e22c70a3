//! CPU time and memory of processes, and the processes that belong to an environment.

use std::time::Duration;

use nix::unistd::Pid;

/// Resources used since the processes began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time of all threads, ended ones included.
    pub(crate) cpu: Duration,
    /// Highest resident memory, in bytes.
    pub(crate) peak_memory: u64,
}

/// Sums over `processes`; `None` if none of them is alive.
pub(crate) fn measure(processes: &[Pid]) -> Option<Usage> {
    processes
        .iter()
        .filter_map(|pid| system::measure(*pid))
        .reduce(|a, b| Usage {
            cpu: a.cpu + b.cpu,
            peak_memory: a.peak_memory + b.peak_memory,
        })
}

/// `root` and all its living descendants, parents first.
pub(crate) fn process_tree(root: Pid) -> Vec<Pid> {
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(parent) = tree.get(next).copied() {
        // A race with a reused process id can return an id twice; a tree has each node once.
        let children: Vec<Pid> = system::children(parent)
            .into_iter()
            .filter(|child| !tree.contains(child))
            .collect();
        tree.extend(children);
        next += 1;
    }
    tree
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs;
    use std::time::Duration;

    use nix::time::{clock_getcpuclockid, clock_gettime};
    use nix::unistd::Pid;

    use super::Usage;

    pub(crate) fn measure(pid: Pid) -> Option<Usage> {
        // The clock counts nanoseconds; `/proc/<pid>/stat` has only hundredths of a second.
        let cpu = Duration::from(clock_gettime(clock_getcpuclockid(pid).ok()?).ok()?);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = kilobytes.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(Usage {
            cpu,
            peak_memory: kilobytes * 1024,
        })
    }

    pub(crate) fn children(pid: Pid) -> Vec<Pid> {
        // A child is listed under the thread that started it.
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            return Vec::new();
        };
        threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
            .flat_map(|children| {
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse().ok().map(Pid::from_raw))
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::time::Duration;

    use nix::unistd::Pid;
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

    use super::Usage;

    /// The peak is not available here, so this is the current memory.
    pub(crate) fn measure(pid: Pid) -> Option<Usage> {
        let pid = sysinfo::Pid::from_u32(pid.as_raw().cast_unsigned());
        let mut system = System::new();
        system.refresh_processes_specifics(
            ProcessesToUpdate::Some(&[pid]),
            true,
            ProcessRefreshKind::nothing().with_cpu().with_memory(),
        );
        let process = system.process(pid)?;
        Some(Usage {
            cpu: Duration::from_millis(process.accumulated_cpu_time()),
            peak_memory: process.memory(),
        })
    }

    pub(crate) fn children(pid: Pid) -> Vec<Pid> {
        let parent = sysinfo::Pid::from_u32(pid.as_raw().cast_unsigned());
        let mut system = System::new();
        system.refresh_processes_specifics(
            ProcessesToUpdate::All,
            true,
            ProcessRefreshKind::nothing(),
        );
        let children = system
            .processes()
            .values()
            .filter(|child| child.parent() == Some(parent));
        // Linux lists threads too, which have a process's id as parent.
        children
            .filter(|child| child.thread_kind().is_none())
            .map(|child| Pid::from_raw(child.pid().as_u32().cast_signed()))
            .collect()
    }
}
