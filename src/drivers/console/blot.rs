//! Secrets are blotted out of what a device has shown, also parts of them and such that a line break divides.

use super::template::BLOT;

/// The shortest part of a secret that is blotted out by itself. Shorter parts are in every text.
const SHORTEST_PART: usize = 4;

/// Secrets that must not be shown.
#[derive(Clone, Default)]
pub struct Secrets(Vec<Vec<char>>);

impl Secrets {
    /// Creates the list. Empty secrets are none.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all: Vec<Vec<char>> = secrets.into_iter().map(visible).filter(|s| !s.is_empty()).collect();
        all.sort_unstable();
        all.dedup();
        Self(all)
    }

    /// Adds what is secret in one command.
    pub fn extend<'a>(&mut self, secrets: impl IntoIterator<Item = &'a str>) {
        self.0.extend(Self::new(secrets).0);
    }

    /// Returns the lines without secrets. A part of a secret counts as one if it is half of it or more: a device
    /// breaks and redraws lines, and an answer ends where its time is over.
    pub fn blot(&self, lines: &[String]) -> Vec<String> {
        let text: Vec<char> = lines.iter().flat_map(|line| visible(line)).collect();
        let mut hidden = vec![false; text.len()];
        for secret in &self.0 {
            mark(&text, secret, &mut hidden);
        }
        let mut next = hidden.into_iter();
        let mut within = false;
        lines.iter().map(|line| without(line, &mut next, &mut within)).collect()
    }

    /// Returns one line without secrets.
    pub fn blot_line(&self, line: &str) -> String {
        self.blot(&[line.to_owned()]).pop().unwrap_or_default()
    }
}

/// Returns the characters of a text apart from blanks, which come and go where lines are wrapped.
fn visible(text: &str) -> Vec<char> {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// Marks each place where enough of a secret is.
fn mark(text: &[char], secret: &[char], hidden: &mut [bool]) {
    let enough = secret.len().div_ceil(2).max(SHORTEST_PART).min(secret.len());
    for begin in 0..text.len() {
        let rest = text.get(begin..).unwrap_or_default();
        let longest = (0..=secret.len() - enough)
            .map(|from| common(rest, secret.get(from..).unwrap_or_default()))
            .max()
            .unwrap_or_default();
        if longest >= enough {
            hidden.iter_mut().skip(begin).take(longest).for_each(|mark| *mark = true);
        }
    }
}

/// Returns how long the common beginning of two texts is.
fn common(a: &[char], b: &[char]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Writes a line with a blot for each run of marked characters. A run that goes on from the line before has its
/// blot there.
fn without(line: &str, hidden: &mut impl Iterator<Item = bool>, within: &mut bool) -> String {
    let (mut shown, mut blanks) = (String::new(), String::new());
    for c in line.chars() {
        if c.is_whitespace() {
            blanks.push(c);
            continue;
        }
        let is_hidden = hidden.next().unwrap_or(false);
        let blanks = std::mem::take(&mut blanks);
        match (is_hidden, *within) {
            (true, true) => {}
            (true, false) => shown.extend([&blanks, BLOT]),
            (false, _) => {
                shown.push_str(&blanks);
                shown.push(c);
            }
        }
        *within = is_hidden;
    }
    shown.push_str(&blanks);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blot(secret: &str, lines: &[&str]) -> Vec<String> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Secrets::new([secret]).blot(&lines)
    }

    /// A password in a message would be in the status, the events and the logs.
    #[test]
    fn a_secret_is_blotted_out_wherever_it_is() {
        assert_eq!(blot("hunter2", &["get u,hunter2 now", "hunter2hunter2"]), ["get u,*** now", "***"]);
        assert_eq!(blot("hunter2", &["get hun", "ter2 now"]), ["get ***", " now"]);
        assert_eq!(blot("hunter2", &["get hunt"]), ["get ***"], "an answer that ends in the middle");
        assert_eq!(blot("hunter2", &["ter2 now"]), ["*** now"], "one that begins in the middle");
        assert_eq!(blot("pw", &["a pw, a p"]), ["a ***, a p"]);
        assert_eq!(blot("", &["as it is"]), ["as it is"]);
        assert_eq!(blot("two words", &["say two words"]), ["say ***"]);
    }
}
