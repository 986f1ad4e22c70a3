//! Values of fields, and how they compare.

use std::cmp::Ordering;
use std::fmt;

use time::OffsetDateTime;
use time::macros::format_description;

/// A value of a field or an expression. A truth is 1 or 0, as Logs Insights shows it.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// There is none.
    #[default]
    None,
    Number(f64),
    /// Milliseconds since 1970.
    Time(f64),
    Text(String),
}

impl Value {
    pub fn truth(is: bool) -> Self {
        Self::Number(f64::from(u8::from(is)))
    }

    /// A number, or a text that is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) | Self::Time(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::None => None,
        }
    }

    pub fn is_true(&self) -> bool {
        self.number().is_some_and(|it| it != 0.0)
    }

    /// Numbers by their size, others as texts; none if either is none.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::None, _) | (_, Self::None) => None,
            _ => Some(match (self.number(), other.number()) {
                (Some(a), Some(b)) => a.total_cmp(&b),
                _ => self.to_string().cmp(&other.to_string()),
            }),
        }
    }

    /// An order for `sort`: none is the smallest, and numbers are smaller than texts.
    pub fn order(&self, other: &Self) -> Ordering {
        let rank = |value: &Self| match value {
            Self::None => 0,
            value if value.number().is_some() => 1,
            _ => 2,
        };
        let ranks = rank(self).cmp(&rank(other));
        ranks.then_with(|| self.compare(other).unwrap_or(Ordering::Equal))
    }
}

/// Four decimals, as Logs Insights has them.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => {
                let text = format!("{number:.4}");
                f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
            }
            Self::Time(ms) => {
                let at = OffsetDateTime::from_unix_timestamp_nanos((*ms * 1e6) as i128);
                let format = format_description!(
                    "[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]"
                );
                let text = at.ok().and_then(|at| at.format(format).ok());
                f.write_str(&text.unwrap_or_default())
            }
        }
    }
}
