//! Forms as `multipart/form-data`.

use anyhow::{Context as _, ensure};

/// One part of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) file: Option<String>,
    pub(crate) bytes: Vec<u8>,
}

/// The parts of a body with this `Content-Type`.
pub(crate) fn parse(content_type: &str, body: &[u8]) -> anyhow::Result<Vec<Part>> {
    ensure!(content_type.starts_with("multipart/form-data"), "not a form: {content_type}");
    let boundary = parameter(content_type, "boundary").context("the form has no boundary")?;
    let mark = format!("--{boundary}");
    let mut rest = body.get(find(body, mark.as_bytes()).context("no part begins")?..).unwrap_or_default();
    let mut parts = vec![];
    loop {
        rest = rest.get(mark.len()..).context("cut off at a boundary")?;
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        rest = rest.strip_prefix(b"\r\n").context("no line end after a boundary")?;
        let end = find(rest, format!("\r\n{mark}").as_bytes()).context("a part does not end")?;
        parts.push(part(rest.get(..end).unwrap_or_default())?);
        rest = rest.get(end + 2..).unwrap_or_default();
    }
}

fn part(bytes: &[u8]) -> anyhow::Result<Part> {
    let end = find(bytes, b"\r\n\r\n").context("a part has no head")?;
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    let disposition = head
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))
        .context("a part has no Content-Disposition")?;
    Ok(Part {
        name: parameter(disposition, "name").context("a part has no name")?,
        file: parameter(disposition, "filename"),
        bytes: bytes.get(end + 4..).unwrap_or_default().to_vec(),
    })
}

fn parameter(header: &str, name: &str) -> Option<String> {
    header.split(';').skip(1).find_map(|field| {
        let (key, value) = field.trim().split_once('=')?;
        (key == name).then(|| value.trim_matches('"').to_owned())
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Binary content holds line ends and dashes of its own.
    #[test]
    fn parts_keep_their_bytes() {
        let body = b"preamble\r\n--xx\r\nContent-Disposition: form-data; name=\"UpdateParameters\"\r\n\r\n{}\r\n\
            --xx\r\nContent-Type: application/octet-stream\r\n\
            Content-Disposition: form-data; name=\"UpdateFile\"; filename=\"a.bin\"\r\n\r\n\r\n--x\r\n\r\n--xx--\r\n";
        let parts = parse("multipart/form-data; boundary=\"xx\"", body).unwrap();
        assert_eq!(parts[0], Part { name: "UpdateParameters".into(), file: None, bytes: b"{}".to_vec() });
        assert_eq!(parts[1].file.as_deref(), Some("a.bin"));
        assert_eq!(parts[1].bytes, b"\r\n--x\r\n");
    }
}
