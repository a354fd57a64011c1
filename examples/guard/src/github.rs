//! What GitHub Actions wants to know: annotations, the outputs of a step, its summary.

use std::{
    fmt::{self, Write as _},
    fs::File,
    io::Write as _,
    path::Path,
};

use rollback::{
    Account, Evidence,
    entry::Fact,
    model::{Outcome, Settled, Timestamp, duration_text},
};

use crate::{
    archive::{Archive, Past},
    cli::RunArgs,
    exit::{FINE, Fallible, Trouble},
    follow::Rest,
    picture::whole_seconds,
    place::Place,
};

/// GitHub drops a summary that is longer than 1024 k altogether.
const LONGEST_SUMMARY: usize = 900 * 1024;

/// An annotation for whoever looks at the run, if it is one on GitHub.
pub(crate) fn annotate(code: u8, text: &impl fmt::Display) {
    if code == FINE || std::env::var("GITHUB_ACTIONS").as_deref() != Ok("true") {
        return;
    }
    // Whoever closed stderr wants no annotations either.
    let _ = writeln!(std::io::stderr(), "{}", annotation(code, &text.to_string()));
}

/// One workflow command.
fn annotation(code: u8, text: &str) -> String {
    let title = match code {
        10 => "Rolled back",
        11 => "Held",
        12 => "Rollback failed",
        13 => "Refused",
        14 => "Superseded",
        15 => "Notice undelivered",
        16 => "Still running",
        130 => "Interrupted",
        _ => "guard",
    };
    let data = text
        .replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A");
    format!("::error title={title}::{data}")
}

/// Writes outputs, summary and report where they were asked for.
pub(crate) async fn hand_on(args: &RunArgs, place: &Place, rest: &Rest) -> Fallible<()> {
    let wanted = args.outputs.is_some() || args.summary.is_some() || args.report.is_some();
    if !wanted {
        return Ok(());
    }
    let archive = Archive::open(place)?;
    let past = archive.deployments().await?;
    let past = past
        .iter()
        .find(|past| past.deployment == rest.account.deployment);
    let summary = summary(rest, &phases(&archive, &rest.account).await?);
    if let Some(path) = &args.report {
        std::fs::write(path, &summary).map_err(|why| unwritable(path, &why))?;
    }
    if let Some(path) = &args.summary {
        append(path, &shortened(summary))?;
    }
    if let Some(path) = &args.outputs {
        append(path, &outputs(args, rest, past))?;
    }
    Ok(())
}

fn append(path: &Path, text: &str) -> Fallible<()> {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|why| unwritable(path, &why))?;
    file.write_all(text.as_bytes())
        .map_err(|why| unwritable(path, &why))
}

fn unwritable(path: &Path, why: &std::io::Error) -> Trouble {
    Trouble::broke(format!("{}: {why}", path.display()))
}

/// `name=value` lines; a value that could have several lines between two marks that it cannot hold.
fn outputs(args: &RunArgs, rest: &Rest, past: Option<&Past>) -> String {
    let account = &rest.account;
    let (outcome, restored) = match &rest.settled {
        Settled::Ended(outcome @ Outcome::RolledBack { .. }) => (
            outcome.word(),
            account.stable.as_deref().unwrap_or_default(),
        ),
        Settled::Ended(outcome) => (outcome.word(), ""),
        Settled::Held(_) => ("held", ""),
    };
    let seconds = |time: Option<std::time::Duration>| {
        time.map_or_else(String::new, |time| format!("{:.3}", time.as_secs_f64()))
    };
    let detect = past.and_then(Past::detected_in);
    let restore = past.and_then(Past::restored_in);
    let report = args.report.as_ref();
    let report = report.map_or_else(String::new, |path| path.display().to_string());
    let mut text = String::new();
    for (name, value) in [
        ("outcome", outcome),
        ("deployment-id", account.deployment.as_str()),
        ("reason", &account.verdict),
        ("restored-release", restored),
        ("report-path", &report),
        ("detect-seconds", &seconds(detect)),
        ("restore-seconds", &seconds(restore)),
    ] {
        if value.contains(['\n', '\r']) {
            let mut mark = "END_OF_VALUE".to_owned();
            while value.contains(&mark) {
                mark.push('_');
            }
            let _ = writeln!(text, "{name}<<{mark}\n{value}\n{mark}");
        } else {
            let _ = writeln!(text, "{name}={value}");
        }
    }
    text
}

/// The summary of a step, in Markdown.
fn summary(rest: &Rest, phases: &[Phase]) -> String {
    let account = &rest.account;
    let mark = if rest.code == FINE { "✅" } else { "❌" };
    let mut text = String::new();
    let _ = writeln!(
        text,
        "## {mark} {}: {}\n",
        plain(account.service.as_str()),
        plain(&account.verdict)
    );
    let _ = writeln!(
        text,
        "Deployment `{}` of `{}`.\n",
        account.deployment, account.candidate
    );
    verdicts(&mut text, account);
    timeline(&mut text, account, phases);
    let _ = writeln!(text, "<details><summary>Evidence and timeline</summary>\n");
    // An indented block cannot be ended by what a script printed.
    for line in account.to_string().lines() {
        let _ = writeln!(text, "    {line}");
    }
    let _ = writeln!(text, "\n</details>");
    text
}

fn verdicts(text: &mut String, account: &Account) {
    let mut told: Vec<&Evidence> = Vec::new();
    for evidence in &account.evidence {
        if told.iter().all(|one| one.trigger != evidence.trigger) {
            told.push(evidence);
        }
    }
    if told.is_empty() {
        return;
    }
    let _ = writeln!(text, "| Trigger | Verdict | Evidence | Would have passed |");
    let _ = writeln!(text, "|---|---|---|---|");
    for evidence in told {
        let numbers = &evidence.explanation;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            cell(&evidence.trigger.name),
            cell(&evidence.verdict),
            cell(&numbers.sentence),
            cell(numbers.would_pass.as_deref().unwrap_or_default()),
        );
    }
    text.push('\n');
}

/// A stretch of a deployment.
struct Phase {
    name: String,
    from: Timestamp,
    to: Timestamp,
}

/// The steps of a deployment, as long as they took.
async fn phases(archive: &Archive, account: &Account) -> Fallible<Vec<Phase>> {
    let mut phases: Vec<Phase> = Vec::new();
    let mut steps = Vec::new();
    archive
        .each(|entry| {
            for fact in &entry.facts {
                if fact.deployment() != Some(&account.deployment) {
                    continue;
                }
                if let Some(last) = phases.last_mut() {
                    last.to = entry.at;
                }
                match fact {
                    Fact::PlanMade { steps: plan, .. } => steps.clone_from(plan),
                    Fact::StepEntered { index, .. } => {
                        let step = steps.get(usize::from(*index));
                        phases.push(Phase {
                            name: step.map_or("step", rollback::entry::Step::word).to_owned(),
                            from: entry.at,
                            to: entry.at,
                        });
                    }
                    _ => {}
                }
            }
        })
        .await?;
    Ok(phases)
}

fn timeline(text: &mut String, account: &Account, phases: &[Phase]) {
    if phases.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "```mermaid\ngantt\n    dateFormat x\n    axisFormat %H:%M:%S"
    );
    let _ = writeln!(
        text,
        "    title {} of {}",
        account.deployment,
        word(&account.candidate)
    );
    for phase in phases {
        let (from, to) = (phase.from.as_millis(), phase.to.as_millis());
        let took = duration_text(whole_seconds(phase.to.since(phase.from)));
        let to = to.max(from + 1);
        let _ = writeln!(text, "    {} {took} : {from}, {to}", phase.name);
    }
    let _ = writeln!(text, "```\n");
}

/// Cut at a line, so that no summary is dropped for its length.
fn shortened(mut text: String) -> String {
    const REST: &str = "\n    … (shortened; the whole is in the report)\n\n</details>\n";
    if text.len() <= LONGEST_SUMMARY {
        return text;
    }
    let mut end = LONGEST_SUMMARY - REST.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let end = text
        .get(..end)
        .and_then(|text| text.rfind('\n'))
        .unwrap_or(end);
    text.truncate(end);
    text.push_str(REST);
    text
}

/// Text without meaning in HTML.
fn plain(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    plain(text).replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// Text that means nothing in a diagram.
fn word(text: &str) -> String {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.chars()
        .map(|c| if fits(c) { c } else { ' ' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_one_line() {
        assert_eq!(
            annotation(10, "100 % bad\nreally"),
            "::error title=Rolled back::100 %25 bad%0Areally"
        );
    }

    #[test]
    fn a_summary_that_is_too_long_is_cut_at_a_line() {
        let line = "    ä line of evidence\n";
        let long = format!("## x\n<details>\n{}", line.repeat(100_000));
        let cut = shortened(long);
        assert!(cut.len() <= LONGEST_SUMMARY);
        assert!(cut.ends_with("</details>\n"), "{}", &cut[cut.len() - 80..]);
        assert!(cut.contains("evidence\n    … (shortened"));
        assert_eq!(shortened("short".to_owned()), "short");
    }

    #[test]
    fn a_cell_stays_a_cell() {
        assert_eq!(cell("a|b\n<c>"), "a\\|b &lt;c>");
    }
}
