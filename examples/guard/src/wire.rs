//! What goes over the socket: one JSON object a line, bounded, with a version.

use rollback::{
    entry::Command,
    model::{Actor, DeploymentId, Hold, Outcome, Release},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{
    exit::{Fallible, Trouble},
    picture::Picture,
};

/// The number of the protocol.
pub(crate) const VERSION: u32 = 1;

/// The longest question.
pub(crate) const LONGEST_QUESTION: u64 = 256 * 1024;

/// The longest answer.
pub(crate) const LONGEST_ANSWER: u64 = 8 * 1024 * 1024;

/// A question; its connection ends with the answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    pub(crate) v: u32,
    pub(crate) ask: Ask,
}

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Who is there?
    Hello,
    /// How does the service stand?
    Status,
    /// Everything that happens from now on, until the connection ends.
    Events,
    /// Deploy this.
    Deploy {
        release: Release,
        reason: String,
        override_rejection: bool,
        expedite: bool,
    },
    /// Do this.
    Order { order: Command, reason: String },
    /// Tell me when it has come to rest.
    Wait {
        deployment: DeploymentId,
        /// A hold is not enough.
        ended_only: bool,
    },
    /// Hand over and end.
    Stop,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Hello(Hello),
    Status(Box<Picture>),
    /// Events follow, one a line.
    Listening,
    Event(serde_json::Value),
    /// So many events were missed: the listener was too slow.
    Missed(u64),
    Accepted {
        /// The deployment that it is about.
        deployment: Option<DeploymentId>,
    },
    Ended(Outcome),
    Held(Hold),
    Failed {
        code: u8,
        why: String,
    },
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The controller's process.
    pub(crate) pid: u32,
    /// Its version.
    pub(crate) guard: String,
    /// Whether it ends when nothing is being deployed any more.
    pub(crate) until_idle: bool,
    /// Whether a script with verbs deploys; else releases bring their commands.
    pub(crate) script: bool,
    /// The policy of the deployments to come.
    pub(crate) policy: String,
    /// As whom it knows the one who asks.
    pub(crate) you: Actor,
}

/// Writes one line.
pub(crate) async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    value: &T,
) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line).await?;
    to.flush().await
}

/// Reads one line of at most `longest` bytes; none at the end.
pub(crate) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
    longest: u64,
) -> Fallible<Option<T>> {
    let mut line = Vec::new();
    let read = from.take(longest).read_until(b'\n', &mut line).await;
    let read = read.map_err(|why| Trouble::broke(format!("the socket: {why}")))?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(Trouble::asked(format!(
            "a line of the socket is cut off or longer than {longest} bytes"
        )));
    }
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(|why| Trouble::asked(format!("a line of the socket is not understood: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_is_too_long_is_refused_without_reading_it_all() {
        let long = vec![b'x'; 100];
        let refused = read::<Question>(&mut long.as_slice(), 10).await;
        let why = refused.unwrap_err().to_string();
        assert!(why.contains("longer than 10 bytes"), "{why}");
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        let mut line = Vec::new();
        let order = Command::RollBack {
            to: rollback::model::ReleaseId::new("v1").ok(),
        };
        let ask = Ask::Order {
            order: order.clone(),
            reason: "slow".to_owned(),
        };
        write(&mut line, &Question { v: VERSION, ask })
            .await
            .unwrap();
        let read = read::<Question>(&mut line.as_slice(), 1024).await.unwrap();
        let Some(Question {
            v: 1,
            ask: Ask::Order { order: back, .. },
        }) = read
        else {
            panic!("{read:?}");
        };
        assert_eq!(back, order);
    }
}
