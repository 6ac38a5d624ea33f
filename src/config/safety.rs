//! `[safety]`: whether anything may leave this process.

use super::fault::Broken;
use super::kind::{Parsed, one_of};
use super::read::Section;
use super::rules;
use crate::domain::phi::Phi;
use crate::domain::words::SafetyMode;

/// Whether anything may leave, and to whom.
#[derive(Clone, Debug)]
pub struct SafetySection {
    pub mode: SafetyMode,
    /// Under `allow_list`: the only addresses that are written to.
    pub allow: Vec<Phi>,
}

impl SafetySection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let mode = s.or("mode", one_of(), SafetyMode::Capture);
        let listed = s.list("allow", ADDRESS);
        let section = Self { mode, allow: listed.unwrap_or_default() };
        if mode == SafetyMode::AllowList && s.lists_nothing("allow") {
            let rule = "must name somebody in mode allow_list";
            s.fault("allow", Broken::new(rule, "list test addresses, or set mode = \"capture\""));
        }
        section
    }

    /// Whether a message to `address` may leave. A number or portal reference is compared as it is, an email
    /// address without regard to case.
    #[must_use]
    pub fn allows(&self, address: &Phi) -> bool {
        match self.mode {
            SafetyMode::Capture => false,
            SafetyMode::Live => true,
            SafetyMode::AllowList => {
                self.allow.iter().any(|allowed| allowed.expose().eq_ignore_ascii_case(address.expose()))
            }
        }
    }
}

/// E.164, an email address or a portal reference.
const ADDRESS: Parsed<Phi> = Parsed {
    parse: |text| {
        let portal = text.split_once('/').is_some_and(|(kind, id)| !kind.is_empty() && !id.is_empty());
        if rules::e164(text).is_ok() || rules::email(text).is_ok() || (portal && rules::line(text).is_ok()) {
            return Ok(Phi::new(text));
        }
        Err(Broken::new(
            "must be a number in E.164, an email address or a portal reference",
            "write it as \"+13125550142\", \"ana@example.org\" or \"Patient/42\"",
        ))
    },
    show: Phi::masked,
};
