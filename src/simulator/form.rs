//! `application/x-www-form-urlencoded`, read without copying what needs no decoding.

use std::borrow::Cow;

/// Name and value pairs in the order they came; a name may repeat.
#[derive(Debug, Default)]
pub(super) struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    /// Reads a body or a query string. Bytes that are not UTF-8 become U+FFFD, as browsers do.
    pub(super) fn parse(text: &'a [u8]) -> Self {
        Self(
            text.split(|b| *b == b'&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let mut halves = pair.splitn(2, |b| *b == b'=');
                    let name = halves.next().unwrap_or_default();
                    (decode(name), decode(halves.next().unwrap_or_default()))
                })
                .collect(),
        )
    }

    /// The first value of a name; an empty value counts as absent, as the providers treat it.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| &**v)
    }

    /// Every non-empty value of a name.
    pub(super) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.0.iter().filter(move |(n, v)| n == name && !v.is_empty()).map(|(_, v)| &**v)
    }
}

fn decode(text: &[u8]) -> Cow<'_, str> {
    if !text.iter().any(|b| matches!(b, b'%' | b'+')) {
        return String::from_utf8_lossy(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        let escaped = match (byte, rest.as_slice()) {
            (b'%', [high, low, ..]) => hex_value(*high).zip(hex_value(*low)),
            _ => None,
        };
        bytes.push(match (byte, escaped) {
            (_, Some((high, low))) => {
                rest.nth(1);
                high << 4 | low
            }
            (b'+', None) => b' ',
            (other, None) => *other,
        });
    }
    Cow::Owned(
        String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()),
    )
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_names_may_repeat() {
        let form =
            Form::parse(b"To=%2B13125550142&Body=Hola+Ana%2C+100%25%20%C3%A1&E=a&E=b&Empty=&odd=%zz%4");
        assert_eq!(form.get("To"), Some("+13125550142"));
        assert_eq!(form.get("Body"), Some("Hola Ana, 100% á"));
        assert_eq!(form.all("E").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(form.get("Empty"), None);
        assert_eq!(form.get("odd"), Some("%zz%4"));
        assert_eq!(form.get("absent"), None);
    }
}
