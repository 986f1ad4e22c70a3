//! The headers `If-Match` and `If-None-Match`
//! ([RFC 9110, section 13](https://www.rfc-editor.org/rfc/rfc9110#section-13)).

use lambda_http::Request;

use super::request::header;
use crate::domain::{Invalid, Precondition, Problem, Revision, Revisions};

/// The most entity tags in one header. A client knows one state of a product, a shared cache a few.
const MAX_TAGS: usize = 8;

/// The precondition that the headers `If-Match` and `If-None-Match` set. If both are there, both
/// must hold.
///
/// # Errors
/// 400 for a header that is neither `*` nor a list of one to eight entity tags.
pub fn precondition(request: &Request) -> Result<Precondition, Problem> {
    parse(
        header(request, "if-match")?,
        header(request, "if-none-match")?,
    )
}

/// `If-Match` compares strongly, so a weak tag matches nothing there; `If-None-Match` compares
/// weakly.
fn parse(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Precondition, Problem> {
    let read = |name, header: Option<&str>, weak_ones_count| {
        let named = header.map(|header| {
            revisions(header, weak_ones_count).ok_or_else(|| {
                let rule = format!("must be * or 1 to {MAX_TAGS} entity tags in quotes");
                Problem::bad_value(name, &Invalid::new(rule))
            })
        });
        named.transpose()
    };
    Ok(Precondition {
        one_of: read("if-match", if_match, false)?,
        none_of: read("if-none-match", if_none_match, true)?,
    })
}

/// Reads `*` or a list of entity tags. Tags that this shop never sends are left out: they name
/// no revision.
fn revisions(header: &str, weak_ones_count: bool) -> Option<Revisions> {
    if header == "*" {
        return Some(Revisions::Any);
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
            tags.extend(Revision::parse(opaque));
        }
        let after = after.trim_start();
        if after.is_empty() {
            break;
        }
        rest = after.strip_prefix(',')?.trim_start();
    }
    Some(Revisions::These(tags))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Version, WriteId};
    use crate::http::status;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn tag(version: u64) -> Revision {
        Revision {
            written_by: Some(WriteId::parse(ID).unwrap()),
            version: Version::parse(version).unwrap(),
        }
    }

    fn if_match(header: &str) -> Result<Option<Revisions>, u16> {
        let read = parse(Some(header), None);
        read.map(|it| it.one_of).map_err(|it| status(&it))
    }

    fn if_none_match(header: &str) -> Result<Option<Revisions>, u16> {
        let read = parse(None, Some(header));
        read.map(|it| it.none_of).map_err(|it| status(&it))
    }

    proptest! {
        #[test]
        fn a_list_names_the_states_of_its_tags(versions in prop::collection::vec(1..9_u64, 1..=8)) {
            let tags: Vec<_> = versions.into_iter().map(tag).collect();
            let header = tags.iter().map(|tag| format!("\"{tag}\"")).collect::<Vec<_>>().join(" , ");

            let states = Some(Revisions::These(tags));
            prop_assert_eq!(if_match(&header), Ok(states.clone()));
            prop_assert_eq!(if_none_match(&header), Ok(states));
        }
    }

    #[test]
    fn a_star_is_any_state() {
        assert_eq!(if_match("*"), Ok(Some(Revisions::Any)));
        assert_eq!(if_none_match("*"), Ok(Some(Revisions::Any)));
        assert_eq!(parse(None, None), Ok(Precondition::default()));
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
                Ok(Some(Revisions::These(vec![]))),
                "{opaque}"
            );
        }
    }

    #[test]
    fn a_weak_tag_counts_where_weak_comparison_does() {
        let header = format!("W/\"{}\"", tag(3));

        assert_eq!(if_match(&header), Ok(Some(Revisions::These(vec![]))));
        assert_eq!(
            if_none_match(&header),
            Ok(Some(Revisions::These(vec![tag(3)])))
        );
    }
}
