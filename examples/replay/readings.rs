//! Files of readings, each one a deployment, several at the same time.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use rollback_core::{
    backtest::{Circumstances, Course, Recording},
    policy::Policy,
};

use crate::{
    files,
    line::{Decision, Failed, Line, Second},
    report::Report,
};

/// What came of one file: one course for each policy.
type Played = Result<Vec<Course>, String>;

/// Replays the files and hands their lines over in the files' order.
pub(crate) fn replay(
    files: &[PathBuf],
    policies: &[Policy],
    around: &Circumstances,
    threads: Option<NonZeroUsize>,
    report: &mut Report<'_>,
) {
    let threads = threads.or_else(|| thread::available_parallelism().ok());
    let next = AtomicUsize::new(0);
    let (done, played) = mpsc::channel::<(usize, Played)>();
    thread::scope(|scope| {
        for _ in 0..threads.map_or(1, NonZeroUsize::get).min(files.len()) {
            let done = done.clone();
            let next = &next;
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(at) else { return };
                    if done.send((at, play(file, policies, around))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        in_order(played, |at, played| {
            let file = files
                .get(at)
                .map_or_else(String::new, |file| file.display().to_string());
            tell(&file, played, report);
        });
    });
}

fn play(file: &Path, policies: &[Policy], around: &Circumstances) -> Played {
    let recording = Recording::from_csv(&files::text(file)?).map_err(|why| why.to_string())?;
    let courses = policies.iter().map(|policy| recording.play(policy, around));
    courses
        .collect::<Result<_, _>>()
        .map_err(|why| why.to_string())
}

/// Whatever is done first waits for those before it.
fn in_order<T>(done: mpsc::Receiver<(usize, T)>, mut take: impl FnMut(usize, T)) {
    let mut waiting = std::collections::BTreeMap::new();
    let mut next = 0;
    for (at, result) in done {
        waiting.insert(at, result);
        while let Some(result) = waiting.remove(&next) {
            take(next, result);
            next += 1;
        }
    }
}

fn tell(file: &str, played: Played, report: &mut Report<'_>) {
    let courses = match played {
        Ok(courses) => courses,
        Err(error) => {
            report.failed(&Failed {
                file,
                outcome: "error",
                error: &error,
            });
            return;
        }
    };
    report.explain_courses(file, &courses);
    let decisions: Vec<Decision> = courses.into_iter().map(Decision::of).collect();
    let [first, rest @ ..] = &decisions[..] else {
        return;
    };
    report.line(
        &Line {
            file,
            deployment: None,
            candidate: None,
            decision: first,
            comparison: None,
            recorded: None,
            second: rest
                .first()
                .map(|second| Second::beside(first, second, None)),
        },
        rest.first(),
    );
}
