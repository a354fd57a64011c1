//! Strategies: a rollout as a list of steps. Four have names; a host writes a fifth.

use std::time::Duration;

use super::planned::{PlannedStep, StrategyError, follow_from_each_other, grows};
use crate::model::{Pace, Placement, Weight};

/// The steps of a rollout, and how traffic comes back.
///
/// ```
/// use std::time::Duration;
/// use rollback_core::{model::Weight, policy::Strategy};
///
/// let quarter = Weight::from_basis_points(2_500).expect("below 100 %");
/// let canary = Strategy::canary([quarter], Duration::from_secs(300)).expect("a share that grows");
/// let words: Vec<_> = canary.steps().iter().map(|step| step.word()).collect();
/// assert_eq!(words, ["converge", "check", "weight", "wait", "weight", "bake", "retire"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strategy {
    kind: Kind,
    steps: Vec<PlannedStep>,
}

/// A strategy as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    BlueGreen(TwoArms),
    Canary {
        shares: Vec<Weight>,
        wait: Duration,
        back: Vec<Weight>,
        arms: TwoArms,
    },
    Rolling {
        pace: Pace,
        /// Of the way back, if it has one of its own.
        back: Option<Pace>,
    },
    Recreate,
    Steps(Vec<PlannedStep>),
}

/// What every strategy with two arms has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TwoArms {
    /// The share that stays with the stable release during the bake.
    pub(super) holdback: Weight,
    /// How long the candidate must be ready before it gets traffic.
    pub(super) check: Duration,
}

impl Strategy {
    /// The candidate is started beside the stable release, gets all traffic, is baked, and only
    /// then is the stable release stopped.
    #[must_use]
    pub fn blue_green() -> Self {
        Self::of(Kind::BlueGreen(TwoArms::default()))
    }

    /// The candidate gets these shares of the traffic one after the other, and is watched for
    /// `wait` after each; then all of it, and the bake.
    ///
    /// # Errors
    /// The shares do not grow, or one is nothing.
    pub fn canary(
        shares: impl IntoIterator<Item = Weight>,
        wait: Duration,
    ) -> Result<Self, StrategyError> {
        let shares: Vec<Weight> = shares.into_iter().collect();
        grows(&shares)?;
        Ok(Self::of(Kind::Canary {
            shares,
            wait,
            back: Vec::new(),
            arms: TwoArms::default(),
        }))
    }

    /// Instance by instance in the place of the stable release: at most so many missing, at most
    /// so many in excess.
    ///
    /// # Errors
    /// Both are zero: there would be no room for any replacement.
    pub fn rolling(max_unavailable: u32, max_surge: u32) -> Result<Self, StrategyError> {
        let pace = one_by_one(max_unavailable, max_surge)?;
        Ok(Self::of(Kind::Rolling { pace, back: None }))
    }

    /// The same rolling replacement with a pace of its own for the way back. Without effect on
    /// other strategies; without it as many instances as it takes are started at once, if the way
    /// there allows any in excess, else it is the same.
    ///
    /// ```
    /// use rollback_core::policy::Strategy;
    ///
    /// // There is room for three instances more, and no further.
    /// let tight = Strategy::rolling(0, 1)?.back_by(0, 3)?;
    /// assert_ne!(tight.placement(), tight.placement_back());
    /// # Ok::<(), rollback_core::policy::StrategyError>(())
    /// ```
    ///
    /// # Errors
    /// Both are zero: there would be no room for any replacement.
    pub fn back_by(mut self, max_unavailable: u32, max_surge: u32) -> Result<Self, StrategyError> {
        let pace = one_by_one(max_unavailable, max_surge)?;
        if let Kind::Rolling { back, .. } = &mut self.kind {
            *back = Some(pace);
        }
        Ok(self)
    }

    /// Everything that runs is stopped before the candidate is started.
    #[must_use]
    pub fn recreate() -> Self {
        Self::of(Kind::Recreate)
    }

    /// A host's own.
    ///
    /// # Errors
    /// The steps do not follow from each other: the first one that does not, and why.
    pub fn custom(steps: impl IntoIterator<Item = PlannedStep>) -> Result<Self, StrategyError> {
        let steps: Vec<PlannedStep> = steps.into_iter().collect();
        follow_from_each_other(&steps)?;
        Ok(Self::of(Kind::Steps(steps)))
    }

    /// The same with this share of the traffic left with the stable release during the bake.
    /// Without effect where there are no two arms, and on steps of a host's own, which say it
    /// themselves.
    #[must_use]
    pub fn with_holdback(self, holdback: Weight) -> Self {
        self.with_arms(|arms| arms.holdback = holdback)
    }

    /// The same with a candidate that must be ready for so long before it gets traffic. Without
    /// effect where `with_holdback` is.
    #[must_use]
    pub fn with_check(self, check: Duration) -> Self {
        self.with_arms(|arms| arms.check = check)
    }

    /// The same canary with its traffic given back in these shares, one after the other, a poll
    /// apart; a candidate that does not even run is left at once all the same. Without effect on
    /// other strategies, and when nothing is given: everything comes back at once.
    ///
    /// # Errors
    /// The shares do not grow, or one is nothing.
    pub fn back_in(
        mut self,
        shares: impl IntoIterator<Item = Weight>,
    ) -> Result<Self, StrategyError> {
        let shares: Vec<Weight> = shares.into_iter().collect();
        grows(&shares)?;
        if let Kind::Canary { back, .. } = &mut self.kind {
            *back = shares;
        }
        Ok(self)
    }

    fn with_arms(self, change: impl FnOnce(&mut TwoArms)) -> Self {
        let mut kind = self.kind;
        if let Kind::BlueGreen(arms) | Kind::Canary { arms, .. } = &mut kind {
            change(arms);
        }
        Self::of(kind)
    }

    fn of(kind: Kind) -> Self {
        let steps = match &kind {
            Kind::BlueGreen(arms) => beside(*arms, &[], Duration::ZERO),
            Kind::Canary {
                shares, wait, arms, ..
            } => beside(*arms, shares, *wait),
            Kind::Rolling { pace, .. } => in_place(*pace),
            Kind::Recreate => in_place(Pace::StopFirst),
            Kind::Steps(steps) => steps.clone(),
        };
        Self { kind, steps }
    }

    pub(super) const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// `blue_green`, `canary`, `rolling`, `recreate`, or `steps` for a host's own.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match &self.kind {
            Kind::BlueGreen(_) => "blue_green",
            Kind::Canary { .. } => "canary",
            Kind::Rolling { .. } => "rolling",
            Kind::Recreate => "recreate",
            Kind::Steps(_) => "steps",
        }
    }

    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[PlannedStep] {
        &self.steps
    }

    /// The shares that the stable release gets back one after the other; none is all at once.
    #[must_use]
    pub fn shares_back(&self) -> &[Weight] {
        match &self.kind {
            Kind::Canary { back, .. } => back,
            _ => &[],
        }
    }

    /// Where the candidate is started.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.steps
            .iter()
            .find_map(|step| match step {
                PlannedStep::Converge(placement) => Some(*placement),
                _ => None,
            })
            .unwrap_or(Placement::Beside)
    }

    /// Where the stable release is started again when the candidate is left: users wait for it, so
    /// where instances may run in excess at all, as many as it takes.
    #[must_use]
    pub fn placement_back(&self) -> Placement {
        if let Kind::Rolling {
            back: Some(pace), ..
        } = &self.kind
        {
            return Placement::InPlace(*pace);
        }
        match self.placement() {
            Placement::InPlace(Pace::Rolling {
                max_unavailable,
                max_surge: 1..,
            }) => Placement::InPlace(Pace::Rolling {
                max_unavailable,
                max_surge: Pace::ALL,
            }),
            same => same,
        }
    }

    /// The candidate's share of the traffic in each phase in which it is watched under traffic,
    /// with the phase's length; none is the bake.
    #[must_use]
    pub fn watched(&self) -> Vec<(Weight, Option<Duration>)> {
        let mut share = Weight::NONE;
        let mut phases = Vec::new();
        for step in &self.steps {
            match step {
                PlannedStep::Converge(Placement::InPlace(_)) => share = Weight::ALL,
                PlannedStep::Weight(weight) => share = *weight,
                PlannedStep::Wait(length) if share > Weight::NONE => {
                    phases.push((share, Some(*length)));
                }
                PlannedStep::Bake => phases.push((share, None)),
                _ => {}
            }
        }
        phases
    }

    /// Whether both arms have traffic while the candidate is watched.
    #[must_use]
    pub fn compares_arms(&self) -> bool {
        self.watched()
            .iter()
            .any(|(share, _)| *share > Weight::NONE && *share < Weight::ALL)
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self::blue_green()
    }
}

fn beside(arms: TwoArms, shares: &[Weight], wait: Duration) -> Vec<PlannedStep> {
    let mut steps = vec![
        PlannedStep::Converge(Placement::Beside),
        PlannedStep::Check(arms.check),
    ];
    let most = arms.holdback.rest();
    for share in shares.iter().filter(|share| **share < most) {
        steps.push(PlannedStep::Weight(*share));
        steps.push(PlannedStep::Wait(wait));
    }
    steps.push(PlannedStep::Weight(most));
    steps.push(PlannedStep::Bake);
    if most < Weight::ALL {
        steps.push(PlannedStep::Weight(Weight::ALL));
    }
    steps.push(PlannedStep::Retire);
    steps
}

fn one_by_one(max_unavailable: u32, max_surge: u32) -> Result<Pace, StrategyError> {
    if max_unavailable == 0 && max_surge == 0 {
        return Err(StrategyError {
            step: None,
            message: "no instance may be missing and none in excess, so none can be replaced"
                .to_owned(),
            fix: "give `max_surge` or `max_unavailable` at least 1".to_owned(),
        });
    }
    Ok(Pace::Rolling {
        max_unavailable,
        max_surge,
    })
}

fn in_place(pace: Pace) -> Vec<PlannedStep> {
    vec![
        PlannedStep::Converge(Placement::InPlace(pace)),
        PlannedStep::Bake,
    ]
}
