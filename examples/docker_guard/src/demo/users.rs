//! People who ask all the time, and what they got.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::exit::{Fallible, Trouble};

/// So many ask at a time, each so often.
const PEOPLE: u64 = 4;
const PAUSE: Duration = Duration::from_millis(40);

/// Requests by who answered them; those that nobody answered have no version.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    good: BTreeMap<String, u64>,
    bad: BTreeMap<Option<String>, u64>,
}

impl Seen {
    fn note(&mut self, version: Option<String>, good: bool) {
        match version {
            Some(version) if good => *self.good.entry(version).or_default() += 1,
            version => *self.bad.entry(version).or_default() += 1,
        }
    }

    /// What came after `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut later = self.clone();
        for (version, count) in &mut later.good {
            *count -= earlier.good.get(version).copied().unwrap_or(0).min(*count);
        }
        for (version, count) in &mut later.bad {
            *count -= earlier.bad.get(version).copied().unwrap_or(0).min(*count);
        }
        later.good.retain(|_, count| *count > 0);
        later.bad.retain(|_, count| *count > 0);
        later
    }

    fn all(&self) -> u64 {
        self.good.values().sum::<u64>() + self.failed()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.bad.values().sum()
    }

    pub(crate) fn failed_elsewhere(&self, version: &str) -> u64 {
        let elsewhere = self
            .bad
            .iter()
            .filter(|(by, _)| by.as_deref() != Some(version));
        elsewhere.map(|(_, count)| count).sum()
    }

    pub(crate) fn answered_by(&self, version: &str) -> u64 {
        self.good.get(version).copied().unwrap_or(0)
    }

    /// How many versions answered well.
    pub(crate) fn versions(&self) -> usize {
        self.good.len()
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} requests", self.all());
        for (version, count) in &self.good {
            text.push_str(&format!(", {count} answered by {version}"));
        }
        for (version, count) in &self.bad {
            match version {
                Some(version) => text.push_str(&format!(", {count} failed by {version}")),
                None => text.push_str(&format!(", {count} answered by nobody")),
            }
        }
        if self.bad.is_empty() {
            text.push_str(", none failed");
        }
        text
    }
}

/// The people.
#[derive(Debug)]
pub(crate) struct Users {
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Users {
    pub(crate) fn come(to: SocketAddr) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let tasks = (0..PEOPLE).map(|_| {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                loop {
                    let answer = timeout(Duration::from_secs(5), ask(to)).await;
                    let (version, good) = answer.ok().flatten().unwrap_or((None, false));
                    locked(&seen).note(version, good);
                    tokio::time::sleep(PAUSE).await;
                }
            })
        });
        Self {
            tasks: tasks.collect(),
            seen,
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        locked(&self.seen).clone()
    }

    /// Returns when so many more requests have come back.
    pub(crate) async fn until(&self, more: u64) -> Fallible<()> {
        let goal = self.seen().all() + more;
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.seen().all() < goal {
            if Instant::now() > deadline {
                return Err(Trouble::broke("the users get no answers"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    pub(crate) async fn leave(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which version answered, and whether well; none if nobody did.
pub(crate) async fn ask(to: SocketAddr) -> Option<(Option<String>, bool)> {
    let mut stream = TcpStream::connect(to).await.ok()?;
    let request = b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, _) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let good = lines.next()?.contains(" 200 ");
    let version = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-version")
            .then(|| value.trim().to_owned())
    });
    Some((version, good))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_failed_whom_is_told() {
        let (v2, v3) = (|| Some("v2".to_owned()), || Some("v3".to_owned()));
        let mut seen = Seen::default();
        seen.note(v2(), true);
        let earlier = seen.clone();
        for (version, good) in [
            (v2(), true),
            (v2(), true),
            (v3(), true),
            (v3(), false),
            (None, false),
        ] {
            seen.note(version, good);
        }
        let later = seen.since(&earlier);
        assert_eq!(
            later.text(),
            "5 requests, 2 answered by v2, 1 answered by v3, 1 answered by nobody, 1 failed by v3"
        );
        assert_eq!(
            (
                later.failed(),
                later.failed_elsewhere("v3"),
                later.versions()
            ),
            (2, 1, 2)
        );
        assert_eq!(seen.since(&seen).text(), "0 requests, none failed");
    }
}
