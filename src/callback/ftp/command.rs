//! The commands of FTP (RFC 959, 2389, 2428, 3659), as far as this service knows them.

/// A command with its argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// `USER`: the name of the account.
    User(String),
    /// `PASS`: its password.
    Pass(String),
    /// `QUIT`.
    Quit,
    /// `ABOR`: end the transfer.
    Abort,
    /// `NOOP`.
    Noop,
    /// `SYST`.
    System,
    /// `FEAT`.
    Features,
    /// `AUTH`, `PBSZ`, `PROT`: TLS.
    Tls,
    /// `TYPE` of another kind, or `MODE` or `STRU` that change the file.
    Unsupported,
    /// A known command with an argument that is none.
    Malformed,
    /// Anything else that needs no account.
    Unknown,
    /// What needs an account.
    SignedIn(Request),
}

/// A command that needs an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// `TYPE` (both types send the file as it is), `MODE S`, `STRU F`, `OPTS UTF8`: nothing changes.
    Plain,
    /// `PWD`.
    Where,
    /// `CWD` and `CDUP`.
    Enter(String),
    /// `PASV`.
    Passive,
    /// `EPSV`, with the family that is asked for.
    ExtendedPassive(Option<String>),
    /// `PORT` and `EPRT`: connect to an address that the client names.
    Active,
    /// `REST`: where the next file begins.
    Restart(u64),
    /// `SIZE`.
    Size(String),
    /// `RETR`.
    Retrieve(String),
    /// `MLST`: the facts of a file, on the control connection.
    Facts(String),
    /// `LIST`, `NLST`, `MLSD`.
    List(Listing, String),
    /// Anything that would change something here.
    Write,
}

/// How a folder is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// As `ls -l`.
    Long,
    /// Names.
    Names,
    /// For machines (RFC 3659).
    Facts,
}

impl Command {
    /// Parses a line without its end.
    pub(super) fn parse(line: &str) -> Self {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let text = || argument.to_owned();
        let choice = argument.trim().to_ascii_uppercase();
        let request = match verb.to_ascii_uppercase().as_str() {
            "USER" => return Self::User(text()),
            "PASS" => return Self::Pass(text()),
            "QUIT" => return Self::Quit,
            "ABOR" => return Self::Abort,
            "NOOP" => return Self::Noop,
            "SYST" => return Self::System,
            "FEAT" => return Self::Features,
            "AUTH" | "PBSZ" | "PROT" => return Self::Tls,
            "OPTS" if choice.starts_with("UTF8") => Request::Plain,
            "TYPE" if ["A", "A N", "I", "L 8"].contains(&choice.as_str()) => Request::Plain,
            "MODE" if choice == "S" => Request::Plain,
            "STRU" if choice == "F" => Request::Plain,
            "TYPE" | "MODE" | "STRU" | "OPTS" => return Self::Unsupported,
            "PWD" | "XPWD" => Request::Where,
            "CWD" | "XCWD" => Request::Enter(text()),
            "CDUP" | "XCUP" => Request::Enter("..".to_owned()),
            "PASV" => Request::Passive,
            "EPSV" => Request::ExtendedPassive((!choice.is_empty()).then_some(choice)),
            "PORT" | "EPRT" | "LPRT" => Request::Active,
            "REST" => match number(&choice) {
                Some(begin) => Request::Restart(begin),
                None => return Self::Malformed,
            },
            "SIZE" => Request::Size(text()),
            "RETR" => Request::Retrieve(text()),
            "LIST" => Request::List(Listing::Long, without_options(argument)),
            "NLST" => Request::List(Listing::Names, without_options(argument)),
            "MLST" => Request::Facts(text()),
            "MLSD" => Request::List(Listing::Facts, text()),
            "STOR" | "STOU" | "APPE" | "DELE" | "RMD" | "XRMD" | "MKD" | "XMKD" | "RNFR" | "RNTO"
            | "ALLO" | "SITE" | "MFMT" | "MFCT" | "MFF" => Request::Write,
            _ => return Self::Unknown,
        };
        Self::SignedIn(request)
    }
}

/// Parses digits; `parse` alone would accept a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Removes the options that clients give to `LIST` as to `ls`, for instance `-la`.
fn without_options(argument: &str) -> String {
    let mut rest = argument.trim();
    while rest.starts_with('-') {
        rest = rest.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_in_any_case_and_arguments_are_kept() {
        for (line, command) in [
            ("user farrier", Command::User("farrier".into())),
            ("PASS  a b ", Command::Pass(" a b ".into())),
            ("RETR a b.bin", Command::SignedIn(Request::Retrieve("a b.bin".into()))),
            ("TYPE I", Command::SignedIn(Request::Plain)),
            ("type a n", Command::SignedIn(Request::Plain)),
            ("TYPE E", Command::Unsupported),
            ("REST 4294967296", Command::SignedIn(Request::Restart(4_294_967_296))),
            ("REST +1", Command::Malformed),
            ("REST ", Command::Malformed),
            ("EPSV", Command::SignedIn(Request::ExtendedPassive(None))),
            ("EPSV all", Command::SignedIn(Request::ExtendedPassive(Some("ALL".into())))),
            ("PORT 192,0,2,7,0,80", Command::SignedIn(Request::Active)),
            ("EPRT |2|2001:db8::7|80|", Command::SignedIn(Request::Active)),
            ("LIST -la /x", Command::SignedIn(Request::List(Listing::Long, "/x".into()))),
            ("LIST -la", Command::SignedIn(Request::List(Listing::Long, String::new()))),
            ("STOR x", Command::SignedIn(Request::Write)),
            ("SITE CHMOD 777 x", Command::SignedIn(Request::Write)),
            ("", Command::Unknown),
        ] {
            assert_eq!(Command::parse(line), command, "{line:?}");
        }
    }
}
