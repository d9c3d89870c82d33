//! What a terminal would show of the bytes of a device, as far as lines are concerned.
//!
//! Carriage returns, backspaces and the codes that erase or move within a line are carried out, so that a line
//! that was redrawn is kept as it was drawn last. Colours, titles and the like are dropped. There are no pages:
//! codes that move to another line only move within the present one. What is kept is independent of how the
//! bytes are divided.

/// One row.
#[derive(Debug, Clone, Default)]
struct Row {
    cells: Vec<char>,
    /// The text goes on in the next row, because it did not fit.
    goes_on: bool,
    /// A pager's words were removed from it.
    had_pager: bool,
}

/// How far an escape sequence is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Escape {
    None,
    /// After ESC.
    Begun,
    /// After ESC and a character that takes one more, such as `(`.
    OneMore,
    /// A control sequence; its parameters so far.
    Control(String),
    /// A title or the like, until BEL or ESC.
    Title,
}

/// The longest parameters of a control sequence that are kept. Real ones have a few digits.
const PARAMETERS: usize = 32;

/// Rows of text, and where the next character goes.
#[derive(Debug, Clone)]
pub struct Screen {
    columns: usize,
    rows: Vec<Row>,
    row: usize,
    column: usize,
    /// How many characters and rows are kept.
    kept: usize,
    escape: Escape,
    /// The bytes of a character that is not complete.
    partial: Vec<u8>,
    /// Where text goes on after a pager's words, if the device does not erase them itself.
    resume: Option<usize>,
}

/// A line of text, which may be several rows of the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalLine {
    /// The number of its first row.
    pub first_row: usize,
    /// The text without blanks at its end.
    pub text: String,
    /// Whether it filled its last row to the end.
    pub is_full: bool,
    /// Whether nothing is left of it but the place of a pager.
    pub is_pager: bool,
}

impl Screen {
    /// Creates an empty terminal that is so wide.
    pub fn new(columns: usize) -> Self {
        let rows = vec![Row::default()];
        let (columns, partial) = (columns.max(1), Vec::new());
        Self { columns, rows, row: 0, column: 0, kept: 0, escape: Escape::None, partial, resume: None }
    }

    /// Takes bytes of the device.
    pub fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.byte(*byte);
        }
    }

    /// Takes bytes of the device until more than `limit` characters are kept, of which a new row counts as one. Returns
    /// false if the rest was not taken.
    pub fn put_within(&mut self, bytes: &[u8], limit: usize) -> bool {
        bytes.iter().all(|byte| {
            self.byte(*byte);
            self.kept <= limit
        })
    }

    /// Returns the number of the first row of the line that the cursor is in.
    pub fn current(&self) -> usize {
        let before = self.rows.iter().take(self.row).rev();
        self.row - before.take_while(|row| row.goes_on).count()
    }

    /// Returns the lines that begin at this row or after it. The last one is that of the cursor.
    pub fn lines_from(&self, first: usize) -> Vec<LogicalLine> {
        let mut lines: Vec<LogicalLine> = Vec::new();
        let mut goes_on = false;
        for (number, row) in self.rows.iter().enumerate().skip(first) {
            let text: String = row.cells.iter().collect();
            match lines.last_mut() {
                Some(line) if goes_on => line.text.push_str(&text),
                Some(_) | None => {
                    lines.push(LogicalLine { first_row: number, text, is_full: false, is_pager: false });
                }
            }
            if let Some(line) = lines.last_mut() {
                line.is_full = row.cells.len() >= self.columns;
                line.is_pager |= row.had_pager;
            }
            goes_on = row.goes_on;
        }
        for line in &mut lines {
            line.text.truncate(line.text.trim_end().len());
            line.is_pager &= line.text.is_empty();
        }
        lines
    }

    /// Returns the line that the cursor is in, without blanks at its end.
    pub fn last_line(&self) -> String {
        self.lines_from(self.current()).into_iter().next().map(|line| line.text).unwrap_or_default()
    }

    /// Forgets all lines before the one that the cursor is in, which is then the first.
    pub fn forget(&mut self) {
        let first = self.current();
        self.rows.drain(..first);
        self.row -= first;
        self.kept = self.rows.len() + self.rows.iter().map(|row| row.cells.len()).sum::<usize>();
    }

    /// Removes the words of a pager, which are the last of the present row. Text goes on in their place, whether
    /// the device erases them or not.
    pub fn remove_last(&mut self, words: &str) {
        let length = words.trim_end().chars().count();
        let Some(row) = self.rows.get_mut(self.row) else { return };
        let end = row.cells.iter().rposition(|c| !c.is_whitespace()).map_or(0, |last| last + 1);
        let begin = end.saturating_sub(length);
        for cell in row.cells.iter_mut().skip(begin) {
            *cell = ' ';
        }
        row.had_pager = true;
        self.resume = Some(begin);
    }

    fn byte(&mut self, byte: u8) {
        match std::mem::replace(&mut self.escape, Escape::None) {
            Escape::None => self.plain(byte),
            Escape::Begun => self.escape = Self::after_escape(byte),
            Escape::OneMore => {}
            Escape::Control(parameters) => self.control(parameters, byte),
            Escape::Title => {
                self.escape = match byte {
                    0x07 => Escape::None,
                    0x1b => Escape::Begun,
                    _ => Escape::Title,
                }
            }
        }
    }

    fn after_escape(byte: u8) -> Escape {
        match byte {
            b'[' => Escape::Control(String::new()),
            b']' | b'P' | b'X' | b'^' | b'_' => Escape::Title,
            b'(' | b')' | b'*' | b'+' | b'#' | b'%' | b' ' => Escape::OneMore,
            0x1b => Escape::Begun,
            _ => Escape::None,
        }
    }

    fn plain(&mut self, byte: u8) {
        if byte >= 0x20 && byte != 0x7f {
            if let Some(resume) = self.resume.take() {
                self.column = resume;
            }
            self.text(byte);
            return;
        }
        if !self.partial.is_empty() {
            self.partial.clear();
            self.cell(char::REPLACEMENT_CHARACTER);
        }
        match byte {
            b'\n' => self.line_feed(),
            b'\r' => self.column = 0,
            0x08 => self.back(),
            b'\t' => self.tab(),
            0x1b => self.escape = Escape::Begun,
            // Bells, padding and flow control show nothing, and do not end a pager's place either.
            _ => return,
        }
        self.resume = None;
    }

    /// Takes a byte of a character.
    fn text(&mut self, byte: u8) {
        self.partial.push(byte);
        match std::str::from_utf8(&self.partial) {
            Ok(text) => {
                let found = text.chars().next();
                self.partial.clear();
                if let Some(c) = found {
                    self.cell(c);
                }
            }
            Err(error) if error.error_len().is_none() => {}
            Err(_) => {
                self.partial.clear();
                self.cell(char::REPLACEMENT_CHARACTER);
                if byte.is_ascii() {
                    self.cell(char::from(byte));
                }
            }
        }
    }

    fn cell(&mut self, c: char) {
        if self.column >= self.columns {
            if let Some(row) = self.rows.get_mut(self.row) {
                row.goes_on = true;
            }
            self.next_row();
        }
        let column = self.column;
        if let Some(row) = self.rows.get_mut(self.row) {
            while row.cells.len() <= column {
                row.cells.push(' ');
                self.kept += 1;
            }
            if let Some(cell) = row.cells.get_mut(column) {
                *cell = c;
            }
        }
        self.column += 1;
    }

    fn line_feed(&mut self) {
        // A line feed in the middle of a line that was wrapped leaves the whole line.
        while self.rows.get(self.row).is_some_and(|row| row.goes_on) && self.row + 1 < self.rows.len() {
            self.row += 1;
        }
        self.next_row();
    }

    fn next_row(&mut self) {
        self.row += 1;
        self.column = 0;
        if self.row >= self.rows.len() {
            self.rows.push(Row::default());
            self.kept += 1;
        }
    }

    fn back(&mut self) {
        let wrapped =
            self.row.checked_sub(1).and_then(|row| self.rows.get(row)).is_some_and(|row| row.goes_on);
        if self.column > 0 {
            self.column = self.column.min(self.columns) - 1;
        } else if wrapped {
            self.row -= 1;
            self.column = self.columns - 1;
        }
    }

    fn tab(&mut self) {
        let next = (self.column / 8 + 1) * 8;
        self.column = next.min(self.columns - 1);
    }

    fn control(&mut self, mut parameters: String, byte: u8) {
        if (0x20..0x40).contains(&byte) {
            if parameters.len() < PARAMETERS {
                parameters.push(char::from(byte));
            }
            self.escape = Escape::Control(parameters);
            return;
        }
        let number = |n: usize| parameters.split(';').nth(n).and_then(|text| text.parse::<usize>().ok());
        let count = number(0).unwrap_or(1).max(1);
        match byte {
            b'C' => self.column = self.column.saturating_add(count).min(self.columns - 1),
            b'D' => self.column = self.column.saturating_sub(count),
            b'G' => self.column = (count - 1).min(self.columns - 1),
            b'H' | b'f' => self.column = (number(1).unwrap_or(1).max(1) - 1).min(self.columns - 1),
            b'J' if number(0).unwrap_or(0) >= 2 => self.line_feed(),
            b'J' | b'K' => self.erase(number(0).unwrap_or(0)),
            b'P' => self.delete(count),
            _ => {}
        }
    }

    fn erase(&mut self, what: usize) {
        let (begin, end) = match what {
            0 => (self.column, usize::MAX),
            1 => (0, self.column.saturating_add(1)),
            _ => (0, usize::MAX),
        };
        let Some(row) = self.rows.get_mut(self.row) else { return };
        for (_, cell) in row.cells.iter_mut().enumerate().filter(|(n, _)| (begin..end).contains(n)) {
            *cell = ' ';
        }
    }

    fn delete(&mut self, count: usize) {
        let column = self.column;
        if let Some(row) = self.rows.get_mut(self.row) {
            let end = column.saturating_add(count).min(row.cells.len());
            self.kept -= row.cells.drain(column.min(end)..end).count();
        }
    }
}

#[cfg(test)]
mod tests;
