//! When the address of a run is reported as missing.

use super::*;

fn told(addresses: &[&str], https_port: Option<u16>) -> CallbackStatus {
    CallbackStatus {
        since: condition::now(),
        ports: Vec::new(),
        addresses: addresses.iter().map(|&text| text.to_owned()).collect(),
        http_port: https_port.map(|port| port - 1),
        https_port,
        sftp_port: None,
    }
}

/// The state this many seconds after the ports were given, with a timeout of two minutes.
fn after(seconds: u64, callback: &CallbackStatus, exposure: Exposure) -> PathState {
    let since = Millis(1_000_000);
    let now = since.after(Duration::from_secs(seconds));
    addressed(
        callback,
        exposure,
        "operators/farrier-1",
        AddressWait { since, timeout: Duration::from_mins(2), now },
    )
}

/// If this fails, the run waits for ever in a cluster without a load balancer and does not say for
/// what.
#[test]
fn a_missing_address_is_reported_after_the_timeout() {
    let none = told(&[], Some(63002));
    let PathState::Opening { reason, until, .. } = after(119, &none, Exposure::LoadBalancer) else {
        panic!("opening")
    };
    assert_eq!(
        (reason, until),
        (Reason::Exposing, Some(Millis(1_120_000))),
        "it comes back in time to say so"
    );
    let PathState::Stuck { reason, message, until } = after(120, &none, Exposure::LoadBalancer) else {
        panic!("stuck")
    };
    assert_eq!(reason, Reason::LoadBalancerPending);
    assert!(message.contains("operators/farrier-1") && message.contains("120 s"), "{message}");
    assert!(message.contains("spec.callback.exposure"), "the next step: {message}");
    assert_eq!(until, Some(Millis(1_130_000)));
}

/// No load balancer is involved.
#[test]
fn a_service_on_node_ports_only_waits() {
    assert!(matches!(after(999, &told(&[], None), Exposure::NodePort), PathState::Opening { .. }));
}

/// A late address opens the path, and an address that disappears closes it.
#[test]
fn an_address_opens_the_path_whenever_it_appears() {
    for (addresses, port, open) in [
        (&["192.0.2.7"][..], Some(63002), true),
        (&["192.0.2.7"][..], None, false),
        (&[][..], Some(63002), false),
    ] {
        let way = after(600, &told(addresses, port), Exposure::LoadBalancer);
        assert_eq!(matches!(way, PathState::Open { .. }), open, "{way:?}");
    }
}
