//! `guard run`: a deploy command, wrapped.

use std::{path::Path, process::Command};

use rollback::{
    model::{DeploymentId, Release, Settled},
    policy::Mode,
    process::ScriptRelease,
};

use crate::{
    archive::Archive,
    cli::RunArgs,
    client,
    exit::{FINE, Fallible, Trouble},
    follow::{self, Patience, Rest},
    github, host, observing,
    place::Place,
    preflight, scripts,
    settings::Settings,
    wire::{Answer, Ask},
};

pub(crate) async fn run(args: &RunArgs) -> Fallible<u8> {
    let (place, settings) = args.guarded.settings(&args.at, !args.command.is_empty())?;
    if args.command.is_empty() && settings.script.is_none() {
        return Err(Trouble::asked(
            "nothing deploys: write the deploy command after `--`, or give --script FILE",
        ));
    }
    if settings.policy.mode == Mode::Observe && settings.script.is_some() {
        return Err(Trouble::asked(
            "the policy says `mode: observe`: give the deploy command after `--`; or deploy as ever, and `guard serve --verbs status` sees what runs",
        ));
    }
    if args.rollback_command.is_some() && settings.script.is_some() {
        eprintln!("--rollback-command is not used: the script's `rollback` leads back");
    }
    let release = release(args, &settings)?;
    if args.dry_run {
        return preflight::say(args, &place, &settings, &release).await;
    }
    host::ensure(&place, &settings).await?;
    let events = follow::listen(&place).await?;
    let deployment = match open_for(&place, &release).await? {
        // The controller that began it was killed, or its client.
        Some(open) => {
            eprintln!(
                "deployment {open} of {} is under way already: goes on with it",
                release.name
            );
            open
        }
        None => {
            let observes = settings.policy.mode == Mode::Observe;
            if observes {
                observing::deploy(args, &settings, &release).await?;
            }
            let deployment = deploy(&place, release.clone(), args).await?;
            if observes {
                observing::tell(&place, &settings, &release).await?;
            }
            deployment
        }
    };
    if args.no_wait {
        println!("{deployment}");
        return Ok(FINE);
    }
    let patience = Patience {
        timeout: args.waiting.timeout,
        until_ended: args.waiting.until_ended,
        json: args.waiting.json,
        way_back: false,
    };
    let rest = follow::wait(&place, &deployment, events, patience).await?;
    say(&rest, args.waiting.json);
    github::hand_on(args, &place, &rest).await?;
    Ok(rest.code)
}

/// The open deployment of this very release, if there is one.
async fn open_for(place: &Place, release: &Release) -> Fallible<Option<DeploymentId>> {
    let picture = client::picture(place).await?;
    let active = picture.and_then(|picture| picture.active);
    Ok(active
        .filter(|active| active.candidate == release.id && active.phase != "rollback")
        .map(|active| active.deployment))
}

async fn deploy(place: &Place, release: Release, args: &RunArgs) -> Fallible<DeploymentId> {
    let ask = Ask::Deploy {
        release,
        reason: args.reason.clone(),
        override_rejection: args.override_rejection,
        expedite: args.expedite,
    };
    match client::answer(place, ask).await? {
        Answer::Accepted {
            deployment: Some(deployment),
        } => Ok(deployment),
        other => Err(client::unexpected(&other)),
    }
}

/// How it came to rest: for people on stderr with the evidence, one line on stdout.
pub(crate) fn say(rest: &Rest, json: bool) {
    if json {
        println!("{}", rest.json());
        return;
    }
    let account = &rest.account;
    github::annotate(rest.code, &account.verdict);
    if rest.code != FINE {
        eprintln!("\n{account}");
    }
    match &rest.settled {
        Settled::Ended(_) => println!("{} (deployment {})", account.verdict, account.deployment),
        Settled::Held(hold) => {
            let exits: Vec<String> = hold.exits.iter().map(ToString::to_string).collect();
            println!(
                "held: {} (deployment {}); exits: {}",
                hold.reason,
                account.deployment,
                exits.join(", ")
            );
        }
    }
}

/// The release of a command: its name, and everything that says how it is brought in.
fn release(args: &RunArgs, settings: &Settings) -> Fallible<Release> {
    let directory = &settings.directory;
    let name = match &args.release {
        Some(name) => name.clone(),
        None => commit(directory).unwrap_or_else(|| {
            let now = jiff::Timestamp::now();
            format!("run-{}", now.strftime("%Y%m%dT%H%M%SZ"))
        }),
    };
    let artefact = args.artefact.as_ref().unwrap_or(&name);
    let mut made = ScriptRelease::new(&name, artefact);
    made.address = args.guarded.address();
    for (variable, value) in &args.variables {
        made = made.env(variable, value);
    }
    if settings.script.is_none() {
        let filled = |word: &String| word.replace("{{release}}", &name);
        let command: Vec<String> = args.command.iter().map(filled).collect();
        let back = args.rollback_command.as_deref().unwrap_or_default();
        if back.contains("{{release}}") {
            return Err(Trouble::asked(
                "--rollback-command: where it leads to is known only then; write $GUARD_RELEASE instead of {{release}}",
            ));
        }
        made = scripts::around(made, &scripts::quoted(&command), back, directory);
    }
    made.release().map_err(Trouble::asked)
}

/// The commit that is deployed, as CI or git know it.
fn commit(directory: &Path) -> Option<String> {
    let short = |commit: String| commit.chars().take(12).collect();
    for variable in ["COMMIT_SHA", "GITHUB_SHA", "CI_COMMIT_SHA"] {
        if let Ok(commit) = std::env::var(variable)
            && !commit.is_empty()
        {
            return Some(short(commit));
        }
    }
    let git = |arguments: &[&str]| {
        let asked = Command::new("git")
            .args(arguments)
            .current_dir(directory)
            .output();
        let answer = asked.ok().filter(|answer| answer.status.success())?;
        String::from_utf8(answer.stdout).ok()
    };
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    // What is not committed yet is no release that could be named by a commit.
    git(&["status", "--porcelain"])
        .filter(|changes| changes.is_empty())
        .map(|_| head.trim().to_owned())
}

/// Waits for a deployment that exists, with a controller that is started if need be.
pub(crate) async fn attach(
    place: &Place,
    wanted: Option<&DeploymentId>,
    patience: Patience,
    start: bool,
) -> Fallible<u8> {
    let past = Archive::open(place)?.deployments().await?;
    let found = match wanted {
        Some(wanted) => past.iter().find(|past| past.deployment == *wanted),
        None => past
            .iter()
            .rev()
            .find(|past| past.ended.is_none())
            .or_else(|| past.last()),
    };
    let Some(found) = found else {
        return Err(match wanted {
            Some(wanted) => Trouble::asked(format!(
                "{} has no deployment `{wanted}`: `guard history` lists them",
                place.service
            )),
            None => Trouble::asked(format!("nothing was ever deployed to {}", place.service)),
        });
    };
    let deployment = found.deployment.clone();
    let way_back = found.way_back;
    if let Some((_, outcome)) = &found.ended {
        let account = Archive::open(place)?.account(Some(&deployment)).await?;
        let settled = Settled::Ended(outcome.clone());
        let code = settled.exit_code(way_back);
        let code = follow::told_all(place, &deployment, code, patience.json).await?;
        say(
            &Rest {
                settled,
                account,
                code,
            },
            patience.json,
        );
        return Ok(code);
    }
    if start {
        host::ensure_any(place).await?;
    }
    let events = follow::listen(place).await?;
    let patience = Patience {
        way_back,
        ..patience
    };
    let rest = follow::wait(place, &deployment, events, patience).await?;
    say(&rest, patience.json);
    Ok(rest.code)
}
