//! Errors in a template, with their place.

use std::fmt;
use std::path::PathBuf;

/// The longest message printed. One value of a template can hold a megabyte of text, and a start
/// error is one line on a terminal.
const LONGEST_MESSAGE: usize = 600;

/// An error in a template that cannot be hosted: where and why, in one line.
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

/// An error inside a template. Line and path are added on its way out, so that a valid template
/// pays nothing for them.
#[derive(Debug)]
pub(super) struct Fault {
    line: Option<usize>,
    path: String,
    message: String,
}

/// Ends a function with a [`Fault`].
macro_rules! refuse {
    ($($message:tt)*) => { return Err(Fault::new(format!($($message)*))) };
}
pub(super) use refuse;

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Fault {
        Fault {
            line: None,
            path: String::new(),
            message: message.into(),
        }
    }

    /// Sets the line, unless a value further inside has set it already.
    pub(super) fn on(mut self, line: usize) -> Fault {
        self.line.get_or_insert(line);
        self
    }

    /// Adds the surrounding resource or property to the path.
    pub(super) fn within(mut self, name: &str) -> Fault {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    pub(super) fn in_file(self, file: PathBuf) -> TemplateError {
        let colon = if self.path.is_empty() { "" } else { ": " };
        let message = format!("{}{colon}{}", self.path, self.message);
        TemplateError {
            file,
            line: self.line,
            message: one_line(&message, LONGEST_MESSAGE),
        }
    }
}

/// Shortens a text for a message: long enough for an ARN, short enough for one line.
pub(super) fn short(text: &str) -> String {
    one_line(text, 80)
}

/// The start of a text, without line breaks and terminal control characters.
fn one_line(text: &str, longest: usize) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().take(longest).map(shown).collect();
    if text.chars().nth(longest).is_some() {
        line.push('…');
    }
    line
}
