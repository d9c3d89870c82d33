//! Determines what a machine ran in place of Farrier's shell, as far as that is visible.
//!
//! A forced command, a login shell and `command=` in `authorized_keys` look the same from outside: a command
//! was started, and Farrier's shell has not printed its marker. The behaviour of that command, and whether
//! the server offers SFTP, narrow the cause down. The message names the remaining causes.

use super::Session;
use crate::failure::Failure;
use crate::ssh::Output;
use bytes::Bytes;
use farrier_update::Reason;
use std::time::Duration;

/// How long an SFTP server may take to greet: it is started right after another command has ended.
const SFTP_LIMIT: Duration = Duration::from_secs(5);

/// `SSH_FXP_INIT` for version 3 of the protocol: length, type, version.
const SFTP_INIT: &[u8] = &[0, 0, 0, 5, 1, 0, 0, 0, 3];

/// What follows the length in the answer of every SFTP server: `SSH_FXP_VERSION`, version 3.
const SFTP_VERSION: &str = "\u{2}\0\0\0\u{3}";

/// What OpenSSH (`session.c`), and shadow's `login` and `su`, print to an account whose password has expired, in
/// place of any command.
const MUST_CHANGE: [&str; 3] =
    ["Password change required", "required to change your password", "Your password has expired"];

/// What ran in place of Farrier's shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replacement {
    /// No command, but the server offers SFTP to the account.
    Sftp,
    /// A demand for a new password.
    PasswordChange,
    /// Another command, which succeeded.
    Another,
    /// No working command.
    Nothing,
}

impl Session {
    /// Returns the failure for a command line that ended without Farrier's shell.
    pub(in crate::drivers) fn unusable(&self, output: &Output) -> Failure {
        let demands = |words: &&str| output.stdout.contains(*words) || output.stderr.contains(*words);
        let instead = match output.status {
            Some(0) => Replacement::Another,
            _ if MUST_CHANGE.iter().any(demands) => Replacement::PasswordChange,
            _ => Replacement::Nothing,
        };
        self.replaced(instead, output)
    }

    /// The same, after a test whether the account may use SFTP, which would mean that an administrator
    /// restricts it to SFTP.
    pub(in crate::drivers) async fn unusable_or_sftp(&self, output: &Output) -> Failure {
        if tokio::time::timeout(SFTP_LIMIT, self.speaks_sftp()).await == Ok(true) {
            return self.replaced(Replacement::Sftp, output);
        }
        self.unusable(output)
    }

    async fn speaks_sftp(&self) -> bool {
        let Ok(mut server) = self.connection.subsystem("sftp").await else { return false };
        let sent = server.send(Bytes::from_static(SFTP_INIT)).await;
        // The length is sent first, and no text begins with such a byte.
        let greeted = |o: &Output| o.stdout.starts_with('\0') && o.stdout.contains(SFTP_VERSION);
        sent.is_ok() && server.read_until(greeted).await.unwrap_or(false)
    }

    fn replaced(&self, instead: Replacement, output: &Output) -> Failure {
        let (node, user) = (&self.connection.node, &self.connection.user);
        let status = output.status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
        let printed = [output.stdout.as_str(), output.stderr.as_str()].join(" ");
        let printed: String =
            printed.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
        let words = if printed.is_empty() { String::new() } else { format!(", it printed \"{printed}\"") };
        match instead {
            Replacement::Sftp => Failure::new(
                Reason::SftpOnly,
                format!(
                    "user {user} of {node} signed in, but may use SFTP only, and run no commands (exit status {status}{words}); exempt {user} from ForceCommand internal-sftp in sshd_config (look for it in Match blocks), give it a login shell that runs commands if it has none, or sign in as another user"
                ),
            ),
            Replacement::PasswordChange => Failure::new(
                Reason::PasswordChangeRequired,
                format!(
                    "user {user} of {node} signed in, and must change the password before anything else{words}; set a new password on the machine and store it in the Secret, or end its expiry with chage on the machine"
                ),
            ),
            Replacement::Another => Failure::new(
                Reason::SshCommandReplaced,
                format!(
                    "user {user} of {node} signed in, but another command ran in place of /bin/sh, and succeeded (exit status 0{words}); exempt {user} from ForceCommand in sshd_config, remove command= from its line in authorized_keys, or give it a login shell that runs commands"
                ),
            ),
            Replacement::Nothing => Failure::new(
                Reason::ShellUnusable,
                format!(
                    "user {user} of {node} signed in, but its login shell did not run /bin/sh (exit status {status}{words}); give the user a shell that runs commands, and look for ForceCommand in sshd_config and for command= in authorized_keys"
                ),
            ),
        }
    }
}
