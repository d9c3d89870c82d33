//! Texts of devices, for messages and statuses.

/// Leaves out the accounts and paths of URLs, all but the name of the file: the URL of an offer cannot be guessed, and
/// must not be shown.
pub(super) fn without_paths(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '(' | ')'));
        let (url, tail) = after.split_at(end.unwrap_or(after.len()));
        // A password may have any character.
        let url = url.rsplit_once('@').map_or(url, |(_, place)| place);
        shown.push_str(before);
        shown.push_str("://");
        match (url.split_once('/'), url.rsplit_once('/')) {
            (Some((host, path)), Some((_, name))) if path != name => {
                shown.push_str(host);
                shown.push_str("/…/");
                shown.push_str(name);
            }
            _ => shown.push_str(url),
        }
        rest = tail;
    }
    shown + rest
}

/// Removes control characters and surrounding spaces, and cuts off what is too long.
pub(super) fn clean(text: &str, longest: usize) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(printable).collect();
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = words.char_indices().nth(longest) {
        words.truncate(at);
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the tokens of a run would be in statuses and events, because devices quote the URL.
    #[test]
    fn the_path_of_a_url_is_left_out() {
        let said =
            "Transfer of image 'https://10.0.0.1:63002/tok/offer/farrier-a-1-x.bin' to http://b failed";
        let shown = "Transfer of image 'https://10.0.0.1:63002/…/farrier-a-1-x.bin' to http://b failed";
        assert_eq!(without_paths(said), shown);
        assert_eq!(without_paths("no://"), "no://");
        let said = "sftp://farrier:se/c@ret@10.0.0.1:61022/x.bin could not be fetched";
        assert_eq!(without_paths(said), "sftp://10.0.0.1:61022/x.bin could not be fetched");
    }

    #[test]
    fn what_is_too_long_is_cut_off() {
        assert_eq!(clean("äöü\r\nß", 4), "äöü …");
        assert_eq!(clean("abc", 3), "abc");
    }
}
