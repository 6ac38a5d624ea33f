//! What Twilio checks of a recipient before it takes anything, its published test numbers included.

use super::Refusal;
use crate::simulator::config::NumberRule;

/// Why a message or call to this number is refused, if it is.
pub(super) fn refuse_to(to: &str, rule: Option<&NumberRule>) -> Option<Refusal> {
    if let Some(code) = rule.and_then(|rule| rule.refuse) {
        return Some(by_code(code));
    }
    match to {
        "+15005550001" => Some(by_code(21211)),
        "+15005550002" => Some(by_code(21612)),
        "+15005550003" => Some(by_code(21408)),
        "+15005550004" => Some(by_code(21610)),
        "+15005550009" => Some(by_code(21614)),
        _ if !is_e164(to) => Some(by_code(21211)),
        _ => None,
    }
}

/// Why a sender is refused, if it is.
pub(super) fn refuse_from(from: &str) -> Option<Refusal> {
    match from {
        "+15005550001" => Some(by_code(21212)),
        "+15005550007" => Some(by_code(21606)),
        "+15005550008" => Some(by_code(21611)),
        _ => None,
    }
}

/// The error of a code, worded as in Twilio's error dictionary.
pub(super) fn by_code(code: u32) -> Refusal {
    let message = match code {
        20003 => return Refusal::new(axum::http::StatusCode::UNAUTHORIZED, code, "Authenticate"),
        20429 => return Refusal::new(axum::http::StatusCode::TOO_MANY_REQUESTS, code, "Too Many Requests"),
        21211 => "Invalid 'To' Phone Number",
        21212 => "Invalid 'From' Phone Number",
        21408 => "Permission to send an SMS has not been enabled for the region indicated by the 'To' number",
        21606 => "The 'From' phone number provided is not a valid message-capable Twilio phone number",
        21608 => "The number is unverified",
        21610 => "Attempt to send to unsubscribed recipient",
        21611 => "This 'From' number has exceeded the maximum number of queued messages",
        21612 => "The 'To' phone number is not currently reachable using the 'From' phone number",
        21614 => "'To' number is not a valid mobile number",
        21617 => "The concatenated message body exceeds the 1600 character limit",
        21635 => "'To' number cannot be a landline",
        _ => "The request was refused",
    };
    Refusal::bad_request(code, message)
}

fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_numbers_and_rules_are_refused() {
        for (to, code) in [
            ("+13125550142", None),
            ("3125550142", Some(21211)),
            ("+1312555014x", Some(21211)),
            ("+15005550004", Some(21610)),
        ] {
            assert_eq!(refuse_to(to, None).map(|r| r.code), code, "{to}");
        }
        let rule = NumberRule { refuse: Some(21635), ..NumberRule::default() };
        assert_eq!(refuse_to("+13125550142", Some(&rule)).map(|r| r.code), Some(21635));
    }
}
