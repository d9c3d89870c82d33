//! Tests of the scripts that only read.

use super::super::look::{firewall_program, process_program};
use super::super::probe;
use super::super::reach::engine_program;
use crate::drivers::shell::script::program;
use crate::drivers::shell::shells::{find, output_of, temporary, text, with_every_shell};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

/// Otherwise a machine would be taken for one without root, or for one of another architecture.
#[test]
fn the_probe_says_what_it_must() {
    with_every_shell(|shell| {
        let place = temporary();
        std::fs::create_dir(place.path().join("farrier-a1")).unwrap();
        let environment = [("SSH_CONNECTION", "fe80::1%eth0 40000 fe80::2%eth0 22")];
        let places = ["/nowhere", text(place.path())];
        let settings = [("NAME", "farrier-a1"), ("STAGED", "farrier-staged")];
        let program = program(include_str!("../probe.sh"), &settings, &places);
        let printed = output_of(shell, &environment, &program).expect("it came to its end");
        let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        let probe = probe::read(&lines);
        assert_eq!(
            (probe.system.as_str(), probe.arch.as_str()),
            ("Linux", std::env::consts::ARCH),
            "{shell:?}"
        );
        assert_eq!(probe.uid, rustix::process::getuid().as_raw(), "{shell:?}");
        assert_eq!(probe.seen_from.as_deref(), Some("fe80::1%eth0"), "{shell:?}");
        assert_eq!(probe.seen_at.as_deref(), Some("fe80::2%eth0"), "{shell:?}");
        assert_eq!(probe.existing, [format!("{}/farrier-a1", text(place.path()))], "{shell:?}");
        assert!(probe.gzip && !probe.has_staged, "{shell:?}");
    });
}

/// Otherwise a machine would count as clean although something of Farrier's is left on it.
#[test]
fn the_final_check_finds_directories_and_processes() {
    with_every_shell(|shell| {
        let place = temporary();
        // Each shell searches for a name of its own.
        let name = format!("farrier-{}", text(place.path()).rsplit('.').next().unwrap_or_default());
        let look = || {
            let program = program(include_str!("../look.sh"), &[("NAME", &name)], &[text(place.path())]);
            output_of(shell, &[], &program).expect("it came to its end")
        };
        assert_eq!(look(), "", "{shell:?}");
        let ours = place.path().join(&name);
        std::fs::create_dir(&ours).unwrap();
        symlink(find("sleep"), ours.join("sleep")).unwrap();
        let mut process = Command::new(ours.join("sleep")).arg("60").spawn().unwrap();
        let expected = format!("left {}\nleft process:{}\n", text(&ours), process.id());
        assert_eq!(look(), expected, "{shell:?}");
        process.kill().unwrap();
        process.wait().unwrap();
    });
}

/// Otherwise a machine would count as clean although its firewall has a rule of Farrier's, or could not be asked.
#[test]
fn the_check_of_the_firewall_finds_rules_and_says_what_it_could_not_list() {
    with_every_shell(|shell| {
        let place = temporary();
        let (bin, net) = (place.path().join("bin"), place.path().join("net"));
        std::fs::create_dir(&bin).unwrap();
        std::fs::create_dir(&net).unwrap();
        symlink(find("grep"), bin.join("grep")).unwrap();
        // Programs that exist: a file that is written here may still be open in a process of another test.
        let tool = |name: &str, program: &str| {
            std::fs::remove_file(bin.join(name)).ok();
            symlink(find(program), bin.join(name)).unwrap();
        };
        let rule = |session: &str| format!("tcp dport 62286 accept comment \"farrier {session} run r1\"");
        let (ours, other) = (rule("a1"), rule("a2"));
        // `printenv list ruleset` prints the rules as `nft list ruleset` does.
        let rules = [("list", other.as_str()), ("ruleset", ours.as_str())];
        let look = |environment: &[(&str, &str)]| {
            let program = firewall_program("a1", text(&bin), text(place.path()));
            output_of(shell, environment, &program).expect("it came to its end")
        };
        let found = format!("left firewall rule: {ours}\n");
        assert_eq!(look(&rules), "", "{shell:?}: no firewall");
        tool("iptables-nft-save", "printenv");
        assert_eq!(look(&rules), found.replace(": ", ": ruleset="), "{shell:?}");
        tool("nft", "printenv");
        assert_eq!(look(&rules), found, "{shell:?}");
        assert_eq!(look(&[]), "unlisted nft\n", "{shell:?}: it has failed");
        let symbols = place.path().join("kallsyms");
        std::fs::write(&symbols, "0000000000000000 t nf_tables_core_module_init\n").unwrap();
        assert_eq!(look(&[]), "unlisted nft\n", "{shell:?}: the kernel has nf_tables");
        std::fs::write(&symbols, "0000000000000000 T tcp_v4_connect\n").unwrap();
        assert_eq!(look(&[]), "", "{shell:?}: the kernel has no nf_tables");
        tool("nft", "true");
        tool("iptables-legacy-save", "printenv");
        assert_eq!(look(&rules), "", "{shell:?}: asking would create the table");
        // As the files of /proc, this one has a content and no size.
        symlink("/proc/self/mounts", net.join("ip_tables_names")).unwrap();
        assert_eq!(look(&rules), found.replace(": ", ": ruleset="), "{shell:?}");
        tool("iptables-legacy-save", "false");
        assert_eq!(look(&rules), "unlisted iptables-legacy-save\n", "{shell:?}");
    });
}

/// Otherwise an address in brackets would be expanded as a pattern, or an address run as a command.
#[test]
fn the_engine_is_given_the_addresses_as_they_are() {
    with_every_shell(|shell| {
        let dir = temporary();
        let engine = dir.path().join("engine");
        std::fs::write(&engine, "#!/bin/sh\nprintf '<%s>' \"$@\"\n").unwrap();
        std::fs::set_permissions(&engine, std::fs::Permissions::from_mode(0o755)).unwrap();
        let addresses = ["[fe80::1%eth0.7]:1".to_owned(), "$(true):1".into(), "a'b".into()];
        let printed = output_of(shell, &[], &engine_program(text(dir.path()), &addresses));
        assert_eq!(printed.as_deref(), Some("<reach><[fe80::1%eth0.7]:1><$(true):1><a'b>"), "{shell:?}");
    });
}

/// Otherwise an engine that this operator cannot understand would count as gone at once on a machine whose
/// `/proc` hides the processes of other users, and be answered again, which renews its lease.
#[test]
fn an_engine_that_proc_hides_exists_as_long_as_its_file() {
    with_every_shell(|shell| {
        let (proc, dir) = (temporary(), temporary());
        let is_there = |pid: u32, dir: Option<&str>| {
            let printed = output_of(shell, &[], &process_program(text(proc.path()), pid, dir));
            printed.expect("its end") == "there\n"
        };
        let engine = dir.path().join("engine");
        std::fs::write(&engine, "").unwrap();
        // Process 1 is hidden too.
        assert!(is_there(714, Some(text(dir.path()))), "{shell:?}: hidden");
        assert!(!is_there(714, None), "{shell:?}: hidden, and not an engine of this session");
        std::fs::create_dir(proc.path().join("1")).unwrap();
        assert!(!is_there(714, Some(text(dir.path()))), "{shell:?}: killed, so that its file remains");
        std::fs::create_dir(proc.path().join("714")).unwrap();
        assert!(is_there(714, None), "{shell:?}: visible");
        std::fs::remove_file(engine).unwrap();
        std::fs::remove_dir(proc.path().join("1")).unwrap();
        std::fs::remove_dir(proc.path().join("714")).unwrap();
        assert!(!is_there(714, Some(text(dir.path()))), "{shell:?}: hidden, and gone");
    });
}
