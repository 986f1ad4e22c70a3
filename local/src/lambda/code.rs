//! A function's `bootstrap`: whether it can be run, and whether it has been built anew.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Tells one build of a `bootstrap` from another: its file, size and time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Code {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Code {
    /// The present build. `None` while there is none, as in the middle of a build.
    pub(super) fn of(bootstrap: &Path) -> Option<Code> {
        let metadata = std::fs::metadata(bootstrap).ok()?;
        Some(Code {
            inode: metadata.ino(),
            bytes: metadata.size(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// Checks an executable before it is run.
pub(super) fn check(function: &str, bootstrap: &Path) -> Result<(), String> {
    let path = bootstrap.display();
    let refuse = |what: String| Err(format!("function {function}: {what}"));
    let metadata = std::fs::metadata(bootstrap).ok();
    let Some(metadata) = metadata.filter(Metadata::is_file) else {
        return refuse(format!("there is no {path}; run `make build`"));
    };
    if metadata.permissions().mode() & 0o111 == 0 {
        return refuse(format!(
            "{path} is not executable; run `chmod +x` on it, or `make build`"
        ));
    }
    let mut header = [0; 20];
    let read = File::open(bootstrap).and_then(|mut file| file.read_exact(&mut header));
    if read.is_ok() && is_for_another_machine(&header) {
        return refuse(format!(
            "{path} is built for another machine; run `make build` on this one"
        ));
    }
    Ok(())
}

/// Whether an executable is for Linux, but not for this machine. The system judges any other file.
fn is_for_another_machine(header: &[u8; 20]) -> bool {
    // `e_machine`: https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html
    let ours = match std::env::consts::ARCH {
        "x86_64" => [62, 0],
        "aarch64" => [183, 0],
        _ => return false,
    };
    header.starts_with(b"\x7fELF") && !(cfg!(target_os = "linux") && header[18..] == ours)
}
