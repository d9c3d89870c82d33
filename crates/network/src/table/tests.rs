//! Checks that the table is complete, and what Farrier derives from it.

use super::*;
use crate::FileService;
use crate::words::{Channel, Direction, Phase, Scheme};
use std::collections::BTreeSet;

/// If the table lost a row, a port that a machine needs would stay closed.
#[test]
fn the_table_has_as_many_cells_as_the_texts() {
    let table = table();
    let rows = |seed: &str| table.rows.iter().filter(|row| row.seed == seed).count();
    let kinds = |seed: &str| {
        table.rows.iter().filter(|row| row.seed == seed).map(|row| row.node).collect::<BTreeSet<_>>().len()
    };
    let Coverage { hpsum_rows, sum_rows, psp_rows, hpsum_node_types, sum_node_types } = table.coverage;
    assert_eq!((rows("hpsum"), rows("sum"), rows("psp")), (hpsum_rows, sum_rows, psp_rows));
    assert_eq!((kinds("hpsum"), kinds("sum")), (hpsum_node_types, sum_node_types));
}

/// A cell whose port has no transport, or whose range does not exist, would be ignored without an error.
#[test]
fn every_cell_refers_to_known_entries() {
    let table = table();
    for row in &table.rows {
        assert!(table.seeds.contains_key(&row.seed), "{row:?}");
        assert!(row.ports.is_some() != row.range.is_some(), "{row:?}");
        for (port, protocol) in row.ports.iter().flatten().zip(&row.protocols) {
            let entry = table.entry(*port).unwrap_or_else(|| panic!("{port} of {row:?}"));
            assert_eq!(&entry.protocol, protocol, "{row:?}");
        }
        assert!(row.range.as_ref().is_none_or(|id| table.range(id).is_some()), "{row:?}");
        assert!(row.optional.iter().all(|port| row.ports.as_ref().is_some_and(|all| all.contains(port))));
    }
    for generation in Generation::ALL {
        assert!(table.generations.contains_key(&generation), "{generation}");
        assert_eq!(generation.id().parse(), Ok(generation));
    }
}

/// The user decides where texts disagree; each disagreement must still be recorded.
#[test]
fn the_disagreements_are_as_recorded() {
    let ids: Vec<&str> = table().conflicts.iter().map(|conflict| conflict.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "superdome_x_deploy_return",
            "ports_configurable",
            "windows_initial_ports",
            "open_firewall_scope",
            "engine_port_missing",
            "esxi_rule_ports",
            "esxi_rule_file_name",
            "old_log_range_overlaps",
            "dropped_node_types",
        ]
    );
    let conflict = |id: &str| table().conflicts.iter().find(|conflict| conflict.id == id).unwrap();
    // The rows agree with the list of disagreements.
    let back = |generation| {
        ports(
            &seed_needs(MachineType::SuperdomeX, generation, Phase::Deployment).unwrap(),
            Direction::FromTarget,
        )
    };
    let superdome = conflict("superdome_x_deploy_return");
    assert_eq!(superdome.hpsum, Some(Statement::Ports(back(Generation::HpsumGe730))));
    assert_eq!(superdome.sum, Some(Statement::Ports(back(Generation::SumGe730))));
    for kind in conflict("dropped_node_types").dropped.as_ref().unwrap() {
        let sum = table().rows.iter().any(|row| row.node == *kind && row.seed == "sum");
        assert!(!sum, "{kind:?} was dropped");
    }
    let psp = seed_needs(MachineType::Windows, Generation::PspSoap, Phase::Inventory).unwrap();
    let Some(Statement::Ports(initial)) = &conflict("windows_initial_ports").psp else { panic!("ports") };
    assert!(initial.iter().all(|port| ports(&psp, Direction::ToTarget).contains(port)));
}

/// Returns the numbers of the single ports, with their defaults, in order.
fn ports(needs: &[Need], direction: Direction) -> Vec<u16> {
    let of_direction = needs.iter().filter(|need| need.direction == direction);
    let mut ports: Vec<u16> = of_direction.map(|need| need.port.resolve(&Actual::default()).first).collect();
    ports.sort_unstable();
    ports
}

/// The newest text that lists a machine applies; a machine that no text lists has our own rule.
#[test]
fn each_type_follows_the_newest_text_that_lists_it() {
    use MachineType::{HPUX, IDRAC, Moonshot, Redfish, Superdome2};
    for machine in MachineType::ALL {
        let expected = if [IDRAC, Redfish].contains(&machine) {
            None
        } else if [HPUX, Moonshot, Superdome2].contains(&machine) {
            Some(Generation::HpsumGe730)
        } else {
            Some(Generation::SumGe730)
        };
        assert_eq!(Generation::of(machine), expected, "{machine}");
    }
}

/// The ports that a site has to open, written by hand from the two manuals and the design.
#[test]
fn what_each_type_needs() {
    use MachineType::*;
    const WINDOWS: &[u16] = &[135, 137, 138, 139, 445];
    const DEVICE: &[u16] = &[22, 80, 443];
    let all = |machine, channel| {
        Phase::ALL.map(|phase| {
            let needs = needs(machine, channel, phase);
            (ports(&needs, Direction::ToTarget), ports(&needs, Direction::FromTarget))
        })
    };
    let is = |machine, channel, to: &[u16], inventory: &[u16], deployment: &[u16]| {
        let expected = [(to.to_vec(), inventory.to_vec()), (to.to_vec(), deployment.to_vec())];
        assert_eq!(all(machine, channel), expected, "{machine} {channel}");
    };
    is(Linux, Channel::Session, &[22], &[], &[]);
    is(Linux, Channel::Callback, &[22], &[63002], &[63002]);
    is(Linux, Channel::Listen, &[22, 62286], &[], &[]);
    is(Windows, Channel::Session, WINDOWS, &[], &[]);
    is(Windows, Channel::Callback, WINDOWS, &[63002], &[63002]);
    is(Windows, Channel::Listen, &[WINDOWS, &[62286]].concat(), &[], &[]);
    for channel in Channel::ALL {
        is(HPUX, channel, &[22], &[63001, 63002], &[63001, 63002]);
        is(VMware, channel, &[443, 5989], &[63001], &[63001]);
        is(OnboardAdministrator, channel, DEVICE, &[], &[]);
        for machine in [ILO, VirtualConnect, FCSwitch, SASSwitch, Moonshot, Superdome2] {
            is(machine, channel, DEVICE, &[], &[63001]);
        }
        is(SuperdomeX, channel, DEVICE, &[], &[63001, 63002]);
        is(SuperdomeFlex, channel, &[443], &[], &[63002]);
        is(IDRAC, channel, &[443], &[], &[63001, 63002]);
        is(Redfish, channel, &[443], &[], &[63001, 63002]);
    }
}

/// Which way back a chassis and its parts need differs by the version of the older tool that a site's firewall was
/// set up for.
#[test]
fn the_way_back_of_each_device_by_generation() {
    use MachineType::*;
    let back = |machine, generation, phase| {
        seed_needs(machine, generation, phase).ok().map(|needs| ports(&needs, Direction::FromTarget))
    };
    let (le_7_2_1, ge_7_3_0, sum) = (Generation::HpsumLe721, Generation::HpsumGe730, Generation::SumGe730);
    let http = Some(vec![63001]);
    for (machine, expected) in [
        (OnboardAdministrator, [Some(vec![]), Some(vec![]), Some(vec![])]),
        (VirtualConnect, [http.clone(), http.clone(), http.clone()]),
        (FCSwitch, [http.clone(), http.clone(), http.clone()]),
        (SASSwitch, [http.clone(), http.clone(), http.clone()]),
        (SuperdomeX, [http.clone(), http.clone(), Some(vec![63001, 63002])]),
        (Superdome2, [http.clone(), http.clone(), None]),
        (Moonshot, [http.clone(), http.clone(), None]),
    ] {
        let of = |phase| [le_7_2_1, ge_7_3_0, sum].map(|generation| back(machine, generation, phase));
        assert_eq!(of(Phase::Deployment), expected, "{machine}");
        let none = expected.map(|listed| listed.map(|_| Vec::new()));
        assert_eq!(of(Phase::Inventory), none, "{machine}: nothing comes back from an inventory");
    }
}

/// An image must not be offered by a protocol whose port the site has not opened.
#[test]
fn a_device_fetches_by_the_protocols_of_the_table() {
    use MachineType::{
        IDRAC, ILO, Linux, OnboardAdministrator, Redfish, SASSwitch, SuperdomeFlex, SuperdomeX,
    };
    let (https, http) = (Scheme::Https, Scheme::Http);
    let services = [Scheme::Sftp, Scheme::Scp, Scheme::Ftp];
    let is = |machine, of_table: &[Scheme]| {
        let all: Vec<Scheme> = of_table.iter().chain(&services).copied().collect();
        assert_eq!(fetch_schemes(machine), all, "{machine}");
    };
    for machine in [IDRAC, Redfish, SuperdomeX] {
        is(machine, &[https, http]);
    }
    for machine in [ILO, SASSwitch] {
        is(machine, &[http]);
    }
    is(SuperdomeFlex, &[https]);
    is(OnboardAdministrator, &[]);
    assert_eq!(fetch_schemes(Linux), []);
}

/// Row E11: a run names the port, whatever the type of the machine; an engine fetches by its own channel.
#[test]
fn a_file_service_is_for_machines_without_an_engine_in_deployment() {
    for (service, last) in [(FileService::Sftp, 2121), (FileService::Ftp, 2125)] {
        assert_eq!(service_need(service, MachineType::Linux, Phase::Deployment), None);
        assert_eq!(service_need(service, MachineType::FCSwitch, Phase::Inventory), None);
        let need = service_need(service, MachineType::FCSwitch, Phase::Deployment).unwrap();
        let resolved = need.port.resolve(&Actual { sftp: 2121, ftp: 2121, ..Actual::default() });
        assert_eq!((resolved.first, resolved.last), (2121, last));
    }
}

/// Only port 80 is in parentheses in the texts, besides HTTP back from a BMC, and names and datagrams of `NetBIOS` are not TCP.
#[test]
fn parentheses_and_transports_are_kept() {
    for machine in MachineType::ALL {
        for need in needs(machine, Channel::Session, Phase::Deployment) {
            let is_bmc = matches!(machine, MachineType::IDRAC | MachineType::Redfish);
            let optional = need.port == PortOf::Fixed(80) || is_bmc && need.port == PortOf::Http;
            assert_eq!(need.optional, optional, "{machine}: {need:?}");
            let udp = matches!(need.port, PortOf::Fixed(137 | 138));
            assert_eq!(need.transport == crate::words::Transport::Udp, udp, "{machine}: {need:?}");
        }
    }
}

/// The SOAP era has ranges, with their soft ends, and one preferred port.
#[test]
fn the_soap_era_has_ranges() {
    let needs = seed_needs(MachineType::Linux, Generation::PspSoap, Phase::Inventory).unwrap();
    let range = |first, last, overflow| PortOf::Range { first, last, overflow };
    let of =
        |direction| needs.iter().filter(|n| n.direction == direction).map(|n| n.port).collect::<Vec<_>>();
    let log = [PortOf::Fixed(80), range(63000, 63005, false)];
    let to = [&[PortOf::Ssh, range(60000, 60007, true), range(62286, 62286, true)][..], &log].concat();
    assert_eq!(of(Direction::ToTarget), to);
    assert_eq!(of(Direction::FromTarget), [&[range(61000, 61007, true)][..], &log].concat());
}

/// A refusal names the generations that list the type.
#[test]
fn a_generation_that_does_not_list_a_type_names_those_that_do() {
    let said =
        |machine, generation| seed_needs(machine, generation, Phase::Inventory).unwrap_err().to_string();
    assert_eq!(
        said(MachineType::SuperdomeFlex, Generation::HpsumGe730),
        "hpsum_ge_7_3_0 does not list SuperdomeFlex; these do: sum_ge_7_3_0"
    );
    assert_eq!(
        said(MachineType::Redfish, Generation::SumGe730),
        "sum_ge_7_3_0 does not list Redfish; no generation lists it: omit the generation to use Farrier's own rules"
    );
}

/// Row V2: an IPv6 address of such a switch is a mistake in the inventory of the site.
#[test]
fn switches_have_no_ipv6() {
    let without: Vec<MachineType> = MachineType::ALL.into_iter().filter(|m| !table().has_ipv6(*m)).collect();
    assert_eq!(without, [MachineType::FCSwitch, MachineType::SASSwitch]);
}
