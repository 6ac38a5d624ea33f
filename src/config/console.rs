//! `[console]`: how people sign in, and how long they stay signed in.

use std::time::Duration;

use super::fault::Broken;
use super::kind::{Flag, Span};
use super::oidc::OidcSection;
use super::read::Section;

/// How somebody signs in, and when a session ends by itself.
#[derive(Clone, Debug)]
pub struct ConsoleSection {
    /// Without a request for so long.
    pub idle: Duration,
    /// In any case after so long.
    pub session: Duration,
    /// Whether a password and a code open the console.
    pub password: bool,
    /// `None`: by password alone.
    pub oidc: Option<OidcSection>,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

impl ConsoleSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let section = Self {
            idle: s.or("idle", Span(MINUTE..=HOUR * 8), MINUTE * 30),
            session: s.or("session", Span(MINUTE..=HOUR * 24), HOUR * 12),
            password: s.or("password", Flag, true),
            oidc: s.section("oidc", |s| {
                if s.is_given() {
                    return OidcSection::read(s);
                }
                s.hide();
                None
            }),
        };
        if !section.password && section.oidc.is_none() {
            let rule = "must be true where there is no [console.oidc]: nobody could sign in";
            s.fault("password", Broken::new(rule, "leave it out, or set up [console.oidc]"));
        }
        if section.session < section.idle {
            let rule = "must not be shorter than `idle`";
            s.fault("session", Broken::new(rule, "raise it, or lower `idle`"));
        }
        section
    }
}
