//! Checks whether a payload is the package that the step names, and which packages are the same package.

use farrier_protocol::{PackageRef, Refusal, Step, StepExit};

/// The identity of a package, read from its file.
pub(super) struct Identity<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) arch: &'a str,
}

/// Checks that the payload is the package that the step names.
pub(super) fn check(step: &Step, payload: &Identity<'_>) -> Result<(), StepExit> {
    let Some(package) = &step.package else { return Ok(()) };
    if payload.name == package.name && package.is_for(payload.arch) {
        return Ok(());
    }
    let Identity { name, version, arch } = payload;
    let detail = format!("the payload is {name} {version} for {arch}, not {}", describe(package));
    Err(StepExit::refused(Refusal::OtherPackage, detail))
}

/// Returns the text `fx for amd64 or all`. Architectures between the first and the last are other names for
/// the first.
fn describe(package: &PackageRef) -> String {
    let arches = match package.arches.as_slice() {
        [] => String::new(),
        [one] => format!(" for {one}"),
        [first, .., last] => format!(" for {first} or {last}"),
    };
    format!("{}{arches}", package.name)
}

/// Reports whether an installed package with the payload's name is the same package, so that the payload is
/// intended to replace it. A change from or to a package for all architectures is an upgrade.
pub(super) fn is_same(step: &Step, payload_arch: &str, installed_arch: &str) -> bool {
    match &step.package {
        Some(package) if !package.arches.is_empty() => {
            package.is_for(installed_arch) || is_neutral(installed_arch)
        }
        Some(_) | None => {
            family(payload_arch) == family(installed_arch)
                || is_neutral(payload_arch)
                || is_neutral(installed_arch)
        }
    }
}

fn is_neutral(arch: &str) -> bool {
    matches!(arch, "all" | "noarch")
}

/// Returns the common name of the architectures that rpm treats as levels of one instruction set.
fn family(arch: &str) -> &str {
    match arch {
        "i486" | "i586" | "i686" | "athlon" => "i386",
        "x86_64_v2" | "x86_64_v3" | "x86_64_v4" => "x86_64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rpm's upgrade of an i586 package to an i686 package must not become a second installation, and a
    /// package for all architectures is the same package as one for any architecture.
    #[test]
    fn without_a_plan_the_architectures_alone_say_what_is_the_same() {
        let step: Step = serde_json::from_str(
            r#"{"component":"fx","version":"1","installer":"Rpm","payload":{"digest":"","size":0,"fileName":""},
                "after":[],"timeoutSeconds":1,"interruptible":true,"downgrade":false,"rewrite":false}"#,
        )
        .unwrap();
        for (payload, installed) in
            [("i686", "i586"), ("x86_64", "noarch"), ("all", "i386"), ("amd64", "amd64")]
        {
            assert!(is_same(&step, payload, installed), "{payload} and {installed}");
        }
        for (payload, installed) in [("x86_64", "i686"), ("amd64", "i386")] {
            assert!(!is_same(&step, payload, installed), "{payload} and {installed}");
        }
    }
}
