//! The attributes of a product that a reader wants.

use super::checked_value::{FromJson, Invalid};

/// One attribute of a product. Its name is the same in JSON and in the table.
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
    /// All attributes, in the order of the listing.
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

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl FromJson for Field {
    fn from_json(value: &serde_json::Value) -> Result<Self, Invalid> {
        let field = value.as_str().and_then(Self::from_name);
        field.ok_or_else(|| Invalid::new(format!("must be one of {}", Self::names())))
    }
}

/// The attributes that a reader wants; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields(u8);

impl Fields {
    /// Every attribute, the default for a reader that names none.
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

    /// Reads names separated by commas, as in `?fields=name,price_cents`. A repeated name counts
    /// once.
    ///
    /// # Errors
    /// [`Invalid`] if there is no name, or an unknown one.
    pub fn parse(names: &str) -> Result<Self, Invalid> {
        let fields = names
            .split(',')
            .map(Field::from_name)
            .collect::<Option<_>>();
        fields.ok_or_else(|| Invalid::new(format!("must name one or more of {}", Field::names())))
    }

    /// Whether `field` is one of them.
    pub fn contains(self, field: Field) -> bool {
        self.0 & (1 << field as u8) != 0
    }

    /// These attributes and `field`.
    #[must_use]
    pub fn with(self, field: Field) -> Self {
        Self(self.0 | (1 << field as u8))
    }

    /// These attributes without `field`.
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
}

impl FromIterator<Field> for Fields {
    fn from_iter<T: IntoIterator<Item = Field>>(fields: T) -> Self {
        fields.into_iter().fold(Self(0), Self::with)
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
