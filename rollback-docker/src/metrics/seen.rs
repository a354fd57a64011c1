//! What the engine said of one container, in our words. A field that is missing, or is not what
//! the engine's API says, is not there: never 0.

use rollback_core::model::{ServiceId, Timestamp};
use serde_json::Value;

/// Written by us on what we deploy.
pub(crate) const SERVICE_LABEL: &str = "io.rollback.service";
/// Written by us on what we deploy.
pub(crate) const RELEASE_LABEL: &str = "io.rollback.release";
/// Written by Swarm on the containers of a service.
pub(crate) const SWARM_SERVICE_LABEL: &str = "com.docker.swarm.service.name";
/// Written by Swarm on the container of a task.
pub(crate) const SWARM_TASK_LABEL: &str = "com.docker.swarm.task.id";

/// A container as `GET /containers/ID/json` tells it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Container {
    pub(crate) id: String,
    /// Whose it is, if it says so.
    pub(crate) service: Option<String>,
    pub(crate) created: Option<Timestamp>,
    /// When it was started last.
    pub(crate) started: Option<Timestamp>,
    /// `created`, `running`, `paused`, `restarting`, `exited`, `dead`, or what else the engine says.
    pub(crate) status: Option<String>,
    pub(crate) restarts: Option<u64>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) oom_killed: Option<bool>,
    pub(crate) health: Option<Health>,
    /// CPUs that it may use at most, if that was limited.
    pub(crate) cpu_limit: Option<f64>,
    /// Bytes that it may use at most, if that was limited.
    pub(crate) memory_limit: Option<u64>,
    /// Bytes that it wrote over its image, if that was asked for.
    pub(crate) written: Option<u64>,
}

/// The state of a container's health check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    /// `starting`, `healthy`, `unhealthy`, or what else the engine says.
    pub(crate) word: String,
    pub(crate) streak: Option<u64>,
}

impl Container {
    pub(crate) fn of(inspected: &Value) -> Option<Self> {
        let text = |at: &str| Some(inspected.pointer(at)?.as_str()?.to_owned());
        let label = |name: &str| {
            let labels = inspected.pointer("/Config/Labels")?.as_object()?;
            Some(labels.get(name)?.as_str()?.to_owned())
        };
        let whole = |at: &str| inspected.pointer(at)?.as_u64();
        let status = text("/State/Status");
        // A code of a container that runs is the engine's 0 for "none yet".
        let ended = matches!(status.as_deref(), Some("exited" | "dead" | "restarting"))
            || !text("/State/Error").unwrap_or_default().is_empty();
        Some(Self {
            id: text("/Id")?,
            service: label(SERVICE_LABEL).or_else(|| label(SWARM_SERVICE_LABEL)),
            created: text("/Created").and_then(|text| time(&text)),
            started: text("/State/StartedAt").and_then(|text| time(&text)),
            restarts: whole("/RestartCount"),
            exit_code: ended
                .then(|| inspected.pointer("/State/ExitCode")?.as_i64())
                .flatten(),
            oom_killed: inspected
                .pointer("/State/OOMKilled")
                .and_then(Value::as_bool),
            health: health(inspected),
            cpu_limit: cpu_limit(inspected),
            memory_limit: whole("/HostConfig/Memory").filter(|bytes| *bytes > 0),
            written: whole("/SizeRw"),
            status,
        })
    }

    /// Whether it runs: it is not frozen, and does not only wait to be started again.
    pub(crate) fn runs(&self) -> bool {
        self.status.as_deref() == Some("running")
    }

    /// Whether there is something to measure.
    pub(crate) fn has_processes(&self) -> bool {
        matches!(self.status.as_deref(), Some("running" | "paused"))
    }

    /// Whether it says that it belongs to another service.
    pub(crate) fn is_of_another(&self, service: &ServiceId) -> bool {
        self.service
            .as_deref()
            .is_some_and(|other| other != service.as_str())
    }
}

fn health(inspected: &Value) -> Option<Health> {
    let word = inspected.pointer("/State/Health/Status")?.as_str()?;
    // A health check that was switched off.
    (!word.is_empty() && word != "none").then(|| Health {
        word: word.to_owned(),
        streak: inspected
            .pointer("/State/Health/FailingStreak")
            .and_then(Value::as_u64),
    })
}

/// The smallest of the limits that were set: `--cpus`, quota and period, `--cpuset-cpus`.
fn cpu_limit(inspected: &Value) -> Option<f64> {
    let whole = |at: &str| {
        let number = inspected.pointer(at)?.as_u64()?;
        u32::try_from(number).ok().filter(|number| *number > 0)
    };
    let nano = inspected
        .pointer("/HostConfig/NanoCpus")
        .and_then(Value::as_f64)
        .map(|nano| nano / 1e9);
    let quota = whole("/HostConfig/CpuQuota").map(|quota| {
        // The kernel's default period, in microseconds.
        let period = whole("/HostConfig/CpuPeriod").unwrap_or(100_000);
        f64::from(quota) / f64::from(period)
    });
    let set = inspected
        .pointer("/HostConfig/CpusetCpus")
        .and_then(Value::as_str)
        .and_then(cpus_of_set);
    [nano, quota, set]
        .into_iter()
        .flatten()
        .filter(|limit| *limit > 0.0)
        .reduce(f64::min)
}

/// How many CPUs `0-2,4` is.
fn cpus_of_set(set: &str) -> Option<f64> {
    let mut count = 0_u32;
    for part in set.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count = count.saturating_add(last.checked_sub(first)?.saturating_add(1));
    }
    (count > 0).then(|| f64::from(count))
}

/// A container's counters as `GET /containers/ID/stats` tells them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stats {
    /// When the engine looked.
    pub(crate) at: Timestamp,
    /// CPU time since the start, in nanoseconds.
    pub(crate) cpu: Option<u64>,
    /// Scheduler periods since the start: held back, all.
    pub(crate) periods: Option<(u64, u64)>,
    /// Working set in bytes: what the kernel could not take back at once.
    pub(crate) memory: Option<u64>,
    pub(crate) network: Option<Network>,
    pub(crate) processes: Option<u64>,
}

/// Counters of all interfaces of a container together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Network {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Lost or broken.
    pub(crate) failed: u64,
    pub(crate) packets: u64,
}

impl Stats {
    /// None if the engine had nothing to measure: of a container that does not run it answers
    /// zeros, and no time.
    pub(crate) fn of(told: &Value) -> Option<Self> {
        let at = told
            .pointer("/read")
            .and_then(Value::as_str)
            .and_then(time)?;
        let whole = |at: &str| told.pointer(at)?.as_u64();
        // Without a limit there are no periods.
        let periods = whole("/cpu_stats/throttling_data/periods").filter(|all| *all > 0);
        let throttled = whole("/cpu_stats/throttling_data/throttled_periods");
        Some(Self {
            at,
            cpu: whole("/cpu_stats/cpu_usage/total_usage").filter(|nanos| *nanos > 0),
            periods: throttled.zip(periods),
            memory: working_set(told),
            network: network(told),
            processes: whole("/pids_stats/current").filter(|count| *count > 0),
        })
    }
}

/// Usage without the file cache that nobody used lately. cgroup v1 calls that
/// `total_inactive_file` (with the groups below it), v2 `inactive_file`.
fn working_set(told: &Value) -> Option<u64> {
    let whole = |at: &str| told.pointer(at)?.as_u64();
    let usage = whole("/memory_stats/usage").filter(|bytes| *bytes > 0)?;
    let idle = whole("/memory_stats/stats/total_inactive_file")
        .or_else(|| whole("/memory_stats/stats/inactive_file"))
        // More than all of it was read a moment earlier or later.
        .filter(|idle| *idle < usage)
        .unwrap_or(0);
    Some(usage - idle)
}

/// None for a container without a network of its own.
fn network(told: &Value) -> Option<Network> {
    let interfaces = told.pointer("/networks")?.as_object()?;
    let mut all = Network::default();
    for interface in interfaces.values() {
        let whole = |name: &str| interface.get(name).and_then(Value::as_u64);
        all.received = all.received.saturating_add(whole("rx_bytes")?);
        all.sent = all.sent.saturating_add(whole("tx_bytes")?);
        let failed = ["rx_errors", "rx_dropped", "tx_errors", "tx_dropped"];
        let failed: u64 = failed.iter().filter_map(|name| whole(name)).sum();
        all.failed = all.failed.saturating_add(failed);
        // What was lost is not among the packets that came or went.
        let whole = whole("rx_packets")?.saturating_add(whole("tx_packets")?);
        all.packets = all.packets.saturating_add(whole).saturating_add(failed);
    }
    (!interfaces.is_empty()).then_some(all)
}

/// A time of the engine; none for its "never", the year 1.
pub(crate) fn time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    (time.as_second() > 0).then(|| Timestamp::from_millis(time.as_millisecond()))
}
