//! `workshop insights`: queries of CloudWatch Logs Insights over the log files of this machine.
//!
//! A small interpreter of its
//! [query language](https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html): what the project's own
//! queries need and what a lesson teaches. What it does not know is refused, never skipped. Where AWS's documentation leaves
//! something open, this is so here:
//!
//! - A comparison in a sum counts as 1 or 0; with a field that is missing it counts as nothing.
//! - `pct` is the nearest rank, a value that occurred.
//! - A line without a time of its own, such as REPORT, has that of the line before it.
//! - Sizes of REPORT are millions of bytes a MB, as in Logs Insights.
//!
//! | module | is about |
//! |---|---|
//! | [`syntax`], [`functions`] | what a query says |
//! | [`logs`] | records, and the fields that are discovered in them |
//! | [`value`] | values of fields |
//! | [`run`] | the result |

use std::path::PathBuf;

use anyhow::Result;
use fs_err as fs;
use serde_json::{Map, Value as Json};

use crate::session::{BadInput, Session};
use crate::table::table;

mod functions;
mod logs;
mod run;
mod syntax;
#[cfg(test)]
mod tests;
mod value;

#[cfg(test)]
pub use logs::read;
pub use logs::{Record, read_folder};
pub use run::Found;
#[cfg(test)]
use syntax::Query;
pub use syntax::{Named, parse_all};
pub use value::Value;

/// What is known of the numbers of a log.
const ORIGIN: &str = "from the logs";

/// Rows that a terminal shows.
const SHOWN: usize = 20;

/// Of `workshop insights`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A file with one or more queries, or the text of one
    #[arg(long, value_name = "FILE|TEXT")]
    query: String,
    /// A folder with log files, such as target/load-test/logs
    #[arg(long, value_name = "DIR")]
    logs: PathBuf,
    /// Print the rows as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(session: &Session, arguments: &Arguments) -> Result<bool> {
    let file = session.root.join(&arguments.query);
    let text = if file.is_file() {
        fs::read_to_string(&file)?
    } else {
        arguments.query.clone()
    };
    let queries = parse_all(&text)?;
    if queries.is_empty() {
        return Err(BadInput("there is no query in it, only comments".to_owned()).into());
    }
    let records = read_folder(&session.root.join(&arguments.logs))?;
    for Named { name, query } in queries {
        let found = query.run(&records);
        session.say(if arguments.json {
            serde_json::to_string_pretty(&found.json())?
        } else {
            let title = if name.is_empty() { "Result" } else { &name };
            found.text(title, ORIGIN)
        });
    }
    Ok(true)
}

impl Found {
    /// As a table, with its first rows and the origin of their numbers.
    pub fn text(&self, title: &str, origin: &str) -> String {
        let cell = |row: &Record, name: &String| {
            let value = row.get(name).cloned().unwrap_or_default();
            (name.clone(), value.json())
        };
        let rows = self.rows.iter().take(SHOWN);
        let rows = rows.map(|row| self.columns.iter().map(|name| cell(row, name)).collect());
        let mut text = table(title, origin, rows);
        if self.rows.len() > SHOWN {
            text += &format!("\n  … and {} rows more", self.rows.len() - SHOWN);
        }
        text
    }

    /// As a list of objects.
    pub fn json(&self) -> Json {
        let row = |row: &Record| {
            let cells = self.columns.iter().filter_map(|name| {
                let value = row.get(name)?.json();
                Some((name.clone(), value))
            });
            Json::Object(cells.collect::<Map<_, _>>())
        };
        self.rows.iter().map(row).collect()
    }

    /// A value of a row; none if there is no such row or column.
    pub fn value(&self, row: usize, column: &str) -> Option<&Value> {
        self.rows.get(row)?.get(column)
    }
}

impl Value {
    fn json(&self) -> Json {
        match self {
            Self::None => Json::Null,
            Self::Number(number) => Json::from(*number),
            other => Json::from(other.to_string()),
        }
    }
}
