//! OpenSSH's server on a port of the loopback address, with the algorithms that a test wants.

use super::account;
use farrier::ssh::Credentials;
use farrier::ssh::auth::read_key;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a server may take to start on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// A running server, to which the user of the tests may sign in with a key.
pub(crate) struct Sshd {
    pub(crate) port: u16,
    /// Its host key, as in `known_hosts`.
    pub(crate) host_key: String,
    pub(crate) credentials: Credentials,
    server: Child,
    dir: tempfile::TempDir,
}

impl Sshd {
    /// Starts a server. `host_key` and `user_key` are what `ssh-keygen` takes, `options` lines of `sshd_config`.
    pub(crate) fn start(host_key: &[&str], user_key: &[&str], options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (host, user) = (dir.path().join("host"), dir.path().join("user"));
        make_key(&host, host_key);
        make_key(&user, user_key);
        // The server insists on it when it runs as root.
        if rustix::process::getuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let (key, allowed) = (host.display(), user.with_extension("pub"));
        let mut lines = vec![
            format!("Port {port}"),
            "ListenAddress 127.0.0.1".into(),
            format!("HostKey {key}"),
            format!("AuthorizedKeysFile {}", allowed.display()),
            "StrictModes no".into(),
            "PermitRootLogin yes".into(),
            "UsePAM no".into(),
            "PidFile none".into(),
            "RequiredRSASize 1024".into(),
        ];
        lines.extend(options.iter().map(|&line| line.to_owned()));
        let config = dir.path().join("sshd_config");
        std::fs::write(&config, lines.join("\n")).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", config.to_str().unwrap()])
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("sshd: {error}. Next: hack/test unit, or install it"));
        let secret = std::fs::read_to_string(&user).unwrap();
        let key = Arc::new(read_key("oa-1-login", &secret, None).unwrap());
        let credentials = Credentials { key: Some((key, None)), ..account(&whoami()) };
        let host_key = std::fs::read_to_string(host.with_extension("pub")).unwrap();
        let sshd = Self { port, host_key, credentials, server, dir };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(sshd.dir.path().join("log")).unwrap();
            assert!(begun.elapsed() < LIMIT, "sshd does not listen: {log}");
            // sleep: a port does not tell when somebody listens on it.
            std::thread::sleep(Duration::from_millis(20));
        }
        sshd
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

fn make_key(file: &Path, options: &[&str]) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-f", file.to_str().unwrap()])
        .args(options)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success(), "ssh-keygen {options:?}");
}

fn whoami() -> String {
    let printed = Command::new("id").arg("-un").output().unwrap().stdout;
    String::from_utf8(printed).unwrap().trim().to_owned()
}
