//! Accounts that cannot become root.

use super::{all_at_once, door, ends_with, said, up};
use crate::harness::payload::ethtool;
use crate::harness::{Machine, Site, e2e, lab};
use farrier_update::Reason;
use serde_json::json;

/// A user whose account cannot become root would not learn why, or retries would lock the account.
#[test]
fn an_account_that_cannot_become_root_says_why_and_is_tried_once() {
    e2e("become", async |site| {
        let [_good, gate, bare, _notty] = up([
            // sudo asks for root's password, which the Secret contains.
            site.machine("good").login("rootpw").secret("sudo-password", "root-secret"),
            site.machine("nosudo").login("nosudo"),
            site.machine("bare").login("ops"),
            // su reads from standard input if there is no terminal.
            site.machine("notty")
                .lab(&["--sshd", "PermitTTY no"])
                .login("nosudo")
                .secret("su-password", "root-secret")
                .spec(json!({"ssh": {"privilege": "Su"}})),
        ])
        .await;
        bare.sh("rm /usr/bin/sudo /bin/su").await;
        let before = [gate.snapshot().await, bare.snapshot().await];
        doors(site, &gate, &bare).await;
        site.baseline("spring", &[ethtool()]).await;
        let mut spec = all_at_once("spring");
        spec["strategy"]["retries"] = json!(3);
        let run = site.run("r1", spec).await;
        ends_with(site, &run, EXPECTED).await;
        before[0].same_but(&gate.snapshot().await, &[]);
        before[1].same_but(&bare.snapshot().await, &[]);
        let log = gate.labctl("log").await;
        let accepted = log.lines().filter(|line| line.starts_with("Accepted ")).count();
        assert_eq!(accepted, EXPECTED.len() - 2, "a login was repeated:\n{log}");
    });
}

async fn doors(site: &Site, gate: &Machine, bare: &Machine) {
    let by = |privilege: &str| json!({"ssh": {"privilege": privilege}});
    let ops = [("username", "ops"), ("password", "ops-secret")];
    let tty = [("username", "tty"), ("password", "tty-secret")];
    let rootpw = [("username", "rootpw"), ("password", "rootpw-secret")];
    door(site, gate, "asks", &rootpw, by("Sudo")).await;
    door(site, gate, "wrongsudo", &[ops[0], ops[1], ("sudo-password", "not-it")], by("Sudo")).await;
    door(site, gate, "wrongtty", &[tty[0], tty[1], ("sudo-password", "not-it")], by("Sudo")).await;
    door(site, gate, "wrongroot", &[rootpw[0], rootpw[1], ("sudo-password", "not-it")], by("Sudo")).await;
    door(site, gate, "wrongsu", &[ops[0], ops[1], ("su-password", "not-it")], by("Su")).await;
    door(site, gate, "notroot", &ops, by("None")).await;
    let key = lab::key("id_ed25519");
    door(site, gate, "keyonly", &[ops[0], ("ssh-privatekey", &key)], by("Sudo")).await;
    door(site, bare, "nosu", &ops, by("Su")).await;
}

const EXPECTED: &[super::Said] = &[
    said("nosudo", Reason::SudoDenied, &["sudo on nosudo", "user nosudo", "add a rule"]),
    said(
        "asks",
        Reason::SudoAsksAnotherPassword,
        &["sudo on asks", "password of root", "secret asks", "sudo-password"],
    ),
    said("wrongsudo", Reason::SudoPasswordRejected, &["user ops", "secret wrongsudo", "sudo-password"]),
    said("wrongtty", Reason::SudoPasswordRejected, &["user tty", "secret wrongtty", "sudo-password"]),
    said("wrongroot", Reason::SudoPasswordRejected, &["user root", "secret wrongroot", "sudo-password"]),
    said("wrongsu", Reason::SuPasswordRejected, &["su on wrongsu", "secret wrongsu", "su-password"]),
    said("notroot", Reason::NotRoot, &["user ops of notroot", "spec.ssh.privilege", "Sudo or Su"]),
    said("keyonly", Reason::SecretIncomplete, &["user ops", "secret keyonly", "add the key sudo-password"]),
    said("bare", Reason::SudoMissing, &["no sudo on bare", "install it", "spec.ssh.privilege"]),
    said("nosu", Reason::SuFailed, &["su on nosu", "check that su is installed"]),
];
