//! The journal of a service, each deployment a line.

use std::path::Path;

use rollback_core::{
    backtest::{Backtested, backtest},
    engine::EngineConfig,
    entry::Entry,
    model::{Seq, ServiceId},
    policy::Policy,
    ports::{Capabilities, Journal},
};
use rollback_store::SqliteJournal;

use crate::{
    line::{Decision, Line, Second},
    report::Report,
};

/// Entries that are read at once.
const CHUNK: usize = 10_000;

/// Replays every deployment of the service.
pub(crate) fn replay(
    file: &Path,
    service: Option<&str>,
    policies: &[Policy],
    report: &mut Report<'_>,
) -> Result<(), String> {
    let shown = file.display().to_string();
    if !file.is_file() {
        return Err(format!(
            "{shown}: no such file; give the controller's journal"
        ));
    }
    let (service, entries) = read(file, service).map_err(|why| format!("{shown}: {why}"))?;
    let config = circumstances(service);
    let answers = policies
        .iter()
        .map(|policy| backtest(&entries, policy, &config))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|why| why.to_string())?;
    let [first, rest @ ..] = &answers[..] else {
        return Ok(());
    };
    for (position, answer) in first.iter().enumerate() {
        let second = rest.first().and_then(|second| second.get(position));
        tell(&shown, answer, second, report);
    }
    if first.is_empty() {
        report.note("the journal has no deployment of this service");
    }
    Ok(())
}

fn tell(file: &str, answer: &Backtested, second: Option<&Backtested>, report: &mut Report<'_>) {
    report.explain_answers(answer, second);
    let decision = Decision::over(answer);
    let recorded = Decision::recorded(&answer.recorded, answer.opened_at);
    let other = second.map(|second| (Decision::over(second), &second.comparison));
    report.line(
        &Line {
            file,
            deployment: Some(answer.deployment.as_str()),
            candidate: Some(&answer.name),
            decision: &decision,
            comparison: Some(&answer.comparison),
            recorded: Some(&recorded),
            second: other
                .as_ref()
                .map(|(other, comparison)| Second::beside(&decision, other, Some(comparison))),
        },
        other.as_ref().map(|(other, _)| other),
    );
}

fn read(file: &Path, service: Option<&str>) -> Result<(ServiceId, Vec<Entry>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| why.to_string())?;
    runtime.block_on(async {
        let journal = SqliteJournal::open(file).map_err(|why| why.to_string())?;
        let known = journal.services().await.map_err(|why| why.to_string())?;
        let names = || {
            known
                .iter()
                .map(ServiceId::as_str)
                .collect::<Vec<_>>()
                .join("`, `")
        };
        let service = match (service, &known[..]) {
            (None, [only]) => only.clone(),
            (None, []) => return Err("it has no entry of any service".to_owned()),
            (None, _) => {
                return Err(format!(
                    "it has several services; give `--service` one of `{}`",
                    names()
                ));
            }
            (Some(name), _) => known
                .iter()
                .find(|known| known.as_str() == name)
                .cloned()
                .ok_or_else(|| format!("no service `{name}` in it; it has `{}`", names()))?,
        };
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map_or(Seq::new(0), |last| last.seq);
            let mut more = journal
                .read(&service, after, CHUNK)
                .await
                .map_err(|why| why.to_string())?;
            if more.is_empty() {
                return Ok((service, entries));
            }
            entries.append(&mut more);
        }
    })
}

/// A platform that can do what any plan asks for: what it did is in the journal.
fn circumstances(service: ServiceId) -> EngineConfig {
    let capabilities = Capabilities::least(std::time::Duration::ZERO)
        .with_compare_and_set()
        .with_two_arms()
        .with_weights();
    EngineConfig::new(service, capabilities)
}
