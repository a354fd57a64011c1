//! `guard run --dry-run`: what would be done, after looking whether it could be.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rollback::{
    model::{
        Query, ReadRequest, Release, Sample, Scope, Subject, Timestamp, Window, duration_text,
    },
    policy::{Rule, lint},
    ports::MetricSource,
    sources::HttpHealth,
};

use crate::{
    archive::Archive,
    cli::RunArgs,
    client,
    exit::{FINE, Fallible, REFUSED, Trouble},
    place::Place,
    scripts,
    settings::Settings,
};

/// What was found of one thing.
pub(crate) enum Finding {
    Ok(String),
    Warning(String),
    Failed(String),
}

pub(crate) async fn say(
    args: &RunArgs,
    place: &Place,
    settings: &Settings,
    release: &Release,
) -> Fallible<u8> {
    let policy = &settings.policy;
    let picture = match client::picture(place).await? {
        Some(picture) => Some(picture),
        None if place.journal.is_file() => Some(Archive::open(place)?.picture().await?),
        None => None,
    };
    let script = settings.script.as_ref();
    let command = match script {
        Some(script) => vec![script.program.display().to_string(), "deploy".to_owned()],
        None => args.command.clone(),
    };
    let mut findings = vec![program(&command, &settings.directory)];
    findings.push(match &args.rollback_command {
        _ if script.is_some() => {
            Finding::Ok("rollback command: the script's `rollback`".to_owned())
        }
        Some(command) => Finding::Ok(format!("rollback command: {command}")),
        None => Finding::Warning(
            "no --rollback-command: nothing leads back to what ran before the first `guard run`"
                .to_owned(),
        ),
    });
    findings.extend(scripts::beyond(policy, script).map(Finding::Failed));
    for metric in &policy.metrics {
        findings.push(source_answers(place, settings, metric).await?);
    }
    let stable = picture.as_ref().and_then(|picture| {
        let stable = picture.stable.as_ref()?;
        Some(picture.name(stable).to_owned())
    });
    findings.push(match (&stable, &picture) {
        (Some(stable), _) => Finding::Ok(format!("a rollback would return to {stable}")),
        (None, _) => Finding::Ok(
            "the first deployment of this service: a rollback would return to what runs now"
                .to_owned(),
        ),
    });
    if let Some(picture) = &picture {
        if let Some(active) = &picture.active {
            findings.push(Finding::Warning(format!(
                "deployment {} of {} is under way and would be superseded",
                active.deployment, active.name
            )));
        }
        let judged = picture
            .ledger
            .iter()
            .find(|record| record.release == release.id);
        if judged.is_some_and(|record| record.standing == rollback::entry::Standing::Rejected)
            && !args.override_rejection
        {
            findings.push(Finding::Failed(format!(
                "{} was rejected before: deploy a new release, or --override-rejection with a --reason",
                release.name
            )));
        }
    }
    findings.extend(
        lint::lint(policy, &lint::Assumptions::default())
            .into_iter()
            .map(|finding| {
                let text = format!("policy, {}: {}", finding.path, finding.message);
                match finding.level {
                    lint::Level::Warning => Finding::Warning(text),
                    lint::Level::Note => Finding::Ok(text),
                }
            }),
    );
    println!("Would deploy {} to {}:", release.name, place.service);
    println!("  1. run: {}", command.join(" "));
    let watch = duration_text(policy.bake);
    println!(
        "  2. watch it for {watch}, every {}",
        duration_text(policy.poll)
    );
    for rule in &policy.triggers {
        println!("     {} -> {}", words(&rule.rule, &rule.name), rule.action);
    }
    match &args.rollback_command {
        _ if script.is_some() => println!("  3. if it is bad: return by the script's `rollback`"),
        Some(command) => println!("  3. if it is bad, run: {command}"),
        None => println!("  3. if it is bad: return by the deploy command of the release before"),
    }
    println!();
    let mut fits = true;
    for finding in findings {
        let (word, text) = match finding {
            Finding::Ok(text) => ("ok  ", text),
            Finding::Warning(text) => ("warn", text),
            Finding::Failed(text) => {
                fits = false;
                ("FAIL", text)
            }
        };
        println!("{word}  {text}");
    }
    println!("\nNothing was changed.");
    Ok(if fits { FINE } else { REFUSED })
}

fn words(rule: &Rule, name: &str) -> String {
    match rule {
        Rule::When { condition, .. } => format!("{name}: {condition}"),
        _ => name.to_owned(),
    }
}

/// Whether the deploy command is there.
fn program(command: &[String], directory: &Path) -> Finding {
    let Some(program) = command.first() else {
        return Finding::Failed("no deploy command".to_owned());
    };
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![directory.join(program)]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|folder| folder.join(program))
            .collect()
    };
    let found = candidates.iter().find(|path| path.is_file());
    match found {
        None => Finding::Failed(format!(
            "the deploy command `{program}` is not there: check its path"
        )),
        Some(path) if !executable(path) => Finding::Failed(format!(
            "{} may not be executed: chmod +x it",
            path.display()
        )),
        Some(path) => Finding::Ok(format!("deploy command: {}", path.display())),
    }
}

fn executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|seen| seen.permissions().mode() & 0o111 != 0)
}

/// Whether a metric answers now.
pub(crate) async fn source_answers(
    place: &Place,
    settings: &Settings,
    metric: &rollback::policy::Metric,
) -> Fallible<Finding> {
    let source = metric.source.as_deref();
    let is_health = source.unwrap_or_else(|| settings.sources.unnamed()) == "health";
    let name = &metric.id;
    let whole = match &metric.query {
        Query::Value(query) => query.starts_with("http"),
        Query::Counts { total, .. } => total.starts_with("http"),
    };
    if !is_health || !whole || metric.query.to_string().contains("{{") {
        return Ok(Finding::Ok(format!(
            "metric {name}: read while the release is watched"
        )));
    }
    let health = HttpHealth::new(settings.sources.limits()).map_err(Trouble::broke)?;
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let request = ReadRequest::new(
        place.service.clone(),
        name.clone(),
        metric.query.clone(),
        Scope::Service,
        Subject::new(None, Vec::new()),
        Window::new(now, now),
    );
    let mut answers = health.read(&[request]).await;
    Ok(match answers.pop() {
        Some(Ok(reading)) => {
            let well = match &reading.sample {
                Sample::State(word) => &**word != "down",
                Sample::Counts { bad, .. } => *bad == 0,
                _ => true,
            };
            if well {
                Finding::Ok(format!("metric {name}: {} answers well", metric.query))
            } else {
                Finding::Warning(format!(
                    "metric {name}: {} is down now, so the release would not be blamed for it",
                    metric.query
                ))
            }
        }
        Some(Err(why)) => Finding::Warning(format!("metric {name}: {why}")),
        None => Finding::Warning(format!("metric {name}: no answer")),
    })
}
