//! Looks for a message or call among those that Twilio has taken for a number: `GET Messages.json?To=` and
//! `GET Calls.json?To=`, the newest first. Neither shows our key, so that it is known by its number and its time, and
//! by being nobody else's: everything else that we sent there has a reference by which it is left out. A message is known
//! by its text as well, of which the ledger keeps a keyed hash: another system on the same account may text the same
//! number. What has another text, or one that Twilio does not show, stays unknown.
//!
//! Source: Twilio API 2010-04-01, `ListMessage` and `ListCall`. There is no filter by the time of creation, and the one by
//! the time of sending leaves out what is still queued.

use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{Account, is_sid, unread};
use crate::domain::look_up::Lost;
use crate::domain::outbound::SendError;
use crate::domain::receipt::{Receipt, Said};
use crate::provider::http;

/// As many as fit what is read of an answer.
const PAGE: usize = 20;
/// Twilio's clock may be so far behind ours, and it writes whole seconds.
const BEFORE: SignedDuration = SignedDuration::from_secs(30);
/// A request is given up after seconds; so late it may still have been taken.
const AFTER: SignedDuration = SignedDuration::from_mins(2);
/// What lies no further off may be it by a clock that is wrong. So far the ledger knows what else it sent there.
const ABOUT: SignedDuration = SignedDuration::from_mins(10);

/// One that Twilio has.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listed {
    pub(super) sid: String,
    pub(super) status: String,
    direction: String,
    date_created: Option<String>,
    #[serde(default)]
    pub(super) error_code: Option<u32>,
    #[serde(default)]
    pub(super) answered_by: Option<String>,
    /// Of a message; a call has none.
    #[serde(default)]
    body: Option<String>,
}

impl Listed {
    /// What became of it, as a receipt says it.
    pub(super) fn receipt(self, lost: &Lost, said: Said) -> Receipt {
        let code = self.error_code.filter(|_| said.failure().is_some()).map(|code| code.to_string());
        let provider = lost.provider.clone();
        Receipt { provider, key: lost.key, reference: Some(self.sid), said, code, named: Vec::new() }
    }
}

/// By what it is known, beside its number and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Its text, which the list shows.
    Text,
    /// Nothing: a list of calls shows none.
    Time,
}

/// What the list says of the one that is looked for.
#[derive(Debug)]
pub(super) enum Search {
    Found(Listed),
    NotThere,
    Unclear,
}

impl Account {
    /// Looks in the list of `resource` (`Messages.json`), under `name` (`messages`), for what was lost.
    pub(super) async fn search(
        &self,
        resource: &str,
        name: &str,
        lost: &Lost,
        by: By,
    ) -> Result<Search, SendError> {
        let query = [("To", lost.to.expose()), ("PageSize", &PAGE.to_string())];
        let request = self.client.get(self.place(resource)).query(&query);
        let mut page: serde_json::Value = self.listed(request, http::MAX_ANSWER_BYTES).await?;
        let listed = page.get_mut(name).map(serde_json::Value::take).ok_or_else(unread)?;
        let listed: Vec<Listed> = serde_json::from_value(listed).map_err(|_| unread())?;
        Ok(pick(listed, lost, by))
    }
}

/// The one of `listed` that was lost.
fn pick(listed: Vec<Listed>, lost: &Lost, by: By) -> Search {
    let from = lost.begun_at.checked_sub(BEFORE).unwrap_or(Timestamp::MIN);
    let until = lost.begun_at.checked_add(AFTER).unwrap_or(Timestamp::MAX);
    // The page may end before its time does.
    let reaches = listed.len() < PAGE || listed.last().and_then(created).is_some_and(|oldest| oldest < from);
    // What has no time may be it.
    let (mut fits, near): (Vec<Listed>, Vec<Listed>) = listed
        .into_iter()
        .filter(|one| one.direction.starts_with("outbound") && is_sid(&one.sid))
        .filter(|one| !lost.others.contains(&one.sid))
        .filter(|one| created(one).is_none_or(|at| at.duration_since(lost.begun_at).abs() <= ABOUT))
        .partition(|one| created(one).is_none_or(|at| (from..=until).contains(&at)));
    // Another system may text the same number in the same moment.
    let ours = |one: &Listed| {
        one.body.as_deref().zip(lost.text.as_ref()).is_some_and(|(body, text)| text.fits(body))
    };
    if by == By::Text && !fits.is_empty() {
        // Where none has our text nobody knows: texts may be withheld, or changed on their way in.
        fits.retain(ours);
        if fits.is_empty() {
            return Search::Unclear;
        }
    }
    match (fits.pop(), fits.is_empty()) {
        (None, _) if reaches && !near.iter().any(|one| by == By::Time || ours(one)) => Search::NotThere,
        (Some(one), true) if reaches && lost.rivals == 0 => Search::Found(one),
        _ => Search::Unclear,
    }
}

fn created(one: &Listed) -> Option<Timestamp> {
    rfc2822::parse(one.date_created.as_deref()?).ok().map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{AttemptId, MessageId, ProviderName, SendKey};
    use crate::domain::look_up::TextMark;
    use crate::domain::phi::Phi;

    fn lost(others: &[&str], rivals: usize) -> Lost {
        Lost {
            attempt: AttemptId::generate(),
            key: SendKey { message: MessageId::generate(), step: 0 },
            provider: ProviderName::parse("sms").unwrap(),
            to: Phi::new("+13125550142"),
            begun_at: "2026-12-01T15:00:00.4Z".parse().unwrap(),
            others: others.iter().map(|sid| (*sid).to_owned()).collect(),
            rivals,
            absent: 0,
            text: Some(TextMark::of([7; 32], "Your visit is tomorrow")),
        }
    }

    fn one(sid: &str, time: &str) -> Listed {
        Listed {
            sid: sid.to_owned(),
            status: "sent".to_owned(),
            direction: "outbound-api".to_owned(),
            date_created: Some(format!("Tue, 01 Dec 2026 {time} +0000")),
            error_code: None,
            answered_by: None,
            body: Some("Your visit is tomorrow".to_owned()),
        }
    }

    fn found(listed: Vec<Listed>, lost: &Lost, by: By) -> String {
        match pick(listed, lost, by) {
            Search::Found(one) => one.sid,
            Search::NotThere => "not there".to_owned(),
            Search::Unclear => "unclear".to_owned(),
        }
    }

    #[test]
    fn what_was_lost_is_the_one_that_is_nobody_elses() {
        let inbound = Listed { direction: "inbound".to_owned(), ..one("SM7", "15:00:01") };
        let odd = Listed { date_created: None, ..one("SM8", "15:00:01") };
        for (listed, others, rivals, expected) in [
            (vec![], &[][..], 0, "not there"),
            (vec![one("SM1", "15:00:01")], &[], 0, "SM1"),
            // To the second, and by a clock that is behind.
            (vec![one("SM1", "15:00:00")], &[], 0, "SM1"),
            (vec![one("SM1", "14:59:40")], &[], 0, "SM1"),
            // Another attempt's; what was there before and came after; what patients sent.
            (vec![one("SM1", "15:00:01")], &["SM1"], 0, "not there"),
            (vec![one("SM1", "15:00:02"), one("SM2", "15:00:01")], &["SM1"], 0, "SM2"),
            (vec![one("SM1", "14:49:00"), one("SM2", "15:11:00")], &[], 0, "not there"),
            // By a clock that is minutes off.
            (vec![one("SM1", "14:51:00")], &[], 0, "unclear"),
            (vec![one("SM1", "15:09:00")], &[], 0, "unclear"),
            (vec![inbound], &[], 0, "not there"),
            // Several that could be it, or that it could be.
            (vec![one("SM1", "15:00:02"), one("SM2", "15:00:01")], &[], 0, "unclear"),
            (vec![one("SM1", "15:00:01")], &[], 1, "unclear"),
            (vec![], &[], 1, "not there"),
            (vec![odd], &[], 0, "SM8"),
            // More than a page since.
            (vec![one("SM9", "15:10:00"); PAGE], &[], 0, "unclear"),
        ] {
            let shown = format!("{listed:?} {others:?}");
            for by in [By::Text, By::Time] {
                assert_eq!(found(listed.clone(), &lost(others, rivals), by), expected, "{shown} {by:?}");
            }
        }
    }

    #[test]
    fn another_systems_text_is_not_taken_for_ours() {
        let other =
            |sid: &str, body: Option<&str>| Listed { body: body.map(str::to_owned), ..one(sid, "15:00:01") };
        let ours = "Your visit is tomorrow";
        let forgotten = Lost { text: None, ..lost(&[], 0) };
        for (listed, lost, by, expected) in [
            (vec![other("SM1", Some("Your code is 123"))], lost(&[], 0), By::Text, "unclear"),
            (
                vec![other("SM1", Some("Your code is 123")), other("SM2", Some(ours))],
                lost(&[], 0),
                By::Text,
                "SM2",
            ),
            (vec![other("SM1", Some(ours)), other("SM2", Some(ours))], lost(&[], 0), By::Text, "unclear"),
            (vec![other("SM1", Some(ours))], lost(&[], 1), By::Text, "unclear"),
            // Withheld, changed, or not kept by us.
            (vec![other("SM1", Some(""))], lost(&[], 0), By::Text, "unclear"),
            (vec![other("SM1", None)], lost(&[], 0), By::Text, "unclear"),
            (vec![other("SM1", Some("Your visit is tomorrow."))], lost(&[], 0), By::Text, "unclear"),
            (vec![other("SM1", Some(ours))], forgotten.clone(), By::Text, "unclear"),
            (vec![], forgotten.clone(), By::Text, "not there"),
            (vec![other("CA1", None)], forgotten, By::Time, "CA1"),
        ] {
            let shown = format!("{listed:?}");
            assert_eq!(found(listed, &lost, by), expected, "{shown}");
        }
    }
}
