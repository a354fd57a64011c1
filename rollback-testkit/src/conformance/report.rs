//! How the cases of a suite went.

use std::fmt;

/// A case ran or was skipped, or says what is wrong.
pub type CaseResult = Result<Ran, String>;

/// How a case that found nothing wrong went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ran {
    /// The promise was kept.
    Passed,
    /// The adapter does not claim what the case needs.
    Skipped {
        /// What it does not claim.
        why: String,
    },
}

impl Ran {
    pub(super) fn skipped(why: &str) -> CaseResult {
        Ok(Self::Skipped {
            why: why.to_owned(),
        })
    }
}

/// The cases of one suite, in the order they ran.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report that nobody reads proves nothing; call `assert_passed`"]
pub struct Report {
    suite: &'static str,
    cases: Vec<(&'static str, CaseResult)>,
}

impl Report {
    pub(super) const fn of(suite: &'static str) -> Self {
        Self {
            suite,
            cases: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, case: &'static str, result: CaseResult) {
        self.cases.push((case, result));
    }

    /// Each case with its result.
    pub fn cases(&self) -> &[(&'static str, CaseResult)] {
        &self.cases
    }

    /// The cases that failed.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.cases
            .iter()
            .filter_map(|(case, result)| Some((*case, result.as_ref().err()?.as_str())))
    }

    /// How many cases were kept.
    #[must_use]
    pub fn passed(&self) -> usize {
        let passed = |result: &CaseResult| *result == Ok(Ran::Passed);
        self.cases.iter().filter(|(_, r)| passed(r)).count()
    }

    /// Ends the test if a case failed, or if none passed.
    ///
    /// # Panics
    /// With the whole report.
    pub fn assert_passed(&self) {
        assert!(
            self.failed().next().is_none() && self.passed() > 0,
            "{self}"
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "conformance: {}", self.suite)?;
        for (case, result) in &self.cases {
            match result {
                Ok(Ran::Passed) => writeln!(f, "  kept     {case}")?,
                Ok(Ran::Skipped { why }) => writeln!(f, "  skipped  {case}: {why}")?,
                Err(why) => writeln!(f, "  BROKEN   {case}: {why}")?,
            }
        }
        Ok(())
    }
}

/// Fails the case with a sentence unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err(format!($($sentence)+));
        }
    };
}
pub(super) use ensure;
