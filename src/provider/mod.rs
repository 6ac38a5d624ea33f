//! Adapters to the outside: one file a provider, all of one shape.
//!
//! Each file reads in the same order: what it does on the wire, `new` (every fault of its settings named), the
//! [`Provider`] it is, how a request is built, what an answer means, its tests. A new one touches three places:
//! its file (or folder), one arm in [`registry`], its table test in `tests/it/provider/`.
//!
//! **An error never carries a body, an address or a URL**: only a class and the provider's own code.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::ids::{ProviderName, SendKey};
use crate::domain::look_up::{Looked, Lost};
use crate::domain::outbound::{Accepted, Content, OutboundMessage, SendError};
use crate::domain::phi::Phi;
use crate::domain::reply::Reply;
use crate::domain::words::Channel;
use mail::IncomingMail;
use webhook::{Answer, Heard, News, Unheard, Webhook};

pub mod capture;
pub mod fhir_portal;
pub mod http;
pub mod mail;
pub mod registry;
pub mod smtp;
pub mod twilio;
pub mod webhook;

/// Carries one message to one address.
#[async_trait]
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// Its name in the configuration.
    fn name(&self) -> &ProviderName;

    /// The one channel it serves.
    fn channel(&self) -> Channel;

    /// Whether it recognises a repeat by our send key, so that an unknown outcome may be sent again.
    fn dedupes(&self) -> bool;

    /// Sends. Every failure is classed; an error never carries a body.
    async fn send(&self, message: &OutboundMessage) -> Result<Accepted, SendError>;

    /// Whether it can be reached and knows us, without sending anything.
    async fn check(&self) -> Result<(), SendError>;

    /// Whether it reports what becomes of messages, so that to have been sent is not the last word.
    fn reports(&self) -> bool {
        false
    }

    /// Whether what has become of a send can be looked up, though its answer was lost.
    fn looks_up(&self) -> bool {
        false
    }

    /// Looks up a send whose answer was lost.
    ///
    /// # Errors
    /// The provider could not be asked.
    async fn look_up(&self, _lost: &Lost) -> Result<Looked, SendError> {
        Ok(Looked::Unclear)
    }

    /// What patients have written since, by its own list: oldest first, each with the time when it was said, under the
    /// reference that its webhook had. `None`: it has no such list.
    ///
    /// # Errors
    /// The provider could not be asked, or its list not be read whole.
    async fn said_since(&self, _since: Timestamp) -> Result<Option<Vec<(Reply, Timestamp)>>, SendError> {
        Ok(None)
    }

    /// Verifies and reads what claims to come from it. One that is given no secret, or no address of ours, hears
    /// nothing.
    ///
    /// # Errors
    /// It is not the provider's, cannot be read, or cannot be verified now; nothing of its content goes into the error.
    async fn hear(&self, _call: &Webhook<'_>) -> Result<Heard, Unheard> {
        Err(Unheard::NoWebhook)
    }

    /// Reads a mail that was handed to us: whether it comes back from one of its own, and what it says.
    ///
    /// # Errors
    /// It is about nothing that this provider sent, pretends to be, or cannot be read.
    fn hear_mail(&self, _mail: &IncomingMail<'_>) -> Result<News, Unheard> {
        Err(Unheard::NoWebhook)
    }

    /// Whether it answers this by itself, as it does the usual words for stop, start and help while nobody turns that off.
    fn confirms(&self, _text: &str) -> bool {
        false
    }

    /// What the provider wants to read after a reply: that it is to send this back or say it, or `None`, nothing.
    fn answering(&self, _answer: Option<&Answer>) -> String {
        String::new()
    }

    /// What the provider wants to read after a key that answers nothing: that the text of the call is said once more.
    fn saying_again(&self, _key: SendKey, _speech: &Phi, _language: &str) -> String {
        String::new()
    }

    /// A machine took the call `reference`: says what may be left on it, or hangs up. Only voice has machines.
    async fn machine_answered(
        &self,
        _reference: &str,
        _content: &Content,
        _language: &str,
    ) -> Result<(), SendError> {
        Ok(())
    }
}
