//! Who may enter whom. Rust allows circles between modules; this house does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms by floor. A room imports from the floors below it only; the exceptions are named.
const FLOORS: &[&[&str]] = &[
    &["domain", "client", "faults"],
    &["policy", "config"],
    &["template", "provider", "store", "broker", "callback", "identity", "telemetry"],
    &["intake", "dispatch", "receipt", "campaign", "watch"],
    &["http", "simulator", "mailbox"],
    &["app", "cli", "main"],
];

/// Arrows within a floor, each with its reason.
const ALLOWED: &[(&str, &str)] = &[
    // A job that is accepted is handed over at once.
    ("intake", "dispatch"),
    // What came back is told at once, and goes on at once; a machine is told what dispatch renders.
    ("receipt", "dispatch"),
    // Recipients become jobs like any other, by the same gatekeeper; a dry run asks what dispatch would do.
    ("campaign", "intake"),
    ("campaign", "dispatch"),
    // The command line starts what the app builds.
    ("cli", "app"),
];

#[test]
fn every_arrow_points_down() {
    let floor: BTreeMap<&str, usize> =
        FLOORS.iter().enumerate().flat_map(|(n, rooms)| rooms.iter().map(move |room| (*room, n))).collect();
    let (mut wrong, mut needed) = (Vec::new(), BTreeSet::new());
    let mut seen = 0;
    for file in rust_files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let room = room_of(&file);
        if room == "lib" {
            continue;
        }
        let from = *floor.get(room.as_str()).unwrap_or_else(|| panic!("{room} stands on no floor: {file:?}"));
        for target in arrows(&fs::read_to_string(&file).unwrap()) {
            seen += 1;
            let to = *floor.get(target.as_str()).unwrap_or_else(|| panic!("{target} stands on no floor"));
            if target == room || to < from {
                continue;
            }
            match ALLOWED.iter().find(|arrow| **arrow == (room.as_str(), target.as_str())) {
                Some(arrow) => {
                    needed.insert(*arrow);
                }
                None => wrong.push(format!("{} -> {target}", file.display())),
            }
        }
    }
    assert!(seen > 100, "the test has lost its eyes: {seen} arrows");
    assert!(wrong.is_empty(), "arrows that point up or sideways:\n{}", wrong.join("\n"));
    let idle: Vec<_> = ALLOWED.iter().filter(|arrow| !needed.contains(*arrow)).collect();
    assert!(idle.is_empty(), "allowed, and nowhere to be seen: {idle:?}");
}

#[test]
fn an_arrow_is_seen_however_it_is_written() {
    let text = "use crate::domain::ids::X;\nuse crate::{store, policy::decide};\n    crate::broker::Y::new();\n// crate::nowhere\n";
    let found = arrows(text);
    assert_eq!(found, ["domain", "store", "policy", "broker"]);
}

/// The rooms that a file's text names by `crate::`, comments left out.
fn arrows(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let count = |text: &str, brace: char| i64::try_from(text.matches(brace).count()).unwrap();
    let code: String =
        text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for part in code.split("crate::").skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            let mut depth = 0;
            for item in group.split_inclusive([',', '{', '}']) {
                if depth == 0 {
                    let word = word(item.trim_start());
                    if !word.is_empty() {
                        found.push(word);
                    }
                }
                depth += count(item, '{') - count(item, '}');
                if depth < 0 {
                    break;
                }
            }
        } else {
            found.push(word(part));
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

fn room_of(file: &Path) -> String {
    let inside = file.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}
