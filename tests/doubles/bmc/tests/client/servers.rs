//! Servers that a double fetches from.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A web server for one file, and its address.
pub(crate) async fn file_server(file: Vec<u8>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _: usize = stream.read(&mut head).await.unwrap();
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(&file).await.unwrap();
        }
    });
    format!("http://{address}")
}

/// A new authority, and what accepts TLS with its certificate for a name.
fn tls(name: &str) -> (tokio_rustls::TlsAcceptor, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(vec![]).unwrap();
    authority.distinguished_name.push(rcgen::DnType::CommonName, "Authority of a test");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.serialize_der().try_into().unwrap())
        .unwrap();
    (tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config)), pem)
}

/// A web server with TLS at an address, with a certificate for a name: the URL of its file, and its authority.
pub(crate) async fn tls_file_server(
    file: Vec<u8>,
    address: &str,
    name: &str,
    as_file: &str,
) -> (String, String) {
    let (acceptor, pem) = tls(name);
    let listener = tokio::net::TcpListener::bind((address, 0)).await.unwrap();
    let bound = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 4096];
            let _: usize = stream.read(&mut head).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", file.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.write_all(&file).await.unwrap();
        }
    });
    (format!("https://{bound}/{as_file}"), pem)
}

/// An FTP server (RFC 959, EPSV of RFC 2428) for one file and one account, as much of it as a download needs.
pub(crate) async fn ftp_server(file: Vec<u8>, account: (&'static str, &'static str)) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(ftp_session(stream, file.clone(), account));
        }
    });
    address.to_string()
}

async fn ftp_session(stream: tokio::net::TcpStream, file: Vec<u8>, account: (&'static str, &'static str)) {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 ready\r\n").await.unwrap();
    let (mut user, mut known, mut passive) = (String::new(), false, None);
    while let Ok(Some(line)) = lines.next_line().await {
        let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match verb {
            "USER" => {
                rest.clone_into(&mut user);
                "331 password".to_owned()
            }
            "PASS" => {
                known = (user.as_str(), rest) == account;
                if known { "230 welcome".to_owned() } else { "530 wrong".to_owned() }
            }
            "PWD" => "257 \"/\"".to_owned(),
            "TYPE" | "CWD" => "200 fine".to_owned(),
            "EPSV" => {
                let data = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let port = data.local_addr().unwrap().port();
                passive = Some(data);
                format!("229 here (|||{port}|)")
            }
            "SIZE" => format!("213 {}", file.len()),
            "RETR" if known && rest == "rom.bin" => {
                writer.write_all(b"150 coming\r\n").await.unwrap();
                let (mut data, _) = passive.take().unwrap().accept().await.unwrap();
                data.write_all(&file).await.unwrap();
                drop(data);
                "226 done".to_owned()
            }
            "QUIT" => "221 bye".to_owned(),
            _ => "550 no".to_owned(),
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
    }
}

/// One post: its head and its body.
pub(crate) type Post = (String, serde_json::Value);

/// A server that takes posts: its URL, its authority, and what it is given. It answers with these statuses, and
/// with 204 afterwards; with TLS for this name, or without.
pub(crate) async fn sink(
    name: Option<&str>,
    answers: &[u16],
) -> (String, String, tokio::sync::mpsc::UnboundedReceiver<Post>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bound = listener.local_addr().unwrap();
    let tls = name.map(tls);
    let pem = tls.as_ref().map(|(_, pem)| pem.clone()).unwrap_or_default();
    let url = format!("http{}://{bound}/status", if tls.is_some() { "s" } else { "" });
    let mut answers = answers.to_vec();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let status = |answers: &mut Vec<u16>| if answers.is_empty() { 204 } else { answers.remove(0) };
            let post = match &tls {
                Some((acceptor, _)) => match acceptor.accept(stream).await {
                    Ok(stream) => take(stream, status(&mut answers)).await,
                    Err(_) => continue,
                },
                None => take(stream, status(&mut answers)).await,
            };
            if sender.send(post).is_err() {
                return;
            }
        }
    });
    (url, pem, receiver)
}

async fn take(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, status: u16) -> Post {
    let mut bytes = vec![];
    loop {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.unwrap();
        bytes.extend(&piece[..length]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(body) = serde_json::from_str(body) {
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            return (head.to_owned(), body);
        }
        assert_ne!(length, 0, "{text}");
    }
}
