//! Credentials that do not open the machine.

use super::{all_at_once, door, ends_with, said, up};
use crate::harness::payload::ethtool;
use crate::harness::{Conditions, Site, e2e, lab};
use farrier_update::Reason;
use serde_json::json;

/// A user with wrong credentials would not learn what is wrong with them, or retries would lock the
/// account.
#[test]
fn credentials_that_do_not_work_say_why_and_are_tried_once() {
    e2e("creds", async |site| {
        let interactive =
            ["--sshd", "PasswordAuthentication no", "--sshd", "KbdInteractiveAuthentication yes"];
        let [_good, gate, _prompted, _keysonly] = up([
            site.machine("good"),
            site.machine("wrongpw").login("ops").secret("password", "not-it"),
            site.machine("prompted").lab(&interactive).secret("password", "not-it"),
            site.machine("keysonly").lab(&["--sshd", "PasswordAuthentication no"]),
        ])
        .await;
        let before = gate.snapshot().await;
        doors(site, &gate).await;
        site.baseline("spring", &[ethtool()]).await;
        let mut spec = all_at_once("spring");
        spec["strategy"]["retries"] = json!(3);
        let run = site.run("r1", spec).await;
        ends_with(site, &run, EXPECTED).await;
        before.same_but(&gate.snapshot().await, &[]);
        let log = gate.labctl("log").await;
        let tried = log.lines().filter(|line| line.contains("Failed password for ops")).count();
        assert_eq!(tried, 1, "a wrong password was offered more than once:\n{log}");
        let node = site.node("wrongpw").await;
        assert_eq!(node.state("HostKeyVerified"), "True", "{}", node.words("HostKeyVerified"));
        assert_eq!(node.state("Authenticated"), "False", "{}", node.words("Authenticated"));
        assert_eq!(node.reason("Ready"), "PasswordRejected");
    });
}

/// Other ManagedNodes of the same machine, each with a different fault.
async fn doors(site: &Site, gate: &crate::harness::Machine) {
    let sudo = || json!({"ssh": {"privilege": "Sudo"}});
    for user in ["locked", "expired", "mustchange", "norsh"] {
        let password = format!("{user}-secret");
        door(site, gate, user, &[("username", user), ("password", &password)], sudo()).await;
    }
    let (stranger, encrypted) = (lab::key("id_unknown"), lab::key("id_ed25519_enc"));
    let key = |key: &'static str| [("username", "auto"), ("ssh-privatekey", key)];
    let garbage = "-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n-----END OPENSSH PRIVATE KEY-----\n";
    door(site, gate, "garbage", &key(garbage), sudo()).await;
    door(site, gate, "nokey", &key("hello"), sudo()).await;
    let key = [("username", "auto"), ("ssh-privatekey", stranger.as_str())];
    door(site, gate, "wrongkey", &key, sudo()).await;
    let key = [("username", "auto"), ("ssh-privatekey", encrypted.as_str())];
    door(site, gate, "nophrase", &key, sudo()).await;
    door(site, gate, "wrongphrase", &[key[0], key[1], ("passphrase", "not-it")], sudo()).await;
    door(site, gate, "nobody", &[("username", "nobody-here"), ("password", "x")], sudo()).await;
    door(site, gate, "half", &[("username", "ops")], sudo()).await;
    door(site, gate, "nosecret", &[], json!({"credentialsRef": {"name": "no-such-secret"}})).await;
}

const EXPECTED: &[super::Said] = &[
    said("wrongpw", Reason::PasswordRejected, &["wrongpw", "user ops", "secret wrongpw"]),
    said("prompted", Reason::PasswordRejected, &["prompted", "secret prompted"]),
    said("nobody", Reason::PasswordRejected, &["user nobody-here", "secret nobody"]),
    // To the client, a locked password looks like a wrong password: the server does not report the
    // difference.
    said("locked", Reason::PasswordRejected, &["user locked", "secret locked", "may also be locked"]),
    said("expired", Reason::AccountLocked, &["expired closed the connection", "locked or expired"]),
    said(
        "mustchange",
        Reason::PasswordChangeRequired,
        &["user mustchange", "must change the password", "chage"],
    ),
    said("norsh", Reason::ShellUnusable, &["user norsh of norsh", "not available", "give the user a shell"]),
    said("wrongkey", Reason::KeyRejected, &["wrongkey", "user auto", "secret wrongkey", "authorized_keys"]),
    said("nophrase", Reason::KeyPassphraseWrong, &["secret nophrase", "add its key passphrase"]),
    said("wrongphrase", Reason::KeyPassphraseWrong, &["secret wrongphrase", "correct its key passphrase"]),
    said("garbage", Reason::KeyUnreadable, &["secret garbage", "OpenSSH or PEM"]),
    said("nokey", Reason::KeyUnreadable, &["secret nokey", "OpenSSH or PEM"]),
    said(
        "keysonly",
        Reason::AuthenticationFailed,
        &["secret keysonly", "publickey", "add password or ssh-privatekey"],
    ),
    said("nosecret", Reason::SecretNotFound, &["no-such-secret", "ManagedNode nosecret", "create it"]),
    said("half", Reason::SecretIncomplete, &["secret half", "password", "ssh-privatekey", "add one"]),
];
