//! Keyboard-interactive sign-in: the server asks questions, in any number of rounds (RFC 4256).
//!
//! The password is given once. A question that follows is not answered: to ask for the password again means that it
//! was wrong, and a wrong answer to anything else would count towards the machine's account lockout.

use super::client::Client;
use super::credentials::Credentials;
use super::heard::quotable;
use crate::failure::Failure;
use farrier_update::Reason;
use russh::client::{Handle, KeyboardInteractiveAuthResponse as Response, Prompt};

/// Maximum number of rounds; more than any sane server requests.
const ROUNDS: usize = 8;

/// What servers say that want a new password: PAM's modules, Windows, and devices.
const MUST_CHANGE: [&str; 6] = [
    "new password",
    "change your password",
    "current password",
    "old password",
    "password expired",
    "password has expired",
];

/// How a sign-in by questions has ended.
pub(super) enum Ended {
    /// The user is signed in.
    Accepted,
    /// The server refused the answers.
    Refused,
    /// The server goes on with other methods, or asks what is not known.
    Failed(Failure),
}

/// What is answered to one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Password,
    User,
}

/// Why a question is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unanswered {
    /// The password was given already, and is asked for again.
    Again,
    /// A new password is asked for.
    NewPassword,
    /// Nobody has told what the answer is.
    Unknown,
}

/// Signs in by answering the server's questions. `is_given`: the server has had the password already.
///
/// # Errors
/// Those of the library: the connection is lost.
pub(super) async fn sign_in(
    handle: &mut Handle<Client>,
    node: &str,
    credentials: &Credentials,
    mut is_given: bool,
) -> Result<Ended, russh::Error> {
    let password = credentials.password.as_deref().unwrap_or_default();
    let mut response = handle.authenticate_keyboard_interactive_start(&credentials.user, None).await?;
    for _ in 0..ROUNDS {
        let (instructions, prompts) = match response {
            Response::Success => return Ok(Ended::Accepted),
            Response::Failure { .. } => return Ok(Ended::Refused),
            Response::InfoRequest { name, instructions, prompts } => {
                (format!("{name} {instructions}"), prompts)
            }
        };
        let mut answers = Vec::new();
        for prompt in &prompts {
            match reply(prompt, &instructions, is_given) {
                Ok(Reply::Password) => {
                    is_given = true;
                    answers.push(password.to_owned());
                }
                Ok(Reply::User) => answers.push(credentials.user.clone()),
                Err(Unanswered::Again) => return Ok(Ended::Refused),
                Err(why) => {
                    let text = [instructions.as_str(), &prompt.prompt].join(" ").replace(password, "…");
                    return Ok(Ended::Failed(unanswered(why, node, credentials, &quotable(&text))));
                }
            }
        }
        response = handle.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(Ended::Refused)
}

/// Decides what is answered to a question. The first one whose answer is hidden is taken for that of the password,
/// whatever its language.
fn reply(prompt: &Prompt, instructions: &str, is_given: bool) -> Result<Reply, Unanswered> {
    let (text, before) = (prompt.prompt.to_lowercase(), instructions.to_lowercase());
    if MUST_CHANGE.iter().any(|words| text.contains(words) || before.contains(words)) {
        return Err(Unanswered::NewPassword);
    }
    let names = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let is_of_password = names(&["passw", "passphrase"]);
    match (is_given, prompt.echo) {
        (true, _) if is_of_password => Err(Unanswered::Again),
        (_, true) if names(&["user", "login", "name", "account"]) => Ok(Reply::User),
        (false, false) => Ok(Reply::Password),
        (false, true) if is_of_password => Ok(Reply::Password),
        (true | false, true) | (true, false) => Err(Unanswered::Unknown),
    }
}

fn unanswered(why: Unanswered, node: &str, credentials: &Credentials, text: &str) -> Failure {
    let Credentials { user, source, .. } = credentials;
    match why {
        Unanswered::NewPassword => Failure::new(
            Reason::PasswordChangeRequired,
            format!(
                "{node} wants a new password of user {user} before anything else (\"{text}\"); set one on the machine, and store it in secret {source}"
            ),
        ),
        Unanswered::Again | Unanswered::Unknown => Failure::new(
            Reason::AuthenticationFailed,
            format!(
                "{node} asks user {user} more than a user name and a password (\"{text}\"), which secret {source} has no answer to; let the user sign in without a second factor, or use another account"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str, echo: bool, is_given: bool) -> Result<Reply, Unanswered> {
        reply(&Prompt { prompt: text.into(), echo }, "", is_given)
    }

    /// Otherwise a code or a new password would be answered with the password, and the account be locked, or a wrong
    /// password be given twice.
    #[test]
    fn the_password_is_given_once_and_to_its_own_question() {
        for question in ["Password: ", "ops@oa-1's password:", "Kennwort:", "PASSCODE", ""] {
            assert_eq!(asked(question, false, false), Ok(Reply::Password), "{question}");
        }
        assert_eq!(asked("Password:", true, false), Ok(Reply::Password), "with an echo");
        assert_eq!(asked("login as: ", true, false), Ok(Reply::User));
        assert_eq!(asked("Password:", false, true), Err(Unanswered::Again));
        for question in ["Verification code: ", "One-time code:"] {
            assert_eq!(asked(question, false, true), Err(Unanswered::Unknown), "{question}");
        }
        assert_eq!(asked("Press c to continue", true, false), Err(Unanswered::Unknown));
        for (question, is_given) in [("New password: ", true), ("Enter old password:", false)] {
            assert_eq!(asked(question, false, is_given), Err(Unanswered::NewPassword), "{question}");
        }
        let expired = "WARNING: Your password has expired.";
        let prompt = Prompt { prompt: "Password:".into(), echo: false };
        assert_eq!(reply(&prompt, expired, true), Err(Unanswered::NewPassword));
    }
}
