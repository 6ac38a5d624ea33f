//! `outreachd demo --tour` comes to every reason that it says it comes to. What is shown of it is what it says: two
//! explanations in the README, and all stops in the table of `deploy/reasons.md`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use serde_json::Value;

/// A line of the README that names a reason and says what happens.
fn headed(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("**")?.split_once("**: ")
}

/// The explanations in the README, by reason: the sentence, and the indented lines below it.
fn shown(readme: &str) -> BTreeMap<String, (String, String)> {
    let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut reason = None;
    for line in readme.lines() {
        if let Some((name, why)) = headed(line) {
            reason = Some(name.to_owned());
            found.insert(name.to_owned(), (why.to_owned(), String::new()));
        } else if let (Some(reason), Some(text)) = (&reason, line.strip_prefix("    ")) {
            found.get_mut(reason).unwrap().1 += &format!("{text}\n");
        } else if !line.is_empty() {
            reason = None;
        }
    }
    found
}

/// Without what is another one each time: ids, instants, and whether an event has been published by now.
fn normalised(text: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_end_matches([',', ';', ':']);
        let rest = &word[bare.len()..];
        if uuid::Uuid::parse_str(bare).is_ok() {
            format!("ID{rest}")
        } else if bare.parse::<Timestamp>().is_ok() {
            format!("TIME{rest}")
        } else {
            word.to_owned()
        }
    };
    let line = |line: &str| {
        line.trim_end_matches(", not yet published").split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n"
    };
    text.lines().map(line).collect()
}

/// The head of the table of all stops.
const HEAD: &str = "| reason | the message is | stopped by the gate | what happens |";

/// A file of the repository.
fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// A stop of the tour in one line of that table: how its message stands, or what the caller was told.
fn row(stop: &Value) -> String {
    let text = stop["text"].as_str().unwrap();
    let after = |word: &str| text.lines().find_map(|line| line.strip_prefix(word)).map(str::trim);
    let stands = match after("message ") {
        Some(message) => message.split_whitespace().nth(1).unwrap(),
        None => text.split_whitespace().next().unwrap(),
    };
    let gate = after("stopped ").and_then(|told| told.split(' ').next()).unwrap_or("-");
    let (reason, why) = (stop["reason"].as_str().unwrap(), stop["why"].as_str().unwrap());
    format!("| `{reason}` | {stands} | {gate} | {} |", why.replace('|', "\\|"))
}

#[test]
fn the_tour_comes_to_every_reason_and_what_is_shown_of_it_is_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let said = Command::new(env!("CARGO_BIN_EXE_outreachd"))
        .args(["demo", "--tour", "--json"])
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success(), "{text}\n{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the temporary folder is gone");
    for address in ["1312555", "1773555", "reject-571", "bounce-511"] {
        assert!(!text.contains(address), "{address} is shown");
    }

    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&told["ok"], &told["missing"]), (&Value::Bool(true), &Value::Array(Vec::new())));
    let reasons = told["reasons"].as_array().unwrap();
    let by_reason: BTreeMap<&str, &Value> =
        reasons.iter().map(|r| (r["reason"].as_str().unwrap(), r)).collect();
    for (name, expected) in
        [("plan_exhausted", &["sms", "email", "voice"] as &[&str]), ("plan", &["sms", "email"])]
    {
        let steps = by_reason[name]["explained"]["attempts"].as_array().unwrap();
        let channels: Vec<&str> = steps.iter().map(|step| step["channel"].as_str().unwrap()).collect();
        assert_eq!(channels, expected, "every step of the plan");
    }

    let listed = file("deploy/reasons.md");
    let table: Vec<&str> =
        listed.lines().skip_while(|line| *line != HEAD).skip(2).take_while(|l| !l.is_empty()).collect();
    let rows: Vec<String> = reasons.iter().map(row).collect();
    assert_eq!(table, rows, "the table of all stops: show it as it is now:\n{}", rows.join("\n"));
    let shown = shown(&file("README.md"));
    let names: Vec<&str> = shown.keys().map(String::as_str).collect();
    assert_eq!(names, ["plan_exhausted", "quiet_hours"], "one that waits, and one that has tried every way");
    for (reason, (why, text)) in &shown {
        let told = by_reason.get(reason.as_str()).unwrap_or_else(|| panic!("{reason} is not on the tour"));
        assert_eq!(told["why"].as_str().unwrap(), why, "{reason}");
        assert_eq!(
            normalised(told["text"].as_str().unwrap()),
            normalised(text),
            "{reason}: show it as it is now"
        );
    }
}
