//! What the words of devices mean: `words.tsv`, the same for all vendors.

use super::message::Messages;
use super::resource::Resource;
use crate::drivers::device::{Part, Report};
use farrier_update::Reason;
use farrier_update::device::Progress;
use std::sync::LazyLock;

/// Where a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    TaskState,
    JobState,
    QueueState,
    ServiceState,
    Message,
}

/// What a word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Queued,
    Running,
    /// It waits for a reset, if a message says so too.
    Pauses,
    /// It waits for a reset, if the state says so too.
    Paused,
    WaitsForReset,
    Done,
    Failed,
    Gone,
    AlreadyInstalled,
    ImageRefused,
    WrongMachine,
    NoRoom,
    FetchFailed,
    Busy,
    InUse,
    Disabled,
    NoLicence,
    PowerOff,
    NeedsOverride,
    /// One part of the machine was updated.
    PartDone,
}

/// One line of the table.
struct Line {
    place: Place,
    word: &'static str,
    meaning: Meaning,
}

static TABLE: LazyLock<Vec<Line>> = LazyLock::new(|| {
    let lines = include_str!("words.tsv").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).filter_map(Line::parse).collect()
});

impl Line {
    /// `None` for a line with a word of no meaning, which a test excludes.
    fn parse(line: &'static str) -> Option<Self> {
        let mut fields = line.split('\t');
        let place = match fields.next()? {
            "TaskState" => Place::TaskState,
            "JobState" => Place::JobState,
            "QueueState" => Place::QueueState,
            "ServiceState" => Place::ServiceState,
            "Message" => Place::Message,
            _ => return None,
        };
        Some(Self { place, word: fields.next()?, meaning: Meaning::parse(fields.next()?)? })
    }
}

impl Meaning {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "queued" => Self::Queued,
            "running" => Self::Running,
            "pauses" => Self::Pauses,
            "paused" => Self::Paused,
            "waits-for-reset" => Self::WaitsForReset,
            "done" => Self::Done,
            "failed" => Self::Failed,
            "gone" => Self::Gone,
            "already-installed" => Self::AlreadyInstalled,
            "image-refused" => Self::ImageRefused,
            "wrong-machine" => Self::WrongMachine,
            "no-room" => Self::NoRoom,
            "fetch-failed" => Self::FetchFailed,
            "busy" => Self::Busy,
            "in-use" => Self::InUse,
            "disabled" => Self::Disabled,
            "no-licence" => Self::NoLicence,
            "power-off" => Self::PowerOff,
            "needs-override" => Self::NeedsOverride,
            "part-done" => Self::PartDone,
            _ => return None,
        })
    }

    fn of(place: Place, word: &str) -> Option<Self> {
        TABLE.iter().find(|line| line.place == place && line.word == word).map(|line| line.meaning)
    }

    /// Returns the meaning of the first message that has one.
    pub(super) fn of_messages(messages: &Messages) -> Option<Self> {
        messages.as_slice().iter().find_map(|message| Self::of(Place::Message, message.key()))
    }

    /// Returns the kind of failure, and what the user can do about it; `None` if it is none, or of no particular kind.
    pub(super) const fn failure(self) -> Option<(Reason, Option<&'static str>)> {
        Some(match self {
            Self::ImageRefused => (Reason::ImageRefused, Some("use the vendor's image for this device")),
            Self::WrongMachine => (
                Reason::ImageNotForMachine,
                Some("use the image for this model, or restrict the component with appliesTo"),
            ),
            Self::NoRoom => (Reason::DeviceFull, Some("remove images that are not needed from the device")),
            Self::FetchFailed => (Reason::FetchFailed, None),
            Self::Busy => (Reason::DeviceUnavailable, None),
            Self::InUse => {
                (Reason::ManagedElsewhere, Some("wait until the other manager has ended its work"))
            }
            Self::Disabled => {
                (Reason::UpdateServiceDisabled, Some("enable the update service on the device"))
            }
            Self::NoLicence => (Reason::LicenceMissing, Some("install a licence on the device")),
            Self::PowerOff => (Reason::HostPoweredOff, Some("power the host on")),
            Self::NeedsOverride => (
                Reason::OverrideRequired,
                Some(
                    "a trusted module (TPM) protects its firmware: have recovery keys at hand and set spec.force.trustedModule of a new UpdateRun",
                ),
            ),
            Self::Queued
            | Self::Running
            | Self::Pauses
            | Self::Paused
            | Self::WaitsForReset
            | Self::Done
            | Self::Failed
            | Self::Gone
            | Self::PartDone
            | Self::AlreadyInstalled => return None,
        })
    }

    /// Returns the kind of failure; `None` if it is none, or of no particular kind.
    pub(super) fn reason(self) -> Option<Reason> {
        self.failure().map(|(reason, _)| reason)
    }

    /// Reports whether an update that says so has failed, whatever its state is.
    const fn is_failure(self) -> bool {
        match self {
            Self::Failed
            | Self::ImageRefused
            | Self::WrongMachine
            | Self::NoRoom
            | Self::FetchFailed
            | Self::NoLicence
            | Self::NeedsOverride => true,
            Self::Queued
            | Self::Running
            | Self::Pauses
            | Self::Paused
            | Self::WaitsForReset
            | Self::Done
            | Self::Gone
            | Self::AlreadyInstalled
            | Self::Busy
            | Self::InUse
            | Self::Disabled
            | Self::PowerOff
            | Self::PartDone => false,
        }
    }
}

/// Reads a task, a job, an entry of a queue, or the service that takes firmware. Words that are not known mean that
/// it still runs.
pub(super) fn report(resource: &Resource) -> Report {
    let messages = resource.messages();
    let mut said =
        messages.as_slice().iter().filter_map(|message| Meaning::of(Place::Message, message.key()));
    let state = state(resource);
    let failure = said.clone().find(|meaning| meaning.is_failure());
    let is_paused = said.clone().any(|meaning| meaning == Meaning::Paused);
    let waits = said.any(|meaning| meaning == Meaning::WaitsForReset);
    let is_critical = resource.text("/TaskStatus").as_deref() == Some("Critical");
    let parts = parts(resource);
    let has_failed = parts.iter().any(|part| part.failed);
    let progress = match state.unwrap_or(Meaning::Running) {
        // XCC says so of an image that is staged.
        Meaning::Queued | Meaning::Pauses if is_paused || waits => Progress::WaitsForReset,
        Meaning::Queued => Progress::Queued,
        Meaning::WaitsForReset => Progress::WaitsForReset,
        Meaning::Done if is_critical || failure.is_some() || has_failed => Progress::Failed,
        Meaning::Done if waits => Progress::WaitsForReset,
        Meaning::Done => Progress::Done,
        Meaning::Failed => Progress::Failed,
        Meaning::Gone => Progress::Gone,
        Meaning::Running
        | Meaning::Pauses
        | Meaning::Paused
        | Meaning::AlreadyInstalled
        | Meaning::ImageRefused
        | Meaning::WrongMachine
        | Meaning::NoRoom
        | Meaning::FetchFailed
        | Meaning::Busy
        | Meaning::InUse
        | Meaning::Disabled
        | Meaning::NoLicence
        | Meaning::PowerOff
        | Meaning::PartDone
        | Meaning::NeedsOverride => Progress::Running,
    };
    let reason = failure.filter(|_| progress == Progress::Failed).and_then(Meaning::reason);
    let next = failure.filter(|_| progress == Progress::Failed).and_then(Meaning::failure);
    let words = match next.and_then(|(_, next)| next) {
        Some(next) => format!("{messages}; {next}"),
        None => messages.to_string(),
    };
    Report { progress, reason, words, parts }
}

/// Returns what the messages of a task say about the entries of the inventory that they name.
fn parts(resource: &Resource) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for message in resource.objects("/Messages") {
        let Some(id) = message.text("/MessageId") else { continue };
        let failed = match Meaning::of(Place::Message, id.rsplit('.').next().unwrap_or_default()) {
            Some(Meaning::PartDone) => false,
            Some(meaning) if meaning.is_failure() => true,
            Some(_) | None => continue,
        };
        let mut named = message.texts("/MessageArgs").unwrap_or_default().into_iter();
        let entry = named.find_map(|arg| entry_of(&arg).map(str::to_owned));
        if let Some(entry) = entry.filter(|entry| parts.iter().all(|part| part.entry != *entry)) {
            parts.push(Part { entry, failed });
        }
    }
    parts
}

/// Returns the id of the entry of the inventory that a link leads to.
fn entry_of(link: &str) -> Option<&str> {
    let (_, id) = link.split_once("/FirmwareInventory/")?;
    Some(id.trim_end_matches('/')).filter(|id| !id.is_empty())
}

/// Returns how far the task or the entry itself is: it may be over although what it has written waits for a reset.
pub(super) fn progress(resource: &Resource) -> Progress {
    match (state(resource), report(resource).progress) {
        (Some(Meaning::Done), Progress::WaitsForReset) => Progress::Done,
        (_, progress) => progress,
    }
}

/// Reports whether a resource says how far something is.
pub(super) fn has_state(resource: &Resource) -> bool {
    state(resource).is_some()
}

/// Returns what the state of an update means. What a vendor adds to a task says more than the task.
fn state(resource: &Resource) -> Option<Meaning> {
    let queue = if resource.has("/Command") { "/State" } else { "" };
    let places = [
        ("/Oem/Dell/JobState", Place::JobState),
        ("/JobState", Place::JobState),
        ("/TaskState", Place::TaskState),
        (queue, Place::QueueState),
        ("/Oem/Hpe/State", Place::ServiceState),
        ("/Oem/Hp/State", Place::ServiceState),
    ];
    let mut words = places.into_iter().filter(|(path, _)| !path.is_empty());
    words.find_map(|(path, place)| Meaning::of(place, &resource.text(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A resource with this word, as the table says that it is read.
    fn sample(place: &str, word: &str) -> Resource {
        Resource::new(match place {
            "TaskState" => {
                json!({"TaskState": word, "Messages": [{"MessageId": "TaskEvent.1.0.TaskPaused"}]})
            }
            "JobState" => json!({"TaskState": "Running", "Oem": {"Dell": {"JobState": word}}}),
            "QueueState" => json!({"Command": "ApplyUpdate", "State": word}),
            "ServiceState" => json!({"Oem": {"Hpe": {"State": word}}}),
            _ => json!({"TaskState": "Completed", "Messages": [{"MessageId": format!("X.1.0.{word}")}]}),
        })
    }

    /// A line that is not understood would let an update run for ever, or count a failure as success.
    #[test]
    fn every_line_of_the_table_is_understood() {
        let lines = include_str!("words.tsv").lines();
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [place, word, meaning, source] = fields[..] else { panic!("four fields: {line}") };
            assert!(!source.is_empty(), "{line}");
            let expected = match meaning {
                // The sample of a task says that it is paused: its image is staged.
                "queued" if place == "TaskState" => Progress::WaitsForReset,
                "queued" => Progress::Queued,
                "running" => Progress::Running,
                "pauses" | "waits-for-reset" => Progress::WaitsForReset,
                "done" | "paused" | "already-installed" | "busy" | "in-use" | "disabled" | "power-off"
                | "part-done" => Progress::Done,
                "gone" => Progress::Gone,
                "failed" | "image-refused" | "wrong-machine" | "no-room" | "fetch-failed" | "no-licence"
                | "needs-override" => Progress::Failed,
                _ => panic!("no meaning: {line}"),
            };
            assert_eq!(report(&sample(place, word)).progress, expected, "{line}");
        }
        let words: Vec<_> = TABLE.iter().map(|line| (line.place as u8, line.word)).collect();
        let mut unique = words.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(words.len(), unique.len(), "a word has two meanings");
    }

    #[test]
    fn completed_with_a_failure_has_failed() {
        let critical = json!({"TaskState": "Completed", "TaskStatus": "Critical"});
        assert_eq!(report(&Resource::new(critical)).progress, Progress::Failed);
        let bundle = json!({"TaskState": "Completed", "TaskStatus": "Warning", "Messages": [{
            "MessageId": "SDFlex.1.0.FirmwareIncompatibleError", "Message": "The bundle is not for this system.",
        }]});
        let report = super::report(&Resource::new(bundle));
        assert_eq!((report.progress, report.reason), (Progress::Failed, Some(Reason::ImageNotForMachine)));
        assert!(report.words.starts_with("The bundle is not for this system"), "{}", report.words);
    }

    #[test]
    fn unknown_words_mean_that_it_runs() {
        for odd in [json!({"TaskState": "Dreaming"}), json!({}), json!({"TaskState": "Stopping"})] {
            assert_eq!(report(&Resource::new(odd)), Report::from(Progress::Running));
        }
    }
}
