//! Exactly the needed ports are open, for the machines that need them, while they need them.

use super::*;
use crate::table::{calls_back_always, service_need};
use proptest::prelude::*;

const PAIR: Pair = Pair { http: 63003, https: 63004 };

const SERVICES: [(FileService, u16); 2] = [(FileService::Sftp, 63005), (FileService::Ftp, 63006)];

fn machine(kind: MachineType, channel: Channel, stage: Stage, address: &str) -> Machine {
    Machine {
        kind,
        addresses: vec![address.parse().unwrap()],
        ssh_port: 22,
        api_port: crate::table::API_PORT,
        listen: ListenPorts::USUAL,
        channel,
        fetches: None,
        stage,
    }
}

fn ilo(fetches: Option<Scheme>, stage: Stage) -> Machine {
    Machine { fetches, ..machine(MachineType::ILO, Channel::Callback, stage, "10.0.0.1") }
}

fn input(machines: Vec<Machine>) -> Input {
    Input { machines, pairs: BTreeSet::from([PAIR]), services: SERVICES.into(), peers: Vec::new() }
}

/// Renders rules as text: `in 10.0.0.1/32 tcp 63004`.
fn rendered(input: &Input) -> Vec<String> {
    let one = |rule: &Rule| {
        let way = match rule.way {
            PolicyType::Ingress => "in",
            PolicyType::Egress => "out",
        };
        let cidrs: Vec<String> = rule.cidrs.iter().map(ToString::to_string).collect();
        let ports: Vec<String> = rule.ports.iter().map(|p| format!("{} {}", p.transport, p.port)).collect();
        format!("{way} {} {}", cidrs.join(","), ports.join(",").to_lowercase())
    };
    rules(input, CIDRS_PER_RULE).iter().map(one).collect()
}

const INVENTORY: Stage = Stage::In(Phase::Inventory);
const DEPLOYMENT: Stage = Stage::In(Phase::Deployment);

/// Row W1: an iLO fetches its image in deployment. Before that, and if it takes a push, its return path
/// stays closed.
#[test]
fn a_device_that_pulls_may_connect_while_it_pulls() {
    let open = |fetches, stage| rendered(&input(vec![ilo(fetches, stage)]));
    let (http, out) = (Some(Scheme::Http), "out 10.0.0.1/32 tcp 22,tcp 443");
    assert_eq!(open(http, Stage::Waiting), [""; 0]);
    assert_eq!(open(http, INVENTORY), [out], "the table lists no port for it");
    assert_eq!(open(None, DEPLOYMENT), [out]);
    assert_eq!(open(http, DEPLOYMENT), ["in 10.0.0.1/32 tcp 63003", out]);
    assert_eq!(open(Some(Scheme::Https), DEPLOYMENT), [out], "the table lists HTTP only");
    assert_eq!(open(http, Stage::Ended), [""; 0]);
}

/// Row E11: a file service is open for the machine that fetches by it, and for no other one.
#[test]
fn a_machine_that_fetches_by_ftp_or_sftp_may_connect_to_that_service() {
    let open = |fetches, stage| {
        let other = machine(MachineType::ILO, Channel::Session, DEPLOYMENT, "10.0.0.9");
        let input = input(vec![ilo(fetches, stage), other]);
        rendered(&input).into_iter().filter(|rule| rule.starts_with("in")).collect::<Vec<_>>()
    };
    let ftp = "in 10.0.0.1/32 tcp 63006,tcp 63007,tcp 63008,tcp 63009,tcp 63010";
    assert_eq!(open(Some(Scheme::Ftp), DEPLOYMENT), [ftp]);
    for scheme in [Scheme::Sftp, Scheme::Scp] {
        assert_eq!(open(Some(scheme), DEPLOYMENT), ["in 10.0.0.1/32 tcp 63005"]);
    }
    assert_eq!(open(Some(Scheme::Http), DEPLOYMENT), ["in 10.0.0.1/32 tcp 63003"]);
    for (fetches, stage) in
        [(None, DEPLOYMENT), (Some(Scheme::Ftp), INVENTORY), (Some(Scheme::Ftp), Stage::Ended)]
    {
        assert_eq!(open(fetches, stage), [""; 0]);
    }
}

/// A BMC that speaks HTTP only gets the port for that and not the other one.
#[test]
fn only_the_port_of_the_protocol_is_open() {
    let open = |fetches| {
        let bmc = machine(MachineType::Redfish, Channel::Session, DEPLOYMENT, "10.0.0.1");
        rendered(&input(vec![Machine { fetches, ..bmc }]))
    };
    let out = "out 10.0.0.1/32 tcp 443";
    assert_eq!(open(Some(Scheme::Https)), ["in 10.0.0.1/32 tcp 63004", out]);
    assert_eq!(open(Some(Scheme::Http)), ["in 10.0.0.1/32 tcp 63003", out]);
    assert_eq!(open(None), [out]);
}

/// A run on channel Session alone opens no ingress at all.
#[test]
fn only_a_machine_on_channel_callback_may_connect() {
    let linux = |channel| rendered(&input(vec![machine(MachineType::Linux, channel, INVENTORY, "10.0.0.1")]));
    assert_eq!(linux(Channel::Session), ["out 10.0.0.1/32 tcp 22"]);
    assert_eq!(linux(Channel::Callback), ["in 10.0.0.1/32 tcp 63004", "out 10.0.0.1/32 tcp 22"]);
    assert_eq!(linux(Channel::Listen), ["out 10.0.0.1/32 tcp 22,tcp 62286,tcp 62287,tcp 62288,tcp 62289"]);
}

/// Before any port is bound nothing is opened; the usual numbers are not opened instead.
#[test]
fn without_a_listener_no_ingress_is_open() {
    let mut input = input(vec![machine(MachineType::Linux, Channel::Callback, INVENTORY, "10.0.0.1")]);
    input.pairs.clear();
    input.peers = vec!["10.244.0.9".parse().unwrap()];
    assert_eq!(rendered(&input), ["out 10.0.0.1/32 tcp 22"]);
}

/// Replicas relay streams to each other, on the HTTPS port only, while any machine may connect at
/// all.
#[test]
fn runners_reach_each_other_while_engines_connect() {
    let peers = vec!["10.244.0.8".parse().unwrap(), "10.244.0.9".parse().unwrap()];
    let mut calling = input(vec![machine(MachineType::Linux, Channel::Callback, DEPLOYMENT, "10.0.0.1")]);
    calling.peers = peers.clone();
    assert_eq!(
        rendered(&calling),
        ["in 10.0.0.1/32,10.244.0.8/31 tcp 63004", "out 10.0.0.1/32 tcp 22", "out 10.244.0.8/31 tcp 63004",]
    );
    let mut fetching = input(vec![ilo(Some(Scheme::Http), DEPLOYMENT)]);
    fetching.peers = peers.clone();
    assert_eq!(rendered(&fetching), ["in 10.0.0.1/32 tcp 63003", "out 10.0.0.1/32 tcp 22,tcp 443"]);
    let mut silent = input(vec![machine(MachineType::Linux, Channel::Session, DEPLOYMENT, "10.0.0.1")]);
    silent.peers = peers;
    assert_eq!(rendered(&silent), ["out 10.0.0.1/32 tcp 22"]);
}

/// A machine with its SSH server on another port does not share a rule with those on 22.
#[test]
fn machines_with_the_same_ports_share_a_rule() {
    let mut odd = machine(MachineType::Linux, Channel::Session, INVENTORY, "10.0.0.2");
    odd.ssh_port = 2222;
    let machines = vec![
        machine(MachineType::Linux, Channel::Session, INVENTORY, "10.0.0.0"),
        odd,
        machine(MachineType::Linux, Channel::Session, DEPLOYMENT, "10.0.0.1"),
        machine(MachineType::Windows, Channel::Session, DEPLOYMENT, "fd00::1"),
    ];
    assert_eq!(
        rendered(&input(machines)),
        [
            "out 10.0.0.0/31 tcp 22",
            "out fd00::1/128 tcp 135,tcp 139,tcp 445,udp 137,udp 138",
            "out 10.0.0.2/32 tcp 2222",
        ]
    );
}

/// A BMC with another port could not be reached, and only a time-out would say so.
#[test]
fn a_device_is_reached_at_its_own_port() {
    let mut odd = machine(MachineType::Redfish, Channel::Session, INVENTORY, "10.0.0.2");
    odd.api_port = 8443;
    let usual = machine(MachineType::Redfish, Channel::Session, INVENTORY, "10.0.0.3");
    let shown = rendered(&input(vec![odd, usual]));
    assert_eq!(shown, ["out 10.0.0.3/32 tcp 443", "out 10.0.0.2/32 tcp 8443"]);
}

/// If the API server rejected a policy for its size, all ports of the run would stay closed.
#[test]
fn large_rules_are_split() {
    let far = |n: u32| format!("10.{}.{}.1", n / 256, n % 256);
    let machines =
        (0..2500).map(|n| machine(MachineType::Linux, Channel::Callback, INVENTORY, &far(n))).collect();
    let rules = rules(&input(machines), 1000);
    let sizes: Vec<_> = rules.iter().map(|rule| (rule.way, rule.cidrs.len())).collect();
    let expected =
        [PolicyType::Ingress, PolicyType::Egress].map(|way| [(way, 1000), (way, 1000), (way, 500)]);
    assert_eq!(sizes, expected.concat());
}

fn any_machine() -> impl Strategy<Value = Machine> {
    (
        prop::sample::select(MachineType::ALL.to_vec()),
        prop::sample::select(Channel::ALL.to_vec()),
        prop::sample::select(vec![Stage::Waiting, INVENTORY, DEPLOYMENT, Stage::Ended]),
        0..32_u8,
        prop_oneof![Just(22_u16), Just(2222)],
        prop_oneof![Just(443_u16), Just(8443)],
        prop::sample::select(vec![
            None,
            Some(Scheme::Http),
            Some(Scheme::Https),
            Some(Scheme::Scp),
            Some(Scheme::Ftp),
        ]),
    )
        .prop_map(|(kind, channel, stage, n, ssh_port, api_port, fetches)| Machine {
            ssh_port,
            api_port,
            fetches,
            ..machine(kind, channel, stage, &format!("10.0.0.{n}"))
        })
}

proptest! {
    /// In a mixed fleet each needed connection is open, and no other is.
    #[test]
    fn exactly_the_needed_connections_are_open(
        machines in prop::collection::vec(any_machine(), 0..40),
        at_most in 1..5_usize,
    ) {
        let mut needed: BTreeSet<(PolicyType, IpAddr, Port)> = BTreeSet::new();
        for machine in &machines {
            let (Stage::In(phase), Some(address)) = (machine.stage, machine.addresses.first()) else { continue };
            let actual = Actual { ssh: machine.ssh_port, api: machine.api_port, http: PAIR.http, https: PAIR.https, listen: machine.listen, ..Actual::default() };
            let service = machine.fetches.and_then(Scheme::service);
            if let Some(service) = service.filter(|service| service_need(*service, machine.kind, phase).is_some()) {
                let first = if service == FileService::Sftp { 63005 } else { 63006 };
                needed.extend(service.ports(first).map(|port| (PolicyType::Ingress, *address, tcp(port))));
            }
            for need in needs(machine.kind, machine.channel, phase) {
                let is_back = need.direction == Direction::FromTarget;
                let is_needed = match machine.fetches {
                    _ if !is_back || machine.kind.carries_engine() => !need.optional,
                    Some(_) if calls_back_always(machine.kind) => true,
                    Some(Scheme::Http) => need.port == PortOf::Http,
                    Some(Scheme::Https) => need.port == PortOf::Https,
                    None | Some(Scheme::Sftp | Scheme::Scp | Scheme::Ftp) => false,
                };
                if !is_needed {
                    continue;
                }
                let way = if need.direction == Direction::ToTarget { PolicyType::Egress } else { PolicyType::Ingress };
                let ports = if need.port == PortOf::Listen {
                    machine.listen.first..=machine.listen.last
                } else {
                    let port = need.port.resolve(&actual).first;
                    port..=port
                };
                needed.extend(ports.map(|port| (way, *address, Port { transport: need.transport, port })));
            }
        }
        let mut input = input(machines);
        let rules = rules(&input, at_most);
        let mut open = BTreeSet::new();
        for rule in &rules {
            prop_assert!(rule.cidrs.len() <= at_most);
            for address in rule.cidrs.iter().flat_map(|cidr| cidr.subnets(32).unwrap()).map(|one| one.addr()) {
                open.extend(rule.ports.iter().map(|port| (rule.way, address, *port)));
            }
        }
        prop_assert_eq!(open, needed);
        input.machines.reverse();
        prop_assert_eq!(super::rules(&input, at_most), rules);
    }
}

/// The messages of conditions contain these texts.
#[test]
fn unusable_addresses_are_reported() {
    let ranges = Ranges {
        pods: vec!["10.244.0.0/16".parse().unwrap(), "fd00:10:244::/56".parse().unwrap()],
        services: vec!["10.96.0.0/12".parse().unwrap()],
    };
    let said = |address: &str| {
        check_machine(&[address.parse().unwrap()], &ranges)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(said("10.0.0.1"), [""; 0]);
    assert_eq!(said("10.244.3.4"), ["address 10.244.3.4 lies inside the pod range 10.244.0.0/16"]);
    assert_eq!(said("::ffff:10.244.3.4"), said("10.244.3.4"));
    assert_eq!(said("fd00:10:244::5"), ["address fd00:10:244::5 lies inside the pod range fd00:10:244::/56"]);
    assert_eq!(said("10.97.0.1"), ["address 10.97.0.1 lies inside the service range 10.96.0.0/12"]);
    assert_eq!(said("127.0.0.5"), ["127.0.0.5 is a loopback address, at which no machine can be reached"]);
    assert_eq!(said("::1").len() + said("ff02::1").len() + said("0.0.0.0").len() + said("::").len(), 4);
    assert_eq!(
        said("255.255.255.255"),
        ["255.255.255.255 is the broadcast address, at which no machine can be reached"]
    );
}

/// Equal ports and those below 1024 are reported once each.
#[test]
fn invalid_ports_are_reported() {
    let said =
        |http, https, ftp| check_ports(http, https, ftp).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(said(63001, 63002, None), [""; 0]);
    assert_eq!(
        said(80, 443, Some(80)),
        [
            "port 80 is requested twice",
            "port 80 is below 1024, which needs the capability NET_BIND_SERVICE",
            "port 443 is below 1024, which needs the capability NET_BIND_SERVICE",
        ]
    );
}
