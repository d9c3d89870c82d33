//! SCP's old protocol, in the direction from here to the client: `scp -f FILE`.
//!
//! The client asks with a zero byte; the answer is a line with mode, size and name, the content, and a zero byte, each
//! of which the client acknowledges.

use super::super::files::{CHUNK, Folder, OpenFile};
use super::pace::send;
use russh::server::Msg;
use russh::{ChannelReadHalf, ChannelWriteHalf};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWrite};

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    path: String,
    /// The client wants the times of the file, which are sent as zero.
    times: bool,
}

impl Request {
    /// Parses a command line; `None` if it is any other command than reading by `scp`.
    pub(super) fn parse(command: &[u8]) -> Option<Self> {
        let words = words(std::str::from_utf8(command).ok()?)?;
        let (program, mut rest) = words.split_first()?;
        if program != "scp" && !program.ends_with("/scp") {
            return None;
        }
        let (mut reads, mut times) = (false, false);
        while let Some((option, more)) = rest.split_first().filter(|(word, _)| word.starts_with('-')) {
            rest = more;
            if option == "--" {
                break;
            }
            for letter in option.chars().skip(1) {
                match letter {
                    'f' => reads = true,
                    'p' => times = true,
                    // Words on the client's screen, folders, and a target that is a folder.
                    'v' | 'q' | 'r' | 'd' => {}
                    _ => return None,
                }
            }
        }
        let [path] = rest else { return None };
        reads.then(|| Self { path: path.clone(), times })
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
    let (mut input, mut output) = (reader.make_reader(), writer.make_writer());
    acknowledged(&mut input).await?;
    let file = match folder.open(&request.path).await {
        Ok(file) => file,
        Err(error) => {
            send(&mut output, format!("\u{1}scp: {error}\n").as_bytes()).await?;
            return Ok(1);
        }
    };
    if request.times {
        send(&mut output, b"T0 0 0 0\n").await?;
        acknowledged(&mut input).await?;
    }
    send(&mut output, format!("C0444 {} {}\n", file.size, folder.name()).as_bytes()).await?;
    acknowledged(&mut input).await?;
    copy(&file, &mut output).await?;
    send(&mut output, &[0]).await?;
    acknowledged(&mut input).await?;
    Ok(0)
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

async fn acknowledged(input: &mut (impl AsyncReadExt + Unpin)) -> io::Result<()> {
    match input.read_u8().await? {
        0 => Ok(()),
        _ => Err(io::Error::other("the client reports an error")),
    }
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
