//! firewalld, whose rules have no comment: a double of its program, which keeps the rules of one zone in files.

use crate::listen::{RUNNER, at, finish, is_firewall_lease, place, started};
use crate::machine::{Machine, until};
use crate::runner::Runner;
use crate::sandbox::shell;
use crate::tls::Server;
use std::fs;

const RUNTIME: &str = "/mnt/runtime";
const PERMANENT: &str = "/mnt/permanent";

/// The rule that opens the engine's port, as the condition advises it.
const RULE: &str =
    "rule family=\"ipv4\" source address=\"127.0.0.1\" port port=\"62286\" protocol=\"tcp\" accept\n";

const PROGRAM: &str = r#"#!/bin/sh
rules=/mnt/runtime
for word; do [ "$word" != --permanent ] || rules=/mnt/permanent; done
for word; do
  rule=${word#*=}
  case $word in
    --get-default-zone) echo public ;;
    --list-all) echo '  target: default' ;;
    --query-port=*) exit 1 ;;
    --query-rich-rule=*) grep -qxF "$rule" $rules; exit ;;
    --add-rich-rule=*) grep -qxF "$rule" $rules || echo "$rule" >>$rules ;;
    --remove-rich-rule=*) grep -vxF "$rule" $rules >$rules.new; mv $rules.new $rules ;;
  esac
done
exit 0
"#;

/// Installs the double. The zone rejects what no rule accepts.
fn firewalld(runtime: &str, permanent: &str) {
    shell("mount -t tmpfs -o mode=755 tmpfs /usr/local/sbin");
    fs::write("/usr/local/sbin/firewall-cmd", PROGRAM).unwrap();
    shell("chmod 755 /usr/local/sbin/firewall-cmd");
    fs::write(RUNTIME, runtime).unwrap();
    fs::write(PERMANENT, permanent).unwrap();
}

fn runtime() -> String {
    fs::read_to_string(RUNTIME).unwrap()
}

fn leases(machine: &Machine) -> usize {
    machine.journal().into_iter().filter(is_firewall_lease).count()
}

sandboxed! {
    /// The rule is ours from the lease to the end.
    fn a_rule_is_made_and_removed() {
        firewalld("", "");
        let server = Server::on("127.0.0.1:0");
        let (machine, listening) = started(&server, place(RUNNER, RUNNER));
        assert_eq!((listening.firewalls.len(), leases(&machine)), (1, 1), "{listening:?}");
        assert_eq!(runtime(), RULE);
        finish(&mut Runner::default(), &server, &machine, at(RUNNER, listening.port));
        assert_eq!(runtime(), "");
    }
}

sandboxed! {
    /// Whoever has followed our advice, and later allows that the firewall is opened, keeps the own rule.
    fn the_rule_that_the_owner_has_made_is_never_ours() {
        firewalld(RULE, "");
        let server = Server::on("127.0.0.1:0");
        let (machine, listening) = started(&server, place(RUNNER, RUNNER));
        assert_eq!((listening.firewalls.len(), leases(&machine)), (0, 0), "{listening:?}");
        finish(&mut Runner::default(), &server, &machine, at(RUNNER, listening.port));
        assert_eq!(runtime(), RULE);
    }
}

sandboxed! {
    /// The owner stores the rule while the engine has the same one, and reloads.
    fn a_rule_that_the_owner_has_stored_stays() {
        firewalld("", "");
        let server = Server::on("127.0.0.1:0");
        let (machine, listening) = started(&server, place(RUNNER, RUNNER));
        until("the rule", || runtime() == RULE);
        fs::write(PERMANENT, RULE).unwrap();
        finish(&mut Runner::default(), &server, &machine, at(RUNNER, listening.port));
        assert_eq!(runtime(), RULE);
    }
}
