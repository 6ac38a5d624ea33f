//! The configuration, as policy reads it.

use crate::config::policy::ConsentDefault;
use crate::config::{Config, span};
use crate::domain::words::Purpose;
use crate::policy::cap::CapRules;
use crate::policy::person::MajorityAge;
use crate::policy::question::{PhiRules, PurposeRule, Rules};
use crate::policy::retry::RetryRules;

/// What decisions follow.
pub(super) fn decisions(config: &Config) -> Rules {
    let policy = &config.policy;
    let purposes = Purpose::ALL.iter().map(|purpose| {
        let allowed = policy.purpose(*purpose);
        let rule = PurposeRule {
            needs_grant: allowed.consent_default == ConsentDefault::None,
            voice_allowed: allowed.voice_allowed,
            fallback_allowed: allowed.fallback_allowed,
            capped: allowed.capped,
        };
        (*purpose, rule)
    });
    Rules {
        patient_grace: span(policy.patient_grace),
        countries: config.limits.countries.clone(),
        purposes: purposes.collect(),
        cap: CapRules {
            per_day: policy.cap.per_day,
            per_week: policy.cap.per_week,
            channels: policy.cap.channels.clone(),
            each_step: policy.cap.each_step,
        },
        phi: PhiRules {
            sms: policy.phi.sms,
            email: policy.phi.email,
            voice: policy.phi.voice,
            portal: policy.phi.portal,
            verified_from: policy.phi.verified_from,
        },
        majority: MajorityAge {
            years: policy.majority.years.into(),
            by_state: policy.majority.states.iter().map(|(s, age)| (s.clone(), (*age).into())).collect(),
        },
        hours: policy.hours.clone(),
        home: config.organisation.timezone.clone(),
        country: config.organisation.default_region.clone(),
    }
}

/// What follows a failed attempt.
pub(super) fn retries(config: &Config) -> RetryRules {
    let retry = &config.policy.retry;
    RetryRules {
        max_tries: u16::try_from(retry.max_attempts).unwrap_or(u16::MAX),
        first_pause: span(retry.first_delay),
        longest_pause: span(retry.max_delay),
        longest_retry_after: span(retry.retry_after_max),
        jitter_share: f64::from(retry.jitter_percent) / 100.0,
    }
}
