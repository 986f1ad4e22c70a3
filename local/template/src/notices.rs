//! The parts of a template that this host leaves out.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// The parts of a template that this host leaves out, and their places.
#[derive(Default)]
pub(crate) struct Notices {
    resources: RefCell<BTreeMap<String, usize>>,
    pub(crate) properties: RefCell<BTreeMap<String, Vec<String>>>,
}

impl Notices {
    pub(crate) fn resource(&self, kind: &str) {
        let mut resources = self.resources.borrow_mut();
        *resources.entry(kind.to_owned()).or_default() += 1;
    }

    /// One sentence for all types of resources, one for each property or event.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let kinds = self.resources.borrow();
        let kinds = kinds.iter().map(|(kind, count)| match count {
            1 => kind.clone(),
            _ => format!("{kind} ({count})"),
        });
        let kinds = Vec::from_iter(kinds).join(", ");
        let mut sentences = Vec::new();
        if !kinds.is_empty() {
            sentences.push(format!("not hosted: {kinds}"));
        }
        for (name, places) in self.properties.borrow().iter() {
            let (named, more) = places.split_at(places.len().min(3));
            let more = match more.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            sentences.push(format!("{}{more}: {name} is not hosted", named.join(", ")));
        }
        sentences
    }
}
