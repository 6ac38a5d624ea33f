//! What an SMTP refusal means (RFC 5321 reply codes, RFC 3463 enhanced codes and their registry).
//!
//! | stage | reply | class |
//! |---|---|---|
//! | greeting, EHLO, STARTTLS, AUTH | 4xx | `Transient` (4.7.x but for AUTH: `Throttled`) |
//! | | 5xx | `Misconfigured`: it would meet every message |
//! | any later | 5xx that says in words that we may not relay, or not send at all | `Misconfigured` |
//! | | 4.7.x, 454 | `Throttled`; at RCPT with 450 or 451 it is greylisting: `Transient` |
//! | | other 4xx | `Transient` |
//! | | x.2.2 mailbox full | `Transient`, 5.2.2 too: RFC 3463 calls it a persistent transient failure |
//! | | 5.3.1, 5.3.2, 5.4.3 their system full, closed, or without its directory | `Transient`, as RFC 3463 says of each |
//! | | 5.4.5 congestion; Google's word for a day's quota | `Throttled` |
//! | MAIL | 5xx | `Misconfigured`: our sender is refused (too large: `Rejected`) |
//! | RCPT, content | 5.1.0-6, 5.1.9-10, 5.2.1, 5.4.1, 5.4.4 | `BadAddress` |
//! | | 5.1.7-8, 5.2.252, 5.5.x, 5.7.8-14, 5.7.20-27, 5.7.54, 5.7.57-60, 5.7.64, 5.7.515, 530-538 | `Misconfigured`: sender, login, relaying, SPF, DKIM, DMARC |
//! | | other 5.7.x, size, content | `Rejected` |
//! | | no enhanced code: 521, 550, 551, 553, 556 at RCPT | `BadAddress` |
//! | | 552 at RCPT | `Transient`: the mailbox is full |

use std::error::Error as _;

use crate::domain::failure::Failure;
use crate::domain::outbound::{FailureKind, SendError};

/// How far the conversation had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Greeting,
    Auth,
    Sender,
    Recipient,
    /// After DATA.
    Content,
}

/// What relays say to a client that they do not know, or whose account is shut: Postfix, Exim, Sendmail, Exchange, SES. Under
/// whatever code it comes, every mail would meet it.
const NOT_FOR_US: &[&str] = &[
    "relay access denied",
    "relaying denied",
    "relay not permitted",
    "not permitted to relay",
    "unable to relay",
    "sending paused",
    "address is not verified",
];

/// A refusal: the reply code and, where given, the enhanced one. Never the text, which quotes addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) code: u16,
    enhanced: Option<(u16, u16, u16)>,
    /// Its words are about us, not about the mail: see [`NOT_FOR_US`].
    not_for_us: bool,
}

impl Reply {
    /// The refusal in an error of lettre's; `None` where no reply came, or none that can be read.
    pub(super) fn of(error: &lettre::transport::smtp::Error) -> Option<Self> {
        let code = u16::from(error.status()?);
        let text = error.source().map(ToString::to_string).unwrap_or_default();
        Some(Self::read(code, &text))
    }

    fn read(code: u16, text: &str) -> Self {
        let said = text.to_ascii_lowercase();
        Self {
            code,
            enhanced: enhanced(text),
            not_for_us: NOT_FOR_US.iter().any(|words| said.contains(words)),
        }
    }

    /// The class and the code.
    pub(super) fn error(self, stage: Stage) -> SendError {
        SendError::new(self.kind(stage), self.code_text())
    }

    /// The code as it is kept: the enhanced one, else the reply's.
    pub(super) fn code_text(self) -> String {
        match self.enhanced {
            Some((class, subject, detail)) => format!("{class}.{subject}.{detail}"),
            None => self.code.to_string(),
        }
    }

    /// The first refusal that a report of delivery names, in its fields or in a sentence: a reply code, an enhanced
    /// one, or both side by side.
    pub(super) fn within(text: &str) -> Option<Self> {
        let around = |c: char| !c.is_ascii_digit() && c != '.';
        let mut words = text.split(around).map(|word| word.trim_matches('.')).filter(|word| !word.is_empty());
        let code =
            |word: &str| word.parse::<u16>().ok().filter(|code| word.len() == 3 && (400..600).contains(code));
        while let Some(word) = words.next() {
            if let Some(found) = enhanced(word) {
                let code = found.0 * 100 + 50;
                return Some(Self { code, enhanced: Some(found), not_for_us: false });
            }
            if let Some(code) = code(word) {
                let enhanced = words.next().and_then(enhanced);
                return Some(Self { code, enhanced, not_for_us: false });
            }
        }
        None
    }

    /// Whether it says more than that it failed.
    pub(super) const fn tells(self) -> bool {
        !matches!(self.enhanced, None | Some((_, 0, _)))
    }

    /// With the enhanced code of another where it has none itself.
    pub(super) fn or_enhanced(self, other: Self) -> Self {
        Self { enhanced: self.enhanced.or(other.enhanced), ..self }
    }

    /// Why a mail that had been taken came back. Whatever it says, nothing more will be tried.
    pub(super) fn bounced(self) -> Failure {
        let refused = |kind| match kind {
            FailureKind::Rejected => Failure::Rejected,
            other => Failure::from(other),
        };
        match self.enhanced {
            Some((_, 2, 2)) => Failure::MailboxFull,
            Some((4, _, _)) => Failure::Unreachable,
            Some((_, subject, detail)) => match (subject, permanent_enhanced(subject, detail)) {
                (7, Some(FailureKind::Rejected)) => Failure::Blocked,
                (4, Some(FailureKind::Rejected)) => Failure::Unreachable,
                (_, Some(kind)) => refused(kind),
                (_, None) => self.bounced_bare(),
            },
            None => self.bounced_bare(),
        }
    }

    fn bounced_bare(self) -> Failure {
        match self.code {
            552 => Failure::MailboxFull,
            521 | 550 | 551 | 553 | 556 if self.enhanced.is_none() => Failure::BadAddress,
            code if code < 500 => Failure::Unreachable,
            554 => Failure::Rejected,
            _ => Failure::Unreachable,
        }
    }

    fn kind(self, stage: Stage) -> FailureKind {
        let throttled = FailureKind::Throttled { retry_after: None };
        let permanent = self.code >= 500;
        match (stage, self.enhanced) {
            (Stage::Greeting | Stage::Auth, _) if permanent => FailureKind::Misconfigured,
            (Stage::Auth, _) => FailureKind::Transient,
            _ if permanent && self.not_for_us => FailureKind::Misconfigured,
            (_, Some((_, 2, 2))) => FailureKind::Transient,
            (Stage::Recipient, Some((4, 7, _))) if matches!(self.code, 450 | 451) => FailureKind::Transient,
            (_, Some((4, 7, _))) => throttled,
            (_, None) if self.code == 454 => throttled,
            _ if !permanent => FailureKind::Transient,
            (_, Some((_, 4, 5))) => throttled,
            (_, Some((_, 3, 1 | 2) | (_, 4, 3))) => FailureKind::Transient,
            (_, Some((_, 2, 3) | (_, 3, 4))) => FailureKind::Rejected,
            (Stage::Sender, None) if self.code == 552 => FailureKind::Rejected,
            (Stage::Greeting | Stage::Sender, _) => FailureKind::Misconfigured,
            (_, Some((_, subject, detail))) => {
                permanent_enhanced(subject, detail).unwrap_or_else(|| self.permanent_bare(stage))
            }
            (_, None) => self.permanent_bare(stage),
        }
    }

    fn permanent_bare(self, stage: Stage) -> FailureKind {
        match (stage, self.code) {
            (_, 500..=504 | 530..=538) => FailureKind::Misconfigured,
            (Stage::Recipient, 521 | 550 | 551 | 553 | 556) => FailureKind::BadAddress,
            (Stage::Recipient, 552) => FailureKind::Transient,
            _ => FailureKind::Rejected,
        }
    }
}

/// `None` where the enhanced code says no more than the reply code.
fn permanent_enhanced(subject: u16, detail: u16) -> Option<FailureKind> {
    Some(match (subject, detail) {
        (1, 7 | 8) | (2, 252) | (5, _) | (7, 8..=14 | 20..=27 | 54 | 57..=60 | 64 | 515) => {
            FailureKind::Misconfigured
        }
        (1, 0..=6 | 9 | 10) | (2, 1) | (4, 1 | 4) => FailureKind::BadAddress,
        (3 | 4 | 6 | 7, _) => FailureKind::Rejected,
        _ => return None,
    })
}

/// `x.y.z` at the start of the text, where x agrees with itself: 4 or 5.
fn enhanced(text: &str) -> Option<(u16, u16, u16)> {
    let word = text.split_whitespace().next()?;
    let mut numbers = word.split('.').map(|number| {
        let digits = (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| number.parse::<u16>().ok()).flatten()
    });
    let (class, subject, detail) = (numbers.next()??, numbers.next()??, numbers.next()??);
    (numbers.next().is_none() && matches!(class, 4 | 5)).then_some((class, subject, detail))
}

#[cfg(test)]
mod tests {
    use FailureKind::{BadAddress, Misconfigured, Rejected, Transient};

    use super::*;

    const THROTTLED: FailureKind = FailureKind::Throttled { retry_after: None };

    #[test]
    fn each_refusal_has_its_class() {
        use Stage::{Auth, Content, Greeting, Recipient, Sender};
        for (stage, code, text, kind, shown) in [
            (Greeting, 421, "4.7.0 too many connections", THROTTLED, "4.7.0"),
            (Greeting, 421, "busy", Transient, "421"),
            (Greeting, 554, "no service for you", Misconfigured, "554"),
            (Auth, 535, "5.7.8 bad credentials", Misconfigured, "5.7.8"),
            (Auth, 454, "4.7.0 temporary failure", Transient, "4.7.0"),
            (Sender, 553, "5.7.1 not yours", Misconfigured, "5.7.1"),
            (Sender, 552, "5.3.4 too big", Rejected, "5.3.4"),
            (Sender, 451, "4.3.2 later", Transient, "4.3.2"),
            (Recipient, 550, "5.1.1 no such user", BadAddress, "5.1.1"),
            (Recipient, 550, "no such user", BadAddress, "550"),
            (Recipient, 556, "5.1.10 null MX", BadAddress, "5.1.10"),
            (Recipient, 550, "5.2.1 disabled", BadAddress, "5.2.1"),
            (Recipient, 452, "4.2.2 full", Transient, "4.2.2"),
            (Recipient, 552, "5.2.2 full", Transient, "5.2.2"),
            (Recipient, 552, "full", Transient, "552"),
            (Recipient, 450, "4.7.1 greylisted", Transient, "4.7.1"),
            (Recipient, 421, "4.7.28 rate", THROTTLED, "4.7.28"),
            (Recipient, 550, "5.7.1 policy", Rejected, "5.7.1"),
            (Recipient, 550, "relay not permitted", Misconfigured, "550"),
            (
                Recipient,
                550,
                "5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
                Misconfigured,
                "5.7.54",
            ),
            (Recipient, 554, "5.7.64 TenantAttribution", Misconfigured, "5.7.64"),
            (Recipient, 554, "5.7.1 <a@b.example>: Relay access denied", Misconfigured, "5.7.1"),
            (Recipient, 550, "5.7.1 a@b.example... Relaying denied.", Misconfigured, "5.7.1"),
            (Recipient, 454, "4.7.1 Relay access denied", THROTTLED, "4.7.1"),
            (Content, 554, "5.2.252 SendAsDenied", Misconfigured, "5.2.252"),
            (Content, 554, "Transaction failed: Sending paused for this account.", Misconfigured, "554"),
            (Content, 554, "Message rejected:\nEmail address is not verified.", Misconfigured, "554"),
            (Recipient, 550, "5.0.0 no", BadAddress, "5.0.0"),
            (Recipient, 530, "log in first", Misconfigured, "530"),
            (Recipient, 550, "5.4.5 daily limit exceeded", THROTTLED, "5.4.5"),
            (Sender, 550, "5.4.5 daily limit exceeded", THROTTLED, "5.4.5"),
            (Content, 550, "5.4.5 daily limit exceeded", THROTTLED, "5.4.5"),
            (Content, 554, "5.4.3 no directory", Transient, "5.4.3"),
            (Recipient, 552, "5.3.1 system full", Transient, "5.3.1"),
            (Recipient, 550, "5.3.2 not accepting", Transient, "5.3.2"),
            (Content, 554, "5.3.5 misconfigured", Rejected, "5.3.5"),
            (Content, 554, "5.4.6 loop", Rejected, "5.4.6"),
            (Content, 454, "Throttling failure: Maximum sending rate exceeded", THROTTLED, "454"),
            (Content, 550, "5.7.515 not authenticated", Misconfigured, "5.7.515"),
            (Content, 550, "5.7.26 DMARC", Misconfigured, "5.7.26"),
            (Content, 554, "5.7.1 spam", Rejected, "5.7.1"),
            (Content, 550, "no", Rejected, "550"),
            (Content, 552, "5.2.3 too big", Rejected, "5.2.3"),
            (Content, 451, "later", Transient, "451"),
        ] {
            let error = Reply::read(code, text).error(stage);
            assert_eq!((error.kind, error.code.as_deref()), (kind, Some(shown)), "{stage:?} {code} {text}");
        }
    }

    #[test]
    fn only_an_enhanced_code_is_read_as_one() {
        for text in
            ["10.0.0.1 blocked", "5.1 x", "5.1.1.1 x", "2.1.1 x", "5.1.1234", "5..1", "<a@b.c> 5.1.1", ""]
        {
            assert_eq!(enhanced(text), None, "{text}");
        }
    }
}
