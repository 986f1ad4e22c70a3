//! The states of a product, by which readers and writers tell whether it has changed since.

use std::fmt;

use super::problem::Problem;
use super::product::Version;
use super::write_id::WriteId;

/// Names one state of one product: the PUT that wrote it, and its version, which sales count up
/// too. Clients know it as the product's entity tag.
///
/// No revision is ever used again, not even after the product was deleted and created again,
/// because each PUT has a new id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The PUT that wrote the product; `None` for an item that another program wrote.
    pub written_by: Option<WriteId>,
    /// How often the product has changed.
    pub version: Version,
}

/// A text that is opaque to clients.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written_by = self.written_by.as_ref().map_or("", WriteId::as_str);
        write!(f, "{written_by}-{}", self.version)
    }
}

impl Revision {
    /// Reads that text; `None` for a text that no revision has.
    pub fn parse(text: &str) -> Option<Self> {
        let (written_by, version) = text.rsplit_once('-')?;
        let written_by = match written_by {
            "" => None,
            id => Some(WriteId::parse(id).ok()?),
        };
        let version = version.parse().ok()?;
        let revision = Self {
            written_by,
            version,
        };
        // Each revision has one text: no leading zeros.
        (revision.to_string() == text).then_some(revision)
    }
}

/// The revisions that a client names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revisions {
    /// Any, as long as the product exists.
    Any,
    /// These; the list may be empty.
    These(Vec<Revision>),
}

impl Revisions {
    fn include(&self, current: &Revision) -> bool {
        match self {
            Self::Any => true,
            Self::These(revisions) => revisions.contains(current),
        }
    }
}

/// What a client wants to be true before a product is read, written or deleted. The default allows
/// everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The product must be in one of these revisions.
    pub one_of: Option<Revisions>,
    /// The product must be in none of these revisions.
    pub none_of: Option<Revisions>,
}

impl Precondition {
    /// Whether a reader needs the product, which is in the revision `current`. It does not if that
    /// is in [`none_of`](Self::none_of): it has it already.
    ///
    /// # Errors
    /// [`Problem::PreconditionFailed`] if `current` is not in [`one_of`](Self::one_of).
    pub fn wants(&self, current: &Revision) -> Result<bool, Problem> {
        let includes = |revisions: &Option<Revisions>| {
            let revisions = revisions.as_ref();
            revisions.map(|it| it.include(current))
        };
        if includes(&self.one_of) == Some(false) {
            return Err(Problem::PreconditionFailed);
        }
        Ok(includes(&self.none_of) != Some(true))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn revision(version: u64) -> Revision {
        Revision {
            written_by: Some(WriteId::parse(ID).unwrap()),
            version: Version::parse(version).unwrap(),
        }
    }

    proptest! {
        #[test]
        fn a_revision_is_read_as_it_was_written(version in 1..=Version::MAX, by_put in any::<bool>()) {
            let mut revision = revision(version);
            if !by_put {
                revision.written_by = None;
            }

            prop_assert_eq!(Revision::parse(&revision.to_string()), Some(revision));
        }
    }

    #[test]
    fn a_text_that_this_shop_never_gives_is_no_revision() {
        for text in [
            "abc",
            "",
            "3",
            "-0",
            "-+3",
            "-03",
            "-",
            "-99999999999999999999",
            "a,b",
            "XYZ-1",
            &format!("{ID}-01"),
            &format!("{}-1", ID.to_uppercase()),
            &format!("{ID}1-1"),
        ] {
            assert_eq!(Revision::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_reader_wants_a_revision_that_it_does_not_have() {
        let wants = |one_of: Option<Revisions>, none_of: Option<Revisions>| {
            Precondition { one_of, none_of }.wants(&revision(3))
        };
        let this = || Some(Revisions::These(vec![revision(3)]));
        let other = || Some(Revisions::These(vec![revision(2)]));
        let any = || Some(Revisions::Any);

        assert_eq!(wants(None, None), Ok(true));
        assert_eq!(wants(None, other()), Ok(true));
        assert_eq!(wants(None, this()), Ok(false));
        assert_eq!(wants(None, any()), Ok(false));
        assert_eq!(wants(this(), None), Ok(true));
        assert_eq!(wants(any(), None), Ok(true));
        assert_eq!(wants(this(), this()), Ok(false));
        assert_eq!(wants(other(), None), Err(Problem::PreconditionFailed));
        // `one_of` is checked first.
        assert_eq!(wants(other(), this()), Err(Problem::PreconditionFailed));
    }
}
