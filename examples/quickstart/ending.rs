//! What is printed at the end: the table, the same in words, and why it was decided.

use std::fmt::{self, Write};

use rollback::Account;
use serde::Serialize;

use crate::figures::Figures;

/// So many of the candidate's last lines are printed; the account in the journal has more.
const LAST_LINES: usize = 6;

/// How the story ended.
#[derive(Debug, Serialize)]
pub(crate) struct Ending {
    /// Whether as this scenario should.
    pub(crate) as_it_should: bool,
    /// The same, with the reason if not.
    pub(crate) text: String,
    /// The figures.
    pub(crate) figures: Figures,
    /// The figures in words.
    pub(crate) words: String,
    /// The library's account of version 2.
    pub(crate) account: Account,
}

impl Ending {
    /// Puts it together.
    pub(crate) fn new(figures: Figures, account: Account, judged: Result<(), String>) -> Self {
        Self {
            as_it_should: judged.is_ok(),
            text: match judged {
                Ok(()) => "The story ended as it should.".to_owned(),
                Err(why) => format!("The story did not end as it should: {why}."),
            },
            words: in_words(&figures),
            figures,
            account,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}\n{}\n", table(&self.figures), self.words)?;
        let failed = self
            .account
            .evidence
            .iter()
            .find(|evidence| evidence.verdict == "fail");
        if let Some(evidence) = failed.filter(|_| self.figures.decided_by.is_some()) {
            writeln!(f, "{evidence}")?;
        }
        let lines = &self.account.last_words;
        let shown = lines
            .get(lines.len().saturating_sub(LAST_LINES)..)
            .unwrap_or_default();
        if !shown.is_empty() {
            writeln!(f, "The last lines of {}:", self.account.candidate)?;
            for line in shown {
                writeln!(f, "  | {line}")?;
            }
            writeln!(f)?;
        }
        f.write_str(&self.text)
    }
}

/// The table.
fn table(figures: &Figures) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("version 2", figures.outcome.replace('_', " "));
    if let Some((by, noticed)) = figures.decided_by.as_ref().zip(figures.noticed_after_ms) {
        let from = if figures.users_saw_it_first {
            "from the first bad answer to the decision"
        } else {
            "from the start of the deployment to the decision; no user had met it"
        };
        row("decided by", by.clone());
        row("noticed after", format!("{}, {from}", time(noticed)));
        row(
            "restored after",
            match figures.restored_after_ms {
                Some(after) => format!("{}, from the first bad answer to the last", time(after)),
                None => "0 ms; no user had left version 1".to_owned(),
            },
        );
        if let Some(verified) = figures.verified_after_ms {
            row("verified after", time(verified));
        }
    }
    for why in &figures.waited_for {
        row("it waited", why.clone());
    }
    let after_decision = match (&figures.decided_by, figures.failed_after_decision) {
        (None, _) => String::new(),
        (Some(_), 0) => "; none after the decision".to_owned(),
        (Some(_), count) => {
            let last = time(figures.last_failure_after_decision_ms);
            format!("; {count} after the decision, the last {last} after it")
        }
    };
    row(
        "requests failed",
        format!(
            "{} of {} ({:.2} %){after_decision}",
            figures.failed,
            figures.requests,
            percent(figures.failed, figures.requests),
        ),
    );
    for (release, served) in &figures.by_release {
        let name = if *release == "nobody" {
            "without answer".to_owned()
        } else {
            format!("users of {release}")
        };
        row(
            &format!("  {name}"),
            format!(
                "{} of {} failed; 95 % waited {} or less",
                served.failed,
                served.requests,
                time(i64::try_from(served.p95_ms).unwrap_or(i64::MAX)),
            ),
        );
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut table, (name, value)| {
        let _ = writeln!(table, "  {name:<width$}  {value}");
        table
    })
}

/// The same in a few sentences, for a person who was not there.
fn in_words(figures: &Figures) -> String {
    let failed = match figures.failed {
        0 => "No request failed.".to_owned(),
        failed => {
            let theirs: Vec<_> = figures
                .by_release
                .iter()
                .filter(|(_, served)| served.failed > 0)
                .map(|(release, served)| format!("{} of {release}", served.failed))
                .collect();
            format!(
                "{failed} of {} requests failed: {}.",
                figures.requests,
                theirs.join(", ")
            )
        }
    };
    let noticed = figures.decided_by.as_ref().zip(figures.noticed_after_ms);
    let Some((by, noticed)) = noticed else {
        return match figures.outcome {
            "held" => format!("It waits for a person; the controller keeps watching. {failed}"),
            _ if !figures.waited_for.is_empty() => {
                format!(
                    "Nothing was rolled back, and nothing promoted before somebody had looked. {failed}"
                )
            }
            _ => format!("Nothing called for a rollback. {failed}"),
        };
    };
    let noticed = time(noticed);
    let noticed = if figures.users_saw_it_first {
        format!(
            "{noticed} after the first user had a bad answer from version 2, `{by}` was sure enough to decide."
        )
    } else {
        format!(
            "{noticed} after the deployment began, `{by}` decided; no user had met version 2's fault."
        )
    };
    let restored = match figures.last_failure_after_decision_ms {
        0 => "No request failed after that.".to_owned(),
        last => format!("The last request that failed did so {} later.", time(last)),
    };
    let verified = match figures.verified_after_ms {
        Some(after) => format!("Version 1 was verified after {}.", time(after)),
        None => "Version 1 was not verified.".to_owned(),
    };
    format!("{noticed} {restored} {verified} {failed}")
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

/// A time for people.
pub(crate) fn time(millis: i64) -> String {
    if millis < 1000 {
        format!("{millis} ms")
    } else {
        format!("{:.1} s", millis as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Served;
    use std::collections::BTreeMap;

    fn figures() -> Figures {
        Figures {
            outcome: "rolled_back",
            decided_by: Some("errors_against_stable".to_owned()),
            held_by: None,
            held_after_ms: None,
            waited_for: Vec::new(),
            noticed_after_ms: Some(3140),
            users_saw_it_first: true,
            restored_after_ms: Some(3650),
            verified_after_ms: Some(7340),
            requests: 4000,
            failed: 98,
            failed_after_decision: 2,
            last_failure_after_decision_ms: 510,
            by_release: BTreeMap::from([
                (
                    "v1".to_owned(),
                    Served {
                        requests: 3700,
                        failed: 0,
                        p95_ms: 11,
                    },
                ),
                (
                    "v2".to_owned(),
                    Served {
                        requests: 300,
                        failed: 98,
                        p95_ms: 12,
                    },
                ),
            ]),
        }
    }

    #[test]
    fn the_table_of_a_rollback() {
        let expected = "\
\x20 version 2        rolled back
\x20 decided by       errors_against_stable
\x20 noticed after    3.1 s, from the first bad answer to the decision
\x20 restored after   3.6 s, from the first bad answer to the last
\x20 verified after   7.3 s
\x20 requests failed  98 of 4000 (2.45 %); 2 after the decision, the last 510 ms after it
\x20   users of v1    0 of 3700 failed; 95 % waited 11 ms or less
\x20   users of v2    98 of 300 failed; 95 % waited 12 ms or less
";
        assert_eq!(table(&figures()), expected);
    }

    #[test]
    fn the_table_of_a_promotion_speaks_of_no_rollback() {
        let figures = Figures {
            outcome: "promoted",
            decided_by: None,
            noticed_after_ms: None,
            restored_after_ms: None,
            verified_after_ms: None,
            ..figures()
        };
        let table = table(&figures);
        for word in ["noticed", "restored", "decision", "decided", "verified"] {
            assert!(!table.contains(word), "{table}");
        }
        assert!(
            table.starts_with("  version 2        promoted\n"),
            "{table}"
        );
    }

    #[test]
    fn in_words_says_who_noticed_what_was_lost_and_who_lost_it() {
        assert_eq!(
            in_words(&figures()),
            "3.1 s after the first user had a bad answer from version 2, `errors_against_stable` was sure enough to \
             decide. The last request that failed did so 510 ms later. Version 1 was verified after 7.3 s. 98 of \
             4000 requests failed: 98 of v2."
        );
        let held = Figures {
            outcome: "held",
            decided_by: None,
            ..figures()
        };
        assert!(in_words(&held).starts_with("It waits for a person"));
        let waited = Figures {
            outcome: "promoted",
            decided_by: None,
            waited_for: vec!["the stable release is as bad".to_owned()],
            ..figures()
        };
        assert!(in_words(&waited).starts_with("Nothing was rolled back, and nothing promoted"));
        let row = "  it waited        the stable release is as bad\n";
        assert!(table(&waited).contains(row), "{}", table(&waited));
        let unseen = Figures {
            users_saw_it_first: false,
            failed: 0,
            last_failure_after_decision_ms: 0,
            ..figures()
        };
        let words = in_words(&unseen);
        assert!(
            words.contains("no user had met") && words.ends_with("No request failed."),
            "{words}"
        );
    }

    #[test]
    fn the_end_has_the_numbers_that_decided_and_the_last_lines() {
        let journal = crate::sample::journal();
        let service = "shop".parse().unwrap();
        let account = Account::from_entries(&service, &"d1".parse().unwrap(), &journal).unwrap();
        let ending = Ending::new(figures(), account, Err("v3 was not promoted".into()));
        let text = ending.to_string();
        for part in [
            "  decided by       errors_against_stable\n",
            "98 of 4000 requests failed: 98 of v2.\n",
            "Trigger errors: fail\n",
            "30 % of aaaa's answers are bad",
            "The last lines of v2:\n  | ERROR 3\n",
            "  | ERROR 8\n",
            "The story did not end as it should: v3 was not promoted.",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(!text.contains("ERROR 2"), "{text}");
        let json = serde_json::to_value(&ending).unwrap();
        assert_eq!(json["figures"]["noticed_after_ms"], 3140);
        assert_eq!(json["account"]["last_words"][0], "ERROR 0");
    }
}
