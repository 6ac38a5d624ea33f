//! The log: JSON or pretty, on standard error, without the chatter of libraries, some of which print frames and
//! bodies at their lower levels.

use std::io::{self, IsTerminal};

use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Filter, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use super::Failure;
use crate::config::log::{LogFormat, LogLevel, LogSection};

/// Overrides the level: `debug`, or by module, such as `outreachd::broker=debug`.
const VARIABLE: &str = "OUTREACHD_LOG";

/// Starts logging. A second start in one process changes nothing.
///
/// # Errors
/// The variable cannot be read.
pub(super) fn start(log: LogSection) -> Result<(), Failure> {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(text).map_err(|_| {
            let cure = "write a level such as `debug`, or `outreachd::broker=debug`";
            Failure::said(format!("{VARIABLE} is not a filter"), cure)
        })?,
        _ => of_level(log.level),
    };
    let layer =
        tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    let layer = match log.format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Pretty => layer.with_target(false).boxed(),
    };
    // Only a second start fails, and that one may keep the first's settings.
    let _ = tracing_subscriber::registry().with(layer.with_filter(only_fit(filter))).try_init();
    log_panics();
    Ok(())
}

/// Our own lines from this level up, and warnings of libraries. The broker's calls it an error when we ask whether a queue
/// exists; our own lines tell of outages.
fn of_level(level: LogLevel) -> EnvFilter {
    EnvFilter::new(format!("warn,lapin=off,outreachd={level}"))
}

/// What of it is fit to print. A line below all that is printed costs a look at one number, so both parts must say how far
/// they go: of one that does not, every level is expected.
fn only_fit(filter: EnvFilter) -> impl Filter<Registry> {
    let lowest = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let is_fit = move |line: &Metadata<'_>| *line.level() <= lowest && is_fit_to_print(line);
    filter.and(filter_fn(is_fit).with_max_level_hint(lowest))
}

/// Whatever the filter says: libraries from `warn` up only. Their lower levels hold frames, queries and headers.
fn is_fit_to_print(line: &Metadata<'_>) -> bool {
    line.target().starts_with("outreachd") || *line.level() <= LevelFilter::WARN
}

/// A panic's text may quote what it met, so only its place is told.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a task failed by a fault of ours; report this to the maintainers");
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::Subscriber;

    use super::*;

    /// The lowest level that may be printed, and which of some lines are.
    fn printed(filter: EnvFilter) -> (Option<LevelFilter>, String) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .without_time()
            .with_ansi(false)
            .with_level(false)
            .with_target(false)
            .with_writer(move || Lines(writer.clone()));
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(only_fit(filter)));
        let lowest = Subscriber::max_level_hint(&subscriber);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "outreachd::broker", "own");
            tracing::debug!(target: "outreachd::broker", "low");
            tracing::trace!(target: "outreachd::broker", "lowest");
            tracing::warn!(target: "sqlx", "theirs");
            tracing::debug!(target: "sqlx", "private");
            tracing::error!(target: "lapin", "noise");
        });
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        (lowest, text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(part);
            Ok(part.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_below_all_that_is_printed_is_known_by_its_level() {
        let as_text = |text: &str| EnvFilter::try_new(text).unwrap();
        for (filter, lowest, lines) in [
            (of_level(LogLevel::Info), LevelFilter::INFO, "own theirs"),
            (of_level(LogLevel::Error), LevelFilter::WARN, "theirs"),
            (of_level(LogLevel::Trace), LevelFilter::TRACE, "own low lowest theirs"),
            (as_text("outreachd::broker=debug"), LevelFilter::DEBUG, "own low"),
            // Whatever they ask for, nothing of what others may not read.
            (as_text("trace"), LevelFilter::TRACE, "own low lowest theirs noise"),
        ] {
            assert_eq!(printed(filter), (Some(lowest), lines.to_owned()));
        }
    }
}
