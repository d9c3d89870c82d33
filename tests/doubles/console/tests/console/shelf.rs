//! Servers of one file: HTTP, and just enough of FTP for curl.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Serves these bytes under every path. It ends with the runtime.
pub(crate) async fn http(file: Vec<u8>) -> SocketAddr {
    serve(file, |stream, file| async move {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 && line != "\r\n" {
            line.clear();
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len());
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&file).await?;
        stream.shutdown().await
    })
    .await
}

/// The same by FTP, for `fw` with the password `s3cret`.
pub(crate) async fn ftp(file: Vec<u8>) -> SocketAddr {
    serve(file, |stream, file| async move {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 shelf\r\n").await?;
        let mut data = None;
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            let (verb, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
            let answer = match verb {
                "USER" => "331 password".to_owned(),
                "PASS" if rest == "s3cret" => "230 in".to_owned(),
                "PASS" => "530 Access denied".to_owned(),
                "PWD" => "257 \"/\"".to_owned(),
                "EPSV" => {
                    let listener = TcpListener::bind("127.0.0.1:0").await?;
                    let port = listener.local_addr()?.port();
                    data = Some(listener);
                    format!("229 Entering Extended Passive Mode (|||{port}|)")
                }
                "SIZE" => format!("213 {}", file.len()),
                "RETR" => {
                    stream.write_all(b"150 here it comes\r\n").await?;
                    if let Some(listener) = data.take() {
                        let (mut to, _) = listener.accept().await?;
                        to.write_all(&file).await?;
                        to.shutdown().await?;
                    }
                    "226 done".to_owned()
                }
                "CWD" | "TYPE" | "QUIT" => "200 fine".to_owned(),
                _ => "502 no".to_owned(),
            };
            stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
            line.clear();
        }
        Ok(())
    })
    .await
}

async fn serve<F>(file: Vec<u8>, talk: impl Fn(TcpStream, Arc<Vec<u8>>) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let file = Arc::new(file);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, Arc::clone(&file)));
        }
    });
    address
}
