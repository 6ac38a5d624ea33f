//! Quiet hours against a clock that is not ours: `tests/foreign/hours.py` asks and knows the answers, by Python's
//! zoneinfo, and `outreachd policy next-allowed` has to give the same.
//!
//! Both sides bring a time zone database of their own. A zone whose changes of the clock differ between the two is
//! counted apart: there the answers may differ without a fault of ours.

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// What is compared.
pub(crate) struct Years {
    pub(crate) first: i16,
    /// The first that is not.
    pub(crate) until: i16,
    /// Instants asked about for each pair of hours.
    pub(crate) each: u32,
    /// All where none is named.
    pub(crate) zones: &'static [&'static str],
}

/// What was compared.
#[derive(Debug)]
pub(crate) struct Compared {
    database: String,
    zones: usize,
    changes: usize,
    pub(crate) cases: usize,
    /// Zones of which the two databases do not say the same.
    pub(crate) apart: Vec<String>,
    pub(crate) wrong: Vec<String>,
    took: Duration,
}

impl Compared {
    /// Answers of the command in one second, its start included.
    fn per_second(&self) -> f64 {
        f64::from(u32::try_from(self.cases).unwrap()) / self.took.as_secs_f64()
    }
}

/// Whether there is a Python with zoneinfo (3.9 and newer).
pub(crate) fn has_python() -> bool {
    let asked = Command::new(python()).args(["-c", "import zoneinfo"]).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Compares, and prints one line of figures.
pub(crate) fn compare(name: &str, years: &Years) -> Compared {
    let folder = tempfile::tempdir().unwrap();
    let questions = folder.path().join("questions.ndjson");
    let mut compared = Compared {
        database: String::new(),
        zones: 0,
        changes: 0,
        cases: 0,
        apart: Vec::new(),
        wrong: Vec::new(),
        took: Duration::ZERO,
    };
    let expected = ask(years, &mut compared, &questions);
    let started = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_outreachd"))
        .args(["policy", "next-allowed"])
        .arg(&questions)
        .output()
        .unwrap();
    compared.took = started.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = String::from_utf8(output.stdout).unwrap();
    assert_eq!(answers.lines().count(), expected.len());
    for (answer, (question, expected)) in answers.lines().zip(&expected) {
        let answer: Value = serde_json::from_str(answer).unwrap();
        let next = answer["next_allowed"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        if next != Some(*expected) {
            compared.wrong.push(format!("{question}: {answer}"));
        }
    }
    let figures = json!({
        "proof": name, "database": compared.database, "zones": compared.zones, "changes": compared.changes,
        "cases": compared.cases, "zones_apart": compared.apart, "wrong": compared.wrong.len(),
        "answers_per_second": compared.per_second().round(),
    });
    println!("{figures}");
    compared
}

/// Lets the foreign clock ask; its questions go into the file, and its answers come back with them.
fn ask(years: &Years, compared: &mut Compared, file: &std::path::Path) -> Vec<(String, Timestamp)> {
    let mut foreign = Command::new(python())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/hours.py"))
        .args(["--from", &years.first.to_string(), "--until", &years.until.to_string()])
        .args(["--each", &years.each.to_string()])
        .args(years.zones)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut questions = BufWriter::new(std::fs::File::create(file).unwrap());
    let mut expected = Vec::new();
    let mut same = false;
    for line in BufReader::new(foreign.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        if let Some(version) = said["database"].as_str() {
            compared.database = version.to_owned();
        } else if said["changes"].is_array() {
            let zone = said["zone"].as_str().unwrap();
            let ours = changes(zone, years);
            same = ours.as_ref() == Some(&said["changes"]);
            if same {
                compared.zones += 1;
                compared.changes += said["changes"].as_array().unwrap().len();
            } else {
                compared.apart.push(zone.to_owned());
            }
        } else if same {
            expected.push((line.clone(), said["next_allowed"].as_str().unwrap().parse().unwrap()));
            // The command passes over fields that it does not know, but is not told the answer.
            let mut question = said;
            question.as_object_mut().unwrap().remove("next_allowed");
            writeln!(questions, "{question}").unwrap();
        }
    }
    assert!(foreign.wait().unwrap().success());
    questions.flush().unwrap();
    compared.cases = expected.len();
    expected
}

/// When our database changes the clock of a zone, and to which offset, in the spelling of the foreign one; `None`
/// where it does not know the zone.
fn changes(zone: &str, years: &Years) -> Option<Value> {
    let zone = TimeZone::get(zone).ok()?;
    let new_year = |year| {
        let day = jiff::civil::date(year, 1, 1).to_zoned(TimeZone::UTC).unwrap();
        day.timestamp()
    };
    let (first, until) = (new_year(years.first), new_year(years.until));
    let mut before = zone.to_offset(first);
    let mut found = Vec::new();
    for change in zone.following(first).take_while(|change| change.timestamp() < until) {
        let after = change.offset();
        if after != before {
            found.push(json!([change.timestamp().as_second(), after.seconds()]));
            before = after;
        }
    }
    Some(Value::Array(found))
}

fn python() -> String {
    std::env::var("OUTREACHD_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}
