//! The reads of many services from one source, put together into as few calls as it takes well.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rollback_core::{
    model::{ReadError, ReadRequest, Reading},
    ports::MetricSource,
};
use tokio::sync::oneshot;

use crate::caught::caught;

/// How long the first read waits for others to join it.
const GATHER: Duration = Duration::from_millis(5);

/// A call that takes longer is given up; the services gave it up before.
const PATIENCE: Duration = Duration::from_secs(60);

type Answers = Vec<Result<Reading, ReadError>>;

/// One source for many services.
#[derive(Debug)]
pub(crate) struct Coalesced {
    source: Arc<dyn MetricSource>,
    batch: usize,
    gathered: Mutex<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    asks: Vec<Ask>,
    requests: usize,
}

#[derive(Debug)]
struct Ask {
    requests: Vec<ReadRequest>,
    answer: oneshot::Sender<Answers>,
}

impl Coalesced {
    pub(crate) fn new(source: Arc<dyn MetricSource>) -> Arc<Self> {
        let batch = source.capabilities().batch.max(1);
        Arc::new(Self {
            source,
            batch,
            gathered: Mutex::default(),
        })
    }

    /// Reads, together with whoever else asks at this moment.
    pub(crate) async fn read(self: &Arc<Self>, requests: Vec<ReadRequest>) -> Answers {
        let count = requests.len();
        let answered = self.enter(requests);
        answered.await.unwrap_or_else(|_| {
            unreachable(
                count,
                "the read was given up; it is asked again at the next poll",
            )
        })
    }

    fn enter(self: &Arc<Self>, requests: Vec<ReadRequest>) -> oneshot::Receiver<Answers> {
        let (answer, answered) = oneshot::channel();
        let mut gathered = self.lock();
        let first = gathered.asks.is_empty();
        gathered.requests += requests.len();
        gathered.asks.push(Ask { requests, answer });
        if gathered.requests >= self.batch {
            let asks = gathered.take();
            drop(gathered);
            tokio::spawn(Arc::clone(self).ask(asks));
        } else if first {
            drop(gathered);
            tokio::spawn(Arc::clone(self).wait());
        }
        answered
    }

    async fn wait(self: Arc<Self>) {
        tokio::time::sleep(GATHER).await;
        let asks = self.lock().take();
        if !asks.is_empty() {
            self.ask(asks).await;
        }
    }

    async fn ask(self: Arc<Self>, asks: Vec<Ask>) {
        let mut lengths = Vec::with_capacity(asks.len());
        let mut requests = Vec::new();
        for ask in asks {
            lengths.push((ask.requests.len(), ask.answer));
            requests.extend(ask.requests);
        }
        let read = tokio::time::timeout(PATIENCE, read(&*self.source, &requests));
        let mut answers = match read.await {
            Ok(answers) => answers,
            Err(_) => unreachable(requests.len(), "no answer within a minute"),
        }
        .into_iter();
        for (length, answer) in lengths {
            // The service may be gone by now.
            let _ = answer.send(answers.by_ref().take(length).collect());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // Nothing panics while the lock is held.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    fn take(&mut self) -> Vec<Ask> {
        self.requests = 0;
        mem::take(&mut self.asks)
    }
}

/// One call: as many answers as requests, whatever the source does.
pub(crate) async fn read(source: &dyn MetricSource, requests: &[ReadRequest]) -> Answers {
    let count = requests.len();
    match caught(source.read(requests)).await {
        Ok(answers) if answers.len() == count => answers,
        Ok(answers) => {
            let why = format!(
                "the source gave {} answers to {count} requests; its code is at fault",
                answers.len()
            );
            unreachable(count, &why)
        }
        Err(panic) => unreachable(count, &format!("the source's code failed: {panic}")),
    }
}

/// No answer to any of them.
pub(crate) fn unreachable(count: usize, why: &str) -> Answers {
    let error = ReadError::Unreachable {
        why: why.to_owned(),
        retry_after_ms: None,
    };
    (0..count).map(|_| Err(error.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use rollback_core::{
        model::{MetricId, Query, Sample, Scope, ServiceId, Subject, Timestamp, Window},
        ports::SourceCapabilities,
    };

    use super::*;

    #[derive(Debug, Default)]
    struct Counting {
        calls: AtomicUsize,
        short: bool,
    }

    #[async_trait]
    impl MetricSource for Counting {
        fn capabilities(&self) -> SourceCapabilities {
            SourceCapabilities::live()
        }
        async fn read(&self, requests: &[ReadRequest]) -> Answers {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let skip = usize::from(self.short);
            let of = |request: &ReadRequest| {
                let name = request.service.as_str().parse().unwrap();
                Ok(Reading::new(request.window, Sample::Gauge(name)))
            };
            requests.iter().skip(skip).map(of).collect()
        }
    }

    fn request(service: usize) -> ReadRequest {
        let at = Timestamp::from_millis(0);
        ReadRequest::new(
            ServiceId::new(service.to_string()).unwrap(),
            MetricId::new("m").unwrap(),
            Query::Value("m".into()),
            Scope::Service,
            Subject::new(None, []),
            Window::new(at, at),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_services_make_one_call_each_hears_its_own() {
        let source = Arc::new(Counting::default());
        let shared: Arc<dyn MetricSource> = Arc::<Counting>::clone(&source);
        let coalesced = Coalesced::new(shared);
        let mut reads = tokio::task::JoinSet::new();
        for service in 0..50 {
            let coalesced = Arc::clone(&coalesced);
            reads.spawn(async move {
                let answers = coalesced
                    .read(vec![request(service), request(service)])
                    .await;
                assert_eq!(answers.len(), 2);
                for answer in answers {
                    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                    let own = Sample::Gauge(service as f64);
                    assert_eq!(answer.unwrap().sample, own);
                }
            });
        }
        while let Some(read) = reads.join_next().await {
            read.unwrap();
        }
        assert_eq!(source.calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_swallows_answers_gives_none_to_the_wrong_service() {
        let source = Arc::new(Counting {
            short: true,
            ..Counting::default()
        });
        let coalesced = Coalesced::new(source);
        let (a, b) = tokio::join!(
            coalesced.read(vec![request(1)]),
            coalesced.read(vec![request(2)])
        );
        for answers in [a, b] {
            assert!(matches!(answers[0], Err(ReadError::Unreachable { .. })));
        }
    }
}
