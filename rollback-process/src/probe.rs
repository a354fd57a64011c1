//! One health probe of one instance on this machine.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::definition::Probe;

/// The status line of an answer is never longer than this.
const STATUS_LINE: usize = 1024;

/// Probes the instance on `port`; the error says what was seen, for people.
///
/// [`Probe::Alive`] needs no probing and always succeeds.
pub(crate) async fn probe(
    probe: &Probe,
    port: Option<u16>,
    patience: Duration,
) -> Result<(), String> {
    let Some(port) = port else { return Ok(()) };
    let attempt = async {
        match probe {
            Probe::Alive { .. } => Ok(()),
            Probe::Tcp => connect(port).await.map(drop),
            Probe::Http { path } => get(port, path).await,
        }
    };
    match timeout(patience, attempt).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "no answer from 127.0.0.1:{port} within {} ms",
            patience.as_millis()
        )),
    }
}

async fn connect(port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot connect to 127.0.0.1:{port}: {error}"))
}

async fn get(port: u16, path: &str) -> Result<(), String> {
    let mut stream = connect(port).await?;
    let lost = |error: std::io::Error| format!("http://127.0.0.1:{port}{path}: {error}");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: rollback\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(lost)?;
    let mut answer = Vec::with_capacity(128);
    while !answer.contains(&b'\n') && answer.len() < STATUS_LINE {
        let mut part = [0_u8; 128];
        let read = stream.read(&mut part).await.map_err(lost)?;
        match part.get(..read) {
            None | Some([]) => break,
            Some(bytes) => answer.extend_from_slice(bytes),
        }
    }
    match status(&answer) {
        Some(200..=299) => Ok(()),
        Some(code) => Err(format!(
            "http://127.0.0.1:{port}{path} answered {code}, not 200 to 299"
        )),
        None => Err(format!(
            "http://127.0.0.1:{port}{path} did not answer in HTTP"
        )),
    }
}

/// The status code of an HTTP/1 answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let rest = line.strip_prefix("HTTP/1.")?.get(1..)?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_status_line_has_a_status() {
        let table: [(&[u8], Option<u16>); 5] = [
            (b"HTTP/1.1 200 OK\r\n", Some(200)),
            (b"HTTP/1.0 503\r\n", Some(503)),
            (b"SSH-2.0-OpenSSH\r\n", None),
            (b"HTTP/1.1 abc\r\n", None),
            (b"", None),
        ];
        for (answer, code) in table {
            assert_eq!(status(answer), code);
        }
    }

    async fn against(answer: Option<&'static str>) -> Result<(), String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let Some(answer) = answer else {
                return std::future::pending::<()>().await;
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let check = Probe::Http {
            path: "/health".to_owned(),
        };
        probe(&check, Some(port), Duration::from_millis(150)).await
    }

    #[tokio::test]
    async fn says_what_was_seen() {
        assert_eq!(
            against(Some("HTTP/1.1 204 No Content\r\n\r\n")).await,
            Ok(())
        );
        for (answer, says) in [
            (Some("HTTP/1.1 500 Oops\r\n\r\n"), "answered 500"),
            (Some("hello\n"), "did not answer in HTTP"),
            (None, "no answer from"),
        ] {
            let error = against(answer).await.unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let error = probe(&Probe::Tcp, Some(port), Duration::from_secs(1))
            .await
            .unwrap_err();
        assert!(error.contains("cannot connect"), "{error}");
    }
}
