//! The JSON that a script's `status` verb prints.

use std::collections::BTreeMap;

use rollback_core::model::{
    ArmObservation, ArmState, ChangeError, ChangeId, Etag, Instance, InstanceId, InstanceState,
    ReleaseId, Timestamp, Wanted, Weight,
};
use serde::Deserialize;

/// What a script says of its platform.
///
/// ```json
/// {"etag": "17", "change": "d1.s2.a1",
///  "releases": [{"release": "3f0a…", "percent": 90, "state": "ready", "address": "10.0.0.7:80"}]}
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    /// The mark of this state; each change makes another.
    #[serde(default)]
    pub(crate) etag: Option<Etag>,
    /// `CHANGE_ID` of the last change that was made, if the platform keeps it.
    #[serde(default)]
    pub(crate) change: Option<ChangeId>,
    /// What runs.
    releases: Vec<ReleaseStatus>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseStatus {
    /// `RELEASE` as it was given to `deploy`.
    release: ReleaseId,
    /// The traffic that it is to carry.
    percent: f64,
    /// `starting`, `ready`, `failing`, `gone`, or a word of the platform's own.
    state: String,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    address: Option<String>,
}

impl Status {
    pub(crate) fn parse(printed: &[u8]) -> Result<Self, String> {
        let status: Self = serde_json::from_slice(printed)
            .map_err(|error| format!("`status` printed what is not its JSON: {error}"))?;
        let mut seen = BTreeMap::new();
        let mut sum = 0;
        for one in &status.releases {
            sum += u32::from(one.weight()?.basis_points());
            if seen.insert(&one.release, ()).is_some() {
                return Err(format!("`status` names the release {} twice", one.release));
            }
        }
        if sum > u32::from(Weight::ALL.basis_points()) {
            return Err("the percents of `status` add up to more than 100".to_owned());
        }
        Ok(status)
    }

    pub(crate) fn wanted(&self) -> Wanted {
        let there = self.releases.iter().filter(|one| one.state != "gone");
        there.fold(Wanted::nothing(), |all, one| {
            all.with(one.release.clone(), one.weight().unwrap_or_default())
        })
    }

    /// What runs; `since` tells when a release was deployed.
    pub(crate) fn arms(
        &self,
        since: impl Fn(&ReleaseId) -> Option<Timestamp>,
    ) -> Result<Vec<ArmObservation>, ChangeError> {
        self.releases.iter().map(|one| one.arm(&since)).collect()
    }
}

impl ReleaseStatus {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 10000"
    )]
    fn weight(&self) -> Result<Weight, String> {
        if !(0.0..=100.0).contains(&self.percent) {
            return Err(format!(
                "`status` gives {} {} percent",
                self.release, self.percent
            ));
        }
        let points = (self.percent * 100.0).round() as u16;
        Weight::from_basis_points(points).map_err(|error| error.to_string())
    }

    fn arm(
        &self,
        since: impl Fn(&ReleaseId) -> Option<Timestamp>,
    ) -> Result<ArmObservation, ChangeError> {
        let why = self.why.as_deref().unwrap_or("the script says so");
        let (state, one) = match self.state.as_str() {
            "ready" => (ArmState::Ready, Some(InstanceState::Ready)),
            "starting" => (ArmState::Converging, Some(InstanceState::Starting)),
            "failing" => (
                ArmState::Failing { why: why.into() },
                Some(InstanceState::Unhealthy),
            ),
            "gone" => (ArmState::Gone, None),
            word => (ArmState::Unknown { word: word.into() }, None),
        };
        let mut instances = Vec::new();
        if let Some(state) = one {
            let id = InstanceId::new(self.release.as_str()).map_err(ChangeError::refused)?;
            let instance = Instance::new(id, since(&self.release).unwrap_or_default(), state);
            instances.push(match &self.address {
                Some(address) => instance.at(address),
                None => instance,
            });
        }
        let weight = self.weight().map_err(ChangeError::refused)?;
        Ok(ArmObservation::new(
            self.release.clone(),
            state,
            weight,
            instances,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_strictly() {
        let text = br#"{"etag":"7","releases":[{"release":"v1","percent":87.5,"state":"ready"},
            {"release":"v2","percent":12.5,"state":"failing","why":"no disk"},
            {"release":"v0","percent":0,"state":"gone"},{"release":"v9","percent":0,"state":"limping"}]}"#;
        let status = Status::parse(text).unwrap();
        assert_eq!(
            status.wanted().to_string(),
            "v1 at 87.50 % + v2 at 12.50 % + v9 at 0 %"
        );
        let arms = status.arms(|_| None).unwrap();
        assert_eq!(
            arms[1].state,
            ArmState::Failing {
                why: "no disk".into()
            }
        );
        assert_eq!(
            arms[3].state,
            ArmState::Unknown {
                word: "limping".into()
            }
        );
        for (text, says) in [
            ("ok", "not its JSON"),
            (
                r#"{"releases":[{"release":"v1","percent":101,"state":"ready"}]}"#,
                "101 percent",
            ),
            (
                r#"{"releases":[{"release":"v1","percent":-1,"state":"ready"}]}"#,
                "-1 percent",
            ),
            (
                r#"{"releases":[{"release":"a","percent":60,"state":"ready"},{"release":"b","percent":60,"state":"ready"}]}"#,
                "more than 100",
            ),
            (
                r#"{"releases":[{"release":"a","percent":1,"state":"ready"},{"release":"a","percent":1,"state":"ready"}]}"#,
                "twice",
            ),
            (r#"{"release":[]}"#, "release"),
        ] {
            let why = Status::parse(text.as_bytes()).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
