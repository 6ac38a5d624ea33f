//! `outreachd recover` on a copied file, as somebody types it.

use std::path::Path;
use std::process::Command;

use outreachd::simulator::{Outage, Simulator, SimulatorConfig};
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use tempfile::TempDir;

struct Desk(TempDir);

impl Desk {
    fn open() -> Self {
        Self::with("")
    }

    /// One whose configuration says this as well.
    fn with(more: &str) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let text = format!(
            "[store]\nurl = \"sqlite://{}\"\n[templates]\ndir = \"{}\"\n{more}",
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
    // As far as a dump's time may be off.
    let now = (jiff::Timestamp::now() - jiff::SignedDuration::from_mins(3)).to_string();
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
    // What was due after the end was let be by the first run: another end comes too late, the same one does not.
    let again = ["recover", "--restored-to", &now, "--down-since", &now];
    let (good, text) = desk.say(&[&again[..], &["--margin", "0s"]].concat());
    assert!(!good && text.contains("leave --down-since out"), "{text}");
    assert!(text.contains("cli:") && text.contains(" began this recovery"), "{text}");
    desk.good(&again);
    assert!(desk.good(&["audit", "list"]).contains("recover"));
}

/// As many stops as the ledger knows by the words of patients.
async fn stops(desk: &Desk) -> i64 {
    let url = format!("sqlite://{}", desk.path("ledger.db"));
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let sql = "SELECT count(*) FROM address_consents WHERE NOT granted AND channel = 'sms' AND source = 'patient' AND evidence LIKE 'reply sms SM%: stop'";
    sqlx::query(sql).fetch_one(&mut connection).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_was_said_since_the_dump_is_asked_for_where_it_was_said() {
    /// More than one page of the list.
    const STOPS: usize = 130;
    let simulator = Simulator::start(SimulatorConfig::default()).await.unwrap();
    let account = &simulator.config().twilio;
    let provider = |name: &str, kind: &str| {
        format!(
            "[[provider]]\nname = \"{name}\"\nkind = \"{kind}\"\nbase_url = \"{}\"\naccount_sid = \"{}\"\n\
             auth_token = \"{}\"\nfrom = [\"+13125550100\"]\n",
            simulator.twilio_url(),
            account.account_sid,
            account.auth_token.expose()
        )
    };
    let desk = Desk::with(&(provider("sms", "twilio_sms") + &provider("voice", "twilio_voice")));
    desk.good(&["migrate"]);
    let now = jiff::Timestamp::now().to_string();
    for n in 0..STOPS {
        simulator.text_comes_in(&format!("+1312555{:04}", 1_000 + n), "+13125550100", "STOP");
    }
    // To another system's number, and from what is no number.
    simulator.text_comes_in("+13125550142", "+13125550199", "STOP");
    simulator.text_comes_in("72345", "+13125550100", "STOP");

    simulator.set_outage(None, Outage::Unavailable);
    let (good, text) = desk.say(&["--json", "recover", "--restored-to", &now]);
    assert!(!good && text.contains("\"why\": \"unreachable\""), "{text}");
    assert_eq!(stops(&desk).await, 0);
    let alone = desk.good(&["--json", "recover", "--restored-to", &now, "--no-providers"]);
    let alone: Value = serde_json::from_str(&alone).unwrap();
    let not_asked = |provider, why| json!({ "provider": provider, "why": why });
    assert_eq!(
        (&alone["asked"], &alone["not_asked"]),
        (&json!([]), &json!([not_asked("sms", "not_wanted"), not_asked("voice", "not_wanted")]))
    );

    simulator.set_outage(None, Outage::None);
    for _ in 0..2 {
        let said = desk.good(&["--json", "recover", "--restored-to", &now]);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["asked"], json!([{ "provider": "sms", "replies": STOPS }]));
        assert_eq!(said["not_asked"], json!([not_asked("voice", "no_list")]), "calls are in no such list");
        assert_eq!(stops(&desk).await, i64::try_from(STOPS).unwrap(), "each of them once");
    }
    let told = desk.good(&["recover", "--restored-to", &now]);
    assert!(told.contains("130  replies that providers list") && told.contains("--optouts"), "{told}");
}
