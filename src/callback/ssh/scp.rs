//! SCP's old protocol, in the direction from here to the client: `scp -f FILE`, and `scp -r -f FOLDER`.
//!
//! The client asks with a zero byte; the answer is a line with mode, size and name, the content, and a zero byte, each
//! of which the client acknowledges. What is in a folder comes between a line with its name and a line `E`.

use super::super::files::{CHUNK, Entry, Folder, OpenError, OpenFile};
use super::pace::send;
use russh::server::Msg;
use russh::{ChannelReadHalf, ChannelWriteHalf};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    path: String,
    /// The client wants the times of the file, which are sent as zero.
    times: bool,
    /// The client takes folders.
    recurses: bool,
}

impl Request {
    /// Parses a command line; `None` if it is any other command than reading by `scp`.
    pub(super) fn parse(command: &[u8]) -> Option<Self> {
        let words = words(std::str::from_utf8(command).ok()?)?;
        let (program, mut rest) = words.split_first()?;
        if program != "scp" && !program.ends_with("/scp") {
            return None;
        }
        let (mut reads, mut times, mut recurses) = (false, false, false);
        while let Some((option, more)) = rest.split_first().filter(|(word, _)| word.starts_with('-')) {
            rest = more;
            if option == "--" {
                break;
            }
            for letter in option.chars().skip(1) {
                match letter {
                    'f' => reads = true,
                    'p' => times = true,
                    'r' => recurses = true,
                    // Words on the client's screen, and a target that is a folder.
                    'v' | 'q' | 'd' => {}
                    _ => return None,
                }
            }
        }
        let [path] = rest else { return None };
        reads.then(|| Self { path: path.clone(), times, recurses })
    }
}

/// Splits a command line as a shell does, without anything that a shell would replace.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(letters.next()?),
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (None | Some(_), letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Answers one request.
pub(super) async fn serve(
    mut reader: ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
    request: &Request,
    folder: &Folder,
) {
    let status = match answer(&mut reader, writer, request, folder).await {
        Ok(status) => status,
        Err(error) => {
            tracing::debug!(%error, "a transfer by SCP broke");
            1
        }
    };
    // The client may be gone by now.
    let _told = writer.exit_status(status).await;
    let _told = writer.eof().await;
}

async fn answer(
    reader: &mut ChannelReadHalf,
    writer: &ChannelWriteHalf<Msg>,
    request: &Request,
    folder: &Folder,
) -> io::Result<u32> {
    let (input, output) = (reader.make_reader(), writer.make_writer());
    let mut sender = Sender { input, output, times: request.times, folder };
    sender.acknowledged().await?;
    let path = Folder::absolute("/", &request.path).unwrap_or_default();
    let refusal = match folder.look(&path).await {
        Ok(Entry::File(_)) => match folder.open(&path).await {
            Ok(file) => return sender.file(&path, file).await.map(|()| 0),
            Err(error) => error,
        },
        Ok(Entry::Folder) if !request.recurses => OpenError::IsFolder,
        Ok(Entry::Folder) if path == "/" => OpenError::NotFound,
        Ok(Entry::Folder) => return sender.tree(path).await.map(|()| 0),
        Err(error) => error,
    };
    send(&mut sender.output, format!("\u{1}scp: {refusal}\n").as_bytes()).await?;
    Ok(1)
}

/// Sends files and folders to one client.
struct Sender<'a, I, O> {
    input: I,
    output: O,
    times: bool,
    folder: &'a Folder,
}

impl<I: AsyncRead + Unpin, O: AsyncWrite + Unpin> Sender<'_, I, O> {
    /// Sends a folder with all that is in it.
    async fn tree(&mut self, path: String) -> io::Result<()> {
        // The folders that were begun, each with what is left in it.
        let mut begun = vec![self.begin(path).await?];
        while let Some((path, left)) = begun.last_mut() {
            match left.next() {
                None => {
                    begun.pop();
                    self.line("E\n").await?;
                }
                Some((name, Entry::Folder)) => {
                    let path = format!("{path}/{name}");
                    let inner = self.begin(path).await?;
                    begun.push(inner);
                }
                Some((name, Entry::File(_))) => {
                    let path = format!("{path}/{name}");
                    let file = self.folder.open(&path).await.map_err(io::Error::other)?;
                    self.file(&path, file).await?;
                }
            }
        }
        Ok(())
    }

    /// Begins a folder. Returns it with what is in it.
    async fn begin(&mut self, path: String) -> io::Result<(String, std::vec::IntoIter<(String, Entry)>)> {
        let inside = self.folder.list(&path).await.map_err(io::Error::other)?;
        self.times().await?;
        self.line(&format!("D0555 0 {}\n", self.name(&path))).await?;
        Ok((path, inside.into_iter()))
    }

    async fn file(&mut self, path: &str, file: OpenFile) -> io::Result<()> {
        self.times().await?;
        self.line(&format!("C0444 {} {}\n", file.size, self.name(path))).await?;
        copy(&file, &mut self.output).await?;
        send(&mut self.output, &[0]).await?;
        self.acknowledged().await
    }

    /// Returns the name of what is at a path: a client may have left the escapes of a URL in that of the offer.
    fn name(&self, path: &str) -> String {
        let mut parts = path.trim_start_matches('/').split('/');
        let last = parts.next_back().unwrap_or_default();
        if parts.next().is_none() { self.folder.name().to_owned() } else { last.to_owned() }
    }

    async fn times(&mut self) -> io::Result<()> {
        if self.times { self.line("T0 0 0 0\n").await } else { Ok(()) }
    }

    async fn line(&mut self, line: &str) -> io::Result<()> {
        send(&mut self.output, line.as_bytes()).await?;
        self.acknowledged().await
    }

    async fn acknowledged(&mut self) -> io::Result<()> {
        match self.input.read_u8().await? {
            0 => Ok(()),
            _ => Err(io::Error::other("the client reports an error")),
        }
    }
}

async fn copy(file: &OpenFile, output: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut at = 0;
    while at < file.size {
        let bytes = file.read(at, CHUNK).await?;
        send(output, &bytes).await?;
        at += bytes.len() as u64;
        file.note_sent(at);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise a command could be anything, or a client of some vendor could not fetch.
    #[test]
    fn only_reading_by_scp_is_a_request() {
        let path = |line: &str| Request::parse(line.as_bytes()).map(|request| request.path);
        for line in [
            "scp -f a.bin",
            "scp -v -f -- a.bin",
            "scp -fp a.bin",
            "/usr/bin/scp -f 'a.bin'",
            "scp -f \"a.bin\"",
            "scp -r -f a.bin ",
        ] {
            assert_eq!(path(line).as_deref(), Some("a.bin"), "{line}");
        }
        assert_eq!(path("scp -f 'a b'\\''.bin'").as_deref(), Some("a b'.bin"));
        for line in [
            "scp -t a.bin",
            "scp a.bin",
            "scp -f",
            "scp -f a b",
            "sh -c ls",
            "",
            "scp -f 'a",
            "scp -o x -f a",
            "scp -f a; rm -rf /",
            "scpx -f a",
        ] {
            assert_eq!(path(line), None, "{line}");
        }
    }
}
