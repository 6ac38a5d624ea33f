//! Which mail a machine may answer (RFC 3834, 2): one that a person wrote to us, and no other machine, list or daemon. In
//! doubt it is read and not answered: two machines that answer each other do not stop.

use lettre::Address;
use mail_parser::Message;

use super::texts;
use crate::domain::phi::Phi;
use crate::domain::reply::Thread;
use crate::provider::mail::IncomingMail;

/// Ids of a thread that are repeated, the last ones.
const MOST_IDS: usize = 10;
/// The longest id, in bytes.
const LONGEST_ID: usize = 250;

/// The thread in which the mail may be answered; `None`: it may not be.
pub(super) fn thread(mail: &Message<'_>, incoming: &IncomingMail<'_>, ours: &[Address]) -> Option<Thread> {
    let header = |name: &'static str| mail.header_raw(name).map(|value| value.trim().to_ascii_lowercase());
    let submitted = header("Auto-Submitted").is_some_and(|value| value != "no" && !value.starts_with("no;"));
    let is_of_list = mail
        .headers()
        .iter()
        .any(|header| header.name().get(..5).is_some_and(|start| start.eq_ignore_ascii_case("list-")));
    let precedence = header("Precedence")
        .is_some_and(|value| ["bulk", "junk", "list", "auto"].iter().any(|word| value.starts_with(word)));
    // What Microsoft's servers ask for beside the standard.
    let suppressed = header("X-Auto-Response-Suppress").is_some_and(|value| value != "none");
    let returns = mail.header_raw("Return-Path").map(|path| path.trim().to_owned());
    let from = mail.from().and_then(|from| from.first()?.address())?;
    let senders = [Some(from), incoming.from, returns.as_deref()];
    let senders = senders.into_iter().flatten().map(|sender| sender.trim().trim_matches(['<', '>']));
    let is_person = senders.into_iter().all(|sender| is_person(sender, ours));
    let may = is_person && !(submitted || is_of_list || precedence || suppressed);
    may.then(|| Thread {
        message_id: Phi::new(mail.message_id().and_then(id).unwrap_or_default()),
        references: Phi::new(references(mail)),
    })
}

/// An address behind which somebody may be, and not we ourselves. The null path is nobody's.
fn is_person(sender: &str, ours: &[Address]) -> bool {
    let Some((name, domain)) = sender.rsplit_once('@') else { return false };
    let name = name.to_ascii_lowercase();
    let base = name.split('+').next().unwrap_or_default();
    let is_ours = ours
        .iter()
        .any(|own| own.user().eq_ignore_ascii_case(base) && own.domain().eq_ignore_ascii_case(domain));
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let is_daemon = [
        "mailerdaemon",
        "maildaemon",
        "postmaster",
        "noreply",
        "donotreply",
        "bounce",
        "listserv",
        "majordomo",
    ]
    .iter()
    .any(|daemon| plain.starts_with(daemon));
    let is_of_list = name.starts_with("owner-")
        || ["-request", "-owner", "-bounces"].iter().any(|end| name.ends_with(end));
    !(is_ours || is_daemon || is_of_list || base.is_empty())
}

/// Theirs, and what theirs answers (RFC 5322, 3.6.4).
fn references(mail: &Message<'_>) -> String {
    let named = texts(mail.references());
    let named = if named.is_empty() { texts(mail.in_reply_to()) } else { named };
    let mut ids: Vec<String> = named.into_iter().chain(mail.message_id()).filter_map(id).collect();
    ids.drain(..ids.len().saturating_sub(MOST_IDS));
    ids.join(" ")
}

/// An id that can stand in a header.
fn id(text: &str) -> Option<String> {
    let text = text.trim_matches(['<', '>']);
    let plain = text.len() <= LONGEST_ID
        && text.contains('@')
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>'));
    plain.then(|| format!("<{text}>"))
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;

    use super::*;

    fn answered(from: Option<&str>, head: &str) -> Option<Thread> {
        let ours = ["clinic@clinic.example", "reply@mail.clinic.example"].map(|a| a.parse().unwrap());
        let text = format!("{head}Subject: Re: x\r\n\r\nSTOP\r\n");
        let parsed = MessageParser::default().parse(text.as_bytes()).unwrap();
        thread(
            &parsed,
            &IncomingMail { to: "reply@mail.clinic.example", from, bytes: text.as_bytes() },
            &ours,
        )
    }

    #[test]
    fn people_are_answered_and_nobody_else() {
        let ana = "From: Ana <ana@example.net>\r\n";
        for (from, more, expected) in [
            (Some("ana@example.net"), "", true),
            (None, "", true),
            (Some("<ana@example.net>"), "Auto-Submitted: no\r\n", true),
            (Some("ana@example.net"), "Auto-Submitted: no; by=ana\r\n", true),
            (Some("ana@example.net"), "X-Auto-Response-Suppress: None\r\n", true),
            (Some("ana+visits@example.net"), "Precedence: first-class\r\n", true),
            // Machines, by their own word.
            (Some("ana@example.net"), "Auto-Submitted: auto-replied\r\n", false),
            (Some("ana@example.net"), "Auto-Submitted: auto-generated; x=y\r\n", false),
            (Some("ana@example.net"), "auto-submitted: Auto-Notified\r\n", false),
            (Some("ana@example.net"), "Auto-Submitted: nothing-known\r\n", false),
            (Some("ana@example.net"), "Precedence: bulk\r\n", false),
            (Some("ana@example.net"), "Precedence: list\r\n", false),
            (Some("ana@example.net"), "Precedence: Junk\r\n", false),
            (Some("ana@example.net"), "Precedence: auto_reply\r\n", false),
            (Some("ana@example.net"), "X-Auto-Response-Suppress: OOF, AutoReply\r\n", false),
            // Lists, by any header of theirs.
            (Some("ana@example.net"), "List-Id: <friends.example.net>\r\n", false),
            (Some("ana@example.net"), "List-Unsubscribe: <mailto:x@example.net>\r\n", false),
            (Some("ana@example.net"), "list-post: <mailto:x@example.net>\r\n", false),
            (Some("owner-friends@example.net"), "", false),
            (Some("friends-request@example.net"), "", false),
            (Some("friends-bounces@example.net"), "", false),
            // Nobody, daemons, ourselves.
            (Some(""), "", false),
            (Some("<>"), "", false),
            (None, "Return-Path: <>\r\n", false),
            (Some("MAILER-DAEMON@example.net"), "", false),
            (Some("MAILER-DAEMON"), "", false),
            (Some("postmaster@example.net"), "", false),
            (Some("no-reply@example.net"), "", false),
            (Some("bounce+ab12@example.net"), "", false),
            (Some("clinic@clinic.example"), "", false),
            (Some("Reply+0196f3c0@mail.clinic.example"), "", false),
        ] {
            assert_eq!(answered(from, &format!("{ana}{more}")).is_some(), expected, "{from:?} {more}");
        }
        for from in
            ["From: noreply@example.net\r\n", "From: clinic@CLINIC.example\r\n", "From: nobody\r\n", ""]
        {
            assert!(answered(Some("ana@example.net"), from).is_none(), "{from}");
        }
    }

    #[test]
    fn the_thread_goes_on_and_stays_short() {
        let head = "From: ana@example.net\r\nMessage-ID: <b@phone>\r\n";
        let found = answered(None, &format!("{head}In-Reply-To: <a@clinic.example>\r\n")).unwrap();
        assert_eq!(
            (found.message_id.expose(), found.references.expose()),
            ("<b@phone>", "<a@clinic.example> <b@phone>")
        );
        let long: Vec<String> = (0..30).map(|n| format!("<{n}@x.example>")).collect();
        let found = answered(None, &format!("{head}References: {}\r\n", long.join("\r\n "))).unwrap();
        assert_eq!(found.references.expose().split(' ').count(), MOST_IDS);
        assert!(found.references.expose().ends_with("<29@x.example> <b@phone>"));
        let bare = answered(None, "From: ana@example.net\r\n").unwrap();
        assert_eq!((bare.message_id.expose(), bare.references.expose()), ("", ""));
        let huge = format!("From: ana@example.net\r\nMessage-ID: <{}@x>\r\n", "y".repeat(400));
        assert_eq!(answered(None, &huge).unwrap().message_id.expose(), "");
    }
}
