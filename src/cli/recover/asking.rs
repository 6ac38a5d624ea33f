//! What patients have said since the dump, by the word of the providers that it was said to: those that list it are asked,
//! and of the others it is said what to do.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::super::Failure;
use crate::app::AppError;
use crate::config::Config;
use crate::config::provider::ProviderSettings;
use crate::domain::ids::ProviderName;
use crate::provider::{Provider, registry};
use crate::receipt::Desk;
use crate::store::Store;

/// A provider whose list was read.
#[derive(Debug, Serialize)]
pub(super) struct Asked {
    pub(super) provider: ProviderName,
    /// That it lists; those that had come before were known.
    pub(super) replies: u64,
}

/// A provider whose list was not read, or not all of it written down.
#[derive(Debug, Serialize)]
pub(super) struct NotAsked {
    provider: ProviderName,
    why: Why,
}

/// Why nothing, or not all, is known from a provider.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Why {
    /// It has no list of what patients have said, or none that can be read here.
    NoList,
    /// `--no-providers`.
    NotWanted,
    /// It could not be reached, or has refused.
    Unreachable,
    /// The ledger did not take all of it.
    NotTaken,
}

impl NotAsked {
    /// Whether the same command may do better.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.why, Why::Unreachable | Why::NotTaken)
    }
}

impl fmt::Display for NotAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.why {
            Why::NoList => {
                "lists no replies: give what it knows with --optouts, and hand mail that came back to `outreachd bounce - --unanswered`"
            }
            Why::NotWanted => {
                "was left out by --no-providers: run this again where it can be reached, or give its list with --optouts"
            }
            Why::Unreachable => {
                "cannot be reached, or has refused: see `outreachd check`, and run this again"
            }
            Why::NotTaken => "lists replies that the ledger did not take: see the log, and run this again",
        };
        write!(f, "{}  {what}", self.provider)
    }
}

/// The providers that patients may have said something to.
pub(super) struct Listeners {
    names: Vec<ProviderName>,
    /// None where nobody is to be asked.
    providers: Vec<Arc<dyn Provider>>,
}

impl Listeners {
    /// Builds them; where nobody is to be asked only their names are known.
    pub(super) fn of(config: &Config, nobody: bool) -> Result<Self, Failure> {
        let (mut names, mut providers) = (Vec::new(), Vec::new());
        for section in config.providers.iter().filter(|section| hears(&section.settings)) {
            names.push(section.name.clone());
            if !nobody {
                providers.push(registry::build(section).map_err(AppError::Provider)?);
            }
        }
        Ok(Self { names, providers })
    }

    /// Has all that they list since then taken, the oldest of each first.
    pub(super) async fn ask(
        self,
        config: &Arc<Config>,
        store: Arc<dyn Store>,
        since: Timestamp,
    ) -> (Vec<Asked>, Vec<NotAsked>) {
        let (mut asked, mut not_asked) = (Vec::new(), Vec::new());
        if self.providers.is_empty() {
            let why = Why::NotWanted;
            return (asked, self.names.into_iter().map(|provider| NotAsked { provider, why }).collect());
        }
        let desk = Desk::open(self.providers.iter().cloned(), store, None, config.clone());
        for one in &self.providers {
            let provider = one.name().clone();
            match listed(one.as_ref(), &desk, since).await {
                Ok(replies) => asked.push(Asked { provider, replies }),
                Err(why) => not_asked.push(NotAsked { provider, why }),
            }
        }
        (asked, not_asked)
    }
}

/// Whether patients can say anything over it.
fn hears(settings: &ProviderSettings) -> bool {
    !matches!(settings, ProviderSettings::FhirPortal(_) | ProviderSettings::Capture(_))
}

/// Takes what one of them lists; answers how many replies.
async fn listed(provider: &dyn Provider, desk: &Desk, since: Timestamp) -> Result<u64, Why> {
    let said = provider.said_since(since).await.map_err(|error| {
        tracing::warn!(%error, provider = %provider.name(), "a provider could not be asked what was said to it");
        Why::Unreachable
    })?;
    let said = said.ok_or(Why::NoList)?;
    let (mut replies, mut all) = (0, true);
    for (reply, at) in said {
        replies += 1;
        // One that cannot be written keeps none of the others back; the log says why.
        all &= desk.take_said(reply, at).await.is_ok();
    }
    if all { Ok(replies) } else { Err(Why::NotTaken) }
}
