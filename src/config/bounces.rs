//! `[bounces]`: where a mail server hands over what comes back.

use std::net::SocketAddr;

use super::http::ADDRESS;
use super::read::Section;

/// The listener for mail that comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BouncesSection {
    /// LMTP; `None`: mail is handed over by `outreachd bounce` alone.
    pub listen: Option<SocketAddr>,
}

impl BouncesSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        Self { listen: s.optional("listen", ADDRESS) }
    }
}
