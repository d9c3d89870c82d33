//! What is installed on an HP-UX machine, as decisions need it.

use super::look::{Look, Software};
use farrier_update::device::{Entry, Part, ResetTarget};

/// Returns what is installed of a bundle, a product or a fileset. Its version is empty if it is not installed, or not
/// whole: then `swinstall` mends it. A fileset that is `installed` waits for the restart that configures it.
pub(super) fn entry(look: &Look, name: &str) -> Entry {
    let mut filesets = look.filesets.iter().filter(|fileset| fileset.of == name).peekable();
    let is_there = filesets.peek().is_some();
    let states: Vec<&str> = filesets.map(|fileset| fileset.state.as_str()).collect();
    let is_whole = is_there && states.iter().all(|state| *state == "configured");
    let waits =
        is_there && states.iter().all(|state| ["configured", "installed"].contains(state)) && !is_whole;
    Entry {
        version: if is_whole { revision(look, name) } else { String::new() },
        part: Part::Host,
        pending: waits.then_some(ResetTarget::Host),
        members: Vec::new(),
    }
}

/// Returns the revision that is listed for a bundle, a product or a fileset, in this order.
fn revision(look: &Look, name: &str) -> String {
    let of_level = |level: &'static str| {
        let is_it = move |software: &&Software| software.level == level && software.name == name;
        look.software.iter().find(is_it).map(|software| software.revision.clone())
    };
    let of_fileset = || {
        let found = look.filesets.iter().find(|fileset| fileset.of == name);
        found.map(|fileset| fileset.revision.clone())
    };
    of_level("bundle").or_else(|| of_level("product")).or_else(of_fileset).unwrap_or_default()
}

/// Reports whether this may be the name of a bundle, a product or a fileset: no pattern, and nothing that selects by
/// something else (sd(5), "Software Selections").
pub(super) fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Entry {
        let look = Look::read(&lines.lines().map(str::to_owned).collect::<Vec<_>>());
        entry(&look, "Tool")
    }

    /// Otherwise half a product counts as installed, or one that only waits for a restart as failed.
    #[test]
    fn a_product_has_a_version_when_all_of_it_is_configured() {
        let with = |states: [&str; 2]| {
            let [run, man] = states;
            read(&format!(
                "product Tool A.01.00\nfileset Tool Tool.RUN A.01.00 {run}\nfileset Tool Tool.MAN A.01.00 {man}\n\
                 fileset Other Tool.RUN A.09 corrupt"
            ))
        };
        assert_eq!(with(["configured", "configured"]).version, "A.01.00");
        for (states, pending) in [
            (["configured", "installed"], Some(ResetTarget::Host)),
            (["installed", "installed"], Some(ResetTarget::Host)),
            (["installed", "corrupt"], None),
            (["configured", "transient"], None),
        ] {
            let entry = with(states);
            assert_eq!((entry.version.as_str(), entry.pending), ("", pending), "{states:?}");
        }
        assert_eq!(read("product Tool2 A.01.00").version, "", "another one");
        assert_eq!(read("product Tool A.01.00").version, "", "its filesets could not be listed");
    }

    #[test]
    fn a_bundle_has_its_own_revision() {
        let lines =
            "product Tool A.01.00\nbundle Tool B.11.31.2403\nfileset Tool Tool.RUN A.01.00 configured";
        assert_eq!(read(lines).version, "B.11.31.2403");
        assert_eq!(read("fileset Tool X.RUN A.02 configured").version, "A.02");
    }

    #[test]
    fn a_name_selects_nothing_else() {
        for name in ["Tool", "PHSS_40001", "OS-Core.CORE-KRN", "gtk+2"] {
            assert!(is_name(name), "{name}");
        }
        for wrong in ["", "*", "Tool,r=A", "-x", "a b", "Tool.*", "/usr", "a@b", "Tool:ia64", "ä"] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
