//! Reads the operator's shell programs (`src/drivers/shell/script.rs`).

/// A program as it was sent: variables, positional parameters, and its code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    settings: Vec<(String, String)>,
    /// Positional parameters.
    pub(crate) arguments: Vec<String>,
    /// The code, without comments.
    pub(crate) code: String,
}

impl Program {
    /// Reads the line that `reader.sh` takes. `None`: it is no program of the operator.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let quoted = line.trim_end().strip_prefix("eval \"$(printf %b ")?.strip_suffix(")\"")?;
        let encoded = words(quoted).into_iter().next()?;
        let text = unescaped(&encoded);
        let mut lines = text.lines();
        let mut settings = Vec::new();
        let arguments = loop {
            let line = lines.next()?;
            if let Some(rest) = line.strip_prefix("set --") {
                break words(rest);
            }
            let (name, value) = line.split_once('=')?;
            settings.push((name.to_owned(), words(value).into_iter().next().unwrap_or_default()));
        };
        Some(Self { settings, arguments, code: lines.collect::<Vec<_>>().join("\n") })
    }

    /// Returns a variable; empty if it is not set.
    pub(crate) fn setting(&self, name: &str) -> &str {
        self.settings.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Returns the value of an option among the positional parameters; empty if it is not there.
    pub(crate) fn option(&self, name: &str) -> &str {
        let after = self.arguments.iter().skip_while(|word| *word != name).nth(1);
        after.map_or("", String::as_str)
    }
}

/// Splits a text into shell words. Only quotes and backslashes have a meaning.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => word.get_or_insert_default().extend(letters.by_ref().take_while(|c| *c != '\'')),
            '\\' => word.get_or_insert_default().extend(letters.next()),
            ' ' | '\n' => words.extend(word.take()),
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    words
}

/// Undoes the escapes that `printf %b` undoes.
fn unescaped(text: &str) -> String {
    let mut letters = text.chars();
    let mut plain = String::with_capacity(text.len());
    while let Some(letter) = letters.next() {
        plain.extend(if letter == '\\' {
            letters.next().map(|escaped| if escaped == 'n' { '\n' } else { escaped })
        } else {
            Some(letter)
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_read_as_a_shell_reads_it() {
        let line = r#"eval "$(printf %b 'NAME=farrier-1\nPLACES='\''/run /tmp'\''\nset -- --digest sha256:a '\'''\''\necho "a\\nb" '\''c'\''\necho farrier-end-1')""#;
        let program = Program::read(line).unwrap();
        assert_eq!((program.setting("NAME"), program.setting("PLACES")), ("farrier-1", "/run /tmp"));
        assert_eq!((program.option("--digest"), program.option("--other")), ("sha256:a", ""));
        assert_eq!(program.arguments.len(), 3);
        assert_eq!(program.code, "echo \"a\\nb\" 'c'\necho farrier-end-1");
        assert_eq!(Program::read("uname -a"), None);
    }
}
