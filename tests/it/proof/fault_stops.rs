//! SIGTERM in the middle of work: the worker ends soon and well, and leaves nothing behind that others must wait for.

use std::time::{Duration, Instant};

use sqlx::Row as _;
use uuid::Uuid;

use super::faults::{IN_HAND, PATIENCE, Stage};

/// A worker has ended by then, whatever it has in hand.
const GOAL: Duration = Duration::from_secs(10);

impl Stage {
    /// A worker is told to end so long after it has taken work.
    pub(super) async fn stop_under_load(&mut self, after_ms: u64) {
        let mut worker = self.at_work().await;
        let before = self.rig.number("SELECT last_value FROM lease_tokens").await;
        self.publish(IN_HAND).await;
        let owner = self.owner_of_a_lease_after(before).await;
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        worker.assert_alive();
        self.usage.push(worker.usage());
        let took = worker.stop();
        assert!(took <= GOAL, "a worker took {took:?} to end");
        let left =
            "SELECT count(*) FROM messages m JOIN leases l ON l.token = m.lease_token WHERE l.owner = $1";
        let left: i64 = sqlx::query(left).bind(owner).fetch_one(&self.rig.sql).await.unwrap().get(0);
        assert_eq!(left, 0, "a worker has ended well and left messages leased");
        self.stops.push(took);
    }

    /// Whose the next lease is. Only one worker is there.
    async fn owner_of_a_lease_after(&self, token: i64) -> Uuid {
        let started = Instant::now();
        loop {
            let found = sqlx::query("SELECT owner FROM leases WHERE token > $1 LIMIT 1").bind(token);
            if let Some(row) = found.fetch_optional(&self.rig.sql).await.unwrap() {
                return row.get(0);
            }
            assert!(started.elapsed() < PATIENCE, "a worker takes nothing in hand");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
