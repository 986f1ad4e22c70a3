//! The mark of one request's write.

use super::checked_value::text;
use super::hex_id;

text! {
    /// The id of one request's write, unlike any other: 128 random bits as 32 hexadecimal digits.
    ///
    /// The SDK repeats a call whose answer was lost, and the repeat has the same id. A write that
    /// finds its own id in the table knows that it succeeded, and does not fail because of itself.
    WriteId,
    hex_id::is_id,
    "must be 32 hexadecimal digits"
}

impl WriteId {
    /// An id that no other write has.
    pub fn random() -> Self {
        Self(hex_id::random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_writes_have_the_same_id() {
        let (one, other) = (WriteId::random(), WriteId::random());

        assert_ne!(one, other);
        assert_eq!(WriteId::parse(one.as_str()), Ok(one));
    }
}
