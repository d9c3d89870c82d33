//! Names of what Farrier hands over to a device. They carry the number of the action, so that tasks, entries and
//! images on the device tell what they belong to, whoever asks.

use farrier_update::device::ActionId;

/// Longest name. The repository of an iLO takes 64 characters.
const LONGEST: usize = 64;

/// How many digits of a payload's digest are in the name of its image.
const DIGITS: usize = 12;

/// The names of one NodeUpdate: `farrier-<id>-<action>-<rest>`; of an image, `rest` begins with digits of its digest,
/// so that a later run knows the image again.
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
        Self::join(&format!("{}{}-", self.prefix, action.0), rest)
    }

    /// Returns the name of an image.
    pub fn image_name(&self, action: ActionId, digest: &str, file: &str) -> String {
        Self::join(&format!("{}{}-{}-", self.prefix, action.0, digits(digest)), file)
    }

    fn join(start: &str, rest: &str) -> String {
        let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '~');
        let rest: Vec<char> = rest.chars().map(|c| if is_safe(c) { c } else { '_' }).collect();
        let skipped = (start.len() + rest.len()).saturating_sub(LONGEST).min(rest.len());
        start.chars().chain(rest.into_iter().skip(skipped)).collect()
    }

    /// Reports whether a text mentions an image with this digest, of any NodeUpdate.
    pub fn is_image(text: &str, digest: &str) -> bool {
        let is_it = |rest: &str| {
            let mut fields = rest.splitn(4, '-');
            let (id, action, digits) = (fields.next(), fields.next(), fields.next());
            let is_id = id.is_some_and(|id| id.chars().all(|c| c.is_ascii_alphanumeric()));
            let is_action = action.is_some_and(|action| action.parse::<u32>().is_ok());
            is_id
                && is_action
                && digits.is_some_and(|found| found == self::digits(digest))
                && fields.next().is_some()
        };
        text.split("farrier-").skip(1).any(is_it)
    }

    /// Returns the action that a text mentions.
    pub fn find(&self, text: &str) -> Option<ActionId> {
        text.split_once(&self.prefix)?.1.split_once('-')?.0.parse().ok().map(ActionId)
    }
}

/// Returns the first digits of a digest such as `sha256:0b3e…`.
fn digits(digest: &str) -> String {
    let (_, hex) = digest.split_once(':').unwrap_or(("", digest));
    hex.chars().filter(char::is_ascii_alphanumeric).take(DIGITS).collect()
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

    /// Otherwise a later run would install another image than its own, or carry its own once more.
    #[test]
    fn an_image_is_known_again_by_its_digest() {
        let name =
            Marks::new("0b3ee0c4a1f2").image_name(ActionId(3), "sha256:00112233445566778899", "bios-2.0.bin");
        assert_eq!(name, "farrier-0b3ee0c4a1f2-3-001122334455-bios-2.0.bin");
        assert!(Marks::is_image(&format!("Update with {name}"), "sha256:001122334455ffff"));
        assert!(!Marks::is_image(&name, "sha256:ff1122334455"));
        assert!(!Marks::is_image("farrier-x-y-001122334455-a", "sha256:001122334455"));
        assert_eq!(Marks::new("0b3ee0c4a1f2").find(&name), Some(ActionId(3)));
    }

    #[test]
    fn names_are_safe_and_keep_their_ending() {
        let marks = Marks::new("0b3ee0c4a1f2");
        let name = marks.name(ActionId(3), "BIOS \"U30\" (2.0)/ü.signed.fwpkg");
        assert_eq!(name, "farrier-0b3ee0c4a1f2-3-BIOS__U30___2.0___.signed.fwpkg");
        let long = marks.name(ActionId(3), &format!("{}.fwpkg", "x".repeat(300)));
        assert_eq!((long.len(), &long[LONGEST - 8..]), (LONGEST, "xx.fwpkg"));
        assert_eq!(marks.find(&long), Some(ActionId(3)));
    }
}
