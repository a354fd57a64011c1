//! What a `MetricSource` promises.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rollback_core::{
    model::{ReadError, ReadRequest, Reading, Sample, Window},
    ports::MetricSource,
};

use super::report::{CaseResult, Ran, Report, ensure};

/// What kind of question a case needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryKind {
    /// There is data.
    Answered,
    /// Nothing ever had that name.
    Absent,
    /// The answer is not a finite number.
    NotANumber,
    /// Several series answer.
    Ambiguous,
    /// The source cannot understand it.
    Malformed,
}

/// What the suite needs to know of the source behind the trait.
#[async_trait]
pub trait MetricSourceHarness: Send + Sync {
    /// The adapter.
    fn source(&self) -> Arc<dyn MetricSource>;

    /// A question; its window is set by the suite. None where the source has no such thing.
    async fn request(&self, kind: QueryKind) -> Option<ReadRequest>;

    /// A window that lies in the past, has settled, and has data.
    async fn window(&self) -> Window;

    /// The same adapter for a source that does not answer; none if that cannot be.
    async fn unreachable(&self) -> Option<Arc<dyn MetricSource>>;

    /// A secret that the adapter was given, if it takes one.
    fn secret(&self) -> Option<String> {
        None
    }
}

/// Runs every case.
pub async fn metric_source(harness: &dyn MetricSourceHarness) -> Report {
    let mut report = Report::of("metric source");
    macro_rules! run {
        ($($case:ident),+ $(,)?) => {$(
            report.add(stringify!($case), $case(harness).await);
        )+};
    }
    run!(
        a_question_is_answered_for_its_window,
        no_question_no_answer,
        answers_come_in_the_order_of_the_questions,
        the_same_window_twice_is_the_same_answer,
        what_is_not_there_is_not_zero,
        what_is_not_a_number_is_said_to_be_none,
        several_series_are_ambiguous,
        a_malformed_query_is_a_bad_query,
        the_future_is_not_known,
        an_unreachable_source_is_unreachable,
        no_secret_is_shown,
    );
    report
}

async fn ask(
    harness: &dyn MetricSourceHarness,
    kind: QueryKind,
) -> Result<Option<Result<Reading, ReadError>>, String> {
    let Some(mut request) = harness.request(kind).await else {
        return Ok(None);
    };
    request.window = harness.window().await;
    let mut answers = harness.source().read(&[request]).await;
    ensure!(
        answers.len() == 1,
        "one question was answered {} times",
        answers.len()
    );
    Ok(answers.pop())
}

async fn answered(harness: &dyn MetricSourceHarness) -> Result<Reading, String> {
    match ask(harness, QueryKind::Answered).await? {
        Some(answer) => answer.map_err(|error| format!("a question with data: {error}")),
        None => Err("the harness has no question with data".to_owned()),
    }
}

fn finite(sample: &Sample) -> bool {
    match sample {
        Sample::Gauge(value) => value.is_finite(),
        Sample::Counts { bad, total } | Sample::Cumulative { bad, total, .. } => bad <= total,
        Sample::Exceedances { cuts, over, total } => {
            cuts.len() == over.len()
                && cuts.iter().all(|cut| cut.is_finite())
                && cuts.is_sorted()
                && over.iter().all(|over| over <= total)
        }
        _ => true,
    }
}

async fn a_question_is_answered_for_its_window(harness: &dyn MetricSourceHarness) -> CaseResult {
    let reading = answered(harness).await?;
    let asked = harness.window().await;
    if harness.source().capabilities().history {
        ensure!(
            reading.window.from >= asked.from && reading.window.to <= asked.to,
            "asked for {asked:?}, answered for {:?}",
            reading.window
        );
    }
    ensure!(finite(&reading.sample), "it answered {:?}", reading.sample);
    Ok(Ran::Passed)
}

async fn no_question_no_answer(harness: &dyn MetricSourceHarness) -> CaseResult {
    let answers = harness.source().read(&[]).await;
    ensure!(
        answers.is_empty(),
        "nothing was asked, and {answers:?} came"
    );
    Ok(Ran::Passed)
}

async fn answers_come_in_the_order_of_the_questions(
    harness: &dyn MetricSourceHarness,
) -> CaseResult {
    let window = harness.window().await;
    let mut requests = Vec::new();
    for kind in [
        QueryKind::Answered,
        QueryKind::Absent,
        QueryKind::Malformed,
        QueryKind::Answered,
    ] {
        if let Some(mut request) = harness.request(kind).await {
            request.window = window;
            requests.push((kind, request));
        }
    }
    let questions: Vec<_> = requests
        .iter()
        .map(|(_, request)| request.clone())
        .collect();
    let answers = harness.source().read(&questions).await;
    ensure!(
        answers.len() == questions.len(),
        "{} questions, {} answers",
        questions.len(),
        answers.len()
    );
    for ((kind, _), answer) in requests.iter().zip(&answers) {
        let expected = *kind == QueryKind::Answered;
        ensure!(
            answer.is_ok() == expected,
            "{kind:?} among others was answered {answer:?}"
        );
    }
    Ok(Ran::Passed)
}

async fn the_same_window_twice_is_the_same_answer(harness: &dyn MetricSourceHarness) -> CaseResult {
    if !harness.source().capabilities().history {
        return Ran::skipped("knows the present moment only");
    }
    let (first, second) = (answered(harness).await?, answered(harness).await?);
    if first.complete && second.complete {
        ensure!(
            (first.window, &first.sample) == (second.window, &second.sample),
            "first {first:?}, then {second:?}"
        );
    }
    Ok(Ran::Passed)
}

async fn what_is_not_there_is_not_zero(harness: &dyn MetricSourceHarness) -> CaseResult {
    match ask(harness, QueryKind::Absent).await? {
        None => Ran::skipped("nothing can be absent"),
        Some(Err(ReadError::NoData | ReadError::BadQuery { .. })) => Ok(Ran::Passed),
        Some(other) => Err(format!("what was never there was answered {other:?}")),
    }
}

async fn what_is_not_a_number_is_said_to_be_none(harness: &dyn MetricSourceHarness) -> CaseResult {
    match ask(harness, QueryKind::NotANumber).await? {
        None => Ran::skipped("knows finite numbers only"),
        Some(Err(ReadError::NotANumber | ReadError::NoData)) => Ok(Ran::Passed),
        Some(other) => Err(format!("what is not a number was answered {other:?}")),
    }
}

async fn several_series_are_ambiguous(harness: &dyn MetricSourceHarness) -> CaseResult {
    match ask(harness, QueryKind::Ambiguous).await? {
        None => Ran::skipped("one question has one series"),
        Some(Err(ReadError::Ambiguous { series })) => {
            ensure!(series > 1, "{series} series are called ambiguous");
            Ok(Ran::Passed)
        }
        Some(other) => Err(format!("several series were answered {other:?}")),
    }
}

async fn a_malformed_query_is_a_bad_query(harness: &dyn MetricSourceHarness) -> CaseResult {
    match ask(harness, QueryKind::Malformed).await? {
        None => Ran::skipped("every query is well-formed"),
        Some(Err(ReadError::BadQuery { why })) => {
            ensure!(!why.trim().is_empty(), "it does not say what is wrong");
            Ok(Ran::Passed)
        }
        Some(other) => Err(format!("a malformed query was answered {other:?}")),
    }
}

async fn the_future_is_not_known(harness: &dyn MetricSourceHarness) -> CaseResult {
    if !harness.source().capabilities().history {
        return Ran::skipped("knows the present moment only");
    }
    let Some(mut request) = harness.request(QueryKind::Answered).await else {
        return Err("the harness has no question with data".to_owned());
    };
    let far = Duration::from_secs(30 * 86_400);
    let window = harness.window().await;
    request.window = Window::new(window.from.after(far), window.to.after(far));
    match harness.source().read(&[request]).await.as_slice() {
        [Err(ReadError::NotYet { .. } | ReadError::NoData)] => Ok(Ran::Passed),
        [Ok(reading)] if !reading.complete => Ok(Ran::Passed),
        other => Err(format!("a window of next month was answered {other:?}")),
    }
}

async fn an_unreachable_source_is_unreachable(harness: &dyn MetricSourceHarness) -> CaseResult {
    let Some(source) = harness.unreachable().await else {
        return Ran::skipped("always reachable");
    };
    let Some(mut request) = harness.request(QueryKind::Answered).await else {
        return Err("the harness has no question with data".to_owned());
    };
    request.window = harness.window().await;
    match source.read(&[request]).await.as_slice() {
        [Err(ReadError::Unreachable { why, .. })] => {
            ensure!(!why.trim().is_empty(), "it does not say what happened");
            hidden(harness, why)
        }
        other => Err(format!(
            "a source that does not answer was read as {other:?}"
        )),
    }
}

async fn no_secret_is_shown(harness: &dyn MetricSourceHarness) -> CaseResult {
    if harness.secret().is_none() {
        return Ran::skipped("takes no secret");
    }
    hidden(harness, &format!("{:?}", harness.source()))
}

fn hidden(harness: &dyn MetricSourceHarness, text: &str) -> CaseResult {
    let shown = harness
        .secret()
        .is_some_and(|secret| text.contains(&secret));
    ensure!(!shown, "a secret is shown");
    Ok(Ran::Passed)
}
