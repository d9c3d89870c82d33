//! Becoming root: directly, with sudo, or with su.
//!
//! No decision depends on the messages of sudo or su, which vary with language and version. sudo's prompt is
//! set to a fixed text that also names the user whose password is requested. The line that the shell prints
//! shows that it runs.

use super::script::{READY, as_user, command_line, reader};
use super::{Session, Settings};
use crate::drivers::Privilege;
use crate::failure::Failure;
use crate::ssh::exec::Terminal;
use crate::ssh::{Credentials, Output, Running};
use bytes::Bytes;
use farrier_update::Reason;
use std::time::Duration;

/// How long sudo or su may take to answer: PAM modules may delay a rejection by several seconds.
const LIMIT: Duration = Duration::from_secs(20);

/// Exit status of `env` and of shells if a command does not exist.
const NO_SUCH_COMMAND: u32 = 127;

/// Prefix of sudo's prompt; the user whose password is requested follows, then a colon.
const PROMPT: &str = "farrier-sudo-";

impl Session {
    /// Starts a root shell that has reported that it is ready for its script.
    ///
    /// # Errors
    /// `ShellUnusable`, `NotRoot`, `SudoMissing`, `SudoDenied`, `SudoPasswordRejected`,
    /// `SudoAsksAnotherPassword`, `SuPasswordRejected`, `SuFailed`, `SshTerminalRefused`,
    /// `SecretIncomplete`, `CommandTimedOut`, and those of running a command.
    pub(in crate::drivers) async fn root_shell(&self, uid: u32) -> Result<Running, Failure> {
        let Settings { privilege, credentials, .. } = &*self.settings;
        let work = async {
            // A user who is already root needs neither sudo nor su.
            match *privilege {
                _ if uid == 0 => self.plain_shell().await,
                Privilege::None => Err(self.not_root()),
                Privilege::Sudo => self.by_sudo(credentials).await,
                Privilege::Su => self.by_su(credentials).await,
            }
        };
        let ended = tokio::time::timeout(LIMIT, work).await;
        ended.unwrap_or_else(|_| Err(self.too_slow(if uid == 0 { Privilege::None } else { *privilege })))
    }

    /// There was no shell as root within [`LIMIT`].
    fn too_slow(&self, privilege: Privilege) -> Failure {
        let (node, user, seconds) = (&self.connection.node, &self.connection.user, LIMIT.as_secs());
        let reason = match privilege {
            Privilege::None => {
                return Failure::new(
                    Reason::CommandTimedOut,
                    format!(
                        "{node} did not start a shell for user {user} within {seconds} s; check the machine's load and the login scripts of {user}"
                    ),
                );
            }
            Privilege::Sudo => Reason::SudoDenied,
            Privilege::Su => Reason::SuFailed,
        };
        let message = format!(
            "{node} did not let user {user} become root within {seconds} s; check the PAM modules of sudo and su on the machine"
        );
        Failure::new(reason, message)
    }

    async fn plain_shell(&self) -> Result<Running, Failure> {
        let mut shell = self.connection.start(&as_user(), Terminal::No).await?;
        if shell.read_until(is_ready).await? {
            return Ok(shell);
        }
        Err(self.unusable(shell.output_so_far()))
    }

    async fn by_sudo(&self, credentials: &Credentials) -> Result<Running, Failure> {
        let mut shell = self.connection.start(&sudo(Terminal::No), Terminal::No).await?;
        if let Some(ready) = self.sudo_dialogue(&mut shell, credentials).await? {
            return if ready {
                Ok(shell)
            } else {
                Err(self.sudo_rejected(shell.output_so_far(), credentials))
            };
        }
        // No prompt and no shell: sudo is missing, denies, or requires a terminal.
        if shell.finish().await?.status == Some(NO_SUCH_COMMAND) {
            return Err(self.sudo_missing());
        }
        let mut shell = self.connection.start(&sudo(Terminal::Yes), Terminal::Yes).await?;
        match self.sudo_dialogue(&mut shell, credentials).await? {
            Some(true) => Ok(shell),
            Some(false) => Err(self.sudo_rejected(shell.output_so_far(), credentials)),
            None if shell.output_so_far().no_terminal => Err(self.sudo_without_terminal()),
            None => Err(self.sudo_denied()),
        }
    }

    /// `Some(true)`: the shell is ready. `Some(false)`: sudo asked for the password, and the answer was wrong
    /// or did not help. `None`: sudo ended without asking.
    async fn sudo_dialogue(
        &self,
        shell: &mut Running,
        credentials: &Credentials,
    ) -> Result<Option<bool>, Failure> {
        shell.read_until(|o| is_ready(o) || prompts(o) > 0).await?;
        if is_ready(shell.output_so_far()) {
            return Ok(Some(true));
        }
        if prompts(shell.output_so_far()) == 0 {
            return Ok(None);
        }
        let password = self.sudo_password(shell.output_so_far(), credentials)?;
        shell.send(Bytes::from(format!("{password}\n"))).await?;
        // A second prompt means that the password was wrong. No second answer is sent: every wrong answer
        // counts towards the machine's account lockout.
        shell.read_until(|o| is_ready(o) || prompts(o) > 1).await?;
        Ok(Some(is_ready(shell.output_so_far())))
    }

    fn sudo_password(&self, output: &Output, credentials: &Credentials) -> Result<String, Failure> {
        let Credentials { user, source, sudo_password, password, .. } = credentials;
        if let Some(password) = sudo_password {
            return Ok(password.clone());
        }
        let node = &self.connection.node;
        let asked = asked_user(output);
        if asked.as_deref().is_some_and(|asked| asked != user) {
            return Err(Failure::new(
                Reason::SudoAsksAnotherPassword,
                format!(
                    "sudo on {node} asks for the password of {}, not of {user} (rootpw, targetpw or runaspw in its configuration); put that password into secret {source} under sudo-password, or change the sudo configuration",
                    asked.unwrap_or_default()
                ),
            ));
        }
        password.clone().ok_or_else(|| {
            Failure::new(
                Reason::SecretIncomplete,
                format!("sudo on {node} asks user {user} for a password, and secret {source} has none; add the key sudo-password, or allow {user} sudo without a password"),
            )
        })
    }

    async fn by_su(&self, credentials: &Credentials) -> Result<Running, Failure> {
        let Credentials { source, su_password, password, .. } = credentials;
        let node = &self.connection.node;
        let Some(secret) = su_password.as_ref().or(password.as_ref()) else {
            return Err(Failure::new(
                Reason::SecretIncomplete,
                format!(
                    "su on {node} asks for root's password, and secret {source} has none; add the key su-password"
                ),
            ));
        };
        // su reads passwords from a terminal; some implementations fall back to standard input without one.
        let asks = |o: &Output| [&o.stdout, &o.stderr].iter().any(|text| text.trim_end().ends_with(':'));
        let command = command_line(&["env", "LC_ALL=C", "su", "root", "-s", "/bin/sh", "-c", reader()]);
        let mut shell = self.connection.start(&command, Terminal::Yes).await?;
        shell.read_until(|o| is_ready(o) || asks(o)).await?;
        if is_ready(shell.output_so_far()) {
            return Ok(shell);
        }
        if !asks(shell.output_so_far()) {
            return Err(self.su_failed(shell.output_so_far()));
        }
        shell.send(Bytes::from(format!("{secret}\n"))).await?;
        if shell.read_until(is_ready).await? {
            return Ok(shell);
        }
        // The text that looked like a prompt was the shell's message that su was not found.
        if shell.output_so_far().status == Some(NO_SUCH_COMMAND) {
            return Err(self.su_missing());
        }
        Err(Failure::new(
            Reason::SuPasswordRejected,
            format!(
                "su on {node} refused root's password; correct secret {source} (key su-password, else password), and check that user {} may use su",
                self.connection.user
            ),
        ))
    }

    fn su_failed(&self, output: &Output) -> Failure {
        let (node, user) = (&self.connection.node, &self.connection.user);
        let words = last_line(&format!("{}\n{}", output.stdout, output.stderr));
        if output.no_terminal {
            return Failure::new(
                Reason::SshTerminalRefused,
                format!(
                    "su on {node} ended without asking for a password ({words}), and the SSH server gives no terminal to ask on; set PermitTTY yes in its sshd_config and remove no-pty or restrict from the line of {user} in authorized_keys; check also that {user} may use su"
                ),
            );
        }
        Failure::new(
            Reason::SuFailed,
            format!(
                "su on {node} ended without asking for a password ({words}); check that su is installed and that user {user} may use it"
            ),
        )
    }

    fn su_missing(&self) -> Failure {
        Failure::new(
            Reason::SuFailed,
            format!(
                "su on {} ended without asking for a password (there is no su); check that su is installed and that user {} may use it",
                self.connection.node, self.connection.user
            ),
        )
    }

    fn sudo_without_terminal(&self) -> Failure {
        let (node, user) = (&self.connection.node, &self.connection.user);
        Failure::new(
            Reason::SshTerminalRefused,
            format!(
                "sudo on {node} did not ask user {user} for a password, and the SSH server gives no terminal, on which sudo may insist; set PermitTTY yes in its sshd_config and remove no-pty or restrict from the line of {user} in authorized_keys, or remove requiretty from the sudo configuration and check that it lets {user} run /bin/sh as root"
            ),
        )
    }

    fn not_root(&self) -> Failure {
        Failure::new(
            Reason::NotRoot,
            format!(
                "user {} of {} is not root, and spec.ssh.privilege is None; set it to Sudo or Su, or sign in as root",
                self.connection.user, self.connection.node
            ),
        )
    }

    fn sudo_missing(&self) -> Failure {
        Failure::new(
            Reason::SudoMissing,
            format!(
                "there is no sudo on {}; install it, set spec.ssh.privilege to Su, or sign in as root",
                self.connection.node
            ),
        )
    }

    fn sudo_denied(&self) -> Failure {
        Failure::new(
            Reason::SudoDenied,
            format!(
                "sudo on {} does not let user {} run /bin/sh as root; add a rule for it to the sudo configuration",
                self.connection.node, self.connection.user
            ),
        )
    }

    fn sudo_rejected(&self, output: &Output, credentials: &Credentials) -> Failure {
        // One prompt and no second one: the password was right, but the rules deny the command.
        if prompts(output) < 2 {
            return self.sudo_denied();
        }
        let key = if credentials.sudo_password.is_some() { "sudo-password" } else { "password" };
        Failure::new(
            Reason::SudoPasswordRejected,
            format!(
                "sudo on {} refused the password of user {}; correct secret {} (key {key})",
                self.connection.node,
                asked_user(output).unwrap_or_else(|| self.connection.user.clone()),
                credentials.source
            ),
        )
    }
}

fn sudo(terminal: Terminal) -> String {
    let prompt = format!("{PROMPT}%p:");
    let mut words = vec!["env", "LC_ALL=C", "sudo"];
    // With a terminal, sudo must read the password from it: -S would leave the echo on.
    if terminal == Terminal::No {
        words.push("-S");
    }
    words.extend(["-p", &prompt, "/bin/sh", "-c", reader()]);
    command_line(&words)
}

fn is_ready(output: &Output) -> bool {
    output.stdout.contains(READY)
}

fn prompts(output: &Output) -> usize {
    output.stderr.matches(PROMPT).count() + output.stdout.matches(PROMPT).count()
}

/// Returns the user whose password sudo asked for.
fn asked_user(output: &Output) -> Option<String> {
    let text = format!("{}{}", output.stderr, output.stdout);
    let (_, rest) = text.split_once(PROMPT)?;
    rest.split_once(':').map(|(user, _)| user.to_owned())
}

fn last_line(text: &str) -> String {
    text.lines()
        .rev()
        .find(|l| !l.trim().is_empty())
        .unwrap_or("it printed nothing")
        .trim()
        .chars()
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(stderr: &str) -> Output {
        Output { stderr: stderr.into(), ..Output::default() }
    }

    #[test]
    fn the_prompt_tells_whose_password_sudo_wants() {
        assert_eq!(asked_user(&output("farrier-sudo-root:")).as_deref(), Some("root"));
        assert_eq!(asked_user(&output("Sorry.\nfarrier-sudo-ops:")).as_deref(), Some("ops"));
        assert_eq!(prompts(&output("farrier-sudo-ops:Sorry\nfarrier-sudo-ops:")), 2);
    }
}
