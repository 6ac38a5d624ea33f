//! What a report says: delivery (RFC 3464, RFC 3463), or a complaint (RFC 5965). Servers write reports in many ways, and
//! some not at all but in words: qmail's and old Exim's have no parts, OpenSMTPD's is no `multipart/report` and says
//! 5.0.0 where the other server said 5.1.1. The fields are believed first, then the codes in the text, then its words.

use mail_parser::{Message, MessagePart, PartType};

use super::is_type;
use crate::domain::failure::Failure;
use crate::domain::phi::Phi;
use crate::domain::receipt::Named;
use crate::provider::smtp::reply::Reply;

/// Of whom a report names so many are looked at.
const MOST_NAMED: usize = 20;

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

/// Whom a report names: original and final recipients (RFC 3464, 2.3.1 and 2.3.2), or those of a header that some write
/// instead. Words are not searched: what stands in a sentence may be anybody.
pub(super) fn named(mail: &Message<'_>) -> Vec<Named> {
    let is_status =
        |part: &&MessagePart<'_>| is_type(part, "message", &["delivery-status", "global-delivery-status"]);
    let text = mail.parts.iter().find(is_status).map_or_else(|| said_in(mail), text_of);
    let is_recipient =
        |name: &str| matches!(name, "original-recipient" | "final-recipient" | "x-actual-recipient");
    let groups = fields(&text);
    let of_fields =
        groups.iter().flatten().filter(|(name, _)| is_recipient(name)).map(|(_, value)| value.as_str());
    let of_head = mail.header_raw("X-Failed-Recipients").into_iter().flat_map(|list| list.split(','));
    let addresses = of_fields.chain(of_head).filter_map(address).take(MOST_NAMED);
    addresses.map(|address| Named::Address(Phi::new(address))).collect()
}

/// `rfc822; ana@example.org`, in brackets or bare, and what some servers put behind it.
fn address(value: &str) -> Option<&str> {
    let bare = value.split_once(';').map_or(value, |(_, address)| address);
    let bare = bare.split_whitespace().next()?.trim_matches(['<', '>']);
    (bare.contains('@') && bare.len() <= 254).then_some(bare)
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
    fn a_report_tells_whom_it_is_about() {
        for (fields, expected) in [
            ("Final-Recipient: rfc822; b@example.org\r\n", &["b@example.org"][..]),
            (
                "Original-Recipient: rfc822;a@example.org\r\nFinal-Recipient: RFC822;<b@example.org> (ana)\r\n",
                &["a@example.org", "b@example.org"],
            ),
            ("Final-Recipient: rfc822;\r\n c@example.org\r\n", &["c@example.org"]),
            ("Final-Recipient: x400; /C=US/\r\n", &[]),
            ("Action: failed\r\n", &[]),
        ] {
            let text = format!(
                "From: a@example.org\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\
                 Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx\r\n\r\n{fields}\r\n--b--\r\n"
            );
            let named = named(&MessageParser::default().parse(text.as_bytes()).unwrap());
            let expected: Vec<Named> = expected.iter().map(|a| Named::Address(Phi::new(*a))).collect();
            assert_eq!(named, expected, "{fields}");
        }
        let exim = "From: Mailer-Daemon@mx\r\nX-Failed-Recipients: a@example.org, b@example.org\r\n\r\nno@body.example\r\n";
        assert_eq!(named(&MessageParser::default().parse(exim.as_bytes()).unwrap()).len(), 2);
    }

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
