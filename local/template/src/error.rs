//! Errors in a template, with their place.

use std::fmt;
use std::path::{Path, PathBuf};

/// An error in a template: where and why, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// The template file.
    pub file: PathBuf,
    /// The line, counted from 1, if known.
    pub line: Option<usize>,
    /// The error, with resource and property.
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

impl std::error::Error for TemplateError {}

/// An error inside a template. Line and path are added on its way out.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Mistake {
    line: Option<usize>,
    path: String,
    message: String,
}

/// Ends a function with a [`Mistake`].
macro_rules! refuse {
    ($($message:tt)*) => { return Err(Mistake::new(format!($($message)*))) };
}
pub(crate) use refuse;

impl Mistake {
    pub(crate) fn new(message: impl Into<String>) -> Mistake {
        Mistake {
            line: None,
            path: String::new(),
            message: message.into(),
        }
    }

    /// Sets the line, unless a value further inside has set it already.
    pub(crate) fn on(mut self, line: usize) -> Mistake {
        self.line.get_or_insert(line);
        self
    }

    /// Sets the path of the property, unless a value further inside has set it already.
    pub(crate) fn at(mut self, path: &str) -> Mistake {
        if self.path.is_empty() {
            self.path = path.to_owned();
        }
        self
    }

    pub(crate) fn in_file(self, file: &Path) -> TemplateError {
        let colon = if self.path.is_empty() { "" } else { ": " };
        let message = format!("{}{colon}{}", self.path, self.message);
        TemplateError {
            file: file.to_owned(),
            line: self.line,
            // A text of the template may hold line breaks.
            message: message.replace(char::is_control, " "),
        }
    }
}
