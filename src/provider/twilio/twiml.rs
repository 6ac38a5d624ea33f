//! The TwiML that a call is given: who speaks, in which language, which keys count.
//!
//! Source: Twilio's TwiML reference for `<Say>`, `<Gather>` and `<Hangup>`.

use crate::domain::outbound::{FailureKind, SendError};

/// Characters that the `Twiml` parameter takes.
const MAX_CHARS: usize = 4_000;

/// A language we write, the tag that `<Say>` wants for it, and who speaks. The first of a language is also
/// the one for a region that is not listed.
const VOICES: &[(&str, &str, &str)] = &[
    ("en-US", "en-US", "Polly.Joanna"),
    ("en-GB", "en-GB", "Polly.Amy"),
    ("en-AU", "en-AU", "Polly.Nicole"),
    ("en-IN", "en-IN", "Polly.Raveena"),
    ("es-US", "es-US", "Polly.Lupe"),
    ("es-MX", "es-MX", "Polly.Mia"),
    ("es-ES", "es-ES", "Polly.Lucia"),
    ("ar", "arb", "Polly.Zeina"),
    ("da", "da-DK", "Polly.Naja"),
    ("de", "de-DE", "Polly.Vicki"),
    ("fil", "fil-PH", "Google.fil-PH-Standard-A"),
    ("fr-FR", "fr-FR", "Polly.Celine"),
    ("fr-CA", "fr-CA", "Polly.Chantal"),
    ("hi", "hi-IN", "Polly.Aditi"),
    ("it", "it-IT", "Polly.Carla"),
    ("ja", "ja-JP", "Polly.Mizuki"),
    ("ko", "ko-KR", "Polly.Seoyeon"),
    ("nb", "nb-NO", "Polly.Liv"),
    ("nl", "nl-NL", "Polly.Lotte"),
    ("pl", "pl-PL", "Polly.Ewa"),
    ("pt-BR", "pt-BR", "Polly.Camila"),
    ("pt-PT", "pt-PT", "Polly.Ines"),
    ("ro", "ro-RO", "Polly.Carmen"),
    ("ru", "ru-RU", "Polly.Tatyana"),
    ("sv", "sv-SE", "Polly.Astrid"),
    ("tr", "tr-TR", "Polly.Filiz"),
    ("uk", "uk-UA", "Google.uk-UA-Standard-A"),
    ("vi", "vi-VN", "Google.vi-VN-Standard-A"),
    ("zh", "cmn-CN", "Polly.Zhiyu"),
];

/// Says `speech` twice and listens for a key all the while; the key goes to `action`.
pub(super) fn with_keys(speech: &str, language: &str, action: &str) -> Result<String, SendError> {
    let say = say(speech, language, 2)?;
    let action = escape(action);
    bounded(format!(
        "<Response><Gather input=\"dtmf\" numDigits=\"1\" finishOnKey=\"\" timeout=\"6\" method=\"POST\" action=\"{action}\">\
         {say}</Gather><Hangup/></Response>"
    ))
}

/// Says `text`, which is no XML yet; the key pressed meanwhile goes to `action`, where there is one.
pub(super) fn answer(text: &str, language: &str, action: Option<&str>) -> Result<String, SendError> {
    match action {
        Some(action) => with_keys(&escape(text), language, action),
        None => plain(&escape(text), language),
    }
}

/// Says `speech` and hangs up.
pub(super) fn plain(speech: &str, language: &str) -> Result<String, SendError> {
    bounded(format!("<Response>{}<Hangup/></Response>", say(speech, language, 1)?))
}

/// Has `text` sent back to whoever wrote; `None`: nothing.
pub(super) fn message(text: Option<&str>) -> String {
    match text {
        Some(text) => format!("<Response><Message>{}</Message></Response>", escape(text)),
        None => "<Response/>".to_owned(),
    }
}

/// `speech` is XML already: the template escapes what it fills in, and may hold SSML of its own.
fn say(speech: &str, language: &str, times: u8) -> Result<String, SendError> {
    let (tag, voice) = voice(language).ok_or_else(|| SendError::new(FailureKind::Rejected, "no_voice"))?;
    Ok(format!("<Say voice=\"{voice}\" language=\"{tag}\" loop=\"{times}\">{speech}</Say>"))
}

/// Twilio's tag and voice for a BCP-47 language; a text in another language than its voice is noise.
fn voice(language: &str) -> Option<(&'static str, &'static str)> {
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    VOICES
        .iter()
        .find(|(tag, ..)| tag.eq_ignore_ascii_case(language))
        .or_else(|| VOICES.iter().find(|(tag, ..)| primary(tag) == primary(language)))
        .map(|(_, tag, voice)| (*tag, *voice))
}

fn bounded(document: String) -> Result<String, SendError> {
    if document.chars().count() > MAX_CHARS {
        return Err(SendError::new(FailureKind::Rejected, "too_long"));
    }
    Ok(document)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_is_spoken_by_a_voice_of_its_own() {
        for (language, expected) in [
            ("en-US", Some(("en-US", "Polly.Joanna"))),
            ("en", Some(("en-US", "Polly.Joanna"))),
            ("es-MX", Some(("es-MX", "Polly.Mia"))),
            ("ES-us", Some(("es-US", "Polly.Lupe"))),
            ("es-CO", Some(("es-US", "Polly.Lupe"))),
            ("zh-Hans-CN", Some(("cmn-CN", "Polly.Zhiyu"))),
            ("ar-EG", Some(("arb", "Polly.Zeina"))),
            ("tlh", None),
        ] {
            assert_eq!(voice(language), expected, "{language}");
        }
    }

    #[test]
    fn an_address_in_an_attribute_is_escaped() {
        let document = with_keys("Hello &amp; good day", "en", "https://o.example/k?a=1&b=\"<").unwrap();
        assert!(document.contains("action=\"https://o.example/k?a=1&amp;b=&quot;&lt;\""), "{document}");
        assert!(document.contains(">Hello &amp; good day</Say>"), "{document}");
    }

    #[test]
    fn what_is_sent_back_is_escaped() {
        assert_eq!(message(None), "<Response/>");
        assert_eq!(message(Some("A & B <x>")), "<Response><Message>A &amp; B &lt;x&gt;</Message></Response>");
    }

    #[test]
    fn a_document_over_the_limit_is_refused() {
        let room = MAX_CHARS - plain("", "en").unwrap().len();
        assert!(plain(&"é".repeat(room), "en").is_ok());
        assert_eq!(plain(&"é".repeat(room + 1), "en").unwrap_err().code.as_deref(), Some("too_long"));
    }
}
