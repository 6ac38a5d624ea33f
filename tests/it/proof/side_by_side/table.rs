//! What a run says: a table for people, and the same in figures.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// One queue that was drained.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Piece {
    pub(super) kind: &'static str,
    pub(super) jobs: u64,
    /// How long it took.
    pub(super) ms: u64,
    /// Jobs a second.
    pub(super) rate: f64,
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// Lines that somebody read in the live log, where somebody did.
    pub(super) lines: Option<u64>,
    pub(super) cpu_ms: Value,
    /// Why it does not count.
    pub(super) void: Option<String>,
}

impl Piece {
    /// Jobs a second, in whole numbers.
    pub(super) fn a_second(&self) -> u64 {
        self.jobs * 1_000 / self.ms.max(1)
    }
}

/// The middle of the rates of a kind, the least and the most; `None` where none counts.
fn spread(kind: &str, pieces: &[Piece]) -> Option<(f64, f64, f64)> {
    let counted = pieces.iter().filter(|piece| piece.kind == kind && piece.void.is_none());
    let mut rates: Vec<f64> = counted.map(|piece| piece.rate).collect();
    rates.sort_by(f64::total_cmp);
    let (least, most) = (*rates.first()?, *rates.last()?);
    let upper = rates[rates.len() / 2];
    let median = if rates.len() % 2 == 1 { upper } else { f64::midpoint(rates[rates.len() / 2 - 1], upper) };
    Some((median, least, most))
}

/// Prints the table. Ratios are of medians; their ranges from the worst of ours to the best of the other, and the reverse.
pub(super) fn print(kinds: &[&str], pieces: &[Piece]) {
    println!(
        "{:<11} {:>7} {:>10} {:>21}  {:<24}",
        "", "pieces", "jobs/s", "from - to", "ours is so many times"
    );
    for kind in kinds {
        println!("{}", line(kind, pieces));
    }
    for piece in pieces.iter().filter(|piece| piece.void.is_some()) {
        println!("VOID: {} {}", piece.kind, piece.void.as_deref().unwrap_or_default());
    }
}

fn line(kind: &str, pieces: &[Piece]) -> String {
    let Some((median, least, most)) = spread(kind, pieces) else { return format!("{kind:<11} void") };
    let counted = pieces.iter().filter(|piece| piece.kind == kind && piece.void.is_none()).count();
    let ratio = spread("ours", pieces).map_or(String::new(), |(ours, low, high)| {
        format!("{:.2} ({:.2} - {:.2})", ours / median, low / most, high / least)
    });
    let range = format!("{least:.0} - {most:.0}");
    format!("{kind:<11} {counted:>7} {median:>10.0} {range:>21}  {ratio}")
}

#[test]
fn a_table_has_medians_ranges_and_ratios_of_what_counts() {
    let piece = |kind, rate, void: Option<&str>| Piece {
        kind,
        jobs: 1,
        ms: 60_000,
        rate,
        counts: BTreeMap::new(),
        lines: None,
        cpu_ms: Value::Null,
        void: void.map(str::to_owned),
    };
    let pieces = [
        piece("ours", 900.0, None),
        piece("celery", 90.0, None),
        piece("celery", 110.0, None),
        piece("ours", 1_000.0, None),
        piece("ours", 9_000.0, Some("counts")),
        piece("ours", 1_200.0, None),
        piece("bare", 5.0, Some("counts")),
    ];
    assert_eq!(spread("ours", &pieces), Some((1_000.0, 900.0, 1_200.0)));
    assert_eq!(spread("celery", &pieces), Some((100.0, 90.0, 110.0)));
    let words = |kind| line(kind, &pieces).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words("celery"), "celery 2 100 90 - 110 10.00 (8.18 - 13.33)");
    assert_eq!(words("bare"), "bare void");
}
