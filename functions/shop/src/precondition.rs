//! Entity tags, and the conditions that a client sets before a product is read, written or deleted
//! ([RFC 9110, section 13](https://www.rfc-editor.org/rfc/rfc9110#section-13)).

use std::fmt;

use crate::newtype::Invalid;
use crate::problem::Problem;
use crate::product::Version;
use crate::write_id::WriteId;

/// The most entity tags in one header. A client knows one state of a product, a shared cache a few.
const MAX_TAGS: usize = 8;

/// Names one state of one product: the PUT that wrote it, and its version, which sales count up
/// too.
///
/// No tag is ever used again, not even after the product was deleted and created again, because
/// each PUT has a new id. To a client the tag is opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag {
    /// The PUT that wrote the product; `None` for an item that another program wrote.
    pub written_by: Option<WriteId>,
    /// How often the product has changed.
    pub version: Version,
}

/// The text between the quotes of the header.
impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let written_by = self.written_by.as_ref().map_or("", WriteId::as_str);
        write!(f, "{written_by}-{}", self.version)
    }
}

impl ETag {
    /// Reads the text between the quotes; `None` for a tag that this shop never sends.
    fn parse(opaque: &str) -> Option<Self> {
        let (written_by, version) = opaque.rsplit_once('-')?;
        let written_by = match written_by {
            "" => None,
            id => Some(WriteId::parse(id).ok()?),
        };
        let version = version.parse().ok()?;
        let tag = Self {
            written_by,
            version,
        };
        // One state has one tag: no leading zeros.
        (tag.to_string() == opaque).then_some(tag)
    }
}

/// The states of a product that a header names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum States {
    /// `*`: any state, as long as the product exists.
    Any,
    /// These states; the list may be empty.
    These(Vec<ETag>),
}

impl States {
    fn include(&self, current: &ETag) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.contains(current),
        }
    }

    /// Reads `*` or a list of entity tags. Tags that this shop never sends are left out: they name
    /// no state.
    fn parse(header: &str, weak_ones_count: bool) -> Option<Self> {
        if header == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = header;
        for listed in 1.. {
            let weak = rest.strip_prefix("W/");
            let (opaque, after) = weak.unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
            if listed > MAX_TAGS || opaque.contains(' ') {
                return None;
            }
            if weak.is_none() || weak_ones_count {
                tags.extend(ETag::parse(opaque));
            }
            let after = after.trim_start();
            if after.is_empty() {
                break;
            }
            rest = after.strip_prefix(',')?.trim_start();
        }
        Some(Self::These(tags))
    }
}

/// The states that a product must be in, and those that it must not be in. The default allows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `If-Match`: the product is in one of these states.
    pub if_match: Option<States>,
    /// `If-None-Match`: the product is in none of these states.
    pub if_none_match: Option<States>,
}

impl Precondition {
    /// Reads the headers `If-Match` and `If-None-Match`. If both are there, both must hold.
    ///
    /// `If-Match` compares strongly, so a weak tag matches nothing there; `If-None-Match` compares
    /// weakly.
    ///
    /// # Errors
    /// 400 for a header that is neither `*` nor a list of one to eight entity tags.
    pub fn parse(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Self, Problem> {
        let read = |name, header: Option<&str>, weak_ones_count| {
            let states = header.map(|header| {
                States::parse(header, weak_ones_count).ok_or_else(|| {
                    let rule = format!("must be * or 1 to {MAX_TAGS} entity tags in quotes");
                    Problem::bad_value(name, &Invalid(rule))
                })
            });
            states.transpose()
        };
        Ok(Self {
            if_match: read("if-match", if_match, false)?,
            if_none_match: read("if-none-match", if_none_match, true)?,
        })
    }

    /// Whether a reader needs the product, which is in the state `current`. A reader that has it
    /// already gets 304.
    ///
    /// # Errors
    /// 412 if `If-Match` does not hold.
    pub fn wants(&self, current: &ETag) -> Result<bool, Problem> {
        let matches = |states: &Option<States>| states.as_ref().map(|it| it.include(current));
        if matches(&self.if_match) == Some(false) {
            return Err(Problem::precondition_failed());
        }
        Ok(matches(&self.if_none_match) != Some(true))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn tag(version: u64) -> ETag {
        ETag {
            written_by: Some(WriteId::parse(ID).unwrap()),
            version: Version::parse(version).unwrap(),
        }
    }

    fn if_match(header: &str) -> Result<Option<States>, u16> {
        let read = Precondition::parse(Some(header), None);
        read.map(|it| it.if_match).map_err(|it| it.status())
    }

    fn if_none_match(header: &str) -> Result<Option<States>, u16> {
        let read = Precondition::parse(None, Some(header));
        read.map(|it| it.if_none_match).map_err(|it| it.status())
    }

    proptest! {
        #[test]
        fn a_tag_is_read_as_it_was_given(version in 1..=Version::MAX, by_put in any::<bool>()) {
            let mut tag = tag(version);
            if !by_put {
                tag.written_by = None;
            }

            prop_assert_eq!(ETag::parse(&tag.to_string()), Some(tag));
        }

        #[test]
        fn a_list_names_the_states_of_its_tags(versions in prop::collection::vec(1..9_u64, 1..=8)) {
            let tags: Vec<_> = versions.into_iter().map(tag).collect();
            let header = tags.iter().map(|tag| format!("\"{tag}\"")).collect::<Vec<_>>().join(" , ");

            let states = Some(States::These(tags));
            prop_assert_eq!(if_match(&header), Ok(states.clone()));
            prop_assert_eq!(if_none_match(&header), Ok(states));
        }
    }

    #[test]
    fn a_star_is_any_state() {
        assert_eq!(if_match("*"), Ok(Some(States::Any)));
        assert_eq!(if_none_match("*"), Ok(Some(States::Any)));
        assert_eq!(Precondition::parse(None, None), Ok(Precondition::default()));
    }

    #[test]
    fn what_is_no_entity_tag_cannot_be_read() {
        let nine = ["\"a\""; 9].join(",");
        for header in [
            "",
            "3",
            "\"3",
            "3\"",
            "\"",
            "w/\"3\"",
            "\"a b\"",
            "\"1\" \"2\"",
            "\"1\",",
            ",\"1\"",
            "\"1\",,\"2\"",
            "*, \"1\"",
            "\"1\", *",
            &nine,
        ] {
            assert_eq!(if_match(header), Err(400), "{header}");
            assert_eq!(if_none_match(header), Err(400), "{header}");
        }
    }

    #[test]
    fn a_tag_that_this_shop_never_gives_names_no_state() {
        for opaque in [
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
            let header = format!("\"{opaque}\"");
            assert_eq!(
                if_match(&header),
                Ok(Some(States::These(vec![]))),
                "{opaque}"
            );
        }
    }

    #[test]
    fn a_weak_tag_counts_where_weak_comparison_does() {
        let header = format!("W/\"{}\"", tag(3));

        assert_eq!(if_match(&header), Ok(Some(States::These(vec![]))));
        assert_eq!(
            if_none_match(&header),
            Ok(Some(States::These(vec![tag(3)])))
        );
    }

    #[test]
    fn a_reader_wants_a_state_that_it_does_not_have() {
        let wants = |if_match: Option<&str>, if_none_match: Option<&str>| {
            let precondition = Precondition::parse(if_match, if_none_match).unwrap();
            precondition.wants(&tag(3)).map_err(|it| it.status())
        };
        let (this, other) = (format!("\"{}\"", tag(3)), format!("\"{}\"", tag(2)));

        assert_eq!(wants(None, None), Ok(true));
        assert_eq!(wants(None, Some(&other)), Ok(true));
        assert_eq!(wants(None, Some(&this)), Ok(false));
        assert_eq!(wants(None, Some("*")), Ok(false));
        assert_eq!(wants(Some(&this), None), Ok(true));
        assert_eq!(wants(Some("*"), None), Ok(true));
        assert_eq!(wants(Some(&other), None), Err(412));
        assert_eq!(wants(Some(&this), Some(&this)), Ok(false));
        // `If-Match` is checked first.
        assert_eq!(wants(Some(&other), Some(&this)), Err(412));
    }
}
