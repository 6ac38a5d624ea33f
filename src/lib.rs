//! `outreachd`: the patient-outreach dispatcher.
//!
//! A job enters (RabbitMQ, HTTP, file), is written to the **ledger** (PostgreSQL, or SQLite as the embedded default),
//! and only then acknowledged. From the ledger it walks one forward **corridor**: plan (who, which channel, may we,
//! may we now), render, rate gate, begin, send, settle. Every attempt is written down before the wire is touched.
//! Results go back to whoever asked, and stay for the people on call.
//!
//! # The house
//!
//! A room imports from the floors below it only; a test reads every arrow (`tests/it/rooms.rs`).
//!
//! ```text
//! 5  app        the one place that builds everything            cli    the command line, the demo
//! 4  http       API, metrics, console, the patient's page       simulator   the outside, on loopback
//!    mailbox    mail that comes back, by LMTP
//! 3  intake     parse, ask the gatekeeper, write, acknowledge   dispatch    the corridor
//!    receipt    what comes back from providers                 campaign    one message to many people
//!    watch      what is wrong, and who is told
//! 2  template   catalogue, strict render, lint, preview         provider    one file a provider
//!    store      the ledger: one trait, two databases            broker      RabbitMQ
//!    callback   results by HTTP, signed                       identity   people's own sign-in, by OpenID Connect
//!    telemetry  traces, for a collector
//! 1  policy     decisions: pure, `now` and jitter are arguments config      one section a file
//! 0  domain     nouns, parsed once and valid ever after; protected health information is masked in `Debug`
//!    client     the one way to ask somebody outside by HTTP
//!    faults     points at which the fault suite ends a process; nothing of it is in a release
//! ```
//!
//! To follow one message, read in this order: [`intake::queue`], [`intake::submit`], [`intake::gatekeeper`],
//! [`store::Intake::admit`], then [`dispatch`]: `plan.rs` (asks [`policy::decide`]), `choice.rs`, `lane.rs`, `gate.rs`,
//! `send.rs`, `settle.rs`, `outbox.rs`, `callbacks.rs`. What its provider says of it later comes in by [`receipt`]. What
//! nobody drives is driven by `keep.rs`: holds that end, people who must be
//! called; a send whose answer was lost is looked up by `look_up.rs`. Campaigns become jobs by [`campaign`]: `drive.rs`, on one worker at a time.
//!
//! # What always holds
//!
//! 1. **The ledger row is committed before the broker delivery is acknowledged**; an acknowledgement covers only the
//!    contiguous committed prefix of one channel's tags.
//! 2. **An attempt row is committed before the first byte goes to a provider.** After a crash, leased and not begun is
//!    safe to send; begun is unknown.
//! 3. **No database transaction is open across a send.**
//! 4. **Opt-out, cancel, hold, expiry and every change of the patient are checked at the moment of `begin`**, not only
//!    when planning: `begin` writes an attempt only where the patient's revision is the one that was decided on.
//! 5. **No path leads around the rate gate.**
//! 6. **Policy reads no clock, no source of chance, no store.**
//! 7. **No log line, metric, span, error text, header, routing key or event holds a name, an address, a number or a body.**
//!    Job bodies may lie in the job queues; parked bodies lie in the ledger.
//! 8. **Every queue, body, batch, retry, wait and page has a limit.** Backlog waits in the broker or the ledger, never
//!    in memory.
//! 9. **One bad row never sinks its batch**: it is bisected out and parked with its reason.
//! 10. **A result that could not be written is tried again until it is**, and holds its place meanwhile; at the end
//!     of the process it goes to a file, which the next start writes to the ledger. One
//!     that the ledger refuses is let go by itself, and unknown.
//!
//! # A rank that depends on the channel
//!
//! Of two words about an attempt the one that is further along stands, and `delivered` is further than `undelivered`: but
//! for mail. There "delivered" is what the next server said, and a bounce is what the last one says; were it not believed,
//! nobody would hear that the mail never came. Of a **message** no status falls all the same, for callers have acted on it:
//! that it came back is told beside it ([`policy::came_back`]).
//!
//! # Numbers that were measured, not chosen
//!
//! - The rate gate uses 0.98 of a limit, not 0.99: at 50 a second 0.99 leaves 10 ms for late timers and the wire, and
//!   a busy machine was seen to need more (52 in one second). On top, each process keeps an exact log of the sends of
//!   the last second: a token bucket with any burst lets one too many through after a pause.
//! - A slot is good until the moment of sending: where the limit is full and a busy machine wakes a sender more than 6 ms
//!   late, it takes another slot. Slots that were only looked at when the attempt was written down let two workers send
//!   525 in a second where 500 are allowed. Long batches let others run every 16 rows for the same reason.
//! - The emptier a limit is, the later a slot may be met, and a slot is asked for as far ahead as it was seen to take to
//!   use one. Without either, a machine three times slower than usual found every slot missed: nine in ten messages
//!   were written down and not sent in time at least once, and 200 a second went out where 2,000 had.
//! - No more is leased than finds room in the lanes that it goes to, which what was planned lately tells, and a large
//!   batch from a queue waits up to 300 ms while that room grows. Where one lane was in demand of several, 95 of 100
//!   messages had been planned, given back and claimed again: three tenths of the ledger's time and an eighth of the
//!   worker's.
//! - Statements are planned once a connection (`force_generic_plan`): PostgreSQL planned every claim anew, 1.6 ms each.
//! - A begin finds its rows by their ids whatever the planner has heard: told that little is leased it walked all leases,
//!   and the whole batch for each of them, which took 400 microseconds a row where 80 will do.
//! - In a batch of 100 a statement's own start is an eighth of its work, in one of 20 more than a third: the corridor gathers.
//! - `x-delivery-limit` is 1,000: the worker finds poison by itself; a low limit turns six crashes of a worker into
//!   dead letters of good jobs.

pub mod app;
pub mod broker;
pub mod callback;
pub mod campaign;
pub mod cli;
pub mod client;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod faults;
pub mod http;
pub mod identity;
pub mod intake;
pub mod mailbox;
pub mod policy;
pub mod provider;
pub mod receipt;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod template;
pub mod watch;
