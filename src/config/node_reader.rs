//! A tree of values as serde reads it.

use std::{cell::RefCell, collections::HashSet};

use serde::{
    Deserializer,
    de::{
        self, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
        value::{BorrowedStrDeserializer, StrDeserializer},
    },
};

use super::{
    node::{Key, Node, Span, Value},
    read_error::{Place, ReadError},
    spanned::SPANNED,
};

/// The nodes that are left out, by address.
type Omitted = RefCell<HashSet<*const Node>>;

#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub node: &'a Node,
    /// The key that holds the node, or the list that the node is in.
    pub name: Option<&'a str>,
    /// Position in that list.
    pub index: Option<usize>,
    pub omitted: &'a Omitted,
}

impl<'a> Reader<'a> {
    fn is_omitted(&self, node: &Node) -> bool {
        self.omitted.borrow().contains(&std::ptr::from_ref(node))
    }

    pub fn subject(&self) -> String {
        match (self.name, self.index) {
            (Some(name), Some(i)) => format!("item {} of `{name}`", i + 1),
            (Some(name), None) => format!("`{name}`"),
            _ => "this value".to_owned(),
        }
    }

    fn visit<V: Visitor<'a>>(&self, visitor: V) -> Result<V::Value, ReadError<'a>> {
        match &self.node.value {
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Int(n) => visitor.visit_i64(*n),
            Value::Float(x) => visitor.visit_f64(*x),
            Value::Str(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items { reader: *self, items: items.iter().enumerate() }),
            Value::Table(table) => visitor.visit_map(Entries { reader: *self, entries: table.iter(), value: None }),
        }
        .map_err(|e| e.placed(self.node, || self.subject()))
    }
}

impl<'a> Deserializer<'a> for Reader<'a> {
    type Error = ReadError<'a>;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ReadError<'a>> {
        self.visit(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ReadError<'a>> {
        visitor.visit_some(self).map_err(|e| e.placed(self.node, || self.subject()))
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError<'a>> {
        if name == SPANNED {
            visitor.visit_map(SpanAndValue { reader: self, next: 0 })
        } else {
            visitor.visit_newtype_struct(self)
        }
        .map_err(|e| e.placed(self.node, || self.subject()))
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError<'a>> {
        match &self.node.value {
            Value::Str(text) => visitor.visit_enum(IntoDeserializer::<ReadError>::into_deserializer(text.as_str())),
            Value::Table(table) => {
                let mut entries = table.iter().filter(|(_, (_, node))| !self.is_omitted(node));
                match (entries.next(), entries.next()) {
                    (Some((name, (key, node))), None) => visitor.visit_enum(Variant { reader: self, name, key, node }),
                    _ => Err(de::Error::custom("needs exactly one key, which says what it is")),
                }
            }
            _ => self.visit(visitor),
        }
        .map_err(|e| e.placed(self.node, || self.subject()))
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, ReadError<'a>> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'a>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier
    }
}

struct Items<'a> {
    reader: Reader<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = ReadError<'a>;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError<'a>> {
        let reader = self.reader;
        let Some((i, node)) = self.items.by_ref().find(|(_, node)| !reader.is_omitted(node)) else { return Ok(None) };
        seed.deserialize(Reader { node, index: Some(i), ..reader }).map(Some)
    }
}

struct Entries<'a> {
    reader: Reader<'a>,
    entries: indexmap::map::Iter<'a, String, (Key, Node)>,
    value: Option<(&'a str, &'a Node)>,
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = ReadError<'a>;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError<'a>> {
        let reader = self.reader;
        let Some((name, (key, node))) = self.entries.by_ref().find(|(_, (_, node))| !reader.is_omitted(node)) else {
            return Ok(None);
        };
        self.value = Some((name, node));
        read_key(&reader, name, key, node, seed).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, ReadError<'a>> {
        let Some((name, node)) = self.value.take() else { return Err(de::Error::custom("value without a key")) };
        seed.deserialize(Reader { node, name: Some(name), index: None, ..self.reader })
    }
}

/// Reads a key; what is wrong with it is shown at the key and costs its value.
fn read_key<'a, K: DeserializeSeed<'a>>(
    reader: &Reader<'a>,
    name: &'a str,
    key: &Key,
    node: &'a Node,
    seed: K,
) -> Result<K::Value, ReadError<'a>> {
    seed.deserialize(BorrowedStrDeserializer::new(name)).map_err(|mut error: ReadError| {
        error.place.get_or_insert(Place {
            culprit: node,
            table: reader.node,
            span: key.span,
            subject: reader.subject(),
        });
        error
    })
}

/// A table with one key as an enum: the key names the variant.
struct Variant<'a> {
    reader: Reader<'a>,
    name: &'a str,
    key: &'a Key,
    node: &'a Node,
}

impl<'a> Variant<'a> {
    fn content(&self) -> Reader<'a> {
        Reader { node: self.node, name: Some(self.name), index: None, ..self.reader }
    }
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = ReadError<'a>;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Self), ReadError<'a>> {
        read_key(&self.reader, self.name, self.key, self.node, seed).map(|value| (value, self))
    }
}

impl<'a> VariantAccess<'a> for Variant<'a> {
    type Error = ReadError<'a>;

    fn unit_variant(self) -> Result<(), ReadError<'a>> {
        let error: ReadError = de::Error::custom(format!("takes no value: write `\"{}\"` alone", self.name));
        Err(error.placed(self.node, || self.content().subject()))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, ReadError<'a>> {
        seed.deserialize(self.content())
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError<'a>> {
        self.content().visit(visitor)
    }

    fn struct_variant<V: Visitor<'a>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, ReadError<'a>> {
        self.content().visit(visitor)
    }
}

/// The two halves of a `Spanned`.
struct SpanAndValue<'a> {
    reader: Reader<'a>,
    next: u8,
}

impl<'a> MapAccess<'a> for SpanAndValue<'a> {
    type Error = ReadError<'a>;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError<'a>> {
        self.next += 1;
        match self.next {
            1 => seed.deserialize(StrDeserializer::<ReadError>::new("span")).map(Some),
            2 => seed.deserialize(StrDeserializer::<ReadError>::new("value")).map(Some),
            _ => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, ReadError<'a>> {
        if self.next == 1 {
            let Span { file, start, end } = self.reader.node.span;
            seed.deserialize(vec![file, start, end].into_deserializer())
        } else {
            seed.deserialize(self.reader)
        }
    }
}
