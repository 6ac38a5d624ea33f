//! What was measured, as a table and as JSON.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::cli::Failure;
use crate::cli::demo::peak_rss;
use crate::cli::out::Out;

/// All figures of one run.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) ledger: &'static str,
    pub(super) way_in: &'static str,
    pub(super) jobs: u64,
    pub(super) people: usize,
    pub(super) publish_per_s: f64,
    pub(super) drain_seconds: f64,
    pub(super) drain_per_s: f64,
    pub(super) singles: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Of this process: the worker and the simulated provider, and with SQLite the database.
    pub(super) cpu_us_per_job: Option<f64>,
    pub(super) rss_mb: Option<u64>,
    pub(super) sync_ms: f64,
    pub(super) latency_ms: u64,
}

impl Figures {
    pub(super) fn write(&self, out: &mut Out) -> Result<(), Failure> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let rows = [
            ("ledger", self.ledger.to_owned()),
            ("jobs come", self.way_in.to_owned()),
            ("provider", format!("simulated, answers after {} ms", self.latency_ms)),
            (
                "brought in",
                format!("{:.0} jobs/s ({} jobs for {} people)", self.publish_per_s, self.jobs, self.people),
            ),
            (
                "drained",
                format!(
                    "{:.0} jobs/s ({:.1} s, until the last event was told)",
                    self.drain_per_s, self.drain_seconds
                ),
            ),
            (
                "one job",
                format!(
                    "p50 {:.1} ms, p99 {:.1} ms ({} jobs, to the provider)",
                    self.p50_ms, self.p99_ms, self.singles
                ),
            ),
            (
                "processor",
                or_dash(
                    self.cpu_us_per_job
                        .map(|us| format!("{us:.0} us a job, the simulated provider included")),
                ),
            ),
            ("memory", or_dash(self.rss_mb.map(|mb| format!("{mb} MB at most")))),
            ("disk", format!("{:.2} ms until 8 KiB are there for good (median, this machine)", self.sync_ms)),
        ];
        for (name, value) in rows {
            out.line(format!("{name:<11} {value}"))?;
        }
        Ok(())
    }
}

/// What this process has used; nothing where the system does not say so in `/proc`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    cpu_ticks: Option<u64>,
    pub(super) peak_rss_mb: Option<u64>,
}

impl Usage {
    pub(super) fn now() -> Self {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Self {
            cpu_ticks: ticks(11).zip(ticks(12)).map(|(user, system)| user + system),
            peak_rss_mb: peak_rss().map(|bytes| bytes >> 20),
        }
    }

    /// Processor time from here until there, in microseconds. Linux counts in hundredths of a second.
    pub(super) fn cpu_us_until(&self, later: &Self) -> Option<f64> {
        Some(later.cpu_ticks?.saturating_sub(self.cpu_ticks?) as f64 * 10_000.0)
    }
}

/// The value below which so many percent of the sorted values lie; 0 of none.
pub(super) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let place = (sorted.len() as f64 * percent / 100.0).ceil().max(1.0);
    sorted
        .iter()
        .copied()
        .zip(1_u32..)
        .take_while(|(_, n)| f64::from(*n) <= place)
        .last()
        .map_or(0.0, |(v, _)| v)
}

/// How long the disk of `folder` takes to have a small write for good: the median of 50, in milliseconds.
pub(super) fn sync_ms(folder: &Path) -> std::io::Result<f64> {
    let path = folder.join(format!("outreachd-bench-{}", uuid::Uuid::now_v7().simple()));
    let mut file = std::fs::File::create_new(&path)?;
    let mut write = || -> std::io::Result<f64> {
        file.write_all(&[7; 8_192])?;
        let started = Instant::now();
        file.sync_data()?;
        Ok(started.elapsed().as_secs_f64() * 1_000.0)
    };
    let times: std::io::Result<Vec<f64>> = (0..50).map(|_| write()).collect();
    std::fs::remove_file(&path)?;
    let mut times = times?;
    times.sort_by(f64::total_cmp);
    Ok(percentile(&times, 50.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        for (percent, expected) in [(0.0, 1.0), (50.0, 50.0), (99.0, 99.0), (100.0, 100.0)] {
            assert_eq!(percentile(&values, percent), expected, "{percent}");
        }
        assert_eq!(percentile(&[7.0], 99.0), 7.0);
        assert_eq!(percentile(&[], 99.0), 0.0);
    }
}
