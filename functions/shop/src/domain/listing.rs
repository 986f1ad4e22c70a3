//! Listings of products, and the position where a page of one ended: a cursor, in a form for this
//! API only.
//!
//! A cursor is base64url of two parts: 8 bytes that identify its listing, then the key of the last
//! item of the page. The request always says what to read; a cursor only says after which key. A
//! forged cursor leads to another page of a listing that its sender may read anyway.
//!
//! The key need not be a product's: another program may have written an item whose key is not a
//! [`ProductId`](super::ProductId), and the listing must get past it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::checked_value::Invalid;
use super::product::Category;

/// Bytes of the tag. 64 bits keep any two of a shop's categories apart.
const TAG: usize = 8;

/// Bytes of the longest partition key
/// ([limits](https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html)).
const MAX_PARTITION_KEY: usize = 2048;

/// Bytes of the longest sort key. The id is the sort key of the index `by-category`.
const MAX_SORT_KEY: usize = 1024;

/// Characters of the longest cursor: tag and key, in base64.
const MAX_LENGTH: usize = (TAG + MAX_PARTITION_KEY).div_ceil(3) * 4;

/// The products that are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Every product.
    All,
    /// The products of one category.
    Category(Category),
}

impl Listing {
    /// The cursor for the items after `last` in this listing.
    pub fn cursor_after(&self, last: &str) -> String {
        let mut bytes = self.tag().to_vec();
        bytes.extend_from_slice(last.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The key after which `cursor` continues.
    ///
    /// # Errors
    /// [`Invalid`] for a cursor of another listing, and for any text that is not a cursor.
    pub fn position(&self, cursor: &str) -> Result<String, Invalid> {
        self.decode(cursor)
            .ok_or_else(|| Invalid::new("must be a next_cursor of the same listing, unchanged"))
    }

    fn decode(&self, cursor: &str) -> Option<String> {
        if cursor.len() > MAX_LENGTH {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let key = bytes.strip_prefix(&self.tag())?;
        let key = std::str::from_utf8(key).ok()?;
        // DynamoDB refuses a longer key, and an empty one.
        let longest = match self {
            Self::All => MAX_PARTITION_KEY,
            Self::Category(_) => MAX_SORT_KEY,
        };
        (1..=longest).contains(&key.len()).then(|| key.to_owned())
    }

    fn tag(&self) -> [u8; TAG] {
        let digest = match self {
            Self::All => Sha256::digest(b"all"),
            // The prefix keeps a category named "all" apart from the listing of all products.
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
        fn a_cursor_leads_back_to_its_position(id in ".{1,256}", name in "[a-z]{1,9}") {
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
            let mut bytes = URL_SAFE_NO_PAD.decode(Listing::All.cursor_after("p-1")).unwrap();
            bytes[byte] ^= mask;

            prop_assert!(Listing::All.position(&URL_SAFE_NO_PAD.encode(bytes)).is_err());
        }
    }

    #[test]
    fn a_cursor_of_one_listing_is_refused_by_another() {
        let listings = [
            Listing::All,
            category("all"),
            category("books"),
            category("toys"),
        ];

        for from in &listings {
            for to in &listings {
                let read = to.position(&from.cursor_after("p-1"));
                assert_eq!(read.is_ok(), from == to, "{from:?} {to:?}");
            }
        }
    }

    #[test]
    fn a_key_may_be_as_long_as_dynamodb_has_them() {
        for (listing, longest) in [(Listing::All, 2048), (category("a"), 1024)] {
            let read = |length| listing.position(&listing.cursor_after(&"x".repeat(length)));

            assert_eq!(read(longest), Ok("x".repeat(longest)));
            assert!(read(longest + 1).is_err());
            assert!(read(0).is_err());
        }
    }

    #[test]
    fn what_never_was_a_cursor_is_refused() {
        let cursor = Listing::All.cursor_after("p-1");
        let no_text = {
            let mut bytes = Listing::All.tag().to_vec();
            bytes.extend_from_slice(b"a\xff");
            URL_SAFE_NO_PAD.encode(bytes)
        };

        for wrong in [
            "",
            "p-1",
            "====",
            "%%%",
            &cursor[..8],
            &format!("{cursor}="),
            &no_text,
        ] {
            assert!(Listing::All.position(wrong).is_err(), "{wrong}");
        }
    }
}
