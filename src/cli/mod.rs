//! The command line: one file a group of commands. Output for people is calm and aligned, `--json` is for programs;
//! errors go to standard error with their cure, and the exit code is 0 only when all of it worked.

mod alerts;
mod args;
mod audit;
mod bench;
mod bounce;
mod callbacks;
mod campaign;
mod check;
mod dead;
mod demo;
mod doctor;
mod enqueue;
mod explain;
mod failure;
mod files;
mod holds;
mod keys;
mod logging;
mod messages;
mod migrate;
mod optouts;
mod oracle;
mod out;
mod patient_file;
mod patients;
mod providers;
mod recover;
mod run;
mod sign_in;
mod simulate;
mod templates;
mod users;
mod work;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::app;
use crate::config::{Config, LoadOptions};
use crate::domain::ids::WorkerId;
use crate::intake::{Gatekeeper, Intake};
use crate::store::Store;
use crate::template::SharedCatalogue;
use failure::Failure;
use out::Out;
use tokio::signal::unix::{SignalKind, signal};

/// Sends patients the right message on the right channel at the right time, and keeps on record what became of it.
#[derive(Debug, Parser)]
#[command(
    name = "outreachd",
    version,
    max_term_width = 100,
    after_help = "Begin with `outreachd demo`: it needs nothing but this program. \
                  `outreachd COMMAND --help` shows what a command does, with an example."
)]
struct Cli {
    /// The configuration [default: $OUTREACHD_CONFIG, else ./outreachd.toml, else the built-in defaults]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write JSON for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

// `about` is a command's line in the list. What its `--help` says at length stands at its options; a doc comment here
// would take its place.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(about = "Show everything on this machine with a sample clinic and simulated providers")]
    Demo(demo::Options),
    #[command(about = "Run the worker until SIGTERM")]
    Run(run::Options),
    #[command(about = "Tell everything that is wrong, connecting to everything, with the cures")]
    Check(check::Options),
    #[command(about = "Tell what is wrong now, the most urgent first, and what to do")]
    Doctor(doctor::Options),
    #[command(about = "Bring the ledger's schema up to date and declare the broker's queues")]
    Migrate(migrate::Options),
    #[command(about = "Submit jobs from a file")]
    Enqueue(enqueue::Options),
    /// Import, show, export and erase patients
    #[command(subcommand)]
    Patients(patients::Command),
    /// Import addresses that must not be written to
    #[command(subcommand)]
    Optouts(optouts::Command),
    /// List, show and follow messages
    #[command(subcommand)]
    Messages(messages::Command),
    #[command(about = "Tell why a message is where it is")]
    Explain(explain::Options),
    #[command(
        about = "Stop sending: everything, or one source, site, template, purpose, channel or provider"
    )]
    Hold(holds::HoldOptions),
    #[command(about = "List the holds in force, and those whose messages wait for review")]
    Holds(holds::ListOptions),
    #[command(about = "End a hold")]
    Release(holds::ReleaseOptions),
    /// One message to many people: plan it, look at it, have it approved, start it, stop it
    #[command(subcommand)]
    Campaign(campaign::Command),
    /// Show, claim and close what people have to do
    #[command(subcommand)]
    Work(work::Command),
    /// List, check, preview and sign off templates
    #[command(subcommand)]
    Template(templates::Command),
    /// List, show and replay what could not be accepted
    #[command(subcommand)]
    Dead(dead::Command),
    /// List results that receivers have not taken, and have dead ones posted again
    #[command(subcommand)]
    Callbacks(callbacks::Command),
    #[command(about = "Take a mail that has come back: a bounce, a complaint, an answer")]
    Bounce(bounce::Options),
    #[command(about = "Show the workers and what their providers are doing")]
    Providers(providers::Options),
    /// List what people on call are told of, acknowledge it, snooze it
    #[command(subcommand)]
    Alerts(alerts::Command),
    #[command(about = "After a restore of the database: send nothing twice, and lose no opt-out")]
    Recover(recover::Options),
    /// Make, list, disable and reset the accounts of people who sign in to the console
    #[command(subcommand)]
    Users(users::Command),
    /// List who did what, and verify that nothing of it was altered
    #[command(subcommand)]
    Audit(audit::Command),
    #[command(about = "Measure this machine, database and broker against a simulated provider")]
    Bench(bench::Options),
    /// Count what is sealed under which key, and seal it anew
    #[command(subcommand)]
    Keys(keys::Command),
    #[command(about = "Run the simulated providers alone")]
    Simulate(simulate::Options),
    /// Read telephone numbers as outreachd reads them
    #[command(subcommand)]
    Phone(oracle::PhoneCommand),
    /// Count the segments of text messages
    #[command(subcommand)]
    Sms(oracle::SmsCommand),
    /// Ask when quiet hours let a message through
    #[command(subcommand)]
    Policy(oracle::PolicyCommand),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Timers are looked at after so many turns of tasks: slots of the rate gate are a matter of milliseconds.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().event_interval(16).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let what = format!("no threads can be started ({})", error.kind());
            return Failure::said(what, "look at the limits of processes and memory").report();
        }
    };
    let mut desk = Desk { out: Out::stdout(), json: cli.json, file: cli.config };
    let done = runtime.block_on(async {
        let done = command(cli.command, &mut desk).await;
        desk.out.flush()?;
        done
    });
    // What is still waiting on a blocking read, such as standard input, must not hold up the exit.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn command(command: Command, desk: &mut Desk) -> Result<(), Failure> {
    match command {
        Command::Demo(options) => demo::run(desk, options).await,
        Command::Run(options) => run::run(desk, &options).await,
        Command::Check(options) => check::run(desk, &options).await,
        Command::Doctor(_) => doctor::run(desk).await,
        Command::Migrate(options) => migrate::run(desk, &options).await,
        Command::Enqueue(options) => enqueue::run(desk, &options).await,
        Command::Patients(command) => patients::run(desk, command).await,
        Command::Optouts(command) => optouts::run(desk, command).await,
        Command::Messages(command) => messages::run(desk, command).await,
        Command::Explain(options) => explain::run(desk, &options).await,
        Command::Hold(options) => holds::hold(desk, options).await,
        Command::Holds(_) => holds::list(desk).await,
        Command::Release(options) => holds::release(desk, &options).await,
        Command::Campaign(command) => campaign::run(desk, command).await,
        Command::Work(command) => work::run(desk, command).await,
        Command::Template(command) => templates::run(desk, command).await,
        Command::Dead(command) => dead::run(desk, command).await,
        Command::Callbacks(command) => callbacks::run(desk, command).await,
        Command::Bounce(options) => bounce::run(desk, options).await,
        Command::Providers(_) => providers::run(desk).await,
        Command::Alerts(command) => alerts::run(desk, command).await,
        Command::Recover(options) => recover::run(desk, options).await,
        Command::Users(command) => users::run(desk, command).await,
        Command::Audit(command) => audit::run(desk, &command).await,
        Command::Bench(options) => bench::run(desk, options).await,
        Command::Keys(command) => keys::run(desk, command).await,
        Command::Simulate(options) => simulate::run(desk, options).await,
        Command::Phone(command) => oracle::phone(desk, command),
        Command::Sms(command) => oracle::sms(desk, command),
        Command::Policy(command) => oracle::policy(desk, command),
    }
}

/// What every command has at hand.
struct Desk {
    out: Out,
    json: bool,
    file: Option<PathBuf>,
}

impl Desk {
    fn load_options(&self) -> Result<LoadOptions, Failure> {
        LoadOptions::of_this_process(self.file.clone()).map_err(|error| {
            Failure::said(
                format!("the working directory: {}", error.kind()),
                "start outreachd in a directory that exists",
            )
        })
    }

    /// Whether somebody has written one, wherever it is looked for.
    fn has_configuration(&self) -> Result<bool, Failure> {
        Ok(self.load_options()?.chosen_file().is_some())
    }

    fn config(&self) -> Result<Arc<Config>, Failure> {
        Config::load(&self.load_options()?).map(Arc::new).map_err(Failure::Config)
    }

    /// The ledger, once it has said that it and this program go together.
    async fn store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
        let store = Self::unasked_store(config).await?;
        store.ping().await?;
        Ok(store)
    }

    /// The ledger, for whoever says what is wrong with it. A file that is not there is not made by asking: it would be empty,
    /// and answer as if it were the one that the service has.
    async fn unasked_store(config: &Config) -> Result<Arc<dyn Store>, Failure> {
        match config.store.missing_file() {
            Some(file) => Err(Failure::said(
                format!("there is no ledger at {}", absolute(file)),
                "give the command the settings that the service has (`outreachd check` says which it reads); a new ledger is \
                 made by `outreachd migrate`",
            )),
            None => Self::store_or_new(config).await,
        }
    }

    /// The ledger; its file is made where there is none.
    async fn store_or_new(config: &Config) -> Result<Arc<dyn Store>, Failure> {
        Ok(app::open_store(config).await?)
    }

    fn catalogue(config: &Config) -> Result<Arc<SharedCatalogue>, Failure> {
        Ok(app::load_catalogue(&config.templates.dir)?)
    }

    /// A way in without a worker: what is accepted waits in the ledger for one.
    fn intake(config: &Arc<Config>, store: Arc<dyn Store>, catalogue: Arc<SharedCatalogue>) -> Intake {
        let gatekeeper = Gatekeeper::new(config.clone(), catalogue);
        Intake { store, gatekeeper, dispatcher: None, worker: WorkerId::generate() }
    }
}

/// A path as somebody in another folder may use it.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Resolves when this process is asked to end, by Ctrl-C or by SIGTERM. From the call on neither ends it at once.
fn asked_to_end() -> impl Future<Output = ()> {
    let heard = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut term), Ok(mut int)) = heard else {
            // Signals that cannot be listened to end the process by themselves.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}

/// Who gives this command, for the record: the account of the system that this process runs as. What the environment
/// says anybody could have written.
fn operator() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(uid) = std::fs::metadata("/proc/self").map(|process| process.uid()) else {
        return "cli".to_owned();
    };
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    format!("cli:{}", account_of(uid, &accounts))
}

/// The name of an account in the lines of `passwd(5)`; one without an entry goes by its number.
fn account_of(uid: u32, accounts: &str) -> String {
    let named = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then_some(name)
    });
    let name: String = named
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
        .take(64)
        .collect();
    if name.is_empty() { format!("uid:{uid}") } else { name }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::{Cli, account_of};

    /// What is shown in `command`, or anywhere below it, and says nothing of itself.
    fn silent(command: &clap::Command, path: &str) -> Vec<String> {
        let args = command.get_arguments().filter(|arg| !arg.is_hide_set() && arg.get_help().is_none());
        let mut found: Vec<String> = args.map(|arg| format!("{path}: {}", arg.get_id())).collect();
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            let path = format!("{path} {}", below.get_name());
            found.extend(below.get_about().is_none().then(|| path.clone()));
            found.extend(silent(below, &path));
        }
        found
    }

    #[test]
    fn every_command_and_every_argument_says_what_it_is() {
        assert_eq!(silent(&Cli::command(), "outreachd"), Vec::<String>::new());
    }

    #[test]
    fn an_account_is_known_by_its_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n:x:7:7:::\nbroken";
        for (uid, name) in [(0, "root"), (1000, "ann"), (7, "uid:7"), (100, "uid:100")] {
            assert_eq!(account_of(uid, accounts), name);
        }
    }
}
