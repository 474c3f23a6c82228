//! The TOML file: flat `key = value` lines.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{ConfigError, Settings, Source, keys};

impl Settings {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// If it cannot be read, is not TOML, or has a key that does not exist.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            place: path.display().to_string(),
            cause: format!("cannot read the configuration file: {error}"),
            hint: String::new(),
        })?;
        Self::from_text(path, &text)
    }

    /// Reads the text of a configuration file; `path` only names it.
    ///
    /// # Errors
    /// If it is not TOML or has a key that does not exist.
    pub fn from_text(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let refuse = |span: &Range<usize>, cause: String, hint: String| ConfigError {
            place: format!("{}:{}", path.display(), line_of(text, span)),
            cause,
            hint,
        };
        let table = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            refuse(&span, error.message().to_owned(), String::new())
        })?;
        let mut values = BTreeMap::new();
        for (name, value) in table.get_ref() {
            let span = name.span();
            let Some(key) = keys::find(name.get_ref()) else {
                let cause = format!("unknown key {:?}", name.get_ref());
                return Err(refuse(&span, cause, hint(name.get_ref())));
            };
            let Some(plain) = plain(value.get_ref()) else {
                let kind = value.get_ref().type_str();
                let cause = format!("{}: expected a plain value, found {kind}", key.name);
                return Err(refuse(&span, cause, String::new()));
            };
            let source = Source::File {
                path: path.to_owned(),
                line: line_of(text, &span),
            };
            values.insert(key.name, (plain, source));
        }
        Ok(Self { values })
    }
}

fn hint(name: &str) -> String {
    if let Some(key) = keys::nearest(name) {
        return format!("did you mean {:?}?", key.name);
    }
    let names: Vec<_> = keys::KEYS.iter().map(|key| key.name).collect();
    format!("known keys: {}", names.join(", "))
}

/// A scalar as the text that a flag would have.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.get(..span.start).unwrap_or(text);
    before.matches('\n').count() + 1
}
