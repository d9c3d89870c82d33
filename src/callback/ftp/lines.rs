//! Lines of the control connection.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// No command is longer; a path of the service has some forty characters.
const MAX_LINE: usize = 1024;

/// Telnet's "interpret as command": clients send such a sequence before `ABOR` (RFC 959, section 4.1.3).
const IAC: u8 = 0xff;

/// Reads lines. What was read of a line is kept when the future is dropped.
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new() }
    }

    /// Returns the next line without its end; `None` when the client has closed the connection.
    ///
    /// # Errors
    /// Errors of the connection, and a line that is too long.
    pub(super) async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if self.buffer.last() == Some(&b'\n') {
                return Ok(Some(text(&std::mem::take(&mut self.buffer))));
            }
            if self.buffer.len() >= MAX_LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a command is too long"));
            }
            // One byte at a time: the kernel ends a read before urgent data, and tokio takes a read that did not fill its
            // buffer for the last one until more arrives.
            let mut byte = [0];
            if self.reader.read(&mut byte).await? == 0 {
                return Ok(None);
            }
            self.buffer.extend(byte);
        }
    }
}

/// Returns a line as text, without Telnet's commands and the line's end.
fn text(line: &[u8]) -> String {
    let mut bytes = line.iter().copied();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            IAC => match bytes.next() {
                // An escaped 255.
                Some(IAC) => plain.push(IAC),
                // An offer or a demand, with its option.
                Some(0xfb..=0xfe) => drop(bytes.next()),
                // Any other command is one byte.
                Some(_) | None => {}
            },
            b'\r' | b'\n' => {}
            // Commands begin with a letter: this is the rest of a sequence whose first byte was lost as urgent data.
            0x80.. if plain.is_empty() => {}
            other => plain.push(other),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_lose_their_ends_and_commands_of_telnet() {
        let mut lines =
            Lines::new(&b"NOOP\r\nQUIT\n\xff\xf4\xff\xf2ABOR\r\n\xff\xfd\x06\xf2ABOR\r\nhalf"[..]);
        for expected in ["NOOP", "QUIT", "ABOR", "ABOR"] {
            assert_eq!(lines.next().await.unwrap().as_deref(), Some(expected));
        }
        assert_eq!(lines.next().await.unwrap(), None);
    }

    /// Otherwise one client could fill the memory.
    #[tokio::test]
    async fn a_line_has_a_limit() {
        assert!(Lines::new(&[b'x'; 5000][..]).next().await.is_err());
    }
}
