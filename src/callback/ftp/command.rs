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
    /// `OPTS` for UTF-8.
    Utf8,
    /// `TYPE`; both types send the file as it is.
    Type,
    /// `TYPE` of another kind, or `MODE` or `STRU` that change the file.
    Unsupported,
    /// `MODE S` and `STRU F`, which change nothing.
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
    /// `LIST`, `NLST`, `MLSD`.
    List(Listing, String),
    /// Anything that would change something here.
    Write,
    /// `AUTH`, `PBSZ`, `PROT`: TLS.
    Tls,
    /// A known command with an argument that is none.
    Malformed,
    /// Anything else.
    Unknown,
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
        match verb.to_ascii_uppercase().as_str() {
            "USER" => Self::User(text()),
            "PASS" => Self::Pass(text()),
            "QUIT" => Self::Quit,
            "ABOR" => Self::Abort,
            "NOOP" => Self::Noop,
            "SYST" => Self::System,
            "FEAT" => Self::Features,
            "OPTS" if choice.starts_with("UTF8") => Self::Utf8,
            "TYPE" if ["A", "A N", "I", "L 8"].contains(&choice.as_str()) => Self::Type,
            "MODE" if choice == "S" => Self::Plain,
            "STRU" if choice == "F" => Self::Plain,
            "TYPE" | "MODE" | "STRU" | "OPTS" => Self::Unsupported,
            "PWD" | "XPWD" => Self::Where,
            "CWD" | "XCWD" => Self::Enter(text()),
            "CDUP" | "XCUP" => Self::Enter("/".to_owned()),
            "PASV" => Self::Passive,
            "EPSV" => Self::ExtendedPassive((!choice.is_empty()).then_some(choice)),
            "PORT" | "EPRT" | "LPRT" => Self::Active,
            "REST" => number(&choice).map_or(Self::Malformed, Self::Restart),
            "SIZE" => Self::Size(text()),
            "RETR" => Self::Retrieve(text()),
            "LIST" => Self::List(Listing::Long, without_options(argument)),
            "NLST" => Self::List(Listing::Names, without_options(argument)),
            "MLSD" => Self::List(Listing::Facts, text()),
            "STOR" | "STOU" | "APPE" | "DELE" | "RMD" | "XRMD" | "MKD" | "XMKD" | "RNFR" | "RNTO"
            | "ALLO" | "SITE" | "MFMT" | "MFCT" | "MFF" => Self::Write,
            "AUTH" | "PBSZ" | "PROT" => Self::Tls,
            _ => Self::Unknown,
        }
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
            ("RETR a b.bin", Command::Retrieve("a b.bin".into())),
            ("TYPE I", Command::Type),
            ("type a n", Command::Type),
            ("TYPE E", Command::Unsupported),
            ("REST 4294967296", Command::Restart(4_294_967_296)),
            ("REST +1", Command::Malformed),
            ("REST ", Command::Malformed),
            ("EPSV", Command::ExtendedPassive(None)),
            ("EPSV all", Command::ExtendedPassive(Some("ALL".into()))),
            ("PORT 192,0,2,7,0,80", Command::Active),
            ("EPRT |2|2001:db8::7|80|", Command::Active),
            ("LIST -la /x", Command::List(Listing::Long, "/x".into())),
            ("LIST -la", Command::List(Listing::Long, String::new())),
            ("STOR x", Command::Write),
            ("SITE CHMOD 777 x", Command::Write),
            ("", Command::Unknown),
        ] {
            assert_eq!(Command::parse(line), command, "{line:?}");
        }
    }
}
