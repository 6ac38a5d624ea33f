//! `[notify]`: how people on call are told that something is wrong, and how silence is noticed.

use std::time::Duration;

use super::callback::{Callback, SigningKey};
use super::fault::Broken;
use super::kind::{Span, text};
use super::provider::SmtpSettings;
use super::read::Section;
use super::rules;
use crate::domain::alert::Trouble;

/// Where people on call are told. Nothing is set: what is wrong is noted, and shown in the console alone.
#[derive(Clone)]
pub struct NotifySection {
    /// Posted to; signed where there is a key. Its URL is a secret: mostly, whoever knows it may post.
    pub webhook: Option<Callback>,
    /// Bare addresses.
    pub email: Vec<String>,
    /// The relay for these mails alone: what patients get, and what limits that, has nothing to do with it.
    pub smtp: Option<SmtpSettings>,
    /// Posted to as long as all is looked at; what waits there for it notices silence.
    pub heartbeat: Option<Callback>,
    pub heartbeat_every: Duration,
    /// How often it is looked whether something is wrong.
    pub every: Duration,
    /// What may pass by itself is told, and told as over, once it has lasted so long.
    pub after: Duration,
    /// What nobody has acknowledged is told again so often.
    pub repeat: Duration,
    /// Where the runbook lies: `#` and the name of what is wrong is put behind it.
    pub runbook: String,
}

impl std::fmt::Debug for NotifySection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NotifySection")
            .field("every", &self.every)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

impl NotifySection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let key = SigningKey::read(s, "webhook_secret");
        let email = s.list("email", text(rules::email)).unwrap_or_default();
        let smtp = s.section("smtp", |s| {
            if s.is_given() {
                return Some(SmtpSettings::for_notices(s));
            }
            s.hide();
            None
        });
        if !email.is_empty() && smtp.is_none() {
            let cure = "name a relay in [notify.smtp], or remove `email`";
            s.fault("email", Broken::new("needs a relay", cure));
        }
        Self {
            webhook: receiver(s, "webhook_url", key),
            email,
            smtp,
            heartbeat: receiver(s, "heartbeat_url", None),
            heartbeat_every: s.or("heartbeat_every", Span(SECOND..=HOUR), MINUTE),
            every: s.or("every", Span(SECOND / 10..=MINUTE * 5), SECOND * 15),
            after: s.or("after", Span(Duration::ZERO..=HOUR), MINUTE * 2),
            repeat: s.or("repeat", Span(SECOND..=HOUR * 24), HOUR),
            runbook: s.or("runbook", text(rules::line), RUNBOOK.to_owned()),
        }
    }

    /// Where the runbook's line for a trouble is. Where nothing else is set, the program itself shows its runbook, under
    /// its own URL: whoever is woken has no checkout at hand.
    #[must_use]
    pub fn runbook_of(&self, trouble: Trouble, own_url: &str) -> String {
        if self.runbook == RUNBOOK {
            format!("{own_url}/console/runbook.md#{trouble}")
        } else {
            format!("{}#{trouble}", self.runbook)
        }
    }
}

/// As it lies among the sources.
const RUNBOOK: &str = "deploy/runbook.md";

/// A URL that is kept secret.
fn receiver(s: &mut Section<'_>, name: &'static str, key: Option<SigningKey>) -> Option<Callback> {
    let given = s.secret(name)?;
    match rules::callback_url(given.expose().trim()) {
        Ok(url) => Some(Callback { url, keys: key.into_iter().collect() }),
        Err(broken) => {
            s.fault(name, broken);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::domain::alert::Trouble;

    #[test]
    fn whoever_is_woken_can_open_the_runbook() {
        for (settings, expected) in [
            ("", "http://127.0.0.1:8080/console/runbook.md#dead_jobs"),
            ("[http]\nlisten = \"0.0.0.0:80\"\n", "http://127.0.0.1:80/console/runbook.md#dead_jobs"),
            (
                "[http]\npublic_url = \"https://outreach.example.org\"\n",
                "https://outreach.example.org/console/runbook.md#dead_jobs",
            ),
            (
                "[http]\npublic_url = \"https://outreach.example.org\"\n[notify]\nrunbook = \"https://wiki.example.org/x\"\n",
                "https://wiki.example.org/x#dead_jobs",
            ),
        ] {
            assert_eq!(Config::from_toml(settings).unwrap().runbook_of(Trouble::DeadJobs), expected);
        }
    }
}
