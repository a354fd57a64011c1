//! What people see while the story runs: live in a terminal, plain lines elsewhere, or one JSON event a line.
//!
//! Progress goes to stderr; stdout has the results, or the events with `--json`.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};

use rollback_core::model::Release;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::chronicle::{Line, Tone};
use crate::demo::seen::{SeenOf, Summary as Seen};
use crate::ending::Ending;
use crate::series::Table;

/// Lines elsewhere than in a terminal say what users see this often.
const USERS_EVERY: u64 = 5;

/// Where the story is told.
pub(crate) struct Screen<P = std::io::Stderr, O = std::io::Stdout> {
    form: Form,
    colour: bool,
    asks: bool,
    began: Instant,
    progress: P,
    out: O,
    /// Whether the last thing written is a line that is written over.
    live: bool,
    polls: u64,
}

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One line at the bottom is kept up to date.
    Live,
    /// Lines only.
    Lines,
    /// One JSON event a line, on stdout.
    Json,
}

/// The last event of `--json`.
#[derive(Serialize)]
struct Summary<'a> {
    event: &'static str,
    #[serde(flatten)]
    ending: &'a Ending,
}

impl Screen {
    /// For the streams of this process. `NO_COLOR` set to anything takes the colours away.
    pub(crate) fn of_this_process(json: bool, auto: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let form = match (json, terminal) {
            (true, _) => Form::Json,
            (false, true) => Form::Live,
            (false, false) => Form::Lines,
        };
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        let asks = !auto && form == Form::Live && std::io::stdin().is_terminal();
        Self::new(form, !no_colour, asks, std::io::stderr(), std::io::stdout())
    }
}

// A reader that went away (`| head`) must not end a story half way through a deployment: nothing written here can fail it.
impl<P: Write, O: Write> Screen<P, O> {
    fn new(form: Form, colour: bool, asks: bool, progress: P, out: O) -> Self {
        let colour = colour && form == Form::Live;
        Self {
            form,
            colour,
            asks,
            began: Instant::now(),
            progress,
            out,
            live: false,
            polls: 0,
        }
    }

    /// One of several stories begins.
    pub(crate) fn title(&mut self, text: &str) {
        if self.form == Form::Json {
            self.json(&json!({ "event": "story", "text": text }));
        } else {
            let text = self.painted("1", text);
            let _ = writeln!(self.progress, "\n=== {text}");
        }
    }

    /// A new act begins; in a terminal, when the reader says so.
    pub(crate) async fn act(&mut self, number: u32, text: &str) {
        if self.form == Form::Json {
            self.json(&json!({ "event": "act", "number": number, "text": text }));
            return;
        }
        self.rub_out();
        let text = self.painted("1", text);
        let _ = writeln!(self.progress, "\n{number}. {text}");
        if self.asks {
            let _ = write!(self.progress, "   press Enter ");
            let _ = self.progress.flush();
            let enter = tokio::task::spawn_blocking(|| {
                let _ = std::io::stdin().lock().read_line(&mut String::new());
            });
            let _ = enter.await;
        }
    }

    /// Something happened: the library's event for programs, a line for people if it is worth one.
    pub(crate) fn happened(&mut self, event: &impl Serialize, line: Option<&Line>) {
        if self.form == Form::Json {
            self.json(event);
        } else if let Some(line) = line {
            let tone = match line.tone {
                Tone::Plain => "0",
                Tone::Good => "32",
                Tone::Bad => "31",
            };
            let text = self.painted(tone, &line.text);
            self.line(&text);
        }
    }

    /// What the ids of releases in the events mean; people are shown names only.
    pub(crate) fn names(&mut self, releases: &[Release]) {
        if self.form == Form::Json {
            let name = |release: &Release| (release.id.to_string(), json!(release.name));
            let names: serde_json::Map<_, _> = releases.iter().map(name).collect();
            self.json(&json!({ "event": "releases", "names": names }));
        }
    }

    /// A plain remark of the story's own.
    pub(crate) fn says(&mut self, text: &str) {
        if self.form == Form::Json {
            self.json(&json!({ "event": "note", "text": text }));
        } else {
            self.line(text);
        }
    }

    /// What users see now, once a second, and the step that is under way.
    pub(crate) fn users(
        &mut self,
        seen: &Seen,
        names: impl Fn(&str) -> String,
        step: Option<&str>,
    ) {
        self.polls += 1;
        let seen: BTreeMap<String, &SeenOf> = seen
            .iter()
            .map(|(release, seen)| (names(release), seen))
            .collect();
        let each = seen.iter().map(|(release, seen)| {
            let failed = if seen.failed > 0 {
                format!(", {} failed", seen.failed)
            } else {
                String::new()
            };
            format!("{release} {} ok{failed}", seen.ok)
        });
        let each = each.collect::<Vec<_>>().join(" | ");
        match self.form {
            Form::Json => {
                self.json(&json!({ "event": "users", "releases": seen }));
            }
            Form::Live => {
                let step = step
                    .map(|step| format!("  {}", names(step)))
                    .unwrap_or_default();
                let line = format!("   users: {each}{step}");
                // One line of the narrowest usual terminal: a wrapped one could not be written over.
                let line: String = line.chars().take(79).collect();
                let line = self.painted("2", &line);
                let _ = write!(self.progress, "\r\x1b[2K{line}");
                let _ = self.progress.flush();
                self.live = true;
            }
            Form::Lines if self.polls.is_multiple_of(USERS_EVERY) => {
                self.line(&format!("users: {each}"))
            }
            Form::Lines => {}
        }
    }

    /// The end: what there is to read, or one event with all of it.
    pub(crate) fn end(&mut self, ending: &Ending, names: impl Fn(&str) -> String) {
        self.rub_out();
        if self.form == Form::Json {
            self.json(&Summary {
                event: "summary",
                ending,
            });
        } else {
            let _ = writeln!(self.out, "{}", names(&ending.to_string()));
            let _ = self.out.flush();
        }
    }

    /// The end of several stories.
    pub(crate) fn table(&mut self, table: &Table) {
        if self.form == Form::Json {
            self.json(&json!({ "event": "table", "rows": table.rows }));
        } else {
            let _ = writeln!(self.out, "\n{table}");
            let _ = self.out.flush();
        }
    }

    fn line(&mut self, text: &str) {
        self.rub_out();
        let at = self.began.elapsed().as_secs_f64();
        let _ = writeln!(self.progress, "{at:6.1} s  {text}");
    }

    fn rub_out(&mut self) {
        if std::mem::take(&mut self.live) {
            let _ = write!(self.progress, "\r\x1b[2K");
        }
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.colour && code != "0" {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn json(&mut self, event: &impl Serialize) {
        if let Ok(Value::Object(mut event)) = serde_json::to_value(event) {
            // Whatever the clock of an event, the order and the pace of the lines are the story's.
            let elapsed = self.began.elapsed().as_millis();
            event.insert(
                "elapsed_ms".to_owned(),
                json!(u64::try_from(elapsed).unwrap_or(u64::MAX)),
            );
            let _ = writeln!(self.out, "{}", Value::Object(event));
            let _ = self.out.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::seen::{Experience, Seen as AllSeen};

    fn screen(form: Form) -> Screen<Vec<u8>, Vec<u8>> {
        Screen::new(form, true, false, Vec::new(), Vec::new())
    }

    fn seen(count: u64) -> Seen {
        let mut seen = AllSeen::default();
        for _ in 0..count {
            seen.add(&Experience {
                release: Some("v1".into()),
                sent_ms: 1,
                seen_ms: 2,
                failure: None,
            });
        }
        seen.summary(0)
    }

    async fn tell(screen: &mut Screen<Vec<u8>, Vec<u8>>) -> (String, String) {
        screen.act(1, "version 1 takes traffic").await;
        for count in 1..=5 {
            screen.users(&seen(count * 100), str::to_owned, Some("watch"));
        }
        let line = Line {
            text: "back to v1: errors".into(),
            tone: Tone::Bad,
        };
        let event = json!({ "event": "rollback_decided", "deployment": "d1" });
        screen.happened(&event, Some(&line));
        screen.happened(&json!({ "event": "readings" }), None);
        screen.says("done");
        let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).unwrap();
        (text(&screen.progress), text(&screen.out))
    }

    #[tokio::test]
    async fn elsewhere_than_in_a_terminal_there_are_only_plain_lines() {
        let (progress, out) = tell(&mut screen(Form::Lines)).await;
        assert!(!progress.contains(['\x1b', '\r']), "{progress:?}");
        let lines: Vec<_> = progress
            .lines()
            .map(|line| line.trim_start().to_owned())
            .collect();
        assert_eq!(lines[1], "1. version 1 takes traffic");
        assert!(lines[2].ends_with("s  users: v1 500 ok"), "{lines:?}");
        assert!(lines[3].ends_with("s  back to v1: errors"), "{lines:?}");
        assert_eq!((lines.len(), out.as_str()), (5, ""));
    }

    #[tokio::test]
    async fn in_a_terminal_one_line_is_written_over_and_rubbed_out_before_the_next() {
        let (progress, _) = tell(&mut screen(Form::Live)).await;
        assert_eq!(progress.matches("users: v1").count(), 5);
        assert!(progress.contains("watch\x1b[0m\r\x1b[2K"), "{progress:?}");
        assert!(
            progress.contains("\x1b[31mback to v1: errors\x1b[0m\n"),
            "{progress:?}"
        );
        let mut plain = Screen::new(Form::Live, false, false, Vec::new(), Vec::new());
        let (progress, _) = tell(&mut plain).await;
        assert!(progress.contains("s  back to v1: errors\n"), "{progress:?}");
    }

    #[tokio::test]
    async fn as_json_every_line_of_stdout_is_one_event_and_stderr_is_silent() {
        let (progress, out) = tell(&mut screen(Form::Json)).await;
        assert_eq!(progress, "");
        let events: Vec<Value> = out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let kinds: Vec<_> = events
            .iter()
            .map(|event| event["event"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            [
                "act",
                "users",
                "users",
                "users",
                "users",
                "users",
                "rollback_decided",
                "readings",
                "note"
            ]
        );
        assert!(events.iter().all(|event| event["elapsed_ms"].is_u64()));
        assert_eq!(events[6]["deployment"], "d1");
        assert_eq!(events[5]["releases"]["v1"]["ok"], 500);
    }
}
