//! The mark of our mails: the send key and a signature, `0196f3c0…-0.1f2e3d4c5b6a7988`. It stands in the return path
//! (VERP), in the reply address and in the Message-ID, so that whatever part of a mail comes back tells which one it
//! was, and nobody can make a mail bounce whose mark they have not seen.
//!
//! It is made of lower-case letters, digits, `-` and `.`: some servers change the case of an address, or cut what they
//! hold for strange. The signature is the first 8 bytes of an HMAC-SHA256 over the provider's name and the send key,
//! under a key that is derived from the ledger's: what can be tried are single mails, one at a time.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::domain::ids::{ProviderName, SendKey};

/// What the ledger's key is used for here.
const USE: &[u8] = b"outreachd: the mark of a mail, 1";
/// Digits of the signature.
const SIGNED: usize = 16;
/// The longest mark: 32 digits of the message, `-`, 5 of the step, `.`, and the signature.
pub(super) const LONGEST: usize = 32 + 1 + 5 + 1 + SIGNED;

/// Makes and knows the marks of one provider's mails.
pub(super) struct Tokens {
    key: [u8; 32],
    provider: ProviderName,
}

impl Tokens {
    pub(super) fn new(ledger: &[u8; 32], provider: &ProviderName) -> Self {
        Self { key: hmac(ledger, &[USE]), provider: provider.clone() }
    }

    /// The mark of the mails of this step.
    pub(super) fn mark(&self, key: SendKey) -> String {
        format!("{key}.{}", hex::encode(self.signature(key)))
    }

    /// The step whose mark this is; `None`: it is no mark of ours.
    pub(super) fn read(&self, mark: &str) -> Option<SendKey> {
        let mark = mark.to_ascii_lowercase();
        let (key, signed) = mark.split_once('.')?;
        let key = SendKey::parse(key)?;
        let signed: [u8; SIGNED / 2] = hex::decode(signed).ok()?.try_into().ok()?;
        let apart =
            self.signature(key).iter().zip(signed).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
        (apart == 0).then_some(key)
    }

    /// The first mark of ours that stands in `text`.
    pub(super) fn find(&self, text: &[u8]) -> Option<SendKey> {
        let is_part = |b: &&u8| b.is_ascii_hexdigit() || **b == b'-';
        let dots = text.iter().enumerate().filter(|(_, b)| **b == b'.').map(|(at, _)| at);
        dots.into_iter().find_map(|dot| {
            let (before, after) = text.split_at(dot);
            let key = before.iter().rev().take(LONGEST - SIGNED - 1).take_while(is_part).count();
            let mark = [before.get(dot - key..)?, after.get(..=SIGNED)?].concat();
            self.read(std::str::from_utf8(&mark).ok()?)
        })
    }

    fn signature(&self, key: SendKey) -> [u8; SIGNED / 2] {
        let whole = hmac(&self.key, &[self.provider.as_str().as_bytes(), b"\0", key.to_string().as_bytes()]);
        let mut signature = [0; SIGNED / 2];
        signature.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        signature
    }
}

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is good: there is nothing that could fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::MessageId;

    fn tokens(key: u8, name: &str) -> Tokens {
        Tokens::new(&[key; 32], &ProviderName::parse(name).unwrap())
    }

    #[test]
    fn a_mark_is_known_wherever_it_stands_and_no_other_is() {
        let ours = tokens(1, "mail");
        let key = SendKey { message: MessageId::generate(), step: 3 };
        let mark = ours.mark(key);
        assert!(mark.len() <= LONGEST);
        assert_eq!(ours.read(&mark), Some(key));
        assert_eq!(ours.read(&mark.to_ascii_uppercase()), Some(key));
        for text in [
            format!("Message-ID: <{mark}@example.org>\r\n"),
            format!("bounces+{mark}@example.org"),
            format!("v1.0 a.b.c {key}.0000000000000000 ... {mark}"),
            mark.clone(),
        ] {
            assert_eq!(ours.find(text.as_bytes()), Some(key), "{text}");
        }
        assert_eq!(tokens(2, "mail").read(&mark), None, "another ledger's");
        assert_eq!(tokens(1, "mail-2").read(&mark), None, "another provider's");
        for at in 0..mark.len() {
            let mut forged = mark.clone().into_bytes();
            forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(ours.read(&forged), None, "{forged}");
            assert_eq!(ours.find(forged.as_bytes()), None, "{forged}");
        }
        for bad in ["", ".", &mark[..40], &format!("{key}."), &format!("{key}.é"), &format!("{mark}0")] {
            assert_eq!(ours.read(bad), None, "{bad}");
        }
        assert_eq!(ours.find(b"....."), None);
    }
}
