//! What a template writes where the reference's engine, which is Python, has another way than ours.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Rest, ValueKind},
};

/// Values in values; a template needs a few.
const DEPTH: usize = 64;

fn too_deep() -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("values lie in each other more than {DEPTH} deep"))
}

/// `json.dumps` with the defaults of the reference: no escapes for HTML, no escapes beyond ASCII. The arguments are
/// `ensure_ascii`, `indent`, `separators` and `sort_keys`.
///
/// # Errors
/// Arguments that the reference doesn't have; values that aren't JSON, or lie too deep in each other.
pub fn tojson(value: &Value, positions: &Rest<Value>, kwargs: &Kwargs) -> Result<Value, Error> {
    if positions.len() > 4 {
        return Err(ErrorKind::TooManyArguments.into());
    }
    let argument = |at: usize, name: &str| -> Result<Option<Value>, Error> {
        let named = kwargs.get::<Option<Value>>(name)?;
        Ok(positions.get(at).cloned().or(named).filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let ascii = argument(0, "ensure_ascii")?.is_some_and(|v| v.is_true());
    let indent = argument(1, "indent")?.map(|v| indentation(&v)).transpose()?;
    let separators = argument(2, "separators")?;
    let sorted = argument(3, "sort_keys")?.is_some_and(|v| v.is_true());
    kwargs.assert_all_used()?;
    let (between, colon) = match separators {
        Some(pair) => (text(&pair.get_item_by_index(0)?)?, text(&pair.get_item_by_index(1)?)?),
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let mut json = Json { out: String::new(), ascii, indent, between, colon, sorted };
    json.write(value, 0)?;
    Ok(Value::from(json.out))
}

fn text(value: &Value) -> Result<String, Error> {
    let text = value.as_str().ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "a separator isn't text"))?;
    Ok(text.to_owned())
}

fn indentation(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => {
            let width = usize::try_from(value.clone()).unwrap_or_default();
            (width <= DEPTH).then(|| " ".repeat(width)).ok_or_else(too_deep)
        }
    }
}

struct Json {
    out: String,
    ascii: bool,
    indent: Option<String>,
    between: String,
    colon: String,
    sorted: bool,
}

impl Json {
    fn write(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth >= DEPTH {
            return Err(too_deep());
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&value.to_string()),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items('[', ']', items.len(), depth, |json, at| json.write(&items[at], depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.items('{', '}', keys.len(), depth, |json, at| {
                    json.key(&keys[at])?;
                    json.out.push_str(&json.colon.clone());
                    json.write(&value.get_item(&keys[at])?, depth + 1)
                })?;
            }
            other => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("tojson: a value of type {other} isn't JSON"),
                ));
            }
        }
        Ok(())
    }

    fn items(
        &mut self,
        open: char,
        close: char,
        count: usize,
        depth: usize,
        one: impl Fn(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for at in 0..count {
            if at > 0 {
                self.out.push_str(&self.between.clone());
            }
            self.line(depth + 1);
            one(self, at)?;
        }
        if count > 0 {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    /// Keys are strings; other plain values are written as one.
    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            ValueKind::None => self.string("null"),
            ValueKind::Bool => self.string(if key.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.string(&key.to_string()),
            other => return Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: a key of type {other}"))),
        }
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if u32::from(c) < 0x20 || (self.ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// Python's white space: Unicode's, and four separators.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The text without white space at its ends.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Methods of strings that take other white space away than ours would.
///
/// # Errors
/// A method that Python's strings don't have.
pub fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let stripped = value.as_str().filter(|_| args.is_empty()).and_then(|text| match name {
        "strip" => Some(strip(text)),
        "lstrip" => Some(text.trim_start_matches(is_space)),
        "rstrip" => Some(text.trim_end_matches(is_space)),
        _ => None,
    });
    match stripped {
        Some(text) => Ok(Value::from(text)),
        None => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// The filter `trim`.
pub fn trim(text: &str, chars: Option<&str>) -> String {
    match chars {
        Some(chars) => text.trim_matches(|c| chars.contains(c)).to_owned(),
        None => strip(text).to_owned(),
    }
}
