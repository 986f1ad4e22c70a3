//! Which attributes of a product a reader wants.

use crate::newtype::{FromJson, Invalid};

/// One attribute of a product, by the name that it has in JSON and in the table alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `id`
    Id,
    /// `name`
    Name,
    /// `category`
    Category,
    /// `price_cents`
    PriceCents,
    /// `stock`
    Stock,
    /// `description`
    Description,
    /// `version`
    Version,
}

impl Field {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 7] = [
        Self::Id,
        Self::Name,
        Self::Category,
        Self::PriceCents,
        Self::Stock,
        Self::Description,
        Self::Version,
    ];

    /// The name of the attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::Category => "category",
            Self::PriceCents => "price_cents",
            Self::Stock => "stock",
            Self::Description => "description",
            Self::Version => "version",
        }
    }
}

/// The attributes that a reader wants; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields(u8);

impl Fields {
    /// Every attribute: what a reader gets who names none.
    pub const ALL: Self = Self((1 << Field::ALL.len()) - 1);

    /// These attributes.
    pub const fn of(fields: &[Field]) -> Self {
        let mut set = 0;
        let mut index = 0;
        while index < fields.len() {
            set |= 1 << fields[index] as u8;
            index += 1;
        }
        Self(set)
    }

    /// Reads names separated by commas, as in `?fields=name,price_cents`. A name that is given
    /// twice counts once.
    ///
    /// # Errors
    /// [`Invalid`] when there is no name, or one that no attribute has.
    pub fn parse(names: &str) -> Result<Self, Invalid> {
        Self::from_names(names.split(','))
    }

    /// Whether `field` is one of them.
    pub fn contains(self, field: Field) -> bool {
        self.0 & (1 << field as u8) != 0
    }

    /// These and `field`.
    #[must_use]
    pub fn with(self, field: Field) -> Self {
        Self(self.0 | (1 << field as u8))
    }

    /// These but `field`.
    #[must_use]
    pub fn without(self, field: Field) -> Self {
        Self(self.0 & !(1 << field as u8))
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL
            .into_iter()
            .filter(move |field| self.contains(*field))
    }

    fn from_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, Invalid> {
        let set = names
            .map(|name| Field::ALL.into_iter().find(|field| field.name() == name))
            .try_fold(Self(0), |set, field| Some(set.with(field?)));
        set.filter(|set| set.0 != 0).ok_or_else(|| {
            let known = Field::ALL.map(Field::name).join(", ");
            Invalid(format!("must name one or more of {known}"))
        })
    }
}

impl FromJson for Fields {
    /// Reads an array of names.
    fn from_json(value: &serde_json::Value) -> Result<Self, Invalid> {
        let names = value.as_array().map(Vec::as_slice).unwrap_or_default();
        // What is not a string becomes a name that no attribute has.
        Self::from_names(names.iter().map(|name| name.as_str().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_order_and_count_once() {
        let fields = Fields::parse("stock,name,stock").unwrap();

        assert_eq!(
            fields.iter().collect::<Vec<_>>(),
            [Field::Name, Field::Stock]
        );
        assert_eq!(fields, Fields::of(&[Field::Stock, Field::Name]));
    }

    #[test]
    fn every_name_together_is_all() {
        assert_eq!(
            Fields::parse(&Field::ALL.map(Field::name).join(",")),
            Ok(Fields::ALL)
        );
    }

    #[test]
    fn a_name_that_no_attribute_has_is_refused() {
        for names in ["", ",", "name,", "colour", "Name", " name", "name;stock"] {
            assert!(Fields::parse(names).is_err(), "{names}");
        }
    }
}
