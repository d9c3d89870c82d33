//! Signing in and out, and commands in their modes.

use super::super::dialogue::{Answer as Said, End};
use super::super::file::Verb as Command;
use super::super::session::{Ask, Order, Session, gone, not_sent};
use super::super::template::{Slot, Values};
use super::trouble::{is_answer, refused_by_ssh};
use super::{Device, Line, Stage};
use crate::drivers::device::{Contact, Trouble};
use crate::metrics::result_of;
use crate::ssh::connect::connect;
use crate::ssh::{Connection, HostKeys, TERM, Terminal};
use farrier_update::Reason;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// How long a device may take to end a session. It ends with the connection anyway.
const FAREWELL: Duration = Duration::from_secs(5);

/// How often a device without a free session is asked again before it is given up. Each time is a sign-in, which its log
/// shows, and which other administrators may be waiting for too.
const TRIES: u32 = 20;

impl Device {
    /// Opens a session, unless one is open. A device that has no free one is there, and is asked again for as long as it
    /// may refuse: somebody ends the other session, or the device does, once nobody has used it for long enough.
    pub(super) async fn sign_in(&mut self, report: impl FnMut(Contact) + Send) -> Result<(), Trouble> {
        let signed_in = self.open_session(report).await;
        let trouble = signed_in.as_ref().err();
        let is_taken = trouble.is_some_and(|trouble| trouble.failure.reason == Reason::SessionLimitReached);
        let rest = self.settings.limits.refused / TRIES;
        self.asks_again = is_taken.then(|| Instant::now() + rest);
        signed_in
    }

    async fn open_session(&mut self, mut report: impl FnMut(Contact) + Send) -> Result<(), Trouble> {
        if let Some(line) = self.line.as_ref().filter(|line| !line.session.is_over()) {
            report(Contact::Reached { address: line.address.clone() });
            return Ok(());
        }
        self.hang_up().await;
        let connection = self.connect(&mut report).await?;
        let product = self.settings.product.clone();
        let columns = u32::try_from(product.terminal.columns).unwrap_or(u32::MAX);
        let terminal = Terminal { name: TERM, columns, rows: product.terminal.rows };
        let shell = match connection.shell(&terminal).await {
            Ok(shell) => shell,
            Err(failure) => {
                connection.close().await;
                return Err(refused_by_ssh(self.by_way(failure)));
            }
        };
        let (values, secrets) = (self.settings.first_values(), self.settings.secrets());
        let (session, greeting) = Session::open(product, shell, values, secrets).await;
        if let Some(trouble) = self.no_greeting(&greeting, session.lost()) {
            connection.close().await;
            return Err(trouble);
        }
        let address = connection.address.clone();
        self.line = Some(Line { connection, session, address, bay: None });
        if let Err(trouble) = self.go_through(&mut report).await {
            self.hang_up().await;
            return Err(trouble);
        }
        for number in 0..self.product().session.begin.len() {
            let ask = Ask::Begin(number);
            if self.enter_mode_of(&ask).await? {
                self.exchange(ask).await?;
            }
        }
        Ok(())
    }

    async fn connect(&mut self, report: &mut (impl FnMut(Contact) + Send)) -> Result<Connection, Trouble> {
        let settings = self.settings.clone();
        let shell = settings.line();
        let lines = shell.host_keys.iter().chain(&self.first_key).map(String::as_str);
        let keys = HostKeys::parse(&shell.target.node, lines, shell.trust_first);
        let keys = keys.map_err(|failure| refused_by_ssh(self.by_way(failure)))?;
        let report = |done| {
            if let Some(contact) = self.contact(done) {
                report(contact);
            }
        };
        let connected = connect(&shell.target, &keys, &shell.credentials, shell.algorithms, report).await;
        self.metrics.ssh_connects.count([result_of(&connected, "Connected")]);
        let connection = connected.map_err(|failure| refused_by_ssh(self.by_way(failure)))?;
        if let Some(first) = &connection.first_key {
            self.first_key = Some(first.clone());
        }
        Ok(connection)
    }

    /// Sends a command that changes nothing, in its mode.
    pub(super) async fn reads(&mut self, ask: Ask) -> Result<Said, Trouble> {
        self.enters(&ask).await?;
        self.exchange(ask).await
    }

    /// Enters the mode of a command, in a new session if there is no way from the present mode.
    pub(super) async fn enters(&mut self, ask: &Ask) -> Result<(), Trouble> {
        if self.enter_mode_of(ask).await? {
            return Ok(());
        }
        self.hang_up().await;
        // Whoever is to be told of the connection was told.
        self.sign_in(|_| {}).await?;
        if self.enter_mode_of(ask).await? {
            return Ok(());
        }
        Err(self.no_way(ask))
    }

    /// Enters the mode of a command. Returns false if there is no way to it: the way back from a mode is a new
    /// session.
    async fn enter_mode_of(&mut self, ask: &Ask) -> Result<bool, Trouble> {
        let product = self.settings.product.clone();
        let Some(command) = ask.command(&product) else { return Err(self.not_in_product(ask)) };
        let Some(line) = &self.line else { return Ok(false) };
        let Some(way) = product.way(&line.session.mode, &command.mode) else { return Ok(false) };
        for mode in way {
            self.exchange(Ask::Enter(mode.to_owned())).await?;
        }
        Ok(self.line.as_ref().is_some_and(|line| line.session.mode == command.mode))
    }

    /// Sends a command without values of an image, and waits for its end.
    pub(super) async fn exchange(&mut self, ask: Ask) -> Result<Said, Trouble> {
        let order = self.order(ask.clone(), self.settings.values())?;
        let Some(line) = &mut self.line else { return Err(self.no_answer(&ask, &not_sent())) };
        let sent = line.session.send(order).await;
        let said = sent.answer.await.unwrap_or_else(|_| gone());
        line.session.note(&said);
        if !matches!(said.end, End::Prompt(_)) {
            self.hang_up().await;
        }
        if is_answer(&said) { Ok(said) } else { Err(self.no_answer(&ask, &said)) }
    }

    /// Writes a command.
    pub(super) fn order(&self, ask: Ask, values: Values) -> Result<Order, Trouble> {
        let values = values.with_consents(self.consents.iter().copied());
        let values = match self.line.as_ref().and_then(|line| line.bay.as_ref()) {
            Some(bay) => values.with(Slot::Bay, bay),
            None => values,
        };
        let product = self.product();
        let Some(command) = ask.command(product) else { return Err(self.not_in_product(&ask)) };
        let filled = command.template.fill(&values, &product.allowed);
        let line = filled.map_err(|error| self.not_writable(&ask, &error))?;
        Ok(Order { ask, line, values, consents: BTreeSet::new(), until: None })
    }

    /// Ends the session as the product wants it.
    pub(super) async fn sign_out(&mut self) {
        let ask = Ask::Request(Command::SignOut);
        if self.line.is_none() || ask.command(self.product()).is_none() {
            return;
        }
        let farewell = async {
            if let Ok(true) = self.enter_mode_of(&ask).await {
                // The device ends the connection, and says nothing that matters.
                self.exchange(ask).await.ok();
            }
        };
        tokio::time::timeout(FAREWELL, farewell).await.ok();
    }

    /// Ends the connection, and with it what still runs in the session.
    pub(super) async fn hang_up(&mut self) {
        if let Some(Line { connection, session, .. }) = self.line.take() {
            drop(session);
            connection.close().await;
        }
        self.running = self.running.take().filter(|running| matches!(running.stage, Stage::Over(_)));
    }
}
