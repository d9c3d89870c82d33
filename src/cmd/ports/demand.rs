//! The required ports, row by row.

use super::subject::{Described, Endpoint, Family, Subject};
use crate::drivers::console::products::Catalogue;
use anyhow::Context as _;
use farrier_network::table::{
    Actual, Generation, Need, PortOf, Resolved, needs, seed_needs, service_need, table,
};
use farrier_network::{Direction, FileService, MachineType, Phase, Transport};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Restricts the query.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// The generation whose manual is used instead of our own rules.
    pub(super) generation: Option<Generation>,
    /// One phase instead of both.
    pub(super) phase: Option<Phase>,
    /// One family of addresses instead of both.
    pub(super) family: Option<Family>,
    /// Addresses of Farrier.
    pub(super) from: Vec<Endpoint>,
}

/// One row of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Name of the machine.
    pub(super) node: String,
    /// Run of the machine.
    pub(super) run: Option<String>,
    /// Type of the machine.
    pub(super) kind: MachineType,
    /// Phases that need the port.
    pub(super) phases: Vec<Phase>,
    /// Which side opens the connection.
    pub(super) direction: Direction,
    /// Addresses and names of the machine; empty if none were given.
    pub(super) machine: Vec<Endpoint>,
    /// Addresses and names of Farrier; empty if none were given.
    pub(super) farrier: Vec<Endpoint>,
    /// The open port; `None` if no port is open in this direction.
    pub(super) open: Option<Open>,
}

/// An open port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Open {
    /// Ports on the listening side.
    pub(super) port: Resolved,
    /// TCP or UDP.
    pub(super) transport: Transport,
    /// Application protocol.
    pub(super) protocol: String,
    /// Whether only devices without HTTPS need the port.
    pub(super) optional: bool,
    /// Why the port is needed.
    pub(super) reason: String,
}

impl Open {
    /// Formats the port numbers: `443`, `60000-60007`.
    pub(super) fn numbers(&self) -> String {
        let Resolved { first, last, overflow: _ } = self.port;
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    }
}

/// All rows and notes.
#[derive(Debug, Default)]
pub(super) struct PortRequirements {
    /// Rows in the order of the given machines.
    pub(super) rows: Vec<Row>,
    /// Notes for the user.
    pub(super) notes: Vec<String>,
    generation: Option<Generation>,
}

impl PortRequirements {
    /// Computes which ports must be open for the machines, of which those with a command line are among these products.
    pub(super) fn of(subjects: &[Subject], scope: &Scope, products: &Catalogue) -> anyhow::Result<Self> {
        let mut demand = Self { generation: scope.generation, ..Self::default() };
        for subject in subjects {
            demand.add(subject, scope, products)?;
        }
        if scope.generation.is_none() {
            let kinds: BTreeSet<MachineType> = subjects.iter().map(|subject| subject.kind).collect();
            demand.notes.extend(kinds.into_iter().filter_map(disagreement));
        }
        demand.notes.dedup();
        Ok(demand)
    }

    fn add(&mut self, subject: &Subject, scope: &Scope, products: &Catalogue) -> anyhow::Result<()> {
        let Some(machine) = self.places(subject, scope) else { return Ok(()) };
        let shared = |place: &&Endpoint| {
            let family = place.address.map(Family::of);
            let here = |family| machine.is_empty() || machine.iter().any(|end| end.is_of(family));
            family.is_none_or(|family| here(family) && scope.family.is_none_or(|only| only == family))
        };
        let given = if subject.callback.is_empty() { &scope.from } else { &subject.callback };
        let [farrier, called]: [Vec<Endpoint>; 2] =
            [&scope.from, given].map(|places| places.iter().filter(shared).cloned().collect());
        for (ours, all, field) in
            [(&farrier, &scope.from, "--from"), (&called, &subject.callback, "callbackAddress")]
        {
            if ours.is_empty() && !all.is_empty() {
                self.notes.push(format!(
                    "{}: {field} has no address of the machine's family; rules leave Farrier's address out",
                    subject.node
                ));
            }
        }
        let phases: Vec<Phase> = subject
            .phases
            .iter()
            .copied()
            .filter(|phase| scope.phase.is_none_or(|only| only == *phase))
            .collect();
        if scope.generation.is_none() {
            self.notes.extend(unknown_product(subject, products));
        }
        let open = opened(subject, scope.generation, &phases, products)?;
        for direction in [Direction::ToTarget, Direction::FromTarget] {
            let row = |phases: Vec<Phase>, open: Option<Open>| Row {
                node: subject.node.clone(),
                run: subject.run.clone(),
                kind: subject.kind,
                phases,
                direction,
                machine: machine.clone(),
                farrier: if direction == Direction::ToTarget { farrier.clone() } else { called.clone() },
                open,
            };
            let of_direction = || open.iter().filter(|((way, _), _)| *way == direction);
            let used: BTreeSet<Phase> = of_direction().flat_map(|(_, phases)| phases).copied().collect();
            let rows = of_direction().map(|((_, open), phases)| row(phases.clone(), Some(open.clone())));
            self.rows.extend(rows);
            let closed: Vec<Phase> = phases.iter().copied().filter(|phase| !used.contains(phase)).collect();
            if !closed.is_empty() {
                self.rows.push(row(closed, None));
            }
        }
        Ok(())
    }

    /// Returns the endpoints of a machine that match the scope; `None` if none are left.
    fn places(&mut self, subject: &Subject, scope: &Scope) -> Option<Vec<Endpoint>> {
        let Some(all) = &subject.places else { return Some(Vec::new()) };
        let no_ipv6 = !table().has_ipv6(subject.kind);
        let good = |place: &&Endpoint| {
            scope.family.is_none_or(|family| place.is_of(family)) && (!no_ipv6 || place.is_of(Family::V4))
        };
        let places: Vec<Endpoint> = all.iter().filter(good).cloned().collect();
        let node = &subject.node;
        if no_ipv6 && all.iter().any(|place| !place.is_of(Family::V4)) {
            self.notes.push(format!("{node} is left out over IPv6: {} machines have none", subject.kind));
        }
        if places.is_empty() {
            self.notes.push(format!("{node} has no address of a family that is asked for"));
            return None;
        }
        for place in places.iter().filter(|place| place.is_link_local()) {
            self.notes.push(format!(
                "{node}: {} is of one link only; no router passes it on, and rules do not say which link",
                place.text
            ));
        }
        for name in places.iter().filter(|place| place.address.is_none()) {
            self.notes.push(format!(
                "{node}: {} is a name, which rules cannot hold; resolve it, or repeat with --resolve",
                name.text
            ));
        }
        Some(places)
    }

    /// Renders the rows as JSON. Closed rows are left out.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        let rows: Vec<Value> = self.rows.iter().filter_map(|row| self.json_row(row)).collect();
        let mut text = serde_json::to_string_pretty(&json!({"rows": rows, "notes": self.notes}))
            .context("failed to render JSON")?;
        text.push('\n');
        Ok(text)
    }

    fn json_row(&self, row: &Row) -> Option<Value> {
        let open = row.open.as_ref()?;
        let texts = |places: &[Endpoint]| places.iter().map(|place| place.text.clone()).collect::<Vec<_>>();
        let (machine, farrier) = (texts(&row.machine), texts(&row.farrier));
        let (direction, from, to) = match row.direction {
            Direction::ToTarget => ("toMachine", farrier, machine),
            Direction::FromTarget => ("fromMachine", machine, farrier),
        };
        Some(json!({
            "node": row.node,
            "run": row.run,
            "type": row.kind.to_string(),
            "phases": row.phases.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "direction": direction,
            "from": from,
            "to": to,
            "transport": open.transport.to_string(),
            "port": open.port.first,
            "endPort": open.port.last,
            "mayGoOn": open.port.overflow,
            "protocol": open.protocol,
            "optional": open.optional,
            "reason": open.reason,
            "generation": self.generation.map(Generation::id),
        }))
    }
}

/// Returns a note if the two newest manuals differ about a type of machine.
fn disagreement(kind: MachineType) -> Option<String> {
    let ports = |generation| {
        let needs =
            Phase::ALL.into_iter().flat_map(|phase| seed_needs(kind, generation, phase).unwrap_or_default());
        let back = needs.filter(|need| need.direction == Direction::FromTarget);
        let ports: BTreeSet<u16> = back.map(|need| need.port.resolve(&Actual::default()).first).collect();
        ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
    };
    let (older, newer) = (Generation::HpsumGe730, Generation::SumGe730);
    let listed = |generation| seed_needs(kind, generation, Phase::Inventory).is_ok();
    let (one, other) = (ports(older), ports(newer));
    (listed(older) && listed(newer) && one != other).then(|| {
        format!("{kind}: manuals differ about the return path: {one} in {older}, {other} in {newer}, which is used here; --generation prints the ports of one manual")
    })
}

/// The open ports, with the phases that need them.
type Opened = BTreeMap<(Direction, Open), Vec<Phase>>;

fn opened(
    subject: &Subject,
    generation: Option<Generation>,
    phases: &[Phase],
    products: &Catalogue,
) -> anyhow::Result<Opened> {
    let mut opened = Opened::new();
    for phase in phases {
        let needs = if let Some(generation) = generation {
            seed_needs(subject.kind, generation, *phase).with_context(|| subject.node.clone())?
        } else {
            let services = services_of(subject, products).into_iter();
            let services = services.filter_map(|service| service_need(service, subject.kind, *phase));
            let all = needs(subject.kind, subject.channel, *phase).into_iter().chain(services);
            all.filter(|need| need.direction == Direction::ToTarget || !subject.is_sent()).collect()
        };
        let lines: BTreeSet<(Direction, Open)> = needs.iter().flat_map(|need| lines(need, subject)).collect();
        for line in lines {
            opened.entry(line).or_default().push(*phase);
        }
    }
    Ok(opened)
}

/// Returns a note if the user names a product for a machine of which nothing is known here.
fn unknown_product(subject: &Subject, products: &Catalogue) -> Option<String> {
    let Described { product, hand_over: _ } = subject.described.as_ref()?;
    products.services(subject.kind)?;
    let error = products.choose(subject.kind, Some(product.as_deref()?)).err()?;
    let node = &subject.node;
    Some(format!(
        "{node}: {error}; the ports of all file services are printed for it. Repeat with --console-dir DIR and the operator's product files, or correct spec.product of ManagedNode {node}"
    ))
}

/// Returns the file services that a machine may use: those of the products for it. Where no product is, or the one that
/// the user names is not known here, it is known of the device only.
fn services_of(subject: &Subject, products: &Catalogue) -> Vec<FileService> {
    let known = match &subject.described {
        Some(Described { product, hand_over }) => {
            products.services_for(subject.kind, product.as_deref(), *hand_over)
        }
        None => products.services(subject.kind),
    };
    known.map_or_else(|| FileService::ALL.to_vec(), |services| services.into_iter().collect())
}

/// Resolves a need to port numbers: one entry for each distinct port of the runners.
fn lines(need: &Need, subject: &Subject) -> Vec<(Direction, Open)> {
    let actual =
        Actual { ssh: subject.ssh_port, api: subject.api_port, listen: subject.listen, ..Actual::default() };
    let ports: BTreeSet<Resolved> = match need.port {
        PortOf::Http | PortOf::Https => subject
            .called
            .iter()
            .map(|ports| need.port.resolve(&Actual { http: ports.http, https: ports.https, ..actual }))
            .collect(),
        PortOf::Service(service) => {
            let own = subject.called_services.iter().filter(|(of, _)| *of == service);
            own.map(|(_, first)| need.port.resolve(&Actual { sftp: *first, ftp: *first, ..actual })).collect()
        }
        PortOf::Fixed(_) | PortOf::Ssh | PortOf::Listen | PortOf::Range { .. } => {
            BTreeSet::from([need.port.resolve(&actual)])
        }
    };
    let open = |port| Open {
        port,
        transport: need.transport,
        protocol: need.protocol.clone(),
        optional: need.optional,
        reason: need.purpose.clone(),
    };
    ports.into_iter().map(|port| (need.direction, open(port))).collect()
}
