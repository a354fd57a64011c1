//! A service to supervise: answers every `GET` with 200, or with the status in `ANSWER`, on the
//! port in `PORT`. `cargo run -p rollback-process --example supervise` starts it.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpListener,
};

fn main() -> io::Result<()> {
    let port = std::env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or_else(|| io::Error::other("PORT is not set to a port"))?;
    let status = std::env::var("ANSWER").unwrap_or_else(|_| "200 OK".to_owned());
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("listening on {port}");
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut request = [0_u8; 1024];
        let read = stream.read(&mut request).unwrap_or(0);
        if read > 0 {
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    }
    Ok(())
}
