//! Which layers an adapter changes, as PEFT decides it.

use serde::Deserialize;
use serde_json::{Map, Number};

use super::{keys::Keys, pattern::Pattern, peft_files::CONFIG_FILE};
use crate::{
    base::error::{At, Error, Result},
    models::adapters::layer_names::matches_target,
};

/// The keys of a configuration that choose layers.
pub struct Targets {
    chosen: Names,
    excluded: Option<Names>,
    layers: Option<Layers>,
}

/// `target_modules` or `exclude_modules`.
enum Names {
    /// Whole paths, or their ends.
    List(Vec<String>),
    Pattern(Pattern),
    AllLinear,
}

/// `layers_to_transform` and `layers_pattern`.
struct Layers {
    numbers: Vec<i64>,
    patterns: Vec<Pattern>,
}

/// How PEFT writes a list: a single element may stand for itself.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

/// PEFT's word for every linear layer but the output layer.
const ALL_LINEAR: &str = "all-linear";

impl Targets {
    /// # Errors
    /// If `target_modules` is missing, a key has a value of another kind, a pattern can't be read, or layers are chosen
    /// by number without a list of names.
    pub fn take(keys: &mut Keys) -> Result<Self> {
        let text_or_list = "a regular expression or a list of names";
        let chosen = match keys.take::<OneOrMany<String>>("target_modules", text_or_list)? {
            Some(OneOrMany::One(text)) if text.eq_ignore_ascii_case(ALL_LINEAR) => Names::AllLinear,
            Some(names) => Names::of("target_modules", names)?,
            None => {
                return Err(Error::input("`target_modules` doesn't say which layers the adapter changes")
                    .help("PEFT writes them down when it saves an adapter: fetch the file again"))
                .at(CONFIG_FILE);
            }
        };
        let excluded = match keys.take::<OneOrMany<String>>("exclude_modules", text_or_list)? {
            Some(OneOrMany::One(text)) if text.is_empty() => None,
            Some(names) => Some(Names::of("exclude_modules", names)?),
            None => None,
        };
        let numbers = keys.take("layers_to_transform", "a layer's number or a list of them")?;
        let patterns = keys.take("layers_pattern", "a name or a list of names")?;
        let layers = Layers::of(numbers, patterns)?;
        if layers.is_some() && matches!(chosen, Names::Pattern(_) | Names::AllLinear) {
            return Err(Error::input("`layers_to_transform` goes with a list of `target_modules` alone, as in PEFT")
                .help("choose the layers in the regular expression"))
            .at(CONFIG_FILE);
        }
        Ok(Self { chosen, excluded, layers })
    }

    /// The names, where they alone choose.
    pub fn plain(&self) -> Option<&[String]> {
        match (&self.chosen, &self.excluded, &self.layers) {
            (Names::List(names), None, None) => Some(names),
            _ => None,
        }
    }

    /// # Errors
    /// If a pattern needs more steps than it may have.
    pub fn include(&self, path: &str) -> Result<bool> {
        if let Some(excluded) = &self.excluded
            && excluded.match_path(path)?
        {
            return Ok(false);
        }
        let Some(layers) = &self.layers else { return self.chosen.match_path(path) };
        // A path that is written out needs no number.
        let written_out = matches!(&self.chosen, Names::List(names) if names.iter().any(|n| n == path));
        Ok(written_out || self.chosen.match_path(path)? && layers.include(path)?)
    }
}

impl Names {
    fn of(key: &str, names: OneOrMany<String>) -> Result<Self> {
        match names {
            OneOrMany::Many(names) => Ok(Self::List(names)),
            OneOrMany::One(text) => Pattern::whole(key, &text).map(Self::Pattern).at(CONFIG_FILE),
        }
    }

    fn match_path(&self, path: &str) -> Result<bool> {
        match self {
            Self::List(names) => Ok(names.iter().any(|name| matches_target(path, name))),
            Self::Pattern(pattern) => pattern.matches(path).at(CONFIG_FILE),
            Self::AllLinear => Ok(true),
        }
    }
}

impl Layers {
    fn of(numbers: Option<OneOrMany<i64>>, patterns: Option<OneOrMany<String>>) -> Result<Option<Self>> {
        let numbers = match numbers {
            None => return Ok(None),
            Some(OneOrMany::Many(numbers)) if numbers.is_empty() => return Ok(None),
            Some(OneOrMany::Many(numbers)) => numbers,
            Some(OneOrMany::One(number)) => vec![number],
        };
        let patterns = match patterns {
            Some(OneOrMany::Many(names)) if !names.is_empty() => names,
            Some(OneOrMany::One(name)) if !name.is_empty() => vec![name],
            _ => return Ok(Some(Self { numbers, patterns: vec![Pattern::first_number()?] })),
        };
        let patterns = patterns.iter().map(|name| Pattern::numbered("layers_pattern", name));
        Ok(Some(Self { numbers, patterns: patterns.collect::<Result<_>>().at(CONFIG_FILE)? }))
    }

    /// The first pattern that matches tells the number.
    fn include(&self, path: &str) -> Result<bool> {
        for pattern in &self.patterns {
            if let Some(number) = pattern.layer(path).at(CONFIG_FILE)? {
                return Ok(i64::try_from(number).is_ok_and(|number| self.numbers.contains(&number)));
            }
        }
        Ok(false)
    }
}

/// `rank_pattern` or `alpha_pattern`: numbers for the layers whose path ends as a pattern says.
pub struct PerLayer(Vec<(Pattern, f64)>);

impl PerLayer {
    /// # Errors
    /// If it isn't a table of numbers, or a pattern can't be read.
    pub fn take(keys: &mut Keys, key: &str) -> Result<Self> {
        let table: Map<String, serde_json::Value> = keys.take(key, "a table of numbers")?.unwrap_or_default();
        let entry = |(text, value): (&String, &serde_json::Value)| {
            let number = value.as_number().and_then(Number::as_f64);
            let number =
                number.ok_or_else(|| Error::input(format!("`{key}` says {value} of `{text}`, not a number")))?;
            Ok((Pattern::end(key, text)?, number))
        };
        Ok(Self(table.iter().map(entry).collect::<Result<_>>().at(CONFIG_FILE)?))
    }

    /// The first pattern that matches decides.
    ///
    /// # Errors
    /// If a pattern needs more steps than it may have.
    pub fn find(&self, path: &str) -> Result<Option<f64>> {
        for (pattern, number) in &self.0 {
            if pattern.matches(path).at(CONFIG_FILE)? {
                return Ok(Some(*number));
            }
        }
        Ok(None)
    }
}
