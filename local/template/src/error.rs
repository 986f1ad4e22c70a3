//! Errors in a template, with their place.

use std::path::{Path, PathBuf};

use crate::yaml::Lines;

/// An error in a template: where and why, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{} {message}", file.display(), line.map(|line| format!("{line}:")).unwrap_or_default())]
pub struct TemplateError {
    /// The template file.
    pub file: PathBuf,
    /// The line, counted from 1, if known.
    pub line: Option<usize>,
    /// The error, with resource and property.
    pub message: String,
}

/// Ends a function with an error, of one of some properties if that is named.
macro_rules! refuse {
    ($properties:ident, $name:literal => $($message:tt)*) => {
        return $properties.resolver.at(&[$name], || Err(format!($($message)*)))
    };
    ($($message:tt)*) => { return Err(format!($($message)*)) };
}
pub(crate) use refuse;

impl TemplateError {
    pub(crate) fn new(file: &Path, line: Option<usize>, message: &str) -> TemplateError {
        TemplateError {
            file: file.to_owned(),
            line,
            // A text of the template may hold line breaks.
            message: message.replace(char::is_control, " "),
        }
    }
}

/// A path as a person names it: `F.Events.E`.
pub(crate) fn place(path: &[String]) -> String {
    let names = path.iter().map(String::as_str);
    let names = names.filter(|name| !matches!(*name, "Resources" | "Properties"));
    Vec::from_iter(names).join(".")
}

/// The line of the innermost part of a path that stands in the file. A function may have a property from `Globals`.
pub(crate) fn line_of(path: &[String], lines: &Lines) -> Option<usize> {
    (1..=path.len()).rev().find_map(|length| {
        let shared = ["Globals", "Function", &path[length - 1]].map(str::to_owned);
        let shared = lines.get(&shared[..]).filter(|_| length == 4);
        lines.get(&path[..length]).or(shared).copied()
    })
}
