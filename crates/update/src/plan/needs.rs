//! What a machine must have before a component is installed: programs, and the headers of its kernel.

use super::{PlanInput, file_name};
use crate::model::Component;
use farrier_protocol::Facts;
use std::collections::BTreeSet;

/// A family of distributions: the words of `ID` and `ID_LIKE` in os-release, and how its packages are named.
struct Family {
    words: &'static [&'static str],
    headers: &'static str,
    packages: &'static [(&'static str, &'static str)],
}

/// Names that differ from the program's name, by family.
const FAMILIES: [Family; 3] = [
    Family {
        words: &["debian", "ubuntu"],
        headers: "linux-headers-",
        packages: &[
            ("ld", "binutils"),
            ("as", "binutils"),
            ("c++", "g++"),
            ("cc", "gcc"),
            ("modinfo", "kmod"),
            ("xz", "xz-utils"),
        ],
    },
    Family {
        words: &["rhel", "fedora", "centos"],
        headers: "kernel-devel-",
        packages: &[
            ("ld", "binutils"),
            ("as", "binutils"),
            ("g++", "gcc-c++"),
            ("c++", "gcc-c++"),
            ("cc", "gcc"),
            ("modinfo", "kmod"),
        ],
    },
    Family {
        words: &["suse", "opensuse", "sles"],
        headers: "",
        packages: &[
            ("ld", "binutils"),
            ("as", "binutils"),
            ("g++", "gcc-c++"),
            ("c++", "gcc-c++"),
            ("cc", "gcc"),
        ],
    },
];

/// What compiles a kernel module. The kernel's own makefiles call `gcc`, unless the kernel was made with another
/// compiler.
const MODULES: [&str; 3] = ["dkms", "gcc", "make"];

/// What decompresses a source tree, by the end of its file name.
const DECOMPRESS: [(&str, &str); 4] = [(".gz", "gzip"), (".tgz", "gzip"), (".xz", "xz"), (".txz", "xz")];

/// Returns the programs that the components need, for the survey.
pub fn programs(components: &[Component]) -> Vec<String> {
    components.iter().flat_map(of).collect::<BTreeSet<String>>().into_iter().collect()
}

/// Returns the programs that a component needs: what the baseline lists, and what its installer implies.
fn of(component: &Component) -> Vec<String> {
    let mut programs = component.needs.programs.clone();
    if component.installer.compiles_modules() {
        let name = component.payload.as_ref().map(|payload| file_name(&payload.url)).unwrap_or_default();
        let decompress = DECOMPRESS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, program)| *program);
        programs.extend(MODULES.into_iter().chain(decompress).map(str::to_owned));
    }
    programs.sort();
    programs.dedup();
    programs
}

/// Returns what the machine lacks, and what to install there; `None` if it has everything.
pub(super) fn missing(component: &Component, input: &PlanInput<'_>) -> Option<String> {
    let facts = input.facts;
    let mut what = of(component);
    what.retain(|program| !input.programs.contains(program));
    let mut packages: BTreeSet<String> = what.iter().map(|program| package(facts, program)).collect();
    let needs_headers = component.needs.kernel_headers || component.installer.compiles_modules();
    if needs_headers && facts.kernel_headers.is_empty() {
        what.push(format!("the headers of the running kernel {}", facts.kernel));
        packages.insert(headers(facts));
    }
    if what.is_empty() {
        return None;
    }
    let packages = packages.into_iter().collect::<Vec<_>>().join(", ");
    Some(format!(
        "{} is installed with {}, which this machine lacks; install {packages} there, or restrict the component with appliesTo",
        component.name,
        what.join(" and ")
    ))
}

fn family(facts: &Facts) -> Option<&'static Family> {
    let mut words = std::iter::once(facts.os.as_str()).chain(facts.os_like.split_whitespace());
    words.find_map(|word| {
        let word = word.split('-').next().unwrap_or(word);
        FAMILIES.iter().find(|family| family.words.contains(&word))
    })
}

/// Returns the package that has a program. Most are called as their program.
fn package(facts: &Facts, program: &str) -> String {
    let other = family(facts).and_then(|family| family.packages.iter().find(|(name, _)| *name == program));
    other.map_or(program, |(_, package)| *package).to_owned()
}

/// Returns the package with the headers of the running kernel. SUSE names it after the kernel's flavour.
fn headers(facts: &Facts) -> String {
    let kernel = &facts.kernel;
    match family(facts).map(|family| family.headers) {
        Some("") => format!("kernel-{}-devel", kernel.rsplit('-').next().unwrap_or("default")),
        Some(prefix) => format!("{prefix}{kernel}"),
        None => format!("the headers of Linux {kernel}"),
    }
}
