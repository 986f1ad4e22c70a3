//! Where in a template something is wrong, and what.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// The longest message printed. Templates can hold a megabyte of text in one value, and a start
/// error is one line on a terminal.
const LONGEST_MESSAGE: usize = 600;

/// A template that cannot be hosted: where and why, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    /// The template file.
    pub file: PathBuf,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong, naming resource and property.
    pub message: String,
}

impl TemplateError {
    pub(super) fn new(file: PathBuf, line: Option<usize>, message: &str) -> TemplateError {
        let mut message: String = message
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
            message.truncate(end);
            message.push('…');
        }
        TemplateError {
            file,
            line,
            message,
        }
    }
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

/// A position in the template, kept on the stack: a list from the innermost name outwards.
///
/// Building a full path for every value would let a small template with long keys take gigabytes.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    name: Cow<'a, str>,
}

impl<'a> Place<'a> {
    pub(super) fn root(name: &'a str) -> Place<'a> {
        Place {
            parent: None,
            name: Cow::Borrowed(name),
        }
    }

    pub(super) fn child(&'a self, name: impl Into<Cow<'a, str>>) -> Place<'a> {
        Place {
            parent: Some(self),
            name: name.into(),
        }
    }

    pub(super) fn index(&'a self, index: usize) -> Place<'a> {
        self.child(index.to_string())
    }

    /// What is wrong here.
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        let mut path = vec![self.name.to_string()];
        let mut place = self;
        while let Some(parent) = place.parent {
            path.push(parent.name.to_string());
            place = parent;
        }
        path.reverse();
        Fault {
            path,
            message: message.into(),
        }
    }
}

/// An error inside a template, before file and line are known.
#[derive(Debug)]
pub(super) struct Fault {
    /// Keys from the root to the value that is wrong.
    pub(super) path: Vec<String>,
    /// What is wrong with it.
    pub(super) message: String,
}

impl fmt::Display for Fault {
    /// `GetProduct.Events.Read.Path: …`, without the levels that every path has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped = usize::from(self.path.len() > 1 && self.path[0] == "Resources");
        let mut shown: Vec<&str> = self.path.iter().skip(skipped).map(String::as_str).collect();
        if skipped == 1 && shown.get(1) == Some(&"Properties") {
            shown.remove(1);
        }
        shown.retain(|name| *name != "Ref" && !name.starts_with("Fn::"));
        if shown.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", shown.join("."), self.message)
    }
}

/// A short form of a value for messages.
pub(super) fn show(value: &serde_json::Value) -> String {
    // Long enough for an ARN, short enough for one line.
    const LONGEST: usize = 80;
    let text = match value {
        serde_json::Value::String(text) => format!("\"{text}\""),
        serde_json::Value::Object(_) => "a map".to_owned(),
        serde_json::Value::Array(_) => "a list".to_owned(),
        other => other.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}
