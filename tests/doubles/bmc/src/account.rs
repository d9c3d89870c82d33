//! Accounts, sessions, and who a request is from.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use base64::Engine as _;

use crate::variant::{LockRules, SessionRules};

#[derive(Debug)]
pub(crate) struct People {
    pub(crate) list: Vec<Account>,
    pub(crate) sessions: Vec<Session>,
    next: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) password: String,
    pub(crate) role: String,
    pub(crate) enabled: bool,
    wrong: u32,
    pub(crate) locked_until: Option<Instant>,
    /// Changes with every change, for the `ETag`.
    pub(crate) revision: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) user: String,
    pub(crate) created: jiff::Timestamp,
    used: Instant,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Through this session.
    Session {
        id: String,
        user: String,
    },
    Basic {
        user: String,
    },
    Nobody(Refusal),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No credentials at all.
    None,
    Wrong,
    Locked,
}

impl Caller {
    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Self::Session { user, .. } | Self::Basic { user } => Some(user),
            Self::Nobody(_) => None,
        }
    }
}

impl Account {
    pub(crate) fn is_locked(&self) -> bool {
        self.locked_until.is_some_and(|until| until > Instant::now())
    }
}

impl People {
    pub(crate) fn new(user: &str, password: &str) -> Self {
        let mut this = Self { list: vec![], sessions: vec![], next: 1 };
        this.add(user, password, "Administrator");
        this
    }

    pub(crate) fn add(&mut self, name: &str, password: &str, role: &str) -> &Account {
        let id = self.next.to_string();
        self.next += 1;
        self.list.push(Account {
            id,
            name: name.to_owned(),
            password: password.to_owned(),
            role: role.to_owned(),
            enabled: true,
            wrong: 0,
            locked_until: None,
            revision: 1,
        });
        &self.list[self.list.len() - 1]
    }

    pub(crate) fn account(&mut self, id: &str) -> Option<&mut Account> {
        self.list.iter_mut().find(|account| account.id == id)
    }

    pub(crate) fn role(&self, user: &str) -> String {
        self.list.iter().find(|account| account.name == user).map_or_else(String::new, |a| a.role.clone())
    }

    /// Whether these are right. Wrong ones are counted and lock the account.
    pub(crate) fn check(&mut self, name: &str, password: &str, lock: &LockRules) -> Result<(), Refusal> {
        let Some(account) = self.list.iter_mut().find(|account| account.name == name) else {
            return Err(Refusal::Wrong);
        };
        if account.is_locked() {
            return Err(Refusal::Locked);
        }
        if account.password == password && account.enabled {
            account.wrong = 0;
            return Ok(());
        }
        account.wrong += 1;
        if account.wrong >= lock.after {
            account.wrong = 0;
            account.locked_until = Some(Instant::now() + Duration::from_secs(lock.seconds));
        }
        Err(Refusal::Wrong)
    }

    pub(crate) fn lock(&mut self, name: &str, lock: &LockRules) {
        for account in self.list.iter_mut().filter(|account| account.name == name) {
            account.locked_until = Some(Instant::now() + Duration::from_secs(lock.seconds));
        }
    }

    /// `None`: there are too many already.
    pub(crate) fn open(&mut self, user: &str, rules: &SessionRules) -> Option<Session> {
        if self.sessions.len() >= rules.limit {
            return None;
        }
        let id = self.next.to_string();
        self.next += 1;
        let session = Session {
            id,
            token: token(),
            user: user.to_owned(),
            created: jiff::Timestamp::now(),
            used: Instant::now(),
        };
        self.sessions.push(session.clone());
        Some(session)
    }

    pub(crate) fn expire(&mut self, idle: Duration) {
        self.sessions.retain(|session| session.used.elapsed() < idle);
    }

    pub(crate) fn of_token(&mut self, token: &str) -> Option<Caller> {
        let session = self.sessions.iter_mut().find(|session| session.token == token)?;
        session.used = Instant::now();
        Some(Caller::Session { id: session.id.clone(), user: session.user.clone() })
    }

    /// From the header `Authorization`.
    pub(crate) fn of_basic(&mut self, header: &str, lock: &LockRules) -> Caller {
        let decoded = header
            .strip_prefix("Basic ")
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text.trim()).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
            return Caller::Nobody(Refusal::Wrong);
        };
        match self.check(user, password, lock) {
            Ok(()) => Caller::Basic { user: user.to_owned() },
            Err(refusal) => Caller::Nobody(refusal),
        }
    }
}

/// Hard enough to guess for a double: two hashes with random keys.
fn token() -> String {
    let part = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", part(), part())
}
