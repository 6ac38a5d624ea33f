//! Mutation testing of statements: each of many small changes to what the ledger tells its database has to make a contract
//! test fail. A statement is a text, so nothing is built anew: the change is made on the way to SQLite, in the process of
//! the test, as the environment says.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs};

use outreachd::store::Result;
use outreachd::store::engine::{Args, Engine, Sql, Statements};
use outreachd::store::sqlite::{SqliteEngine, SqliteTx};
use rand::seq::SliceRandom as _;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::json;
use sqlx::sqlite::SqliteRow;

/// A folder in which each statement is kept, and beside it the tests that run it.
const SEEN: &str = "OUTREACHD_TEST_SQL_SEEN";
/// The change, as JSON.
const MUTANT: &str = "OUTREACHD_TEST_SQL_MUTANT";
/// How many of all changes are tried, by chance; and in what statements.
const MOST: &str = "OUTREACHD_TEST_SQL_MOST";
const WORD: &str = "OUTREACHD_TEST_SQL_WORD";

/// A test that does not end has noticed.
const PATIENCE: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 3;

/// Where nobody says what: what moves messages, attempts, slots and events.
const CORE: [&str; 8] = [
    "UPDATE messages",
    "INTO messages",
    "UPDATE attempts",
    "INTO attempts",
    "rate_gate",
    "outbox",
    "job_keys",
    "tombstones",
];

/// Words that are exchanged for others. One that the database does not take then makes a test fail, as it should. Whether
/// an instant itself counts no test can tell.
const CHANGES: [(&str, &str); 13] = [
    (" < ", " >= "),
    (" <= ", " > "),
    (" > ", " <= "),
    (" >= ", " < "),
    (" <> ", " = "),
    (" AND ", " OR "),
    (" OR ", " AND "),
    (" IS NULL", " IS NOT NULL"),
    (" IS NOT NULL", " IS NULL"),
    ("NOT EXISTS (", "EXISTS ("),
    ("NOT (", "("),
    (" + 1", " + 0"),
    (" DESC", " ASC"),
];

/// One change to one statement.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Mutant {
    statement: String,
    at: usize,
    from: String,
    to: String,
}

impl Mutant {
    fn of(&self, text: &str) -> String {
        format!("{}{}{}", &text[..self.at], self.to, &text[self.at + self.from.len()..])
    }

    /// Where it is, with what stands around it.
    fn told(&self, text: &str) -> String {
        let start = text.floor_char_boundary(self.at.saturating_sub(60));
        let end = text.ceil_char_boundary((self.at + self.from.len() + 40).min(text.len()));
        let around = text[start..end].split_whitespace().collect::<Vec<_>>().join(" ");
        format!("`{}` for `{}` in: {around}", self.to.trim(), self.from.trim())
    }
}

/// SQLite, with what is put in between.
#[derive(Debug)]
pub(super) struct Mutated(pub(super) SqliteEngine);

impl Engine for Mutated {
    type Row = SqliteRow;
    type Tx = SqliteTx;

    const STATEMENTS: &'static Statements = SqliteEngine::STATEMENTS;
    const NEWEST: i64 = SqliteEngine::NEWEST;

    async fn migrate(&self) -> Result<()> {
        self.0.migrate().await
    }

    async fn read(&self, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<SqliteRow>> {
        self.0.read(passed(sql.into()), args).await
    }

    async fn write(&self, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<SqliteRow>> {
        self.0.write(passed(sql.into()), args).await
    }

    async fn begin(&self) -> Result<SqliteTx> {
        self.0.begin().await
    }

    async fn run(tx: &mut SqliteTx, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<SqliteRow>> {
        SqliteEngine::run(tx, passed(sql.into()), args).await
    }

    async fn commit(tx: SqliteTx) -> Result<()> {
        SqliteEngine::commit(tx).await
    }
}

fn name(text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// What is said in its place: mostly the same.
fn passed(sql: Sql) -> Sql {
    static WISH: LazyLock<Option<Mutant>> =
        LazyLock::new(|| Some(serde_json::from_str(&env::var(MUTANT).ok()?).unwrap()));
    static SEEN_SO_FAR: LazyLock<Option<Mutex<BTreeSet<String>>>> =
        LazyLock::new(|| env::var_os(SEEN).map(|_| Mutex::default()));
    if let Some(wish) = &*WISH
        && name(&sql) == wish.statement
    {
        return wish.of(&sql).into();
    }
    if let Some(seen) = &*SEEN_SO_FAR
        && seen.lock().unwrap().insert(name(&sql))
    {
        let folder = Path::new(&env::var_os(SEEN).unwrap()).join(name(&sql));
        let _others_make_it_too = fs::create_dir_all(&folder);
        fs::write(folder.join("text"), sql.as_bytes()).unwrap();
        let test = env::args().find(|arg| arg.starts_with("store::sqlite::")).unwrap();
        fs::write(folder.join(test.replace("::", "-")), "").unwrap();
    }
    sql
}

/// This very program, for one test.
fn test(name: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", name]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Whether one of these tests fails.
fn is_noticed(tests: &[String], mutant: &Mutant) -> bool {
    let mutant = serde_json::to_string(mutant).unwrap();
    tests.chunks(AT_ONCE).any(|some| {
        let mut running: Vec<_> =
            some.iter().map(|name| test(name).env(MUTANT, &mutant).spawn().unwrap()).collect();
        let end = Instant::now() + PATIENCE;
        let mut noticed = false;
        while !running.is_empty() && !noticed {
            std::thread::sleep(Duration::from_millis(5));
            running.retain_mut(|child| match child.try_wait().unwrap() {
                Some(status) => {
                    noticed |= !status.success();
                    false
                }
                None => true,
            });
            noticed |= Instant::now() > end;
        }
        for mut child in running {
            let _it_has_ended_by_itself = child.kill();
            child.wait().unwrap();
        }
        noticed
    })
}

/// The changes that can be made to a statement.
fn changes<'t>(statement: &'t str, text: &'t str) -> impl Iterator<Item = Mutant> + 't {
    CHANGES.iter().flat_map(move |(from, to)| {
        let goes_on = move |at: &usize| {
            let next = text[at + from.len()..].chars().next();
            from.ends_with(|c: char| c.is_ascii_digit()) && next.is_some_and(|c| c.is_ascii_digit())
        };
        let places = text.match_indices(from).map(|(at, _)| at).filter(move |at| !goes_on(at));
        places.map(move |at| Mutant {
            statement: statement.to_owned(),
            at,
            from: (*from).to_owned(),
            to: (*to).to_owned(),
        })
    })
}

/// By `tests/mutants --statements`.
#[test]
#[ignore = "heavy: tests/mutants --statements"]
fn a_change_to_a_statement_is_noticed() {
    let listed =
        Command::new(env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let tests: Vec<String> = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| name.starts_with("store::sqlite::"))
        .map(str::to_owned)
        .collect();
    assert!(tests.len() > 100, "{} tests", tests.len());
    let folder = tempfile::tempdir().unwrap();
    for some in tests.chunks(AT_ONCE) {
        let running: Vec<_> =
            some.iter().map(|name| test(name).env(SEEN, folder.path()).spawn().unwrap()).collect();
        for (mut child, name) in running.into_iter().zip(some) {
            assert!(child.wait().unwrap().success(), "{name} fails without a change");
        }
    }

    // The tests that run a statement, those first that run few others.
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut ran: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut runs: BTreeMap<String, usize> = BTreeMap::new();
    for statement in fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap()) {
        let key = statement.file_name().into_string().unwrap();
        texts.insert(key.clone(), fs::read_to_string(statement.path().join("text")).unwrap());
        for file in fs::read_dir(statement.path()).unwrap().map(|file| file.unwrap().file_name()) {
            let test = file.into_string().unwrap().replace('-', "::");
            if test != "text" {
                *runs.entry(test.clone()).or_default() += 1;
                ran.entry(key.clone()).or_default().push(test);
            }
        }
    }
    for tests in ran.values_mut() {
        tests.sort_by_key(|test| (runs[test], test.clone()));
    }

    let word = env::var(WORD).ok();
    let is_asked = |text: &str| match &word {
        Some(word) => text.contains(word.as_str()),
        None => CORE.iter().any(|core| text.contains(core)),
    };
    let mut mutants: Vec<Mutant> =
        texts.iter().filter(|(_, text)| is_asked(text)).flat_map(|(key, text)| changes(key, text)).collect();
    let all = mutants.len();
    if let Ok(most) = env::var(MOST) {
        mutants.shuffle(&mut StdRng::seed_from_u64(1));
        mutants.truncate(most.parse().unwrap());
    }
    println!("{} statements, {all} changes, {} of them tried", texts.len(), mutants.len());
    let mut missed = 0;
    for mutant in &mutants {
        let text = &texts[&mutant.statement];
        if !is_noticed(&ran[&mutant.statement], mutant) {
            missed += 1;
            println!("MISSED {}", mutant.told(text));
        }
    }
    let caught = mutants.len() - missed;
    println!("{}", json!({ "run": "sql-mutants", "changes": all, "tried": mutants.len(), "caught": caught }));
    assert!(caught * 10 >= mutants.len() * 9, "{missed} of {} changes go unnoticed", mutants.len());
}
