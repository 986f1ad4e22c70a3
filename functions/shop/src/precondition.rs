//! What a client asks to be true before a product is written
//! ([RFC 9110, section 13](https://www.rfc-editor.org/rfc/rfc9110#section-13)).

use crate::newtype::Invalid;
use crate::problem::Problem;
use crate::product::Version;

/// The state that a product must be in for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Any state.
    None,
    /// `If-None-Match: *`: it does not exist.
    Absent,
    /// `If-Match: *`: it exists.
    Present,
    /// `If-Match: "3"`: it exists, in this version.
    Version(Version),
}

impl Precondition {
    /// Reads the headers `If-Match` and `If-None-Match`.
    ///
    /// # Errors
    /// 400 for a header that is no `*` or entity tag, for more than one tag, and for both headers
    /// together; 412 for a well-formed tag that no version can have.
    pub fn parse(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Self, Problem> {
        match (if_match, if_none_match) {
            (None, None) => Ok(Self::None),
            (None, Some("*")) => Ok(Self::Absent),
            (Some("*"), None) => Ok(Self::Present),
            (Some(tag), None) => Self::from_tag(tag),
            (None, Some(_)) => Err(Problem::bad_value(
                "if-none-match",
                &Invalid("must be *".to_owned()),
            )),
            (Some(_), Some(_)) => Err(Problem::bad_request(
                "Send either If-Match or If-None-Match, not both.",
            )),
        }
    }

    fn from_tag(tag: &str) -> Result<Self, Problem> {
        // If-Match compares strongly, so a weak tag is well-formed but matches nothing.
        let (weak, opaque) = match tag.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, tag),
        };
        let opaque = opaque
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        match opaque {
            Some(opaque) if !opaque.contains(['"', ' ']) => match opaque.parse() {
                Ok(version) if !weak => Ok(Self::Version(version)),
                _ => Err(Problem::precondition_failed()),
            },
            _ => {
                let rule = "must be * or one entity tag, such as \"3\"";
                Err(Problem::bad_value("if-match", &Invalid(rule.to_owned())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(if_match: Option<&str>, if_none_match: Option<&str>) -> u16 {
        Precondition::parse(if_match, if_none_match)
            .unwrap_err()
            .status()
    }

    #[test]
    fn each_header_is_read_as_its_precondition() {
        let version = Version::parse(3).unwrap();

        assert_eq!(Precondition::parse(None, None), Ok(Precondition::None));
        assert_eq!(
            Precondition::parse(None, Some("*")),
            Ok(Precondition::Absent)
        );
        assert_eq!(
            Precondition::parse(Some("*"), None),
            Ok(Precondition::Present)
        );
        assert_eq!(
            Precondition::parse(Some("\"3\""), None),
            Ok(Precondition::Version(version))
        );
    }

    #[test]
    fn what_is_no_entity_tag_cannot_be_read() {
        for tag in ["3", "\"3", "3\"", "\"", "", "\"1\", \"2\"", "w/\"3\""] {
            assert_eq!(status(Some(tag), None), 400, "{tag}");
        }
        assert_eq!(status(None, Some("\"3\"")), 400);
        assert_eq!(status(Some("*"), Some("*")), 400);
    }

    #[test]
    fn a_tag_that_no_version_has_does_not_match() {
        for tag in [
            "\"abc\"",
            "\"0\"",
            "\"+3\"",
            "\"\"",
            "W/\"3\"",
            "\"99999999999999999999\"",
        ] {
            assert_eq!(status(Some(tag), None), 412, "{tag}");
        }
    }
}
