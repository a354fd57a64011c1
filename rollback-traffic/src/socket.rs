//! HAProxy's runtime socket: one line of commands, and what was answered to all of them.
//!
//! Without a prompt HAProxy answers one line (commands separated by `;`) and closes. The last
//! command of each line asks for the level of the socket: its answer proves that the line was
//! carried out to its end and the answer is whole, and tells a socket that may not change anything.

use std::{fmt, io, path::PathBuf, str::FromStr, time::Duration};

use rollback_core::model::ChangeError;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Where HAProxy's runtime API answers: what `stats socket … level admin` binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Socket {
    /// `stats socket /run/haproxy/admin.sock level admin`
    Unix(PathBuf),
    /// `stats socket ipv4@127.0.0.1:9999 level admin`, as `host:port`. Whoever reaches it rules
    /// HAProxy, without a password.
    Tcp(String),
}

/// A text that names no socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no socket of HAProxy; write a path (/run/haproxy/admin.sock) or host:port")]
pub struct NotASocket(String);

impl FromStr for Socket {
    type Err = NotASocket;

    /// A path, with or without `unix:` before it, or `host:port`, with or without `tcp:`.
    fn from_str(text: &str) -> Result<Self, NotASocket> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        if text.starts_with(['/', '.']) {
            return Ok(Self::Unix(text.into()));
        }
        let place = text.strip_prefix("tcp:").unwrap_or(text);
        match place.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self::Tcp(place.to_owned()))
            }
            _ => Err(NotASocket(text.to_owned())),
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(place) => place.fmt(f),
        }
    }
}

/// Why a line was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AskError {
    /// Nothing was sent.
    NotSent(String),
    /// It was sent, wholly or in part.
    MaybeSent(String),
    /// The socket may not do this.
    TooLow(String),
}

impl AskError {
    /// What it means where the line only looked: a look that failed changed nothing.
    pub(crate) fn of_a_look(self) -> ChangeError {
        match self {
            Self::NotSent(why) | Self::MaybeSent(why) => ChangeError::not_sent(why),
            Self::TooLow(why) => ChangeError::refused(why),
        }
    }

    /// What it means where the line changes something.
    pub(crate) fn of_a_change(self) -> ChangeError {
        match self {
            Self::MaybeSent(why) => ChangeError::maybe_sent(why),
            other => other.of_a_look(),
        }
    }
}

const LEVEL: &str = "show cli level";
/// HAProxy's buffers have 16 kB by default (`tune.bufsize`); a longer line is refused.
const LONGEST_LINE: usize = 8_000;
const LONGEST_ANSWER: u64 = 64 << 20;

/// One runtime socket and how long it may take.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    pub(crate) socket: Socket,
    pub(crate) patience: Duration,
}

impl Runtime {
    /// The commands, in as few lines as they fit in. What was answered to those sent before one
    /// failed is lost, so a later failure may have sent the earlier ones.
    pub(crate) async fn ask_all(&self, commands: &[String]) -> Result<String, AskError> {
        let mut answers = String::new();
        let mut sent = false;
        for line in lines(commands) {
            let answer = self.ask(&line).await.map_err(|error| match error {
                AskError::NotSent(why) if sent => AskError::MaybeSent(why),
                other => other,
            })?;
            sent = true;
            answers.push_str(&answer);
        }
        Ok(answers)
    }

    /// What HAProxy answers to one line.
    pub(crate) async fn ask(&self, line: &str) -> Result<String, AskError> {
        let answer = match &self.socket {
            Socket::Unix(path) => {
                let stream = self.connected(UnixStream::connect(path)).await?;
                self.talk(stream, line).await?
            }
            Socket::Tcp(place) => {
                let stream = self.connected(TcpStream::connect(place.as_str())).await?;
                self.talk(stream, line).await?
            }
        };
        whole(&answer).map_err(|why| why.at(&self.socket))
    }

    async fn connected<S>(
        &self,
        connecting: impl Future<Output = io::Result<S>>,
    ) -> Result<S, AskError> {
        let why = match timeout(self.patience, connecting).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => because(&error),
            Err(_) => format!("no connection within {:?}", self.patience),
        };
        Err(AskError::NotSent(format!(
            "HAProxy's socket {}: {why}",
            self.socket
        )))
    }

    async fn talk(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        line: &str,
    ) -> Result<String, AskError> {
        let talk = async {
            stream
                .write_all(format!("{line};{LEVEL}\n").as_bytes())
                .await?;
            let mut answer = Vec::new();
            stream.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
            io::Result::Ok(answer)
        };
        let why = match timeout(self.patience, talk).await {
            Ok(Ok(answer)) => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", self.patience),
        };
        Err(AskError::MaybeSent(format!(
            "HAProxy's socket {}: {why}",
            self.socket
        )))
    }
}

fn because(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is not there; does HAProxy run, with `stats socket PATH level admin` in its `global` section?".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be opened by this user; set `mode`, `user` or `group` of `stats socket`".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody answers there; does HAProxy run?".to_owned(),
        _ => error.to_string(),
    }
}

fn lines(commands: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for command in commands {
        match lines.last_mut() {
            Some(line) if line.len() + command.len() < LONGEST_LINE => {
                line.push(';');
                line.push_str(command);
            }
            _ => lines.push(command.clone()),
        }
    }
    lines
}

#[derive(Debug, PartialEq)]
enum Wrong {
    Half,
    Level(String),
}

impl Wrong {
    fn at(self, socket: &Socket) -> AskError {
        match self {
            Self::Half => AskError::MaybeSent(format!(
                "HAProxy's socket {socket}: the answer broke off; was HAProxy stopped?"
            )),
            Self::Level(level) => AskError::TooLow(format!(
                "HAProxy's socket {socket} has the level `{level}`, which may not change servers; write `level admin` at `stats socket`"
            )),
        }
    }
}

/// The answer without that of the last command, if it is there and whole.
fn whole(answer: &str) -> Result<String, Wrong> {
    let answer = answer.strip_suffix("\n\n").ok_or(Wrong::Half)?;
    let (before, level) = match answer.rsplit_once('\n') {
        Some((before, level)) => (before, level),
        None => ("", answer),
    };
    match level {
        "admin" => Ok(before.to_owned()),
        "operator" | "user" => Err(Wrong::Level(level.to_owned())),
        _ => Err(Wrong::Half),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_paths_or_places() {
        for (text, socket) in [
            ("/run/h.sock", Socket::Unix("/run/h.sock".into())),
            ("unix:h.sock", Socket::Unix("h.sock".into())),
            ("127.0.0.1:9999", Socket::Tcp("127.0.0.1:9999".into())),
            ("tcp:proxy:9999", Socket::Tcp("proxy:9999".into())),
        ] {
            assert_eq!(text.parse(), Ok(socket), "{text}");
        }
        for text in ["", "proxy", "proxy:http", ":1"] {
            assert!(text.parse::<Socket>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_is_whole_or_it_is_none() {
        for (answer, seen) in [
            ("admin\n\n", Ok("")),
            ("\n\nadmin\n\n", Ok("\n")),
            ("No such server.\nadmin\n\n", Ok("No such server.")),
            ("1\n# be_id\n\nadmin\n\n", Ok("1\n# be_id\n")),
            ("", Err(Wrong::Half)),
            ("1\n# be_id\n\n", Err(Wrong::Half)),
            ("admin\n", Err(Wrong::Half)),
            ("adm", Err(Wrong::Half)),
            (
                "Permission denied\noperator\n\n",
                Err(Wrong::Level("operator".into())),
            ),
        ] {
            assert_eq!(whole(answer), seen.map(str::to_owned), "{answer:?}");
        }
    }

    #[test]
    fn many_commands_are_few_lines() {
        let commands = vec!["x".repeat(3_000); 5];
        let lengths: Vec<_> = lines(&commands).iter().map(String::len).collect();
        assert_eq!(lengths, [6_001, 6_001, 3_000]);
        assert!(lines(&[]).is_empty());
    }
}
