//! Where a page of a listing ended, in a form that only this API reads.
//!
//! A cursor is base64url of: 8 bytes that say which listing it belongs to, then the id of the last
//! product of the page. What to read is always taken from the request; a cursor only says after
//! which id. Whoever makes one up reads another page of the listing that they may read anyway.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::newtype::Invalid;
use crate::product::{Category, ProductId};

/// Bytes of the tag. 64 bits keep any two of a shop's categories apart.
const TAG: usize = 8;

/// The longest cursor: tag and id of 64 characters, in base64.
const MAX_LENGTH: usize = (TAG + 64).div_ceil(3) * 4;

/// What is being listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Every product.
    All,
    /// The products of one category.
    Category(Category),
}

impl Listing {
    /// The cursor for what follows `last` in this listing.
    pub fn cursor_after(&self, last: &ProductId) -> String {
        let mut bytes = self.tag().to_vec();
        bytes.extend_from_slice(last.as_str().as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The id after which `cursor` continues.
    ///
    /// # Errors
    /// [`Invalid`] for a cursor of another listing, and for what never was a cursor.
    pub fn position(&self, cursor: &str) -> Result<ProductId, Invalid> {
        self.decode(cursor).ok_or_else(|| {
            Invalid("must be a next_cursor of the same listing, unchanged".to_owned())
        })
    }

    fn decode(&self, cursor: &str) -> Option<ProductId> {
        if cursor.len() > MAX_LENGTH {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let id = bytes.strip_prefix(&self.tag())?;
        ProductId::parse(std::str::from_utf8(id).ok()?).ok()
    }

    fn tag(&self) -> [u8; TAG] {
        let digest = match self {
            Self::All => Sha256::digest(b"all"),
            // The prefix keeps a category named "all" apart from all products.
            Self::Category(category) => Sha256::digest(format!("category:{category}")),
        };
        let mut tag = [0; TAG];
        tag.copy_from_slice(&digest[..TAG]);
        tag
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn category(name: &str) -> Listing {
        Listing::Category(Category::parse(name).unwrap())
    }

    proptest! {
        #[test]
        fn a_cursor_leads_back_to_its_position(id in "[A-Za-z0-9_-]{1,64}", name in "[a-z]{1,9}") {
            let id = ProductId::parse(&id).unwrap();

            for listing in [Listing::All, category(&name)] {
                let cursor = listing.cursor_after(&id);

                prop_assert!(cursor.len() <= MAX_LENGTH);
                prop_assert_eq!(listing.position(&cursor), Ok(id.clone()));
            }
        }

        #[test]
        fn no_two_texts_are_cursors_for_one_position(
            id in "[A-Za-z0-9_-]{1,64}",
            at in any::<prop::sample::Index>(),
            cut in 0..3_usize,
            put in "([A-Za-z0-9_-]{0,3}|[=+/ ]|.{0,3})",
        ) {
            let id = ProductId::parse(&id).unwrap();
            let cursor = Listing::All.cursor_after(&id);
            let (before, after) = cursor.split_at(at.index(cursor.len() + 1));
            let changed = format!("{before}{put}{}", &after[cut.min(after.len())..]);

            // Refused, or the very cursor of the position that it stands for.
            if let Ok(position) = Listing::All.position(&changed) {
                prop_assert_eq!(Listing::All.cursor_after(&position), changed);
            }
        }

        #[test]
        fn a_changed_tag_is_refused(byte in 0..TAG, mask in 1..=u8::MAX) {
            let id = ProductId::parse("p-1").unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(Listing::All.cursor_after(&id)).unwrap();
            bytes[byte] ^= mask;

            prop_assert!(Listing::All.position(&URL_SAFE_NO_PAD.encode(bytes)).is_err());
        }
    }

    #[test]
    fn a_cursor_of_one_listing_is_refused_by_another() {
        let id = ProductId::parse("p-1").unwrap();
        let listings = [
            Listing::All,
            category("all"),
            category("books"),
            category("toys"),
        ];

        for from in &listings {
            for to in &listings {
                let read = to.position(&from.cursor_after(&id));
                assert_eq!(read.is_ok(), from == to, "{from:?} {to:?}");
            }
        }
    }

    #[test]
    fn what_never_was_a_cursor_is_refused() {
        let id = "x".repeat(64);
        let longest = Listing::All.cursor_after(&ProductId::parse(&id).unwrap());
        let with_slash = {
            let mut bytes = Listing::All.tag().to_vec();
            bytes.extend_from_slice(b"a/b");
            URL_SAFE_NO_PAD.encode(bytes)
        };

        for cursor in [
            "",
            "p-1",
            "====",
            "%%%",
            &format!("{longest}A"),
            &longest[..8],
            &with_slash,
        ] {
            assert!(Listing::All.position(cursor).is_err(), "{cursor}");
        }
    }
}
