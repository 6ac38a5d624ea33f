//! What somebody has written, without what their mail program added: the mail that they answer, their signature.

use mail_parser::decoders::html::html_to_text;
use mail_parser::{Message, PartType};

use crate::domain::reply::MAX_CHARS;

/// Elements that begin and end a line. The reader of HTML knows of `br` and of the end of `p` alone.
const BLOCKS: [&str; 7] = ["blockquote", "div", "hr", "li", "p", "table", "tr"];

/// How what is quoted is introduced ("On Tuesday, ... wrote:"): the start of the line, and its end.
const INTRODUCTIONS: [(&str, &str); 5] =
    [("on ", "wrote:"), ("el ", "escribió:"), ("el ", "escribio:"), ("在", "写道："), ("在", "写道:")];

/// The text of an answer; its subject where it is one of its own, which says what an empty mail wants
/// ("Unsubscribe").
pub(super) fn text(mail: &Message<'_>) -> String {
    let body = body(mail);
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

fn body(mail: &Message<'_>) -> String {
    let Some(PartType::Html(html)) = mail.text_part(0).map(|part| &part.body) else {
        return own(&mail.body_text(0).unwrap_or_default());
    };
    let beside = own(&html_to_text(&in_lines(html, Quotes::Marked)));
    // Whoever writes nothing beside a quotation may have written within it.
    if beside.is_empty() { own(&html_to_text(&in_lines(html, Quotes::Kept))) } else { beside }
}

/// What becomes of quotations.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// One line with the mark of a quotation stands for each.
    Marked,
    Kept,
}

/// The same HTML, with a break wherever a block begins or ends after some text.
fn in_lines(html: &str, quotes: Quotes) -> String {
    let mut pieces = html.split('<');
    let mut lines = pieces.next().unwrap_or_default().to_owned();
    let (mut is_open, mut depth) = (!lines.trim().is_empty(), 0_usize);
    for piece in pieces {
        let (tag, text) = piece.split_once('>').unwrap_or((piece, ""));
        let (name, closes) = tag.strip_prefix('/').map_or((tag, false), |name| (name, true));
        let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let is = |other: &&str| name.eq_ignore_ascii_case(other);
        if is(&"blockquote") && quotes == Quotes::Marked {
            if !closes && depth == 0 {
                lines.push_str("<br>&gt;<br>");
                is_open = false;
            }
            depth = if closes { depth.saturating_sub(1) } else { depth + 1 };
        }
        if depth > 0 {
            continue;
        }
        let is_break = is(&"br");
        if is_break || (is_open && BLOCKS.iter().any(is)) {
            lines.push_str("<br>");
            is_open = false;
        }
        // A break with attributes is none to the reader.
        if is_break {
            lines.push_str(text);
        } else {
            lines.push('<');
            lines.push_str(piece);
        }
        is_open |= !text.trim().is_empty();
    }
    lines
}

/// The lines that are theirs. What they quote is passed over with the line that introduces it, for some answer below it;
/// with a signature, or the head of another mail, theirs end.
fn own(body: &str) -> String {
    let lines: Vec<&str> = body.lines().map(str::trim_end).collect();
    let mut rest = lines.as_slice();
    let mut own = Vec::new();
    while let [line, below @ ..] = rest {
        rest = below;
        if line.is_empty() {
            own.push(*line);
        } else if let Some(more) = introduces(line, below) {
            rest = below.get(more..).unwrap_or_default();
            // Where what is quoted has no mark, nobody can tell where it ends.
            if !is_quoted(first(rest)) {
                break;
            }
        } else if ends(line, first(below)) {
            break;
        } else if !is_quoted(line) {
            own.push(*line);
        }
    }
    own.join("\n").trim().to_owned()
}

/// The first line with anything on it.
fn first<'t>(lines: &[&'t str]) -> &'t str {
    lines.iter().copied().find(|line| !line.is_empty()).unwrap_or_default()
}

fn is_quoted(line: &str) -> bool {
    line.trim_start().starts_with('>')
}

/// Whether this line introduces a quotation; on how many more lines, for mail programs break it where it is long.
fn introduces(line: &str, below: &[&str]) -> Option<usize> {
    let line = line.trim().to_lowercase();
    let next = below.first().map(|next| next.trim().to_lowercase()).unwrap_or_default();
    INTRODUCTIONS.iter().filter(|(start, _)| line.starts_with(start)).find_map(|(start, end)| {
        // Made of HTML, what was quoted may follow on the same line.
        let whole = line.contains(end).then_some(0);
        whole.or_else(|| (next.ends_with(end) && !next.starts_with(start)).then_some(1))
    })
}

/// Whether a signature, or what is somebody else's and not marked, begins at this line.
fn ends(raw: &str, next: &str) -> bool {
    let (line, next) = (raw.trim().to_lowercase(), next.trim().to_lowercase());
    let rule =
        |c: char| line.chars().filter(|other| *other == c).count() >= 10 && line.chars().all(|o| o == c);
    let head = |names: &[&str]| names.iter().any(|name| line.starts_with(name));
    let next_head = ["sent:", "date:", "to:", "enviado:", "fecha:", "para:", "发送时间", "收件人"];
    raw == "--"
        || line.starts_with("-----original message")
        || line.starts_with("-----mensaje original")
        || rule('_')
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
            // Below what they quote, and between.
            (
                "Re: x",
                "On Tue, Dec 1, 2026 at 9:00 AM Clinic wrote:\r\n> Reply STOP\r\n>\r\n> Hello\r\n\r\nI have chest pain",
                "I have chest pain",
            ),
            (
                "Re: x",
                "On Tuesday, December 1, 2026, Lakeside Health <outreach@example.org>\r\nwrote:\r\n\r\n> Hello\r\n\r\nSTOP",
                "STOP",
            ),
            ("Re: x", "> Will you come?\r\nYes\r\n > Alone?\r\nNo\r\n-- \r\nAna\r\n> x", "Yes\nNo"),
            ("Re: x", "Yes\r\nOn Tue, Clinic wrote:\r\n\r\nHello. Reply STOP.", "Yes"),
            ("Re: x", "On my way\r\nOn Tue, Clinic wrote:\r\n> Hello", "On my way"),
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
        for (html, expected) in [
            (
                "<p>Please <b>stop</b></p><div>On Tue, Clinic wrote:</div><blockquote>Hello</blockquote>",
                "Please stop",
            ),
            ("<DIV dir=\"ltr\">STOP</DIV><div>Ana</div>", "STOP\nAna"),
            ("<div>Yes</div><div><br></div><div>Ana<br></div><ul><li>1<li>2</ul>", "Yes\n\nAna\n1\n2"),
            ("Yes<hr>____________<br class=\"x\">Hello", "Yes"),
            ("Yes<hr><b>From:</b> Clinic<br class=\"x\"><b>Sent:</b> Tuesday", "Yes"),
            (
                "<div>On Tue, Clinic wrote:</div><blockquote type=\"cite\">Reply STOP<blockquote>Older</blockquote>Bye\
                    </blockquote><div>I have chest pain</div>",
                "I have chest pain",
            ),
            ("<div>Stop</div><blockquote>Hello", "Stop"),
            ("<blockquote><div>STOP</div><div>Ana</div></blockquote>", "STOP\nAna"),
            ("<div>On Tue, Clinic wrote:<blockquote>Reply STOP</blockquote></div>", ""),
        ] {
            let mail = format!("Subject: Re: x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}");
            let read = text(&MessageParser::default().parse(mail.as_bytes()).unwrap());
            assert_eq!(read, expected, "{html}");
        }
    }
}
