//! What this process has used, as the kernel counts.

use std::{error::Error, fs, time::Duration};

/// What all threads of this process have used, by the kernel's count of hundredths.
///
/// # Errors
/// The system is not Linux.
pub fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
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
/// The system is not Linux.
pub fn resident() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes
        .ok_or("the form of /proc/self/status")?
        .parse::<u64>()?
        * 1024)
}
