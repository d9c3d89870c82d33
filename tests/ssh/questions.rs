//! A server that asks questions at sign-in.

use super::{account, sign_in};
use farrier::ssh::{Algorithms, Credentials};
use farrier_update::Reason;
use russh::keys::{Algorithm, PrivateKey};
use russh::server::{Auth, Config, Handler, Response, run_stream};
use russh::{MethodKind, MethodSet};
use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// The questions of one server, one a round, and what was answered.
struct Asks {
    questions: Vec<&'static str>,
    answers: Arc<Mutex<Vec<String>>>,
}

impl Handler for Asks {
    type Error = russh::Error;

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let given = response.into_iter().flatten();
        self.answers
            .lock()
            .unwrap()
            .extend(given.map(|answer| String::from_utf8_lossy(&answer).into_owned()));
        if self.questions.is_empty() {
            return Ok(Auth::Accept);
        }
        let prompts = vec![(Cow::Borrowed(self.questions.remove(0)), false)];
        Ok(Auth::Partial { name: "".into(), instructions: "".into(), prompts: prompts.into() })
    }
}

/// Signs in to a server with these questions. Returns what came of it, and the answers that the server got.
async fn answered(questions: &[&'static str]) -> (Option<(Reason, String)>, Vec<String>) {
    let key = PrivateKey::random(&mut russh::keys::key::safe_rng(), Algorithm::Ed25519).unwrap();
    let methods = MethodSet::from(&[MethodKind::KeyboardInteractive][..]);
    let config = Arc::new(Config { keys: vec![key], methods, ..Config::default() });
    let answers: Arc<Mutex<Vec<String>>> = Arc::default();
    let asks = Asks { questions: questions.to_vec(), answers: answers.clone() };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(session) = run_stream(config, stream, asks).await {
            session.await.ok();
        }
    });
    let credentials = Credentials { password: Some("secret".into()), ..account("admin") };
    let signed_in = sign_in(port, &[], &credentials, Algorithms::Current).await;
    let failure = signed_in.map(drop).err().map(|failure| (failure.reason, failure.message));
    server.abort();
    let answers = answers.lock().unwrap().clone();
    (failure, answers)
}

/// Otherwise a wrong password would be given again, or the password be given as an answer to something else, which
/// locks accounts.
#[tokio::test]
async fn the_password_is_given_once_whatever_is_asked() {
    assert_eq!(answered(&["Password: "]).await, (None, vec!["secret".to_owned()]));
    for (question, reason) in [
        ("Password: ", Reason::PasswordRejected),
        ("Verification code: ", Reason::AuthenticationFailed),
        ("Enter a new password: ", Reason::PasswordChangeRequired),
    ] {
        let (failure, answers) = answered(&["Password: ", question]).await;
        let (why, message) = failure.unwrap();
        assert_eq!((why, answers.as_slice()), (reason, &["secret".to_owned()][..]), "{message}");
        assert!(reason == Reason::PasswordRejected || message.contains(question.trim()), "{message}");
        assert!(!message.contains("secret\""), "{message}");
    }
    let (failure, answers) = answered(&["Enter a new password: "]).await;
    assert_eq!((failure.unwrap().0, answers.len()), (Reason::PasswordChangeRequired, 0));
}
