//! Whether everything is in order, each with what to do if it is not.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use rollback::{model::Timestamp, model::duration_text, ports::Deployer, store::SqliteJournal};

use crate::{
    archive::Archive,
    cli::DoctorArgs,
    client,
    exit::{BROKE, FINE, Fallible},
    place::{Place, private_folder},
    preflight::{Finding, source_answers},
    settings::Settings,
};

/// A disk that takes longer for one small write slows every decision down.
const SLOW_DISK: Duration = Duration::from_millis(100);

/// So many writes are measured.
const WRITES: usize = 5;

pub(crate) async fn look(args: &DoctorArgs) -> Fallible<u8> {
    let (place, settings) = if args.guarded.is_given() {
        let (place, settings) = args.guarded.settings(&args.at, false)?;
        (place, Some(settings))
    } else {
        let place = args.at.known()?;
        let settings = Settings::load(&place).ok();
        (place, settings)
    };
    let mut fits = true;
    let mut say = |what: &str, finding: Finding| {
        let (word, text) = match finding {
            Finding::Ok(text) => ("ok  ", text),
            Finding::Warning(text) => ("warn", text),
            Finding::Failed(text) => {
                fits = false;
                ("FAIL", text)
            }
        };
        println!("{word}  {what:<11} {text}");
    };
    say("disk", disk(&place));
    say("journal", journal(&place));
    say("clock", clock(&place).await);
    match &settings {
        None => say(
            "sources",
            Finding::Warning(
                "nothing was deployed yet: give --policy or --health-url to have its sources asked"
                    .to_owned(),
            ),
        ),
        Some(settings) => {
            for metric in &settings.policy.metrics {
                say("sources", source_answers(&place, settings, metric).await?);
            }
        }
    }
    if let Some(settings) = &settings {
        say("scripts", scripts(&place, settings).await);
    }
    say("controller", controller(&place).await);
    Ok(if fits { FINE } else { BROKE })
}

/// Whether the journal's folder can be written, and how soon a write is on disk.
fn disk(place: &Place) -> Finding {
    let folder = place.journal.parent().unwrap_or_else(|| Path::new("."));
    if let Err(trouble) = private_folder(folder) {
        return Finding::Failed(trouble.to_string());
    }
    let probe = folder.join(format!(".guard-doctor-{}", std::process::id()));
    let measured = write_through(&probe);
    // It is ours alone.
    let _ = std::fs::remove_file(&probe);
    match measured {
        Err(why) => Finding::Failed(format!(
            "{}: {why}; make room there, or name another place with --journal",
            folder.display()
        )),
        Ok(took) if took > SLOW_DISK => Finding::Warning(format!(
            "{}: a write takes {} to be on disk; every decision waits for that, so choose a faster disk",
            folder.display(),
            in_millis(took)
        )),
        Ok(took) => Finding::Ok(format!(
            "{}: a write is on disk after {}",
            folder.display(),
            in_millis(took)
        )),
    }
}

/// The median of a few small writes.
fn write_through(path: &Path) -> std::io::Result<Duration> {
    let mut file = File::create(path)?;
    let mut took = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&[0; 512])?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took.get(WRITES / 2).copied().unwrap_or_default())
}

fn in_millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

fn journal(place: &Place) -> Finding {
    let path = place.journal.display();
    if !place.journal.is_file() {
        return Finding::Ok(format!(
            "{path}: not there yet; the first `guard run` makes it"
        ));
    }
    match SqliteJournal::open(&place.journal) {
        Ok(_) => Finding::Ok(format!(
            "{path}: can be opened; `guard journal verify` reads all of it"
        )),
        Err(why) => Finding::Failed(why.to_string()),
    }
}

/// Whether our clock is behind the journal's.
async fn clock(place: &Place) -> Finding {
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    if !place.journal.is_file() {
        return Finding::Ok(format!("{now}"));
    }
    let mut last = Timestamp::default();
    let read = match Archive::open(place) {
        Ok(archive) => archive.each(|entry| last = entry.at).await,
        Err(trouble) => Err(trouble),
    };
    match read {
        Err(trouble) => Finding::Warning(format!("{now}; the journal's cannot be read: {trouble}")),
        Ok(()) if last > now => Finding::Failed(format!(
            "{now}, and the journal's last entry is {} later: set this machine's clock",
            duration_text(last.since(now))
        )),
        Ok(()) => Finding::Ok(format!("{now}, after the journal's last entry")),
    }
}

async fn scripts(place: &Place, settings: &Settings) -> Finding {
    let seen = match settings.deployer(place) {
        Ok(scripts) => scripts.observe(&place.service).await,
        Err(trouble) => return Finding::Failed(trouble.to_string()),
    };
    match seen {
        Ok(seen) if seen.wanted.is_empty() => Finding::Ok("none has run yet".to_owned()),
        Ok(seen) => Finding::Ok(format!("the last one left {}", seen.wanted)),
        Err(why) => Finding::Failed(why.to_string()),
    }
}

async fn controller(place: &Place) -> Finding {
    match client::hello(place).await {
        Err(trouble) => Finding::Failed(trouble.to_string()),
        Ok(None) => Finding::Ok("none runs now; commands start one when they need it".to_owned()),
        Ok(Some(hello)) if hello.guard != env!("CARGO_PKG_VERSION") => Finding::Warning(format!(
            "process {} runs version {}, this is {}: `guard stop` it when nothing is under way",
            hello.pid,
            hello.guard,
            env!("CARGO_PKG_VERSION")
        )),
        Ok(Some(hello)) => Finding::Ok(format!("process {} answers {}", hello.pid, hello.you)),
    }
}
