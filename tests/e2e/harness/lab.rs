//! The lab and the cluster that the tests were started in.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::Command;

/// How the tests are started; printed to whoever does it otherwise.
const HOW: &str = "hack/lab run -- hack/cluster run -- cargo test -p farrier --test e2e";

/// Ends the test unless there is a lab and a cluster.
pub(crate) fn require() {
    for variable in ["LAB", "LAB_IMAGE", "KUBECONFIG"] {
        let set = std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        assert!(set, "{variable} is not set: this test needs machines and a cluster. Next: {HOW}");
    }
}

/// Where the lab keeps its machines.
pub(crate) fn dir() -> PathBuf {
    std::env::var_os("LAB").expect("LAB").into()
}

/// What machines boot from, and the payloads and keys beside it.
pub(crate) fn image() -> PathBuf {
    std::env::var_os("LAB_IMAGE").expect("LAB_IMAGE").into()
}

/// A key pair's half, or whatever else is in the image's keys.
pub(crate) fn key(name: &str) -> String {
    let path = image().join("keys").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Runs a program; returns what it printed. Fails with its words if it fails.
pub(crate) async fn output(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    try_output(program, args).await.unwrap_or_else(|words| panic!("{words}"))
}

/// Runs a program; its words where it fails.
pub(crate) async fn try_output(
    program: &str,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|e| format!("{program}: {e}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let command = command.as_std();
    Err(format!("{command:?}: {}: {}{}", output.status, text(&output.stdout), text(&output.stderr)))
}
