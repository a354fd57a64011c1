//! The words of DESIGN section 3 as types: ids, time, arms, releases, readings, verdicts, the
//! platform as it was observed, changes asked of it, and how a deployment can end.

mod arm;
mod change;
mod hold;
mod ids;
mod notice;
mod outcome;
mod people;
mod platform;
mod reading;
mod release;
mod time;
mod verdict;

pub use arm::{Arm, Weight, WeightError};
pub use change::{
    Accepted, Change, ChangeError, ChangeId, ChangeRequest, Expectation, Pace, Placement, Share,
};
pub use hold::{Hold, HoldExit, HoldReason};
pub use ids::{
    ChannelId, DeploymentId, Epoch, Etag, IdError, InstanceId, MetricId, PolicyDigest, ReleaseId,
    Seq, ServiceId, TriggerId,
};
pub use notice::{Notice, NoticeKey, Severity};
pub use outcome::{Cause, Outcome, RefusedReason, Settled};
pub use people::{Actor, Order, Secret};
pub use platform::{
    ArmObservation, ArmState, Instance, InstanceState, Observation, PlatformRollback,
    PlatformRollbackState, Wanted,
};
pub use reading::{Answer, Query, ReadError, ReadRequest, Reading, Sample, Scope, Subject, Window};
pub use release::{Definition, Irreversible, IrreversibleFrom, Release};
pub use time::{Timestamp, duration_text};
pub use verdict::{Action, ArmCounts, Explanation, Figure, UnknownReason, Verdict};
