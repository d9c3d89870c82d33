//! Channel `Listen`: the protocol over TLS, on a connection that the runner opened.

use crate::machine::{Machine, until};
use crate::reboot::{boot_with_systemd, reboot};
use crate::runner::{Connection, Runner};
use crate::sandbox::shell;
use crate::tls::{SESSION, Server, TOKEN};
use farrier_protocol::{
    CallbackConfig, EventBody, Installer, LaunchReport, LeaseKind, ListenConfig, Listening, StepExit, Work,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

pub(crate) const RUNNER: &str = "127.0.0.1";
const STRANGER: &str = "127.0.0.2";

/// Where the engine of a test listens. The ports are those of [`first_free`].
pub(crate) fn place(local: &str, peer: &str) -> ListenConfig {
    ListenConfig {
        first_port: 62286,
        last_port: 62289,
        local: local.into(),
        peer: peer.into(),
        token: TOKEN.into(),
        open_firewall: true,
    }
}

fn config(server: &Server, place: ListenConfig) -> CallbackConfig {
    CallbackConfig { listen: Some(place), ..server.callback_at(&[]) }
}

fn listening(report: &LaunchReport) -> Listening {
    match report {
        LaunchReport::Started { listening: Some(listening), .. }
        | LaunchReport::AlreadyRunning { listening: Some(listening), .. } => listening.clone(),
        other => panic!("{other:?}"),
    }
}

/// Starts an engine that listens.
pub(crate) fn started(server: &Server, place: ListenConfig) -> (Machine, Listening) {
    let machine = Machine::new(SESSION).deploy();
    let report = machine.launch_listen(&config(server, place));
    let listening = listening(&report);
    (machine.of(&report), listening)
}

/// Connects to a port, from a source address.
fn connect_from(from: &str, to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP))?;
    let from: IpAddr = from.parse().unwrap();
    bind(&socket, &SocketAddr::new(from, 0))?;
    connect(&socket, &to)?;
    Ok(TcpStream::from(socket))
}

pub(crate) fn at(local: &str, port: u16) -> SocketAddr {
    SocketAddr::new(local.parse().unwrap(), port)
}

/// Connects as the runner does.
fn dial(server: &Server, to: SocketAddr) -> io::Result<Connection> {
    let mut tcp = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    tcp.write_all(format!("{}{TOKEN}\n", ListenConfig::GREETING).as_bytes())?;
    server.shake(tcp)
}

/// Serves on connections to the engine until it has retired.
pub(crate) fn finish(runner: &mut Runner, server: &Server, machine: &Machine, to: SocketAddr) {
    runner.order("retire-1", Work::Retire);
    until("the end of the engine", || {
        dial(server, to).is_ok_and(|mut connection| runner.serve(&mut connection, Runner::retired))
    });
    machine.await_end();
    machine.assert_clean();
}

sandboxed! {
    /// A whole session whose connection breaks in the middle of a payload, over both families.
    fn a_session_over_accepted_connections_from_launch_to_retirement() {
        for local in ["127.0.0.1", "::1"] {
            let server = Server::on("127.0.0.1:0");
            let (machine, listening) = started(&server, place(local, local));
            assert_eq!((listening.port, listening.firewalls.len()), (62286, 0), "{listening:?}");
            let mut runner = Runner { break_after: Some(1_000), ..Runner::default() };
            let one = runner.payload("one", Installer::Script, [b"#!/bin/sh\n#".to_vec(), vec![b'x'; 100_000]].concat());
            runner.order_apply("apply-1", vec![one]);
            finish(&mut runner, &server, &machine, at(local, listening.port));
            assert_eq!(runner.exits(), [("one", &StepExit::Exited { code: 0 })]);
            assert_eq!(runner.gets.len(), 2, "{:?}", runner.gets);
            assert_eq!(machine.journal(), runner.events);
            shell("rm -r /var/log/farrier");
        }
    }
}

sandboxed! {
    /// Another program, or another tool of this kind, may use the port.
    fn the_next_port_is_taken_on_a_conflict_and_none_is_reported() {
        let server = Server::on("127.0.0.1:0");
        let mut taken = vec![TcpListener::bind("127.0.0.1:62286").unwrap()];
        let (machine, listening) = started(&server, place(RUNNER, RUNNER));
        assert_eq!(listening.port, 62287);
        finish(&mut Runner::default(), &server, &machine, at(RUNNER, listening.port));
        shell("rm -r /var/log/farrier");
        taken.extend([62287, 62288, 62289].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap()));
        let (machine, listening) = started(&server, place(RUNNER, RUNNER));
        assert_eq!(listening.port, 0);
        assert!(listening.problem.contains("all ports from 62286 to 62289"), "{}", listening.problem);
        Runner::default().finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// A scanner, or a monitoring system on the operator's own host, would end or starve the update.
    fn ten_thousand_connections_do_not_starve_the_runner() {
        let server = Server::on("127.0.0.1:0");
        let (machine, listening) = started(&server, place(RUNNER, RUNNER));
        let to = at(RUNNER, listening.port);
        let mut runner = Runner::default();
        let mut first = dial(&server, to).unwrap();
        assert!(runner.serve(&mut first, |runner| runner.asked == 1));
        let before = resident(machine.pid);
        let mut held = Vec::new();
        for number in 0..10_000 {
            // Strangers, and from the runner's address connections that say nothing, or something else.
            let from = if number % 2 == 0 { STRANGER } else { RUNNER };
            let Ok(mut tcp) = connect_from(from, to) else { continue };
            if number % 4 == 3 {
                tcp.write_all(b"GET / HTTP/1.1\r\nHost: engine\r\n\r\n").ok();
            }
            if number % 50 == 1 {
                held.push(tcp);
            }
            if number % 2500 == 0 {
                // The session goes on meanwhile.
                let asked = runner.asked;
                assert!(runner.serve(&mut first, |runner| runner.asked > asked), "after {number}");
            }
        }
        let begun = Instant::now();
        let mut second = dial(&server, to).expect("the runner is let in");
        assert!(runner.serve(&mut second, |runner| runner.hellos.len() == 2));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        drop((first, second));
        let grown = resident(machine.pid).saturating_sub(before);
        assert!(grown < 4 * 1024, "{grown} KiB more are resident");
        let strange = connect_from(STRANGER, to).and_then(|mut tcp| tcp.read(&mut [0; 1]));
        assert!(strange.is_err(), "a stranger is reset: {strange:?}");
        finish(&mut runner, &server, &machine, to);
        drop(held);
    }
}

sandboxed! {
    /// The runner that launched last is served, and the port goes with the channel.
    fn a_renewed_configuration_is_applied_and_a_removed_one_closes_the_port() {
        let (old, new) = (Server::on("127.0.0.1:0"), Server::on("127.0.0.1:0"));
        let (machine, first) = started(&old, place(RUNNER, RUNNER));
        let to = at(RUNNER, first.port);
        let again = machine.launch_listen(&config(&new, place(RUNNER, RUNNER)));
        assert_eq!(listening(&again).port, first.port, "{again:?}");
        assert!(dial(&old, to).is_err());
        let mut runner = Runner::default();
        let mut connection = dial(&new, to).unwrap();
        assert!(runner.serve(&mut connection, |runner| runner.asked == 1));
        let session = machine.launch();
        assert_eq!(session, LaunchReport::AlreadyRunning { pid: machine.pid, listening: None });
        until("a closed port", || TcpStream::connect(to).is_err());
        runner.finish(&machine);
        machine.assert_clean();
    }
}

sandboxed! {
    /// The machine's firewall is opened for the runner alone, and is as before at every end.
    fn firewalls_are_opened_and_are_as_before_at_every_end() {
        for (name, rules, listing, tools) in FIREWALLS {
            let found = shell(&format!("command -v {tools} || true"));
            assert!(!found.is_empty(), "{tools} is not installed. Next: hack/test unit, which installs it");
            shell(rules);
            let before = shell(listing);
            for end in [End::Retired, End::Killed, End::Expired, End::Closed, End::Succeeded] {
                let server = Server::on("127.0.0.1:0");
                let (machine, listening) = started(&server, place(RUNNER, RUNNER));
                let to = at(RUNNER, listening.port);
                assert_eq!(listening.firewalls.len(), 1, "{name}: {listening:?}");
                assert!(shell(listing).contains("farrier s1 run spring until 20"), "{name}: {}", shell(listing));
                let leases: Vec<_> = machine.journal().into_iter().filter(is_firewall_lease).collect();
                assert_eq!(leases.len(), 1, "{name}");
                assert!(is_dropped(STRANGER, to), "{name}");
                let mut runner = Runner { lease: matches!(end, End::Expired).then_some(1), ..Runner::default() };
                assert!(runner.serve(&mut dial(&server, to).unwrap(), |runner| runner.asked == 1), "{name}");
                end.come(&machine, &server, &mut runner, to);
                assert_eq!(shell(listing), before, "{name}, {end:?}");
                shell("rm -r /var/log/farrier");
            }
            shell("nft flush ruleset; iptables-legacy -F INPUT; iptables-legacy -P INPUT ACCEPT");
        }
    }
}

sandboxed! {
    /// Administrators reload firewalls at any time.
    fn a_rule_that_somebody_removed_is_made_again() {
        let reload = "nft -f - <<'E'\nflush ruleset\ntable inet own {\n chain in {\n type filter hook input priority 0; policy drop;\n ct state established accept\n }\n}\nE";
        shell(reload);
        let before = shell("nft -s list ruleset");
        let server = Server::on("127.0.0.1:0");
        let (machine, listening) = started(&server, place(RUNNER, RUNNER));
        shell(reload);
        until("the rule", || shell("nft -s list ruleset").contains("farrier s1"));
        finish(&mut Runner::default(), &server, &machine, at(RUNNER, listening.port));
        assert_eq!(shell("nft -s list ruleset"), before);
    }
}

sandboxed! {
    /// Services that store the rules when the machine goes down would open the port at every boot.
    fn a_machine_goes_down_without_the_rules_and_has_them_again_if_it_stays_and_after_its_boot() {
        let (_, rules, listing, _) = FIREWALLS[0];
        boot_with_systemd("listen", &format!("{listing} >/mnt/rules; [ ! -e /mnt/stays ]"));
        shell(rules);
        let before = shell(listing);
        let server = Server::on("127.0.0.1:0");
        let (machine, listening) = started(&server, place(RUNNER, RUNNER));
        let to = at(RUNNER, listening.port);
        let mut runner = Runner::default();
        fs::write("/mnt/stays", "").unwrap();
        runner.order("a1-reboot", reboot(false));
        assert!(runner.serve(&mut dial(&server, to).unwrap(), |runner| runner.is_done("a1-reboot")));
        assert_eq!(fs::read_to_string("/mnt/rules").unwrap(), before, "when the machine was to go down");
        assert!(shell(listing).contains("farrier s1"), "the machine has stayed: {}", shell(listing));
        shell("rm /mnt/stays /mnt/rules");
        runner.order("a2-reboot", reboot(false));
        let is_requested = |runner: &Runner| fs::exists("/mnt/rules").unwrap() && runner.retired();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                until("the request", || fs::exists("/mnt/rules").unwrap());
                // The machine goes down.
                shell(&format!("kill -TERM {}", machine.pid));
            });
            runner.serve(&mut dial(&server, to).unwrap(), is_requested);
        });
        machine.await_end();
        assert_eq!(shell(listing), before, "the machine is down");
        shell("echo another-boot >/mnt/boot_id; mount --bind /mnt/boot_id /proc/sys/kernel/random/boot_id");
        let (machine, listening) = started(&server, place(RUNNER, RUNNER));
        assert!(shell(listing).contains("farrier s1"), "after the boot");
        finish(&mut runner, &server, &machine, at(RUNNER, listening.port));
        assert!(runner.bodies().any(|body| matches!(body, EventBody::Rebooted { .. })));
        assert_eq!(shell(listing), before);
    }
}

sandboxed! {
    fn a_firewall_that_may_not_be_changed_is_named_with_its_command() {
        let (_, rules, listing, _) = FIREWALLS[0];
        shell(rules);
        let before = shell(listing);
        let server = Server::on("127.0.0.1:0");
        let closed = ListenConfig { open_firewall: false, ..place(RUNNER, RUNNER) };
        let (machine, listening) = started(&server, closed);
        assert_eq!(shell(listing), before);
        let [firewall] = listening.firewalls.as_slice() else { panic!("{listening:?}") };
        assert!(firewall.command.contains("nft insert rule inet own in ip saddr 127.0.0.1 tcp dport 62286 accept"));
        assert!(is_dropped(RUNNER, at(RUNNER, listening.port)));
        shell(&firewall.command);
        // Through the opened port, until the engine has ended.
        finish(&mut Runner::default(), &server, &machine, at(RUNNER, listening.port));
    }
}

/// Firewalls that drop everything: a name, how it is set up, how it is listed, its program.
const FIREWALLS: [(&str, &str, &str, &str); 3] = [
    (
        "nftables",
        "nft -f - <<'E'\ntable inet own {\n chain in {\n type filter hook input priority 0; policy drop;\n ct state established,related accept\n tcp dport { 22, 80 } accept comment \"the user's own\"\n }\n}\nE",
        "nft -s list ruleset",
        "nft",
    ),
    (
        "iptables-nft",
        "iptables-nft -P INPUT DROP; iptables-nft -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; iptables-nft -A INPUT -p tcp --dport 22 -j ACCEPT -m comment --comment \"the user's own\"",
        "iptables-nft -S",
        "iptables-nft",
    ),
    (
        "iptables-legacy",
        "iptables-legacy -P INPUT DROP; iptables-legacy -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; iptables-legacy -A INPUT -p tcp --dport 22 -j ACCEPT",
        "iptables-legacy -S",
        "iptables-legacy",
    ),
];

/// How a session ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The runner orders it.
    Retired,
    /// The engine is killed, and the runner cleans up.
    Killed,
    /// The runner is silent until the lease expires.
    Expired,
    /// The engine goes on without the port.
    Closed,
    /// The engine is killed, and another one takes over.
    Succeeded,
}

impl End {
    fn come(self, machine: &Machine, server: &Server, runner: &mut Runner, to: SocketAddr) {
        match self {
            Self::Retired => finish(runner, server, machine, to),
            Self::Killed => {
                machine.kill();
                let swept = machine.sweep();
                assert!(swept.status.success(), "{}", String::from_utf8_lossy(&swept.stdout));
            }
            Self::Expired => machine.await_end(),
            Self::Closed => {
                machine.launch();
                until("the return of the lease", || {
                    let returned = |event: &farrier_protocol::Event| matches!(&event.body, EventBody::LeaseReturned { id } if id.starts_with("firewall"));
                    machine.journal().iter().any(returned)
                });
                runner.finish(machine);
            }
            Self::Succeeded => {
                machine.kill();
                let machine = Machine::new(SESSION).deploy();
                let report = machine.launch_listen(&config(server, place(RUNNER, RUNNER)));
                let port = listening(&report).port;
                finish(runner, server, &machine.of(&report), at(RUNNER, port));
            }
        }
    }
}

pub(crate) fn is_firewall_lease(event: &farrier_protocol::Event) -> bool {
    matches!(&event.body, EventBody::LeaseTaken { lease } if lease.kind == LeaseKind::Firewall)
}

/// Whether the firewall drops a connection.
fn is_dropped(from: &'static str, to: SocketAddr) -> bool {
    let (send, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(connect_from(from, to).is_ok()));
    answer.recv_timeout(Duration::from_secs(1)).is_err()
}

/// Returns the resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
