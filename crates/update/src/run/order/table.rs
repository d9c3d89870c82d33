//! The order of types of machines, as data.
//!
//! The sources are the vendors' guides: HP SUM brings in the nodes that belong to a node and orders them (VC
//! and SAS switches before the Onboard Administrator, that before iLOs, an iLO before its server); the rows
//! about Superdome say that the firmware of a complex precedes what runs in its partitions. Where guides
//! differ, docs/order.md says which one is followed.

/// A kind of machine: types of machines with the same place in the order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MachineKind {
    /// A Virtual Connect module.
    VirtualConnect,
    /// A SAS switch in an enclosure.
    SasSwitch,
    /// The Onboard Administrator of an enclosure.
    OnboardAdministrator,
    /// The management processor of a server.
    ManagementProcessor,
    /// The firmware of a Superdome complex.
    Complex,
    /// A server by its operating system, except HP-UX.
    Server,
    /// A server by HP-UX. Its management processor is usually on another network.
    HpuxServer,
    /// A machine without a place in the order, such as an FC switch.
    #[default]
    Other,
}

/// Whether a node is begun if a node before it could not be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfUnreachable {
    /// It is not begun, as if that node had failed.
    Skip,
    /// It is begun: the two are on different networks, and the part that can be done is done. The other node
    /// is reported as unreachable.
    Proceed,
}

/// Machines of one kind are begun after machines of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeEdge {
    /// The kind that comes first.
    pub first: MachineKind,
    /// The kind that comes after it.
    pub then: MachineKind,
    /// What follows if one of the first kind cannot be reached.
    pub if_unreachable: IfUnreachable,
}

/// The order of kinds. It has no cycle. Kinds that are not connected have no order.
pub const BY_TYPE: [TypeEdge; 7] = {
    use IfUnreachable::{Proceed, Skip};
    use MachineKind::{
        Complex, HpuxServer, ManagementProcessor, OnboardAdministrator, SasSwitch, Server, VirtualConnect,
    };
    [
        edge(VirtualConnect, OnboardAdministrator, Skip),
        edge(SasSwitch, OnboardAdministrator, Skip),
        edge(OnboardAdministrator, ManagementProcessor, Skip),
        edge(ManagementProcessor, Server, Skip),
        // Management and production of Integrity servers are usually on separate subnets.
        edge(ManagementProcessor, HpuxServer, Proceed),
        edge(Complex, Server, Skip),
        edge(Complex, HpuxServer, Proceed),
    ]
};

const fn edge(first: MachineKind, then: MachineKind, if_unreachable: IfUnreachable) -> TypeEdge {
    TypeEdge { first, then, if_unreachable }
}

impl IfUnreachable {
    /// Returns what follows if a node's manager cannot be reached: what the table says of the two kinds.
    pub(super) fn between(first: MachineKind, then: MachineKind) -> Self {
        let edge = BY_TYPE.iter().find(|edge| edge.first == first && edge.then == then);
        edge.map_or(Self::Skip, |edge| edge.if_unreachable)
    }
}
