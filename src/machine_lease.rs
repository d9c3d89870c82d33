//! The Lease of a machine: whoever works on the machine holds it, so that no two do so at the same time
//! (docs/adr/0046).
//!
//! A Lease is created for the work and deleted after it: a machine on which nobody works has none. Nothing is
//! watched: the Lease is read by those who wait for it. `farrier_update::ownership` decides who may take it.

mod renewal;

pub use renewal::{Held, Lost};

use crate::api::{LABEL_NODE, ManagedNode, label_value};
use crate::engines::hex;
use crate::lease::mark;
use crate::publish::{is_conflict, is_gone, is_of_dying_namespace};
use farrier_update::Millis;
use farrier_update::ownership::{Decision, Holder, Owner, Sighting, decide};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use kube::api::PostParams;
use kube::{Api, Client, Resource, ResourceExt};
use sha2::{Digest as _, Sha256};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The annotation with the [`Owner`] as JSON, beside the holder's name that everybody reads.
const OWNER_ANNOTATION: &str = "farrier.dev/owner";

/// The label of the Leases of machines, which says what they are for.
const PART_LABEL: (&str, &str) = ("farrier.dev/part", "machine");

/// Maximum length of the name of a Lease in the API server.
const MAX_NAME_LEN: usize = 253;

/// How often one attempt reads the Lease again after another writer was faster.
const MAX_READS: u32 = 3;

/// Returns an identity that no other process has, for [`Owner::process`].
pub fn process() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// The holder of a Lease that this process may not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupant {
    /// Name of the holder, as it has written it.
    pub holder: String,
    /// When it took the Lease, by its clock.
    pub since: Option<Millis>,
    /// When the Lease expires by its clock, unless it is renewed; `None`: it does not expire.
    pub until: Option<Millis>,
    /// Whether the holder is the worker's predecessor: a runner of this installation that had the same NodeUpdate.
    pub soon: bool,
}

/// The outcome of an attempt to take a Lease.
#[derive(Debug)]
pub enum Taking {
    /// It is held now.
    Held(Held),
    /// Another one holds it.
    Other(Occupant),
}

/// The Lease of one machine, for one worker.
#[derive(Debug)]
pub struct MachineLease {
    api: Api<Lease>,
    name: String,
    machine: OwnerReference,
    owner: Owner,
    /// How long it is valid without a renewal.
    duration: Duration,
    /// The Lease of another holder, and since when it has been seen unchanged.
    seen: Mutex<Option<(Mark, Instant)>>,
}

/// The fields that change when a Lease is renewed.
type Mark = (Option<String>, Option<MicroTime>);

impl MachineLease {
    /// Describes the Lease of a machine for this worker; does nothing yet.
    pub fn new(client: &Client, machine: &ManagedNode, owner: Owner, duration: Duration) -> Self {
        Self {
            api: Api::namespaced(client.clone(), &machine.namespace().unwrap_or_default()),
            name: name(&machine.name_any()),
            machine: machine.owner_ref(&()).unwrap_or_default(),
            owner,
            duration,
            seen: Mutex::new(None),
        }
    }

    /// Returns the name of the Lease.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the namespace of the Lease.
    pub fn namespace(&self) -> &str {
        self.api.namespace().unwrap_or_default()
    }

    /// Whether this is the Lease of exactly this machine, and not of an earlier one of its name.
    pub fn is_of(&self, machine: &ManagedNode) -> bool {
        machine.meta().uid.as_deref() == Some(self.machine.uid.as_str())
    }

    /// Takes the Lease, if it may be taken. `is_dead` reports whether a runner of this installation is dead.
    /// Where the namespace is being deleted, and nobody can make a Lease any more, it counts as held.
    ///
    /// # Errors
    /// Errors of the API server.
    pub async fn attempt(&self, is_dead: impl Fn(&str) -> bool) -> Result<Taking, kube::Error> {
        for _ in 0..MAX_READS {
            // Measured from before the write: nobody can have seen the renewal earlier.
            let begun = Instant::now();
            if !self.waits_already() {
                match self.create().await {
                    Ok(made) => return Ok(Taking::Held(renewal::keep(self, Some(made), begun))),
                    Err(error) if is_of_dying_namespace(&error) => {
                        return Ok(Taking::Held(renewal::keep(self, None, begun)));
                    }
                    Err(error) if is_conflict(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            let Some(found) = self.api.get_opt(&self.name).await? else {
                self.forget();
                continue;
            };
            let sighting = self.sighted(&found);
            let cause = match decide(&self.owner, &sighting, &is_dead, now()) {
                Decision::Wait { soon } => return Ok(Taking::Other(occupant(&found, &sighting, soon))),
                Decision::Take(cause) => cause,
            };
            self.forget();
            match self.api.replace(&self.name, &PostParams::default(), &self.signed(found)).await {
                Ok(held) => {
                    tracing::info!(lease = %self.name, ?cause, "the Lease of the machine was taken over");
                    return Ok(Taking::Held(renewal::keep(self, Some(held), begun)));
                }
                Err(error) if is_conflict(&error) || is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let holder = "another client".to_owned();
        Ok(Taking::Other(Occupant { holder, since: None, until: None, soon: false }))
    }

    async fn create(&self) -> Result<Lease, kube::Error> {
        self.api.create(&PostParams::default(), &self.signed(Lease::default())).await
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Option<(Mark, Instant)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits_already(&self) -> bool {
        self.seen().is_some()
    }

    fn forget(&self) {
        *self.seen() = None;
    }

    /// Describes a Lease that was just read.
    fn sighted(&self, found: &Lease) -> Sighting {
        let (now, mark) = (Instant::now(), mark(found));
        let mut seen = self.seen();
        let since = match &*seen {
            Some((before, since)) if *before == mark => *since,
            Some(_) | None => {
                *seen = Some((mark, now));
                now
            }
        };
        sighting(found, now.duration_since(since))
    }

    /// Returns a Lease as this worker holds it, from the Lease that it replaces.
    fn signed(&self, lease: Lease) -> Lease {
        signed(lease, &self.name, &self.machine, &self.owner, self.duration)
    }
}

/// Returns the name of the Lease of a machine: `managednode-<name>`, shortened with a hash if it is too long.
fn name(machine: &str) -> String {
    let full = format!("managednode-{machine}");
    if full.len() <= MAX_NAME_LEN {
        return full;
    }
    let hash = hex(&Sha256::digest(full.as_bytes()));
    let hash = hash.get(..10).unwrap_or_default();
    let kept: String = full.chars().take(MAX_NAME_LEN - hash.len() - 1).collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}

fn sighting(found: &Lease, unchanged: Duration) -> Sighting {
    let spec = found.spec.clone().unwrap_or_default();
    let record = found.annotations().get(OWNER_ANNOTATION);
    // A record that cannot be read is not ours.
    let record = record.and_then(|text| serde_json::from_str(text).ok());
    let made = found.creation_timestamp().map(|at| at.0);
    let renewed = spec.renew_time.or(spec.acquire_time).map(|at| at.0).or(made);
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Sighting {
        holder: Holder::of(spec.holder_identity.as_deref().unwrap_or_default(), record),
        renewed: renewed.map_or(Millis(0), millis),
        duration: seconds.map(Duration::from_secs),
        unchanged,
    }
}

fn occupant(found: &Lease, sighting: &Sighting, soon: bool) -> Occupant {
    let spec = found.spec.as_ref();
    let since = spec.and_then(|spec| spec.acquire_time.as_ref()).map(|at| at.0);
    Occupant {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        since: since.or_else(|| found.creation_timestamp().map(|at| at.0)).map(millis),
        until: sighting.until(),
        soon,
    }
}

/// Returns a Lease that names this owner, from the Lease that it replaces.
fn signed(
    mut lease: Lease,
    name: &str,
    machine: &OwnerReference,
    owner: &Owner,
    duration: Duration,
) -> Lease {
    let metadata = &mut lease.metadata;
    metadata.name = Some(name.to_owned());
    let (part, of) = PART_LABEL;
    let labels = metadata.labels.get_or_insert_default();
    labels.insert(part.to_owned(), of.to_owned());
    labels.insert(LABEL_NODE.to_owned(), label_value(&machine.name));
    let record = serde_json::to_string(owner).unwrap_or_default();
    metadata.annotations.get_or_insert_default().insert(OWNER_ANNOTATION.to_owned(), record);
    let owners = metadata.owner_references.get_or_insert_default();
    if !owners.iter().any(|owner| owner.uid == machine.uid) {
        owners.push(machine.clone());
    }
    let now = MicroTime(jiff::Timestamp::now());
    let old = lease.spec.take();
    let identity = owner.identity();
    let is_new = old.as_ref().and_then(|old| old.holder_identity.as_ref()) != Some(&identity);
    let transitions = old.as_ref().map_or(0, |old| {
        let before = old.lease_transitions.unwrap_or(0);
        before.saturating_add(i32::from(is_new))
    });
    let acquired = old.and_then(|old| old.acquire_time).filter(|_| !is_new);
    lease.spec = Some(LeaseSpec {
        acquire_time: acquired.or_else(|| Some(now.clone())),
        holder_identity: Some(identity),
        lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
        lease_transitions: Some(transitions),
        renew_time: Some(now),
        ..LeaseSpec::default()
    });
    lease
}

fn millis(at: jiff::Timestamp) -> Millis {
    Millis(u64::try_from(at.as_millisecond()).unwrap_or_default())
}

fn now() -> Millis {
    millis(jiff::Timestamp::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner(runner: &str) -> Owner {
        Owner {
            installation: "tools".into(),
            runner: runner.into(),
            process: "p".into(),
            update: "r1-db".into(),
            session: "u-1".into(),
            left: false,
        }
    }

    fn machine(name: &str, uid: &str) -> OwnerReference {
        OwnerReference {
            name: name.into(),
            uid: uid.into(),
            kind: "ManagedNode".into(),
            ..Default::default()
        }
    }

    const HOUR: Duration = Duration::from_hours(1);

    fn ours(lease: Lease, runner: &str) -> Lease {
        signed(lease, "managednode-db", &machine("db", "n-1"), &owner(runner), HOUR)
    }

    /// Otherwise a tool that respects the Lease of a machine does not find it; or the API server refuses it.
    #[test]
    fn the_name_follows_from_the_machines() {
        assert_eq!(name("db.example"), "managednode-db.example");
        let (long, other) = (name(&"a".repeat(253)), name(&format!("{}b", "a".repeat(252))));
        assert_eq!((long.len(), other.len()), (MAX_NAME_LEN, MAX_NAME_LEN));
        assert_ne!(long, other);
        assert_eq!(name(&"a".repeat(241)).len(), MAX_NAME_LEN);
    }

    /// Otherwise a successor would not know its predecessor's Lease, or would take a stranger's for it.
    #[test]
    fn what_is_written_is_read_back() {
        let first = ours(Lease::default(), "a");
        let seen = sighting(&first, Duration::ZERO);
        assert_eq!(seen.holder, Holder::Farrier(owner("a")));
        assert_eq!(seen.duration, Some(HOUR));
        assert_eq!(seen.until(), Some(seen.renewed.after(HOUR)));
        assert_eq!(first.owner_references().iter().map(|o| o.uid.as_str()).collect::<Vec<_>>(), ["n-1"]);
        let spec = |lease: &Lease| lease.spec.clone().unwrap();
        assert_eq!(spec(&first).lease_transitions, Some(0));

        let renewed = ours(first.clone(), "a");
        assert_eq!(spec(&renewed).acquire_time, spec(&first).acquire_time, "held since the beginning");
        assert_eq!(spec(&renewed).lease_transitions, Some(0));
        assert_eq!(renewed.owner_references().len(), 1);

        let taken = ours(renewed, "b");
        assert_eq!(spec(&taken).lease_transitions, Some(1));
        assert_eq!(sighting(&taken, Duration::ZERO).holder, Holder::Farrier(owner("b")));
    }

    /// Otherwise a Lease that a person has made with kubectl would count as expired, or as ours.
    #[test]
    fn a_lease_of_others_is_read_with_what_it_has() {
        let lease = |spec: serde_json::Value| -> Lease {
            let metadata = json!({"name": "x", "creationTimestamp": "2026-11-30T10:00:00Z"});
            serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
        };
        let read = |spec: serde_json::Value| {
            let lease = lease(spec);
            let seen = sighting(&lease, Duration::ZERO);
            (occupant(&lease, &seen, false), seen.holder)
        };
        let (bare, holder) = read(json!({"holderIdentity": "alice"}));
        assert_eq!(holder, Holder::Other("alice".into()));
        assert_eq!(bare.holder, "alice");
        assert_eq!(bare.since.map(|at| at.to_string()).as_deref(), Some("2026-11-30T10:00:00Z"));
        assert_eq!(bare.until, None);
        let (timed, _) = read(json!({"holderIdentity": "alice", "leaseDurationSeconds": 3600}));
        assert_eq!(timed.until.map(|at| at.to_string()).as_deref(), Some("2026-11-30T11:00:00Z"));
        let renewed = json!({"holderIdentity": "alice", "leaseDurationSeconds": 60,
            "acquireTime": "2026-11-30T10:05:00.000000Z", "renewTime": "2026-11-30T10:20:00.000000Z"});
        let (renewed, _) = read(renewed);
        assert_eq!(renewed.since.map(|at| at.to_string()).as_deref(), Some("2026-11-30T10:05:00Z"));
        assert_eq!(renewed.until.map(|at| at.to_string()).as_deref(), Some("2026-11-30T10:21:00Z"));
        assert_eq!(read(json!({})).1, Holder::Nobody);
        let mut stolen = ours(Lease::default(), "a");
        stolen.spec.as_mut().unwrap().holder_identity = Some("thief".into());
        assert_eq!(sighting(&stolen, Duration::ZERO).holder, Holder::Other("thief".into()));
    }
}
