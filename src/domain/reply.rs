//! What a patient sends back: the reply as it came, and what it was taken for.

use serde::{Deserialize, Serialize};

use super::ids::{AnswerName, ProviderName, SendKey};
use super::phi::Phi;
use super::words::{Channel, words};

/// Of a mail that somebody writes so much is kept, and of whatever they write so much is read; no SMS has more.
pub const MAX_CHARS: usize = 4_000;

/// One reply, verified and read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub provider: ProviderName,
    /// What it came over.
    pub channel: Channel,
    /// The provider's own id of it, by which a repeat is known.
    pub reference: String,
    /// The number or address that it came from.
    pub from: Phi,
    /// The step that it answers, where that is known for certain. Then the address that the step went to is the one
    /// that counts, whatever it came from: anybody can write any From into a mail.
    pub about: Option<SendKey>,
    pub text: Phi,
    /// What the provider took it for, where it reads stop words itself.
    pub keyword: Option<Keyword>,
    /// Where a machine may answer it by a mail of its own.
    pub thread: Option<Thread>,
}

/// What a mail that answers refers to (RFC 5322, 3.6.4). Ids of mails tell which machines people have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// `<id>` of the mail that is answered; empty where it has none.
    pub message_id: Phi,
    /// `<id> <id>`, that one last.
    pub references: Phi,
}

/// One of the answers that a message offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub name: AnswerName,
    /// What may be written instead of its digit, as patients write it.
    pub words: Vec<String>,
    /// A person has to act on it.
    pub staff: bool,
}

words! {
    /// What a provider has taken a reply for: one that reads stop words itself, the recipient's own mail provider, or
    /// one that tells of calls and keys.
    Keyword { Stop = "stop", Start = "start", Help = "help", Complaint = "complaint", Call = "call", Key = "key" }
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
        /// The recipient has told their mail provider that this is not wanted.
        Complaint = "complaint",
        /// The number that we call and write from was called.
        Call = "call",
        /// Another way, please: by telephone, by mail, by text.
        Channel = "channel",
        /// Another language, please.
        Language = "language",
        /// One of the answers that a message offers.
        Answer = "answer",
        /// An answer that several messages offer: nobody can tell which one is meant.
        Unclear = "unclear",
        /// An answer to a message whose time is over.
        Late = "late",
        /// A heart or a thumb beside a text of ours, as telephones put it into words.
        Reaction = "reaction",
        /// What a telephone answers by itself while its owner drives: nobody has read anything.
        Machine = "machine",
        /// Everything else, for people to read.
        Text = "text",
    }
}
