//! `outreachd recover` on a copied file, as somebody types it.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

struct Desk(TempDir);

impl Desk {
    fn open() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let text = format!(
            "[store]\nurl = \"sqlite://{}\"\n[templates]\ndir = \"{}\"\n",
            desk.path("ledger.db"),
            templates.display()
        );
        std::fs::write(desk.path("outreachd.toml"), text).unwrap();
        desk
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Exit code, and what it said.
    fn say(&self, words: &[&str]) -> (bool, String) {
        let config = self.path("outreachd.toml");
        let program = env!("CARGO_BIN_EXE_outreachd");
        let done = Command::new(program).args(["--config", &config]).args(words).output().unwrap();
        let text = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8(text).unwrap())
    }

    fn good(&self, words: &[&str]) -> String {
        let (good, text) = self.say(words);
        assert!(good, "{words:?}: {text}");
        text
    }

    fn messages(&self) -> Vec<Value> {
        let lines = self.good(&["--json", "messages", "list"]);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn a_copied_file_is_made_safe_in_two_goes() {
    let desk = Desk::open();
    desk.good(&["migrate"]);
    let jobs = ["a", "b", "c"].map(|id| {
        json!({ "id": id, "patient_id": "P1", "template": "preferences-changed", "data": {} }).to_string()
    });
    desk.good(&["enqueue", &desk.file("jobs.ndjson", &jobs.join("\n"))]);
    let now = jiff::Timestamp::now().to_string();
    let future = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
    let past = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1)).to_string();

    for (words, cure) in [
        (vec!["recover", "--restored-to", &future], "give the time when the dump was begun"),
        (vec!["recover", "--restored-to", &past], "give the time of the dump that was restored"),
        (vec!["recover", "--restored-to", "yesterday"], "2026-11-28T15:00:00Z"),
        (vec!["recover", "--restored-to", &now, "--complete"], "--sent"),
        (vec!["recover", "--restored-to", &now, "--down-since", &past], "when the last worker stopped"),
        (vec!["recover", "--restored-to", &now, "--sent", "nowhere.ndjson"], "name a file that exists"),
    ] {
        let (good, text) = desk.say(&words);
        assert!(!good && text.contains(cure), "{words:?}: {text}");
    }
    let bad = desk.file("bad.ndjson", "{\"type\":\"message.sent\"}\nnothing\n");
    let (good, text) = desk.say(&["recover", "--restored-to", &now, "--sent", &bad]);
    assert!(!good && text.contains("line 1: message_id") && text.contains("2 lines"), "{text}");
    assert_eq!(desk.good(&["holds"]).trim(), "nothing is held", "nothing was done until now");

    let first: Value =
        serde_json::from_str(&desk.good(&["--json", "recover", "--restored-to", &now])).unwrap();
    assert_eq!((&first["unknown"], &first["settled"]), (&json!(3), &json!(0)), "{first}");
    let unknown = desk.messages();
    assert!(unknown.iter().all(|m| m["status"] == "unknown"), "{unknown:?}");

    // The log turns up: one was sent, and it is the whole log.
    let sent = json!({ "send_key": format!("{}-0", unknown[0]["id"].as_str().unwrap().replace('-', "")) });
    let log = desk.file("sent.ndjson", &sent.to_string());
    let words = ["--json", "recover", "--restored-to", &now, "--sent", &log, "--complete"];
    let second: Value = serde_json::from_str(&desk.good(&words)).unwrap();
    assert_eq!((&second["settled"], &second["due"]), (&json!(1), &json!(2)), "{second}");
    assert_eq!(second["hold"], first["hold"], "one hold, however often it is run");
    let statuses: Vec<Value> = desk.messages().iter().map(|m| m["status"].clone()).collect();
    assert_eq!(statuses.iter().filter(|s| **s == "sent").count(), 1, "{statuses:?}");
    let told = desk.good(&["recover", "--restored-to", &now, "--sent", &log]);
    assert!(told.contains("outreachd release"), "{told}");
    assert!(desk.good(&["audit", "list"]).contains("recover"));
}
