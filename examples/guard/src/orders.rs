//! What a person asks of a running controller.

use std::io::{BufRead, IsTerminal, Write};

use rollback::entry::Command;

use crate::{
    archive::Archive,
    cli::{At, Found, OrderArgs, ResolveArgs, RollbackArgs},
    client,
    exit::{FINE, Fallible, Trouble},
    follow::{self, Patience},
    host,
    place::Place,
    run,
    settings::Settings,
    wire::{Answer, Ask},
};

/// Tells the controller, and says that it heard.
pub(crate) async fn order(args: &OrderArgs, order: Command, done: &str) -> Fallible<u8> {
    let place = args.at.known()?;
    let ask = Ask::Order {
        order,
        reason: args.reason.clone(),
    };
    match client::answer(&place, ask).await? {
        Answer::Accepted { .. } => {
            println!("{done}");
            Ok(FINE)
        }
        other => Err(client::unexpected(&other)),
    }
}

/// A standing order for the service: a controller is started for it if none runs.
pub(crate) async fn standing(args: &OrderArgs, order: Command, done: &str) -> Fallible<u8> {
    host::ensure_any(&args.at.known()?).await?;
    self::order(args, order, done).await
}

/// What a person found who looked where a script did not know.
pub(crate) async fn resolve(args: &ResolveArgs) -> Fallible<u8> {
    let place = args.at.known()?;
    let deployer = Settings::load(&place)?.deployer(&place)?;
    let made = args.found == Found::Made;
    let resolved = deployer.resolve(&place.service, made).await;
    resolved.map_err(Trouble::broke)?;
    println!("noted; the deployment goes on from what is so");
    Ok(FINE)
}

/// Ends the controller that runs.
pub(crate) async fn stop(at: &At) -> Fallible<u8> {
    let place = at.known()?;
    if client::hello(&place).await?.is_none() {
        println!("no controller runs");
        return Ok(FINE);
    }
    host::end(&place).await?;
    println!("the controller has ended");
    Ok(FINE)
}

/// Returns to a proven release.
pub(crate) async fn roll_back(args: &RollbackArgs) -> Fallible<u8> {
    let place = args.at.known()?;
    let picture = match client::picture(&place).await? {
        Some(picture) => picture,
        None => Archive::open(&place)?.picture().await?,
    };
    let to = match &args.to {
        None => None,
        Some(text) => Some(picture.find(text).ok_or_else(|| {
            Trouble::refused(format!(
                "no release of {} is called `{text}`; proven are: {}",
                place.service,
                picture.proven().join(", ")
            ))
        })?),
    };
    let leaves = match &picture.active {
        Some(active) => active.name.to_string(),
        None => picture.stable.as_ref().map_or_else(
            || "what runs".to_owned(),
            |stable| picture.name(stable).to_owned(),
        ),
    };
    let target = args
        .to
        .clone()
        .unwrap_or_else(|| "the newest other proven release".to_owned());
    confirm(
        args.yes,
        &format!("{} leaves {leaves} and returns to {target}", place.service),
    )?;
    host::ensure_any(&place).await?;
    let events = follow::listen(&place).await?;
    let ask = Ask::Order {
        order: Command::RollBack { to },
        reason: args.reason.clone(),
    };
    let deployment = match client::answer(&place, ask).await? {
        Answer::Accepted {
            deployment: Some(deployment),
        } => deployment,
        other => return Err(client::unexpected(&other)),
    };
    if args.no_wait {
        println!("{deployment}");
        return Ok(FINE);
    }
    let patience = Patience {
        timeout: args.waiting.timeout,
        until_ended: args.waiting.until_ended,
        json: args.waiting.json,
        way_back: true,
    };
    let rest = follow::wait(&place, &deployment, events, patience).await?;
    run::say(&rest, args.waiting.json);
    Ok(rest.code)
}

/// Document 002's question, answered by `--yes` and by ROLLBACK_CONFIRM=yes.
fn confirm(yes: bool, what: &str) -> Fallible<()> {
    let said = |text: &str| matches!(text.trim(), "yes" | "YES" | "Yes" | "y" | "true" | "1");
    if yes || std::env::var("ROLLBACK_CONFIRM").is_ok_and(|answer| said(&answer)) {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Trouble::asked(format!(
            "{what}: nobody is there to confirm it; give --yes, or set ROLLBACK_CONFIRM=yes"
        )));
    }
    eprintln!("{what}.");
    eprint!("Are you sure you want to proceed with rollback? (yes/no): ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(Trouble::broke)?;
    if said(&answer) {
        Ok(())
    } else {
        Err(Trouble::refused("not confirmed: nothing was changed"))
    }
}

/// How the service stands: a running controller's word, or the journal's.
pub(crate) async fn picture(place: &Place) -> Fallible<crate::picture::Picture> {
    match client::picture(place).await? {
        Some(picture) => Ok(picture),
        None => Archive::open(place)?.picture().await,
    }
}
