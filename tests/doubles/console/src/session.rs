//! One session of an administrator: sign-in text, prompt, commands, until one side ends it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::device::{Device, Net, Phase, Update};
use crate::fault::Fault;
use crate::fetch::{Remote, fetch};
use crate::image::Header;
use crate::job::{self, Job, Restart};
use crate::terminal::{Pager, Stop, Terminal};
use crate::trouble::Trouble;

/// What a command leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The prompt again.
    Prompt,
    /// The session is over.
    Leave,
}

/// While an image comes, the device is busy. The end of the session ends the transfer too.
struct Fetching {
    device: Arc<Device>,
    before: Option<Update>,
}

impl Fetching {
    fn begin(device: &Arc<Device>, part: &str) -> Self {
        let (parts, version) = (vec![part.to_owned()], String::new());
        let update = Update { parts, version, phase: Phase::Fetching, percent: 0 };
        let before = device.lock().update.replace(update);
        Self { device: Arc::clone(device), before }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.device.lock().update = self.before.take();
        self.device.changed.notify_waiters();
    }
}

/// How the progress is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draw {
    /// A bar that is drawn again in its line.
    Bar,
    /// Only the number, drawn again in its line with backspaces.
    Percent,
    /// Packages, one after the other, with their signs of progress.
    Packages,
}

/// A session.
pub(crate) struct Session {
    pub(crate) device: Arc<Device>,
    pub(crate) terminal: Terminal,
    pub(crate) user: String,
    /// It is with the standby module.
    pub(crate) on_standby: bool,
    /// What the product keeps of it, for example that questions are off.
    pub(crate) mode: String,
}

impl Session {
    /// A shell: text, prompt, commands.
    pub(crate) async fn shell(mut self) {
        let product = self.device.product;
        let talk = match self.enter() {
            Some(refusal) => self.terminal.write(&refusal).await,
            None => self.prompts().await,
        };
        if talk == Err(Stop::Idle) {
            let _gone = self.terminal.write(product.idle_farewell()).await;
        }
        self.leave();
    }

    /// Text, prompt, commands, until one side ends it. A command may lead to another device's prompts.
    fn prompts(&mut self) -> Pin<Box<dyn Future<Output = Result<(), Stop>> + Send + '_>> {
        Box::pin(async move {
            let product = self.device.product;
            self.terminal.write(&product.welcome(self)).await?;
            product.greet(self).await?;
            loop {
                self.noise().await?;
                let prompt = product.prompt(self);
                self.terminal.write(&prompt).await?;
                match self.terminal.read_line(crate::terminal::Typed::Shown).await {
                    Ok(line) => {
                        if self.run(&line).await? == Next::Leave {
                            return Ok(());
                        }
                    }
                    Err(Stop::Interrupted) => {}
                    Err(stop) => return Err(stop),
                }
            }
        })
    }

    /// The line to a module of the enclosure. It stays when the module restarts; only the escape ends it.
    pub(crate) async fn connect(&mut self, bay: &str, module: &Arc<Device>) -> Result<(), Stop> {
        let text = format!(
            "\nConnecting to integrated switch {bay} at 115200,N81...\nEscape character is '<Ctrl>_' (Control + Shift + Underscore)\n\nPress [Enter] to display the switch console:\n"
        );
        let mut stop = self.terminal.ask(&text).await.err();
        loop {
            if stop == Some(Stop::Escaped) {
                let question = "\nCommand: D)isconnect, C)hange settings, send B)reak, E)xit command mode > ";
                if self.terminal.ask(question).await?.eq_ignore_ascii_case("d") {
                    return Ok(());
                }
            }
            stop = self.on_line(module).await.err();
            if let Some(stop @ (Stop::Closed | Stop::Idle)) = stop {
                return Err(stop);
            }
        }
    }

    /// From the module's question for a name to the end of that session.
    async fn on_line(&mut self, module: &Arc<Device>) -> Result<(), Stop> {
        let mut net = module.net.subscribe();
        drop(net.wait_for(|net| *net != Net::Down).await);
        let born = module.lock().cut;
        let was_left = module.lock().faults.take(|fault| match fault {
            Fault::LeftOpen { user } => Some(user.clone()),
            _ => None,
        });
        let name = if let Some(user) = was_left {
            user
        } else {
            let name = self.terminal.ask(&format!("\n{} login: ", module.host_name())).await?;
            let secret = self.terminal.ask_secret("Password: ").await?;
            if !module.accepts(&name, &secret, "line") {
                return self.terminal.write("\nLogin incorrect\n").await;
            }
            name
        };
        let device = std::mem::replace(&mut self.device, Arc::clone(module));
        let user = std::mem::replace(&mut self.user, name);
        let mode = std::mem::take(&mut self.mode);
        let refusal = self.enter();
        let ended = if let Some(refusal) = refusal {
            self.terminal.write(&refusal).await
        } else {
            tokio::select! {
                ended = self.prompts() => ended,
                _ = net.changed() => Ok(()),
                () = module.until(|state| state.cut != born) => Err(Stop::Closed),
            }
        };
        self.leave();
        (self.device, self.user, self.mode) = (device, user, mode);
        ended
    }

    /// One command without a shell.
    pub(crate) async fn command(mut self, line: &str) {
        if self.device.product.profile().echoes_always {
            self.terminal.returns = true;
            let _gone = self.terminal.write(&format!("{line}\r\n")).await;
        }
        let refused = self.enter();
        let _ended = match refused {
            Some(refusal) => self.terminal.write(&refusal).await.map(|()| Next::Leave),
            None => self.run(line).await,
        };
        self.leave();
    }

    /// What the device says if it has no place for this session.
    fn enter(&self) -> Option<String> {
        let mut state = self.device.lock();
        let foreign = state.faults.take(|fault| match fault {
            Fault::OtherSession { user } => Some(user.clone()),
            _ => None,
        });
        let places = match state.settings.sessions {
            0 => self.device.product.profile().sessions,
            places => places,
        };
        let full = state.sessions.len() >= places;
        let holder = foreign.or_else(|| full.then(|| state.sessions.first().cloned().unwrap_or_default()));
        state.sessions.push(self.user.clone());
        holder.map(|holder| self.device.product.no_place(&holder))
    }

    fn leave(&self) {
        let mut state = self.device.lock();
        if let Some(at) = state.sessions.iter().position(|user| *user == self.user) {
            state.sessions.remove(at);
        }
    }

    async fn run(&mut self, line: &str) -> Result<Next, Stop> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            return Ok(Next::Prompt);
        }
        let product = self.device.product;
        self.device.lock().journal.write("command", json!({"line": product.blotted(line)}));
        let late = self.device.lock().faults.take(|fault| match fault {
            Fault::Slow { ms } => Some(*ms),
            _ => None,
        });
        if let Some(ms) = late {
            // sleep: the fault is that the answer comes late.
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        match product.run(self, &words).await {
            Err(Stop::Interrupted) => Ok(Next::Prompt),
            other => other,
        }
    }

    /// A message of the log between the lines.
    pub(crate) async fn noise(&mut self) -> Result<(), Stop> {
        let noise = self.device.lock().faults.take(|fault| match fault {
            Fault::Noise { text } => Some(text.clone()),
            _ => None,
        });
        match noise {
            Some(text) => self.terminal.write(&format!("\n{text}\n")).await,
            None => Ok(()),
        }
    }

    /// Text that may be longer than the terminal.
    pub(crate) async fn page(&mut self, text: &str, pager: Pager) -> Result<(), Stop> {
        let on = self.device.lock().settings.pager;
        self.terminal.page(text, on.then_some(pager)).await
    }

    /// Whether the question that no guide has is answered with yes; without the fault it is.
    pub(crate) async fn second_prompt(&mut self) -> Result<bool, Stop> {
        let question = self.device.lock().faults.take(|fault| match fault {
            Fault::SecondPrompt { question } => Some(question.clone()),
            _ => None,
        });
        let Some(question) = question else { return Ok(true) };
        let answer = self.terminal.ask(&question).await?;
        self.device.lock().journal.write("answer", json!({"question": question, "answer": answer}));
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// What forbids every update, before anything is fetched.
    pub(crate) fn gate(&self) -> Result<(), Trouble> {
        self.device.gate()
    }

    /// Fetches an image and checks it against the part that gets it.
    pub(crate) async fn image(&mut self, remote: &Remote, part: &str) -> Result<Header, Trouble> {
        let fetching = Fetching::begin(&self.device, part);
        let file =
            fetch(&self.device, remote).await.map_err(|error| Trouble::Transfer(format!("{error:#}")))?;
        drop(fetching);
        self.check(&file, part)
    }

    /// Checks an image that is here.
    pub(crate) fn check(&self, file: &[u8], part: &str) -> Result<Header, Trouble> {
        self.device.room(file)?;
        self.device.check(file, part)
    }

    /// Begins to write; the progress is the device's, whether this session lives or not.
    pub(crate) fn begin(&self, parts: &[&str], header: Header, restart: Restart, commit: bool) {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        job::begin(&self.device, Job { parts, header, restart, commit });
    }

    /// Draws the progress until the image is written, or not.
    pub(crate) async fn watch(&mut self, draw: Draw) -> Result<Result<(), Trouble>, Stop> {
        let mut shown = None;
        loop {
            let (phase, percent) = match &self.device.lock().update {
                Some(update) => (update.phase, update.percent),
                None => return Ok(Ok(())),
            };
            if shown != Some(percent) && phase == Phase::Writing {
                self.draw(draw, percent, shown.is_none()).await?;
                shown = Some(percent);
                self.disturb(percent).await?;
            }
            match phase {
                Phase::Failed => {
                    self.terminal.write("\n").await?;
                    return Ok(Err(Trouble::Broken));
                }
                Phase::Written | Phase::Restarting | Phase::Committing | Phase::Done => {
                    self.terminal.write("\n").await?;
                    return Ok(Ok(()));
                }
                Phase::Fetching | Phase::Writing => {
                    let device = Arc::clone(&self.device);
                    let moved = |state: &crate::device::State| {
                        let update = state.update.as_ref();
                        update.is_none_or(|update| update.phase != phase || update.percent != percent)
                    };
                    device.until(moved).await;
                }
            }
        }
    }

    async fn draw(&mut self, draw: Draw, percent: u8, first: bool) -> Result<(), Stop> {
        match draw {
            Draw::Bar => {
                let full = usize::from(percent) / 4;
                let bar = format!("{}>{}", "=".repeat(full), " ".repeat(25 - full));
                self.terminal.write(&format!("\r\u{1b}[K[{bar}] \u{1b}[1m{percent:3}%\u{1b}[0m")).await
            }
            Draw::Percent => {
                let back = if first { "" } else { "\u{8}\u{8}\u{8}\u{8}" };
                self.terminal.write(&format!("{back}{percent:3}%")).await
            }
            Draw::Packages => {
                let name = if percent.is_multiple_of(10) && percent < 100 {
                    let end = if first { "" } else { "\n" };
                    format!("{end}package-{} ", percent / 10)
                } else {
                    String::new()
                };
                self.terminal.write(&format!("{name}##########")).await
            }
        }
    }

    /// What may come in the middle of a progress.
    async fn disturb(&mut self, percent: u8) -> Result<(), Stop> {
        if percent < 40 {
            return Ok(());
        }
        self.noise().await?;
        if self.device.has(&Fault::PagerInProgress) {
            let pager = self.device.product.pager();
            self.terminal.write("\n").await?;
            self.terminal.wait_at_pager(pager).await?;
        }
        Ok(())
    }
}
