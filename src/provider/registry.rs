//! From a `[[provider]]` section to the provider. One arm a kind.

use std::sync::Arc;

use super::Provider;
use super::capture::Capture;
use super::fhir_portal::FhirPortal;
use super::smtp::Smtp;
use super::twilio::sms::TwilioSms;
use super::twilio::voice::TwilioVoice;
use crate::config::provider::{ProviderSection, ProviderSettings};
use crate::domain::problem::Problem;

/// Builds the provider of `section`. Reads its files; opens no connection.
///
/// # Errors
/// The first fault of its settings, as `provider.<name>.<field>`.
pub fn build(section: &ProviderSection) -> Result<Arc<dyn Provider>, Problem> {
    let (name, timeout) = (section.name.clone(), section.timeout);
    Ok(match &section.settings {
        ProviderSettings::Smtp(settings) => Arc::new(Smtp::new(name, settings, timeout)?),
        ProviderSettings::TwilioSms(settings) => Arc::new(TwilioSms::new(name, settings, timeout)?),
        ProviderSettings::TwilioVoice(settings) => Arc::new(TwilioVoice::new(name, settings, timeout)?),
        ProviderSettings::FhirPortal(settings) => Arc::new(FhirPortal::new(name, settings, timeout)?),
        ProviderSettings::Capture(settings) => Arc::new(Capture::new(name, settings)),
    })
}
