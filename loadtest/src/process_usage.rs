//! What a process has used so far, as Linux tells under /proc.
//!
//! In the flow: `null_elasticsearch` → **`process_usage`** → `bench_gateway`, `bench_sink`.

use anyhow::Context as _;
use serde::Serialize;

/// Of a second; the same on every Linux that user space sees (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Seconds of CPU, in the program and in the kernel for it.
    pub cpu_seconds: f64,
    /// Of these, those in the kernel.
    pub system_seconds: f64,
    /// The most memory that it held at a time, in MiB.
    pub peak_memory_mib: f64,
}

impl Usage {
    /// Lets the peak begin anew (proc(5), `clear_refs`). Without the right to, it stays that of the whole life.
    pub fn forget_peak(pid: u32) {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").ok();
    }

    /// Of a running process.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("process {pid}: `{path}`"))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        parse(&stat, &status).with_context(|| format!("process {pid}: unreadable figures"))
    }
}

fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The name in brackets may hold anything; the numbers follow the last one.
    let (_, numbers) = stat.rsplit_once(") ")?;
    let numbers: Vec<&str> = numbers.split(' ').collect();
    let ticks = |at: usize| numbers.get(at)?.parse::<u64>().ok();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(Usage {
        cpu_seconds: (ticks(11)? + ticks(12)?) as f64 / TICKS_PER_SECOND,
        system_seconds: ticks(12)? as f64 / TICKS_PER_SECOND,
        peak_memory_mib: (kib / 102.4).round() / 10.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_numbers() {
        let stat = "7 (a) b ) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 100 1 2";
        let status = "Name:\ta\nVmPeak:\t  9999 kB\nVmHWM:\t   51200 kB\n";
        let expected = Usage {
            cpu_seconds: 3.0,
            system_seconds: 0.5,
            peak_memory_mib: 50.0,
        };
        assert_eq!(parse(stat, status), Some(expected));
        assert_eq!(parse("7 (a", status), None);
        assert_eq!(parse(stat, "Name:\ta\n"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(Usage::of(std::process::id()).unwrap().peak_memory_mib > 1.0);
        assert!(Usage::of(u32::MAX).is_err());
    }
}
