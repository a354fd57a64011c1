//! Deploy scripts as a platform: [`ScriptDeployer`] with the script of the person, or with one of
//! ours around the commands of `guard run -- COMMAND`.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rollback::{
    model::{Pace, Placement, Release, ReleaseId},
    policy::{Mode, Policy},
    ports::{Deployer, ReleaseStore},
    process::{ScriptDeployer, ScriptRelease},
};
use serde::{Deserialize, Serialize};

use crate::{
    exit::{Fallible, Trouble},
    place::Place,
};

/// What ran before the service was guarded.
const BEFORE: &str = "before-guard";

/// What a command may take longer than the policy allows before it is killed: the policy decides
/// first.
const GRACE: Duration = Duration::from_secs(60);

/// Runs the deploy command of a release, or the rollback command of the one that is left. A command
/// knows nothing of the exit statuses that mean more to a script with verbs than "failed".
const COMMANDS: &str = r#"#!/bin/sh
# Written by guard: runs the deploy command of a release, or the rollback command of the one that it replaces.
left=${0%/*}/left
before=$left/${PREVIOUS_RELEASE-}
GUARD_RELEASE_BEFORE=${PREVIOUS_RELEASE-}
[ ! -e "$before.name" ] || GUARD_RELEASE_BEFORE=$(cat "$before.name")
GUARD_RELEASE=$RELEASE_NAME GUARD_DEPLOYMENT=$DEPLOYMENT_ID
export GUARD_RELEASE GUARD_RELEASE_BEFORE GUARD_DEPLOYMENT
command=$GUARD_COMMAND
back=
[ ! -e "$before.back" ] || back=$(cat "$before.back")
if [ -n "$back" ] && { [ "$1" = rollback ] || [ -z "$command" ]; }; then
    command=$back
    GUARD_DIRECTORY=$(cat "$before.directory")
fi
if [ -z "$command" ]; then
    echo "nothing leads back to $RELEASE_NAME: give --rollback-command"
    exit 64
fi
mkdir -p "$left" || exit 69
printf %s "$GUARD_ROLLBACK_COMMAND" >"$left/$RELEASE.back"
printf %s "$GUARD_DIRECTORY" >"$left/$RELEASE.directory"
printf %s "$RELEASE_NAME" >"$left/$RELEASE.name"
cd "$GUARD_DIRECTORY" || exit 69
unset GUARD_COMMAND GUARD_ROLLBACK_COMMAND GUARD_DIRECTORY
(eval "$command")
status=$?
case $status in
64 | 69 | 75 | 76 | 126 | 127) echo "exit status $status"; exit 1 ;;
*) exit $status ;;
esac
"#;

/// A script with the verbs of document 003.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerbScript {
    pub(crate) program: PathBuf,
    /// What it understands besides `deploy` and `rollback`.
    pub(crate) verbs: Vec<Verb>,
}

/// What a script may understand besides `deploy` and `rollback`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verb {
    /// `update-traffic PERCENTAGE STAGE`, and PLACEMENT=beside of `deploy`: canary and blue-green
    UpdateTraffic,
    /// Stop running RELEASE
    Retire,
    /// Print what runs, as JSON
    Status,
    /// Whether RELEASE could be run
    Check,
    /// No verb: PACE=rolling of `deploy`, with MAX_UNAVAILABLE and MAX_SURGE
    Rolling,
}

impl VerbScript {
    pub(crate) fn can(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }
}

/// What the strategy asks of a deploy command, and it cannot do: `run` is refused for it.
pub(crate) fn beyond(policy: &Policy, script: Option<&VerbScript>) -> Option<String> {
    let can = |verb| script.is_some_and(|script| script.can(verb));
    let (lacks, verb) = match policy.strategy.placement() {
        Placement::Beside => (!can(Verb::UpdateTraffic), "update-traffic"),
        Placement::InPlace(Pace::Rolling { .. }) => (!can(Verb::Rolling), "rolling"),
        _ => (false, ""),
    };
    let name = policy.strategy.name();
    (lacks && policy.mode == Mode::Act).then(|| {
        format!(
            "`strategy: {name}` asks more than to deploy and to go back: give --verbs {verb} with a \
             --script that understands it, or write `strategy: recreate`"
        )
    })
}

/// The deployer of a place.
pub(crate) fn open(
    place: &Place,
    script: Option<&VerbScript>,
    directory: &Path,
    policy: &Policy,
) -> Fallible<ScriptDeployer> {
    place.prepare()?;
    let folder = place.scripts();
    let program = match script {
        Some(script) => script.program.clone(),
        None => commands(&folder)?,
    };
    let deployer = ScriptDeployer::open(&folder, &program).map_err(Trouble::asked)?;
    let mut deployer = deployer
        .working_dir(directory)
        .pass_all_env()
        .with_stop_first()
        .ends_what_runs()
        .time_out(policy.deadlines.converge + GRACE);
    for verb in script.map_or(&[][..], |script| &script.verbs) {
        deployer = match verb {
            Verb::UpdateTraffic => deployer.with_update_traffic(),
            Verb::Retire => deployer.with_retire(),
            Verb::Status => deployer.with_status(),
            Verb::Check => deployer.with_check(),
            Verb::Rolling => deployer.with_rolling(),
        };
    }
    Ok(deployer)
}

/// What runs already has a name too: it is what the first deployment returns to.
pub(crate) async fn adopt(
    place: &Place,
    deployer: &ScriptDeployer,
    store: &impl ReleaseStore,
    address: Option<&str>,
    directory: &Path,
) -> Fallible<()> {
    let seen = deployer.observe(&place.service).await;
    // What cannot be seen now is no reason not to start: the controller looks again.
    if seen.map_or(true, |seen| !seen.wanted.is_empty()) {
        return Ok(());
    }
    let mut before = ScriptRelease::new(BEFORE, BEFORE);
    before.address = address.map(str::to_owned);
    let before = around(before, "", "", directory);
    let made = before.release().map_err(Trouble::broke)?;
    let id = ReleaseId::new(BEFORE).map_err(Trouble::broke)?;
    let release = Release::new(id, BEFORE, made.definition);
    let kept = store.put(&place.service, &release).await;
    kept.map_err(Trouble::broke)?;
    let adopted = deployer.adopt(&place.service, &release).await;
    adopted.map_err(Trouble::broke)
}

/// What our own script is told of the commands of a release.
pub(crate) fn around(
    release: ScriptRelease,
    command: &str,
    rollback: &str,
    directory: &Path,
) -> ScriptRelease {
    release
        .env("GUARD_COMMAND", command)
        .env("GUARD_ROLLBACK_COMMAND", rollback)
        .env("GUARD_DIRECTORY", directory.to_string_lossy())
}

/// Words as a shell reads them.
pub(crate) fn quoted(words: &[String]) -> String {
    let quote = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Our own script, as it is now.
fn commands(folder: &Path) -> Fallible<PathBuf> {
    let path = folder.join("commands.sh");
    let failed = |why: std::io::Error| Trouble::broke(format!("{}: {why}", path.display()));
    if fs::read_to_string(&path).is_ok_and(|text| text == COMMANDS) {
        return Ok(path);
    }
    // Whoever runs it meanwhile has the old one to the end.
    let partial = path.with_extension("partial");
    let mut file = fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o700)
        .open(&partial)
        .map_err(failed)?;
    file.write_all(COMMANDS.as_bytes()).map_err(failed)?;
    let executable = fs::Permissions::from_mode(0o700);
    file.set_permissions(executable).map_err(failed)?;
    drop(file);
    fs::rename(&partial, &path).map_err(failed)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_quoted_words_as_they_were() {
        let words = ["printf", "%s|", "it's", "$HOME", "a  b", ""].map(str::to_owned);
        let read = std::process::Command::new("sh")
            .args(["-c", &quoted(&words)])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(read.stdout).unwrap(), "it's|$HOME|a  b||");
    }
}
