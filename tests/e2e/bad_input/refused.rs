//! SSH servers that accept the login and refuse something afterwards.

use super::{Said, all_at_once, door, ends_with, said, up};
use crate::harness::payload::ethtool;
use crate::harness::{Machine, e2e, lab};
use farrier_update::Reason;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The refusal of a hardened SSH server would look like a network failure, and users would not learn which
/// setting causes it.
#[test]
fn what_an_ssh_server_refuses_is_named_with_its_setting() {
    e2e("refused", async |site| {
        let machines = up([
            site.machine("good").lab(&["--sshd", "MaxSessions 1"]),
            site.machine("nosession").lab(&["--sshd", "MaxSessions 0"]),
            site.machine("sftp").lab(&["--sshd", "ForceCommand internal-sftp"]),
            site.machine("forced").lab(&["--sshd", "ForceCommand /bin/echo go away"]),
            site.machine("false").lab(&["--sshd", "ForceCommand /bin/false"]),
            site.machine("notty").lab(&["--sshd", "PermitTTY no"]).login("tty"),
            site.machine("lost").login("ops"),
            site.machine("full").lab(&["--sshd", "PerSourceMaxStartups 1"]),
        ])
        .await;
        let [good, .., lost, full] = &machines;
        // The connection is closed after the login, before Farrier runs anything.
        lost.sh("echo 'kill -9 $PPID' >/home/ops/.bashrc").await;
        // A key that is restricted to one command, on a server without restrictions.
        good.sh("sed -i 's/^/restrict,command=\"true\" /' /home/auto/.ssh/authorized_keys").await;
        let key = lab::key("id_ed25519");
        door(site, good, "onekey", &[("username", "auto"), ("ssh-privatekey", &key)], json!({})).await;
        let _somebody = signing_in(full).await;
        site.baseline("spring", &[ethtool()]).await;
        let run = site.run("r1", all_at_once("spring")).await;
        ends_with(site, &run, EXPECTED).await;
        let ended = run.get().await.status.expect("a status").counts;
        assert_eq!((ended.succeeded, ended.unreachable, ended.failed), (1, 2, 6));
    });
}

/// Opens a connection to the SSH server that does not sign in.
async fn signing_in(machine: &Machine) -> TcpStream {
    let address = machine.v4.as_deref().expect("an address");
    let mut stream = TcpStream::connect((address, 22)).await.expect("a connection");
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).await.expect("a greeting");
    assert_eq!(&greeting, b"SSH-");
    stream
}

const EXPECTED: &[Said] = &[
    said("nosession", Reason::SshSessionRefused, &["nosession", "MaxSessions to 1 or more", "sshd_config"]),
    said("sftp", Reason::SftpOnly, &["user root of sftp", "SFTP only", "ForceCommand internal-sftp"]),
    said("forced", Reason::SshCommandReplaced, &["user root of forced", "\"go away\"", "ForceCommand"]),
    said("onekey", Reason::SshCommandReplaced, &["user auto of onekey", "command=", "authorized_keys"]),
    said("false", Reason::ShellUnusable, &["user root of false", "exit status 1", "ForceCommand"]),
    said("notty", Reason::SshTerminalRefused, &["sudo on notty", "PermitTTY yes", "requiretty"]),
    said("lost", Reason::ConnectionLost, &["the connection to lost was lost"]),
    said("full", Reason::NotAnSshServer, &["full", "\"Exceeded MaxStartups\"", "PerSourceMaxStartups"]),
];
