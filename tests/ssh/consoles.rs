//! Devices with a command line: doubles.

use super::{account, sign_in};
use farrier::ssh::{Algorithms, Credentials, TERM, Terminal};
use farrier_console_double::{self as double, Config, Double, Product, SignIn};
use farrier_update::Reason;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

async fn onboard_administrator(algorithms: double::Algorithms, sign_in: SignIn) -> Double {
    let product = Product::named("oa").unwrap();
    Double::start(Config { algorithms, sign_in, ..Config::new(product) }).await.unwrap()
}

fn administrator(password: &str) -> Credentials {
    Credentials { password: Some(password.into()), ..account("admin") }
}

/// Otherwise devices that ask for the password by themselves, or have old algorithms, could not be signed in to.
#[tokio::test]
async fn a_device_is_signed_in_to_by_password_and_by_questions() {
    for (has, allowed) in [
        (double::Algorithms::Modern, Algorithms::Current),
        (double::Algorithms::Legacy, Algorithms::WithLegacy),
    ] {
        for method in [SignIn::Password, SignIn::Interactive] {
            let device = onboard_administrator(has, method).await;
            let keys: Vec<&str> = device.host_keys().iter().map(String::as_str).collect();
            let (port, right) = (device.ssh().port(), administrator("password"));
            let (connection, _) = sign_in(port, &keys, &right, allowed).await.unwrap();
            let mut shell = connection.shell(&Terminal { name: TERM, columns: 200, rows: 60 }).await.unwrap();
            let printed = tokio::time::timeout(LIMIT, shell.read()).await.unwrap().unwrap();
            assert!(printed.is_some_and(|bytes| !bytes.is_empty()), "{method:?}");
            shell.close().await;
        }
        let device = onboard_administrator(has, SignIn::Any).await;
        let refused = sign_in(device.ssh().port(), &[], &administrator("wrong"), allowed).await;
        let failure = refused.map(|_| ()).unwrap_err();
        assert_eq!(failure.reason, Reason::PasswordRejected, "{failure}");
    }
}
