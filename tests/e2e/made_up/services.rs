//! Lamps that fetch by SFTP, SCP or FTP, because they have nothing else.

use super::pulling::{address_of, curl};
use super::{Conditions, Site, e2e, install_kind, is_over, lamp, lamps, of_bytes, outcome, to, with_lamps};
use crate::harness::wait;
use farrier::api::node_update::FetchProtocol;
use farrier::api::update_run::{FileService, ListenerState};
use farrier::attempt::{Offer, Scheme};
use serde_json::json;

/// The ports that the run names. Nothing else here uses them.
const SFTP: u16 = 61022;
const FTP: u16 = 61121;

async fn install(site: &Site, name: &str, scheme: Scheme) {
    install_kind(site, name, "1.0", "FCSwitch", address_of(name)).await;
    lamps().entry(name.to_owned()).and_modify(|state| state.schemes = vec![scheme]);
}

fn offer_of(name: &str) -> Offer {
    let (url, login) = (lamp(name).url, lamp(name).login);
    Offer { url, scheme: Scheme::Sftp, authority: String::new(), login }
}

/// A port that nobody needs is closed: connection refused, by curl's code.
async fn is_closed(port: u16) {
    wait::until("the port to be closed", wait::LIMIT, async || {
        match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            Ok(_) => Err(format!("port {port} is open")),
            Err(_) => Ok(()),
        }
    })
    .await;
}

/// Switches and old management processors have nothing else. Otherwise they could not be updated, or a service that
/// anybody can find would stay open.
#[test]
fn a_service_is_open_while_a_machine_fetches_by_it() {
    e2e("services", async |site| {
        // More than any buffer holds; the version is what is left without spaces.
        let content = format!("2.0{}", " ".repeat(5_000_000));
        let image = of_bytes("lamp", "2.0", "DeviceImage", "lamp-2.0.img", content.as_bytes());
        std::fs::write(site.path("payloads").join("lamp-2.0.img"), &content).expect("a payload");
        site.baseline("bright", &[image]).await;
        let all = [("sand", Scheme::Sftp), ("silk", Scheme::Scp), ("salt", Scheme::Ftp)];
        for (name, scheme) in all {
            install(site, name, scheme).await;
        }
        let blind = |name: &str, is: bool| {
            lamps().entry(name.to_owned()).and_modify(|state| state.is_blind = is);
        };
        blind("sand", true);
        let body = Box::pin(async {
            let mut spec = to("bright");
            spec["strategy"] = json!({"maxConcurrent": 3, "retries": 0});
            let off = site.run("off", spec.clone()).await;
            off.ends(wait::LIMIT).await;
            for (name, scheme) in all {
                let words = off.node(name).await.words("Succeeded");
                let port = if scheme == Scheme::Ftp { "ftpPort" } else { "sftpPort" };
                assert!(words.contains(&format!("set spec.callback.{port} in")), "{name}: {words}");
                assert_eq!(lamp(name).installed, [""; 0]);
            }
            assert!(tokio::net::TcpStream::connect(("127.0.0.1", FTP)).await.is_err());

            spec["callback"] = json!({"sftpPort": SFTP, "ftpPort": FTP});
            let run = site.run("update", spec).await;
            for name in ["silk", "salt"] {
                run.node_until(name, "it to be updated", |u| u.state("Succeeded") == "True").await;
            }
            is_open_for_one(&run).await;
            is_closed(FTP).await;
            blind("sand", false);
            let ended = run.succeeds().await;
            assert_eq!(ended.status.as_ref().expect("a status").callback, None);
            is_closed(SFTP).await;
            for (name, scheme) in all {
                is_over(&run, name).await;
                let (update, lamp) = (run.node(name).await, lamp(name));
                assert_eq!(outcome(&update, "lamp"), "Updated", "{name}");
                assert!(lamp.url.starts_with(&format!("{scheme}://127.0.0.1:61")), "{}", lamp.url);
                assert!(lamp.content == content, "{name}: {} bytes", lamp.content.len());
                let password = lamp.login.expect("an account").password;
                for shown in [json!(update), json!(ended)] {
                    assert!(!shown.to_string().contains(&password), "{name}");
                }
            }
            for event in ["FileServiceOpened", "FileServiceClosed"] {
                site.until_event(&format!("{event} UpdateRun/update: the SFTP")).await;
                site.until_event(&format!("{event} UpdateRun/update: the FTP")).await;
            }
        });
        with_lamps(site, body).await;
    });
}

/// While sand fetches by SFTP, the service is open for it and for nobody else.
async fn is_open_for_one(run: &crate::harness::Run<'_>) {
    run.node_until("sand", "sand to be told", |u| u.reason("CallbackReachable") == "PullNotSeen").await;
    let update = run.node("sand").await;
    let words = update.words("CallbackReachable");
    assert!(words.contains(&format!("allow TCP from 127.0.0.4 to 127.0.0.1 port {SFTP}")), "{words}");
    assert_eq!(update.status.and_then(|status| status.fetches_by), Some(FetchProtocol::SFTP));
    let open = run.until("the SFTP service alone", |run| {
        let listeners = run.status.as_ref().map(|status| status.listeners.clone()).unwrap_or_default();
        matches!(&listeners[..], [one] if matches!(&one.services[..], [one] if one.service == FileService::SFTP))
    });
    let service = open.await.status.expect("a status").listeners.remove(0).services.remove(0);
    assert_eq!((service.state, service.port), (ListenerState::Bound, SFTP));
    assert!(service.host_keys.iter().any(|key| key.starts_with("ssh-ed25519 ")), "{:?}", service.host_keys);
    let offer = offer_of("sand");
    assert!(!curl(&offer, address_of("silk")).await.status.success(), "another machine, which is done");
    let other = Offer { login: lamp("silk").login, ..offer.clone() };
    assert!(!curl(&other, address_of("sand")).await.status.success(), "another machine's account");
    assert!(curl(&offer, address_of("sand")).await.status.success());
}
