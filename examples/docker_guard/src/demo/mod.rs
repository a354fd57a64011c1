//! A bad deployment's story on any running engine, with images of its own, in three chapters. Ends
//! with 0 only if each chapter ended as it should and nothing is left of them.
//!
//! Rooms: `stage` (images, the first container, an HAProxy), `users` (who ask all the time), and
//! `sweep` (what was there before, and what is left).

mod stage;
mod sweep;
mod users;

use std::time::Duration;

use rollback::model::{Outcome, Settled, duration_text};
use rollback_docker::Engine;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    cli::FirstArgs,
    deploying::next,
    exit::{FINE, Fallible, Trouble},
    following::Follow,
    guarding::Guarding,
    lines::data,
    signals::Signals,
};
use stage::Stage;
use sweep::Inventory;
use users::{Seen, Users};

/// One deployment and how it should end.
struct Chapter {
    title: &'static str,
    version: &'static str,
    promoted: bool,
}

const CHAPTERS: [Chapter; 3] = [
    Chapter {
        title: "A good release",
        version: "v2",
        promoted: true,
    },
    Chapter {
        title: "A release that answers three of ten requests with 500, and whose health check passes",
        version: "v3",
        promoted: false,
    },
    Chapter {
        title: "A release that cannot start",
        version: "v4",
        promoted: false,
    },
];

/// Longer than the longest chapter can take by its policy.
const PATIENCE: Duration = Duration::from_secs(150);

pub(crate) async fn tell(json: bool) -> Fallible<u8> {
    let engine = Engine::from_env()?;
    let before = Inventory::of(&engine).await?;
    let mut signals = Signals::heard()?;
    let stage = Stage::set(&engine).await;
    let told = match &stage {
        Ok(stage) => tokio::select! {
            told = chapters(stage, json) => told,
            why = signals.next() => Err(Trouble::interrupted(format!("{why}; what the story made is removed"))),
        },
        Err(_) => Ok(()),
    };
    let name = match stage {
        Ok(stage) => stage.strike().await?,
        Err(trouble) => return Err(trouble),
    };
    let left = Inventory::of(&engine).await?.made_since(&before, &name);
    told?;
    if !left.is_empty() {
        return Err(Trouble::broke(format!(
            "the story left something behind: {}",
            left.join(", ")
        )));
    }
    say(json, "Nothing of the story is left on the engine.", "swept");
    Ok(FINE)
}

fn say(json: bool, text: &str, event: &str) {
    if json {
        data(json!({ "event": event, "text": text }));
    } else {
        data(text);
    }
}

async fn chapters(stage: &Stage, json: bool) -> Fallible<()> {
    say(json, &stage.about(), "stage");
    let guarding = Guarding::begin(&stage.place, &stage.service, &stage.settings).await?;
    stage.let_users_in(&guarding).await?;
    let users = Users::come(stage.front);
    // The first users are seen to be served before anything changes.
    users.until(40).await?;
    for (number, chapter) in (1..).zip(CHAPTERS) {
        say(json, &format!("\n{number}. {}", chapter.title), "chapter");
        play(stage, &guarding, &users, &chapter, json).await?;
    }
    users.leave().await;
    guarding.controller.shutdown().await;
    Ok(())
}

async fn play(
    stage: &Stage,
    guarding: &Guarding,
    users: &Users,
    chapter: &Chapter,
    json: bool,
) -> Fallible<()> {
    let earlier = users.seen();
    let began = Instant::now();
    let first = FirstArgs {
        replicas: None,
        variables: Vec::new(),
        publish: None,
        network: None,
    };
    let image = stage.image(chapter.version);
    let (engine, platform) = (&guarding.engine, &guarding.platform);
    let release = next(engine, platform, &stage.service, &image, None, &first).await?;
    let mut follow = Follow::of(guarding, json);
    let deployment = guarding.controller.deploy(release).await?;
    let settled = follow.settled(&deployment, Some(PATIENCE)).await?;
    let took = began.elapsed();
    let account = deployment.explain().await.map_err(Trouble::broke)?;
    let seen = users.seen().since(&earlier);
    let right = match &settled {
        Some(Settled::Ended(Outcome::Promoted { .. })) => chapter.promoted,
        Some(Settled::Ended(Outcome::RolledBack { .. })) => !chapter.promoted,
        _ => false,
    };
    let text = format!(
        "   {}\n   after {}; {}",
        account.verdict,
        duration_text(Duration::from_millis(
            u64::try_from(took.as_millis()).unwrap_or(0) / 100 * 100
        )),
        seen.text()
    );
    say(json, &text, "chapter_ended");
    if !right {
        return Err(Trouble::broke(format!(
            "chapter {} should have ended otherwise: {account}",
            chapter.version
        )));
    }
    afterwards(stage, users, chapter, &seen).await
}

/// What must be true when a chapter has ended as it should.
async fn afterwards(stage: &Stage, users: &Users, chapter: &Chapter, seen: &Seen) -> Fallible<()> {
    let serving = if chapter.promoted {
        chapter.version
    } else {
        "v2"
    };
    let earlier = users.seen();
    users.until(20).await?;
    let now = users.seen().since(&earlier);
    if now.failed() > 0 || now.answered_by(serving) == 0 || now.versions() > 1 {
        return Err(Trouble::broke(format!(
            "{serving} should serve now, and: {}",
            now.text()
        )));
    }
    // Without weights the old release is stopped first: that is what they are for.
    if stage.haproxy.is_some() && seen.failed_elsewhere(chapter.version) > 0 {
        return Err(Trouble::broke(format!(
            "only {} may fail requests, and: {}",
            chapter.version,
            seen.text()
        )));
    }
    Ok(())
}
