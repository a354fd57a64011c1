//! Panics of adapters and of the engine, caught and put into words.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
};

/// Runs a future; a panic in it is an error with its message.
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(move |context| {
        let future: Pin<&mut F> = future.as_mut();
        // After a panic the future is not polled again.
        match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(message(&*panic))),
        }
    })
    .await
}

/// Runs a function; a panic in it is an error with its message. What it worked on must not be
/// used after a panic.
pub(crate) fn caught_now<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_its_words() {
        let sick = async {
            tokio::task::yield_now().await;
            panic!("no {}", "luck");
        };
        assert_eq!(caught(sick).await, Err::<(), _>("no luck".to_owned()));
        assert_eq!(caught(async { 5 }).await, Ok(5));
        assert_eq!(
            caught_now(|| -> u8 { panic!("still none") }),
            Err("still none".to_owned())
        );
    }
}
