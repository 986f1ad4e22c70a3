//! Both sides of a comparison: a commit, a folder of functions, or the summary of a load test.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use tokio::process::Command;

use crate::program::{Program, how, output};
use crate::session::{BadInput, Session};

/// What a person named.
#[derive(Debug, PartialEq)]
pub enum Side {
    /// A folder that has a folder with a `bootstrap` for each function.
    Code(PathBuf),
    /// The whole name of a commit.
    Commit(String),
    /// `summary.json` of a load test.
    Run(PathBuf),
}

impl Side {
    /// Finds out what `given` is; `variable` names it in what is said.
    ///
    /// # Errors
    /// [`BadInput`] if it names nothing.
    pub async fn find(root: &Path, variable: &str, given: &str) -> Result<Self> {
        let what = "a commit, a folder of built functions, or summary.json of a load test";
        if given.is_empty() {
            return Err(BadInput(format!("{variable} is missing: it names {what}")).into());
        }
        let path = root.join(given);
        if path.is_file() {
            return Ok(Self::Run(path));
        }
        if path.is_dir() {
            let mut folders = fs::read_dir(&path)?.filter_map(Result::ok);
            if folders.any(|folder| folder.path().join("bootstrap").exists()) {
                return Ok(Self::Code(path));
            }
            if path.join("summary.json").exists() {
                return Ok(Self::Run(path.join("summary.json")));
            }
        }
        let mut git = Command::new("git");
        git.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
        git.arg(format!("{given}^{{commit}}")).current_dir(root);
        match output(&mut git).await {
            Ok(commit) => Ok(Self::Commit(commit.trim().to_owned())),
            Err(_) => {
                let why = format!("{variable}={given} names nothing; it may name {what}");
                Err(BadInput(why).into())
            }
        }
    }
}

/// The functions of a commit, built as `make build` of that commit does. Builds share a folder, so that the AWS SDK is
/// compiled once, and what was built is kept.
pub async fn build(session: &Session, out: &Path, commit: &str) -> Result<PathBuf> {
    let name = &commit[..12];
    let (code, tree, shared) = (
        out.join("code").join(name),
        out.join("tree"),
        out.join("build"),
    );
    if code.exists() {
        return Ok(code);
    }
    let log = out.join("build.log");
    session.say(format!("building {name}; see {}", log.display()));
    fs::create_dir_all(out.join("code"))?;
    let git = async |arguments: &[&str]| {
        let mut git = Command::new("git");
        output(git.args(arguments).current_dir(&session.root)).await
    };
    let tree_name = tree.to_string_lossy();
    let _ = git(&["worktree", "remove", "--force", &tree_name]).await;
    git(&["worktree", "add", "--detach", "--force", &tree_name, commit]).await?;
    let built = shared.join("lambda");
    for old in [&built, &log] {
        let _ = fs::remove_file(old);
        let _ = fs::remove_dir_all(old);
    }
    let mut make = Command::new("make");
    make.arg("functions")
        .arg(format!("TARGET={}", shared.display()));
    // Values that were given to this verb are not for that one.
    make.env_remove("MAKEFLAGS").env_remove("MAKEOVERRIDES");
    let mut program = Program::start(make.current_dir(&tree), &log)?;
    let ended = session.or_interrupted(program.wait()).await;
    program.stop().await;
    let _ = git(&["worktree", "remove", "--force", &tree_name]).await;
    let status = ended?;
    if !status.success() {
        let (how, log) = (how(status), log.display());
        bail!("the functions of {name} cannot be built ({how}); see {log}");
    }
    fs::rename(&built, &code).with_context(|| format!("{name} built no functions"))?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_side_is_a_folder_of_functions_a_run_or_a_commit_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("code/get-product")).unwrap();
        fs::write(root.join("code/get-product/bootstrap"), "").unwrap();
        fs::create_dir_all(root.join("run")).unwrap();
        fs::write(root.join("run/summary.json"), "{}").unwrap();
        fs::create_dir_all(root.join("empty")).unwrap();

        let find = async |given: &str| Side::find(root, "BEFORE", given).await;
        assert_eq!(find("code").await.unwrap(), Side::Code(root.join("code")));
        let run = Side::Run(root.join("run/summary.json"));
        assert_eq!(find("run").await.unwrap(), run);
        assert_eq!(find("run/summary.json").await.unwrap(), run);
        for (given, said) in [
            ("", "BEFORE is missing"),
            ("empty", "BEFORE=empty names nothing"),
            ("no-commit", "BEFORE=no-commit names nothing"),
            ("--all", "BEFORE=--all names nothing"),
        ] {
            let error = find(given).await.unwrap_err();
            assert!(error.is::<BadInput>(), "{given}");
            assert!(error.to_string().starts_with(said), "{error}");
        }
    }

    #[tokio::test]
    async fn a_commit_has_its_whole_name() {
        let folder = tempfile::tempdir().unwrap();
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        let commit: &[_] = &["commit", "--quiet", "--allow-empty", "-m", "first"];
        for arguments in [&["init", "--quiet"], commit] {
            let mut git = Command::new("git");
            git.args(who).args(arguments).current_dir(folder.path());
            output(&mut git).await.unwrap();
        }
        let found = Side::find(folder.path(), "AFTER", "HEAD").await;
        let Side::Commit(name) = found.unwrap() else {
            panic!("HEAD is a commit");
        };
        assert_eq!(name.len(), 40, "{name}");
    }
}
