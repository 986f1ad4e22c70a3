//! The programs that are measured: the shop's functions, and those of `benchmarks/peers.yml`, each made below
//! `target/bench`.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fs_err as fs;
use serde::Deserialize;
use tokio::process::Command;

use crate::files::read_yaml;
use crate::program::output;

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// The other ways to do it; the floor is first.
    pub peers: Vec<Peer>,
    /// One candidate each.
    pub ladder: Vec<Peer>,
    /// With some of the peers, what the conditions are held against published figures with.
    pub truth: Vec<Peer>,
}

/// A program that is measured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name, and that of its folder.
    pub name: String,
    /// What it is, in a few words.
    pub note: String,
    pub made: Made,
    #[serde(default)]
    pub roots: Roots,
}

/// How a program comes to be.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Made {
    /// It is there already.
    Copy(PathBuf),
    /// It is there already, built from a package of its own name.
    #[serde(skip)]
    Shop(PathBuf),
    /// By cargo, from the workspace `benchmarks/`.
    Rust(Build),
    /// By a script of `benchmarks/`, which is given the folder, and tells the language's version.
    Script { script: PathBuf, upload: PathBuf },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    package: String,
    /// Those of the package's own that it is built with, in place of its defaults.
    features: Option<String>,
    #[serde(default = "release")]
    profile: String,
    #[serde(default)]
    flags: Vec<String>,
}

fn release() -> String {
    "release".to_owned()
}

/// The root certificates that a program has on AWS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Roots {
    /// Those that the host hands over.
    #[default]
    Handed,
    /// Those of the system, which it reads.
    System,
    /// Amazon's, compiled in: nobody hands over others.
    Amazon,
}

impl Peers {
    pub fn read(root: &Path) -> Result<Self> {
        read_yaml(&root.join("benchmarks/peers.yml"))
    }
}

/// As many roots as a system has, for programs that read those on AWS; `trust` writes it.
pub fn system_roots(root: &Path) -> PathBuf {
    root.join("target/bench/roots.pem")
}

impl Peer {
    /// Where its `bootstrap` is.
    pub fn code_dir(&self, root: &Path) -> PathBuf {
        root.join("target/bench/code").join(&self.name)
    }

    /// The program, if it is a native one.
    pub fn binary(&self, root: &Path) -> Option<PathBuf> {
        let is_native = !matches!(self.made, Made::Script { .. });
        is_native.then(|| self.code_dir(root).join("bootstrap"))
    }

    /// Variables of its function.
    pub fn environment(&self, root: &Path) -> Vec<(&'static str, String)> {
        let roots = system_roots(root).display().to_string();
        match self.roots {
            Roots::Handed => Vec::new(),
            Roots::System => vec![("SSL_CERT_FILE", roots.clone()), ("AWS_CA_BUNDLE", roots)],
            Roots::Amazon => vec![("SSL_CERT_FILE", String::new())],
        }
    }

    /// Builds or installs it.
    pub async fn prepare(&mut self, root: &Path) -> Result<()> {
        let code_dir = self.code_dir(root);
        fs::create_dir_all(&code_dir)?;
        match &self.made {
            Made::Copy(program) | Made::Shop(program) => {
                copy(&root.join(program), &code_dir.join("bootstrap"))
            }
            Made::Rust(build) => build.run(root, &code_dir).await,
            Made::Script { script, .. } => {
                let script = root.join("benchmarks").join(script);
                let version = output(Command::new("sh").arg(script).arg(&code_dir)).await?;
                self.note = format!("{}, {}", version.trim(), self.note);
                Ok(())
            }
        }
    }

    /// Crates that are linked into it; `None` if cargo did not make it here.
    pub async fn crates(&self, root: &Path) -> Result<Option<usize>> {
        let mut command = Command::new("cargo");
        command.args(["tree", "--locked", "--prefix", "none", "--format", "{p}"]);
        command.args(["-e", "normal,no-proc-macro", "--manifest-path"]);
        match &self.made {
            Made::Rust(build) => command
                .arg(root.join("benchmarks/Cargo.toml"))
                .args(build.selection()),
            Made::Shop(_) => command
                .arg(root.join("Cargo.toml"))
                .args(["-p", &self.name]),
            _ => return Ok(None),
        };
        let tree = output(&mut command).await?;
        let lines = tree.lines().filter(|line| !line.is_empty());
        let crates = lines.map(|line| line.split(' ').take(2).collect::<Vec<_>>());
        Ok(Some(crates.collect::<BTreeSet<_>>().len()))
    }

    /// Bytes of a zip of what would be uploaded to Lambda, as `zip -9X` makes it, to within some bytes. The file is
    /// deflated, with 30 bytes of local header and 46 of central directory, its name in both, and 22 bytes at the end.
    /// Times are left out, so the size depends on content alone. gzip deflates like zip, with 18 bytes of its own
    /// around it.
    pub async fn zip_bytes(&self, root: &Path) -> Result<usize> {
        let code_dir = self.code_dir(root);
        let upload = match &self.made {
            Made::Copy(program) | Made::Shop(program) => root.join(program),
            Made::Rust(_) => code_dir.join("bootstrap"),
            Made::Script { upload, .. } => code_dir.join(upload),
        };
        let gzip = "set -e; gzip -9 -n -c \"$0\" >\"$0.gz\"; wc -c <\"$0.gz\"; rm \"$0.gz\"";
        let deflated = output(Command::new("sh").args(["-c", gzip]).arg(&upload)).await?;
        let deflated: usize = deflated.trim().parse().context("gzip")?;
        let name = upload.file_name().unwrap_or_default();
        Ok(deflated - 18 + 76 + 2 * name.len() + 22)
    }
}

impl Build {
    fn selection(&self) -> Vec<&str> {
        let mut selection = vec!["-p", &self.package];
        if let Some(features) = &self.features {
            selection.extend(["--no-default-features", "-F", features]);
        }
        selection
    }

    async fn run(&self, root: &Path, code_dir: &Path) -> Result<()> {
        let target = root.join("target/bench/cargo");
        // `cargo rustc` passes the flags to the last crate only. With fat LTO that crate generates the code.
        let mut command = Command::new("cargo");
        command.args(["rustc", "--quiet", "--locked", "--profile", &self.profile]);
        command.arg("--manifest-path");
        command.arg(root.join("benchmarks/Cargo.toml"));
        command.args(self.selection()).arg("--").args(&self.flags);
        command.env("CARGO_TARGET_DIR", &target);
        output(&mut command).await?;
        let program = target.join(&self.profile).join(&self.package);
        copy(&program, &code_dir.join("bootstrap"))
    }
}

/// Writes a program. One that runs cannot be written to, but it can be replaced.
pub fn write_program(file: &Path, content: &[u8]) -> Result<()> {
    let _ = fs::remove_file(file);
    fs::write(file, content)?;
    fs::set_permissions(file, PermissionsExt::from_mode(0o755))?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_file(to);
    fs::copy(from, to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn the_floor_comes_first_and_every_program_has_a_name_of_its_own() {
        let Peers {
            peers,
            ladder,
            truth,
        } = Peers::read(&root()).unwrap();
        assert_eq!(peers[0].name, "floor");
        for group in [[peers, truth].concat(), ladder] {
            let names: BTreeSet<_> = group.iter().map(|peer| &peer.name).collect();
            assert_eq!(names.len(), group.len());
        }
    }

    #[test]
    fn every_feature_and_profile_of_the_ladder_is_one_of_its_crate() {
        let read = |file: &str| fs::read_to_string(root().join("benchmarks").join(file)).unwrap();
        let (features, profiles) = (read("ladder/Cargo.toml"), read("Cargo.toml"));
        let Peers { ladder, truth, .. } = Peers::read(&root()).unwrap();
        for peer in [ladder, truth].concat() {
            let Made::Rust(build) = peer.made else {
                continue;
            };
            let chosen = build.features.unwrap_or_default();
            for feature in chosen.split(',').filter(|it| !it.is_empty()) {
                assert!(
                    features.contains(&format!("\n{feature} = [")),
                    "{}: {feature}",
                    peer.name
                );
            }
            assert!(
                profiles.contains(&format!("\n[profile.{}]\n", build.profile)),
                "{}",
                build.profile
            );
        }
    }

    #[tokio::test]
    async fn a_zip_is_as_large_as_its_headers_and_its_deflated_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("bootstrap"), "a".repeat(100_000)).unwrap();
        let peer = Peer {
            name: "x".to_owned(),
            note: String::new(),
            made: Made::Copy("bootstrap".into()),
            roots: Roots::Handed,
        };
        // `zip -9X` makes 265 bytes of this.
        let bytes = peer.zip_bytes(folder.path()).await.unwrap();
        assert!((200..350).contains(&bytes), "{bytes}");
    }
}
