//! `outreachd doctor` and `alerts`, as whoever is woken uses them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn outreachd(folder: &Path, words: &str) -> (Option<i32>, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_outreachd"))
        .args(words.split(' '))
        .current_dir(folder)
        .env("USER", "ana")
        .output()
        .unwrap();
    (done.status.code(), String::from_utf8(done.stdout).unwrap() + &String::from_utf8_lossy(&done.stderr))
}

#[test]
fn the_most_urgent_comes_first_with_its_cure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let settings = |more: &str| {
        let templates = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
        std::fs::write(path.join("outreachd.toml"), format!("[templates]\ndir = \"{templates}\"\n{more}"))
            .unwrap();
    };
    settings("");
    // Before there is a schema the ledger is what is wrong, and nothing else can be said.
    let (code, text) = outreachd(path, "doctor");
    assert!(
        code == Some(1) && text.contains("NOW    ledger: ") && text.contains("outreachd migrate"),
        "{text}"
    );
    assert_eq!(outreachd(path, "migrate").0, Some(0));

    assert_eq!(outreachd(path, "hold site lakeside-north --reason closed").0, Some(0));
    let (code, text) = outreachd(path, "doctor --json");
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!((code, &told["healthy"]), (Some(1), &Value::Bool(false)));
    let found: Vec<(&str, &str)> = told["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["urgency"].as_str().unwrap(), one["what"].as_str().unwrap()))
        .collect();
    assert_eq!(found[0], ("now", "No worker is running: nothing is sent."), "{text}");
    assert!(
        found
            .iter()
            .any(|(urgency, what)| *urgency == "note"
                && what.starts_with("site lakeside-north is held by cli:")),
        "{text}"
    );
    assert!(
        found.is_sorted_by_key(|(urgency, _)| ["now", "today", "note"].iter().position(|one| one == urgency))
    );
    assert_eq!(told["findings"][0]["runbook"], "deploy/runbook.md#no_worker");
    assert!(told["passed"].as_array().unwrap().iter().any(|one| one == "config"), "{text}");

    settings("[notify]\nemail = [\"oncall@example.org\"]");
    let (code, text) = outreachd(path, "doctor");
    assert!(
        code == Some(1) && text.contains("notify.email: needs a relay") && text.contains("do: name a relay"),
        "{text}"
    );
    settings("");
    let (code, text) = outreachd(path, "alerts list");
    assert!(code == Some(0) && text.contains("nothing is wrong"), "{text}");
    let (code, text) = outreachd(path, "alerts acknowledge no_worker");
    assert!(code == Some(1) && text.contains("no alert of that key stands"), "{text}");
}
