//! Keys are exchanged while results flow.

use outreachd::config::Config;
use outreachd::policy::callback::Answer;

use outreachd::callback::{Courier, Letter};
use outreachd::domain::ids::EventId;

use super::receiver::{Receiver, key};

/// One result, posted under this configuration of its source.
async fn post(receiver: &Receiver, secrets: &str) {
    let text = format!(
        "[events.callbacks]\nallow = [\"127.0.0.0/8\"]\n[[source]]\nname = \"ehr\"\ncallback_url = \"{}\"\n{secrets}",
        receiver.url()
    );
    let config = Config::from_toml(&text).unwrap();
    let courier = Courier::new(&config.events.callbacks).unwrap();
    let id = EventId::generate();
    let body = format!("{{\"id\":\"{id}\",\"seq\":1}}");
    let letter = Letter { id, body: &body, traceparent: None, now: jiff::Timestamp::now() };
    let posted = courier.post(config.sources[0].callback.as_ref().unwrap(), &letter).await;
    assert_eq!((posted.answer, posted.code.as_str()), (Answer::Taken, "http_204"));
}

#[tokio::test]
async fn while_a_key_is_exchanged_both_sign() {
    let receiver = Receiver::open().await;
    let (old, new) = (key(1), key(2));
    post(&receiver, &format!("callback_secret = \"{old}\"")).await;
    post(&receiver, &format!("callback_secret = \"{new}\"\ncallback_secret_previous = \"{old}\"")).await;
    post(&receiver, &format!("callback_secret = \"{new}\"")).await;
    let signed: Vec<(bool, bool)> =
        receiver.got().iter().map(|got| (got.is_signed_by(&old), got.is_signed_by(&new))).collect();
    assert_eq!(signed, [(true, false), (true, true), (false, true)]);
}
