//! What a mailbox does, by its name, and which headers of a mail tell it from others.

/// A refusal as SMTP words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounce {
    /// Reply code.
    pub(super) code: u16,
    /// Enhanced status code (RFC 3463).
    pub(super) enhanced: (u8, u8, u8),
}

impl Bounce {
    /// `bounce-511@...`: refused at RCPT as 550 5.1.1.
    pub(super) fn at_recipient(address: &str) -> Option<Self> {
        Self::after(address, "bounce-")
    }

    /// `reject-571@...`: refused after the message as 554 5.7.1.
    pub(super) fn at_message(address: &str) -> Option<Self> {
        Self::after(address, "reject-").map(|bounce| match bounce.code {
            550 => Self { code: 554, ..bounce },
            _ => bounce,
        })
    }

    fn after(address: &str, prefix: &str) -> Option<Self> {
        let digits = address.strip_prefix(prefix)?.get(..3)?;
        let mut digits = digits.chars().map(|c| c.to_digit(10).and_then(|d| u8::try_from(d).ok()));
        let enhanced = (digits.next()??, digits.next()??, digits.next()??);
        let code = match enhanced {
            (4, 2, 2) => 452,
            (4, ..) => 450,
            (5, 2, 2) => 552,
            (5, ..) => 550,
            _ => return None,
        };
        Some(Self { code, enhanced })
    }

    /// Words for it.
    pub(super) const fn text(self) -> &'static str {
        match self.enhanced {
            (_, 1, 1) => "mailbox unknown",
            (_, 2, 1) => "mailbox disabled",
            (_, 2, 2) => "mailbox full",
            (4, ..) => "try again later",
            (_, 7, _) => "refused by policy",
            _ => "refused",
        }
    }
}

/// The value of a header, unfolded; names match in any case.
pub(super) fn header(mail: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(mail.get(..mail.len().min(64 * 1024)).unwrap_or_default());
    let mut lines = text.split("\r\n").take_while(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        let Some((found, value)) = line.split_once(':') else { continue };
        if !found.eq_ignore_ascii_case(name) {
            continue;
        }
        let mut value = value.trim().to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with([' ', '\t'])) {
            value.push_str(more.trim_end());
        }
        return Some(value.trim().to_owned());
    }
    None
}

/// The send key in the local part of a Message-ID, without what signs it.
pub(super) fn message_key(message_id: &str) -> &str {
    let bare = message_id.trim_start_matches('<').trim_end_matches('>');
    let local = bare.split_once('@').map_or(bare, |(local, _)| local);
    local.split_once('.').map_or(local, |(key, _)| key)
}

/// The address in `MAIL FROM:<...>` or `RCPT TO:<...>`, and the parameters after it.
pub(super) fn path(argument: &str) -> Option<(&str, &str)> {
    let (address, parameters) = argument.trim_start().strip_prefix('<')?.split_once('>')?;
    Some((address, parameters.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mailbox_names_its_bounce() {
        let code = |address| Bounce::at_recipient(address).map(|b| (b.code, b.enhanced));
        assert_eq!(code("bounce-511@example.org"), Some((550, (5, 1, 1))));
        assert_eq!(code("bounce-422-ana@example.org"), Some((452, (4, 2, 2))));
        assert_eq!(code("bounce-911@example.org"), None);
        assert_eq!(code("ana@example.org"), None);
        assert_eq!(Bounce::at_message("reject-571@x").map(|b| b.code), Some(554));
    }

    #[test]
    fn headers_are_found_folded_and_in_any_case() {
        let mail = b"Subject: a\r\nmessage-id:\r\n <k-0@example.org>\r\nTo: b\r\n\r\nMessage-ID: <no@x>\r\n";
        assert_eq!(header(mail, "Message-ID").as_deref(), Some("<k-0@example.org>"));
        assert_eq!(message_key("<k-0@example.org>"), "k-0");
        assert_eq!(header(mail, "Cc"), None);
    }

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!(path("<a@b> SIZE=12 BODY=8BITMIME"), Some(("a@b", "SIZE=12 BODY=8BITMIME")));
        assert_eq!(path(" <>"), Some(("", "")));
        assert_eq!(path("a@b"), None);
    }
}
