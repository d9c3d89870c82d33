//! Whether a machine could fetch from where the run's services will be, as far as that is known before they are open.

use super::super::callback::family;
use super::place::families_of;
use crate::api::ManagedNode;
use crate::api::managed_node::AddressFamily;
use crate::api::update_run::{Exposure, UpdateRun};
use crate::attempt::{FetchWay, Scheme};
use crate::convert::{address_families, forwarded_port};
use crate::exposure::named_port;
use crate::failure::Failure;
use crate::membership::RunnerLocation;
use farrier_network::cidr;
use farrier_network::table::fetch_schemes;
use farrier_update::Reason;
use kube::ResourceExt;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Checks port and family of where a machine will be told to connect. `addresses` are those of the runners.
///
/// # Errors
/// `FetchPortWrong`, `CallbackAddressMissing`.
pub(super) fn check(
    node: &ManagedNode,
    run: &UpdateRun,
    way: FetchWay,
    addresses: &[IpAddr],
    reached: Option<IpAddr>,
    here: Option<&RunnerLocation>,
) -> Result<(), Failure> {
    match expected_port(node, run, way.scheme, here) {
        Some(port) => check_port(node, run, way, port, here)?,
        // A node port is from a range that has none of the usual ones.
        None if way.port.is_some() => return Err(wrong_port(node, run, way, None, here)),
        None => {}
    }
    let own: Vec<IpAddr> = node.spec.addresses.iter().filter_map(|text| cidr::parse(text)).collect();
    let families = families_of(&address_families(node), &own, reached);
    let told: Vec<Option<AddressFamily>> = match (&node.spec.callback_address, run.spec.callback.exposure) {
        (Some(text), _) => vec![family(text)],
        (None, Exposure::HostPort) => addresses.iter().map(|ip| family(&ip.to_string())).collect(),
        // The address of the Service is not known yet.
        (None, Exposure::NodePort | Exposure::LoadBalancer) => vec![None],
    };
    // Of a machine with names only, and a runner without addresses, nothing is known.
    let is_known = !families.is_empty() && !told.is_empty();
    if is_known && !told.iter().any(|told| told.is_none_or(|told| families.contains(&told))) {
        return Err(no_address(node, reached));
    }
    Ok(())
}

/// Checks that a machine which looks at one port only finds its service there.
///
/// # Errors
/// `FetchPortWrong`.
pub(super) fn check_port(
    node: &ManagedNode,
    run: &UpdateRun,
    way: FetchWay,
    port: u16,
    here: Option<&RunnerLocation>,
) -> Result<(), Failure> {
    match way.port {
        Some(wanted) if wanted != port => Err(wrong_port(node, run, way, Some(port), here)),
        Some(_) | None => Ok(()),
    }
}

/// Returns the port at which a machine will be told to connect; `None`: the cluster chooses it.
fn expected_port(
    node: &ManagedNode,
    run: &UpdateRun,
    scheme: Scheme,
    here: Option<&RunnerLocation>,
) -> Option<u16> {
    let callback = &run.spec.callback;
    if let Some(port) = forwarded_port(node, scheme) {
        return Some(port);
    }
    let named = match (scheme, scheme.service()) {
        (Scheme::Https, _) => callback.https_port,
        (_, None) => callback.http_port,
        (_, Some(service)) => named_port(run, service)?,
    };
    match (callback.exposure, here) {
        (Exposure::NodePort, _) => None,
        (Exposure::HostPort, Some(RunnerLocation::Pod { host_ports: Some(block), .. })) => {
            let is_in_block = (block.first..block.first.saturating_add(block.count)).contains(&named);
            Some(if is_in_block { named } else { block.first })
        }
        (Exposure::HostPort | Exposure::LoadBalancer, _) => Some(named),
    }
}

fn wrong_port(
    node: &ManagedNode,
    run: &UpdateRun,
    way: FetchWay,
    port: Option<u16>,
    here: Option<&RunnerLocation>,
) -> Failure {
    let (node, run_name, wanted) = (node.name_any(), run.name_any(), way.port.unwrap_or_default());
    let place = port.map_or_else(|| "a node port".to_owned(), |port| format!("port {port}"));
    let place = match (run.spec.callback.exposure, here) {
        (Exposure::HostPort, Some(RunnerLocation::Pod { .. })) => {
            "a port of the block that the chart reserves (hostPorts)".to_owned()
        }
        (Exposure::HostPort | Exposure::NodePort | Exposure::LoadBalancer, _) => place,
    };
    let field = match way.scheme {
        Scheme::Https => "httpsPort",
        Scheme::Http => "httpPort",
        Scheme::Sftp | Scheme::Scp => "sftpPort",
        Scheme::Ftp => "ftpPort",
    };
    let forward = format!(
        "have something in between forward port {wanted} to it, and set spec.callbackAddress and spec.callbackPort: {wanted} of ManagedNode {node}"
    );
    let next = match (run.spec.callback.exposure, here, way.scheme) {
        (Exposure::LoadBalancer, ..) | (Exposure::HostPort, Some(RunnerLocation::Host { .. }), _) => {
            format!("set callback.{field}: {wanted} in a new run, or {forward}")
        }
        (_, _, Scheme::Ftp) => forward,
        (Exposure::HostPort | Exposure::NodePort, ..) => {
            format!("set callback.exposure: LoadBalancer and {field}: {wanted} in a new run, or {forward}")
        }
    };
    Failure::new(
        Reason::FetchPortWrong,
        format!(
            "{node} fetches by {} from port {wanted} only, and UpdateRun {run_name} has it at {place}; {next}",
            way.scheme
        ),
    )
}

/// There is no address in a family that the machine has.
pub(super) fn no_address(node: &ManagedNode, reached: Option<IpAddr>) -> Failure {
    let reached = reached.map(|ip| format!(", which answered at {ip},")).unwrap_or_default();
    let next = if node.spec.type_.has_ipv6() {
        "set spec.callbackAddress to one of a family that it has, list an address of the other family in spec.addresses, or allow another family in spec.addressFamilies"
    } else {
        "machines of this type have no IPv6: set spec.callbackAddress to an IPv4 address of the operator"
    };
    Failure::new(
        Reason::CallbackAddressMissing,
        format!("there is no address from which {}{reached} could fetch its image; {next}", node.name_any()),
    )
}

/// The device and the run have no protocol in common.
pub(super) fn nothing_in_common(node: &ManagedNode, ways: &[FetchWay], allowed: &[Scheme]) -> Failure {
    let words = |schemes: Vec<Scheme>| match schemes.as_slice() {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
    };
    let may = fetch_schemes(node.spec.type_);
    let fields = ways.iter().filter(|way| may.contains(&way.scheme)).filter_map(|way| match way.scheme {
        Scheme::Sftp | Scheme::Scp => Some("spec.callback.sftpPort"),
        Scheme::Ftp => Some("spec.callback.ftpPort"),
        Scheme::Http | Scheme::Https => None,
    });
    let fields: Vec<&str> = fields.collect::<BTreeSet<_>>().into_iter().collect();
    let next = if fields.is_empty() {
        "no port of a run helps; look at spec.handOver of the ManagedNode, or update it by hand".to_owned()
    } else {
        format!("set {} in a new run, which `farrier ports` then prints the ports of", fields.join(" or "))
    };
    Failure::new(
        Reason::NotYetSupported,
        format!(
            "{} fetches images by {}, and machines of type {} may use {} in this run; {next}",
            node.name_any(),
            words(ways.iter().map(|way| way.scheme).collect()),
            node.spec.type_,
            words(allowed.to_vec())
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::HostPorts;
    use serde_json::{Value, json};

    const SCP: FetchWay = FetchWay { scheme: Scheme::Scp, port: Some(22) };

    fn switch(more: &Value) -> ManagedNode {
        let mut spec =
            json!({"type": "FCSwitch", "addresses": ["192.0.2.7"], "credentialsRef": {"name": "s"}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "sw-1"}, "spec": spec})).unwrap()
    }

    fn run(callback: &Value) -> UpdateRun {
        let spec = json!({"selector": {}, "callback": callback});
        serde_json::from_value(json!({"metadata": {"name": "r1"}, "spec": spec})).unwrap()
    }

    fn checked(node: &ManagedNode, callback: &Value, here: &RunnerLocation, way: FetchWay) -> Option<String> {
        let addresses = ["192.0.2.1".parse().unwrap()];
        let reached = Some("192.0.2.7".parse().unwrap());
        check(node, &run(callback), way, &addresses, reached, Some(here)).err().map(|failure| failure.message)
    }

    fn pod() -> RunnerLocation {
        RunnerLocation::Pod {
            pod_ips: Vec::new(),
            host_ips: Vec::new(),
            node: "n1".to_owned(),
            host_ports: Some(HostPorts { first: 63001, count: 16 }),
            selector: std::collections::BTreeMap::new(),
        }
    }

    /// A switch would be told to fetch from where nobody listens, and fail after minutes with words of its own.
    #[test]
    fn a_port_that_a_command_cannot_have_is_refused_with_the_way_out() {
        let host = RunnerLocation::Host { id: "h".to_owned(), addresses: Vec::new() };
        let plain = switch(&json!({}));
        let forwarded = switch(&json!({"callbackAddress": "192.0.2.9", "callbackPort": 22}));
        assert_eq!(checked(&plain, &json!({"sftpPort": 22}), &host, SCP), None);
        assert_eq!(checked(&plain, &json!({"sftpPort": 22, "exposure": "LoadBalancer"}), &pod(), SCP), None);
        assert_eq!(checked(&forwarded, &json!({"sftpPort": 63003}), &pod(), SCP), None);
        assert_eq!(checked(&plain, &json!({"sftpPort": 63003}), &pod(), Scheme::Scp.into()), None);
        let ftp = FetchWay { scheme: Scheme::Ftp, port: Some(21) };
        for (callback, here, way, words) in [
            (json!({"sftpPort": 63003}), &host, SCP, &["at port 63003", "callback.sftpPort: 22"][..]),
            (json!({"sftpPort": 22}), &pod(), SCP, &["hostPorts", "LoadBalancer and sftpPort: 22"]),
            (json!({"sftpPort": 22, "exposure": "NodePort"}), &pod(), SCP, &["a node port", "LoadBalancer"]),
            (
                json!({"sftpPort": 2222, "exposure": "LoadBalancer"}),
                &pod(),
                SCP,
                &["set callback.sftpPort: 22"],
            ),
            (
                json!({"ftpPort": 63003}),
                &pod(),
                ftp,
                &["port 21", "spec.callbackPort: 21 of ManagedNode sw-1"],
            ),
        ] {
            let said = checked(&plain, &callback, here, way).unwrap();
            assert!(words.iter().all(|words| said.contains(words)), "{said}");
            assert!(said.contains("spec.callbackAddress") && said.contains("UpdateRun r1"), "{said}");
        }
    }

    /// Whoever opens a port that does not help tries a second time, and a third.
    #[test]
    fn only_a_port_that_helps_is_named() {
        let ways =
            |schemes: &[Scheme]| schemes.iter().map(|scheme| (*scheme).into()).collect::<Vec<FetchWay>>();
        let said = |type_: &str, schemes: &[Scheme]| {
            nothing_in_common(&switch(&json!({"type": type_})), &ways(schemes), &[]).message
        };
        let oa = said("OnboardAdministrator", &[Scheme::Http, Scheme::Https, Scheme::Ftp]);
        assert!(oa.contains("set spec.callback.ftpPort in a new run") && !oa.contains("sftpPort"), "{oa}");
        let both = said("FCSwitch", &[Scheme::Sftp, Scheme::Scp, Scheme::Ftp]);
        assert!(both.contains("set spec.callback.ftpPort or spec.callback.sftpPort"), "{both}");
        assert!(said("OnboardAdministrator", &[Scheme::Http]).contains("no port of a run helps"));
    }

    /// An HP-UX machine would be told one port for both services, and find TLS where it speaks none.
    #[test]
    fn a_machine_that_uses_two_services_is_told_two_forwarded_ports() {
        let host = RunnerLocation::Host { id: "h".to_owned(), addresses: Vec::new() };
        let forwarded = |type_: &str| {
            switch(
                &json!({"type": type_, "callbackAddress": "192.0.2.9", "callbackPort": 443, "callbackHttpPort": 80}),
            )
        };
        let told = |type_: &str, scheme: Scheme, port: u16| {
            let way = FetchWay { scheme, port: Some(port) };
            checked(&forwarded(type_), &json!({}), &host, way).is_none()
        };
        assert!(told("HPUX", Scheme::Https, 443) && told("HPUX", Scheme::Http, 80));
        assert!(!told("HPUX", Scheme::Http, 443));
        assert!(told("ILO", Scheme::Https, 443) && told("ILO", Scheme::Http, 443), "it uses one of them");
    }

    /// A machine without IPv6 would be told an address that it cannot even write down.
    #[test]
    fn an_address_of_another_family_is_refused_in_the_plan() {
        let check = |node: &ManagedNode, addresses: &[&str], reached: &str| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
            let way = Scheme::Http.into();
            check(node, &run(&json!({})), way, &addresses, Some(reached.parse().unwrap()), None)
                .err()
                .map(|failure| failure.message)
        };
        let dual = json!({"type": "ILO", "addresses": ["192.0.2.7", "2001:db8::7"]});
        let (dual, v6) = (switch(&dual), switch(&json!({"type": "ILO", "addresses": ["2001:db8::7"]})));
        assert_eq!(check(&dual, &["2001:db8::1"], "192.0.2.7"), None);
        assert_eq!(check(&v6, &["192.0.2.1", "2001:db8::1"], "2001:db8::7"), None);
        assert_eq!(check(&v6, &[], "2001:db8::7"), None, "nothing is known yet");
        let said = check(&v6, &["192.0.2.1"], "2001:db8::7").unwrap();
        assert!(said.contains("answered at 2001:db8::7") && said.contains("spec.callbackAddress"), "{said}");
        let said = check(&switch(&json!({})), &["2001:db8::1"], "192.0.2.7").unwrap();
        assert!(said.contains("have no IPv6"), "{said}");
        let named = switch(&json!({"callbackAddress": "2001:db8::9"}));
        assert!(
            check(&named, &["192.0.2.1"], "192.0.2.7").is_some(),
            "the user's address is of the other family"
        );
        let named = switch(&json!({"callbackAddress": "farrier.example.net"}));
        assert_eq!(check(&named, &["2001:db8::1"], "192.0.2.7"), None, "it looks the name up itself");
    }
}
