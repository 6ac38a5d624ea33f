//! The texts of one locale, one file each, and how each is tidied up once it is rendered.

use crate::domain::words::{Channel, words};

use super::data::is_hostile;

words! {
    /// One text of a message. Its word is the file's name without `.hbs`.
    Part {
        Sms = "sms",
        /// Used where `sms` takes too many segments with the real data.
        SmsShort = "sms.short",
        /// Said to a person; may hold SSML.
        Voice = "voice",
        /// Said to a machine; without it no message is left.
        Voicemail = "voicemail",
        Portal = "portal",
        /// Without it the portal takes the email's subject.
        PortalSubject = "portal.subject",
        EmailSubject = "email.subject",
        EmailHtml = "email.html",
        EmailText = "email.txt",
        /// One line: the message, where another one carries it.
        Also = "also",
        /// The same in a mail, which has room for more, and in a call, which has no abbreviations.
        AlsoLong = "also.long",
    }
}

/// How values are made harmless in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    None,
    Html,
    Xml,
}

impl Part {
    /// The parts without which the channel has no text in a locale.
    #[must_use]
    pub const fn needed(channel: Channel) -> &'static [Self] {
        match channel {
            Channel::Sms => &[Self::Sms],
            Channel::Email => &[Self::EmailSubject, Self::EmailHtml, Self::EmailText],
            Channel::Voice => &[Self::Voice],
            Channel::Portal => &[Self::Portal],
        }
    }

    /// The channel it belongs to; none where it serves several.
    #[must_use]
    pub const fn channel(self) -> Option<Channel> {
        match self {
            Self::Sms | Self::SmsShort => Some(Channel::Sms),
            Self::Voice | Self::Voicemail => Some(Channel::Voice),
            Self::Portal | Self::PortalSubject => Some(Channel::Portal),
            Self::EmailSubject | Self::EmailHtml | Self::EmailText => Some(Channel::Email),
            Self::Also | Self::AlsoLong => None,
        }
    }

    /// The channel by which the answers that it offers come back; `None`: it may offer none.
    pub(super) const fn answered_by(self) -> Option<Channel> {
        match self {
            Self::Sms | Self::SmsShort | Self::Voice | Self::EmailHtml | Self::EmailText => self.channel(),
            _ => None,
        }
    }

    /// Whether it says all that there is to say, and so must show what a message carries.
    pub(super) const fn is_full(self) -> bool {
        matches!(
            self,
            Self::Sms | Self::SmsShort | Self::Voice | Self::Portal | Self::EmailHtml | Self::EmailText
        )
    }

    pub(super) const fn escape(self) -> Escape {
        match self {
            Self::EmailHtml => Escape::Html,
            Self::Voice | Self::Voicemail => Escape::Xml,
            _ => Escape::None,
        }
    }

    /// Bytes that the rendered text may have; more is refused as `too_long`.
    pub(super) const fn max_bytes(self) -> usize {
        match self {
            // Twilio takes a body of 1,600 characters; up to four bytes each.
            Self::Sms | Self::SmsShort => 6_400,
            // Twilio takes 4,000 characters of TwiML, of which both texts are a part.
            Self::Voice => 2_400,
            Self::Voicemail => 1_000,
            Self::EmailSubject | Self::PortalSubject | Self::Also => 500,
            Self::AlsoLong => 1_000,
            Self::Portal | Self::EmailText => 65_536,
            Self::EmailHtml => 131_072,
        }
    }

    /// The rendered text without what only the file's layout put there.
    pub(super) fn tidy(self, text: &str) -> String {
        one_stop(match self {
            Self::Sms | Self::SmsShort => paragraphs(text, "\n"),
            Self::Voice
            | Self::Voicemail
            | Self::EmailSubject
            | Self::PortalSubject
            | Self::Also
            | Self::AlsoLong => one_line(text),
            Self::Portal | Self::EmailText => paragraphs_kept(text),
            Self::EmailHtml => text.trim().to_owned(),
        })
    }
}

/// A sentence that ends in "3:30 p.m." needs no second full stop.
fn one_stop(text: String) -> String {
    if text.contains(".m..") || text.contains(". m..") {
        text.replace(".m..", ".m.").replace(". m..", ". m.")
    } else {
        text
    }
}

/// Words with single spaces between them; nothing that ends a line or a string can stay.
pub(super) fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || is_hostile(c)).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Lines are joined, as in Markdown; an empty line begins a new paragraph.
fn paragraphs(text: &str, between: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open = false;
    for line in text.lines().map(one_line) {
        if line.is_empty() {
            open = false;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if open { " " } else { between });
        }
        out.push_str(&line);
        open = true;
    }
    out
}

/// Lines stay; several empty ones become one.
fn paragraphs_kept(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines().map(str::trim_end) {
        if line.trim_start().is_empty() {
            empty += 1;
            continue;
        }
        if !out.is_empty() {
            out.push_str(if empty > 0 { "\n\n" } else { "\n" });
        }
        empty = 0;
        out.extend(line.chars().filter(|&c| c == '\t' || !is_hostile(c)));
    }
    out
}

/// XML 1.0 text and attribute values; characters that XML cannot hold are left out.
pub(super) fn escape_xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => {}
            '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_line_whatever_stands_in_it() {
        for nasty in
            ["a\r\nBcc: x@y", "a\0Bcc: x@y", "a\u{2028}Bcc: x@y", "\na\t \u{b}Bcc: x@y\n", "a\u{85}Bcc: x@y"]
        {
            assert_eq!(Part::EmailSubject.tidy(nasty), "a Bcc: x@y");
        }
        assert_eq!(Part::EmailSubject.tidy("a\u{202e}b"), "a b", "no text is turned around");
    }

    #[test]
    fn lines_of_an_sms_file_are_joined_and_paragraphs_kept() {
        assert_eq!(Part::Sms.tidy("\n One\n two.  \n\n\n Three. \n"), "One two.\nThree.");
        assert_eq!(Part::Sms.tidy("At 3:30 p.m.. At 4 p. m.. Wait..."), "At 3:30 p.m. At 4 p. m. Wait...");
        assert_eq!(Part::EmailText.tidy("\nOne\n  two\n\n\n\nThree\n\n"), "One\n  two\n\nThree");
    }

    #[test]
    fn speech_is_escaped() {
        assert_eq!(escape_xml("<Dial>&\"'\0"), "&lt;Dial&gt;&amp;&quot;&apos;");
    }
}
