//! A mail that somebody hands to us.

/// What claims to be a bounce, a complaint or an answer. Nothing of it is believed before
/// [`super::Provider::hear_mail`] has found a mark of ours in it.
#[derive(Clone, Copy)]
pub struct IncomingMail<'a> {
    /// Whom its envelope names.
    pub to: &'a str,
    /// The envelope's sender, empty for the null path of a bounce (RFC 5321, 4.5.5); `None`: it is not known.
    pub from: Option<&'a str>,
    /// Head and body; the end may be cut off.
    pub bytes: &'a [u8],
}

/// Of a mail so much is read, in bytes: what tells stands at its beginning, and the rest are pictures.
pub const READ: usize = 256 << 10;
/// A larger mail is not taken, in bytes.
pub const MOST: usize = 64 << 20;

impl std::fmt::Debug for IncomingMail<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Addresses and a text.
        f.debug_struct("IncomingMail").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}
