//! What was and how things stand: status, watch, why, history, stats.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use rollback::model::{Outcome, duration_text};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    archive::{Archive, Past},
    cli::{HistoryArgs, StatusArgs, WhyArgs},
    client,
    exit::{FINE, Fallible, INTERRUPTED, Trouble},
    follow, orders,
    picture::whole_seconds,
    tables,
    wire::Answer,
};

pub(crate) async fn status(args: &StatusArgs) -> Fallible<u8> {
    let place = args.at.known()?;
    let picture = orders::picture(&place).await?;
    if args.json {
        let text = serde_json::to_string_pretty(&picture).map_err(Trouble::broke)?;
        println!("{text}");
    } else {
        print!("{picture}");
    }
    Ok(FINE)
}

/// One screen that is kept up to date; one line a transition where there is no terminal.
pub(crate) async fn watch(args: &StatusArgs) -> Fallible<u8> {
    let place = args.at.known()?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Trouble::broke)?;
    if args.json || !std::io::stdout().is_terminal() {
        let mut events = follow::listen(&place).await?;
        loop {
            let event = tokio::select! {
                event = events.next() => event?,
                _ = interrupt.recv() => return Ok(INTERRUPTED),
            };
            match event {
                Some(Answer::Event(event)) if args.json => println!("{event}"),
                Some(Answer::Event(event)) => transition(&event),
                Some(Answer::Missed(count)) => eprintln!("{count} events were missed"),
                Some(other) => return Err(client::unexpected(&other)),
                None => return Err(Trouble::broke("the controller ended")),
            }
        }
    }
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = interrupt.recv() => return Ok(INTERRUPTED),
        }
        let picture = orders::picture(&place).await?;
        let mut out = std::io::stdout().lock();
        // Home, the picture with each line's rest cleared, the rest of the screen cleared.
        let text = picture.to_string().replace('\n', "\x1b[K\n");
        let end = "Ctrl-C ends this view, not the deployment";
        let _ = write!(out, "\x1b[H{text}\x1b[K\n{end}\x1b[J");
        let _ = out.flush();
    }
}

/// One line for what people would call a transition.
fn transition(event: &serde_json::Value) {
    let text = |key: &str| {
        event
            .get(key)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    };
    if matches!(
        text("event"),
        "readings"
            | "observed"
            | "step_entered"
            | "step_done"
            | "ignored"
            | "reported"
            | "change_moved"
    ) {
        return;
    }
    println!("{}  {}", text("at"), text("text"));
}

pub(crate) async fn why(args: &WhyArgs) -> Fallible<u8> {
    let place = args.at.known()?;
    let account = Archive::open(&place)?
        .account(args.deployment.as_ref())
        .await?;
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&account).map_err(Trouble::broke)?
        );
    } else {
        print!("{account}");
    }
    Ok(FINE)
}

pub(crate) async fn history(args: &HistoryArgs) -> Fallible<u8> {
    let place = args.at.known()?;
    let archive = Archive::open(&place)?;
    if let Some(table) = args.table {
        return tables::print(&archive, table, args.format, &args.environment).await;
    }
    let names = archive.picture().await?;
    let all = archive.deployments().await?;
    if !args.json {
        println!(
            "{:<16} {:<20} {:<24} {:<16} TOOK",
            "DEPLOYMENT", "OPENED", "RELEASE", "OUTCOME"
        );
    }
    for past in all.iter().rev().take(args.limit) {
        if args.json {
            let line = json!({
                "deployment": past.deployment,
                "release": past.name,
                "release_id": past.candidate,
                "actor": past.actor.name,
                "opened": past.opened.to_string(),
                "ended": past.ended.as_ref().map(|(at, _)| at.to_string()),
                "outcome": past.word(),
                "text": past.ended.as_ref().map(|(_, outcome)| names.named(&outcome.to_string())),
            });
            println!("{line}");
            continue;
        }
        let took = past.ended.as_ref().map_or_else(String::new, |(at, _)| {
            duration_text(whole_seconds(at.since(past.opened)))
        });
        let opened: String = past.opened.to_string().chars().take(19).collect();
        println!(
            "{:<16} {opened:<20} {:<24} {:<16} {took}",
            past.deployment,
            past.name,
            past.word()
        );
        if let Some((_, outcome)) = &past.ended
            && !matches!(outcome, Outcome::Promoted { .. } | Outcome::NoChange { .. })
        {
            println!("{:<16} {}", "", names.named(&outcome.to_string()));
        }
    }
    Ok(FINE)
}

impl Past {
    pub(crate) fn word(&self) -> &'static str {
        match (&self.ended, &self.hold) {
            (Some((_, outcome)), _) => outcome.word(),
            (None, Some(_)) => "held",
            (None, None) => "under_way",
        }
    }

    /// From the first exposure of the candidate to the decision.
    pub(crate) fn detected_in(&self) -> Option<Duration> {
        Some(self.decided?.since(self.exposed.unwrap_or(self.opened)))
    }

    /// From the decision until the stable release served again.
    pub(crate) fn restored_in(&self) -> Option<Duration> {
        Some(self.restored?.since(self.decided?))
    }
}

pub(crate) async fn stats(args: &StatusArgs) -> Fallible<u8> {
    let place = args.at.known()?;
    let all = Archive::open(&place)?.deployments().await?;
    let count = |word: &str| all.iter().filter(|past| past.word() == word).count();
    let (promoted, back) = (count("promoted"), count("rolled_back"));
    let failed = count("rollback_failed");
    // Deployments that reached users and had to be left again, of those that reached users.
    let reached = promoted + back + failed;
    let failure = (reached > 0).then(|| (back + failed) as f64 / reached as f64);
    let detect = median(all.iter().filter_map(Past::detected_in));
    let restore = median(all.iter().filter_map(Past::restored_in));
    let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
    let mut outcomes = serde_json::Map::new();
    for past in &all {
        let entry = outcomes.entry(past.word()).or_insert(json!(0));
        *entry = json!(entry.as_u64().unwrap_or(0) + 1);
    }
    if args.json {
        let stats = json!({
            "service": place.service,
            "deployments": all.len(),
            "outcomes": outcomes,
            "change_failure_rate": failure,
            "median_detect_seconds": seconds(detect),
            "median_restore_seconds": seconds(restore),
        });
        println!("{stats}");
        return Ok(FINE);
    }
    println!("{}", place.service);
    println!("  deployments           {}", all.len());
    for (word, count) in &outcomes {
        println!("    {word:<20}{count}");
    }
    let share = failure.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let time = |time: Option<Duration>| time.map_or_else(|| "-".to_owned(), duration_text);
    println!("  change failure rate   {share}");
    println!("  median time to detect {}", time(detect));
    println!("  median time to restore {}", time(restore));
    Ok(FINE)
}

fn median(durations: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut all: Vec<Duration> = durations.collect();
    all.sort_unstable();
    let middle = all.len() / 2;
    let upper = *all.get(middle)?;
    if all.len() % 2 == 1 {
        return Some(upper);
    }
    Some((*all.get(middle - 1)? + upper) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |list: &[u64]| median(list.iter().copied().map(Duration::from_secs));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[5, 1, 9]), Some(Duration::from_secs(5)));
        assert_eq!(of(&[4, 2]), Some(Duration::from_secs(3)));
    }
}
