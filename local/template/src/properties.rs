//! Reads resolved properties into structs by serde. A field renamed to `Environment.Variables` is a property within
//! another. Each error has the line and path of its property. A property that
//! a struct does not have is refused, noted or passed over.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use indexmap::IndexMap;
use serde::de::value::{BorrowedStrDeserializer, SeqDeserializer};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess,
    Unexpected, Visitor,
};

use crate::error::Mistake;
use crate::yaml::{Content, Map, Node};

/// Properties that have no effect on one machine and need no notice: permissions, deployment,
/// encryption, monitoring, descriptions.
const SILENT: [&str; 22] = [
    "AccessLogSettings",
    "Architectures",
    "AutoPublishAlias",
    "AutoPublishAliasAllProperties",
    "AutoPublishCodeSha256",
    "ConstraintDescription",
    "DeletionProtectionEnabled",
    "DeploymentPreference",
    "Description",
    "FailOnWarnings",
    "KmsMasterKeyId",
    "Name",
    "NoEcho",
    "PermissionsBoundary",
    "PointInTimeRecoverySpecification",
    "Policies",
    "Role",
    "SSESpecification",
    "SqsManagedSseEnabled",
    "Tags",
    "Tracing",
    "VersionDescription",
];

/// Properties that are read before or after the others.
const READ_APART: [&str; 8] = [
    "DefinitionBody",
    "Enabled",
    "Events",
    "FunctionName",
    "PackageType",
    "QueueName",
    "Runtime",
    "TableName",
];

/// Properties that change how a function behaves or is called, and that this host does not have: the struct that is
/// read, the property, the reason. Every other property that is not hosted is left out with a notice.
fn refusal(of: &str, property: &str) -> Option<&'static str> {
    Some(match (of, property) {
        ("Function", "DurableConfig") => "durable functions are not hosted",
        ("Function", "FileSystemConfigs") => "file systems are not mounted",
        ("Function", "ImageUri") => "images are not hosted: build a bootstrap and set CodeUri",
        ("Function", "InlineCode") => "is not hosted: build a bootstrap and set CodeUri",
        ("Function", "VpcConfig") => "not hosted: put it behind a condition that is false here",
        ("HttpApi" | "HttpApiEvent", "Auth") => "authorizers are not hosted",
        ("HttpApi", "DefinitionUri") => "declare routes as HttpApi events",
        ("SqsEvent", "FilterCriteria") => "event filters are not hosted",
        _ => return None,
    })
}

/// Parts of the template that this host leaves out.
#[derive(Default)]
pub(crate) struct Notices {
    /// Kinds of resources, with their number.
    kinds: RefCell<BTreeMap<String, usize>>,
    /// Properties and events, with their places.
    properties: RefCell<IndexMap<String, Vec<String>>>,
}

impl Notices {
    /// Notes a resource.
    pub(crate) fn kind(&self, kind: &str) {
        *self.kinds.borrow_mut().entry(kind.to_owned()).or_default() += 1;
    }

    /// Notes a property or event of `path`.
    pub(crate) fn property(&self, path: &str, what: &str) {
        let mut properties = self.properties.borrow_mut();
        let paths = properties.entry(what.to_owned()).or_default();
        paths.push(path.to_owned());
    }

    /// One sentence for all kinds of resources, one for each property or event.
    pub(crate) fn sentences(self) -> Vec<String> {
        /// The most places that a sentence names.
        const MOST: usize = 3;
        let counted = |(kind, count): (&String, &usize)| match count {
            1 => kind.clone(),
            _ => format!("{kind} ({count})"),
        };
        let kinds: Vec<String> = self.kinds.borrow().iter().map(counted).collect();
        let kinds = (!kinds.is_empty()).then(|| format!("not hosted: {}", kinds.join(", ")));
        let properties = self.properties.into_inner().into_iter();
        let properties = properties.map(|(what, paths)| {
            let (named, others) = paths.split_at(paths.len().min(MOST));
            let more = match others.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{}{more}: {what} is not hosted", named.join(", "))
        });
        kinds.into_iter().chain(properties).collect()
    }
}

/// A resolved value of the template and its place, to be read by serde.
#[derive(Clone)]
pub(crate) struct Reader<'n> {
    pub(crate) node: &'n Node,
    /// `F.Events.E`, as messages name it.
    pub(crate) path: String,
    pub(crate) notices: &'n Notices,
}

impl<'n> Reader<'n> {
    pub(crate) fn read<T: Deserialize<'n>>(&self) -> Result<T, Mistake> {
        self.placed(T::deserialize(self.clone()))
    }

    fn child(&self, name: &str, node: &'n Node) -> Reader<'n> {
        Reader {
            node,
            path: format!("{}.{name}", self.path),
            notices: self.notices,
        }
    }

    /// The properties of a map whose names the template chooses.
    pub(crate) fn entries(&self) -> Result<impl Iterator<Item = (&'n str, Reader<'n>)>, Mistake> {
        let entry = |(name, node): (&'n String, &'n Node)| (name.as_str(), self.child(name, node));
        Ok(self.map()?.iter().map(entry))
    }

    /// A property, if it is there.
    pub(crate) fn get(&self, name: &str) -> Option<Reader<'n>> {
        self.node.get(name).map(|node| self.child(name, node))
    }

    /// One property by itself.
    pub(crate) fn optional<T: Deserialize<'n>>(&self, name: &str) -> Result<Option<T>, Mistake> {
        self.map()?;
        self.get(name).map(|value| value.read()).transpose()
    }

    /// One property by itself, such as one that decides how the others are read.
    pub(crate) fn required<T: Deserialize<'n>>(&self, name: &'static str) -> Result<T, Mistake> {
        self.optional(name)?.ok_or_else(|| self.missing(name))
    }

    /// An error about a property that is not there.
    pub(crate) fn missing(&self, name: &'static str) -> Mistake {
        Mistake::missing_field(name)
            .on(self.node.line)
            .at(&self.path)
    }

    /// An error about one property.
    pub(crate) fn mistake(&self, property: &str, message: impl Into<String>) -> Mistake {
        let line = self.node.get(property).unwrap_or(self.node).line;
        let path = format!("{}.{property}", self.path);
        Mistake::new(message).on(line).at(&path)
    }

    fn is_no(&self, needed: &str) -> Mistake {
        Mistake::new(format!("must be {needed}, not {}", self.node.show()))
    }

    fn map(&self) -> Result<&'n Map, Mistake> {
        self.placed(match &self.node.content {
            Content::Map(map) => Ok(map),
            Content::Failed(mistake) => Err(mistake.clone()),
            _ => Err(self.is_no("a map")),
        })
    }

    /// Decides about the properties that are none of the `fields` of the struct `of`.
    fn check_names<'f>(&self, of: &str, fields: &[&'f str]) -> Result<(), Mistake> {
        for (property, value) in self.entries()? {
            let is_known = |names: &&[&str]| names.contains(&property);
            if [fields, &READ_APART, &SILENT].iter().any(is_known) {
                continue;
            }
            let within = |field: &&'f str| field.strip_prefix(property)?.strip_prefix('.');
            let inner: Vec<&str> = fields.iter().filter_map(within).collect();
            if !inner.is_empty() {
                value.check_names(of, &inner)?;
                continue;
            }
            if let Some(reason) = refusal(of, property) {
                return Err(self.mistake(property, reason));
            }
            // Two letters may differ. A misspelt property would otherwise have no effect.
            let names = fields.iter().chain(&READ_APART);
            let names = names.filter_map(|it| it.split('.').next());
            let mut alike = names.filter(|name| strsim::osa_distance(name, property) <= 2);
            if let Some(meant) = alike.next() {
                return Err(self.mistake(property, format!("unknown property; is {meant} meant?")));
            }
            self.notices.property(&self.path, property);
        }
        Ok(())
    }

    fn placed<T>(&self, result: Result<T, Mistake>) -> Result<T, Mistake> {
        result.map_err(|mistake| mistake.on(self.node.line).at(&self.path))
    }
}

impl<'n> Deserializer<'n> for Reader<'n> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.node.content {
            Content::Null => visitor.visit_unit(),
            Content::Text(text) | Content::Literal(text) => visitor.visit_borrowed_str(text),
            Content::List(items) => {
                let place = |node| Reader {
                    node,
                    ..self.clone()
                };
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(place)))
            }
            Content::Map(_) => visitor.visit_map(Entries::new(self.entries()?)),
            Content::Failed(mistake) => Err(mistake.clone()),
        }
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_some(self)
    }

    fn deserialize_bool<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.node.text() {
            Some("true") => visitor.visit_bool(true),
            Some("false") => visitor.visit_bool(false),
            _ => Err(self.is_no("true or false")),
        }
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        visitor.visit_enum(self.read::<&str>()?.into_deserializer())
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        self.check_names(name, fields)?;
        let value = |field: &&'static str| {
            let mut names = field.split('.');
            let value = names.try_fold(self.clone(), |place, name| place.get(name));
            Some((*field, value?))
        };
        visitor.visit_map(Entries::new(fields.iter().filter_map(value)))
    }

    /// A value that is not hosted may refer to something that is not hosted either.
    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        <W: Visitor<'n>>
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map identifier
    }
}

/// The entries of a map. An error gets the place of its entry.
struct Entries<'n, I> {
    rest: I,
    value: Option<Reader<'n>>,
}

impl<'n, I: Iterator<Item = (&'n str, Reader<'n>)>> Entries<'n, I> {
    fn new(rest: I) -> Entries<'n, I> {
        Entries { rest, value: None }
    }
}

impl<'n, I: Iterator<Item = (&'n str, Reader<'n>)>> MapAccess<'n> for Entries<'n, I> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'n>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Mistake> {
        let Some((name, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        let name = BorrowedStrDeserializer::new(name);
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, Mistake> {
        let value = self.value.take();
        let value = value.ok_or_else(|| Mistake::new("a value without a name"))?;
        value.placed(seed.deserialize(value.clone()))
    }
}

impl<'n> IntoDeserializer<'n, Mistake> for Reader<'n> {
    type Deserializer = Reader<'n>;

    fn into_deserializer(self) -> Reader<'n> {
        self
    }
}

impl Error for Mistake {
    fn custom<T: fmt::Display>(message: T) -> Mistake {
        Mistake::new(message.to_string())
    }

    fn missing_field(field: &'static str) -> Mistake {
        Mistake::new(format!("the property {field} is missing"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Mistake {
        let expected = expected.join(" or ");
        Mistake::new(format!("must be {expected}, not {variant:?}"))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Mistake {
        let found = match found {
            Unexpected::Str(text) => format!("{text:?}"),
            Unexpected::Seq => "a list".to_owned(),
            Unexpected::Map => "a map".to_owned(),
            _ => "nothing".to_owned(),
        };
        let expected = match expected.to_string().as_str() {
            "a string" | "a borrowed string" => "text".to_owned(),
            "a sequence" => "a list".to_owned(),
            other => other.to_owned(),
        };
        Mistake::new(format!("must be {expected}, not {found}"))
    }
}

/// A number within AWS's limits, with its unit for the message.
pub(crate) fn number<'n, N, D>(
    value: D,
    limits: RangeInclusive<N>,
    unit: &str,
) -> Result<N, D::Error>
where
    N: FromStr + PartialOrd + fmt::Display,
    D: Deserializer<'n>,
{
    let text = <&str>::deserialize(value)?;
    let number = text.trim().parse().ok().filter(|it| limits.contains(it));
    let (least, most) = (limits.start(), limits.end());
    let refused = || D::Error::custom(format!("must be {least} to {most} {unit}, not {text:?}"));
    number.ok_or_else(refused)
}

/// Reads whole seconds.
pub(crate) fn duration<'n, const LEAST: u64, const MOST: u64, D>(
    value: D,
) -> Result<Duration, D::Error>
where
    D: Deserializer<'n>,
{
    number(value, LEAST..=MOST, "seconds").map(Duration::from_secs)
}

/// The default of a whole number: `default = "of::<128>"`.
pub(crate) fn of<const NUMBER: u32>() -> u32 {
    NUMBER
}

/// Readers of whole numbers by their unit: `deserialize_with = "seconds::<1, 900, _, _>"` is 1 to 900 seconds.
macro_rules! whole_numbers_of {
    ($($reader:ident $unit:literal)*) => {
        $(pub(crate) fn $reader<'n, const LEAST: u32, const MOST: u32, T, D>(value: D) -> Result<T, D::Error>
        where
            T: From<u32>,
            D: Deserializer<'n>,
        {
            number(value, LEAST..=MOST, $unit).map(T::from)
        })*
    };
}

whole_numbers_of! {
    bytes "bytes"
    executions "executions"
    invocations "invocations at one time"
    megabytes "MB"
    messages "messages"
    receives "receives"
    requests "requests"
    seconds "seconds"
}
