//! Which process is ours: told by pid, start time and boot together, or by a marker in its
//! environment. A pid alone is never trusted: the kernel gives it to somebody else.

use std::{fs, io, sync::OnceLock, time::Duration};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// The variable that every process of an instance carries, and its children with it.
pub(crate) const MARKER: &str = "ROLLBACK_INSTANCE";

/// The variable that names the release, from which a damaged record is rebuilt.
pub(crate) const RELEASE_MARKER: &str = "ROLLBACK_RELEASE";

/// How often a process that is not our child is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// One process of one boot of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    pub(crate) pid: i32,
    /// Clock ticks between the boot and its start.
    pub(crate) start_ticks: u64,
    /// The kernel's random name of this boot.
    pub(crate) boot_id: String,
}

impl ProcessIdentity {
    /// The process that has `pid` now.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let stat = Stat::read(pid).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no process {pid} in /proc"),
            )
        })?;
        Ok(Self {
            pid,
            start_ticks: stat.start_ticks,
            boot_id: boot_id()?.to_owned(),
        })
    }

    /// Whether it is there and runs; one that ended and waits to be reaped does not.
    pub(crate) fn is_running(&self) -> bool {
        self.stat().is_some_and(|stat| !stat.ended)
    }

    /// What the kernel says of it, a zombie included.
    fn stat(&self) -> Option<Stat> {
        let stat = Stat::read(self.pid)?;
        let same_boot = boot_id().is_ok_and(|boot| boot == self.boot_id);
        (same_boot && stat.start_ticks == self.start_ticks).then_some(stat)
    }

    /// Returns when it has ended. Only its parent is told by the kernel in a way that safe code can
    /// wait for, so the others look.
    pub(crate) async fn ended(&self) {
        while self.is_running() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A line of /proc/<pid>/stat, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    pid: i32,
    ended: bool,
    group: i32,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name stands in parentheses and may hold anything, so fields count from the last `)`.
    fn parse(line: &str) -> Option<Self> {
        let (head, tail) = line.rsplit_once(')')?;
        let pid = head.split_once(' ')?.0.parse().ok()?;
        let mut fields = tail.split_ascii_whitespace();
        let state = fields.next()?;
        let group = fields.nth(1)?.parse().ok()?;
        let threads: u32 = fields.nth(14)?.parse().ok()?;
        let start_ticks = fields.nth(1)?.parse().ok()?;
        // The state is that of the first thread; the others may outlive it.
        let ended = match state {
            "Z" => threads <= 1,
            state => matches!(state, "X" | "x"),
        };
        Some(Self {
            pid,
            ended,
            group,
            start_ticks,
        })
    }
}

/// All running processes of an instance: those that carry its marker, and those of its leader's
/// group while the leader is there to vouch for the group's number.
fn members(marker: &str, leader: Option<&ProcessIdentity>) -> Vec<ProcessIdentity> {
    let Ok(boot_id) = boot_id() else {
        return Vec::new();
    };
    let group = leader.and_then(ProcessIdentity::stat).map(|stat| stat.pid);
    processes()
        .filter(|stat| !stat.ended)
        .filter(|stat| group == Some(stat.group) || carries(stat.pid, marker))
        .map(|stat| ProcessIdentity {
            pid: stat.pid,
            start_ticks: stat.start_ticks,
            boot_id: boot_id.to_owned(),
        })
        .collect()
}

/// The processes of an instance, each followed to its end once it was seen: a dying one loses its
/// environment, and with it the marker, before it has closed its files and ports.
pub(crate) struct Members<'a> {
    marker: &'a str,
    leader: Option<&'a ProcessIdentity>,
    running: Vec<ProcessIdentity>,
}

impl<'a> Members<'a> {
    pub(crate) fn of(marker: &'a str, leader: Option<&'a ProcessIdentity>) -> Self {
        Self {
            marker,
            leader,
            running: Vec::new(),
        }
    }

    /// Those that run now.
    pub(crate) fn running(&mut self) -> &[ProcessIdentity] {
        self.running.retain(ProcessIdentity::is_running);
        for member in members(self.marker, self.leader) {
            if !self.running.contains(&member) {
                self.running.push(member);
            }
        }
        &self.running
    }

    /// Signals those that run now, and answers whether there are any.
    pub(crate) fn signal(&mut self, how: Signal) -> bool {
        let running = self.running();
        for member in running {
            signal(member, how);
        }
        !running.is_empty()
    }
}

/// The process of an instance whose pid was never written down: the leader of the oldest group
/// that carries the marker.
pub(crate) fn find_leader(marker: &str) -> Option<ProcessIdentity> {
    let boot_id = boot_id().ok()?;
    processes()
        .filter(|stat| !stat.ended && stat.group == stat.pid && carries(stat.pid, marker))
        .min_by_key(|stat| (stat.start_ticks, stat.pid))
        .map(|stat| ProcessIdentity {
            pid: stat.pid,
            start_ticks: stat.start_ticks,
            boot_id: boot_id.to_owned(),
        })
}

/// A variable of a process's environment, as it was when its program began.
pub(crate) fn variable(pid: i32, name: &str) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|byte| *byte == 0).find_map(|var| {
        let value = std::str::from_utf8(var).ok()?.strip_prefix(name)?;
        value.strip_prefix('=').map(str::to_owned)
    })
}

/// Signals exactly this process. Without effect if it is gone; never reaches another that was
/// given its pid.
pub(crate) fn signal(process: &ProcessIdentity, signal: Signal) {
    let Some(pid) = Pid::from_raw(process.pid) else {
        return;
    };
    match pidfd_open(pid, PidfdFlags::empty()) {
        // The descriptor holds one process; only now is it certain which.
        Ok(fd) if process.is_running() => {
            let _ = pidfd_send_signal(fd, signal);
        }
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) if process.is_running() => {
            let _ = kill_process(pid, signal);
        }
        Ok(_) | Err(_) => {}
    }
}

/// The kernel's random name of this boot.
fn boot_id() -> io::Result<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(known) = BOOT.get() {
        return Ok(known);
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(BOOT.get_or_init(|| text.trim().to_owned()))
}

/// A name that nobody else has: the kernel's own random UUID.
pub(crate) fn fresh_name() -> io::Result<String> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(uuid.trim().chars().filter(|c| *c != '-').take(16).collect())
}

fn processes() -> impl Iterator<Item = Stat> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Stat::read)
}

fn carries(pid: i32, marker: &str) -> bool {
    variable(pid, MARKER).is_some_and(|value| value == marker)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::process::CommandExt as _,
        process::{Child, Command, Stdio},
    };

    use super::*;

    fn sleeper(marker: &str) -> Child {
        Command::new("sleep")
            .arg("60")
            .env(MARKER, marker)
            .process_group(0)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) R (b) Z 1 40 42 0 -1 0 97 0 0 0 0 0 0 0 20 0 1 0 59399 3 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!(
            (stat.pid, stat.ended, stat.group, stat.start_ticks),
            (42, true, 40, 59399)
        );
        let others_run = line.replace(" 20 0 1 ", " 20 0 2 ");
        assert!(!Stat::parse(&others_run).unwrap().ended);
        assert_eq!(Stat::parse("nonsense"), None);
    }

    /// The window in which a dying process is still there is too short to be met: a process whose
    /// marker is not in its environment stands for it.
    #[test]
    fn a_member_that_lost_its_marker_is_followed_to_its_end() {
        let mut dying = sleeper(&fresh_name().unwrap());
        let identity = ProcessIdentity::of(dying.id() as i32).unwrap();
        let marker = fresh_name().unwrap();
        let mut all = Members::of(&marker, None);
        assert_eq!(all.running(), []);
        all.running.push(identity.clone());
        assert_eq!(all.running(), std::slice::from_ref(&identity));
        assert!(all.signal(Signal::KILL));
        dying.wait().unwrap();
        assert!(!all.signal(Signal::KILL));
    }

    #[test]
    fn another_start_time_or_boot_is_another_process() {
        let marker = fresh_name().unwrap();
        let mut child = sleeper(&marker);
        let ours = ProcessIdentity::of(child.id() as i32).unwrap();
        assert!(ours.is_running());
        let reused = ProcessIdentity {
            start_ticks: ours.start_ticks + 1,
            ..ours.clone()
        };
        let rebooted = ProcessIdentity {
            boot_id: "another".to_owned(),
            ..ours.clone()
        };
        for bystander in [reused, rebooted] {
            assert!(!bystander.is_running());
            signal(&bystander, Signal::KILL);
        }
        assert!(
            ours.is_running(),
            "a process that only shares the pid was killed"
        );
        signal(&ours, Signal::KILL);
        child.wait().unwrap();
        assert!(!ours.is_running());
    }

    #[test]
    fn found_by_its_marker_and_by_nobody_elses() {
        let marker = fresh_name().unwrap();
        let mut child = sleeper(&marker);
        // The marker stands in the environment from the moment the new program runs.
        let until = std::time::Instant::now() + Duration::from_secs(20);
        let leader = loop {
            if let Some(leader) = find_leader(&marker) {
                break leader;
            }
            assert!(std::time::Instant::now() < until, "not found in 20 s");
            std::thread::yield_now();
        };
        assert_eq!(leader.pid, child.id() as i32);
        assert_eq!(members(&marker, None), std::slice::from_ref(&leader));
        assert_eq!(members("another", None), []);
        signal(&leader, Signal::KILL);
        child.wait().unwrap();
        assert_eq!(find_leader(&marker), None);
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_noticed_before_it_is_reaped() {
        let marker = fresh_name().unwrap();
        let mut child = sleeper(&marker);
        let ours = ProcessIdentity::of(child.id() as i32).unwrap();
        signal(&ours, Signal::KILL);
        tokio::time::timeout(Duration::from_secs(5), ours.ended())
            .await
            .unwrap();
        child.wait().unwrap();
    }
}
