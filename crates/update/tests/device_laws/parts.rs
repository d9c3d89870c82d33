//! The parts of the simulated device, and what goes over the wire.

use farrier_update::device::{ActionId, Obstacle, Part, Progress, ResetTarget, Verb};

/// What a device of this product does.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent habits")]
pub(crate) struct Traits {
    pub(crate) has_sessions: bool,
    /// Whether sessions are listed with the name of the action that opened them.
    pub(crate) lists_sessions: bool,
    pub(crate) session_timeout: Option<u64>,
    /// How long ended tasks are listed, if the device tells.
    pub(crate) keeps_tasks: Option<u64>,
    /// After this time an ended task is forgotten.
    pub(crate) forgets_after: u64,
    pub(crate) forgets_at_reset: bool,
    pub(crate) drops_uploads_at_reset: bool,
    pub(crate) tells_boot: bool,
    /// Whether accepted work has a name.
    pub(crate) gives_tickets: bool,
    /// Whether a new task waits for the one before it; otherwise it is refused.
    pub(crate) queues: bool,
    /// Out of a hundred installations: reported as done without effect, and the reverse.
    pub(crate) lies: u64,
    /// Out of a hundred installations: without effect, and reported so.
    pub(crate) fails: u64,
    /// Out of a hundred pulls that fail: the image could not be fetched, because its server had ended.
    pub(crate) interrupts: u64,
    /// Whether it refuses to end sessions.
    pub(crate) locks_sessions: bool,
    /// Whether a task is listed only after its image was fetched.
    pub(crate) hides_fetching: bool,
    /// Whether work that is done in a moment leaves no task behind.
    pub(crate) drops_short_tasks: bool,
    /// Whether a task goes on only when what it is for is reset.
    pub(crate) tasks_wait: bool,
    /// Whether it refuses to install the version that it has.
    pub(crate) knows_versions: bool,
    /// Whether entries stay in the queue after their end.
    pub(crate) keeps_entries: bool,
    /// Whether it posts events all the time, so that it is asked about its task again and again.
    pub(crate) posts: bool,
    /// How many readings after a start are wrong, at most 2.
    pub(crate) flaps: u64,
    pub(crate) idle: u64,
    /// How long a self-test of the host takes at most.
    pub(crate) post: u64,
    /// What keeps it from taking work all the time.
    pub(crate) obstacle: Option<Obstacle>,
}

/// Firmware of one component.
#[derive(Debug, Clone)]
pub(crate) struct Firmware {
    pub(crate) version: u8,
    pub(crate) pending: Option<u8>,
    pub(crate) part: Part,
    /// What puts a new version into effect.
    pub(crate) takes: Effect,
    /// How long an installation takes.
    pub(crate) duration: u64,
    /// How many installations began.
    pub(crate) installs: u32,
    /// An earlier run requested the only one of them.
    pub(crate) is_earlier: bool,
    /// How many resets were carried out for it.
    pub(crate) resets: u32,
    /// When another manager installed another version over ours.
    pub(crate) replaced: Option<u64>,
    /// How many images were staged while another one was there.
    pub(crate) double_uploads: u32,
}

/// When an installed version takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    AtOnce,
    /// The controller restarts by itself.
    ByItself,
    After(ResetTarget),
}

/// A request as it is on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) action: ActionId,
    pub(crate) verb: Verb,
    pub(crate) component: usize,
    pub(crate) to: u8,
    pub(crate) installs: bool,
    pub(crate) of: Option<(ActionId, Verb)>,
    /// The session that it is sent in.
    pub(crate) session: Option<ActionId>,
}

/// The device's reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    Began(u32),
    Done,
    /// For now.
    Refused,
    /// For good.
    Rejected,
    /// It has this version.
    AlreadyInstalled,
    Unauthorized,
    /// An error that says nothing about what was done.
    Broken,
    /// It does not know its own resources yet.
    Missing,
    Silent,
}

impl Reply {
    /// What a device answers while it starts.
    pub(crate) const AFTER_START: [Self; 5] =
        [Self::Silent, Self::Refused, Self::Unauthorized, Self::Broken, Self::Missing];
}

/// Something that the device works on or has worked on.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) ticket: u32,
    /// `None` for another manager's.
    pub(crate) request: Option<Request>,
    pub(crate) progress: Progress,
    pub(crate) ends: u64,
    /// Listed from this time on.
    pub(crate) listed: u64,
    /// Whether it is an entry in the queue, which stays there until it is removed or has ended.
    pub(crate) is_entry: bool,
}

/// Actions of an earlier run have numbers from here on.
pub(crate) const EARLIER: u32 = 900_000;

/// What keeps the device from answering usefully.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    pub(crate) until: u64,
    pub(crate) reply: Reply,
}

/// A staged image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upload {
    pub(crate) action: ActionId,
    pub(crate) component: usize,
    pub(crate) whole: bool,
}
