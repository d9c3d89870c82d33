//! Runs a test in its own namespaces: the test program starts itself again inside them.

use std::process::Command;

/// Environment variable that is set in the process inside the sandbox.
const INSIDE: &str = "FARRIER_SANDBOX";

/// Directories that the tests write to.
const SCRATCH: [&str; 3] = ["/mnt", "/var/log", "/opt"];

/// Time limit of a test. A test that hangs is killed together with all its processes.
const LIMIT_SECONDS: &str = "180";

/// Declares a test that runs in a sandbox.
macro_rules! sandboxed {
    ($(#[$meta:meta])* fn $name:ident() $body:block) => {
        $(#[$meta])*
        #[test]
        fn $name() {
            crate::sandbox::run(concat!(module_path!(), "::", stringify!($name)), || $body);
        }
    };
}

/// Runs `body`, the test called `name`, in a sandbox.
pub(crate) fn run(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        for dir in SCRATCH {
            shell(&format!("mount -t tmpfs tmpfs {dir} && chmod 755 {dir}"));
        }
        shell("ip link set lo up");
        return body();
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED, needs root: {name}. Next: run it with sudo.");
        return;
    }
    let name = name.split_once("::").map_or(name, |(_, name)| name);
    let status = Command::new("timeout")
        .args(["--kill-after=5", LIMIT_SECONDS])
        .args(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        // The shell is process 1 of the sandbox and reaps the processes that the engine orphans.
        .args(["sh", "-c", "\"$0\" \"$@\"; exit $?"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed in its sandbox: {status}");
}

/// Runs a shell command, which must succeed.
pub(crate) fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
