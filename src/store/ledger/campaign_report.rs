//! What came of a campaign, in numbers.

use async_trait::async_trait;
use jiff::Timestamp;

use super::Ledger;
use crate::domain::ids::{CampaignId, MessageId};
use crate::domain::reply::Intent;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Reason};
use crate::policy::campaign::Health;
use crate::store::campaigns::{CampaignReport, ReplyLine, ReportLine};
use crate::store::columns::Columns;
use crate::store::engine::{Engine, args};
use crate::store::{CampaignReports, Result, words};

/// The messages `m` of a campaign that are judged: those whose last attempt began since $2. What has come since of earlier
/// ones says nothing of how it goes now, and is not to be a share of the few that were tried since. What was written since
/// has begun since, and what has not changed since has not: of the others each attempt is looked up.
macro_rules! tried_since {
    () => {
        concat!(
            "m.campaign_id = $1 AND m.changed_at >= $2 AND (m.accepted_at >= $2
                 OR (SELECT a.begun_at FROM attempts a WHERE a.id = m.last_attempt) >= $2) AND ",
            words::by_campaign!("m")
        )
    };
}

/// Of these, how many people complained of.
const COMPLAINTS: &str = concat!(
    "SELECT count(DISTINCT r.message_id) FROM replies r JOIN messages m ON m.id = r.message_id
     WHERE r.intent = 'complaint' AND ",
    tried_since!()
);

/// Of these, how many made people say stop, wherever they did.
const STOPS: &str = concat!(
    "SELECT count(*) FROM campaign_stops s JOIN messages m ON m.id = s.message_id WHERE s.campaign_id = $1 AND ",
    tried_since!()
);

#[async_trait]
impl<E: Engine> CampaignReports for Ledger<E> {
    async fn campaign_health(&self, id: &CampaignId, since: Timestamp) -> Result<Health> {
        let rows = self
            .engine
            .read(
                concat!(
                    "SELECT m.status, count(*) FROM messages m
                     WHERE m.campaign_status IN ('unknown', 'sent', 'failed', 'delivered', 'read') AND m.copy_of IS NULL
                         AND ",
                    tried_since!(),
                    " GROUP BY m.status"
                ),
                args![id.as_str(), since],
            )
            .await?;
        let mut health = Health::default();
        for row in &rows {
            let count: u64 = row.count(1)?;
            health.tried += count;
            if row.word(0, MessageStatus::from_word)? == MessageStatus::Failed {
                health.failed += count;
            }
        }
        for (sql, count) in [(COMPLAINTS, &mut health.complained), (STOPS, &mut health.opted_out)] {
            let rows = self.engine.read(sql, args![id.as_str(), since]).await?;
            *count = rows.first().map_or(Ok(0), |row| row.count(0))?;
        }
        Ok(health)
    }

    async fn campaign_report(&self, id: &CampaignId) -> Result<CampaignReport> {
        let rows = self.engine.read(E::STATEMENTS.campaign_report, args![id.as_str()]).await?;
        let hour = |hour: i64| (hour > 0).then(|| Timestamp::from_second(hour * 3_600).ok()).flatten();
        let line = |row: &E::Row| {
            Ok(ReportLine {
                status: row.word(0, MessageStatus::from_word)?,
                reason: row.maybe_word(1, Reason::from_word)?,
                channel: row.maybe_word(2, Channel::from_word)?,
                locale: row.text(3)?.to_owned(),
                hour: hour(row.int(4)?),
                count: row.count(5)?,
            })
        };
        let lines = rows.iter().map(line).collect::<Result<Vec<_>>>()?;
        let rows = self.engine.read(E::STATEMENTS.campaign_replies, args![id.as_str()]).await?;
        let line = |row: &E::Row| {
            Ok(ReplyLine {
                intent: row.word(0, Intent::from_word)?,
                channel: row.maybe_word(1, Channel::from_word)?,
                locale: row.text(2)?.to_owned(),
                hour: hour(row.int(3)?),
                count: row.count(4)?,
            })
        };
        let replies = rows.iter().map(line).collect::<Result<Vec<_>>>()?;
        let rows = self
            .engine
            .read(
                "SELECT reason, count(*) FROM campaign_recipients WHERE campaign_id = $1 AND state = 3 GROUP BY reason
                 UNION ALL
                 SELECT CASE c.state WHEN 'done' THEN 'expired' ELSE 'cancelled' END, count(*)
                 FROM campaigns c JOIN campaign_recipients r ON r.campaign_id = c.id AND r.state = 0
                 WHERE c.id = $1 AND c.state IN ('done', 'cancelled') GROUP BY c.state",
                args![id.as_str()],
            )
            .await?;
        let refused = rows
            .iter()
            .map(|row| Ok((row.maybe_word(0, Reason::from_word)?.unwrap_or(Reason::BadData), row.count(1)?)))
            .collect::<Result<Vec<_>>>()?;
        Ok(CampaignReport { lines, replies, refused })
    }
}

impl<E: Engine> Ledger<E> {
    /// This message made somebody say stop.
    pub(super) async fn keep_campaign_stop(tx: &mut E::Tx, message: MessageId) -> Result<()> {
        E::run(
            tx,
            concat!(
                "INSERT INTO campaign_stops (message_id, campaign_id, at)
                 SELECT m.id, m.campaign_id, now() FROM messages m WHERE m.id = $1 AND m.campaign_id IS NOT NULL AND ",
                words::by_campaign!("m"),
                " ON CONFLICT DO NOTHING"
            ),
            args![message.0],
        )
        .await?;
        Ok(())
    }
}
