//! The little of SOAP 1.2 that an Onboard Administrator needs: texts of elements out, envelopes and faults in.

/// What an envelope is wrapped in.
const OPEN: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<SOAP-ENV:Envelope xmlns:SOAP-ENV=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" xmlns:wsu=\"http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd\" xmlns:wsse=\"http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd\" xmlns:hpoa=\"hpoa.xsd\"><SOAP-ENV:Body>";
const CLOSE: &str = "</SOAP-ENV:Body></SOAP-ENV:Envelope>";

/// A refusal, with the number by which clients know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `USER_REQUEST`, `ONBOARD_ADMINISTRATOR`, `ONBOARD_ADMINISTRATOR_UPLOAD_FILE`.
    pub(crate) kind: &'static str,
    pub(crate) code: u16,
    pub(crate) text: String,
}

impl Refusal {
    /// One that the user of the request can do something about.
    pub(crate) fn user(code: u16, text: &str) -> Self {
        Self { kind: "USER_REQUEST", code, text: text.to_owned() }
    }

    /// One of the upload.
    pub(crate) fn upload(code: u16, text: &str) -> Self {
        Self { kind: "ONBOARD_ADMINISTRATOR_UPLOAD_FILE", code, text: text.to_owned() }
    }

    /// One that the device is to blame for.
    pub(crate) fn device(code: u16, text: &str) -> Self {
        Self { kind: "ONBOARD_ADMINISTRATOR", code, text: text.to_owned() }
    }

    /// As an envelope.
    pub(crate) fn envelope(&self, operation: &str) -> String {
        let who = if self.kind == "USER_REQUEST" { "Sender" } else { "Receiver" };
        let Self { kind, code, text } = self;
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        envelope(&format!(
            "<SOAP-ENV:Fault><SOAP-ENV:Code><SOAP-ENV:Value>SOAP-ENV:{who}</SOAP-ENV:Value></SOAP-ENV:Code><SOAP-ENV:Reason><SOAP-ENV:Text>{text}</SOAP-ENV:Text></SOAP-ENV:Reason><SOAP-ENV:Detail><hpoa:faultInfo><hpoa:errorType>{kind}</hpoa:errorType><hpoa:errorCode>{code}</hpoa:errorCode><hpoa:operationName>{operation}</hpoa:operationName><hpoa:errorText>{text}</hpoa:errorText></hpoa:faultInfo></SOAP-ENV:Detail></SOAP-ENV:Fault>"
        ))
    }

    /// The HTTP status that gSOAP sends with it.
    pub(crate) fn status(&self) -> u16 {
        match (self.kind, self.code) {
            (_, 503) => 503,
            ("USER_REQUEST", _) => 400,
            _ => 500,
        }
    }
}

/// An answer.
pub(crate) fn envelope(body: &str) -> String {
    [OPEN, body, CLOSE].concat()
}

/// The text of the first element with this name, whatever its prefix is.
pub(crate) fn text_of(xml: &str, name: &str) -> Option<String> {
    let mut rest = xml;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, content) = after.split_once('>')?;
        if local(tag) == name && !tag.ends_with('/') {
            let (text, _) = content.split_once("</")?;
            return Some(unescape(text.trim()));
        }
        rest = content;
    }
    None
}

/// The name of the first element in the body, which is what is asked for.
pub(crate) fn operation(xml: &str) -> Option<&str> {
    let mut rest = xml;
    let mut in_body = false;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, content) = after.split_once('>')?;
        if in_body {
            return Some(local(tag));
        }
        in_body = local(tag) == "Body";
        rest = content;
    }
    None
}

/// A tag's name without prefix and attributes.
fn local(tag: &str) -> &str {
    let name = tag.split([' ', '\t', '\r', '\n', '/']).next().unwrap_or_default();
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

fn unescape(text: &str) -> String {
    let quotes = text.replace("&quot;", "\"").replace("&apos;", "'").replace("&#39;", "'");
    quotes.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients choose their own prefixes, and passwords have any characters.
    #[test]
    fn elements_are_found_with_any_prefix() {
        let xml = "<?xml version=\"1.0\"?><S:Envelope xmlns:S=\"x\"><S:Header/><S:Body><o:userLogIn><o:username>a</o:username><password>p&amp;&lt;w</password></o:userLogIn></S:Body></S:Envelope>";
        assert_eq!(operation(xml), Some("userLogIn"));
        assert_eq!(text_of(xml, "password").as_deref(), Some("p&<w"));
        assert_eq!(text_of(xml, "username").as_deref(), Some("a"));
        assert_eq!(text_of(xml, "oaFileToken"), None);
        assert_eq!(operation("no xml"), None);
    }
}
