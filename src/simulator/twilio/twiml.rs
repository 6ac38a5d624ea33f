//! As much of TwiML as a telephone needs to know: whether a key is asked for, and where it goes.

/// Where the pressed key goes; an empty address is the document's own.
pub(super) fn gather_action(twiml: &str) -> Option<String> {
    let tag = opening_tag(twiml, "Gather")?;
    Some(attribute(tag, "action").unwrap_or_default())
}

fn opening_tag<'a>(twiml: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = twiml;
    while let Some((_, after)) = rest.split_once('<') {
        let tag = after.split_once('>').map_or(after, |(tag, _)| tag);
        if let Some(attributes) = tag.strip_prefix(name)
            && !attributes.starts_with(|c: char| c.is_alphanumeric())
        {
            return Some(attributes);
        }
        rest = after;
    }
    None
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag;
    loop {
        let (before, after) = rest.split_once(name)?;
        let starts = before.ends_with(char::is_whitespace);
        let value = after.trim_start().strip_prefix('=').map(str::trim_start);
        match value {
            Some(value) if starts => {
                let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
                return value.strip_prefix(quote)?.split_once(quote).map(|(text, _)| unescape(text));
            }
            _ => rest = after,
        }
    }
}

fn unescape(text: &str) -> String {
    // The ampersand last, so that `&amp;lt;` stays `&lt;`.
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&#39;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_where_the_key_goes() {
        for (twiml, expect) in [
            (
                r#"<Response><Gather numDigits="1" action="http://127.0.0.1/v?a=1&amp;b=2" method="POST"><Say>x</Say></Gather></Response>"#,
                Some("http://127.0.0.1/v?a=1&b=2"),
            ),
            ("<Response><Gather actionOnEmptyResult='true' action='/k'/></Response>", Some("/k")),
            ("<Response><Gather><Say>Press 1</Say></Gather></Response>", Some("")),
            ("<Response><Say>Gather action=\"no\"</Say></Response>", None),
            ("<Response><Gathering action=\"no\"/></Response>", None),
        ] {
            assert_eq!(gather_action(twiml).as_deref(), expect, "{twiml}");
        }
    }
}
