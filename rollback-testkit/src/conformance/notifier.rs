//! What a `Notifier` promises.

use std::sync::Arc;

use async_trait::async_trait;
use rollback_core::{
    model::{DeploymentId, Notice, NoticeKey, Seq, Severity},
    ports::{Notifier, NotifyError},
};

use super::report::{CaseResult, Ran, Report, ensure};

/// What the suite needs to know of the channel behind the trait.
#[async_trait]
pub trait NotifierHarness: Send + Sync {
    /// The adapter, for a channel that takes everything.
    async fn notifier(&self) -> Arc<dyn Notifier>;

    /// What people were told through it so far, each notice's subject and body in one text; none
    /// if that cannot be found out.
    async fn told(&self) -> Option<Vec<String>>;

    /// The adapter, for a channel that is down for the moment; none if that cannot be.
    async fn down(&self) -> Option<Arc<dyn Notifier>>;

    /// The adapter, for a channel that will never take anything (wrong address, revoked token);
    /// none if that cannot be.
    async fn wrong(&self) -> Option<Arc<dyn Notifier>>;

    /// Whether the channel can prevent telling people twice.
    fn tells_once(&self) -> bool {
        false
    }

    /// A secret that the adapter was given, if it takes one.
    fn secret(&self) -> Option<String> {
        None
    }
}

/// Runs every case.
pub async fn notifier(harness: &dyn NotifierHarness) -> Report {
    let mut report = Report::of("notifier");
    macro_rules! run {
        ($($case:ident),+ $(,)?) => {$(
            report.add(stringify!($case), $case(harness).await);
        )+};
    }
    run!(
        a_channel_keeps_its_name,
        a_notice_arrives_with_its_words,
        the_same_key_tells_people_once,
        other_keys_are_other_notices,
        every_severity_is_taken,
        special_characters_arrive,
        a_long_notice_is_taken,
        a_channel_that_is_down_is_temporary,
        a_wrong_channel_is_permanent,
        no_secret_is_shown,
    );
    report
}

fn key(notifier: &dyn Notifier, number: u64) -> NoticeKey {
    NoticeKey {
        seq: Seq::new(number),
        index: 0,
        channel: notifier.channel(),
    }
}

fn notice(subject: &str, body: &str) -> Notice {
    Notice {
        at: crate::NOON,
        severity: Severity::Warning,
        deployment: DeploymentId::new("d1-conformance").ok(),
        subject: subject.to_owned(),
        body: body.to_owned(),
    }
}

async fn send(notifier: &dyn Notifier, number: u64, notice: &Notice) -> Result<(), String> {
    match notifier.send(&key(notifier, number), notice).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("`{}` was not taken: {error}", notice.subject)),
    }
}

async fn count(harness: &dyn NotifierHarness, words: &str) -> Option<usize> {
    let told = harness.told().await?;
    Some(told.iter().filter(|text| text.contains(words)).count())
}

async fn a_channel_keeps_its_name(harness: &dyn NotifierHarness) -> CaseResult {
    let notifier = harness.notifier().await;
    ensure!(
        notifier.channel() == notifier.channel(),
        "the channel's name changes"
    );
    Ok(Ran::Passed)
}

async fn a_notice_arrives_with_its_words(harness: &dyn NotifierHarness) -> CaseResult {
    let notifier = harness.notifier().await;
    let sent = notice("rolling back checkout", "30 of 100 answers were bad");
    send(&*notifier, 1, &sent).await?;
    let Some(told) = harness.told().await else {
        return Ran::skipped("it cannot be seen what people were told");
    };
    ensure!(
        told.iter().any(|text| text.contains(&sent.subject)),
        "people were not told: {told:?}"
    );
    Ok(Ran::Passed)
}

async fn the_same_key_tells_people_once(harness: &dyn NotifierHarness) -> CaseResult {
    if !harness.tells_once() {
        return Ran::skipped("the channel cannot prevent it");
    }
    let notifier = harness.notifier().await;
    let sent = notice("told-exactly-once", "sent twice with one key");
    send(&*notifier, 2, &sent).await?;
    send(&*notifier, 2, &sent).await?;
    match count(harness, "told-exactly-once").await {
        None => Ran::skipped("it cannot be seen what people were told"),
        Some(1) => Ok(Ran::Passed),
        Some(times) => Err(format!("people were told {times} times")),
    }
}

async fn other_keys_are_other_notices(harness: &dyn NotifierHarness) -> CaseResult {
    let notifier = harness.notifier().await;
    let sent = notice("told-twice", "sent with two keys");
    send(&*notifier, 3, &sent).await?;
    send(&*notifier, 4, &sent).await?;
    match count(harness, "told-twice").await {
        None => Ran::skipped("it cannot be seen what people were told"),
        Some(2) => Ok(Ran::Passed),
        Some(times) => Err(format!("people were told {times} times")),
    }
}

async fn every_severity_is_taken(harness: &dyn NotifierHarness) -> CaseResult {
    let notifier = harness.notifier().await;
    let levels = [Severity::Info, Severity::Warning, Severity::Page];
    for (number, severity) in (10..).zip(levels) {
        let mut sent = notice("every severity", "");
        sent.severity = severity;
        sent.deployment = None;
        send(&*notifier, number, &sent).await?;
    }
    Ok(Ran::Passed)
}

async fn special_characters_arrive(harness: &dyn NotifierHarness) -> CaseResult {
    let notifier = harness.notifier().await;
    let words = r#"p95 > 2s & "errors" <5%> `x` 改 \n"#;
    send(&*notifier, 20, &notice("characters", words)).await?;
    send(
        &*notifier,
        21,
        &notice("lines\r\nBcc: injected", "first\nsecond"),
    )
    .await?;
    Ok(Ran::Passed)
}

async fn a_long_notice_is_taken(harness: &dyn NotifierHarness) -> CaseResult {
    let notifier = harness.notifier().await;
    let body = "a line of the candidate's last words\n".repeat(2_000);
    send(&*notifier, 30, &notice(&"long ".repeat(100), &body)).await?;
    Ok(Ran::Passed)
}

async fn a_channel_that_is_down_is_temporary(harness: &dyn NotifierHarness) -> CaseResult {
    let Some(notifier) = harness.down().await else {
        return Ran::skipped("it is never down");
    };
    match notifier
        .send(&key(&*notifier, 40), &notice("down", ""))
        .await
    {
        Err(NotifyError::Temporary { why, .. }) => explained(harness, &why),
        other => Err(format!("a channel that is down answered {other:?}")),
    }
}

async fn a_wrong_channel_is_permanent(harness: &dyn NotifierHarness) -> CaseResult {
    let Some(notifier) = harness.wrong().await else {
        return Ran::skipped("it is never wrong");
    };
    match notifier
        .send(&key(&*notifier, 41), &notice("wrong", ""))
        .await
    {
        Err(NotifyError::Permanent { why }) => explained(harness, &why),
        other => Err(format!("a channel that is wrong answered {other:?}")),
    }
}

async fn no_secret_is_shown(harness: &dyn NotifierHarness) -> CaseResult {
    if harness.secret().is_none() {
        return Ran::skipped("takes no secret");
    }
    explained(harness, &format!("{:?}", harness.notifier().await))
}

fn explained(harness: &dyn NotifierHarness, text: &str) -> CaseResult {
    ensure!(!text.trim().is_empty(), "it does not say what happened");
    let shown = harness
        .secret()
        .is_some_and(|secret| text.contains(&secret));
    ensure!(!shown, "a secret is shown");
    Ok(Ran::Passed)
}
