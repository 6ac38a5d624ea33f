//! The program itself, as people and scripts run it: against a private ledger and names of our own on the broker.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outreachd::app;
use outreachd::config::{Config, LoadOptions};
use outreachd::domain::ids::WorkerId;
use outreachd::intake::gatekeeper::Arrival;
use outreachd::intake::{Gatekeeper, Incoming, Intake};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::proxy::{Link, TcpProxy};
use crate::support::shared::{TestDatabase, amqp_url, unique_prefix};

/// A name, a number and an address that no output may show.
const CANARIES: [&str; 3] = ["Canarissima", "3125550142", "canary.person"];

/// A desk with a configuration of its own.
struct Office {
    database: TestDatabase,
    folder: TempDir,
}

/// What a command said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self.out
    }

    fn bad(self) -> String {
        assert_eq!(self.code, Some(1), "{}\n{}", self.out, self.err);
        self.out + &self.err
    }

    fn json_lines(self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Office {
    async fn open() -> Self {
        Self::on(TestDatabase::create().await)
    }

    /// With the schema in place.
    async fn migrated() -> Self {
        Self::on(TestDatabase::migrated().await)
    }

    fn on(database: TestDatabase) -> Self {
        let office = Self { database, folder: tempfile::tempdir().unwrap() };
        office.configure("");
        office
    }

    fn configure(&self, more: &str) {
        self.configure_http("", more);
    }

    /// The same, with more lines of `[http]`.
    fn configure_http(&self, http: &str, more: &str) {
        let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let text = format!(
            "[store]\nurl = \"{}\"\n[http]\nlisten = \"127.0.0.1:0\"\n{http}\n[templates]\ndir = \"{}\"\n{more}",
            self.database.url(),
            templates.display(),
        );
        std::fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("outreachd.toml")
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outreachd"));
        command.arg("--config").arg(self.config()).args(args).current_dir(self.folder.path());
        command.env_remove("OUTREACHD_CONFIG").env_remove("OUTREACHD_LOG").stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        said(self.command(args).output().unwrap())
    }

    fn feed(&self, args: &[&str], input: &str) -> Said {
        let mut command = self.command(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        said(child.wait_with_output().unwrap())
    }
}

fn said(output: std::process::Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn job(id: &str, patient: &str) -> Value {
    json!({ "id": id, "source": "ehr", "patient_id": patient, "template": "preferences-changed", "data": {} })
}

#[tokio::test]
async fn what_migrate_prepares_check_finds_well() {
    let office = Office::open().await;
    office.configure(&format!("[amqp]\nurl = \"{}\"\nprefix = \"{}\"\n", amqp_url(), unique_prefix()));
    let before = office.run(&["check"]).bad();
    assert!(before.contains("outreachd migrate") && before.contains("does not exist"), "{before}");
    office.run(&["migrate"]).good();
    office.run(&["migrate"]).good();
    let after = office.run(&["check"]).good();
    assert!(after.contains("all is well") && after.contains("mode capture"), "{after}");
    // Whose ledger it was is said first, and without the password.
    let mut lines = after.lines();
    assert_eq!(lines.next(), Some(format!("configuration: {}", office.config().display()).as_str()));
    let ledger = lines.next().unwrap();
    assert!(ledger.starts_with("ledger: postgres") && !after.contains(&password(&office)), "{after}");
    // Where the texts come from, and what the environment has a say in.
    let texts = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    assert!(after.contains(&format!(" loaded from {}", texts.display())), "{after}");
    let mut check = office.command(&["check"]);
    let told = said(check.env("OUTREACHD_LOG__LEVEL", "debug").output().unwrap()).good();
    assert!(told.contains("environment: OUTREACHD_LOG__LEVEL"), "{told}");
    let shown = office.run(&["check", "--show"]).good();
    assert!(shown.contains("[safety]") && !shown.contains(&password(&office)), "{shown}");
}

#[tokio::test]
async fn a_migration_that_is_killed_anywhere_goes_on() {
    let (server, file) = (Office::open().await, Office::open().await);
    let toml = std::fs::read_to_string(file.config()).unwrap();
    let embedded = format!("sqlite:{}/outreachd.db", file.folder.path().display());
    std::fs::write(file.config(), toml.replace(&file.database.url(), &embedded)).unwrap();
    for office in [&server, &file] {
        let mut killed = 0;
        for step in 1_u32.. {
            let mut migration = office.command(&["migrate"]).stdout(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(15) * step);
            if let Some(status) = migration.try_wait().unwrap() {
                assert!(status.success(), "{killed} kills left something behind");
                break;
            }
            migration.kill().unwrap();
            migration.wait().unwrap();
            killed += 1;
        }
        assert!(killed > 2, "it came to its end {killed} kills later");
        office.run(&["migrate"]).good();
        let report = office.run(&["check"]).out;
        assert!(!report.contains("outreachd migrate"), "{report}");
        office.run(&["messages", "list"]).good();
    }
}

fn password(office: &Office) -> String {
    let url = office.database.url();
    url.split([':', '@']).nth(2).unwrap().to_owned()
}

#[tokio::test]
async fn check_tells_all_faults_of_the_configuration_at_once() {
    let office = Office::open().await;
    office.configure(
        "[safety]\nmode = \"live\"\n[worker]\nbatch = 0\nbatsh_wait = \"5ms\"\n[log]\nlevel = \"loud\"\n",
    );
    let told = office.run(&["check"]).bad();
    for part in ["safety", "security.key", "worker.batch", "batsh_wait", "log.level", "provider"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(told.matches("fail  config").count(), told.matches("cure: ").count() - 1, "{told}");
    let lines = office.run(&["check", "--json"]).json_lines();
    assert!(lines.iter().filter(|l| l["result"] == "fail").count() >= 5);
    // Every other command says the same and does nothing.
    assert!(office.run(&["run"]).bad().contains("worker.batch"));
}

#[tokio::test]
async fn check_tells_all_that_cannot_be_reached_at_once() {
    let office = Office::open().await;
    let text = "[store]\nurl = \"postgres://u:sesame1@127.0.0.1:1/db\"\n[amqp]\nurl = \"amqp://u:sesame2@127.0.0.1:1/%2f\"\n\
        [templates]\ndir = \"nowhere\"\n[[provider]]\nname = \"relay\"\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nport = 1\n\
        tls = \"none\"\nfrom = \"Clinic <c@example.org>\"\n[[site]]\nid = \"north\"\nname = \"North\"\n\
        [[site]]\nid = \"south\"\nname = \"South\"\ntimezone = \"America/Chicago\"\n";
    std::fs::write(office.config(), text).unwrap();
    let told = office.run(&["check"]).bad();
    for subject in
        ["fail  templates", "fail  ledger", "fail  broker", "fail  provider relay", "warn  site north"]
    {
        assert!(told.contains(subject), "{subject}: {told}");
    }
    assert!(
        told.contains("no timezone") && !told.contains("site south"),
        "what has a zone is told by it: {told}"
    );
    assert!(!told.contains("sesame"), "{told}");
    let nowhere = office.folder.path().join("nowhere").display().to_string();
    assert!(told.contains(&nowhere) && told.contains("OUTREACHD_TEMPLATES__DIR"), "{told}");
    assert!(told.contains("no connection in time") && !told.contains("outreachd check"), "{told}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_in_words() {
    let office = Office::open().await;
    let text = std::fs::read_to_string(office.config()).unwrap();
    std::fs::write(
        office.config(),
        text.replace(&office.database.url(), &format!("{}_x", office.database.url())),
    )
    .unwrap();
    for command in ["check", "migrate", "holds"] {
        let told = office.run(&[command]).bad();
        assert!(told.contains("there is no such database") && told.contains("CREATE DATABASE"), "{told}");
        assert!(!told.contains("outreachd check"), "{told}");
    }
    let live = "[safety]\nmode = \"live\"\n[organisation]\nname = \"Clinic\"\ntimezone = \"America/Chicago\"\n\
        [store]\nurl = \"postgres://u:sesame@ledger.invalid/outreach\"\nacquire_timeout = \"2s\"\n\
        [security]\nkey = \"0707070707070707070707070707070707070707070707070707070707070707\"\n\
        [[provider]]\nname = \"kept\"\nkind = \"capture\"\nchannel = \"sms\"\n";
    std::fs::write(office.config(), live).unwrap();
    let told = office.run(&["check"]).bad();
    assert!(told.contains("sslmode=verify-full") && !told.contains("sesame"), "{told}");
}

/// Under another key nobody who has said stop would be found, and `check` would find all well.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_is_refused_under_another_key() {
    let office = Office::open().await;
    let keyed = |key: &str| format!("[security]\nkey = \"{}\"\n", key.repeat(32));
    office.configure(&keyed("07"));
    office.run(&["migrate"]).good();
    let stops = office.file("stops.csv", "address\n+13125550142\n");
    office.run(&["optouts", "import", &stops]).good();
    for other in [keyed("08"), String::new()] {
        office.configure(&other);
        for command in
            [&["check"][..], &["run"], &["migrate"], &["doctor"], &["holds"], &["optouts", "import", &stops]]
        {
            let told = office.run(command).bad();
            assert!(told.contains("begun under another [security] key"), "{command:?}: {told}");
            assert!(
                told.contains("secrets/ledger_key") && !told.contains("all is well"),
                "{command:?}: {told}"
            );
        }
    }
    // What seals is another matter.
    let seal_keys = office.file("seal.keys", &"09".repeat(32));
    office.configure(&format!("{}seal_keys_file = \"{seal_keys}\"\n", keyed("07")));
    assert!(office.run(&["check"]).good().contains("all is well"));

    // A worker that starts before its ledger can be asked is ended once it can.
    let port =
        |url: &str| url.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()?.parse::<u16>().ok());
    let url = office.database.url();
    let proxy = TcpProxy::start(([127, 0, 0, 1], port(&url).unwrap()).into()).await;
    proxy.set(Link::Refuse);
    office.configure(&keyed("08"));
    let text = std::fs::read_to_string(office.config()).unwrap();
    let through =
        url.replace(&format!(":{}/", port(&url).unwrap()), &format!(":{}/", proxy.address().port()));
    std::fs::write(office.config(), text.replace(&url, &through)).unwrap();
    let log = office.folder.path().join("log");
    let to = std::fs::File::create(&log).unwrap();
    let mut worker = Running(office.command(&["run"]).stderr(to).stdout(Stdio::null()).spawn().unwrap());
    let logged = |words: &str| std::fs::read_to_string(&log).unwrap().contains(words);
    until("the worker runs", || logged("the worker runs")).await;
    assert!(logged("the ledger is away"));
    proxy.set(Link::Forward);
    until("the worker ends", || worker.0.try_wait().unwrap().is_some()).await;
    assert_eq!(worker.0.wait().unwrap().code(), Some(1));
    assert!(logged("begun under another [security] key"));
}

#[tokio::test]
async fn jobs_go_in_by_file_and_are_found_again() {
    let office = Office::migrated().await;
    let array = json!([job("a-1", "P1"), job("a-2", "P2")]).to_string();
    let file = office.file("jobs.json", &array);
    assert!(office.run(&["enqueue", &file]).good().contains("2 accepted"));
    assert!(office.run(&["enqueue", &file]).good().contains("2 known already"));
    let between = jiff::Timestamp::now().to_string();

    let unknown = json!({ "id": "a-4", "source": "ehr", "patient_id": "P1", "template": "nope", "data": {} });
    let changed = json!({ "id": "a-1", "source": "ehr", "patient_id": "P9", "template": "preferences-changed", "data": {} });
    let lines = format!("{}\nCanarissima {{\n{unknown}\n{changed}\n", job("a-3", "P3"));
    let answers = office.feed(&["enqueue", "-", "--json"], &lines);
    assert_eq!(answers.code, Some(1));
    assert!(!format!("{answers:?}").contains("Canarissima"));
    let results: Vec<_> =
        answers.json_lines().iter().map(|a| a["result"].as_str().unwrap().to_owned()).collect();
    assert_eq!(results, ["accepted", "refused", "refused", "conflict"]);

    let ids = |times: &[&str]| {
        let asked = [&["messages", "list", "--source", "ehr", "--json"][..], times].concat();
        let rows = office.run(&asked).json_lines();
        rows.iter().map(|row| row["job_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]), ["a-3", "a-2", "a-1"], "newest first");
    assert_eq!(ids(&["--since", &between]), ["a-3"]);
    assert_eq!(ids(&["--until", &between]), ["a-2", "a-1"]);
    assert_eq!(ids(&["--since", "1h", "--until", &between]), ["a-2", "a-1"], "a span reaches back");
    assert!(ids(&["--until", "1h"]).is_empty());
    assert_eq!(office.run(&["messages", "list", "--since", "soon"]).code, Some(2));
    assert!(office.run(&["messages", "list", "--status", "sent"]).good().is_empty());
    let shown = office.run(&["messages", "show", "ehr:a-2"]).good();
    assert!(shown.contains("patient   P2") && shown.contains("accepted"), "{shown}");
    let explained = office.run(&["explain", "ehr:a-2"]).good();
    assert!(explained.contains("decided  not yet") && explained.contains("next     plan"), "{explained}");
    assert!(office.run(&["explain", "ehr:never"]).bad().contains("no such message"));
    let cancel = |id: &str| json!({ "action": "cancel", "source": "ehr", "id": id });
    let taken_back = office.feed(&["enqueue", "-"], &cancel("a-3").to_string()).good();
    assert!(taken_back.contains("1 messages cancelled") && taken_back.contains("1 accepted"), "{taken_back}");
    let early = format!("{}\n{}\n", cancel("a-5"), job("a-5", "P5"));
    let told = office.feed(&["enqueue", "-", "--json"], &early).json_lines();
    assert_eq!((&told[0]["result"], &told[1]["result"]), (&json!("accepted"), &json!("accepted")));
    assert_eq!(told[1]["reason"], "cancelled");
    assert_eq!(
        office.run(&["messages", "list", "--status", "lost"]).code,
        Some(2),
        "wrong use is told apart"
    );
}

#[tokio::test]
async fn what_was_parked_is_listed_and_replayed_after_repair() {
    let office = Office::migrated().await;
    let good = job("d-3", "P3").to_string();
    let misspelt = good.replace("preferences-changed", "preferences-chanced").replace("d-3", "d-1");
    park(&office, &[&misspelt, "{\"id\":\"d-2\",\"source\":\"ehr\",\"patient_id\":\"Canarissima"]).await;

    let rows = office.run(&["dead", "list", "--json"]).json_lines();
    let told: Vec<_> = rows.iter().map(|row| row["problems"][0]["reason"].as_str().unwrap()).collect();
    assert_eq!(told, ["unknown_template", "malformed"]);
    let listed = office.run(&["dead", "list"]).good();
    assert!(listed.contains("d-1") && !listed.contains("Canarissima"), "{listed}");
    let id = |place: usize| rows[place]["id"].as_str().unwrap().to_owned();
    assert!(!office.run(&["dead", "show", &id(1)]).good().contains("Canarissima"));
    assert_eq!(office.run(&["dead", "show", &id(0), "--raw", "--reason", "to repair it"]).good(), misspelt);

    assert_eq!(office.run(&["dead", "replay"]).code, Some(1), "everything is replayed only when asked for");
    let dry = office.run(&["dead", "replay", "--reason", "unknown_template", "--dry-run"]).good();
    assert!(dry.contains("1 would be replayed"), "{dry}");
    let again = office.run(&["dead", "replay", "--all"]).bad();
    assert!(again.contains("0 replayed, 2 still refused"), "{again}");

    let repaired = office.file("repaired.json", &misspelt.replace("chanced", "changed"));
    let done = office.run(&["dead", "replay", "--id", &id(0), "--body", &repaired]).good();
    assert!(done.contains("1 replayed"), "{done}");
    assert_eq!(office.run(&["dead", "list", "--json"]).json_lines().len(), 1);
    assert!(office.run(&["messages", "show", "ehr:d-1"]).good().contains("preferences-changed"));
    assert!(office.run(&["dead", "replay", "--id", &id(0)]).bad().contains("nothing waits"));
}

/// Parks bodies as the queue does.
async fn park(office: &Office, bodies: &[&str]) {
    let options =
        LoadOptions { file: Some(office.config()), cwd: office.folder.path().to_owned(), env: Vec::new() };
    let config = std::sync::Arc::new(Config::load(&options).unwrap());
    let store = app::open_store(&config).await.unwrap();
    let gatekeeper = Gatekeeper::new(config.clone(), app::load_catalogue(&config.templates.dir).unwrap());
    let intake = Intake { store, gatekeeper, dispatcher: None, worker: WorkerId::generate() };
    let incoming = |body: &&str| Incoming {
        body: body.as_bytes().to_vec(),
        arrival: Arrival { origin: "jobs".to_owned(), ..Arrival::default() },
        key: Some("job".to_owned()),
        redelivered: false,
        park: true,
    };
    intake.submit(bodies.iter().map(incoming).collect()).await.unwrap();
}

#[tokio::test]
async fn holds_are_placed_listed_and_released() {
    let office = Office::migrated().await;
    let placed = office.run(&[
        "hold",
        "template",
        "preferences-changed",
        "--until",
        "2h",
        "--reason",
        "a wrong text",
        "--json",
    ]);
    let placed: Value = serde_json::from_str(&placed.good()).unwrap();
    assert_eq!((placed["scope"].as_str(), placed["on_release"].as_str()), (Some("template"), Some("send")));
    assert!(office.run(&["holds"]).good().contains("a wrong text"));
    let id = placed["id"].as_str().unwrap();
    office.run(&["release", id]).good();
    assert!(office.run(&["release", id]).bad().contains("no hold"));
    assert!(office.run(&["holds"]).good().contains("nothing is held"));
    for wrong in [
        ["hold", "channel", "pigeon", "--reason", "x"].as_slice(),
        &["hold", "all", "everybody", "--reason", "x"],
        &["hold", "template", "preferences-chanced", "--reason", "x"],
        &["hold", "all", "--reason", "x", "--until", "2020-01-01T00:00:00Z"],
    ] {
        office.run(wrong).bad();
    }
    assert!(office.run(&["holds"]).good().contains("nothing is held"));
}

/// Runs the worker until `done` says so.
fn run_until(office: &Office, what: &str, done: impl Fn() -> bool) {
    let mut worker = office.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[tokio::test]
async fn what_a_hold_held_waits_for_a_persons_word() {
    let office = Office::migrated().await;
    let file = office.file("p.csv", "id,given,sms,language\nP1,Canarissima,+13125550142,en\n");
    office.run(&["patients", "import", &file]).good();
    let hold = office.run(&["hold", "all", "--on-release", "review", "--reason", "wrong text", "--json"]);
    let hold: Value = serde_json::from_str(&hold.good()).unwrap();
    let id = hold["id"].as_str().unwrap();
    office.feed(&["enqueue", "-"], &job("h-1", "P1").to_string()).good();
    run_until(&office, "a held message", || {
        office.run(&["messages", "list", "--status", "held"]).good().contains("h-1")
    });
    let told = office.run(&["release", id]).good();
    assert!(told.contains("1 messages") && told.contains("--send") && told.contains("--drop"), "{told}");
    let listed = office.run(&["holds"]).good();
    assert!(listed.contains("ended") && listed.contains("waits: --send or --drop"), "{listed}");
    assert!(office.run(&["release", id]).bad().contains("wait for your word"));
    assert_eq!(office.run(&["release", id, "--send", "--drop"]).code, Some(2));
    assert!(office.run(&["release", id, "--drop"]).good().contains("are dropped"));
    let shown = office.run(&["messages", "show", "ehr:h-1"]).good();
    assert!(shown.contains("expired") && shown.contains("operator_hold"), "{shown}");
    assert!(office.run(&["holds"]).good().contains("nothing is held"));
}

#[tokio::test]
async fn what_nobody_was_reached_with_is_work_for_people() {
    let office = Office::migrated().await;
    assert!(office.run(&["work", "list"]).good().contains("nothing to do"));
    // A provider that refuses every connection, once, and no other channel.
    office.configure(
        "[safety]\nmode = \"live\"\n[organisation]\nname = \"Clinic\"\ntimezone = \"America/Chicago\"\n\
        [security]\nkey = \"5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d5a1b2c3d\"\n\
        [policy.retry]\nmax_attempts = 1\n[[provider]]\nname = \"relay\"\nkind = \"smtp\"\nhost = \"127.0.0.1\"\n\
        port = 1\ntls = \"none\"\nfrom = \"Clinic <c@example.org>\"\nbaa = true\n",
    );
    let csv = "id,given,email,language\nP1,Canarissima,canary.person@example.org,en\n";
    office.run(&["patients", "import", &office.file("p.csv", csv)]).good();
    office.feed(&["enqueue", "-"], &job("w-1", "P1").to_string()).good();
    run_until(&office, "a work item", || !office.run(&["work", "list", "--json"]).good().is_empty());

    let items = office.run(&["work", "list", "--kind", "plan_exhausted", "--json"]).json_lines();
    let id = items[0]["id"].as_str().unwrap();
    assert_eq!((items.len(), &items[0]["state"], &items[0]["patient_id"]), (1, &json!("open"), &json!("P1")));
    let listed = office.run(&["work", "list"]).good();
    assert!(listed.contains("plan_exhausted") && listed.contains("ehr"), "{listed}");
    assert!(office.run(&["work", "release", id]).bad().contains("nobody has claimed it"));
    assert!(office.run(&["work", "claim", id]).good().contains("claimed"));
    let shown = office.run(&["work", "show", id]).good();
    assert!(shown.contains("patient   P1"), "{shown}");
    assert!(CANARIES.iter().all(|canary| !shown.contains(canary)), "{shown}");
    assert_eq!(office.run(&["work", "close", id]).code, Some(2), "it wants an outcome");
    assert!(office.run(&["work", "close", id, "--outcome", "reached"]).good().contains("reached"));
    assert!(office.run(&["work", "close", id, "--outcome", "reached"]).bad().contains("it is closed"));
    assert!(office.run(&["work", "list"]).good().contains("nothing to do"));
    assert_eq!(office.run(&["work", "list", "--state", "closed", "--json"]).json_lines().len(), 1);
    assert!(
        office.run(&["work", "show", "0196f3c0-0000-7000-8000-000000000001"]).bad().contains("no work item")
    );
}

#[tokio::test]
async fn patients_and_opt_outs_come_from_files_and_bad_rows_come_back() {
    let office = Office::migrated().await;
    let csv = "id,given,sms,email,language\nP1,Canarissima,+13125550142,canary.person@example.org,es\n\
        P2,Canarissima,5,,en\nP3,Canarissima,+13125550143,,en\n";
    let file = office.file("patients.csv", csv);
    let refused = office.folder.path().join("refused.csv");
    let told = office.run(&["patients", "import", &file, "--refused", &refused.display().to_string()]).bad();
    assert!(told.contains("2 created") && told.contains("1 refused") && told.contains("line 3"), "{told}");
    let back = std::fs::read_to_string(&refused).unwrap();
    assert!(back.contains("P2") && !back.contains("P1"), "{back}");
    std::fs::write(&refused, back.replace(",5,", ",+13125550144,")).unwrap();
    assert!(office.run(&["patients", "import", &refused.display().to_string()]).good().contains("1 created"));
    let nowhere = office.folder.path().join("nowhere/file").display().to_string();
    for written in [
        ["patients", "import", &file, "--refused", &nowhere].as_slice(),
        &["patients", "export", "P1", "--out", &nowhere, "--reason", "asked by letter"],
    ] {
        let told = office.run(written).bad();
        assert!(told.contains("name a place in a folder that exists"), "{told}");
    }

    // One that breaks off, here for nobody reads what it says any more, has its place in the log all the same.
    let many: String = (0..500).map(|n| format!("M{n},en\n")).collect();
    let many = office.file("many.csv", &format!("id,language\n{many}bad id,en\nM500,en\n"));
    let mut child = office.command(&["patients", "import", &many]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141));
    let log = office.run(&["audit", "list", "--limit", "1"]).good();
    assert!(log.contains("500 created, 0 updated, 1 refused; broken off"), "{log}");
    assert!(office.run(&["patients", "show", "M500"]).bad().contains("not in the directory"));

    for args in [["patients", "show", "P1"].as_slice(), &["patients", "show", "P1", "--json"]] {
        let shown = office.run(args).good();
        assert!(shown.contains("P1") && shown.contains("+***42"), "{shown}");
        assert!(CANARIES.iter().all(|canary| !shown.contains(canary)), "{shown}");
    }
    assert!(office.run(&["patients", "show", "P9"]).bad().contains("not in the directory"));

    let stop = office.file(
        "stop.csv",
        "address,channel,at,reason\n(312) 555-0142,,2026-01-05T09:00:00-06:00,phoned\nnobody,,,\n",
    );
    let told = office.run(&["optouts", "import", &stop]).bad();
    assert!(told.contains("1 recorded, 0 known already, 1 refused") && told.contains("line 3"), "{told}");
    assert!(CANARIES.iter().all(|canary| !told.contains(canary)), "{told}");
    let told = office.run(&["optouts", "import", &stop]).bad();
    assert!(told.contains("0 recorded, 1 known already, 1 refused"), "{told}");

    // Under the first key of one's own they are others.
    assert!(told.contains("there is no [security] key yet"), "{told}");
    office.configure(&format!("[security]\nkey = \"{}\"\n", "07".repeat(32)));
    let told = office.run(&["optouts", "import", &stop]).bad();
    assert!(told.contains("1 recorded, 0 known already") && !told.contains("no [security] key"), "{told}");
}

#[tokio::test]
async fn keys_are_exchanged_and_a_patient_asks_for_their_own() {
    let office = Office::migrated().await;
    let csv = "id,given,sms,language\nP1,Canarissima,+13125550142,en\nP2,Ben,+13125550143,en\n";
    office.run(&["patients", "import", &office.file("p.csv", csv)]).good();
    office.feed(&["enqueue", "-"], &job("k-1", "P1").to_string()).good();
    let counted = |office: &Office| {
        let rows = office.run(&["keys", "list", "--json"]).json_lines();
        rows.iter().map(|row| (row["key"].to_string(), row["standing"].to_string())).collect::<BTreeSet<_>>()
    };
    assert_eq!(counted(&office), [("\"plain\"".to_owned(), "\"as new values do\"".to_owned())].into());

    let (key, old, new) = ("5a".repeat(32), "07".repeat(32), "08".repeat(32));
    let configure = |keys: &str| {
        let file = office.file("seal.keys", keys);
        office.configure(&format!("[security]\nkey = \"{key}\"\nseal_keys_file = \"{file}\"\n"));
    };
    for keys in [format!("{old}\n"), format!("{new}\n{old}\n")] {
        configure(&keys);
        assert!(counted(&office).iter().any(|(_, standing)| standing.contains("to be sealed")));
        assert!(
            office
                .run(&["keys", "reseal", "--batch", "1"])
                .good()
                .contains("patients.document: 2 sealed anew")
        );
        assert_eq!(counted(&office).len(), 1, "all of it lies as new values do");
    }
    configure(&new);
    assert!(office.run(&["patients", "show", "P1"]).good().contains("+***42"));
    configure(&old);
    let refused = office.run(&["patients", "show", "P1"]).bad();
    assert!(refused.contains("seal_keys_file") && !refused.contains(&old), "{refused}");
    assert!(!refused.contains("outreachd migrate"), "{refused}");
    assert!(counted(&office).iter().any(|(_, standing)| standing.contains("key missing")));
    configure(&new);

    let out = office.folder.path().join("P1.json").display().to_string();
    assert_eq!(office.run(&["patients", "export", "P1", "--out", &out, "--reason", "x"]).code, Some(2));
    let told = office.run(&["patients", "export", "P1", "--out", &out, "--reason", "asked by letter"]).good();
    assert!(told.contains("1 messages") && CANARIES.iter().all(|canary| !told.contains(canary)), "{told}");
    let record: Value = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(record["patient"]["name"]["given"], "Canarissima");
    assert_eq!(record["messages"][0]["job_id"], "k-1");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&out).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    let erase = ["patients", "erase", "P1", "--reason", "asked by letter"];
    assert!(office.run(&erase).bad().contains("nothing was erased"));
    assert!(office.run(&["patients", "show", "P1"]).good().contains("+***42"));
    let confirmed = [&erase[..], &["--confirm", "P1"]].concat();
    assert!(office.run(&confirmed).good().contains("is erased: a record, 1 messages"));
    assert!(office.run(&["patients", "show", "P1"]).bad().contains("not in the directory"));
    assert!(office.run(&["messages", "show", "ehr:k-1"]).good().contains("cancelled"));
    let log = office.run(&["audit", "list", "--json"]).json_lines();
    let acts: Vec<&str> = log.iter().map(|row| row["act"].as_str().unwrap()).collect();
    assert_eq!(acts[..2], ["patient.erase", "patient.export"]);
    assert!(office.run(&["audit", "verify"]).good().contains("all in their places"));
}

/// Words of danger and a stop come in by the webhook, or by mail.
#[tokio::test]
async fn check_warns_who_goes_live_and_hears_no_answers() {
    let office = Office::migrated().await;
    let live = |http: &str, mail: &str| {
        format!(
            "[safety]\nmode = \"live\"\n[organisation]\nname = \"Clinic\"\ntimezone = \"America/Chicago\"\n\
             [security]\nkey = \"{}\"\n{http}[notify]\nwebhook_url = \"http://127.0.0.1:9/\"\n\
             [[provider]]\nname = \"texts\"\nkind = \"twilio_sms\"\nbase_url = \"http://127.0.0.1:9\"\n\
             account_sid = \"AC00000000000000000000000000000000\"\nauth_token = \"t\"\nfrom = [\"+13125550100\"]\n\
             [[provider]]\nname = \"mails\"\nkind = \"smtp\"\nhost = \"127.0.0.1\"\nport = 9\ntls = \"none\"\n\
             from = \"Clinic <clinic@example.org>\"\n{mail}",
            "07".repeat(32)
        )
    };
    office.configure(&live("", ""));
    let told = office.run(&["check"]).bad();
    assert!(told.contains("it has no webhook: what patients answer is not heard"), "{told}");
    assert!(told.contains("mails that come back, and what patients answer, are not heard"), "{told}");
    assert!(!told.contains("nobody is told when something is wrong"), "{told}");
    let public = "[http]\npublic_url = \"https://outreach.example.org\"\n";
    office.configure(&live(public, "reply_address = \"answers@example.org\"\n"));
    let told = office.run(&["check"]).bad();
    assert!(!told.contains("is not heard") && !told.contains("are not heard"), "{told}");
}

#[tokio::test]
async fn check_warns_who_goes_live_without_the_stop_list() {
    let office = Office::migrated().await;
    office.configure(&format!(
        "[safety]\nmode = \"live\"\n[organisation]\nname = \"Clinic\"\ntimezone = \"America/Chicago\"\n\
         [security]\nkey = \"{}\"\n[[provider]]\nname = \"kept\"\nkind = \"capture\"\nchannel = \"sms\"\n",
        "07".repeat(32)
    ));
    let told = office.run(&["check"]).good();
    assert!(told.contains("patients are written to") && told.contains("optouts import"), "{told}");
    assert!(told.contains("nobody has an account") && told.contains("users add NAME --role admin"), "{told}");
    assert!(told.contains("nobody is told when something is wrong"), "{told}");
    office.run(&["optouts", "import", &office.file("stop.csv", "address\n+13125550142\n")]).good();
    office.run(&["users", "add", "ana", "--role", "admin"]).good();
    let told = office.run(&["check"]).good();
    assert!(!told.contains("optouts import") && !told.contains("nobody has an account"), "{told}");
}

#[tokio::test]
async fn check_says_what_is_wrong_with_a_receiver() {
    let office = Office::migrated().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source = |name: &str, url: String| {
        let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        format!("[[source]]\nname = \"{name}\"\ncallback_url = \"{url}\"\ncallback_secret = \"{key}\"\n")
    };
    let receivers = [
        source("well", format!("http://{open}/results")),
        source("down", format!("http://{closed}/results")),
        source("nowhere", "https://receiver.invalid/results".to_owned()),
    ];
    office.configure(&format!("[events.callbacks]\nallow = [\"127.0.0.1\"]\n{}", receivers.concat()));
    let told = office.run(&["--json", "check"]).json_lines();
    let line = |name: &str| {
        let subject = format!("callback {name}");
        told.iter().find(|line| line["subject"] == subject).cloned().unwrap_or_else(|| panic!("{told:?}"))
    };
    assert_eq!(line("well")["result"], "ok");
    assert!(line("down")["what"].as_str().unwrap().contains("nobody takes connections"));
    assert!(line("nowhere")["what"].as_str().unwrap().contains("leads nowhere"));

    office.configure(&source("inside", format!("https://localhost:{}/results", open.port())));
    let told = office.run(&["check"]).bad();
    assert!(
        told.contains("must not lead to this machine") && told.contains("[events.callbacks] allow"),
        "{told}"
    );
    office.configure(&receivers[0]);
    let told = office.run(&["check"]).bad();
    assert!(told.contains("callback_url") && !told.contains("whsec_"), "{told}");

    // An identity provider that is away; and passwords are off before anybody has an account there.
    let console = format!(
        "[console]\npassword = false\n[console.oidc]\n\
         issuer = \"http://{closed}/realms/clinic\"\nclient_id = \"outreachd\"\nclient_secret = \"not to be told\"\n"
    );
    office.configure_http("public_url = \"https://ops.example.org/outreach\"", &console);
    let told = office.run(&["check"]).bad();
    for part in ["nobody can sign in", "users add NAME --role admin --oidc", "does not answer (connect)"] {
        assert!(told.contains(part) && !told.contains("not to be told"), "{told}");
    }
    office.run(&["users", "add", "root@example.org", "--role", "admin", "--oidc"]).good();
    let told = office.run(&["check"]).bad();
    assert!(!told.contains("nobody can sign in"), "{told}");
    let listed = office.run(&["users", "list"]).good();
    assert!(listed.contains("by provider, not yet"), "{listed}");
    // Whose it is, by a name alone, and by what the provider knows them by.
    assert!(told.contains("whoever first comes by that name") && told.contains("--subject SUB"), "{told}");
    office.run(&["users", "link", "root@example.org", "--subject", "sub-1"]).good();
    let told = office.run(&["check"]).bad();
    assert!(!told.contains("whoever first comes by that name"), "{told}");
    let oidc = ["--role", "viewer", "--oidc", "--subject"];
    for (command, refused) in [
        (
            ["add", "eve"].iter().chain(&oidc).chain(&["sub-1"]).copied().collect::<Vec<_>>(),
            "root@example.org",
        ),
        (["add", "eve"].iter().chain(&oidc).chain(&["a\u{e9}"]).copied().collect(), "printable ASCII"),
        (vec!["add", "local", "--role", "admin"], "stands on record"),
        (vec!["add", "eve", "--role", "viewer", "--subject", "sub-2"], "--oidc"),
    ] {
        let ran = office.run(&[&["users"][..], &command[..]].concat());
        assert!(ran.code != Some(0) && ran.err.contains(refused), "{command:?}: {} {}", ran.out, ran.err);
    }
    let group = "[[console.oidc.group]]\nname = \"staff\"\nrole = \"viewer\"\n";
    office.configure_http("public_url = \"https://ops.example.org/outreach\"", &(console + group));
    let told = office.run(&["users", "reset", "root@example.org"]).bad();
    assert!(told.contains("whose groups decide"), "{told}");
}

/// A running worker, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

#[tokio::test]
async fn the_worker_sends_reloads_its_texts_and_ends_in_time() {
    let office = Office::migrated().await;
    let texts = office.folder.path().join("texts");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("templates"), &texts);
    std::fs::write(
        office.config(),
        std::fs::read_to_string(office.config())
            .unwrap()
            .replace(&format!("{}/templates", env!("CARGO_MANIFEST_DIR")), &texts.display().to_string()),
    )
    .unwrap();
    let csv =
        office.file("p.csv", "id,given,sms,email\nP1,Canarissima,+13125550142,canary.person@example.org\n");
    office.run(&["patients", "import", &csv]).good();
    let log = office.folder.path().join("log");
    let to = std::fs::File::create(&log).unwrap();
    let mut worker = Running(office.command(&["run"]).stderr(to).stdout(Stdio::null()).spawn().unwrap());

    office.run(&["enqueue", &office.file("job.json", &job("r-1", "P1").to_string())]).good();
    let sent =
        office.run(&["messages", "tail", "--since", "1m", "--status", "sent", "--lines", "1", "--json"]);
    assert_eq!(sent.json_lines()[0]["job_id"], "r-1");
    let shown = office.run(&["messages", "show", "ehr:r-1"]).good();
    assert!(shown.contains("***") && CANARIES.iter().all(|canary| !shown.contains(canary)), "{shown}");
    assert!(office.run(&["explain", "ehr:r-1"]).good().contains("passed"));
    assert!(office.run(&["providers"]).good().contains("capture-"));

    // What is asked for with a text that the worker has not read yet waits for it.
    copy(&texts.join("preferences-changed"), &texts.join("wishes-changed"));
    let mut early = job("r-3", "P1");
    early["template"] = json!("wishes-changed");
    office.run(&["enqueue", &office.file("job.json", &early.to_string())]).good();
    until("it is held", || office.run(&["messages", "show", "ehr:r-3"]).good().contains("unknown_template"))
        .await;
    signal(&worker.0, "HUP");
    office
        .run(&["messages", "tail", "--since", "1m", "--job", "r-3", "--status", "sent", "--lines", "1"])
        .good();

    // A faulty set is told, and the old one stays in use.
    std::fs::write(texts.join("preferences-changed/en/sms.hbs"), "{{#if").unwrap();
    signal(&worker.0, "HUP");
    until("the fault is logged", || std::fs::read_to_string(&log).unwrap().contains("old templates stay"))
        .await;
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/preferences-changed/en/sms.hbs"),
        texts.join("preferences-changed/en/sms.hbs"),
    )
    .unwrap();
    office.run(&["enqueue", &office.file("job.json", &job("r-2", "P1").to_string())]).good();
    office
        .run(&["messages", "tail", "--since", "1m", "--job", "r-2", "--status", "sent", "--lines", "1"])
        .good();

    let asked = Instant::now();
    signal(&worker.0, "TERM");
    assert!(worker.0.wait().unwrap().success());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let log = std::fs::read_to_string(&log).unwrap();
    for line in log.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("every line is JSON: {line}"));
    }
    assert!(log.contains("stopped") && CANARIES.iter().all(|canary| !log.contains(canary)), "{log}");
}

/// The log has no event to wait for, so it is looked at again and again.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn the_demo_sends_what_it_says_over_every_channel_in_every_language() {
    let office = Office::open().await;
    let url = office.database.url();
    let demo = || office.run(&["demo", "--jobs", "60", "--exit", "--json", "--database", &url]).good();
    let told: Value = serde_json::from_str(&demo()).unwrap();
    assert_eq!((told["ok"].as_bool(), told["jobs"].as_u64()), (Some(true), Some(60)));
    assert_eq!(told["finished"], 60);
    for channel in ["sms", "email", "voice", "portal"] {
        assert!(told["by_channel"][channel].as_u64() > Some(0), "{channel}: {told}");
    }
    for language in ["en", "es", "zh-Hans"] {
        assert!(told["by_language"][language].as_u64() > Some(0), "{language}: {told}");
    }
    let again: Value = serde_json::from_str(&demo()).unwrap();
    for counts in ["by_channel", "by_status", "by_language", "by_reason"] {
        assert_eq!(told[counts], again[counts], "the same seed brings the same jobs");
    }
}

#[test]
fn the_demo_needs_no_server_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outreachd"));
        command.arg("demo").args(args).current_dir(folder.path()).env("TMPDIR", folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let done = said(demo(&["--jobs", "60", "--exit"]).wait_with_output().unwrap()).good();
    assert!(done.contains("60 of 60 jobs") && !done.contains("patients.example.org"), "{done}");

    // Ended in the middle, it leaves its house in order too.
    let mut cut = demo(&["--jobs", "100000"]);
    let mut first = String::new();
    let mut out = BufReader::new(cut.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    assert!(first.contains("nothing leaves this machine"), "{first}");
    signal(&cut, "TERM");
    assert_eq!(cut.wait().unwrap().code(), Some(1));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the temporary folder is gone");
}

#[tokio::test]
async fn the_demo_leaves_a_ledger_alone_that_is_not_its_own() {
    let office = Office::migrated().await;
    office.run(&["enqueue", &office.file("job.json", &job("real-1", "P1").to_string())]).good();
    let told = office.run(&["demo", "--jobs", "5", "--exit", "--database", &office.database.url()]).bad();
    assert!(told.contains("not the demo's"), "{told}");
    let rows = office.run(&["messages", "list", "--json"]).json_lines();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["status"], "accepted");
}

#[tokio::test]
async fn oracles_answer_line_by_line() {
    let office = Office::open().await;
    let asked = "{\"number\":\"(312) 555-0142\",\"region\":\"US\"}\n{\"number\":\"5\",\"region\":\"US\"}\n";
    let answers = office.feed(&["phone", "parse", "-"], asked).json_lines();
    assert_eq!(answers[0], json!({ "e164": "+13125550142", "kind": "fixed_line_or_mobile" }));
    assert!(answers[1]["error"].is_string());
    let answers = office.feed(&["sms", "segments", "-"], "{\"text\":\"hi €\"}\n").json_lines();
    assert_eq!(answers[0], json!({ "encoding": "gsm7", "units": 5, "segments": 1 }));
    assert_eq!(office.feed(&["sms", "segments", "-"], "hi\n").code, Some(1));
    let asked = [
        json!({ "zone": "America/Chicago", "at": "2026-03-08T06:00:00Z", "start": "21:00", "end": "02:30" }),
        json!({ "zone": "Asia/Kathmandu", "at": "2026-12-01T20:00:00.5Z", "start": "21:00:30", "end": "21:00" }),
        json!({ "zone": "UTC", "at": "2026-12-01T20:00:00.5+00:00", "start": "21:00", "end": "08:00" }),
        json!({ "zone": "Mars/Base", "at": "2026-12-01T20:00:00Z", "start": "21:00", "end": "08:00" }),
        json!({ "zone": "UTC", "at": "2026-12-01T20:00:00", "start": "21:00", "end": "08:00" }),
    ];
    let lines = asked.map(|question| format!("{question}\n")).concat();
    let answers = office.feed(&["policy", "next-allowed", "-"], &lines).json_lines();
    assert_eq!(answers[0], json!({ "next_allowed": "2026-03-08T08:00:00Z" }));
    assert_eq!(answers[1], json!({ "next_allowed": "2026-12-02T15:15:00Z" }));
    assert_eq!(answers[2], json!({ "next_allowed": "2026-12-01T20:00:00.5Z" }));
    assert!(answers[3]["error"].as_str().unwrap().starts_with("zone: must be a zone"));
    assert!(answers[4]["error"].as_str().unwrap().starts_with("at: a time needs its offset"));
}

/// A program that asks, reads the answer and asks again must not wait for a buffer to fill.
#[tokio::test]
async fn an_oracle_answers_each_line_before_the_next_is_asked() {
    let mut oracle = Command::new(env!("CARGO_BIN_EXE_outreachd"))
        .args(["policy", "next-allowed", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut asks, answers) = (oracle.stdin.take().unwrap(), oracle.stdout.take().unwrap());
    let mut answers = BufReader::new(answers).lines();
    for _ in 0..3 {
        let question =
            json!({ "zone": "UTC", "at": "2026-12-01T22:00:00Z", "start": "21:00", "end": "08:00" });
        // The line, and half of one more: it is no reason to keep the answer back.
        let (head, tail) =
            ("{\"zone\":\"UTC\",\"at\":\"2026-12-01T22:", "00:00Z\",\"start\":\"21:00\",\"end\":\"08:00\"}");
        write!(asks, "{question}\n{head}").unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), "{\"next_allowed\":\"2026-12-02T08:00:00Z\"}");
        writeln!(asks, "{tail}").unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), "{\"next_allowed\":\"2026-12-02T08:00:00Z\"}");
    }
    drop(asks);
    assert!(oracle.wait().unwrap().success());
}

#[tokio::test]
async fn templates_are_linted_and_previewed() {
    let office = Office::open().await;
    assert!(office.run(&["template", "list"]).good().contains("appointment-reminder"));
    assert!(office.run(&["template", "lint", "--quiet"]).good().contains("0 errors, 0 warnings"));
    let texts = office
        .run(&["template", "preview", "result-available", "--channel", "portal", "--locale", "es"])
        .good();
    assert!(texts.contains("Lipid panel"), "{texts}");
    let data = office.file("data.json", "{\"practitioner\": 7}");
    let told = office
        .run(&["template", "preview", "result-available", "--channel", "portal", "--data", &data])
        .bad();
    assert!(told.contains("practitioner"), "{told}");
}

#[tokio::test]
async fn texts_are_signed_off_and_taken_back() {
    let office = Office::migrated().await;
    let texts = office.folder.path().join("texts");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("templates"), &texts);
    let file = texts.join("preferences-changed/template.toml");
    let toml = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, toml.replace("[\"en\", \"es\", \"zh-Hans\"]", "[\"en\"]")).unwrap();
    let dir = texts.display().to_string();
    let of = |act: &[&str]| office.run(&[&["template"], act, &["--dir", &dir]].concat());
    let standing = || {
        let rows = office.run(&["--json", "template", "sign-offs", "--dir", &dir]).json_lines();
        let row =
            rows.into_iter().find(|r| r["template"] == "preferences-changed" && r["locale"] == "es").unwrap();
        (row["standing"].as_str().unwrap().to_owned(), row["approved"].as_bool().unwrap())
    };
    assert!(of(&["lint", "--quiet"]).good().contains("es is not in `approved`"));
    assert_eq!(standing(), ("open".to_owned(), false));
    let sign = ["sign-off", "preferences-changed", "es", "--note", "read\u{1b} by cleo"];
    assert!(of(&sign).good().contains("preferences-changed es: signed off"));
    assert_eq!(standing(), ("signed_off".to_owned(), true));
    let listed = of(&["sign-offs"]).good();
    assert!(listed.contains("read  by cleo") && listed.contains("approved in its file"), "{listed}");
    let back = of(&[&sign[..], &["--take-back"]].concat()).good();
    assert!(back.contains("preferences-changed es: taken back"), "{back}");
    assert_eq!(standing(), ("taken_back".to_owned(), false));
    assert!(of(&[&sign[..], &["--take-back"]].concat()).bad().contains("is not signed off"));
    assert!(of(&["sign-off", "nothing", "es", "--note", "x"]).bad().contains("no such template"));
    assert!(of(&["sign-off", "preferences-changed", "fr", "--note", "x"]).bad().contains("en, es, zh-Hans"));
    let acts = office.run(&["audit", "list"]).good();
    assert!(acts.contains("template.sign_off") && acts.contains("template.take_back"), "{acts}");
}

#[tokio::test]
async fn every_command_explains_itself_with_an_example() {
    let office = Office::open().await;
    for command in [
        "demo",
        "run",
        "check",
        "migrate",
        "enqueue",
        "patients import",
        "patients show",
        "optouts import",
        "messages list",
        "messages show",
        "messages tail",
        "explain",
        "hold",
        "holds",
        "release",
        "work list",
        "work show",
        "work claim",
        "work release",
        "work close",
        "template list",
        "template lint",
        "template preview",
        "template sign-off",
        "template sign-offs",
        "dead list",
        "dead show",
        "dead replay",
        "callbacks list",
        "callbacks retry",
        "providers",
        "simulate",
        "phone parse",
        "sms segments",
        "policy next-allowed",
    ] {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.push("--help");
        let help = office.run(&args).good();
        assert!(help.contains("Example"), "{command}: {help}");
    }
    // No word and no option is left to be guessed.
    for (command, words) in [
        (
            "campaign create",
            &["What colleagues know it by", "In whose name", "What is said", "The place that writes"][..],
        ),
        ("campaign correct", &["a minute at most", "an hour at most", "The campaign that is followed"]),
        ("campaign done", &["The campaign, as", "Who needs nothing any more"]),
        ("template preview", &["as `template list` shows it"]),
        ("work show", &["as `work list` shows it"]),
        ("dead show", &["as `dead list` shows it"]),
    ] {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.push("--help");
        let help = office.run(&args).good();
        assert!(words.iter().all(|word| help.contains(word)), "{command}: {help}");
    }
    // Each of these says more of itself than its line in the list of commands.
    let list = office.run(&["--help"]).good();
    for command in [
        "demo",
        "run",
        "check",
        "doctor",
        "migrate",
        "enqueue",
        "explain",
        "hold",
        "holds",
        "release",
        "bounce",
        "providers",
        "recover",
        "bench",
        "simulate",
    ] {
        let listed =
            list.lines().find_map(|line| line.strip_prefix(&format!("  {command} "))).unwrap().trim();
        let told = |flag: &str| {
            let help = office.run(&[command, flag]).good();
            help.split("Usage:").next().unwrap().trim().to_owned()
        };
        assert_eq!(told("-h"), listed);
        let long = told("--help");
        assert!(long.len() > listed.len() + 40, "{command}: {long}");
    }
}
