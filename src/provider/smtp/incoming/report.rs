//! What a report says: delivery (RFC 3464, RFC 3463), or a complaint (RFC 5965). Servers write reports in many ways, and
//! some not at all but in words: qmail's and old Exim's have no parts, OpenSMTPD's is no `multipart/report` and says
//! 5.0.0 where the other server said 5.1.1. The fields are believed first, then the codes in the text, then its words.

use mail_parser::{Message, MessagePart, PartType};

use super::is_type;
use crate::domain::failure::Failure;
use crate::provider::smtp::reply::Reply;

/// What became of the mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It did not arrive, and will not; the code is the enhanced one, else the reply's.
    Failed(Failure, Option<String>),
    /// It arrived.
    Delivered,
    /// It is on its way still, or with somebody who tells nothing.
    Open,
}

/// There is no such box.
const GONE: &[&str] = &[
    "user unknown",
    "unknown user",
    "no such user",
    "no such recipient",
    "no such mailbox",
    "no mailbox here",
    "mailbox not found",
    "mailbox unavailable",
    "recipient not found",
    "unknown recipient",
    "unrouteable address",
    "invalid recipient",
    "does not exist",
    "doesn't exist",
    "address not found",
];
const FULL: &[&str] =
    &["mailbox full", "mailbox is full", "over quota", "quota exceeded", "exceeded storage"];
const BLOCKED: &[&str] =
    &["spam", "blocked", "blacklist", "blocklist", "reputation", "policy", "dmarc", "listed at"];
/// It is over.
const GIVEN_UP: &[&str] = &[
    "permanent error",
    "permanent failure",
    "permanent fatal error",
    "could not be delivered",
    "couldn't be delivered",
    "wasn't delivered",
    "was not delivered",
    "undeliverable",
    "undelivered mail",
    "delivery has failed",
    "delivery failed",
    "delivery to the following",
    "failure notice",
    "returned mail",
    "given up",
    "giving up",
    "retry timeout exceeded",
];
/// It is not over, whatever else is said.
const DELAYED: &[&str] = &[
    "will be retried",
    "will keep trying",
    "will continue to try",
    "will try again",
    "still trying",
    "not yet been delivered",
    "has been delayed",
    "delivery is delayed",
    "delayed 24 hours",
    "do not need to resend",
    "no action is required",
    "warning message",
];

/// Whether a report of a complaint complains; `None`: it is no such report.
pub(super) fn complaint(mail: &Message<'_>) -> Option<bool> {
    let part = mail.parts.iter().find(|part| is_type(part, "message", &["feedback-report"]))?;
    let fields = fields(&text_of(part));
    let kind =
        fields.iter().flatten().find(|(name, _)| name == "feedback-type").map(|(_, value)| value.as_str());
    Some(!kind.is_some_and(|kind| kind.eq_ignore_ascii_case("not-spam")))
}

/// What a report of delivery says; `None`: it is none. Words alone, and a report that is a part of another mail, are
/// believed only `by_machine`, of a mail server: people pass on what they have got, and what they write with it counts.
pub(super) fn outcome(mail: &Message<'_>, by_machine: bool) -> Option<Outcome> {
    let is_status =
        |part: &&MessagePart<'_>| is_type(part, "message", &["delivery-status", "global-delivery-status"]);
    let said = said_in(mail);
    let is_report = mail.parts.first().is_some_and(|root| is_type(root, "multipart", &["report"]));
    if (is_report || by_machine)
        && let Some(part) = mail.parts.iter().find(is_status)
    {
        return Some(by_fields(&text_of(part), &said));
    }
    if !by_machine {
        return None;
    }
    let lower = said.to_lowercase();
    if lower.contains("final-recipient:") && lower.contains("action:") {
        return Some(by_fields(&said, &said));
    }
    let failed = mail.header_raw("X-Failed-Recipients").is_some();
    by_words(&lower, failed || has(&lower, GIVEN_UP))
}

/// Each recipient has a group of fields. Our mails have one; where somebody's address leads to several, one that
/// failed says nothing of the others.
fn by_fields(text: &str, said: &str) -> Outcome {
    let mut failed = None;
    for group in fields(text) {
        let field =
            |name: &str| group.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let Some(action) = field("action") else { continue };
        match action.split([' ', '(']).next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "failed" => {}
            "delivered" => return Outcome::Delivered,
            _ => return Outcome::Open,
        }
        let status = field("status").and_then(Reply::within);
        let told = field("diagnostic-code").map(str::to_owned);
        let answered = told.as_deref().and_then(Reply::within).or_else(|| {
            // Nothing but "failed": the sentence for people may tell more.
            Reply::within(said).filter(|_| told.is_none() && !status.is_some_and(Reply::tells))
        });
        let reply = match (status, answered) {
            (Some(status), Some(answered)) if !status.tells() => Some(answered.or_enhanced(status)),
            (status, answered) => status.or(answered),
        };
        failed =
            failed.or_else(|| Some(because(reply, &told.unwrap_or_else(|| said.to_owned()).to_lowercase())));
    }
    failed.unwrap_or(Outcome::Open)
}

/// `over`: it is said, in one way or another, that nothing more will be tried.
fn by_words(lower: &str, over: bool) -> Option<Outcome> {
    if has(lower, DELAYED) && !has(lower, &["given up", "giving up", "retry timeout exceeded"]) {
        return Some(Outcome::Open);
    }
    over.then(|| because(Reply::within(lower), lower))
}

/// Why it failed: by the code, where that says more than "failed", else by words.
fn because(reply: Option<Reply>, lower: &str) -> Outcome {
    let by_words = || {
        [(FULL, Failure::MailboxFull), (GONE, Failure::BadAddress), (BLOCKED, Failure::Blocked)]
            .into_iter()
            .find_map(|(words, failure)| has(lower, words).then_some(failure))
    };
    let failure = match reply {
        Some(reply) if reply.tells() => reply.bounced(),
        Some(reply) => by_words().unwrap_or_else(|| reply.bounced()),
        None => by_words().unwrap_or(Failure::Unreachable),
    };
    Outcome::Failed(failure, reply.map(Reply::code_text))
}

fn has(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| text.contains(word))
}

/// What the report says to people: its first text, up to the mail that it sends back.
fn said_in(mail: &Message<'_>) -> String {
    let text = mail.parts.iter().find_map(|part| match &part.body {
        PartType::Text(text) => Some(text.clone().into_owned()),
        PartType::Html(html) => Some(mail_parser::decoders::html::html_to_text(html)),
        _ => None,
    });
    let subject = mail.subject().unwrap_or_default();
    let text = format!("{subject}\n{}", text.unwrap_or_default());
    let copy = [
        "--- Below this line",
        "This is a copy of the message",
        "Original message headers:",
        "----- Original message",
    ];
    let end = copy.iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

fn text_of(part: &MessagePart<'_>) -> String {
    String::from_utf8_lossy(part.contents()).into_owned()
}

/// Groups of fields: names in small letters, folded values joined. An empty line ends a group.
fn fields(text: &str) -> Vec<Vec<(String, String)>> {
    let mut groups: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines() {
        let group = groups.len() - 1;
        let Some(group) = groups.get_mut(group) else { break };
        if line.trim().is_empty() {
            groups.push(Vec::new());
        } else if line.starts_with([' ', '\t'])
            && let Some((_, value)) = group.last_mut()
        {
            value.push(' ');
            value.push_str(line.trim());
        } else if let Some((name, value)) = line.split_once(':') {
            group.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;

    use super::*;

    #[test]
    fn a_report_that_a_person_passes_on_is_not_the_servers_word() {
        for (kind, by_machine, is_report) in
            [("report", false, true), ("mixed", true, true), ("mixed", false, false)]
        {
            let text = format!(
                "From: a@example.org\r\nContent-Type: multipart/{kind}; boundary=b\r\n\r\n\
                 --b\r\nContent-Type: text/plain\r\n\r\nSTOP\r\n\
                 --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\n\
                 Final-Recipient: rfc822; b@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n"
            );
            let mail = MessageParser::default().parse(text.as_bytes()).unwrap();
            let failed = matches!(outcome(&mail, by_machine), Some(Outcome::Failed(Failure::BadAddress, _)));
            assert_eq!(failed, is_report, "{kind} {by_machine}");
        }
    }
}
