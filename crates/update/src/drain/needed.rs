//! Which work disrupts what a machine does for others.

use crate::device::{Inventory, Part, Verb};
use crate::plan::NodePlan;

/// Reports whether a request to a device disrupts what it does for others, so that it is drained before.
///
/// A device that is the management processor of a host (`of_host`) is not what others use: only what concerns the host
/// counts (W5). `part` is the part of the machine that the component belongs to; `installs` whether the request
/// installs something, and `holds` whether that takes effect only in a later restart.
pub const fn is_disruptive(verb: Verb, part: Part, installs: bool, holds: bool, of_host: bool) -> bool {
    match verb {
        Verb::ResetHost => true,
        Verb::ResetManager => !of_host,
        Verb::Upload | Verb::Pull | Verb::Enqueue | Verb::Activate => {
            installs && !holds && (!of_host || matches!(part, Part::Host))
        }
        Verb::SignIn
        | Verb::AdoptImage
        | Verb::AdoptWork
        | Verb::ImportAuthority
        | Verb::Subscribe
        | Verb::SignOut
        | Verb::RemoveUpload
        | Verb::RemoveQueueEntry
        | Verb::RemoveAuthority
        | Verb::Unsubscribe
        | Verb::Unknown => false,
    }
}

/// Reports whether a device is drained when this plan is carried out.
pub fn is_needed(plan: &NodePlan, reading: &Inventory, of_host: bool) -> bool {
    let part = |name: &str| reading.entries.get(name).map_or(Part::Host, |entry| entry.part);
    plan.installs().any(|item| !of_host || part(&item.component.name) == Part::Host)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise hosts are emptied because of an update that their work does not notice; or they are restarted with
    /// everything on them.
    #[test]
    fn a_host_is_drained_for_what_concerns_it_and_never_for_its_management_processor() {
        let of_host = |verb, part, holds| is_disruptive(verb, part, true, holds, true);
        for verb in [Verb::Upload, Verb::Pull, Verb::Enqueue, Verb::Activate, Verb::ResetManager] {
            assert!(!of_host(verb, Part::Manager, false), "{verb:?}");
        }
        assert!(of_host(Verb::ResetHost, Part::Host, true));
        assert!(of_host(Verb::Activate, Part::Host, false));
        assert!(!of_host(Verb::Activate, Part::Host, true), "it waits for the restart");
        assert!(!is_disruptive(Verb::Upload, Part::Host, false, false, true), "it is only staged");
    }

    /// Otherwise a switch is restarted while traffic goes through it.
    #[test]
    fn what_others_use_itself_is_drained_for_each_installation_and_restart() {
        for verb in [Verb::Upload, Verb::Pull, Verb::Enqueue, Verb::Activate, Verb::ResetManager] {
            assert!(is_disruptive(verb, Part::Manager, true, false, false), "{verb:?}");
        }
        for verb in [Verb::SignIn, Verb::SignOut, Verb::AdoptImage, Verb::RemoveUpload, Verb::Subscribe] {
            assert!(!is_disruptive(verb, Part::Manager, true, false, false), "{verb:?}");
        }
    }
}
