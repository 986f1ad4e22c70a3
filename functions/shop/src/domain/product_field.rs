//! The attributes of a product that a reader wants.

use enumset::{EnumSet, EnumSetType};

use super::checked_value::{FromJson, Invalid};

/// One attribute of a product. Its name is the same in JSON and in the table.
#[derive(Debug, EnumSetType)]
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

    /// Reads names separated by commas, as in `?fields=name,price_cents`. A repeated name counts
    /// once.
    ///
    /// # Errors
    /// [`Invalid`] if there is no name, or an unknown one.
    pub fn parse_list(names: &str) -> Result<Fields, Invalid> {
        let fields = names.split(',').map(Self::from_name).collect::<Option<_>>();
        fields.ok_or_else(|| Invalid::new(format!("must name one or more of {}", Self::names())))
    }

    fn from_name(name: &str) -> Option<Self> {
        Fields::all().iter().find(|field| field.name() == name)
    }

    fn names() -> String {
        let names: Vec<_> = Fields::all().iter().map(Self::name).collect();
        names.join(", ")
    }
}

impl FromJson for Field {
    fn from_json(value: &serde_json::Value) -> Result<Self, Invalid> {
        let field = value.as_str().and_then(Self::from_name);
        field.ok_or_else(|| Invalid::new(format!("must be one of {}", Self::names())))
    }
}

/// The attributes that a reader wants.
pub type Fields = EnumSet<Field>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_order_and_count_once() {
        let fields = Field::parse_list("stock,name,stock").unwrap();

        assert_eq!(
            fields.iter().collect::<Vec<_>>(),
            [Field::Name, Field::Stock]
        );
        assert_eq!(fields, Field::Stock | Field::Name);
    }

    #[test]
    fn every_name_together_is_all() {
        assert_eq!(
            Field::parse_list("version,description,stock,price_cents,category,name,id"),
            Ok(Fields::all())
        );
    }

    #[test]
    fn a_name_that_no_attribute_has_is_refused() {
        for names in ["", ",", "name,", "colour", "Name", " name", "name;stock"] {
            assert!(Field::parse_list(names).is_err(), "{names}");
        }
    }
}
