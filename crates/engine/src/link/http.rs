//! A small HTTP/1.1 client on one connection: one request after another, no pipelining.

use crate::callback::Stream;
use crate::contact::Contact;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;

/// Maximum length of a response head.
const HEAD_BYTES: usize = 16 * 1024;

/// Maximum length of a JSON response. A task with hundreds of steps is far shorter.
const JSON_BYTES: u64 = 4 * 1024 * 1024;

/// An HTTP connection to the runner.
pub(crate) struct Http {
    reader: BufReader<ContactReader>,
    closing: bool,
}

/// The head of a response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Status code.
    pub(crate) status: u16,
    /// `Content-Length`, if given.
    pub(crate) length: Option<u64>,
    /// First byte of `Content-Range`, if given.
    pub(crate) range_start: Option<u64>,
    chunked: bool,
    close: bool,
}

/// A reader that records every received byte as a contact with the runner.
struct ContactReader {
    stream: Stream,
    contact: Arc<Contact>,
}

impl Read for ContactReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        if count > 0 {
            self.contact.touch();
        }
        Ok(count)
    }
}

impl Http {
    /// Creates a client on a fresh connection.
    pub(crate) fn new(stream: Stream, contact: Arc<Contact>) -> Self {
        Self { reader: BufReader::new(ContactReader { stream, contact }), closing: false }
    }

    /// Closes the connection gracefully.
    pub(crate) fn end(mut self) {
        self.writer().end();
    }

    /// Returns the stream for writing; the read buffer is kept.
    fn writer(&mut self) -> &mut Stream {
        &mut self.reader.get_mut().stream
    }

    /// Reports whether the runner closes the connection after the last response.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Marks the connection as closing, because the body of a response is not read to its end.
    pub(crate) fn abandon(&mut self) {
        self.closing = true;
    }

    /// Posts JSON and reads the JSON response. A response without a body is an error.
    pub(crate) fn post<T: DeserializeOwned>(&mut self, path: &str, json: &[u8]) -> io::Result<T> {
        let answer = self.post_for_bytes(path, json)?;
        let answer = answer.ok_or_else(|| io::Error::other(format!("the response to {path} has no body")))?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Posts JSON and reads the response; `None` for status 204.
    pub(crate) fn post_for_bytes(&mut self, path: &str, json: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let length = json.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: farrier\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(json);
        self.writer().write_all(&request)?;
        let head = self.head()?;
        let mut answer = Vec::new();
        self.body(&head).take(JSON_BYTES).read_to_end(&mut answer)?;
        match head.status {
            200 => Ok(Some(answer)),
            204 => Ok(None),
            status => Err(io::Error::other(format!("the response to {path} has status {status}"))),
        }
    }

    /// Requests the bytes of `path` from `offset` on and reads the head of the response.
    pub(crate) fn get(&mut self, path: &str, offset: u64) -> io::Result<Head> {
        let range = if offset > 0 { format!("Range: bytes={offset}-\r\n") } else { String::new() };
        let request = format!("GET {path} HTTP/1.1\r\nHost: farrier\r\n{range}\r\n");
        self.writer().write_all(request.as_bytes())?;
        self.head()
    }

    /// Returns the body of the response with this head. The caller must read it to its end.
    pub(crate) fn body(&mut self, head: &Head) -> Body<'_> {
        let left = match head {
            Head { status: 204 | 304, .. } => Remaining::Bytes(0),
            Head { chunked: true, .. } => Remaining::Chunk(0),
            Head { length: Some(length), .. } => Remaining::Bytes(*length),
            Head { length: None, .. } => Remaining::UntilClose,
        };
        self.closing |= head.close || matches!(left, Remaining::UntilClose);
        Body { reader: &mut self.reader, left }
    }

    fn head(&mut self) -> io::Result<Head> {
        loop {
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"\r\n\r\n") {
                let limit = (HEAD_BYTES - bytes.len()) as u64;
                if self.reader.by_ref().take(limit).read_until(b'\n', &mut bytes)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            let head = parse(&bytes)?;
            if head.status >= 200 {
                return Ok(head);
            }
        }
    }
}

fn parse(bytes: &[u8]) -> io::Result<Head> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(bytes).map_err(io::Error::other)?;
    let mut head = Head { status: response.code.unwrap_or_default(), ..Head::default() };
    for header in response.headers.iter() {
        let value = str::from_utf8(header.value).unwrap_or_default().trim();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => head.length = Some(value.parse().map_err(io::Error::other)?),
            "transfer-encoding" => head.chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => head.close = value.eq_ignore_ascii_case("close"),
            "content-range" => {
                let start = value.strip_prefix("bytes ").and_then(|range| range.split('-').next());
                head.range_start = start.and_then(|start| start.parse().ok());
            }
            _ => {}
        }
    }
    Ok(head)
}

/// The body of a response. A connection that ends before the body is an error.
pub(crate) struct Body<'a> {
    reader: &'a mut BufReader<ContactReader>,
    left: Remaining,
}

enum Remaining {
    Bytes(u64),
    /// Bytes left of the current chunk; the size of the next chunk follows.
    Chunk(u64),
    UntilClose,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Remaining::Chunk(0) = self.left {
            self.left = self.next_chunk()?;
        }
        let left = match &mut self.left {
            Remaining::UntilClose => return self.reader.read(buffer),
            Remaining::Bytes(left) | Remaining::Chunk(left) => left,
        };
        if *left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.reader.by_ref().take(*left).read(buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= count as u64;
        if let Remaining::Chunk(0) = self.left {
            self.line()?;
        }
        Ok(count)
    }
}

impl Body<'_> {
    fn next_chunk(&mut self) -> io::Result<Remaining> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
        if size > 0 {
            return Ok(Remaining::Chunk(size));
        }
        while !self.line()?.is_empty() {}
        Ok(Remaining::Bytes(0))
    }

    /// Reads one line and returns it without its line ending.
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        let count = self.reader.by_ref().take(HEAD_BYTES as u64).read_line(&mut line)?;
        if count == 0 || !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_whatever_the_case() {
        let head = parse(
            b"HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\nContent-Range: bytes 7-11/12\r\n\r\n",
        );
        let expected = Head { status: 206, length: Some(5), range_start: Some(7), ..Head::default() };
        assert_eq!(head.unwrap(), expected);
        assert!(parse(b"SSH-2.0-OpenSSH_9.2\r\n\r\n").is_err());
    }
}
