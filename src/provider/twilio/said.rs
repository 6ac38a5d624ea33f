//! What patients have written to a number of ours, by Twilio's list of messages: `GET Messages.json?To=` and `DateSent>=`,
//! page by page, of which those count that came in. The list does not say what Advanced Opt-Out took a text for
//! (`OptOutType`): the words alone speak.
//!
//! Source: Twilio API 2010-04-01, `ListMessage`; a further page stands under `next_page_uri`, a path.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;

use super::{Account, is_sid, unread};
use crate::domain::outbound::{FailureKind, SendError};
use crate::domain::phi::Phi;

const RESOURCE: &str = "Messages.json";
/// With this the path of a page begins.
const VERSION: &str = "/2010-04-01/";
/// Messages of one page.
const PAGE: usize = 100;
/// A page of the longest texts, each of their characters escaped.
const MOST_BYTES: usize = 4 << 20;
/// Pages of one number: a list that goes on beyond them is not read in part.
const MOST_PAGES: usize = 1_000;

/// One message that came in.
#[derive(Debug, Deserialize)]
pub(super) struct Written {
    pub(super) sid: String,
    direction: String,
    #[serde(default)]
    pub(super) from: Option<Phi>,
    #[serde(default)]
    pub(super) body: Option<Phi>,
    #[serde(default)]
    num_media: Option<String>,
    #[serde(default)]
    date_sent: Option<String>,
    #[serde(default)]
    date_created: Option<String>,
}

impl Written {
    /// When it was said, to the second.
    pub(super) fn at(&self) -> Option<Timestamp> {
        let text = self.date_sent.as_deref().or(self.date_created.as_deref())?;
        rfc2822::parse(text).ok().map(|at| at.timestamp())
    }

    /// Whether pictures or other files came with it.
    pub(super) fn has_files(&self) -> bool {
        self.num_media.as_deref().is_some_and(|count| !count.is_empty() && count != "0")
    }
}

#[derive(Deserialize)]
struct Page {
    messages: Vec<Written>,
    #[serde(default)]
    next_page_uri: Option<String>,
}

impl Account {
    /// All that was written to `number`, which is one of ours, since then; the newest first.
    pub(super) async fn written_to(&self, number: &str, since: Timestamp) -> Result<Vec<Written>, SendError> {
        let (since, size) = (since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), PAGE.to_string());
        let query = [("To", number), ("DateSent>", &since), ("PageSize", &size)];
        let mut request = self.client.get(self.place(RESOURCE)).query(&query);
        let mut all = Vec::new();
        for _ in 0..MOST_PAGES {
            let page: Page = self.listed(request, MOST_BYTES).await?;
            let came_in = |one: &Written| one.direction == "inbound" && is_sid(&one.sid);
            all.extend(page.messages.into_iter().filter(came_in));
            let Some(next) = page.next_page_uri else { return Ok(all) };
            request = self.client.get(page_of(&self.place(RESOURCE), &next).ok_or_else(unread)?);
        }
        Err(SendError::new(FailureKind::Transient, "list_too_long"))
    }
}

/// The URL of a further page of `list`; `None`: it is a page of something else, and gets no credentials of ours.
fn page_of(list: &str, uri: &str) -> Option<String> {
    let path = list.get(list.find(VERSION)?..)?;
    let query = uri.strip_prefix(path)?.strip_prefix('?')?;
    Some(format!("{list}?{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_page_is_one_of_the_same_list() {
        let list = "https://gateway.example/twilio/2010-04-01/Accounts/AC1/Messages.json";
        assert_eq!(
            page_of(list, "/2010-04-01/Accounts/AC1/Messages.json?PageSize=100&Page=1&PageToken=PA7")
                .unwrap(),
            format!("{list}?PageSize=100&Page=1&PageToken=PA7")
        );
        for uri in [
            "/2010-04-01/Accounts/AC2/Messages.json?Page=1",
            "/2010-04-01/Accounts/AC1/Messages.json.evil.example/?Page=1",
            "//evil.example/2010-04-01/Accounts/AC1/Messages.json?Page=1",
            "https://evil.example/2010-04-01/Accounts/AC1/Messages.json?Page=1",
            "/2010-04-01/Accounts/AC1/Messages.json",
            "",
        ] {
            assert_eq!(page_of(list, uri), None, "{uri}");
        }
    }

    #[test]
    fn a_listed_message_is_read_as_it_is_shown() {
        let one: Written = serde_json::from_str(
            r#"{"sid":"SM1","direction":"inbound","from":"+13125550142","body":null,"num_media":"1",
                "date_sent":"Tue, 01 Dec 2026 15:00:00 +0000","price":null}"#,
        )
        .unwrap();
        assert_eq!(one.at(), "2026-12-01T15:00:00Z".parse().ok());
        assert!(one.has_files() && one.body.is_none());
        assert!(!format!("{one:?}").contains("3125550142"), "{one:?}");
    }
}
