//! Components for Baselines, made from the payloads of the lab's image.

use super::lab;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

/// A component in the form that a Baseline has.
#[derive(Clone, Debug)]
pub(crate) struct Component(pub(crate) Value);

impl Component {
    /// Applies a JSON merge patch: null removes.
    pub(crate) fn with(mut self, patch: Value) -> Self {
        merge(&mut self.0, patch);
        self
    }
}

/// Returns the real ethtool, in the version after the installed one (5.9).
pub(crate) fn ethtool() -> Component {
    component("ethtool", "1:6.1-1", "Deb", &file("ethtool_6.1"))
}

/// Returns a small package; machines of both package formats have 1.0.
pub(crate) fn agent(version: &str) -> Component {
    component("farrier-agent", version, "Deb", &file(&format!("farrier-agent_{version}_")))
}

/// Returns the same package as an RPM: 1.0-1 or 2.0-1.
pub(crate) fn agent_rpm(version: &str) -> Component {
    component("farrier-agent", version, "Rpm", &file(&format!("farrier-agent-{version}.noarch")))
}

/// Returns another Debian package of the image, selected by the prefix of its file name.
pub(crate) fn deb(name: &str, version: &str) -> Component {
    component(name, version, "Deb", &file(&format!("{name}_{version}")))
}

/// Returns a script that writes its version into `/etc/bmc-tool.version`.
pub(crate) fn bmc_tool(version: &str) -> Component {
    script("bmc-tool", version)
}

/// Returns a script that takes five seconds. It appends a line to `/var/log/slow.runs` when it starts
/// and writes its version into `/etc/slow.version` when it ends.
pub(crate) fn slow(version: &str) -> Component {
    script("slow", version)
}

/// Returns one of the image's scripts, detected by `/etc/NAME.version`.
pub(crate) fn script(name: &str, version: &str) -> Component {
    let detect = json!({"detect": {"file": format!("/etc/{name}.version")}});
    component(name, version, "Script", &file(&format!("{name}.sh"))).with(detect)
}

/// Returns a component whose payload is a file of the image's payloads.
pub(crate) fn component(name: &str, version: &str, installer: &str, file: &str) -> Component {
    let bytes = std::fs::read(lab::image().join("payloads").join(file)).expect(file);
    of_bytes(name, version, installer, file, &bytes)
}

/// Returns a component with a new payload file of this name and content in the operator's payload
/// directory.
pub(crate) fn of_bytes(name: &str, version: &str, installer: &str, file: &str, bytes: &[u8]) -> Component {
    Component(json!({
        "name": name,
        "version": version,
        "installer": installer,
        "payload": {"url": format!("file:///{file}"), "digest": digest(bytes)},
    }))
}

/// Returns the digest of a payload.
pub(crate) fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}

/// Returns the image's payload whose name has this prefix.
pub(crate) fn file(prefix: &str) -> String {
    let dir = lab::image().join("payloads");
    let names = std::fs::read_dir(&dir).expect("the image's payloads").flatten();
    let found = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    found
        .into_iter()
        .find(|name| name.starts_with(prefix))
        .unwrap_or_else(|| panic!("no payload {prefix}… in {}", dir.display()))
}

/// Copies the image's payloads into a directory.
pub(crate) fn fill(dir: &Path) {
    std::fs::create_dir_all(dir).expect("a payload directory");
    for entry in std::fs::read_dir(lab::image().join("payloads")).expect("the image's payloads").flatten() {
        std::fs::copy(entry.path(), dir.join(entry.file_name())).expect("a copy of a payload");
    }
}

/// Applies a JSON merge patch (RFC 7396).
pub(crate) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let object = target.as_object_mut().expect("an object");
    for (key, value) in patch {
        if value.is_null() {
            object.remove(&key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}
