//! Ids of 128 bits, as 32 hexadecimal digits in lower case: random ones, and ones cut from a hash.

use std::fmt::Write as _;

/// Whether `text` is such an id.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 32
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// An id drawn at random: a version 4 UUID without its hyphens.
pub(super) fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}
