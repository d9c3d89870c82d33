//! Decides whether the changes that a package manager announces are those that were asked for.

use super::{Request, is_version};
use farrier_protocol::{Change, ChangeKind, Step};

/// Maximum number of packages that a message names.
const MAX_NAMED: usize = 8;

/// Returns what nobody asked for, in words; `None` if there is nothing of the kind. New packages are what the
/// requested one needs. A package that another step of the task asks for may change to that version.
pub(super) fn refusal(
    program: &str,
    request: &Request<'_>,
    changes: &[Change],
    steps: &[Step],
) -> Option<String> {
    let is_asked = |change: &Change| {
        steps.iter().filter(|step| step.payload.is_none()).any(|step| {
            let is_name = step.package.as_ref().is_some_and(|package| package.name == change.name);
            is_name && change.kind != ChangeKind::Remove && is_version(&step.version, &change.version)
        })
    };
    let is_expected = |change: &Change| match change.kind {
        ChangeKind::Install => change.name != request.name || request.is_version(&change.version),
        ChangeKind::Upgrade | ChangeKind::Reinstall if change.name == request.name => {
            request.is_version(&change.version)
        }
        ChangeKind::Downgrade if change.name == request.name => {
            request.downgrade && request.is_version(&change.version)
        }
        ChangeKind::Upgrade
        | ChangeKind::Reinstall
        | ChangeKind::Downgrade
        | ChangeKind::Remove
        | ChangeKind::Other => is_asked(change),
    };
    let unasked: Vec<String> = changes.iter().filter(|change| !is_expected(change)).map(describe).collect();
    if unasked.is_empty() {
        return None;
    }
    let more = match unasked.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and change {more} others"),
    };
    let named = unasked.get(..MAX_NAMED).unwrap_or(&unasked).join(", ");
    let (name, version) = (request.name, request.version);
    Some(format!("to install {name} {version}, {program} would also {named}{more}"))
}

fn describe(change: &Change) -> String {
    let Change { kind, name, version, .. } = change;
    match kind {
        ChangeKind::Install => format!("install {name} {version}"),
        ChangeKind::Upgrade => format!("upgrade {name} to {version}"),
        ChangeKind::Downgrade => format!("downgrade {name} to {version}"),
        ChangeKind::Reinstall => format!("install {name} {version} again"),
        ChangeKind::Remove => format!("remove {name} {version}"),
        ChangeKind::Other => format!("change {name} {version}").trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ChangeKind, name: &str, version: &str) -> Change {
        Change { kind, name: name.into(), arch: String::new(), version: version.into() }
    }

    fn judge(changes: &[Change], steps: &[Step]) -> Option<String> {
        let request = Request {
            name: "fx",
            arch: None,
            version: "2-1",
            downgrade: false,
            rewrite: false,
            respects_holds: true,
        };
        refusal("apt-get", &request, changes, steps)
    }

    /// Otherwise an update of one package takes others with it.
    #[test]
    fn only_the_package_itself_and_new_packages_are_changed() {
        let own = change(ChangeKind::Upgrade, "fx", "2-1");
        let new = change(ChangeKind::Install, "libfx", "9");
        assert_eq!(judge(&[own.clone(), new.clone()], &[]), None);
        assert_eq!(judge(&[], &[]), None);
        for (kind, words) in [
            (ChangeKind::Upgrade, "upgrade libc to 9"),
            (ChangeKind::Downgrade, "downgrade libc to 9"),
            (ChangeKind::Remove, "remove libc 9"),
            (ChangeKind::Other, "change libc 9"),
        ] {
            let refused = judge(&[own.clone(), new.clone(), change(kind, "libc", "9")], &[]).unwrap();
            assert_eq!(refused, format!("to install fx 2-1, apt-get would also {words}"));
        }
        for change in [
            change(ChangeKind::Upgrade, "fx", "3-1"),
            change(ChangeKind::Install, "fx", "1-1"),
            change(ChangeKind::Downgrade, "fx", "2-1"),
            change(ChangeKind::Remove, "fx", "1-1"),
        ] {
            assert!(judge(std::slice::from_ref(&change), &[]).is_some(), "{change:?}");
        }
    }

    /// Packages that depend on each other by exact versions can only be upgraded together.
    #[test]
    fn what_another_step_asks_for_may_change() {
        let step: Step = serde_json::from_str(
            r#"{"component":"lib","version":"9","installer":"Deb","package":{"name":"libc"},
                "after":[],"timeoutSeconds":1,"interruptible":true,"downgrade":false,"rewrite":false}"#,
        )
        .unwrap();
        // The package manager shows an epoch and a release that the baseline may leave out.
        for (asked, shown) in [("2", "2-1.el9"), ("0:2-1", "2-1"), ("2-1", "0:2-1"), ("1:2", "1:2-1")] {
            let steps = [Step { version: asked.into(), ..step.clone() }];
            assert_eq!(judge(&[change(ChangeKind::Upgrade, "libc", shown)], &steps), None, "{asked} {shown}");
        }
        let steps = [step];
        assert_eq!(judge(&[change(ChangeKind::Upgrade, "libc", "9")], &steps), None);
        assert!(judge(&[change(ChangeKind::Upgrade, "libc", "8")], &steps).is_some());
        assert!(judge(&[change(ChangeKind::Remove, "libc", "9")], &steps).is_some());
    }
}
