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
    // Before there is a ledger that is what is wrong, and nothing else can be said. Nobody makes one by asking.
    let (code, text) = outreachd(path, "doctor");
    assert!(
        code == Some(1)
            && text.contains("NOW    ledger: there is no ledger at ")
            && text.contains("outreachd migrate"),
        "{text}"
    );
    let (code, text) = outreachd(path, "hold all --reason quiet");
    assert!(
        code == Some(1) && text.contains("there is no ledger at ") && !text.contains("holding"),
        "{text}"
    );
    assert!(!path.join("outreachd.db").exists());
    assert_eq!(outreachd(path, "migrate").0, Some(0));
    let (_, text) = outreachd(path, "doctor");
    let told = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    assert!(told("configuration: ").ends_with("/outreachd.toml"), "{text}");
    assert!(told("ledger: /").ends_with("/outreachd.db"), "{text}");

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
    assert_eq!(told["findings"][0]["runbook"], "http://127.0.0.1:8080/console/runbook.md#no_worker");
    assert!(told["passed"].as_array().unwrap().iter().any(|one| one == "config"), "{text}");

    // What stops everything is told with the command that ends it.
    assert_eq!(outreachd(path, "hold all --reason quiet").0, Some(0));
    let (_, holds) = outreachd(path, "holds --json");
    let all = holds.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let all = all.into_iter().find(|hold| hold["scope"] == "all").unwrap();
    let release = format!("release {}", all["id"].as_str().unwrap());
    let (_, text) = outreachd(path, "doctor");
    assert!(text.contains(&format!("`outreachd {release}`")), "{text}");
    assert_eq!(outreachd(path, &release).0, Some(0));

    let (code, text) = outreachd(path, "hold channel fax --reason quiet");
    assert!(code == Some(1) && text.contains("use one of: ") && text.contains("sms"), "{text}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    settings(&format!("[http]\nlisten = \"{}\"", taken.local_addr().unwrap()));
    let (code, text) = outreachd(path, "run");
    assert!(code == Some(1) && text.contains("ss -ltnp") && text.contains("or set [http] listen"), "{text}");

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
