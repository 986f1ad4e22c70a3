//! Values that are checked once, when they are parsed, and trusted from then on.
//!
//! Not by `nutype` (1.5 KB of zip; no difference in time): these macros would be 34 lines shorter, but not
//! go away, and each value that is right by construction would have to be checked again.

use thiserror::Error;

/// The largest whole number that every JSON client reads exactly: 2^53 - 1
/// ([RFC 8259, section 6](https://www.rfc-editor.org/rfc/rfc8259#section-6)).
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Why a value was refused, in words for the client: "must be …".
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    /// Refuses a value that breaks `rule`.
    pub(crate) fn new(rule: impl Into<String>) -> Self {
        Self(rule.into())
    }
}

/// A value that can be read from JSON.
pub(super) trait FromJson: Sized {
    /// Reads the value.
    ///
    /// # Errors
    /// [`Invalid`] if the type or the value is not allowed.
    fn from_json(value: &serde_json::Value) -> Result<Self, Invalid>;
}

/// A whole number in any notation: `2`, `2.0` and `2e0` are the same number to
/// [JSON Schema](https://json-schema.org/draft/2020-12/json-schema-core#section-4.2.3) and to most
/// clients.
pub(super) fn whole(value: &serde_json::Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        let is_whole = number.fract() == 0.0 && (0.0..=MAX_SAFE_INTEGER as f64).contains(&number);
        is_whole.then_some(number as u64)
    })
}

/// A string with a rule: `text!(Name, |text| is_allowed(text), "must be …")`.
macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $allowed:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text`.
            ///
            /// # Errors
            #[doc = concat!("[`Invalid`](crate::domain::Invalid): ", $rule, ".")]
            pub fn parse(text: &str) -> Result<Self, $crate::domain::Invalid> {
                Self::try_from(text.to_owned())
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::domain::Invalid;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                let allowed: fn(&str) -> bool = $allowed;
                if allowed(&text) {
                    Ok(Self(text))
                } else {
                    Err($crate::domain::Invalid::new($rule))
                }
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl $crate::domain::checked_value::FromJson for $name {
            fn from_json(value: &serde_json::Value) -> Result<Self, $crate::domain::Invalid> {
                match value.as_str() {
                    Some(text) => Self::parse(text),
                    None => Err($crate::domain::Invalid::new("must be a string")),
                }
            }
        }
    };
}

/// A whole number with bounds: `number!(Name, min, max)`.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $min:expr, $max:expr) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
        )]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name(u64);

        impl $name {
            /// The smallest value allowed.
            pub const MIN: u64 = $min;
            /// The largest value allowed.
            pub const MAX: u64 = $max;

            /// Checks `number`.
            ///
            /// # Errors
            /// [`Invalid`](crate::domain::Invalid) outside [`MIN`](Self::MIN) to
            /// [`MAX`](Self::MAX).
            pub fn parse(number: u64) -> Result<Self, $crate::domain::Invalid> {
                Self::try_from(number)
            }

            /// The number itself.
            pub fn get(self) -> u64 {
                self.0
            }

            fn refusal() -> $crate::domain::Invalid {
                $crate::domain::Invalid::new(format!(
                    "must be a whole number from {} to {}",
                    Self::MIN,
                    Self::MAX
                ))
            }
        }

        impl TryFrom<u64> for $name {
            type Error = $crate::domain::Invalid;

            fn try_from(number: u64) -> Result<Self, Self::Error> {
                if (Self::MIN..=Self::MAX).contains(&number) {
                    Ok(Self(number))
                } else {
                    Err(Self::refusal())
                }
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> u64 {
                value.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::domain::Invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                // Only digits: `u64::from_str` also accepts a plus sign.
                if text.bytes().all(|byte| byte.is_ascii_digit()) {
                    text.parse().map_err(|_| Self::refusal()).and_then(Self::parse)
                } else {
                    Err(Self::refusal())
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl $crate::domain::checked_value::FromJson for $name {
            fn from_json(value: &serde_json::Value) -> Result<Self, $crate::domain::Invalid> {
                $crate::domain::checked_value::whole(value)
                    .ok_or_else(Self::refusal)
                    .and_then(Self::parse)
            }
        }
    };
}

pub(super) use {number, text};
