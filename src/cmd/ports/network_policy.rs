//! NetworkPolicies for the operator's pods.

use super::demand::{Open, PortRequirements, Row};
use super::nftables::need_addresses;
use anyhow::Context as _;
use farrier_network::policy::CIDRS_PER_RULE;
use farrier_network::{Direction, Phase, cidr};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

/// Maximum number of names in a comment; the rest is counted.
const NAMES_SHOWN: usize = 20;

/// The pods that the policies select.
#[derive(Debug)]
pub(super) struct Pods {
    labels: Vec<(String, String)>,
    namespace: Option<String>,
}

impl Pods {
    /// Reads `key=value,key=value`.
    pub(super) fn parse(selector: &str, namespace: Option<&str>) -> anyhow::Result<Self> {
        let mut labels = Vec::new();
        for part in selector.split(',').map(str::trim) {
            let good = |text: &str| {
                text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
            };
            let (key, value) = part
                .split_once('=')
                .filter(|(key, value)| !key.is_empty() && good(key) && good(value) && !value.contains('/'))
                .with_context(|| {
                    format!("--pod-selector: {part:?} is no label; example: app.kubernetes.io/name=farrier")
                })?;
            labels.push((key.to_owned(), value.to_owned()));
        }
        if let Some(name) = namespace {
            let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            anyhow::ensure!(
                !name.is_empty() && name.chars().all(good),
                "--operator-namespace: {name:?} is no namespace"
            );
        }
        Ok(Self { labels, namespace: namespace.map(str::to_owned) })
    }
}

/// The members that share a rule: the same ports in the same direction.
type Groups = BTreeMap<(Direction, BTreeSet<Open>), Members>;

#[derive(Debug, Default, PartialEq, Eq)]
struct Members {
    nodes: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    names: BTreeSet<String>,
}

/// Renders one policy for each phase, or one for both phases if they need the same ports.
pub(super) fn render(demand: &PortRequirements, optional: bool, pods: &Pods) -> anyhow::Result<String> {
    need_addresses(demand)?;
    let mut text = String::from(
        "# Connections of Farrier's pods, as `farrier ports` worked them out.\n\
         # Policies add up: the operator also needs the API server, for which the chart has its own.\n",
    );
    if pods.namespace.is_none() {
        text.push_str("# To be applied in the operator's namespace.\n");
    }
    for note in &demand.notes {
        writeln!(text, "# note: {note}")?;
    }
    let phases: BTreeSet<Phase> = demand.rows.iter().flat_map(|row| row.phases.iter().copied()).collect();
    let mut policies: Vec<(Vec<Phase>, Groups)> = Vec::new();
    for phase in phases {
        let groups = groups(demand, phase, optional);
        match policies.iter_mut().find(|(_, others)| *others == groups) {
            Some((phases, _)) => phases.push(phase),
            None => policies.push((vec![phase], groups)),
        }
    }
    for (phases, groups) in &policies {
        policy(&mut text, phases, groups, pods)?;
    }
    Ok(text)
}

fn groups(demand: &PortRequirements, phase: Phase, optional: bool) -> Groups {
    let of_phase: Vec<(&Row, &Open)> = demand
        .rows
        .iter()
        .filter(|row| row.phases.contains(&phase))
        .filter_map(|row| Some((row, row.open.as_ref().filter(|open| optional || !open.optional)?)))
        .collect();
    let key = |row: &Row| (row.direction, row.node.clone(), row.run.clone());
    let mut ports: BTreeMap<_, BTreeSet<Open>> = BTreeMap::new();
    for (row, open) in &of_phase {
        ports.entry(key(row)).or_default().insert((*open).clone());
    }
    let mut groups = Groups::new();
    for (row, _) in of_phase {
        let Some(open) = ports.get(&key(row)) else { continue };
        let members = groups.entry((row.direction, open.clone())).or_default();
        members.nodes.insert(format!("{} ({})", row.node, row.kind));
        members.addresses.extend(row.machine.iter().filter_map(|place| place.address));
        let names = row.machine.iter().filter(|place| place.address.is_none());
        members.names.extend(names.map(|place| place.text.clone()));
    }
    groups
}

fn policy(text: &mut String, phases: &[Phase], groups: &Groups, pods: &Pods) -> std::fmt::Result {
    let name = match phases {
        [phase] => format!("farrier-ports-{}", phase.to_string().to_lowercase()),
        _ => "farrier-ports".to_owned(),
    };
    let spoken: Vec<String> = phases.iter().map(ToString::to_string).collect();
    writeln!(text, "---\n# Phase: {}", spoken.join(", "))?;
    writeln!(text, "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}")?;
    if let Some(namespace) = &pods.namespace {
        writeln!(text, "  namespace: {namespace:?}")?;
    }
    writeln!(text, "spec:\n  podSelector:\n    matchLabels:")?;
    for (key, value) in &pods.labels {
        writeln!(text, "      {key:?}: {value:?}")?;
    }
    writeln!(text, "  policyTypes: [Ingress, Egress]")?;
    for (direction, field, side) in
        [(Direction::FromTarget, "ingress", "from"), (Direction::ToTarget, "egress", "to")]
    {
        let of_direction: Vec<_> = groups.iter().filter(|((way, _), _)| *way == direction).collect();
        // A group that has only names, and no addresses, gets no rule.
        if of_direction.iter().all(|(_, members)| members.addresses.is_empty()) {
            writeln!(text, "  {field}: []")?;
        } else {
            writeln!(text, "  {field}:")?;
        }
        for ((_, open), members) in of_direction {
            rules(text, side, open, members)?;
        }
    }
    Ok(())
}

fn rules(text: &mut String, side: &str, open: &BTreeSet<Open>, members: &Members) -> std::fmt::Result {
    let shown: Vec<&str> = members.nodes.iter().take(NAMES_SHOWN).map(String::as_str).collect();
    let more = members.nodes.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    writeln!(text, "  # {}{more}", shown.join(", "))?;
    if !members.names.is_empty() {
        let names: Vec<&str> = members.names.iter().map(String::as_str).collect();
        writeln!(text, "  # To be resolved, and added: {}", names.join(", "))?;
    }
    let cidrs = cidr::cover(members.addresses.iter().copied());
    for cidrs in cidrs.chunks(CIDRS_PER_RULE) {
        writeln!(text, "  - {side}:")?;
        for cidr in cidrs {
            writeln!(text, "    - ipBlock: {{cidr: \"{cidr}\"}}")?;
        }
        writeln!(text, "    ports:")?;
        for open in open {
            port(text, open)?;
        }
    }
    Ok(())
}

fn port(text: &mut String, open: &Open) -> std::fmt::Result {
    let end = if open.port.first == open.port.last {
        String::new()
    } else {
        format!(", endPort: {}", open.port.last)
    };
    let (transport, first) = (open.transport, open.port.first);
    writeln!(text, "    # {}: {}", open.protocol, open.reason)?;
    if open.port.overflow {
        writeln!(text, "    # Higher ports are used when these are taken.")?;
    }
    writeln!(text, "    - {{protocol: {transport}, port: {first}{end}}}")
}
