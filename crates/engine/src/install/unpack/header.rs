//! The entries of a tar archive: POSIX ustar, with long names as GNU and POSIX (pax) write them.

use super::Unpack;
use std::io::{self, Read, Write};

/// Size of a header, and what contents are filled up to.
const BLOCK: usize = 512;

/// Maximum size of an extended header, which has names in it.
const MAX_EXTENDED: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// A symbolic link.
    Link,
    /// Another name of an earlier file.
    HardLink,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) kind: Kind,
    /// Target of a link.
    pub(super) link: String,
    pub(super) mode: u64,
    /// Time of the last change, in seconds since 1970.
    pub(super) modified: u64,
    /// Length of the content.
    pub(super) size: u64,
}

/// What extended headers say about the entry behind them.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

/// Reads entries. The content of an entry is read, or skipped, before the next one.
pub(super) struct Reader<'a> {
    stream: io::Take<&'a mut dyn Read>,
    /// Filling behind the content.
    filling: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(stream: &'a mut dyn Read) -> Self {
        Self { stream: stream.take(0), filling: 0 }
    }

    /// Returns the next entry that is not an extended header; `None` at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Unpack> {
        let mut extended = Extended::default();
        loop {
            let mut block = [0; BLOCK];
            self.stream.set_limit(BLOCK as u64);
            self.stream.read_exact(&mut block).map_err(early)?;
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let header = Header(&block);
            header.check()?;
            let size = extended.size.take().map_or_else(|| header.number(124, 12), Ok)?;
            let link = || extended.link.clone().unwrap_or_else(|| header.text(157, 100));
            let kind = match header.byte(156) {
                b'0' | b'7' | 0 if header.path().ends_with('/') => Kind::Directory,
                b'0' | b'7' | 0 => Kind::File,
                b'1' => Kind::HardLink,
                b'2' => Kind::Link,
                b'5' => Kind::Directory,
                b'L' => {
                    extended.path = Some(terminated(&self.extended(size)?));
                    continue;
                }
                b'K' => {
                    extended.link = Some(terminated(&self.extended(size)?));
                    continue;
                }
                b'x' => {
                    extended.read(&self.extended(size)?)?;
                    continue;
                }
                // For all entries; in practice a comment, as git writes it.
                b'g' => {
                    self.extended(size)?;
                    continue;
                }
                other => return Err(special(other, &header.path())),
            };
            let link = link();
            let path = extended.path.unwrap_or_else(|| header.path());
            let size = if kind == Kind::File { size } else { 0 };
            self.content_of(size);
            let (mode, modified) = (header.number(100, 8)?, header.number(136, 12).unwrap_or_default());
            return Ok(Some(Entry { path, kind, link, mode, modified, size }));
        }
    }

    /// Returns the content of the entry.
    pub(super) fn content(&mut self) -> &mut io::Take<&'a mut dyn Read> {
        &mut self.stream
    }

    /// Goes to the next header.
    pub(super) fn skip(&mut self) -> Result<(), Unpack> {
        let all = self.stream.limit().saturating_add(self.filling);
        self.stream.set_limit(all);
        let skipped = io::copy(&mut self.stream, &mut io::sink())?;
        if skipped == all { Ok(()) } else { Err(early(io::ErrorKind::UnexpectedEof.into())) }
    }

    fn content_of(&mut self, size: u64) {
        self.stream.set_limit(size);
        self.filling = size.next_multiple_of(BLOCK as u64).saturating_sub(size);
    }

    fn extended(&mut self, size: u64) -> Result<Vec<u8>, Unpack> {
        if size > MAX_EXTENDED {
            return Err(damaged("a name in it is longer than 1 MiB"));
        }
        self.content_of(size);
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        self.skip()?;
        Ok(bytes)
    }
}

/// Copies a content. An archive that ends early is not a fault of the disk.
pub(super) fn copy(content: &mut io::Take<&mut dyn Read>, to: &mut impl Write) -> Result<(), Unpack> {
    let size = content.limit();
    if io::copy(content, to)? == size { Ok(()) } else { Err(early(io::ErrorKind::UnexpectedEof.into())) }
}

impl Extended {
    /// Reads the records of POSIX: `LENGTH KEY=VALUE` and a newline, where the length is that of all of it.
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Unpack> {
        let broken = || damaged("an extended header cannot be read");
        while !bytes.is_empty() && bytes != [0] {
            let blank = bytes.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
            let (digits, _) = bytes.split_at(blank);
            let length = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
            let length: usize = length.ok_or_else(broken)?;
            let record = bytes.get(blank.saturating_add(1)..length).ok_or_else(broken)?;
            let text = String::from_utf8_lossy(record);
            let (key, value) = text.trim_end_matches('\n').split_once('=').ok_or_else(broken)?;
            match key {
                "path" => self.path = Some(value.into()),
                "linkpath" => self.link = Some(value.into()),
                "size" => self.size = Some(value.parse().map_err(|_| broken())?),
                _ if key.starts_with("GNU.sparse") => return Err(special(b'S', value)),
                _ => {}
            }
            bytes = bytes.get(length..).unwrap_or_default();
        }
        Ok(())
    }
}

struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn field(&self, at: usize, length: usize) -> &[u8] {
        self.0.get(at..at.saturating_add(length)).unwrap_or_default()
    }

    fn byte(&self, at: usize) -> u8 {
        self.field(at, 1).first().copied().unwrap_or_default()
    }

    fn text(&self, at: usize, length: usize) -> String {
        terminated(self.field(at, length))
    }

    /// Returns a number: octal digits, or big-endian behind a set bit.
    fn number(&self, at: usize, length: usize) -> Result<u64, Unpack> {
        let bytes = self.field(at, length);
        let wrong = || damaged("a number in a header cannot be read");
        if let [0x80, rest @ ..] = bytes {
            let (high, low) = rest.split_at(rest.len().saturating_sub(8));
            if high.iter().any(|byte| *byte != 0) {
                return Err(wrong());
            }
            return Ok(low.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)));
        }
        let text = terminated(bytes);
        let digits = text.trim();
        if digits.is_empty() { Ok(0) } else { u64::from_str_radix(digits, 8).map_err(|_| wrong()) }
    }

    fn path(&self) -> String {
        let (name, prefix) = (self.text(0, 100), self.text(345, 155));
        let is_posix = self.field(257, 6) == b"ustar\0";
        if is_posix && !prefix.is_empty() { format!("{prefix}/{name}") } else { name }
    }

    /// Compares the sum of all bytes, in which the sum itself counts as blanks.
    fn check(&self) -> Result<(), Unpack> {
        let all = self.0.iter().enumerate();
        let sum: u64 =
            all.map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) }).sum();
        if self.number(148, 8)? == sum { Ok(()) } else { Err(damaged("a header has a wrong checksum")) }
    }
}

fn terminated(bytes: &[u8]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn special(kind: u8, path: &str) -> Unpack {
    let what = match kind {
        b'3' | b'4' => "a device",
        b'6' => "a pipe",
        b'S' => "a sparse file",
        _ => "of a kind that sources do not have",
    };
    Unpack::Refused(format!("the payload has an entry that is not unpacked: {path:?} is {what}"))
}

fn damaged(why: &str) -> Unpack {
    Unpack::Refused(format!("the payload is no tar archive, or damaged: {why}"))
}

fn early(error: io::Error) -> Unpack {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        damaged("it ends too early")
    } else {
        Unpack::Disk(error)
    }
}
