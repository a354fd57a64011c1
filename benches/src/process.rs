//! What a process has used, as the kernel counts.

use std::{error::Error, fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// Which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// This one.
    This,
    /// One with a number.
    Other(u32),
}

impl Process {
    fn file(self, name: &str) -> Result<String, std::io::Error> {
        match self {
            Self::This => fs::read_to_string(format!("/proc/self/{name}")),
            Self::Other(id) => fs::read_to_string(format!("/proc/{id}/{name}")),
        }
    }

    /// What all its threads have used, by the kernel's count of hundredths.
    ///
    /// # Errors
    /// The system is not Linux, or the process is gone.
    pub fn processor_time(self) -> Result<Duration, Box<dyn Error>> {
        let stat = self.file("stat")?;
        let (_, after_name) = stat.rsplit_once(')').ok_or("the form of /proc/self/stat")?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |at: usize| -> Result<u64, Box<dyn Error>> {
            Ok(fields
                .get(at)
                .ok_or("the form of /proc/self/stat")?
                .parse()?)
        };
        Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
    }

    /// Bytes of memory in use.
    ///
    /// # Errors
    /// The system is not Linux, or the process is gone.
    pub fn resident(self) -> Result<u64, Box<dyn Error>> {
        let status = self.file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        Ok(kilobytes
            .ok_or("the form of /proc/self/status")?
            .parse::<u64>()?
            * 1024)
    }
}

/// What all threads of this process have used, by the kernel's count of hundredths.
///
/// # Errors
/// The system is not Linux.
pub fn processor_time() -> Result<Duration, Box<dyn Error>> {
    Process::This.processor_time()
}

/// What this thread has used, to the nanosecond.
#[must_use]
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bytes of memory in use.
///
/// # Errors
/// The system is not Linux.
pub fn resident() -> Result<u64, Box<dyn Error>> {
    Process::This.resident()
}
