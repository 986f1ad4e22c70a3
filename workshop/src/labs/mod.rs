//! The lessons of `labs/`: they are listed, run, judged, hinted at and handed in. `labs/CONTRIBUTING.md` says how one is
//! written.
//!
//! | module | is about |
//! |---|---|
//! | [`lab`] | what `lab.toml` says |
//! | [`lesson`] | the folder of a lesson, its variants and their files |
//! | [`steps`] | what is sent in a round, and the values put into it |
//! | [`build`] | the binaries of the variants |
//! | [`stage`] | one variant on a host of its own |
//! | [`tables`] | items, written past the functions |
//! | [`measure`] | the numbers, from the host's log of events |
//! | [`judge`] | the verdict |
//! | [`load_test`], [`stand_in`] | a lesson that Artillery judges, and the services that it tries |
//! | [`template`] | a lesson that rules judge |
//! | [`query`] | lessons whose answer is a query over the logs |
//! | [`check`], [`show`], [`sizes`], [`student`], [`hand_in`] | the verbs |
//! | [`progress`] | how far a student has come |

use std::path::PathBuf;

use crate::session::Session;

mod build;
pub mod check;
pub mod hand_in;
mod judge;
mod lab;
mod lesson;
mod load_test;
mod measure;
mod progress;
mod query;
pub mod show;
pub mod sizes;
mod stage;
mod stand_in;
mod steps;
pub mod student;
mod tables;
mod template;
mod verdicts;

/// Where the lessons are, and what is built of them.
#[derive(Debug, clap::Args)]
pub struct Place {
    /// The folder of the lessons
    #[arg(long, value_name = "DIR", default_value = "labs")]
    labs: PathBuf,
    /// The folder of what is built and measured
    #[arg(long, value_name = "DIR", default_value = "target/labs")]
    target: PathBuf,
    /// The host of this machine
    #[arg(long, value_name = "PATH", default_value = "target/host/local")]
    local: PathBuf,
}

impl Place {
    fn labs(&self, session: &Session) -> PathBuf {
        session.root.join(&self.labs)
    }

    fn target(&self, session: &Session) -> PathBuf {
        session.root.join(&self.target)
    }

    fn local(&self, session: &Session) -> PathBuf {
        session.root.join(&self.local)
    }
}

/// Letters for the keys of one run, so that nothing that is known from another one helps.
fn run_name() -> String {
    std::iter::repeat_with(fastrand::lowercase)
        .take(8)
        .collect()
}
