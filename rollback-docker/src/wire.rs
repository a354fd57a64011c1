//! The connection to an engine: one for each request, so that it is always known whether the
//! request can have left.

use std::{fmt, path::PathBuf, sync::Arc};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use rollback_core::model::Secret;

use crate::error::EngineError;

/// No answer of an engine that we ask for is longer.
const LONGEST_ANSWER: usize = 64 << 20;

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A socket file.
    Unix(Arc<PathBuf>),
    /// `host:port`, without encryption.
    Tcp(Arc<str>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// A request, before it is known on which connection it goes.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: hyper::Method,
    /// With version and query.
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    /// For a registry: `X-Registry-Auth`.
    pub(crate) login: Option<Secret<String>>,
    pub(crate) body: Bytes,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

/// Connects, asks, reads the whole answer.
pub(crate) async fn ask(place: &Place, asked: Asked) -> Result<Answered, EngineError> {
    let unreachable = |error: std::io::Error| EngineError::NotSent {
        why: format!(
            "the engine at {place} cannot be reached: {error}{}",
            hint(&error)
        ),
    };
    match place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path.as_ref()).await;
            over(stream.map_err(unreachable)?, "docker", asked).await
        }
        Place::Tcp(address) => {
            let stream = TcpStream::connect(address.as_ref()).await;
            over(stream.map_err(unreachable)?, address, asked).await
        }
    }
}

async fn over<S>(stream: S, host: &str, asked: Asked) -> Result<Answered, EngineError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let not_sent = |error: &dyn fmt::Display| EngineError::NotSent {
        why: format!("no HTTP on the engine's socket: {error}"),
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| not_sent(&error))?;
    let running = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(asked.method)
        .uri(asked.path)
        .header(HOST, host)
        .header(CONTENT_TYPE, asked.content_type);
    if let Some(login) = &asked.login {
        request = request.header("X-Registry-Auth", login.expose().as_str());
    }
    let request = request
        .body(Full::new(asked.body))
        .map_err(|error| not_sent(&error))?;
    let answer = async {
        let lost = |error: &dyn fmt::Display| EngineError::MaybeSent {
            why: format!("the engine's answer was lost: {error}"),
        };
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| lost(&error))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        Ok(Answered {
            status: parts.status,
            headers: parts.headers,
            body: body.map_err(|error| lost(&error))?.to_bytes(),
        })
    }
    .await;
    running.abort();
    answer
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => "; is Docker running, and is this its socket?",
        std::io::ErrorKind::PermissionDenied => {
            "; this user may not use it (on most systems: the group `docker`)"
        }
        std::io::ErrorKind::ConnectionRefused => "; nothing listens there: start the engine",
        _ => "",
    }
}
