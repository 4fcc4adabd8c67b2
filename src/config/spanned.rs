//! A value that remembers where it was written.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};

use super::node::Span;

/// A value that remembers where it was written. Reads, writes and looks in a schema like the value alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    /// `None` where the value wasn't read from a pipeline file directly.
    pub span: Option<Span>,
}

/// Tells the readers of this module that a newtype is a [`Spanned`]; others read the value alone.
pub(super) const SPANNED: &str = "$emopipe::config::Spanned";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Both<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Both<T> {
            type Value = Spanned<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
                Ok(Spanned { value: T::deserialize(d)?, span: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let span = map.next_entry::<de::IgnoredAny, [u32; 3]>()?.map(|(_, span)| span);
                let value = map.next_entry::<de::IgnoredAny, T>()?.map(|(_, value)| value);
                match (span, value) {
                    (Some([file, start, end]), Some(value)) => {
                        Ok(Spanned { value, span: Some(Span { file, start, end }) })
                    }
                    _ => Err(de::Error::custom("a spanned value needs its span")),
                }
            }
        }
        d.deserialize_newtype_struct(SPANNED, Both(std::marker::PhantomData))
    }
}

impl<T: Serialize> Serialize for Spanned<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(s)
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

impl<T> std::ops::Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
