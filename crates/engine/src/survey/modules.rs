//! Reads which version of a kernel module DKMS has installed for the running kernel.

use crate::command::{self, Errors, TOOL};
use crate::dkms::{PROGRAM, TREE};
use farrier_protocol::{Pending, PendingUntil, Reading};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that the kernel has, loaded or built in.
const LOADED: &str = "/sys/module";

/// What DKMS says that it has installed for one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Installed {
    version: String,
    arch: String,
    /// What is wrong with it; empty if it is usable.
    trouble: String,
    /// The kernel that it was compiled for, if the module is linked from there (`weak-modules`).
    weak: Option<String>,
}

/// Reads a module. What is only added, or compiled and not installed, is not on the machine.
pub(super) fn reading(name: &str) -> Reading {
    // Without DKMS there is nothing that it has installed.
    if command::find(PROGRAM).is_none() {
        return Reading::Absent;
    }
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    // Of this module only: `dkms status` stops at the first one whose dkms.conf is not valid.
    let output = match command::capture(PROGRAM, &["status", "-m", name], Errors::Discard, TOOL) {
        Ok(output) => output,
        Err(detail) => return Reading::Unreadable { detail },
    };
    let Some(found) = installed(&output.text, name, &kernel) else { return Reading::Absent };
    if !found.trouble.is_empty() {
        return Reading::broken(found.version, format!("not as DKMS has compiled it {}", found.trouble));
    }
    let from = found.weak.as_ref().unwrap_or(&kernel);
    let dir = [TREE, name, &found.version, from, &found.arch, "module"].iter().collect::<PathBuf>();
    if files(&dir).iter().any(|file| is_other_loaded(file)) {
        let pending = Pending { version: found.version.clone(), until: PendingUntil::ModuleLoad };
        return Reading::Present { version: found.version, instances: Vec::new(), pending: Some(pending) };
    }
    Reading::present(found.version)
}

/// Finds what is installed for a kernel in what `dkms status` prints: `NAME/VERSION, KERNEL, ARCH: STATE` by
/// dkms 3, `NAME, VERSION, KERNEL, ARCH: STATE` by dkms 2 and for links to modules of another kernel.
fn installed(text: &str, name: &str, kernel: &str) -> Option<Installed> {
    let line = |line: &str| {
        let (module, state) = line.split_once(": ")?;
        let (start, rest) = (module.strip_prefix(name)?, state.trim().strip_prefix("installed")?);
        let parts: Vec<&str> =
            start.strip_prefix(['/']).or_else(|| start.strip_prefix(", "))?.split(", ").collect();
        let [version, found, arch] = parts.as_slice() else { return None };
        let weak = rest.strip_prefix("-weak from ").map(str::to_owned);
        let remarks = if weak.is_some() { "" } else { rest.trim() };
        // That the kernel brought a module of this name, which is kept for its return, is no trouble.
        let harmless = ["(original_module exists)", "(Original modules exist)"];
        let trouble = harmless.iter().fold(remarks.to_owned(), |text, words| text.replace(words, ""));
        (*found == kernel).then(|| Installed {
            version: (*version).to_owned(),
            arch: (*arch).to_owned(),
            trouble: trouble.trim().to_owned(),
            weak,
        })
    };
    let found: Vec<Installed> = text.lines().filter_map(line).collect();
    // What was compiled for this kernel comes before what is linked.
    found.iter().find(|one| one.weak.is_none()).or(found.first()).cloned()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Reports whether the kernel has loaded another build of this module than the file.
fn is_other_loaded(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let Some(name) = name.split(".ko").next() else { return false };
    let loaded = Path::new(LOADED).join(name.replace('-', "_"));
    // A digest of the sources, or else the version that the module states; some modules have neither.
    ["srcversion", "version"].iter().any(|field| {
        let Ok(running) = fs::read_to_string(loaded.join(field)) else { return false };
        let arguments = ["-F".as_ref(), field.as_ref(), file.as_os_str()];
        match command::capture("modinfo", &arguments, Errors::Discard, TOOL) {
            Ok(output) if output.status.success() => output.text.trim() != running.trim(),
            Ok(_) | Err(_) => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Option<(String, String)> {
        installed(text, "r8125", "6.1.0-9-amd64").map(|found| (found.version, found.trouble))
    }

    /// A driver that was only compiled would be taken for one that the kernel can load.
    #[test]
    fn both_formats_of_dkms_are_read_for_the_running_kernel() {
        let yes = |version: &str| Some((version.to_owned(), String::new()));
        for (text, wanted) in [
            ("", None),
            ("r8125/9.1: added\n", None),
            ("r8125/9.1, 6.1.0-9-amd64, x86_64: built\n", None),
            ("r8125/9.1, 6.1.0-8-amd64, x86_64: installed\n", None),
            ("r8125-extra/9.1, 6.1.0-9-amd64, x86_64: installed\n", None),
            (
                "r8125/9.1, 6.1.0-9-amd64, x86_64: built\nr8125/9.0, 6.1.0-9-amd64, x86_64: installed\n",
                yes("9.0"),
            ),
            ("r8125/9.1, 6.1.0-9-amd64, x86_64: installed (original_module exists)\n", yes("9.1")),
            ("r8125/9.1, 6.1.0-9-amd64, x86_64: installed (Original modules exist)\n", yes("9.1")),
            ("r8125, 9.1, 6.1.0-9-amd64, x86_64: installed\n", yes("9.1")),
            ("r8125, 9.1, 6.1.0-9-amd64, x86_64: installed-weak from 6.1.0-8-amd64\n", yes("9.1")),
        ] {
            assert_eq!(version(text), wanted, "{text}");
        }
        for words in [
            "(WARNING! Diff between built and installed module!)",
            "(Differences between built and installed modules)",
            "(Original modules exist) (Built modules are missing in the kernel modules folder)",
        ] {
            let text = format!("r8125/9.1, 6.1.0-9-amd64, x86_64: installed {words}\n");
            let (version, trouble) = version(&text).unwrap();
            assert_eq!((version.as_str(), trouble.contains("uilt")), ("9.1", true), "{trouble}");
        }
    }
}
