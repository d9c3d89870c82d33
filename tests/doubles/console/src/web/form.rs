//! What a form sends: `multipart/form-data` (RFC 7578).

/// One part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Only files have one.
    pub(crate) file_name: Option<String>,
    pub(crate) content: Vec<u8>,
}

/// The boundary of a content type, if it is a form's.
pub(crate) fn boundary(content_type: &str) -> Option<&str> {
    let rest = content_type.strip_prefix("multipart/form-data")?;
    let (_, value) = rest.split_once("boundary=")?;
    Some(value.split(';').next().unwrap_or_default().trim().trim_matches('"')).filter(|text| !text.is_empty())
}

/// The parts; `None` if the form was cut off or is none.
pub(crate) fn fields(body: &[u8], boundary: &str) -> Option<Vec<Field>> {
    let delimiter = format!("\r\n--{boundary}");
    let first = format!("--{boundary}");
    let mut rest = body.strip_prefix(b"\r\n").unwrap_or(body).strip_prefix(first.as_bytes())?;
    let mut found = vec![];
    loop {
        if rest.starts_with(b"--") {
            return Some(found);
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let head_end = position(rest, b"\r\n\r\n")?;
        let (head, after) = rest.split_at(head_end);
        let content = after.strip_prefix(b"\r\n\r\n")?;
        let end = position(content, delimiter.as_bytes())?;
        let (content, after) = content.split_at(end);
        let head = String::from_utf8_lossy(head).into_owned();
        found.push(Field {
            name: parameter(&head, "name")?,
            file_name: parameter(&head, "filename"),
            content: content.to_vec(),
        });
        rest = after.strip_prefix(delimiter.as_bytes())?;
    }
}

/// A parameter of `Content-Disposition`.
fn parameter(head: &str, name: &str) -> Option<String> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let value = line.split(';').find_map(|part| part.trim().strip_prefix(&format!("{name}=")))?;
    Some(value.trim_matches('"').to_owned())
}

/// Where `wanted` begins. Images are large, so that only places with its first byte are looked at.
fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| *byte == first)?;
        if bytes.get(at..)?.starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A form that was cut off must not be taken for a whole image.
    #[test]
    fn a_form_is_read_to_its_end_or_not_at_all() {
        let body = b"--b\r\nContent-Disposition: form-data; name=\"fileType\"\r\n\r\nFIRMWARE_IMAGE\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"oa.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--x\r\n\x00\r\n--b--\r\n";
        let found = fields(body, "b").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].content, b"\r\n--x\r\n\x00");
        assert_eq!((found[1].name.as_str(), found[1].file_name.as_deref()), ("file", Some("oa.bin")));
        for end in 0..body.len() - 4 {
            assert_eq!(fields(&body[..end], "b"), None, "{end}");
        }
        assert_eq!(boundary("multipart/form-data; boundary=\"b\""), Some("b"));
        assert_eq!(boundary("text/xml"), None);
    }
}
