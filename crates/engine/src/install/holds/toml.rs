//! Reads TOML as far as configuration files of package managers use it.
//!
//! Values become those of JSON; dates and numbers stay text. Strings of several lines are not read: they are an
//! error, as everything else that is not understood.

use serde_json::{Map, Value};

/// A document that is read.
struct Reader<'a> {
    rest: &'a str,
}

/// Parses a document. The error says what was not understood.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { rest: text };
    let (mut root, mut path) = (Value::Object(Map::new()), Vec::new());
    loop {
        reader.skip(true);
        if reader.rest.is_empty() {
            return Ok(root);
        }
        if reader.takes("[[") {
            path = reader.key()?;
            reader.expect("]]")?;
            append(&mut root, &path)?;
        } else if reader.takes("[") {
            path = reader.key()?;
            reader.expect("]")?;
            table(&mut root, &path)?;
        } else {
            let key = reader.key()?;
            reader.expect("=")?;
            let value = reader.value()?;
            insert(table(&mut root, &path)?, &key, value)?;
        }
        reader.skip(false);
        if !reader.rest.is_empty() && !reader.takes("\n") {
            return Err(reader.wrong());
        }
    }
}

impl Reader<'_> {
    /// Skips spaces and comments, and with `lines` the ends of lines as well.
    fn skip(&mut self, lines: bool) {
        loop {
            let is_space = |c: char| c == ' ' || c == '\t' || c == '\r' || (lines && c == '\n');
            self.rest = self.rest.trim_start_matches(is_space);
            if !self.rest.starts_with('#') {
                return;
            }
            self.rest = self.rest.find('\n').and_then(|at| self.rest.get(at..)).unwrap_or_default();
        }
    }

    fn takes(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        self.skip(false);
        if self.takes(word) { Ok(()) } else { Err(self.wrong()) }
    }

    fn wrong(&self) -> String {
        let line = self.rest.lines().next().unwrap_or_default();
        format!("{:?} is not understood", line.chars().take(40).collect::<String>())
    }

    /// Takes the longest beginning of these characters.
    fn bare(&mut self, is: impl Fn(char) -> bool) -> Result<String, String> {
        let end = self.rest.find(|c: char| !is(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if word.is_empty() {
            return Err(self.wrong());
        }
        self.rest = rest;
        Ok(word.to_owned())
    }

    /// Takes a key: names with dots between them.
    fn key(&mut self) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        loop {
            self.skip(false);
            names.push(match self.string()? {
                Some(name) => name,
                None => self.bare(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')?,
            });
            self.skip(false);
            if !self.takes(".") {
                return Ok(names);
            }
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        self.skip(false);
        if let Some(text) = self.string()? {
            return Ok(Value::String(text));
        }
        if self.takes("[") {
            let mut items = Vec::new();
            self.list("]", |reader| {
                items.push(reader.value()?);
                Ok(())
            })?;
            return Ok(Value::Array(items));
        }
        if self.takes("{") {
            let mut fields = Value::Object(Map::new());
            self.list("}", |reader| {
                let key = reader.key()?;
                reader.expect("=")?;
                let value = reader.value()?;
                insert(&mut fields, &key, value)
            })?;
            return Ok(fields);
        }
        self.bare(|c| c.is_ascii_alphanumeric() || "+-._:".contains(c)).map(Value::String)
    }

    /// Takes items with commas between them, up to `end`.
    fn list(
        &mut self,
        end: &str,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            self.skip(true);
            if self.takes(end) {
                return Ok(());
            }
            item(self)?;
            self.skip(true);
            if !self.takes(",") {
                return if self.takes(end) { Ok(()) } else { Err(self.wrong()) };
            }
        }
    }

    /// Takes a string in quotes; `None` if there is none.
    fn string(&mut self) -> Result<Option<String>, String> {
        let Some(quote) = self.rest.chars().next().filter(|c| *c == '"' || *c == '\'') else {
            return Ok(None);
        };
        let mut text = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, letter)) = letters.next() {
            match letter {
                _ if letter == quote => {
                    let rest = self.rest.get(at.saturating_add(1)..).unwrap_or_default();
                    if text.is_empty() && rest.starts_with(quote) {
                        break;
                    }
                    self.rest = rest;
                    return Ok(Some(text));
                }
                '\n' => break,
                '\\' if quote == '"' => match letters.next() {
                    Some((_, c @ ('"' | '\\'))) => text.push(c),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'n')) => text.push('\n'),
                    Some(_) | None => break,
                },
                _ => text.push(letter),
            }
        }
        Err(self.wrong())
    }
}

/// Returns the table at a path, which is created if it is not there. In a list it is the last one.
fn table<'a>(root: &'a mut Value, path: &[String]) -> Result<&'a mut Value, String> {
    path.iter().try_fold(root, |at, name| {
        let fields = at.as_object_mut().ok_or_else(|| format!("{name} is not in a table"))?;
        let found = fields.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
        if found.is_array() {
            let last = found.as_array_mut().and_then(|tables| tables.last_mut());
            return last.ok_or_else(|| format!("{name} is empty"));
        }
        Ok(found)
    })
}

/// Appends a table to the list at a path.
fn append(root: &mut Value, path: &[String]) -> Result<(), String> {
    let (name, parents) = path.split_last().ok_or("a table has no name")?;
    let fields = table(root, parents)?.as_object_mut().ok_or_else(|| format!("{name} is not in a table"))?;
    let list = fields.entry(name.clone()).or_insert_with(|| Value::Array(Vec::new()));
    let list = list.as_array_mut().ok_or_else(|| format!("{name} is not a list"))?;
    list.push(Value::Object(Map::new()));
    Ok(())
}

fn insert(at: &mut Value, key: &[String], value: Value) -> Result<(), String> {
    let (name, parents) = key.split_last().ok_or("a value has no name")?;
    let fields = table(at, parents)?.as_object_mut().ok_or_else(|| format!("{name} is not in a table"))?;
    match fields.insert(name.clone(), value) {
        None => Ok(()),
        Some(_) => Err(format!("{name} is there twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_and_lists_are_read_in_both_forms() {
        let both = json!({"version": "1.0", "packages": [
            {"name": "fx", "conditions": [{"key": "evr", "value": "1"}, {"key": "arch", "value": "x"}]},
            {"name": "it's \"q\""},
        ]});
        let long = "version = \"1.0\" # format\r\n\n[[packages]]\nname=\"fx\"\n[[packages.conditions]]\nkey = 'evr'\nvalue = \"1\"\n  [[ packages . conditions ]]\n  \"key\" = \"arch\"\nvalue = \"x\"\n[[packages]]\nname = \"it's \\\"q\\\"\"";
        assert_eq!(parse(long), Ok(both.clone()));
        let short = "version = \"1.0\"\npackages = [\n  {name = \"fx\", conditions = [{key = \"evr\", value = \"1\"}, {key = \"arch\", value = \"x\"},]}, # first\n  {name = \"it's \\\"q\\\"\"}\n]\n";
        assert_eq!(parse(short), Ok(both));
        assert_eq!(
            parse("[a.b]\nc = 1\nd.e = true\n"),
            Ok(json!({"a": {"b": {"c": "1", "d": {"e": "true"}}}}))
        );
        assert_eq!(parse(" # nothing\n"), Ok(json!({})));
    }

    /// Half a file that is taken for a whole one would lose the decisions in the other half.
    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "[unterminated\n",
            "a\n",
            "a = \n",
            "a = \"b\n",
            "a = \"\"\"\nb\n\"\"\"\n",
            "a = 1\na = 2\n",
            "a = 1 2\n",
            "a = [1\n",
            "a = 1\n[[a]]\n",
            "a = 1\n[a.b]\nc = 1\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
