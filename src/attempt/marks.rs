//! Names of what Farrier hands over to a device. They carry the number of the action, so that tasks, entries and
//! images on the device tell what they belong to, whoever asks.

use farrier_update::device::ActionId;

/// Longest name. The repository of an iLO takes 64 characters.
const LONGEST: usize = 64;

/// The names of one NodeUpdate: `farrier-<id>-<action>-<rest>`.
#[derive(Debug, Clone)]
pub struct Marks {
    prefix: String,
}

impl Marks {
    /// `id` identifies the NodeUpdate.
    pub fn new(id: &str) -> Self {
        Self { prefix: format!("farrier-{id}-") }
    }

    /// Returns the name of what an action hands over. It ends as `rest` does, since devices look at the ending of
    /// a file; characters that are not safe in headers and URLs are replaced.
    pub fn name(&self, action: ActionId, rest: &str) -> String {
        let start = format!("{}{}-", self.prefix, action.0);
        let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '~');
        let rest: Vec<char> = rest.chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
        let skipped = (start.len() + rest.len()).saturating_sub(LONGEST).min(rest.len());
        start.chars().chain(rest.into_iter().skip(skipped)).collect()
    }

    /// Returns the action that a text mentions.
    pub fn find(&self, text: &str) -> Option<ActionId> {
        text.split_once(&self.prefix)?.1.split_once('-')?.0.parse().ok().map(ActionId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the update of another run would be taken for ours, or ours for another's.
    #[test]
    fn only_own_names_are_recognised() {
        let marks = Marks::new("0b3ee0c4a1");
        let name = marks.name(ActionId(12), "bios-2.0.bin");
        assert_eq!(name, "farrier-0b3ee0c4a1-12-bios-2.0.bin");
        assert_eq!(marks.find(&format!("http://x/{name}?y")), Some(ActionId(12)));
        for other in ["farrier-ffffffffff-12-a", "farrier-0b3ee0c4a1-x-a", "farrier-0b3ee0c4a1-12"] {
            assert_eq!(marks.find(other), None, "{other}");
        }
    }

    #[test]
    fn names_are_safe_and_keep_their_ending() {
        let marks = Marks::new("0b3ee0c4a1f2");
        let name = marks.name(ActionId(3), "BIOS \"U30\" (2.0)/ü.signed.fwpkg");
        assert_eq!(name, "farrier-0b3ee0c4a1f2-3-BIOS__U30___2.0____.signed.fwpkg");
        let long = marks.name(ActionId(3), &format!("{}.fwpkg", "x".repeat(300)));
        assert_eq!((long.len(), &long[LONGEST - 8..]), (LONGEST, "xx.fwpkg"));
        assert_eq!(marks.find(&long), Some(ActionId(3)));
    }
}
