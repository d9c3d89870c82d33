//! Old algorithms, each with OpenSSH's server as the other side.

use super::sign_in;
use super::sshd::Sshd;
use farrier::ssh::Algorithms;
use farrier_update::Reason;
use std::time::Duration;

const CURRENT_USER_KEY: &[&str] = &["-t", "ed25519"];

/// A server with one algorithm of each kind.
struct Firmware {
    kex: &'static str,
    host_key: &'static [&'static str],
    signature: &'static str,
    cipher: &'static str,
    mac: &'static str,
}

impl Firmware {
    fn start(&self) -> Sshd {
        let options = [
            format!("KexAlgorithms {}", self.kex),
            format!("HostKeyAlgorithms {}", self.signature),
            format!("Ciphers {}", self.cipher),
            format!("MACs {}", self.mac),
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        Sshd::start(self.host_key, CURRENT_USER_KEY, &options)
    }
}

async fn echoes(sshd: &Sshd, keys: &[&str], algorithms: Algorithms) -> Option<Vec<String>> {
    let (connection, old) = sign_in(sshd.port, keys, &sshd.credentials, algorithms)
        .await
        .unwrap_or_else(|failure| panic!("{failure}"));
    let output = connection.run("echo over old algorithms", vec![], Duration::from_secs(20)).await.unwrap();
    assert_eq!(output.stdout, "over old algorithms\n");
    if keys.is_empty() {
        let recorded = connection.first_key.as_deref().unwrap();
        assert!(sshd.host_key.starts_with(recorded), "{recorded}");
    }
    connection.close().await;
    old
}

/// Otherwise firmware with these algorithms could not be updated, or its host key not be pinned.
#[tokio::test]
async fn every_old_algorithm_works_where_it_is_allowed_and_nowhere_else() {
    const RSA: &[&str] = &["-t", "rsa", "-b", "1024"];
    const DSA: &[&str] = &["-t", "dsa"];
    for (kex, host_key, signature, cipher, mac) in [
        ("diffie-hellman-group1-sha1", RSA, "ssh-rsa", "3des-cbc", "hmac-sha1"),
        ("diffie-hellman-group14-sha1", DSA, "ssh-dss", "aes128-cbc", "hmac-sha1"),
        ("diffie-hellman-group-exchange-sha1", RSA, "ssh-rsa", "aes192-cbc", "hmac-sha1-etm@openssh.com"),
        ("diffie-hellman-group14-sha1", RSA, "ssh-rsa", "aes256-cbc", "hmac-sha1"),
    ] {
        let sshd = Firmware { kex, host_key, signature, cipher, mac }.start();
        let refused = sign_in(sshd.port, &[], &sshd.credentials, Algorithms::Current).await;
        let failure = refused.map(|_| ()).unwrap_err();
        assert_eq!(failure.reason, Reason::LegacyAlgorithmsNeeded, "{failure}");
        for words in [kex, signature, cipher, mac, "spec.ssh.legacyAlgorithms: true"] {
            assert!(failure.message.contains(words), "{words}: {failure}");
        }
        let old = echoes(&sshd, &[], Algorithms::WithLegacy).await.unwrap().join(", ");
        let used = format!("key exchange {kex}, host key {signature}, cipher {cipher}, MAC {mac}");
        assert_eq!(old, used);
        echoes(&sshd, &[&sshd.host_key], Algorithms::WithLegacy).await;
    }
}

/// Otherwise a machine would be worked on over old algorithms although it has others, or one that is restricted to
/// those of CNSA not at all.
#[tokio::test]
async fn current_algorithms_are_used_where_the_server_has_them() {
    let usual = Sshd::start(
        &["-t", "rsa"],
        CURRENT_USER_KEY,
        &[
            "KexAlgorithms +diffie-hellman-group1-sha1",
            "HostKeyAlgorithms +ssh-rsa",
            "Ciphers +3des-cbc",
            "MACs +hmac-sha1",
        ],
    );
    assert_eq!(echoes(&usual, &[], Algorithms::WithLegacy).await, Some(vec![]));
    assert_eq!(echoes(&usual, &[], Algorithms::Current).await, None);
    let restricted = Firmware {
        kex: "ecdh-sha2-nistp384",
        host_key: &["-t", "ecdsa", "-b", "384"],
        signature: "ecdsa-sha2-nistp384",
        cipher: "aes256-gcm@openssh.com",
        mac: "hmac-sha2-512",
    };
    echoes(&restricted.start(), &[], Algorithms::Current).await;
    let key_of_rsa =
        Sshd::start(CURRENT_USER_KEY, &["-t", "rsa"], &["PubkeyAcceptedAlgorithms rsa-sha2-512"]);
    echoes(&key_of_rsa, &[], Algorithms::Current).await;
}

/// Otherwise users would allow old algorithms in vain.
#[tokio::test]
async fn where_nothing_helps_the_field_is_not_recommended() {
    let (kex, host_key) = ("diffie-hellman-group1-sha1", &["-t", "ed25519"][..]);
    let firmware =
        Firmware { kex, host_key, signature: "ssh-ed25519", cipher: "aes128-cbc", mac: "hmac-md5" };
    let sshd = firmware.start();
    for algorithms in [Algorithms::Current, Algorithms::WithLegacy] {
        let refused = sign_in(sshd.port, &[], &sshd.credentials, algorithms).await;
        let failure = refused.map(|_| ()).unwrap_err();
        assert_eq!(failure.reason, Reason::SshNegotiationFailed, "{failure}");
        for words in ["MAC: it has hmac-md5, and Farrier has ", "hmac-sha1", "legacyAlgorithms does not help"]
        {
            assert!(failure.message.contains(words), "{words}: {failure}");
        }
    }
}
