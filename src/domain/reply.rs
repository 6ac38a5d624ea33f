//! What a patient sends back: the reply as it came, and what it was taken for.

use super::ids::ProviderName;
use super::phi::Phi;
use super::words::words;

/// One reply by SMS, verified and read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub provider: ProviderName,
    /// The provider's own id of it, by which a repeat is known.
    pub reference: String,
    /// Whose it is: the number that it came from.
    pub from: Phi,
    pub text: Phi,
    /// What the provider took it for, where it reads stop words itself.
    pub keyword: Option<Keyword>,
}

words! {
    /// What a provider that reads stop words itself has taken a reply for.
    Keyword { Stop = "stop", Start = "start", Help = "help" }
}

words! {
    /// What a reply is taken for. The word stands in the routing key of its event.
    Intent {
        /// No more messages here.
        Stop = "stop",
        /// The visit that was written about may be off.
        Cancel = "cancel",
        /// Messages again.
        Start = "start",
        /// Who writes, and how does one stop it?
        Help = "help",
        /// Whoever reads this is not the patient.
        WrongNumber = "wrong_number",
        /// Somebody may be in danger.
        Safety = "safety",
        /// Another language, please.
        Language = "language",
        /// Everything else, for people to read.
        Text = "text",
    }
}
