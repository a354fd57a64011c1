//! The other end of the socket: asking a running controller.

use std::io::ErrorKind;

use tokio::{
    io::BufReader,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    exit::{Fallible, Trouble},
    picture::Picture,
    place::Place,
    wire::{self, Answer, Ask, Hello, LONGEST_ANSWER, Question, VERSION},
};

/// A connection with one question on its way.
#[derive(Debug)]
pub(crate) struct Line {
    from: BufReader<OwnedReadHalf>,
    /// Kept open: closing it tells the controller that nobody listens any more.
    _to: OwnedWriteHalf,
}

impl Line {
    /// The next answer; none when the controller has closed the connection.
    pub(crate) async fn next(&mut self) -> Fallible<Option<Answer>> {
        match wire::read(&mut self.from, LONGEST_ANSWER).await? {
            Some(Answer::Failed { code, why }) => Err(Trouble::with_code(code, why)),
            answer => Ok(answer),
        }
    }
}

/// Whether a controller runs, and what it says of itself.
pub(crate) async fn hello(place: &Place) -> Fallible<Option<Hello>> {
    let Some(mut line) = try_ask(place, Ask::Hello).await? else {
        return Ok(None);
    };
    match line.next().await? {
        Some(Answer::Hello(hello)) => Ok(Some(hello)),
        // It was just ending.
        None => Ok(None),
        Some(other) => Err(unexpected(&other)),
    }
}

/// Asks; none if no controller runs.
pub(crate) async fn try_ask(place: &Place, ask: Ask) -> Fallible<Option<Line>> {
    let path = place.socket()?;
    let stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => {
            let path = path.display();
            return Err(Trouble::broke(format!("the socket {path}: {error}")));
        }
    };
    let (from, mut to) = stream.into_split();
    let question = Question { v: VERSION, ask };
    wire::write(&mut to, &question)
        .await
        .map_err(|why| Trouble::broke(format!("the controller does not listen: {why}")))?;
    Ok(Some(Line {
        from: BufReader::new(from),
        _to: to,
    }))
}

/// Asks, and needs a controller.
pub(crate) async fn ask(place: &Place, ask: Ask) -> Fallible<Line> {
    try_ask(place, ask).await?.ok_or_else(|| nobody(place))
}

/// Asks a question with one answer.
pub(crate) async fn answer(place: &Place, question: Ask) -> Fallible<Answer> {
    let mut line = ask(place, question).await?;
    line.next().await?.ok_or_else(|| nobody(place))
}

/// The picture of a running controller; none if there is no controller.
pub(crate) async fn picture(place: &Place) -> Fallible<Option<Picture>> {
    let Some(mut line) = try_ask(place, Ask::Status).await? else {
        return Ok(None);
    };
    match line.next().await? {
        Some(Answer::Status(picture)) => Ok(Some(*picture)),
        None => Ok(None),
        Some(other) => Err(unexpected(&other)),
    }
}

pub(crate) fn nobody(place: &Place) -> Trouble {
    Trouble::asked(format!(
        "no controller runs for service {} of {}: go on with an open deployment with `guard attach`, or start one that stays with `guard serve`",
        place.service,
        place.journal.display()
    ))
}

pub(crate) fn unexpected(answer: &Answer) -> Trouble {
    Trouble::broke(format!("an answer that was not asked for: {answer:?}"))
}
