//! Serde types from [`Node`]s, with the place of every problem and as many problems as can be found at once.
//!
//! Serde stops at the first error. So whatever an error concerns is taken out of the tree and the rest is read again,
//! until nothing is left to complain about. Errors that only follow from such an omission are not reported.

use std::{cell::RefCell, collections::HashSet, fmt, fmt::Display};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
        VariantAccess, Visitor,
        value::{BorrowedStrDeserializer, StrDeserializer},
    },
};

use super::{Diagnostic, Key, Node, Span, Value, diagnostic::MOST, suggest::help_for, suggest::suggest};

/// Reads `node` as a `T`.
///
/// # Errors
/// Every unknown key and wrong type of the tree, and one missing key per table; of very many the first.
pub fn from_node<T: DeserializeOwned>(node: &Node) -> Result<T, Vec<Diagnostic>> {
    let omitted = RefCell::new(HashSet::new());
    let mut meant = HashSet::new();
    let mut found = Vec::new();
    // Every round reads the whole tree.
    for _ in 0..2 * MOST {
        let reader = Reader { node, name: None, index: None, omitted: &omitted };
        let fault = match T::deserialize(reader) {
            Ok(value) if found.is_empty() => return Ok(value),
            Ok(_) => return Err(found),
            Err(fault) => fault.placed(&reader),
        };
        let Some(place) = &fault.place else { return Err(found) };
        let culprit: *const Node = place.culprit;
        if !fault.follows_from(&omitted.borrow(), &meant) {
            if let What::Field { word, known } = &fault.what
                && let Some(near) = suggest(word, known.iter().copied())
            {
                meant.insert((std::ptr::from_ref(place.table), near.to_owned()));
            }
            found.push(fault.diagnostic(place));
        }
        if found.len() >= MOST || std::ptr::eq(culprit, node) || !omitted.borrow_mut().insert(culprit) {
            break;
        }
    }
    Err(found)
}

/// What [`from_node`] has to say against `node` as a `T`.
pub fn check<T: DeserializeOwned>(node: &Node) -> Vec<Diagnostic> {
    from_node::<T>(node).err().unwrap_or_default()
}

/// A value that remembers where it was written. Reads, writes and looks in a schema like the value alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    /// `None` where the value wasn't read from a pipeline file directly.
    pub span: Option<Span>,
}

/// The nodes that are left out, by address.
type Omitted = RefCell<HashSet<*const Node>>;

#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    /// The key that holds the node, or the list that the node is in.
    name: Option<&'a str>,
    /// Position in that list.
    index: Option<usize>,
    omitted: &'a Omitted,
}

impl<'a> Reader<'a> {
    fn is_omitted(&self, node: &Node) -> bool {
        self.omitted.borrow().contains(&std::ptr::from_ref(node))
    }

    fn subject(&self) -> String {
        match (self.name, self.index) {
            (Some(name), Some(i)) => format!("item {} of `{name}`", i + 1),
            (Some(name), None) => format!("`{name}`"),
            _ => "this value".to_owned(),
        }
    }

    fn visit<V: Visitor<'a>>(&self, visitor: V) -> Result<V::Value, Fault<'a>> {
        match &self.node.value {
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Int(n) => visitor.visit_i64(*n),
            Value::Float(x) => visitor.visit_f64(*x),
            Value::Str(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => visitor.visit_seq(Items { reader: *self, items: items.iter().enumerate() }),
            Value::Table(table) => visitor.visit_map(Entries { reader: *self, entries: table.iter(), value: None }),
        }
        .map_err(|e| e.placed(self))
    }
}

impl<'a> Deserializer<'a> for Reader<'a> {
    type Error = Fault<'a>;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault<'a>> {
        self.visit(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault<'a>> {
        visitor.visit_some(self).map_err(|e| e.placed(&self))
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault<'a>> {
        if name == SPANNED {
            visitor.visit_map(SpanAndValue { reader: self, next: 0 })
        } else {
            visitor.visit_newtype_struct(self)
        }
        .map_err(|e| e.placed(&self))
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault<'a>> {
        match &self.node.value {
            Value::Str(text) => visitor.visit_enum(IntoDeserializer::<Fault>::into_deserializer(text.as_str())),
            Value::Table(table) => {
                let mut entries = table.iter().filter(|(_, (_, node))| !self.is_omitted(node));
                match (entries.next(), entries.next()) {
                    (Some((name, (key, node))), None) => visitor.visit_enum(Variant { reader: self, name, key, node }),
                    _ => Err(de::Error::custom("needs exactly one key, which says what it is")),
                }
            }
            _ => self.visit(visitor),
        }
        .map_err(|e| e.placed(&self))
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Fault<'a>> {
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
    type Error = Fault<'a>;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault<'a>> {
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
    type Error = Fault<'a>;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault<'a>> {
        let reader = self.reader;
        let Some((name, (key, node))) = self.entries.by_ref().find(|(_, (_, node))| !reader.is_omitted(node)) else {
            return Ok(None);
        };
        self.value = Some((name, node));
        read_key(&reader, name, key, node, seed).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault<'a>> {
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
) -> Result<K::Value, Fault<'a>> {
    seed.deserialize(BorrowedStrDeserializer::new(name)).map_err(|mut fault: Fault| {
        fault.place.get_or_insert(Place {
            culprit: node,
            table: reader.node,
            span: key.span,
            subject: reader.subject(),
        });
        fault
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
    type Error = Fault<'a>;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'a>>(self, seed: V) -> Result<(V::Value, Self), Fault<'a>> {
        read_key(&self.reader, self.name, self.key, self.node, seed).map(|value| (value, self))
    }
}

impl<'a> VariantAccess<'a> for Variant<'a> {
    type Error = Fault<'a>;

    fn unit_variant(self) -> Result<(), Fault<'a>> {
        let fault: Fault = de::Error::custom(format!("takes no value: write `\"{}\"` alone", self.name));
        Err(fault.placed(&self.content()))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'a>>(self, seed: T) -> Result<T::Value, Fault<'a>> {
        seed.deserialize(self.content())
    }

    fn tuple_variant<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Fault<'a>> {
        self.content().visit(visitor)
    }

    fn struct_variant<V: Visitor<'a>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Fault<'a>> {
        self.content().visit(visitor)
    }
}

/// What went wrong, as serde tells it.
#[derive(Debug)]
enum What {
    Custom(String),
    Type {
        leaf: Option<Leaf>,
        expected: String,
    },
    /// The type is right but the value isn't.
    Value {
        leaf: Option<Leaf>,
        expected: String,
    },
    Length {
        len: usize,
        expected: String,
    },
    Variant {
        word: String,
        known: &'static [&'static str],
    },
    Field {
        word: String,
        known: &'static [&'static str],
    },
    Missing(&'static str),
    Duplicate(&'static str),
}

/// The value that serde complains about: all there is to find it by after serde has buffered a table.
#[derive(Debug, PartialEq)]
enum Leaf {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
}

impl Leaf {
    fn new(unexpected: &Unexpected) -> Option<Self> {
        match *unexpected {
            Unexpected::Bool(b) => Some(Self::Bool(b)),
            Unexpected::Signed(n) => Some(Self::Int(n)),
            Unexpected::Unsigned(n) => i64::try_from(n).ok().map(Self::Int),
            Unexpected::Float(x) => Some(Self::Float(x)),
            Unexpected::Str(text) => Some(Self::Str(text.to_owned())),
            _ => None,
        }
    }

    fn is(&self, node: &Node) -> bool {
        match (&node.value, self) {
            (Value::Bool(a), Self::Bool(b)) => a == b,
            (Value::Int(a), Self::Int(b)) => a == b,
            (Value::Float(a), Self::Float(b)) => a == b,
            (Value::Str(a), Self::Str(b)) => a == b,
            _ => false,
        }
    }
}

#[derive(Debug)]
struct Place<'a> {
    /// What to leave out in order to find further problems.
    culprit: &'a Node,
    /// The table in which the problem is.
    table: &'a Node,
    span: Span,
    subject: String,
}

#[derive(Debug)]
struct Fault<'a> {
    what: What,
    place: Option<Place<'a>>,
}

impl<'a> Fault<'a> {
    /// Gives the fault its place unless it has one already.
    fn placed(mut self, reader: &Reader<'a>) -> Self {
        if self.place.is_some() {
            return self;
        }
        let here =
            || Place { culprit: reader.node, table: reader.node, span: reader.node.span, subject: reader.subject() };
        let found = match &self.what {
            What::Field { word, .. } => only(reader.node, &|name, _| name == Some(word)),
            What::Type { leaf: Some(leaf), .. } | What::Value { leaf: Some(leaf), .. } => {
                only(reader.node, &|_, node| leaf.is(node))
            }
            What::Variant { word, .. } => only(reader.node, &|_, node| node.as_str() == Some(word)),
            _ => None,
        };
        self.place = Some(match found {
            Some(Hit { node, name: Some((name, key)), table }) if !std::ptr::eq(node, reader.node) => Place {
                culprit: node,
                table,
                span: if matches!(self.what, What::Field { .. }) { key.span } else { node.span },
                subject: format!("`{name}`"),
            },
            _ => here(),
        });
        self
    }

    /// Whether the fault is only there because something was left out before.
    fn follows_from(&self, omitted: &HashSet<*const Node>, meant: &HashSet<(*const Node, String)>) -> bool {
        let Some(place) = &self.place else { return false };
        match &self.what {
            What::Missing(name) => {
                let left_out = place.culprit.as_table().and_then(|table| table.get(*name));
                left_out.is_some_and(|(_, node)| omitted.contains(&std::ptr::from_ref(node)))
                    || meant.contains(&(std::ptr::from_ref(place.culprit), (*name).to_owned()))
            }
            What::Custom(_) | What::Length { .. } => {
                any_inside(place.culprit, &|node| omitted.contains(&std::ptr::from_ref(node)))
            }
            _ => false,
        }
    }

    fn diagnostic(&self, place: &Place) -> Diagnostic {
        let subject = &place.subject;
        let diagnostic = match &self.what {
            What::Custom(text) if text.starts_with("data did not match any variant") => {
                Diagnostic::new(format!("{subject} has none of the forms it can have"))
            }
            What::Custom(text) => Diagnostic::new(format!("{subject}: {text}")),
            What::Type { expected, .. } => {
                let found = place.culprit.kind_name();
                Diagnostic::new(format!("{subject} must be {}, not {found}", plain(expected))).label(found)
            }
            What::Value { expected, .. } => {
                let found = place.culprit.scalar_text().unwrap_or_else(|| place.culprit.kind_name().to_owned());
                Diagnostic::new(format!("{subject} must be {}, not `{found}`", plain(expected)))
            }
            What::Length { len, expected } => {
                Diagnostic::new(format!("{subject} must be {}, not of length {len}", plain(expected)))
            }
            What::Variant { word, known } => {
                Diagnostic::new(format!("`{word}` is no value of {subject}")).help(help_for(word, known, "values"))
            }
            What::Field { word, known } => {
                Diagnostic::new(format!("unknown key `{word}`")).help(help_for(word, known, "keys"))
            }
            What::Missing(name) => Diagnostic::new(format!("the key `{name}` is missing"))
                .label("in this table")
                .help(format!("add `{name} = ...`")),
            What::Duplicate(name) => Diagnostic::new(format!("`{name}` is given twice, under two of its names")),
        };
        diagnostic.at(place.span)
    }
}

impl de::Error for Fault<'_> {
    fn custom<T: Display>(text: T) -> Self {
        What::Custom(text.to_string()).into()
    }

    fn invalid_type(found: Unexpected, expected: &dyn de::Expected) -> Self {
        What::Type { leaf: Leaf::new(&found), expected: expected.to_string() }.into()
    }

    fn invalid_value(found: Unexpected, expected: &dyn de::Expected) -> Self {
        What::Value { leaf: Leaf::new(&found), expected: expected.to_string() }.into()
    }

    fn invalid_length(len: usize, expected: &dyn de::Expected) -> Self {
        What::Length { len, expected: expected.to_string() }.into()
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        What::Variant { word: word.to_owned(), known }.into()
    }

    fn unknown_field(word: &str, known: &'static [&'static str]) -> Self {
        What::Field { word: word.to_owned(), known }.into()
    }

    fn missing_field(name: &'static str) -> Self {
        What::Missing(name).into()
    }

    fn duplicate_field(name: &'static str) -> Self {
        What::Duplicate(name).into()
    }
}

impl From<What> for Fault<'_> {
    fn from(what: What) -> Self {
        Self { what, place: None }
    }
}

impl Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.what)
    }
}

impl std::error::Error for Fault<'_> {}

/// A node found in a tree.
struct Hit<'a> {
    node: &'a Node,
    name: Option<(&'a str, Key)>,
    table: &'a Node,
}

/// The only node of the tree that `wanted` accepts, given the key that holds it.
fn only<'a>(root: &'a Node, wanted: &dyn Fn(Option<&str>, &Node) -> bool) -> Option<Hit<'a>> {
    fn walk<'a>(hit: Hit<'a>, wanted: &dyn Fn(Option<&str>, &Node) -> bool, hits: &mut Vec<Hit<'a>>) {
        let Hit { node, name, .. } = hit;
        if wanted(name.map(|(name, _)| name), node) {
            hits.push(hit);
        }
        match &node.value {
            Value::Table(table) => table.iter().for_each(|(name, (key, child))| {
                walk(Hit { node: child, name: Some((name, *key)), table: node }, wanted, hits)
            }),
            Value::Array(items) => {
                items.iter().for_each(|child| walk(Hit { node: child, name, table: node }, wanted, hits))
            }
            _ => {}
        }
    }
    let mut hits = Vec::new();
    walk(Hit { node: root, name: None, table: root }, wanted, &mut hits);
    (hits.len() == 1).then(|| hits.remove(0))
}

fn any_inside(node: &Node, test: &dyn Fn(&Node) -> bool) -> bool {
    match &node.value {
        Value::Table(table) => table.values().any(|(_, child)| test(child) || any_inside(child, test)),
        Value::Array(items) => items.iter().any(|child| test(child) || any_inside(child, test)),
        _ => false,
    }
}

/// Serde's words for a type, in those of TOML's users.
fn plain(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a map" => "a table",
        "a sequence" => "a list",
        _ if expected.starts_with("a nonzero u") => "a whole number, 1 or more",
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum") => "a table",
        _ if expected.starts_with("enum ") => "a string or a table",
        _ => expected,
    }
}

/// Tells the readers of this module that a newtype is a [`Spanned`]; others read the value alone.
const SPANNED: &str = "$emopipe::config::Spanned";

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

/// The two halves of a [`Spanned`].
struct SpanAndValue<'a> {
    reader: Reader<'a>,
    next: u8,
}

impl<'a> MapAccess<'a> for SpanAndValue<'a> {
    type Error = Fault<'a>;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault<'a>> {
        self.next += 1;
        match self.next {
            1 => seed.deserialize(StrDeserializer::<Fault>::new("span")).map(Some),
            2 => seed.deserialize(StrDeserializer::<Fault>::new("value")).map(Some),
            _ => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Fault<'a>> {
        if self.next == 1 {
            let Span { file, start, end } = self.reader.node.span;
            seed.deserialize(vec![file, start, end].into_deserializer())
        } else {
            seed.deserialize(self.reader)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{SourceMap, parse::parse_text, render};
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Method {
        name: String,
        rank: u32,
        #[serde(default)]
        rate: f64,
        #[serde(default)]
        layers: Vec<usize>,
        optimiser: Option<Optimiser>,
        schedule: Option<Schedule>,
        #[serde(default)]
        when: When,
        #[serde(default)]
        tags: BTreeMap<String, bool>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
    enum Optimiser {
        AdamW { beta: f64 },
        Sgd,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    enum Schedule {
        Constant,
        Linear { warmup: u32 },
    }

    #[derive(Debug, Deserialize, PartialEq, Default)]
    #[serde(rename_all = "kebab-case")]
    enum When {
        #[default]
        Always,
        Never,
    }

    fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
        let mut sources = SourceMap::default();
        let file = sources.add("m.toml".into(), text);
        let (table, problems) = parse_text(file, text);
        assert!(problems.is_empty(), "{problems:?}");
        let node = Node::new(Span { file, start: 0, end: 0 }, Value::Table(table));
        from_node(&node).map_err(|found| render(&found, &sources))
    }

    #[test]
    fn reads_what_serde_reads() {
        let method: Method = read(
            "name = 'lora'\nrank = 8\nrate = 1\nlayers = [1, 2]\noptimiser = { kind = 'adam-w', beta = 0.9 }\n\
             schedule.linear.warmup = 3\nwhen = 'never'\ntags.x = true",
        )
        .unwrap();
        assert_eq!(
            method,
            Method {
                name: "lora".into(),
                rank: 8,
                rate: 1.0,
                layers: vec![1, 2],
                optimiser: Some(Optimiser::AdamW { beta: 0.9 }),
                schedule: Some(Schedule::Linear { warmup: 3 }),
                when: When::Never,
                tags: [("x".to_owned(), true)].into(),
            }
        );
        assert_eq!(
            read::<Method>("name = 'x'\nrank = 1\nschedule = 'constant'").unwrap().schedule,
            Some(Schedule::Constant)
        );
    }

    #[test]
    fn all_problems_of_a_tree_come_at_once() {
        let problems = read::<Method>(
            "name = 3\nrnak = 8\nrate = 'x'\nlayers = [1, -2, 'z']\nwhen = 'nevr'\n\
             schedule.lineal.warmup = 3\ntags = { a = 1, b = 2 }\n[optimiser]\nkind = 'adam-w'\nbeta = 'b'\nbetta = 2\n",
        )
        .unwrap_err();
        insta::assert_snapshot!(problems, @r#"
     × `name` must be a string, not a whole number
      ╭─[m.toml:1:8]
    1 │ name = 3
      ·        ┬
      ·        ╰── a whole number
    2 │ rnak = 8
      ╰────

     × unknown key `rnak`
      ╭─[m.toml:2:1]
    1 │ name = 3
    2 │ rnak = 8
      · ────
    3 │ rate = 'x'
      ╰────
     help: did you mean `rank`?

     × `rate` must be a number, not a string
      ╭─[m.toml:3:8]
    2 │ rnak = 8
    3 │ rate = 'x'
      ·        ─┬─
      ·         ╰── a string
    4 │ layers = [1, -2, 'z']
      ╰────

     × item 2 of `layers` must be a whole number, 0 or more, not `-2`
      ╭─[m.toml:4:14]
    3 │ rate = 'x'
    4 │ layers = [1, -2, 'z']
      ·              ──
    5 │ when = 'nevr'
      ╰────

     × item 3 of `layers` must be a whole number, 0 or more, not a string
      ╭─[m.toml:4:18]
    3 │ rate = 'x'
    4 │ layers = [1, -2, 'z']
      ·                  ─┬─
      ·                   ╰── a string
    5 │ when = 'nevr'
      ╰────

     × `nevr` is no value of `when`
      ╭─[m.toml:5:8]
    4 │ layers = [1, -2, 'z']
    5 │ when = 'nevr'
      ·        ──────
    6 │ schedule.lineal.warmup = 3
      ╰────
     help: did you mean `never`?

     × `lineal` is no value of `schedule`
      ╭─[m.toml:6:10]
    5 │ when = 'nevr'
    6 │ schedule.lineal.warmup = 3
      ·          ──────
    7 │ tags = { a = 1, b = 2 }
      ╰────
     help: did you mean `linear`?

     × `a` must be true or false, not a whole number
      ╭─[m.toml:7:14]
    6 │ schedule.lineal.warmup = 3
    7 │ tags = { a = 1, b = 2 }
      ·              ┬
      ·              ╰── a whole number
    8 │ [optimiser]
      ╰────

     × `b` must be true or false, not a whole number
      ╭─[m.toml:7:21]
    6 │ schedule.lineal.warmup = 3
    7 │ tags = { a = 1, b = 2 }
      ·                     ┬
      ·                     ╰── a whole number
    8 │ [optimiser]
      ╰────

     × `beta` must be a number, not a string
       ╭─[m.toml:10:8]
     9 │ kind = 'adam-w'
    10 │ beta = 'b'
       ·        ─┬─
       ·         ╰── a string
    11 │ betta = 2
       ╰────

     × unknown key `betta`
       ╭─[m.toml:11:1]
    10 │ beta = 'b'
    11 │ betta = 2
       · ─────
       ╰────
     help: did you mean `beta`?
    "#);
    }

    #[test]
    fn a_missing_key_is_reported_once_and_not_where_it_follows() {
        let message = |text| read::<Method>(text).unwrap_err();
        let missing = message("name = 'x'");
        assert!(missing.contains("the key `rank` is missing"), "{missing}");
        let typo = message("name = 'x'\nrnak = 8");
        assert!(typo.contains("did you mean `rank`?") && !typo.contains("missing"), "{typo}");
        let wrong = message("name = 'x'\nrank = 'y'");
        assert!(wrong.contains("must be a whole number") && !wrong.contains("missing"), "{wrong}");
    }

    #[test]
    fn spanned_values_know_their_place_and_are_plain_elsewhere() {
        #[derive(Deserialize)]
        struct Holder {
            source: Spanned<String>,
            n: Option<Spanned<u8>>,
        }
        let text = "source = 'abc'\nn = 3";
        let holder: Holder = read(text).unwrap();
        let span = holder.source.span.unwrap();
        assert_eq!((&text[span.start as usize..span.end as usize], holder.source.as_str()), ("'abc'", "abc"));
        assert_eq!(holder.n.map(|n| n.value), Some(3));
        let problem = read::<Holder>("source = 3").err().unwrap();
        assert!(problem.contains("`source` must be a string, not a whole number"), "{problem}");
        let json: Holder = serde_json::from_str(r#"{"source": "abc", "n": null}"#).unwrap();
        assert_eq!((json.source.value.as_str(), json.source.span), ("abc", None));
        assert_eq!(serde_json::to_string(&json.source).unwrap(), "\"abc\"");
    }

    #[test]
    fn the_root_itself_can_be_wrong() {
        let node = Node::new(Span::default(), Value::Int(3));
        assert_eq!(check::<Method>(&node)[0].message, "this value must be a table, not a whole number");
        assert_eq!(check::<i64>(&node), []);
    }
}
