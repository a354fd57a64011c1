//! An image becomes a release; a release is deployed, or left.

use std::time::Duration;

use rollback::{
    DeployOptions,
    model::{Actor, Release, ServiceId},
    ports::ReleaseStore,
    start_first_release,
};
use rollback_docker::{ContainerDefinition, Engine, Image, Registries};

use crate::{
    cli::{DeployArgs, FirstArgs, GuardedArgs, RollbackArgs, WaitArgs},
    exit::{FINE, Fallible, Trouble},
    following::Follow,
    guarding::{Guarding, Platform},
    lines::{data, progress},
    settings::{Place, Settings},
    signals::Signals,
};

/// What holds if the program is told to end while it gets ready.
const NOTHING_BEGUN: &str = "nothing was begun, and nothing is changed";

/// So long the first release may take to serve.
const FIRST_WITHIN: Duration = Duration::from_secs(120);

pub(crate) async fn deploy(place: &Place, args: &DeployArgs, json: bool) -> Fallible<u8> {
    let settings = Settings::said(place, &args.service, &args.guarded)?;
    let logins = Registries::of_docker().map_err(Trouble::asked)?;
    let (engine, service) = (Engine::from_env()?.registries(logins), &args.service);
    let platform = Platform::of(&engine, place, service, &settings)?;
    let mut signals = Signals::heard()?;
    let next = next(
        &engine,
        &platform,
        service,
        &args.image,
        settings.port,
        &args.first,
    );
    let release = signals.unless(NOTHING_BEGUN, next).await?;
    if platform.containers().running(service).await?.is_empty() {
        nothing_to_take_over(&args.guarded)?;
        let first = first(&platform, place, service, &settings, &release, args.timeout);
        let left = format!(
            "what was started of {service} goes on; `docker_guard status {service}` shows it, and \
             the next deployment takes it over"
        );
        return signals.unless(&left, first).await;
    }
    let begin = Guarding::of(engine, platform, place, service, &settings);
    let guarding = signals.unless(NOTHING_BEGUN, begin).await?;
    settings.keep(place, service)?;
    let mut options = DeployOptions::by(actor(), &args.reason);
    if args.again {
        options = options.override_rejection();
    }
    let follow = Follow::of(&guarding, json);
    let deployment = guarding.controller.deploy_with(release, options).await?;
    follow
        .until_its_end(guarding, &deployment, args.timeout, &mut signals, false)
        .await
}

/// Whoever names what is to be taken over does not mean to start something beside it.
fn nothing_to_take_over(args: &GuardedArgs) -> Fallible<()> {
    let (what, name) = match (&args.container, &args.compose) {
        (Some(name), _) => ("--container", name),
        (None, Some(name)) => ("--compose", name),
        (None, None) => return Ok(()),
    };
    Err(Trouble::asked(format!(
        "{what} {name}: no such container runs, so there is nothing to take over; start it, or \
         leave {what} out to start the service's first containers"
    )))
}

/// The first release of a service: there is none to return to, so it is started without a guard.
async fn first(
    platform: &Platform,
    place: &Place,
    service: &ServiceId,
    settings: &Settings,
    release: &Release,
    timeout: Option<Duration>,
) -> Fallible<u8> {
    settings.keep(place, service)?;
    let journal = place.journal()?;
    journal
        .put(service, release)
        .await
        .map_err(Trouble::broke)?;
    progress(format_args!(
        "nothing runs of {service}: its first release has none to return to, and is started without a guard"
    ));
    let within = timeout.unwrap_or(FIRST_WITHIN);
    let started = start_first_release(&*platform.whole(), service, release, within).await;
    if let Err(why) = started {
        // Nothing ran before, so nothing is to run after.
        let removed = match platform.containers().stop_service(service).await {
            Ok(()) => "what was started is removed".to_owned(),
            Err(error) => format!("what was started could not be removed: {error}"),
        };
        return Err(Trouble::broke(format!(
            "{why}\n{removed}; mend it, and deploy again"
        )));
    }
    data(format_args!("{} serves", release.name));
    Ok(FINE)
}

pub(crate) async fn resume(place: &Place, args: &WaitArgs, json: bool) -> Fallible<u8> {
    let settings = Settings::known(place, &args.service)?;
    let mut signals = Signals::heard()?;
    let begin = Guarding::begin(place, &args.service, &settings);
    let guarding = signals.unless(NOTHING_BEGUN, begin).await?;
    let follow = Follow::of(&guarding, json);
    let status = guarding.controller.status().await?;
    let open = status.active.map(|active| active.deployment);
    // It may have ended while we were taking the journal over.
    let last = status
        .outcomes
        .last()
        .map(|(deployment, _)| deployment.clone());
    let Some(deployment) = open.or(last) else {
        return Err(Trouble::asked(format!(
            "nothing was ever deployed to {}",
            args.service
        )));
    };
    let deployment = guarding.controller.attach(deployment);
    follow
        .until_its_end(guarding, &deployment, args.timeout, &mut signals, false)
        .await
}

pub(crate) async fn roll_back(place: &Place, args: &RollbackArgs, json: bool) -> Fallible<u8> {
    let settings = Settings::known(place, &args.service)?;
    let mut signals = Signals::heard()?;
    let begin = Guarding::begin(place, &args.service, &settings);
    let guarding = signals.unless(NOTHING_BEGUN, begin).await?;
    let follow = Follow::of(&guarding, json);
    let back = guarding
        .controller
        .roll_back(actor(), &args.reason, args.to.clone());
    let deployment = back.await?;
    follow
        .until_its_end(guarding, &deployment, args.timeout, &mut signals, true)
        .await
}

fn actor() -> Actor {
    let user = std::env::var("USER").unwrap_or_default();
    Actor::new(if user.is_empty() {
        "docker_guard"
    } else {
        user.as_str()
    })
}

/// The release of an image: like the one that serves now in all but the image; the first one as the
/// arguments say.
pub(crate) async fn next(
    engine: &Engine,
    platform: &Platform,
    service: &ServiceId,
    image: &str,
    port: Option<u16>,
    first: &FirstArgs,
) -> Fallible<Release> {
    // As `docker run` does: what is not here is fetched.
    let found = match engine.image(image).await {
        Err(error) if error.is_not_found() => {
            progress(format_args!("{image} is not on the engine: fetching it"));
            engine.fetch(image).await.map_err(|error| {
                Trouble::asked(format!(
                    "the engine has no image `{image}`, and it cannot be fetched: {error}"
                ))
            })?
        }
        found => found?,
    };
    let serving = platform.containers().running(service).await?;
    let seen = platform.whole().observe(service).await?;
    let main = seen.wanted.main();
    let like = serving
        .iter()
        .find(|release| Some(&release.id) == main)
        .or_else(|| serving.first());
    let mut definition = match like {
        Some(release) => ContainerDefinition::from_release(release)
            .map_err(Trouble::broke)?
            .with(&found, image),
        None => described(&found, image, first)?,
    };
    for variable in &first.variables {
        let (name, value) = named(variable)?;
        definition = definition.env(name, value);
    }
    if like.is_some() && (first.publish.is_some() || first.network.is_some()) {
        return Err(Trouble::asked(
            "--publish and --network are for a service's first containers; the next ones are \
             reached as those that serve now",
        ));
    }
    if let Some(port) = port {
        definition = definition.port(port);
    }
    if let (Some(count), Some(_)) = (first.replicas, like) {
        definition = definition.replicas(count);
    }
    definition.release(image).map_err(Trouble::asked)
}

fn described(found: &Image, image: &str, first: &FirstArgs) -> Fallible<ContainerDefinition> {
    let mut definition = ContainerDefinition::new(found.id.as_str())
        .with(found, image)
        .replicas(first.replicas.unwrap_or(1))
        .restart("unless-stopped");
    if let Some(publish) = &first.publish {
        let ports = publish.split_once(':');
        let ports = ports.and_then(|(host, own)| Some((host.parse().ok()?, own.parse().ok()?)));
        let (host, own) = ports
            .ok_or_else(|| Trouble::asked(format!("--publish {publish}: write HOST:CONTAINER")))?;
        definition = definition.publish(host, own);
    }
    if let Some(network) = &first.network {
        definition = definition.network(network, Vec::<String>::new());
    }
    Ok(definition)
}

/// `NAME=VALUE`, or `NAME` for the value that it has here: a secret is then in no list of
/// processes. No error shows a value.
fn named(variable: &str) -> Fallible<(&str, String)> {
    let (name, value) = match variable.split_once('=') {
        Some((name, value)) => (name, Ok(value.to_owned())),
        None => (variable, std::env::var(variable)),
    };
    if name.is_empty() {
        return Err(Trouble::asked(
            "--env: a variable without a name; write NAME=VALUE",
        ));
    }
    match value {
        Ok(value) => Ok((name, value)),
        Err(_) => Err(Trouble::asked(format!(
            "--env {name}: it is not set here; write {name}=VALUE, or set it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_has_its_value_from_here_or_there_and_no_error_shows_it() {
        assert_eq!(named("A=b=c").unwrap(), ("A", "b=c".to_owned()));
        assert_eq!(named("A=").unwrap(), ("A", String::new()));
        // Set by cargo.
        let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        assert_eq!(
            named("CARGO_MANIFEST_DIR").unwrap(),
            ("CARGO_MANIFEST_DIR", here)
        );
        for (variable, word) in [("=hunter2", "without a name"), ("GUARD_NOT_SET", "not set")] {
            let told = named(variable).unwrap_err().to_string();
            assert!(told.contains(word) && !told.contains("hunter2"), "{told}");
        }
    }
}
