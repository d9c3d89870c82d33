//! One session with a device: the task that owns the line and drives the dialogue, also while nobody waits for an
//! answer, so that a pager in the middle of long work is turned at once.
//!
//! The session ends with its value: an attempt that is dropped sends nothing any more.

use super::blot::Secrets;
use super::dialogue::{Action, Answer, Dialogue, End, Exchange};
use super::file::{Need, Verb};
use super::product::{Command, Product};
use super::template::{Line, Values};
use crate::failure::Failure;
use crate::ssh::Shell;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The longest time between two turns of the task.
const TURN: Duration = Duration::from_secs(1);

/// After so long without a turn the process was suspended, and another runner may have taken over. It is a third of
/// how long the hold on a Lease lasts, which is renewed meanwhile.
const SUSPENDED: Duration = Duration::from_secs(5);

/// What is asked, by its place in the product file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// A command at the beginning of each session, by number.
    Begin(usize),
    /// The way into a mode.
    Enter(String),
    /// The bays of the manager that the device is reached through.
    Bay,
    /// The installed versions.
    Versions,
    /// How far the work is.
    Work,
    /// The text that is another one after each start.
    Boot,
    /// What an installation interrupts.
    Interruption,
    /// What must be so before the device is changed, by number.
    Check(usize),
    /// A command that changes the device.
    Request(Verb),
}

impl Ask {
    /// Returns the command; `None` if the product has none.
    pub(super) fn command<'p>(&self, product: &'p Product) -> Option<&'p Command> {
        match self {
            Self::Begin(number) => Some(&product.session.begin.get(*number)?.command),
            Self::Enter(mode) => Some(&product.modes.get(mode)?.enter.as_ref()?.command),
            Self::Bay => Some(&product.through.as_ref()?.bay.as_ref()?.0),
            Self::Versions => Some(&product.versions.command),
            Self::Work => Some(&product.work.as_ref()?.command),
            Self::Boot => Some(&product.boot.as_ref()?.command),
            Self::Interruption => Some(&product.interruption.as_ref()?.command),
            Self::Check(number) => Some(&product.checks.get(*number)?.command),
            Self::Request(verb) => Some(&product.requests.get(verb)?.command),
        }
    }

    fn exchange<'p>(&self, product: &'p Product) -> Option<Exchange<'p>> {
        match self {
            Self::Begin(number) => product.session.begin.get(*number).map(|way| Exchange::way(way, product)),
            Self::Enter(mode) => {
                product.modes.get(mode)?.enter.as_ref().map(|way| Exchange::way(way, product))
            }
            Self::Bay | Self::Versions | Self::Work | Self::Boot | Self::Interruption | Self::Check(_) => {
                self.command(product).map(Exchange::reading)
            }
            Self::Request(verb) => product.requests.get(verb).map(Exchange::request),
        }
    }
}

/// A command that is to be sent.
pub(super) struct Order {
    pub(super) ask: Ask,
    pub(super) line: Line,
    /// For its questions.
    pub(super) values: Values,
    /// What the user has said yes to.
    pub(super) consents: BTreeSet<Need>,
    /// After this time it is not sent any more.
    pub(super) until: Option<Instant>,
}

/// What a command has shown so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hints {
    /// Whether the words are there without which it is not accepted.
    pub(super) is_accepted: bool,
    /// The questions about licence agreements that were answered with yes.
    pub(super) agreed: Vec<String>,
    /// How far it is, in hundredths.
    pub(super) percent: Option<u8>,
    /// A line that looks like a question, and that nobody answers.
    pub(super) unclear: Option<String>,
}

/// A command that was sent.
pub(super) struct Sent {
    /// Its end.
    pub(super) answer: oneshot::Receiver<Answer>,
    /// What it shows meanwhile.
    pub(super) hints: watch::Receiver<Hints>,
}

/// An order, and where its end and its hints go.
type Task = (Order, oneshot::Sender<Answer>, watch::Sender<Hints>);

/// A session.
pub(super) struct Session {
    orders: mpsc::Sender<Task>,
    task: JoinHandle<()>,
    lost: Arc<OnceLock<Failure>>,
    /// The mode that its last prompt was of.
    pub(super) mode: String,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Begins a session on a shell. The answer is the banner; the session is of use if it ends with a prompt. `values`
    /// are for the questions at sign-in.
    pub(super) async fn open(
        product: Arc<Product>,
        shell: Shell,
        values: Values,
        secrets: Secrets,
    ) -> (Self, Answer) {
        let (orders, received) = mpsc::channel(1);
        let (greeted, greeting) = oneshot::channel();
        let lost = Arc::new(OnceLock::new());
        let noted = lost.clone();
        let task = tokio::spawn(async move {
            let dialogue = Dialogue::new(&product, values, secrets, Duration::ZERO);
            let running = Some((greeted, watch::channel(Hints::default()).0));
            let now = Instant::now();
            let talk =
                Talk { product: &product, dialogue, shell, lost: noted, begun: now, turn: now, running };
            talk.run(received).await;
        });
        let answer = greeting.await.unwrap_or_else(|_| gone());
        let mut session = Self { orders, task, lost, mode: String::new() };
        session.note(&answer);
        (session, answer)
    }

    /// Returns why the session has ended, if the device did not end it by itself.
    pub(super) fn lost(&self) -> Option<&Failure> {
        self.lost.get()
    }

    /// Sends a command. Its answer is [`gone`] if the session is over.
    pub(super) async fn send(&self, order: Order) -> Sent {
        let (done, answer) = oneshot::channel();
        let (hint, hints) = watch::channel(Hints::default());
        if let Err(mpsc::error::SendError((_, done, _))) = self.orders.send((order, done, hint)).await {
            done.send(not_sent()).ok();
        }
        Sent { answer, hints }
    }

    /// Notes the mode in which a command has left the session.
    pub(super) fn note(&mut self, answer: &Answer) {
        if let End::Prompt(mode) = &answer.end {
            self.mode.clone_from(mode);
        }
    }

    /// Reports whether nothing can be sent any more.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished() || self.orders.is_closed()
    }
}

/// The answer of a session that was over before anything was sent.
pub(super) fn not_sent() -> Answer {
    ended(End::NotSent)
}

/// The answer of a session that ended without one, whatever was sent.
pub(super) fn gone() -> Answer {
    ended(End::Closed)
}

fn ended(end: End) -> Answer {
    Answer::plain(end, Vec::new())
}

/// The session as its task has it.
struct Talk<'p> {
    product: &'p Product,
    dialogue: Dialogue<'p>,
    shell: Shell,
    lost: Arc<OnceLock<Failure>>,
    begun: Instant,
    /// When the task had its last turn.
    turn: Instant,
    running: Option<(oneshot::Sender<Answer>, watch::Sender<Hints>)>,
}

impl Talk<'_> {
    async fn run(mut self, mut orders: mpsc::Receiver<Task>) {
        while !self.dialogue.is_over() {
            let wake = self.dialogue.wake_at().map_or(TURN, |at| at.saturating_sub(self.begun.elapsed()));
            let actions = tokio::select! {
                // What has come is read before the end of the text is judged.
                biased;
                read = self.shell.read() => match read {
                    Ok(Some(bytes)) => self.dialogue.receive(&bytes, self.begun.elapsed()),
                    Ok(None) => self.dialogue.closed(),
                    Err(failure) => self.fails(failure),
                },
                // sleep: the dialogue says when it wants to be called, and a turn tells that the process lives.
                () = tokio::time::sleep(wake.min(TURN)) => self.dialogue.tick(self.begun.elapsed()),
                order = orders.recv(), if self.dialogue.is_idle() => match order {
                    Some((order, done, hint)) => self.begin(order, done, hint),
                    // The attempt has ended.
                    None => return,
                },
            };
            let has_ended = actions.iter().any(|action| matches!(action, Action::End(_)));
            let actions = if self.was_suspended() && !has_ended { self.dialogue.closed() } else { actions };
            self.turn = Instant::now();
            self.act(actions).await;
        }
        // What came after the end was never sent.
        orders.close();
        while let Some((_, done, _)) = orders.recv().await {
            done.send(not_sent()).ok();
        }
    }

    fn fails(&mut self, failure: Failure) -> Vec<Action> {
        self.lost.set(failure).ok();
        self.dialogue.closed()
    }

    fn begin(
        &mut self,
        order: Order,
        done: oneshot::Sender<Answer>,
        hint: watch::Sender<Hints>,
    ) -> Vec<Action> {
        let Order { ask, line, values, consents, until } = order;
        let exchange = ask.exchange(self.product);
        let in_time = until.is_none_or(|until| Instant::now() < until);
        let Some(exchange) = exchange.filter(|_| in_time) else {
            done.send(not_sent()).ok();
            return Vec::new();
        };
        self.running = Some((done, hint));
        self.dialogue.send(exchange, line, values, consents, self.begun.elapsed())
    }

    /// Reports whether this process did not run for so long that another one may be at work on the device. Work that
    /// the device has accepted is followed all the same.
    fn was_suspended(&self) -> bool {
        let is_accepted = self.running.as_ref().is_some_and(|(_, hint)| hint.borrow().is_accepted);
        !is_accepted && self.turn.elapsed() > SUSPENDED
    }

    async fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(typed) => {
                    let bytes = Bytes::copy_from_slice(typed.bytes());
                    if let Err(failure) = self.shell.write(bytes).await {
                        let closed = self.fails(failure);
                        for action in closed {
                            self.tell(action);
                        }
                    }
                }
                Action::Percent(_)
                | Action::Accepted
                | Action::Agreed(_)
                | Action::Unclear(_)
                | Action::End(_) => {
                    self.tell(action);
                }
            }
        }
    }

    fn tell(&mut self, action: Action) {
        match (action, &self.running) {
            (Action::Percent(percent), Some((_, hint))) => {
                hint.send_modify(|hints| {
                    hints.percent = Some(percent);
                    hints.unclear = None;
                });
            }
            (Action::Agreed(question), Some((_, hint))) => {
                hint.send_modify(|hints| hints.agreed.push(question));
            }
            (Action::Accepted, Some((_, hint))) => hint.send_modify(|hints| hints.is_accepted = true),
            (Action::Unclear(line), Some((_, hint))) => hint.send_modify(|hints| hints.unclear = Some(line)),
            (Action::End(answer), _) => {
                if let Some((done, _)) = self.running.take() {
                    done.send(answer).ok();
                }
            }
            (Action::Send(_), _)
            | (Action::Percent(_) | Action::Accepted | Action::Agreed(_) | Action::Unclear(_), None) => {}
        }
    }
}
