//! Made of other triggers: `any`, `all`, or at least so many of them.
//!
//! - It fails when enough parts fail, and passes when too few could still fail. In between it cannot
//!   tell: `Unknown` if a part that could decide it cannot see, else `Inconclusive`.
//! - What is as bad elsewhere counts as failing, and not as the candidate's fault.
//! - The parts have evidence of their own here, so it does not matter in which order they are asked.
//! - While a rollback is verified, parts that say nothing of a restored release are left out. If too
//!   few are left to fail, the whole takes no part.

use std::sync::Arc;

use crate::{
    model::{
        ArmCounts, Explanation, Figure, MetricId, ReadError, Reading, Scope, Timestamp, TriggerId,
        Verdict, Window,
    },
    policy::Needs,
    ports::{Evidence, MetricNeed, Trigger, WatchStart},
};

/// The version of this rule's code.
const VERSION: u32 = 1;

/// `any`, `all` or `at_least` of other triggers.
#[derive(Debug)]
pub struct Composite {
    name: Arc<str>,
    needs: Needs,
    parts: Vec<Arc<dyn Trigger>>,
}

impl Composite {
    /// A rule that is made of others.
    #[must_use]
    pub const fn new(name: Arc<str>, needs: Needs, parts: Vec<Arc<dyn Trigger>>) -> Self {
        Self { name, needs, parts }
    }

    fn needed(&self) -> usize {
        self.needs.of(self.parts.len())
    }
}

impl Trigger for Composite {
    fn id(&self) -> TriggerId {
        TriggerId {
            name: Arc::clone(&self.name),
            version: VERSION,
        }
    }

    fn reads(&self) -> Vec<MetricNeed> {
        let mut needs: Vec<MetricNeed> = Vec::new();
        for need in self.parts.iter().flat_map(|part| part.reads()) {
            match needs.iter_mut().find(|known| known.metric == need.metric) {
                Some(known) if known.side != need.side => known.side = crate::ports::ArmSide::Both,
                Some(_) => {}
                None => needs.push(need),
            }
        }
        needs
    }

    fn judges_restored(&self) -> bool {
        let left = self.parts.iter().filter(|part| part.judges_restored());
        left.count() >= self.needed()
    }

    fn begin(&self, watch: &WatchStart) -> Box<dyn Evidence> {
        let parts = self
            .parts
            .iter()
            .filter(|part| !watch.verifies() || part.judges_restored())
            .map(|part| Part {
                name: part.id().name,
                reads: part.reads().into_iter().map(|need| need.metric).collect(),
                evidence: part.begin(watch),
            })
            .collect();
        Box::new(Parts {
            name: Arc::clone(&self.name),
            needs: self.needs,
            needed: self.needed(),
            parts,
        })
    }
}

#[derive(Debug)]
struct Part {
    name: Arc<str>,
    reads: Vec<MetricId>,
    evidence: Box<dyn Evidence>,
}

/// The evidence of one watch.
#[derive(Debug)]
struct Parts {
    name: Arc<str>,
    needs: Needs,
    needed: usize,
    parts: Vec<Part>,
}

impl Parts {
    fn reading(&mut self, metric: &MetricId) -> impl Iterator<Item = &mut Part> {
        self.parts
            .iter_mut()
            .filter(move |part| part.reads.contains(metric))
    }

    fn rule(&self) -> String {
        let names: Vec<&str> = self.parts.iter().map(|part| &*part.name).collect();
        let names = names.join(", ");
        match self.needs {
            Needs::Any => format!("any of {names}"),
            Needs::All => format!("all of {names}"),
            Needs::AtLeast(fewest) => format!("at least {fewest} of {names}"),
        }
    }

    fn sentence(&self, at: Timestamp, failing: &[&Part]) -> String {
        let all = self.parts.len();
        let told = |parts: &[&Part]| {
            let told: Vec<String> = parts
                .iter()
                .map(|part| format!("{}: {}", part.name, part.evidence.explain(at).sentence))
                .collect();
            told.join("; ")
        };
        match self.verdict(at) {
            Verdict::Fail => format!("{} of {all} fail ({})", failing.len(), told(failing)),
            Verdict::Pass if failing.is_empty() => format!("none of {all} fails"),
            Verdict::Pass => format!(
                "{} of {all} fail, fewer than {} ({})",
                failing.len(),
                self.needed,
                told(failing)
            ),
            undecided => format!("{} cannot tell: {undecided}", self.name),
        }
    }
}

impl Evidence for Parts {
    fn observe(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, reading: &Reading) {
        for part in self.reading(metric) {
            part.evidence.observe(at, metric, scope, reading);
        }
    }

    fn unreadable(&mut self, at: Timestamp, metric: &MetricId, scope: &Scope, error: &ReadError) {
        for part in self.reading(metric) {
            part.evidence.unreadable(at, metric, scope, error);
        }
    }

    fn task_ended(&mut self, at: Timestamp, task: &str, result: Result<(), &str>) {
        for part in &mut self.parts {
            part.evidence.task_ended(at, task, result);
        }
    }

    fn verdict(&self, at: Timestamp) -> Verdict {
        let verdicts = self.parts.iter().map(|part| part.evidence.verdict(at));
        put_together(self.needed, verdicts)
    }

    fn next_wake(&self, at: Timestamp) -> Option<Timestamp> {
        let wakes = self.parts.iter().map(|part| part.evidence.next_wake(at));
        wakes.flatten().min()
    }

    fn also_elsewhere(&self, at: Timestamp) -> Option<Arc<str>> {
        let (mut blamed, mut excuses) = (0, Vec::new());
        for part in &self.parts {
            if part.evidence.verdict(at) == Verdict::Fail {
                match part.evidence.also_elsewhere(at) {
                    Some(why) => excuses.push(format!("{}: {why}", part.name)),
                    None => blamed += 1,
                }
            }
        }
        (blamed < self.needed && !excuses.is_empty()).then(|| excuses.join("; ").into())
    }

    fn explain(&self, at: Timestamp) -> Explanation {
        let failing: Vec<&Part> = self
            .parts
            .iter()
            .filter(|part| part.evidence.verdict(at) == Verdict::Fail)
            .collect();
        let mut queries: Vec<String> = Vec::new();
        let mut window: Option<Window> = None;
        let mut counts: Vec<ArmCounts> = Vec::new();
        #[expect(clippy::cast_precision_loss, reason = "a number of triggers")]
        let number = |count: usize| Figure::new("failing", count as f64, "");
        let mut figures = vec![number(failing.len())];
        let mut would_pass = Vec::new();
        for part in &self.parts {
            let told = part.evidence.explain(at);
            for query in told.queries {
                if !queries.contains(&query) {
                    queries.push(query);
                }
            }
            if !failing.is_empty() && !failing.iter().any(|failing| failing.name == part.name) {
                continue;
            }
            window = match (window, told.window) {
                (Some(a), Some(b)) => Some(Window::new(a.from.min(b.from), a.to.max(b.to))),
                (one, other) => one.or(other),
            };
            if counts.is_empty() {
                counts = told.counts;
            }
            figures.extend(told.figures.into_iter().map(|figure| {
                Figure::new(
                    format!("{}.{}", part.name, figure.name),
                    figure.value,
                    figure.unit,
                )
            }));
            would_pass.extend(
                told.would_pass
                    .map(|passes| format!("{}: {passes}", part.name)),
            );
        }
        Explanation {
            rule: self.rule(),
            queries,
            window,
            counts,
            figures,
            threshold: Some(number(self.needed)),
            would_pass: (!would_pass.is_empty()).then(|| {
                let spare = failing.len().saturating_sub(self.needed) + 1;
                if spare >= would_pass.len() {
                    would_pass.join(" and ")
                } else {
                    format!("{spare} of: {}", would_pass.join("; "))
                }
            }),
            sentence: self.sentence(at, &failing),
        }
    }
}

/// What follows when so many parts have to fail: sound whatever those that are open turn out to be.
fn put_together(needed: usize, verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    let (mut failing, mut open) = (0, 0);
    let (mut unseen, mut undecided) = (None, None);
    for verdict in verdicts {
        match verdict {
            Verdict::Pass => {}
            Verdict::Fail => failing += 1,
            Verdict::Unknown(why) => {
                open += 1;
                unseen = unseen.or(Some(Verdict::Unknown(why)));
            }
            Verdict::Inconclusive(why) => {
                open += 1;
                undecided = undecided.or(Some(Verdict::Inconclusive(why)));
            }
        }
    }
    if failing >= needed {
        return Verdict::Fail;
    }
    if failing + open < needed {
        return Verdict::Pass;
    }
    unseen.or(undecided).unwrap_or(Verdict::Pass)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::UnknownReason;

    fn verdict(letter: char) -> Verdict {
        match letter {
            'P' => Verdict::Pass,
            'F' => Verdict::Fail,
            'i' => Verdict::Inconclusive("few".into()),
            _ => Verdict::Unknown(UnknownReason::NothingYet),
        }
    }

    fn together(needed: usize, letters: &str) -> char {
        match put_together(needed, letters.chars().map(verdict)) {
            Verdict::Pass => 'P',
            Verdict::Fail => 'F',
            Verdict::Inconclusive(_) => 'i',
            Verdict::Unknown(_) => 'u',
        }
    }

    #[test]
    fn what_is_open_decides_nothing() {
        for (needed, letters, said) in [
            (1, "PPP", 'P'),
            (1, "PFu", 'F'),
            (1, "PPu", 'u'),
            (1, "PPi", 'i'),
            (1, "Piu", 'u'),
            (3, "FFF", 'F'),
            (3, "FFu", 'u'),
            (3, "FiF", 'i'),
            // One that passes is enough, whatever the others would be.
            (3, "Puu", 'P'),
            (2, "FPP", 'P'),
            (2, "FuP", 'u'),
            (2, "FFu", 'F'),
            (2, "PPu", 'P'),
        ] {
            assert_eq!(together(needed, letters), said, "{needed} of {letters}");
        }
    }

    proptest! {
        /// Whatever the open parts turn out to be, what was decided before stands.
        #[test]
        fn what_is_decided_stays_decided(
            needed in 1..5_usize, letters in "[PFiu]{1,5}", later in "[PF]{5}",
        ) {
            let said = together(needed, &letters);
            let turned: String = letters
                .chars()
                .zip(later.chars())
                .map(|(now, later)| if matches!(now, 'i' | 'u') { later } else { now })
                .collect();
            if matches!(said, 'P' | 'F') {
                prop_assert_eq!(together(needed, &turned), said);
            }
        }
    }
}
