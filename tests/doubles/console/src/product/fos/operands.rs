//! What `firmwaredownload` is told: operands, or answers to its questions.

use crate::session::Session;
use crate::terminal::Stop;

/// What `firmwaredownload` was told, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) host: String,
    pub(super) user: String,
    pub(super) path: String,
    pub(super) password: Option<String>,
    /// `ftp`, `scp`, `sftp`; empty: it tries.
    pub(super) protocol: String,
    /// `-s`: only this one partition pair, no HA reboot.
    pub(super) single: bool,
    pub(super) reboot: bool,
    pub(super) commit: bool,
}

/// The password is the last of the four operands that commas separate.
pub(in crate::product) fn blotted(line: &str) -> String {
    let shown = |word: &str| match word.splitn(4, ',').collect::<Vec<_>>().as_slice() {
        [host, user, path, _secret] => format!("{host},{user},{path},***"),
        _ => word.to_owned(),
    };
    line.split_whitespace().map(shown).collect::<Vec<_>>().join(" ")
}

/// Reads the operands: `[-s] [-b] [-n] [-p PROTOCOL] host,user,path[,password]`.
pub(super) fn operands(words: &[&str]) -> Option<Wanted> {
    let mut wanted = Wanted {
        host: String::new(),
        user: String::new(),
        path: String::new(),
        password: None,
        protocol: String::new(),
        single: false,
        reboot: false,
        commit: true,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == "-p" {
            wanted.protocol = words.next()?.to_ascii_lowercase();
        } else if let Some(letters) = word.strip_prefix('-') {
            for letter in letters.chars() {
                match letter {
                    's' => wanted.single = true,
                    'b' => wanted.reboot = true,
                    'n' => wanted.commit = false,
                    'f' | 'o' | 'c' => {}
                    _ => return None,
                }
            }
        } else {
            let mut fields = word.trim_matches('"').splitn(4, ',').map(str::to_owned);
            wanted.host = fields.next()?;
            wanted.user = fields.next()?;
            wanted.path = fields.next()?;
            wanted.password = fields.next();
        }
    }
    let known = ["", "ftp", "scp", "sftp"].contains(&wanted.protocol.as_str());
    (known && !wanted.path.is_empty()).then_some(wanted)
}

/// The questions of the interactive mode; `-s` has two more.
pub(super) async fn interview(session: &mut Session, words: &[&str]) -> Result<Wanted, Stop> {
    let single = words.iter().any(|word| word.starts_with('-') && word.contains('s'));
    let terminal = &mut session.terminal;
    let host = terminal.ask("Server Name or IP Address: ").await?;
    let user = terminal.ask("User Name: ").await?;
    let path = terminal.ask("File Name: ").await?;
    let protocol = terminal.ask("Network Protocol(1-auto-select, 2-FTP, 3-SCP, 4-SFTP) [1]: ").await?;
    let protocol = match protocol.as_str() {
        "2" => "ftp",
        "3" => "scp",
        "4" => "sftp",
        _ => "",
    };
    let (mut commit, mut reboot) = (true, false);
    if single {
        commit = yes(&terminal.ask("Do Auto-Commit after Reboot (Y/N) [Y]: ").await?, true);
        reboot = yes(&terminal.ask("Reboot system after download (Y/N) [N]: ").await?, false);
    }
    let protocol = protocol.to_owned();
    Ok(Wanted { host, user, path, password: None, protocol, single, reboot, commit })
}

/// Whether an answer means yes.
pub(super) fn yes(answer: &str, default: bool) -> bool {
    match answer.to_ascii_lowercase().as_str() {
        "" => default,
        answer => answer == "y" || answer == "yes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong operands lead to questions, which a driver must not take for an answer.
    #[test]
    fn operands_are_read_as_the_guide_has_them() {
        let wanted = operands(&["-sb", "-p", "scp", "10.0.0.1,me,/fos/v8,pa,ss"]).unwrap();
        assert_eq!((wanted.host.as_str(), wanted.path.as_str()), ("10.0.0.1", "/fos/v8"));
        assert_eq!(wanted.password.as_deref(), Some("pa,ss"));
        assert!(wanted.single && wanted.reboot && wanted.commit);
        assert_eq!(operands(&[]), None);
        assert_eq!(operands(&["-p", "http", "10.0.0.1,me,/x"]), None);
    }

    /// The journal is printed by tests that fail, and read by people.
    #[test]
    fn the_journal_has_no_password() {
        assert_eq!(blotted("firmwaredownload -p scp h,u,/p,pa,ss"), "firmwaredownload -p scp h,u,/p,***");
    }
}
