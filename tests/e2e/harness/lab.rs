//! The lab and the cluster in which the tests were started.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::Command;

/// How to start the tests; printed when they are started in another way.
const HOW: &str = "hack/lab run -- hack/cluster run -- cargo test -p farrier --test e2e";

/// Panics unless there is a lab and a cluster.
pub(crate) fn require() {
    for variable in ["LAB", "LAB_IMAGE", "KUBECONFIG"] {
        let set = std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        assert!(set, "{variable} is not set: this test needs machines and a cluster. Next: {HOW}");
    }
}

/// Returns the directory in which the lab keeps its machines.
pub(crate) fn dir() -> PathBuf {
    std::env::var_os("LAB").expect("LAB").into()
}

/// Returns the directory of the image that machines boot from, with payloads and keys beside it.
pub(crate) fn image() -> PathBuf {
    std::env::var_os("LAB_IMAGE").expect("LAB_IMAGE").into()
}

/// Returns the content of a file in the image's keys, such as one half of a key pair.
pub(crate) fn key(name: &str) -> String {
    let path = image().join("keys").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Runs a program and returns its output. Panics with the program's messages if it fails.
pub(crate) async fn output(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    try_output(program, args).await.unwrap_or_else(|words| panic!("{words}"))
}

/// Runs a program and returns its output, or its messages if it fails.
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
