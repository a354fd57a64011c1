//! Effects: each is done once, within its time, and answered by an input.

use std::{collections::BTreeMap, future::poll_fn, sync::Arc, task::Poll, time::Duration};

use rollback_core::{
    entry::{ChangeReport, Effect, Input, TaskAnswer, TaskReport},
    model::{
        Accepted, Answer, Change, ChangeError, ChangeRequest, Definition, Notice, NoticeKey,
        ReadError, ReadRequest, Reading, Release, ReleaseId, duration_text,
    },
    ports::{NotifyError, PermitDecision, PermitRequest, TaskError},
};
use tokio::time::{Instant, timeout};

use crate::{
    caught::caught,
    coalesce::unreachable,
    setup::{Setup, notice_result, send_notice},
    tasks,
};

/// Does one effect and returns the input that answers it, if one does.
pub(crate) async fn perform(setup: Arc<Setup>, effect: Effect) -> Option<Input> {
    let began = Instant::now();
    let word = word(&effect);
    let (input, result) = match effect {
        Effect::Apply(request) => {
            let id = request.id.clone();
            let result = apply(&setup, *request).await;
            let label = result.as_ref().map_or_else(label, |_| "accepted");
            (Some(Input::Reported(ChangeReport { id, result })), label)
        }
        Effect::Observe { asked_at } => {
            let result = patiently(&setup, setup.deployer.observe(&setup.service)).await;
            let label = result.as_ref().map_or_else(label, |_| "ok");
            (Some(Input::Observed { asked_at, result }), label)
        }
        Effect::Read(reads) => {
            let answers = read(&setup, reads.requests).await;
            let failed = answers.iter().any(|answer| answer.result.is_err());
            let label = if failed { "incomplete" } else { "ok" };
            (Some(Input::Readings { answers }), label)
        }
        Effect::Check { release } => {
            let result = check(&setup, &release).await;
            let label = result.as_ref().map_or_else(label, |()| "ok");
            (Some(Input::Checked { release, result }), label)
        }
        Effect::StartTask {
            id,
            task,
            not_after,
        } => answered(tasks::start(&setup, id, task, not_after).await),
        Effect::AskTask { id, task, handle } => {
            answered(tasks::ask(&setup, id, task, handle).await)
        }
        Effect::CancelTask { id, task, handle } => {
            answered(tasks::cancel(&setup, id, task, handle).await)
        }
        Effect::RequestPermit(request) => permit(&setup, &request),
        Effect::CollectLastWords { release, lines } => {
            let asked = setup.deployer.last_words(&setup.service, &release, lines);
            let (words, label) = match timeout(setup.patience(), caught(asked)).await {
                Ok(Ok(words)) => (words, "ok"),
                _ => (Vec::new(), "failed"),
            };
            let lines = words;
            (Some(Input::LastWords { release, lines }), label)
        }
        Effect::Notify { key, notice } => notify(&setup, key, &notice).await,
        // Whoever waits for it sees the facts; anything else this version does not know.
        _ => (None, "ok"),
    };
    setup.metrics.effect(word, result, began.elapsed());
    input
}

fn word(effect: &Effect) -> &'static str {
    match effect {
        Effect::Apply(request) => request.change.word(),
        Effect::Observe { .. } => "observe",
        Effect::Read(_) => "read",
        Effect::Check { .. } => "check",
        Effect::StartTask { .. } => "start_task",
        Effect::AskTask { .. } => "ask_task",
        Effect::CancelTask { .. } => "cancel_task",
        Effect::RequestPermit(_) => "request_permit",
        Effect::CollectLastWords { .. } => "collect_last_words",
        Effect::Notify { .. } => "notify",
        Effect::Settled { .. } => "settled",
        _ => "other",
    }
}

fn answered(report: TaskReport) -> (Option<Input>, &'static str) {
    let error = match &report.answer {
        TaskAnswer::Started(Err(error))
        | TaskAnswer::Asked(Err(error))
        | TaskAnswer::Cancelled(Err(error)) => Some(error),
        _ => None,
    };
    let label = match error {
        None => "ok",
        Some(TaskError::NotStarted { .. }) => "not_sent",
        Some(_) => "maybe_sent",
    };
    (Some(Input::TaskReported(report)), label)
}

fn label(error: &ChangeError) -> &'static str {
    match error {
        ChangeError::NotSent { .. } => "not_sent",
        ChangeError::MaybeSent { .. } => "maybe_sent",
        ChangeError::Conflict { .. } => "conflict",
        ChangeError::Refused { .. } => "refused",
        ChangeError::Unsupported { .. } => "unsupported",
        _ => "failed",
    }
}

/// A look that hangs or panics changed nothing.
async fn patiently<T>(
    setup: &Setup,
    look: impl Future<Output = Result<T, ChangeError>>,
) -> Result<T, ChangeError> {
    let patience = setup.patience();
    match timeout(patience, caught(look)).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(ChangeError::not_sent(format_args!(
            "the platform's adapter failed: {panic}"
        ))),
        Err(_) => Err(ChangeError::not_sent(format_args!(
            "the platform did not answer within {}",
            duration_text(patience)
        ))),
    }
}

async fn apply(setup: &Setup, request: ChangeRequest) -> Result<Accepted, ChangeError> {
    // Here, so that no time is spent on what is late anyhow; and again right before it is sent.
    still_ours(setup, &request)?;
    let definition = match &request.change {
        Change::Converge { release, .. } => definition(setup, release).await?,
        _ => None,
    };
    let request = match definition {
        Some(release) => request.with_definition(Some(release.definition)),
        None => request,
    };
    let patience = setup.patience();
    still_ours(setup, &request)?;
    match timeout(
        patience,
        caught(setup.deployer.apply(&setup.service, &request)),
    )
    .await
    {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(ChangeError::maybe_sent(format_args!(
            "the platform's adapter failed while it sent the change: {panic}"
        ))),
        Err(_) => Err(ChangeError::maybe_sent(format_args!(
            "the platform did not answer within {}",
            duration_text(patience)
        ))),
    }
}

/// A controller that was paused and wakes up late, or that lost its lease, sends nothing.
fn still_ours(setup: &Setup, request: &ChangeRequest) -> Result<(), ChangeError> {
    let now = setup.clock.now();
    if now > request.not_after {
        return Err(ChangeError::not_sent(format_args!(
            "it is {now}, too late for a change that was decided to be sent until {}",
            request.not_after
        )));
    }
    if !setup.lease.is_ours(now) {
        return Err(ChangeError::not_sent("the lease of the journal has ended"));
    }
    Ok(())
}

async fn definition(setup: &Setup, release: &ReleaseId) -> Result<Option<Release>, ChangeError> {
    let get = setup.releases.get(&setup.service, release);
    match timeout(Duration::from_secs(10), caught(get)).await {
        // Platforms that keep definitions themselves need none from us.
        Ok(Ok(Ok(known))) => Ok(known),
        Ok(Ok(Err(why))) => Err(ChangeError::not_sent(why)),
        Ok(Err(panic)) => Err(ChangeError::not_sent(format_args!(
            "the release store's code failed: {panic}"
        ))),
        Err(_) => Err(ChangeError::not_sent(
            "the release store did not answer within 10s",
        )),
    }
}

async fn check(setup: &Setup, release: &ReleaseId) -> Result<(), ChangeError> {
    let known = definition(setup, release).await?;
    let known = known.unwrap_or_else(|| Release::new(release.clone(), "", Definition::default()));
    patiently(setup, setup.deployer.check(&setup.service, &known)).await
}

/// All requests at once, each from its source; answers in the order of the requests.
async fn read(setup: &Setup, requests: Vec<ReadRequest>) -> Vec<Answer> {
    let mut by_source: BTreeMap<Option<Arc<str>>, Vec<usize>> = BTreeMap::new();
    for (index, request) in requests.iter().enumerate() {
        let of_source = by_source.entry(request.source.clone()).or_default();
        of_source.push(index);
    }
    let asked = by_source.into_iter().map(|(name, indices)| {
        let of_source: Vec<ReadRequest> = indices
            .iter()
            .filter_map(|index| requests.get(*index).cloned())
            .collect();
        async move {
            let answers = read_one(setup, name.as_ref(), of_source).await;
            (indices, answers)
        }
    });
    let mut results: Vec<Option<Result<Reading, ReadError>>> = vec![None; requests.len()];
    for (indices, answers) in all(asked).await {
        for (index, answer) in indices.into_iter().zip(answers) {
            if let Some(place) = results.get_mut(index) {
                *place = Some(answer);
            }
        }
    }
    requests
        .into_iter()
        .zip(results)
        .map(|(request, result)| Answer {
            metric: request.metric,
            scope: request.scope,
            // Every index was asked of one source.
            result: result.unwrap_or(Err(ReadError::NoData)),
        })
        .collect()
}

async fn read_one(
    setup: &Setup,
    name: Option<&Arc<str>>,
    requests: Vec<ReadRequest>,
) -> Vec<Result<Reading, ReadError>> {
    let count = requests.len();
    let patience = setup.read_patience();
    let answers = match setup.sources.get(&name.cloned()) {
        Some(source) => match timeout(patience, source.read(requests)).await {
            Ok(answers) => answers,
            Err(_) => {
                let why = format!("no answer within {}", duration_text(patience));
                unreachable(count, &why)
            }
        },
        None => {
            let why = match name {
                Some(name) => format!("no source is named `{name}`"),
                None => "there is no source without a name".to_owned(),
            };
            vec![Err(ReadError::BadQuery { why }); count]
        }
    };
    let source = name.map_or("metrics", |name| name);
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        setup.metrics.reading_error(&setup.service, source, error);
    }
    answers
}

fn permit(setup: &Setup, request: &PermitRequest) -> (Option<Input>, &'static str) {
    let decision = match &setup.fleet {
        Some(fleet) => fleet.permit(setup.clock.now(), request),
        None => PermitDecision::Granted,
    };
    let label = match decision {
        PermitDecision::Granted => "granted",
        PermitDecision::Denied { .. } => "denied",
    };
    let input = Input::Permit {
        deployment: request.deployment.clone(),
        attempt: request.attempt,
        decision,
    };
    (Some(input), label)
}

async fn notify(setup: &Setup, key: NoticeKey, notice: &Notice) -> (Option<Input>, &'static str) {
    let result = match setup.notifiers.get(&key.channel) {
        Some(notifier) => send_notice(&**notifier, &key, notice, setup.patience()).await,
        None => Err(NotifyError::Permanent {
            why: format!("no notifier is named `{}` any more", key.channel),
        }),
    };
    let label = notice_result(&result);
    setup.metrics.notice(key.channel.as_str(), label);
    (Some(Input::Notified { key, result }), label)
}

/// Waits for all of them, at the same time.
async fn all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut ready = true;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(done) => *output = Some(done),
                    Poll::Pending => ready = false,
                }
            }
        }
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    running
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}
