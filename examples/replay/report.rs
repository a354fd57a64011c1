//! Lines for programs on stdout, everything for people on stderr.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use rollback_core::{
    backtest::{Backtested, Course},
    engine::TriggerStatus,
    model::{Explanation, Timestamp},
};

use crate::line::{Decision, Failed, Line, Second};

/// So many differing files are named one by one.
const MOST_NAMED: usize = 20;

/// What is told, and what came of it.
pub(crate) struct Report<'a> {
    out: io::BufWriter<&'a mut dyn Write>,
    explain: bool,
    failures: u32,
    broken: Option<io::Error>,
    /// How often which pair of outcomes came.
    pairs: BTreeMap<(&'static str, &'static str), u32>,
    differ: Vec<String>,
    lines: u32,
}

impl<'a> Report<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, explain: bool) -> Self {
        Self {
            out: io::BufWriter::new(out),
            explain,
            failures: 0,
            broken: None,
            pairs: BTreeMap::new(),
            differ: Vec::new(),
            lines: 0,
        }
    }

    pub(crate) fn line(&mut self, line: &Line<'_>, second: Option<&Decision>) {
        self.write(line);
        self.lines += 1;
        let Some(second) = second else { return };
        let first = line.decision;
        *self
            .pairs
            .entry((first.outcome, second.outcome))
            .or_default() += 1;
        if (first.outcome, first.decided_after_s) != (second.outcome, second.decided_after_s) {
            let what = line.deployment.unwrap_or(line.file);
            self.differ
                .push(format!("{what}: {}; {}", short(first), short(second)));
        }
    }

    pub(crate) fn failed(&mut self, failed: &Failed<'_>) {
        self.write(failed);
        self.failures += 1;
        for line in failed.error.lines() {
            eprintln!("{}: {line}", failed.file);
        }
    }

    pub(crate) fn note(&self, note: &str) {
        eprintln!("{note}");
    }

    fn write(&mut self, line: &impl serde::Serialize) {
        let written = serde_json::to_writer(&mut self.out, line)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"));
        if let Err(why) = written {
            self.broken.get_or_insert(why);
        }
    }

    pub(crate) fn explain_courses(&self, file: &str, courses: &[Course]) {
        if !self.explain {
            return;
        }
        for (number, course) in (1..).zip(courses) {
            let which = if courses.len() > 1 {
                format!(" (policy {number})")
            } else {
                String::new()
            };
            let after = course
                .decided_after()
                .map_or_else(String::new, |after| format!(" after {:?}", after));
            eprintln!("{file}{which}: {}{after}", course.end.word());
            explanation(&course.evidence);
            for (at, remark) in &course.remarks {
                eprintln!("  {} {remark}", since(*at, course.began));
            }
            rules(&course.triggers);
        }
    }

    pub(crate) fn explain_answers(&self, first: &Backtested, second: Option<&Backtested>) {
        if !self.explain {
            return;
        }
        for (number, answer) in (1..).zip([Some(first), second].into_iter().flatten()) {
            let which = if second.is_some() {
                format!(" (policy {number})")
            } else {
                String::new()
            };
            eprintln!(
                "{} of {}{which}: {}",
                answer.deployment,
                answer.name,
                answer.comparison.word()
            );
            eprintln!("  {}", answer.sentence);
            for (at, turn) in &answer.recorded.turns {
                eprintln!("  recorded {} {turn}", since(*at, answer.opened_at));
            }
            for (at, turn) in &answer.other.turns {
                eprintln!("  would    {} {turn}", since(*at, answer.opened_at));
            }
            rules(&answer.triggers);
        }
    }

    /// The table of two policies, and the exit code.
    pub(crate) fn end(mut self) -> u8 {
        if let Err(why) = self.out.flush() {
            self.broken.get_or_insert(why);
        }
        if !self.pairs.is_empty() {
            eprintln!("{:>7}  first policy    second policy", "");
            for ((first, second), count) in &self.pairs {
                eprintln!("{count:>7}  {first:<14}  {second}");
            }
            eprintln!("{} of {} differ", self.differ.len(), self.lines);
            for differs in self.differ.iter().take(MOST_NAMED) {
                eprintln!("  {differs}");
            }
            if self.differ.len() > MOST_NAMED {
                eprintln!("  and {} more", self.differ.len() - MOST_NAMED);
            }
        }
        match self.broken {
            // Whoever reads has read enough.
            Some(why) if why.kind() == io::ErrorKind::BrokenPipe => 0,
            Some(why) => {
                eprintln!("the output cannot be written: {why}");
                1
            }
            None if self.failures > 0 => 2,
            None => 0,
        }
    }
}

impl<'a> Second<'a> {
    pub(crate) fn beside(
        first: &Decision,
        second: &'a Decision,
        comparison: Option<&'a rollback_core::backtest::Comparison>,
    ) -> Self {
        let acts = |decision: &Decision| {
            let acts = matches!(decision.outcome, "rolled_back" | "held");
            decision.decided_after_s.filter(|_| acts)
        };
        Self {
            decision: second,
            comparison,
            earlier_by_s: acts(first)
                .zip(acts(second))
                .map(|(one, other)| one - other),
        }
    }
}

fn short(decision: &Decision) -> String {
    let after = decision
        .decided_after_s
        .map_or_else(String::new, |after| format!(" after {after} s"));
    let by = decision
        .trigger
        .as_ref()
        .map_or_else(String::new, |trigger| format!(" by {trigger}"));
    format!("{}{after}{by}", decision.outcome)
}

fn since(at: Timestamp, began: Timestamp) -> String {
    format!("{:>8.1}s", at.since(began).as_secs_f64())
}

fn explanation(why: &Explanation) {
    eprintln!("  {}", why.sentence);
    if !why.rule.is_empty() {
        eprintln!("  rule: {}", why.rule);
    }
    if let Some(pass) = &why.would_pass {
        eprintln!("  would have passed: {pass}");
    }
}

fn rules(triggers: &[TriggerStatus]) {
    for rule in triggers {
        eprintln!(
            "  {} says {}: {}",
            rule.trigger.name, rule.verdict, rule.explanation.sentence
        );
    }
}
