//! The device's end of a terminal: echo, line editing, pager, questions, progress.
//!
//! It knows nothing of SSH and nothing of products.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What carries the characters.
pub(crate) trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// Why nothing more is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The other side is gone, or said so.
    Closed,
    /// Nothing came for too long.
    Idle,
    /// Control-C.
    Interrupted,
    /// Control-underscore, which leaves the line to a module.
    Escaped,
}

/// How a product's pager looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pager {
    /// What it shows while it waits.
    pub(crate) prompt: &'static str,
    /// A whole line with a line end is the answer, not a single key.
    pub(crate) by_line: bool,
}

/// Whether typed characters are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typed {
    Shown,
    Hidden,
}

pub(crate) struct Terminal {
    line: Box<dyn Line>,
    /// Columns and rows; `None` without a terminal: no echo, no pager.
    size: Option<(u32, u32)>,
    echo: bool,
    /// Line ends are those of terminals, although there may be none.
    pub(crate) returns: bool,
    idle: Duration,
    read: VecDeque<u8>,
    after_return: bool,
}

impl Terminal {
    pub(crate) fn new(line: Box<dyn Line>, size: Option<(u32, u32)>, echo: bool, idle: Duration) -> Self {
        let returns = size.is_some();
        Self { line, size, echo: echo && returns, returns, idle, read: VecDeque::new(), after_return: false }
    }

    /// Whether there is a terminal on the other side.
    pub(crate) const fn is_interactive(&self) -> bool {
        self.size.is_some()
    }

    /// Writes text; line ends become those of terminals.
    pub(crate) async fn write(&mut self, text: &str) -> Result<(), Stop> {
        let text = if self.returns { text.replace('\n', "\r\n") } else { text.to_owned() };
        let wrote = self.line.write_all(text.as_bytes()).await;
        let flushed = self.line.flush().await;
        wrote.and(flushed).map_err(|_| Stop::Closed)
    }

    async fn byte(&mut self) -> Result<u8, Stop> {
        loop {
            if let Some(byte) = self.read.pop_front() {
                return Ok(byte);
            }
            let mut buffer = [0; 1024];
            let read = tokio::time::timeout(self.idle, self.line.read(&mut buffer)).await;
            match read.map_err(|_| Stop::Idle)? {
                Ok(0) | Err(_) => return Err(Stop::Closed),
                Ok(length) => self.read.extend(buffer.get(..length).unwrap_or_default()),
            }
        }
    }

    /// One line without its end, as a device's line editor takes it.
    pub(crate) async fn read_line(&mut self, typed: Typed) -> Result<String, Stop> {
        let shown = self.echo && typed == Typed::Shown;
        let mut text = Vec::new();
        let mut column = 0;
        loop {
            let byte = self.byte().await?;
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\r' | b'\n' => {
                    if self.echo {
                        self.write("\n").await?;
                    }
                    return Ok(String::from_utf8_lossy(&text).into_owned());
                }
                3 => {
                    self.write("^C\n").await?;
                    return Err(Stop::Interrupted);
                }
                0x1f => return Err(Stop::Escaped),
                4 if text.is_empty() => return Err(Stop::Closed),
                8 | 0x7f => {
                    if text.pop().is_some() && shown {
                        self.write("\u{8} \u{8}").await?;
                    }
                }
                0x1b => self.skip_sequence().await?,
                byte if byte < b' ' => {}
                byte => {
                    text.push(byte);
                    column += 1;
                    if shown {
                        self.echo_byte(byte, column).await?;
                    }
                }
            }
        }
    }

    /// Line editors go on in the next line with a blank and a return, when the end of a line is reached.
    async fn echo_byte(&mut self, byte: u8, column: u32) -> Result<(), Stop> {
        let width = self.size.map_or(80, |(columns, _)| columns.max(20));
        let mut shown = vec![byte];
        if column.is_multiple_of(width) {
            shown.extend(b" \r");
        }
        self.line.write_all(&shown).await.map_err(|_| Stop::Closed)
    }

    /// Keys like arrows are ignored.
    async fn skip_sequence(&mut self) -> Result<(), Stop> {
        if self.byte().await? == b'[' {
            while !(b'@'..=b'~').contains(&self.byte().await?) {}
        }
        Ok(())
    }

    /// A question, and the answer without blanks around it.
    pub(crate) async fn ask(&mut self, question: &str) -> Result<String, Stop> {
        self.write(question).await?;
        Ok(self.read_line(Typed::Shown).await?.trim().to_owned())
    }

    /// A question for a secret.
    pub(crate) async fn ask_secret(&mut self, question: &str) -> Result<String, Stop> {
        self.write(question).await?;
        self.read_line(Typed::Hidden).await
    }

    /// Writes text page by page.
    pub(crate) async fn page(&mut self, text: &str, pager: Option<Pager>) -> Result<(), Stop> {
        let (Some(pager), Some((_, rows))) = (pager, self.size) else { return self.write(text).await };
        // One row is the pager's own; a terminal of unknown height has 24.
        let page = if rows == 0 { 23 } else { rows.max(2) - 1 } as usize;
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        for (number, part) in lines.chunks(page).enumerate() {
            if number > 0 && !self.wait_at_pager(pager).await? {
                return Ok(());
            }
            self.write(&part.concat()).await?;
        }
        Ok(())
    }

    /// Whether the reader wants more.
    pub(crate) async fn wait_at_pager(&mut self, pager: Pager) -> Result<bool, Stop> {
        self.write(pager.prompt).await?;
        if pager.by_line {
            let answer = self.read_line(Typed::Shown).await?;
            return Ok(!answer.trim().eq_ignore_ascii_case("q"));
        }
        loop {
            let key = self.byte().await?;
            // The return of the command before may have two characters.
            if key == b'\n' && std::mem::take(&mut self.after_return) {
                continue;
            }
            self.write("\r\u{1b}[K").await?;
            return Ok(!matches!(key, b'q' | b'Q' | 3));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(size: Option<(u32, u32)>) -> (Terminal, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(4096);
        (Terminal::new(Box::new(ours), size, true, Duration::from_secs(5)), theirs)
    }

    async fn all(mut end: tokio::io::DuplexStream) -> String {
        let mut text = String::new();
        end.read_to_string(&mut text).await.unwrap();
        text
    }

    /// A driver that takes the echo of its command for the answer finds versions that are not there.
    #[tokio::test]
    async fn what_is_typed_is_shown_and_wrapped_but_secrets_are_not() {
        let (mut terminal, mut end) = terminal(Some((20, 24)));
        end.write_all(b"0123456789012345678\x7f89ab\r\nsecret\r").await.unwrap();
        assert_eq!(terminal.read_line(Typed::Shown).await, Ok("01234567890123456789ab".to_owned()));
        assert_eq!(terminal.read_line(Typed::Hidden).await, Ok("secret".to_owned()));
        drop(terminal);
        assert_eq!(all(end).await, "0123456789012345678\u{8} \u{8}8 \r9ab\r\n\r\n");
    }

    /// Without a terminal (`ssh host command`) there is neither echo nor pager.
    #[tokio::test]
    async fn without_a_terminal_there_is_no_pager() {
        let (mut terminal, end) = terminal(None);
        let pager = Pager { prompt: "--More--", by_line: false };
        terminal.page(&"line\n".repeat(40), Some(pager)).await.unwrap();
        drop(terminal);
        assert_eq!(all(end).await, "line\n".repeat(40));
    }

    /// A driver that does not answer the pager waits for its prompt for ever.
    #[tokio::test]
    async fn a_pager_waits_for_a_key() {
        let (mut terminal, mut end) = terminal(Some((80, 3)));
        end.write_all(b" q").await.unwrap();
        let pager = Pager { prompt: "--More--", by_line: false };
        terminal.page("1\n2\n3\n4\n5\n", Some(pager)).await.unwrap();
        drop(terminal);
        assert_eq!(all(end).await, "1\r\n2\r\n--More--\r\u{1b}[K3\r\n4\r\n--More--\r\u{1b}[K");
    }

    /// Sessions that nobody uses end, whatever the client believes.
    #[tokio::test(start_paused = true)]
    async fn a_session_without_input_ends() {
        let (mut terminal, _end) = terminal(Some((80, 24)));
        assert_eq!(terminal.read_line(Typed::Shown).await, Err(Stop::Idle));
    }
}
