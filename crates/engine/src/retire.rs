//! Reverts every lease, so that only the logs stay.

use crate::boot;
use crate::engine::Engine;
use crate::firewall;
use crate::install::holds;
use crate::journal::SessionState;
use crate::work_dir::WorkDir;
use farrier_protocol::{EventBody, Lease, LeaseKind, Leftover};
use std::path::Path;

/// Reverts everything and reports to the runner.
pub(crate) fn retire(engine: &Engine) {
    engine.shared.retire();
    engine.logs.prune(engine.session.keep);
    engine.place.close();
    engine.firewall.end();
    let mut leftovers = holds::leases::put_back(engine);
    let leases = engine.shared.known(|known: &SessionState| known.leases.clone());
    // What starts the engine goes before the engine.
    leftovers.extend(boot::release(leases.iter(), |id| {
        engine.report(EventBody::LeaseReturned { id: id.to_owned() });
    }));
    let is_released = |lease: &Lease| matches!(lease.kind, LeaseKind::BootFile | LeaseKind::Hold);
    for lease in leases.into_iter().filter(|lease| !is_released(lease)) {
        match release_lease(&lease, engine) {
            Ok(()) => engine.report(EventBody::LeaseReturned { id: lease.id }),
            Err(leftover) => leftovers.push(leftover),
        }
    }
    engine.report(EventBody::Retired { leftovers });
    engine.shared.deliver_final_events();
}

/// Reverts one lease. A lease on a process is the engine itself, which ends right after this; no
/// installer is running when an engine retires. Files of the boot and holds are released before.
fn release_lease(lease: &Lease, engine: &Engine) -> Result<(), Leftover> {
    match lease.kind {
        LeaseKind::Process | LeaseKind::BootFile | LeaseKind::Hold => Ok(()),
        LeaseKind::Directory => remove_directory(&lease.what, &engine.place),
        LeaseKind::Firewall => firewall::close(&lease.what, &engine.session.id),
        LeaseKind::Unknown => Err(Leftover {
            what: lease.what.clone(),
            why: "this engine does not know this kind of lease".into(),
        }),
    }
}

/// Removes the engine's directory: this one, or that of an earlier engine of the session.
pub(crate) fn remove_directory(what: &str, place: &WorkDir) -> Result<(), Leftover> {
    if Path::new(what) == place.dir() {
        return place.remove();
    }
    let place = WorkDir::named(Path::new(what)).map_err(|why| Leftover { what: what.into(), why })?;
    place.remove()
}
