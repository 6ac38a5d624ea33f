//! The `[[provider]]` sections that point at a simulator: one for each channel.

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Simulator, SimulatorError};
use crate::config::provider::{
    BreakerSettings, FhirPortalSettings, JwtAlgorithm, On5xx, OptOutReply, ProviderSection, ProviderSettings,
    SmtpSettings, SmtpTls, TwilioSettings,
};
use crate::config::secret::Secret;
use crate::domain::ids::ProviderName;

impl Simulator {
    /// Providers named `<prefix>-sms`, `-email`, `-portal` and `-voice` that send here, without limits of their own.
    ///
    /// # Errors
    /// No key could be made for the portal's client.
    pub fn providers(&self, prefix: &str) -> Result<Vec<ProviderSection>, SimulatorError> {
        let twilio = TwilioSettings {
            base_url: self.twilio_url(),
            account_sid: self.config().twilio.account_sid.clone(),
            auth_token: self.config().twilio.auth_token.clone(),
            auth_token_previous: None,
            webhook_shared_key: None,
            from: vec!["+13125550100".to_owned(), "+13125550101".to_owned()],
            messaging_service_sid: None,
            status_callback: None,
            gather_action: None,
            on_5xx: On5xx::Unknown,
        };
        let smtp = SmtpSettings {
            host: self.smtp_addr().ip().to_string(),
            port: self.smtp_addr().port(),
            tls: SmtpTls::None,
            username: self.config().smtp.username.clone(),
            password: self.config().smtp.password.clone(),
            from: "Clinic <clinic@clinic.example>".to_owned(),
            return_path: None,
            reply_to: None,
            bounce_address: None,
            reply_address: None,
            mark_key: None,
            webhook_secret: None,
            sendgrid_key: None,
            ses_topic: None,
            dkim: None,
            pool_size: 8,
            ca_file: None,
        };
        let portal = FhirPortalSettings {
            base_url: self.fhir_url(),
            token_url: Some(self.token_url().to_owned()),
            client_id: self.config().fhir.client_id.clone().unwrap_or_else(|| "outreachd".to_owned()),
            private_key: client_key()?,
            key_id: "simulated".to_owned(),
            scope: "system/Communication.cru".to_owned(),
            algorithm: JwtAlgorithm::Es384,
            sender: None,
        };
        let settings = [
            ("sms", ProviderSettings::TwilioSms(twilio.clone())),
            ("email", ProviderSettings::Smtp(smtp)),
            ("portal", ProviderSettings::FhirPortal(portal)),
            ("voice", ProviderSettings::TwilioVoice(twilio)),
        ];
        Ok(settings.into_iter().filter_map(|(word, settings)| section(prefix, word, settings)).collect())
    }
}

fn section(prefix: &str, word: &str, settings: ProviderSettings) -> Option<ProviderSection> {
    Some(ProviderSection {
        name: ProviderName::parse(&format!("{prefix}-{word}"))?,
        settings,
        limits: Vec::new(),
        weight: 100,
        baa: true,
        max_in_flight: 64,
        timeout: Duration::from_secs(15),
        opt_out_reply: OptOutReply::Ours,
        breaker: BreakerSettings::default(),
    })
}

/// A key of the simulated portal's client, made anew each time.
fn client_key() -> Result<Secret, SimulatorError> {
    let pair =
        EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map_err(|_| SimulatorError::PublicKey)?;
    let der = pair.to_pkcs8v1().map_err(|_| SimulatorError::PublicKey)?;
    let body = STANDARD.encode(der.as_ref());
    Ok(Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")))
}
