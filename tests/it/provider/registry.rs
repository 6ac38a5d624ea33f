//! Settings that cannot work are named, with their field, before anything is sent.

use std::path::PathBuf;

use outreachd::config::provider::{
    CaptureSettings, DkimAlgorithm, DkimSettings, FhirPortalSettings, JwtAlgorithm, ProviderSettings,
    SmtpSettings, SmtpTls, TwilioSettings,
};
use outreachd::config::secret::Secret;
use outreachd::domain::words::Channel;
use outreachd::provider::registry;

use super::keys::{p384, rsa};
use super::smtp::relay;
use super::table::{no_secret, section};
use super::twilio_sms::account;

fn portal() -> FhirPortalSettings {
    FhirPortalSettings {
        base_url: "https://fhir.example.org/r4".to_owned(),
        token_url: None,
        client_id: "c".to_owned(),
        private_key: Secret::new(&rsa().pem),
        key_id: "k".to_owned(),
        scope: "s".to_owned(),
        algorithm: JwtAlgorithm::Rs384,
        sender: None,
    }
}

fn mail() -> SmtpSettings {
    relay(25)
}

fn twilio() -> TwilioSettings {
    account("https://api.example.org")
}

#[tokio::test]
async fn every_kind_is_built_and_serves_its_channel() {
    for (settings, channel) in [
        (ProviderSettings::Smtp(mail()), Channel::Email),
        (ProviderSettings::Smtp(SmtpSettings { host: "LocalHost".to_owned(), ..mail() }), Channel::Email),
        (ProviderSettings::TwilioSms(twilio()), Channel::Sms),
        (ProviderSettings::TwilioVoice(twilio()), Channel::Voice),
        (ProviderSettings::FhirPortal(portal()), Channel::Portal),
        (ProviderSettings::Capture(CaptureSettings { channel: Channel::Voice }), Channel::Voice),
    ] {
        let provider = registry::build(&section(settings)).unwrap();
        assert_eq!(provider.channel(), channel);
        assert_eq!(provider.name().as_str(), "under-test");
    }
}

#[tokio::test]
async fn a_fault_names_its_field_and_not_its_value() {
    let sms = ProviderSettings::TwilioSms;
    let voice = ProviderSettings::TwilioVoice;
    let fhir = ProviderSettings::FhirPortal;
    let smtp = ProviderSettings::Smtp;
    let text = |text: &str| text.to_owned();
    let dkim = |algorithm, key: &str| {
        Some(DkimSettings {
            domain: text("example.org"),
            selector: text("s"),
            private_key: Secret::new(key),
            algorithm,
        })
    };
    for (settings, field) in [
        (sms(TwilioSettings { base_url: text("http://canary-body.example"), ..twilio() }), "base_url"),
        (sms(TwilioSettings { account_sid: text("../canary-body"), ..twilio() }), "account_sid"),
        (sms(TwilioSettings { from: vec![], ..twilio() }), "from"),
        (sms(TwilioSettings { status_callback: Some(text("canary-body")), ..twilio() }), "status_callback"),
        (voice(TwilioSettings { from: vec![], ..twilio() }), "from"),
        (voice(TwilioSettings { gather_action: Some(text("canary-body")), ..twilio() }), "gather_action"),
        (fhir(FhirPortalSettings { private_key: Secret::new("canary-token"), ..portal() }), "private_key"),
        (fhir(FhirPortalSettings { private_key: Secret::new(&p384().pem), ..portal() }), "private_key"),
        (fhir(FhirPortalSettings { algorithm: JwtAlgorithm::Es384, ..portal() }), "private_key"),
        (
            fhir(FhirPortalSettings { token_url: Some(text("http://h.example/canary-body")), ..portal() }),
            "token_url",
        ),
        (fhir(FhirPortalSettings { sender: Some(text("canary-body")), ..portal() }), "sender"),
        (smtp(SmtpSettings { host: text("mail.example.org"), ..mail() }), "tls"),
        (smtp(SmtpSettings { from: text("canary-body"), ..mail() }), "from"),
        (smtp(SmtpSettings { return_path: Some(text("canary-body")), ..mail() }), "return_path"),
        (smtp(SmtpSettings { reply_to: Some(text("canary-body")), ..mail() }), "reply_to"),
        (smtp(SmtpSettings { username: Some(text("canary-body")), ..mail() }), "password"),
        (smtp(SmtpSettings { dkim: dkim(DkimAlgorithm::Rsa, "canary-token"), ..mail() }), "dkim.private_key"),
        (smtp(SmtpSettings { dkim: dkim(DkimAlgorithm::Ed25519, &rsa().pem), ..mail() }), "dkim.private_key"),
        (
            smtp(SmtpSettings {
                tls: SmtpTls::StartTls,
                ca_file: Some(PathBuf::from("/nowhere/canary-body")),
                ..mail()
            }),
            "ca_file",
        ),
    ] {
        let problem = registry::build(&section(settings)).expect_err(field);
        assert_eq!(problem.field, format!("provider.under-test.{field}"));
        no_secret(field, &format!("{problem:?} {problem}"));
    }
}
