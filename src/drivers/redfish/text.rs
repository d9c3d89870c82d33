//! Texts of devices, for messages and statuses.

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

    #[test]
    fn what_is_too_long_is_cut_off() {
        assert_eq!(clean("äöü\r\nß", 4), "äöü …");
        assert_eq!(clean("abc", 3), "abc");
    }
}
