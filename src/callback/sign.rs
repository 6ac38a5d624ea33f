//! What signs a result: one signature for each key.

use crate::config::callback::SigningKey;

/// The header `webhook-signature`: one signature for each key, so that a receiver may change its key at leisure.
/// `seconds` since 1970 stand in `webhook-timestamp`.
#[must_use]
pub fn signature(keys: &[SigningKey], id: &str, seconds: i64, body: &str) -> String {
    let one = |key: &SigningKey| key.sign(id, seconds, body.as_bytes());
    keys.iter().filter_map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// The vector of the Standard Webhooks libraries.
    #[test]
    fn a_signature_is_the_one_that_receivers_expect() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = r#"{"test": 2432232314}"#;
        let one = signature(std::slice::from_ref(&key), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(one, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert!(key.fits(id, 1_614_265_330, body.as_bytes(), &one));
        assert!(!key.fits(id, 1_614_265_331, body.as_bytes(), &one));
        assert!(!key.fits(id, 1_614_265_330, body.as_bytes(), one.trim_start_matches("v1,")));
        let other = SigningKey::parse(&format!("whsec_{}", STANDARD.encode([7; 32]))).unwrap();
        let both = signature(&[other, key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(both.split(' ').count(), 2);
        assert!(both.ends_with(&one), "{both}");
    }
}
