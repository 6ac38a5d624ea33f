//! The ledger's engine, with what can happen to it: it is slow, away, or gone when the answer was due; transactions meet;
//! whoever asked has died meanwhile.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use outreachd::store::engine::{Args, Engine, Sql, Statements};
use outreachd::store::sqlite::{SqliteEngine, SqliteTx};
use outreachd::store::{Result, StoreError};
use sqlx::sqlite::SqliteRow;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep};

use super::world::{Life, World};

/// A fault that is put into the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plant {
    /// What these words write is forgotten, and nobody is told so. One time in three.
    Forgets(&'static str),
    /// This trigger does more than was asked.
    Adds(&'static str),
    /// Its clock is so many hours behind.
    Slow(i64),
}

/// The one writer's turn, for which all wait in simulated time.
pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

/// One process's way to the ledger.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) engine: Arc<SqliteEngine>,
    pub(super) turn: Turn,
    pub(super) world: Arc<World>,
    pub(super) life: Life,
    /// It has a way of its own, on which nothing happens.
    pub(super) safe: bool,
    pub(super) plant: Option<Plant>,
}

/// A transaction on it.
pub(super) struct WireTx {
    tx: SqliteTx,
    turn: OwnedMutexGuard<()>,
    wire: Arc<Wire>,
    forgets: bool,
}

/// The simulated clock stands still while the database works.
struct StandStill(#[expect(dead_code, reason = "the clock goes on when it is dropped")] Sender<()>);

fn stand_still() -> StandStill {
    let (end, ended) = channel();
    tokio::task::spawn_blocking(move || ended.recv());
    StandStill(end)
}

impl Wire {
    /// The way to the ledger, with what lies on it.
    async fn there(&self) -> Result<()> {
        self.life.goes_on().await;
        if self.safe {
            return Ok(());
        }
        let (pause, away) = {
            let mut state = self.world.state();
            let slow = state.strikes(10);
            let pause = if slow { state.millis(50, 800) } else { state.millis(0, 3) };
            (pause, state.strikes(3) || state.ledger_away.is_some_and(|until| Instant::now() < until))
        };
        sleep(pause).await;
        self.life.goes_on().await;
        if away { Err(StoreError::Unavailable("simulated".to_owned())) } else { Ok(()) }
    }

    fn strikes(&self, in_a_thousand: u32) -> bool {
        !self.safe && self.world.state().strikes(in_a_thousand)
    }
}

/// A handle that the engine's transactions can keep.
#[derive(Debug)]
pub(super) struct Simulated(pub(super) Arc<Wire>);

impl Engine for Simulated {
    type Row = SqliteRow;
    type Tx = WireTx;

    const STATEMENTS: &'static Statements = SqliteEngine::STATEMENTS;
    const NEWEST: i64 = SqliteEngine::NEWEST;

    async fn migrate(&self) -> Result<()> {
        let _still = stand_still();
        self.0.engine.migrate().await
    }

    async fn read(&self, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<SqliteRow>> {
        self.0.there().await?;
        let rows = {
            let _still = stand_still();
            self.0.engine.read(sql, args).await
        };
        self.0.life.goes_on().await;
        rows
    }

    async fn write(&self, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<SqliteRow>> {
        let mut tx = self.begin().await?;
        let rows = Self::run(&mut tx, sql, args).await?;
        Self::commit(tx).await?;
        Ok(rows)
    }

    async fn begin(&self) -> Result<WireTx> {
        self.0.there().await?;
        let mut turn = Some(self.0.turn.clone().lock_owned().await);
        if self.0.life.is_over() {
            turn = None;
        }
        self.0.life.goes_on().await;
        let turn = turn.ok_or(StoreError::Contention)?;
        let _still = stand_still();
        let tx = self.0.engine.begin().await?;
        Ok(WireTx { tx, turn, wire: self.0.clone(), forgets: false })
    }

    async fn run(tx: &mut WireTx, sql: impl Into<Sql> + Send, args: Args<'_>) -> Result<Vec<SqliteRow>> {
        let sql = sql.into();
        if let Some(Plant::Forgets(words)) = tx.wire.plant
            && sql.contains(words)
            && tx.wire.strikes(333)
        {
            tx.forgets = true;
        }
        let _still = stand_still();
        SqliteEngine::run(&mut tx.tx, sql, args).await
    }

    async fn commit(tx: WireTx) -> Result<()> {
        let WireTx { tx, turn, wire, forgets } = tx;
        if wire.strikes(5) {
            return Err(StoreError::Contention);
        }
        // It ends before or after.
        if wire.life.is_over() && wire.strikes(500) {
            drop((tx, turn));
            std::future::pending::<()>().await;
            return Ok(());
        }
        if !forgets {
            let _still = stand_still();
            SqliteEngine::commit(tx).await?;
        }
        drop(turn);
        wire.life.goes_on().await;
        // It is on record, and nobody hears so.
        if wire.strikes(3) {
            return Err(StoreError::Unavailable("simulated: after the commit".to_owned()));
        }
        Ok(())
    }
}
