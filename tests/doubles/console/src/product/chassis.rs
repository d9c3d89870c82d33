//! What the command lines of HP's chassis managers have in common: words of refusals, versions, URLs.

use crate::fetch::Remote;
use crate::session::Session;
use crate::terminal::Stop;
use crate::trouble::Trouble;

/// Numbers of a version, for comparison: `4.60` is older than `4.101`.
fn numbers(version: &str) -> Vec<u64> {
    let numbers = version.split(|character: char| !character.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// Whether the new version is older than the one that runs.
pub(crate) fn is_downgrade(new: &str, runs: &str) -> bool {
    numbers(new) < numbers(runs)
}

/// The URL in a command with its password blotted out.
pub(super) fn blotted(line: &str) -> String {
    let shown = |word: &str| {
        let parts = word.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
        match parts {
            Some((scheme, (login, host))) => {
                let user = login.split(':').next().unwrap_or_default();
                format!("{scheme}://{user}:***@{host}")
            }
            None => word.to_owned(),
        }
    };
    line.split_whitespace().map(shown).collect::<Vec<_>>().join(" ")
}

/// The URL of a command, if its protocol is one of these.
pub(super) fn url(word: &str, schemes: &[&str]) -> Option<Remote> {
    Remote::of_url(word).filter(|remote| schemes.contains(&remote.scheme.as_str()))
}

/// A question for yes or no, as the Onboard Administrator has them. In script mode nothing is
/// asked, and nobody is asked without a terminal.
pub(super) async fn sure(session: &mut Session, question: &str) -> Result<bool, Stop> {
    if session.mode == "script" || !session.terminal.is_interactive() {
        return Ok(true);
    }
    let answer = session.terminal.ask(question).await?;
    Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// The words of a refusal.
pub(super) fn words_of(trouble: &Trouble, device: &str) -> String {
    let words = match trouble {
        Trouble::Privilege => "You do not have permission to run this command.".to_owned(),
        Trouble::Busy => "A firmware update is already in progress.".to_owned(),
        Trouble::Mode(mode) => format!("This operation is not allowed while the {device} is in {mode} mode."),
        Trouble::Standby => "The standby module cannot be updated.".to_owned(),
        Trouble::Partner => "The redundant partner is not healthy. The update was not started.".to_owned(),
        Trouble::Transfer(why) if Remote::is_login(why) => {
            "The image could not be downloaded: access denied by the server.".to_owned()
        }
        Trouble::Transfer(_) => "The image could not be downloaded. Please check the URL.".to_owned(),
        Trouble::NoRoom => "There is not enough space to store the image.".to_owned(),
        Trouble::NotAnImage => "The image is not a valid firmware image.".to_owned(),
        Trouble::WrongModel => format!("The image is not valid for this {device}."),
        Trouble::Signature => "The signature of the image could not be verified.".to_owned(),
        Trouble::StepMissing(from) => format!("This image requires firmware {from} to be installed first."),
        Trouble::Declined => "The operation was canceled.".to_owned(),
        Trouble::Broken => "The firmware update failed. The previous firmware is still in use.".to_owned(),
    };
    format!("\n{words}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An enclosure in FIPS mode refuses older firmware, and only that.
    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_downgrade("4.60", "4.101"));
        assert!(!is_downgrade("4.101", "4.60"));
        assert!(!is_downgrade("4.60", "4.60"));
    }

    /// The journal is printed by tests that fail, and read by people.
    #[test]
    fn the_journal_has_no_password() {
        assert_eq!(blotted("UPDATE IMAGE ftp://me:s@cret@h/x"), "UPDATE IMAGE ftp://me:***@h/x");
    }
}
