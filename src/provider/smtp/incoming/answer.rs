//! What somebody has written, without what their mail program added: the mail that they answer, their signature.

use mail_parser::Message;

use crate::domain::reply::MAX_CHARS;

/// The text of an answer; its subject where it is one of its own, which says what an empty mail wants
/// ("Unsubscribe").
pub(super) fn text(mail: &Message<'_>) -> String {
    let body = mail.body_text(0).unwrap_or_default();
    let body = own(&body);
    let subject = mail.subject().unwrap_or_default().trim();
    let answers = ["re:", "aw:", "rv:", "res:", "fw:", "fwd:", "回复", "答复"];
    let lower = subject.to_lowercase();
    let is_own = !subject.is_empty() && !answers.iter().any(|prefix| lower.starts_with(prefix));
    let text = match (is_own, body.is_empty()) {
        (true, true) => subject.to_owned(),
        (true, false) => format!("{subject}\n{body}"),
        (false, _) => body,
    };
    text.chars().take(MAX_CHARS).collect()
}

/// Everything above the first line that is not theirs.
fn own(body: &str) -> String {
    let lines: Vec<&str> = body.lines().map(str::trim_end).collect();
    let end = (0..lines.len()).find(|at| ends(&lines, *at)).unwrap_or(lines.len());
    lines.get(..end).unwrap_or_default().join("\n").trim().to_owned()
}

/// Whether what is somebody else's, or a signature, begins at this line.
fn ends(lines: &[&str], at: usize) -> bool {
    let raw = lines.get(at).copied().unwrap_or_default();
    let line = raw.trim().to_lowercase();
    let next = lines.get(at + 1).map(|next| next.trim().to_lowercase()).unwrap_or_default();
    let rule =
        |c: char| line.chars().filter(|other| *other == c).count() >= 10 && line.chars().all(|o| o == c);
    // "On Tuesday, ... wrote:", which mail programs break where it is long.
    let introduced = |start: &str, end: &str| {
        // Made of HTML, what was quoted may follow on the same line.
        line.starts_with(start) && (line.contains(end) || next.ends_with(end))
    };
    let head = |names: &[&str]| names.iter().any(|name| line.starts_with(name));
    let next_head = ["sent:", "date:", "to:", "enviado:", "fecha:", "para:", "发送时间", "收件人"];
    line.starts_with('>')
        || raw == "--"
        || line.starts_with("-----original message")
        || line.starts_with("-----mensaje original")
        || rule('_')
        || introduced("on ", "wrote:")
        || introduced("el ", "escribió:")
        || introduced("el ", "escribio:")
        || introduced("在", "写道：")
        || introduced("在", "写道:")
        || (head(&["from:", "de:", "发件人"]) && next_head.iter().any(|name| next.starts_with(name)))
        || line.starts_with("sent from my ")
        || line.starts_with("enviado desde mi ")
        || line.starts_with("get outlook for ")
        || line.starts_with("发自我的")
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;

    use super::*;

    fn read(subject: &str, body: &str) -> String {
        let mail = format!("Subject: {subject}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}");
        text(&MessageParser::default().parse(mail.as_bytes()).unwrap())
    }

    #[test]
    fn what_they_wrote_is_theirs_and_the_rest_is_not() {
        for (subject, body, expected) in [
            ("Re: Your visit", "STOP\r\n", "STOP"),
            ("RE: Your visit", "Stop\r\n\r\nSent from my iPhone", "Stop"),
            (
                "Re: Your visit",
                "Thanks!\r\n\r\nOn Tue, Dec 1, 2026 at 9:00 AM Clinic wrote:\r\n> Reply STOP",
                "Thanks!",
            ),
            (
                "Re: x",
                "Can I come later?\r\nOn Tuesday, December 1, 2026, Lakeside Health <outreach@example.org>\r\nwrote:\r\n> Hello",
                "Can I come later?",
            ),
            ("Re: x", "Baja\r\nEl mar, 1 dic 2026 a las 9:00, Clinic escribió:\r\n> Hola", "Baja"),
            ("Re: x", "谢谢\r\n在 2026年12月1日，Clinic 写道：\r\n> 您好", "谢谢"),
            ("Re: x", "Yes\r\n________________________________\r\nFrom: Clinic\r\nSent: Tuesday", "Yes"),
            ("Re: x", "Yes\r\n-----Original Message-----\r\nFrom: Clinic", "Yes"),
            ("Re: x", "Yes\r\nFrom: Clinic\r\nSent: Tuesday\r\nTo: me", "Yes"),
            (
                "Re: x",
                "From: here I see no clinic\r\nWhere is it?",
                "From: here I see no clinic\nWhere is it?",
            ),
            ("Re: x", "On my way\r\n-- \r\nAna\r\nFlowers and more", "On my way"),
            ("Unsubscribe", "", "Unsubscribe"),
            ("Question", "Where do I park?", "Question\nWhere do I park?"),
            ("", "", ""),
        ] {
            assert_eq!(read(subject, body), expected, "{subject} {body}");
        }
        assert_eq!(read("Re: x", &"y".repeat(10_000)).chars().count(), MAX_CHARS);
    }

    #[test]
    fn a_mail_in_html_alone_is_read() {
        let mail = "Subject: Re: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Please <b>stop</b></p>\
            <div>On Tue, Clinic wrote:</div><blockquote>Hello</blockquote>";
        assert_eq!(text(&MessageParser::default().parse(mail.as_bytes()).unwrap()), "Please stop");
    }
}
