//! What stays on a device because the user wants it to, in words: where it is, and what puts it into effect.

use farrier_update::PlanItem;
use farrier_update::device::{Kept, KeptKind};

/// Describes where the image of a component is, and what puts it into effect; `None` if nothing of it stays.
pub(super) fn place(kept: &[&Kept], item: &PlanItem, node: &str) -> Option<String> {
    let (name, version) = (&item.component.name, &item.component.version);
    let of = |kind| kept.iter().find(|kept| kept.kind == kind);
    if let Some(waiting) = of(KeptKind::Waiting) {
        return Some(format!(
            "{node} has the image of {name} {version} ({}) and installs it when the part that it is for is restarted, whoever does that; an UpdateRun with operation Update and reboot.policy IfRequired restarts it",
            waiting.ticket.0
        ));
    }
    of(KeptKind::Image).map(|image| {
        format!(
            "the image of {name} {version} is in the repository of {node} ({}) and nothing is queued; an UpdateRun with operation Update installs it without sending it again, or queue it on the device",
            image.ticket.0
        )
    })
}

/// Describes something that stays, for the end of a NodeUpdate.
pub(super) fn in_words(kept: &Kept) -> String {
    let Kept { component, kind, action: _, ticket } = kept;
    match kind {
        KeptKind::Image => format!("the staged image of {component} ({})", ticket.0),
        KeptKind::Waiting => format!("the update of {component} that waits for a restart ({})", ticket.0),
    }
}
