//! The folder of what providers brought while the ledger was away. Providers do not come again for long: Twilio gives up
//! after 15 s in all, and by default after one try, so that a stop or a word of danger would be lost with the answer
//! "come again". What was verified is therefore kept in files until the ledger has it.
//!
//! ```text
//! webhooks-{UUIDv7}-{count}.sealed    a batch, in the order in which it came; names sort by time
//! webhooks-{UUIDv7}-{count}.refused   what the ledger would not take; the next start tries it once more
//! ```
//!
//! A file is whole or not there ([`whole_file`]), and nobody but the owner can read it. What is in it is sealed as the
//! ledger seals, for it holds numbers and words; names and sizes tell nothing.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::dispatch::whole_file;
use crate::domain::receipt::Receipt;
use crate::domain::reply::Reply;
use crate::store::sealed::Sealed;
use crate::store::sealer::Sealer;

const PREFIX: &str = "webhooks-";
const WAITS: &str = ".sealed";
const REFUSED: &str = ".refused";
/// Files that wait at once.
const MOST_FILES: u64 = 20_000;

/// One webhook, verified and read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// When it came, by the ledger's clock, where that was known.
    pub(super) at: Option<Timestamp>,
    pub(super) news: Vec<Item>,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Item {
    Receipt(Receipt),
    Reply(Reply),
}

impl Item {
    pub(super) const fn receipt(&self) -> Option<&Receipt> {
        match self {
            Self::Receipt(receipt) => Some(receipt),
            Self::Reply(_) => None,
        }
    }

    pub(super) const fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Reply(reply) => Some(reply),
            Self::Receipt(_) => None,
        }
    }
}

/// What lies in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// That wait for the ledger.
    pub webhooks: u64,
    pub files: u64,
    /// Of those files.
    pub bytes: u64,
    /// Webhooks that the ledger would not take.
    pub refused: u64,
}

/// What waits in `dir`, told by names and sizes.
#[must_use]
pub fn waiting(dir: &Path) -> Waiting {
    let mut waiting = Waiting::default();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        match name.to_str().map(|name| (count(name, WAITS), count(name, REFUSED))) {
            Some((Some(count), _)) => {
                waiting.webhooks += count;
                waiting.files += 1;
                waiting.bytes += entry.metadata().map_or(0, |file| file.len());
            }
            Some((_, Some(count))) => waiting.refused += count,
            _ => {}
        }
    }
    waiting
}

/// The spool of one process. Others may use the same folder: what several of them write to the ledger lands there once.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    sealer: Sealer,
    most_bytes: usize,
    /// Held while files come or go.
    files: Mutex<()>,
    webhooks: AtomicU64,
    count: AtomicU64,
    bytes: AtomicU64,
    /// What this process has put aside, in bytes.
    aside: AtomicU64,
}

impl Spool {
    /// Opens the folder; what an earlier process could not get rid of is tried again.
    pub(super) fn open(dir: &Path, sealer: Sealer, most_bytes: usize) -> Self {
        let spool = Self {
            dir: dir.to_owned(),
            sealer,
            most_bytes,
            files: Mutex::default(),
            webhooks: AtomicU64::new(0),
            count: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            aside: AtomicU64::new(0),
        };
        for refused in spool.named(REFUSED) {
            let _ = fs::rename(&refused, refused.with_extension("sealed"));
        }
        spool.tally();
        spool
    }

    /// Webhooks in files that wait for the ledger.
    pub(super) fn webhooks(&self) -> u64 {
        self.webhooks.load(Ordering::Acquire)
    }

    /// Those files.
    pub(super) fn files(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Keeps a batch: it is on the disk when this returns.
    ///
    /// # Errors
    /// The spool is full ([`ErrorKind::QuotaExceeded`]), or the disk does not take it.
    pub(super) fn keep(&self, batch: &[Kept]) -> Result<(), Error> {
        let _held = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if self.count.load(Ordering::Acquire) >= MOST_FILES {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        let bytes = self.write(
            batch,
            WAITS,
            (self.most_bytes as u64).saturating_sub(self.bytes.load(Ordering::Acquire)),
        )?;
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.count.fetch_add(1, Ordering::AcqRel);
        self.webhooks.fetch_add(batch.len() as u64, Ordering::AcqRel);
        Ok(())
    }

    /// Puts aside, for people and for the next start, what the ledger would not take.
    ///
    /// # Errors
    /// As much is put aside as may wait ([`ErrorKind::QuotaExceeded`]), or the disk does not take it.
    pub(super) fn put_aside(&self, batch: &[Kept]) -> Result<(), Error> {
        let room = (self.most_bytes as u64).saturating_sub(self.aside.load(Ordering::Acquire));
        let bytes = self.write(batch, REFUSED, room)?;
        self.aside.fetch_add(bytes, Ordering::AcqRel);
        Ok(())
    }

    fn write(&self, batch: &[Kept], suffix: &str, room: u64) -> Result<u64, Error> {
        let id = Uuid::now_v7();
        let plain = serde_json::to_vec(batch)?;
        let sealed = self.sealer.seal(Sealed::Spooled.of(id), &plain).map_err(|_| ErrorKind::Other)?;
        let bytes = sealed.len() as u64;
        if bytes > room {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        let name = format!("{PREFIX}{}-{}{suffix}", id.simple(), batch.len());
        whole_file(&self.dir, &name, &sealed).map(|()| bytes)
    }

    /// The files that wait, the oldest first.
    pub(super) fn left(&self) -> Vec<PathBuf> {
        // In this order, so that what is listed is counted as well.
        let left = self.named(WAITS);
        self.tally();
        left
    }

    /// What a file holds.
    ///
    /// # Errors
    /// It has gone ([`ErrorKind::NotFound`]), is not whole, or is sealed under a key that is not at hand.
    pub(super) fn read(&self, path: &Path) -> Result<Vec<Kept>, Error> {
        let damaged = || Error::from(ErrorKind::InvalidData);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let id = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).ok_or_else(damaged)?.0;
        let id = Uuid::try_parse(id).map_err(|_| damaged())?;
        let sealed = fs::read(path)?;
        let plain = self.sealer.open(Sealed::Spooled.of(id), &sealed).map_err(|_| damaged())?;
        // What serde says may quote it.
        serde_json::from_slice(&plain).map_err(|_| damaged())
    }

    /// The ledger has all of it. Nothing is counted anew: there may be thousands of files, and each goes by itself.
    pub(super) fn remove(&self, path: &Path) {
        let _held = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = fs::metadata(path).map_or(0, |file| file.len());
        match fs::remove_file(path) {
            Ok(()) => {
                let name = path.file_name().and_then(|name| name.to_str());
                let webhooks = name.and_then(|name| count(name, WAITS)).unwrap_or_default();
                for (sum, part) in [(&self.webhooks, webhooks), (&self.count, 1), (&self.bytes, bytes)] {
                    sum.store(sum.load(Ordering::Acquire).saturating_sub(part), Ordering::Release);
                }
            }
            // Another process was faster; the next look counts without it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(kind = %error.kind(), "a file of webhooks cannot be removed; it is read again");
            }
        }
    }

    /// A file that cannot be read stays for a person.
    pub(super) fn leave(&self, path: &Path) {
        let _ = fs::rename(path, path.with_extension("refused"));
        self.tally();
    }

    fn named(&self, suffix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let ours = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| count(name, suffix).is_some());
        let mut paths: Vec<PathBuf> =
            entries.filter(|entry| ours(&entry.file_name())).map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    fn tally(&self) {
        let _held = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = waiting(&self.dir);
        self.webhooks.store(waiting.webhooks, Ordering::Release);
        self.count.store(waiting.files, Ordering::Release);
        self.bytes.store(waiting.bytes, Ordering::Release);
    }
}

/// How many webhooks the file of that name holds; `None` where it is none of those.
fn count(name: &str, suffix: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.strip_suffix(suffix)?.split_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::domain::ids::{MessageId, ProviderName, SendKey};
    use crate::domain::phi::Phi;
    use crate::domain::receipt::{Named, Said};
    use crate::domain::reply::Keyword;
    use crate::domain::words::Channel;

    fn sealer() -> Sealer {
        Sealer::new(&[7; 32]).with_keys([&[8; 32]], true)
    }

    fn spool(dir: &Path) -> Spool {
        Spool::open(dir, sealer(), 1 << 20)
    }

    fn stop(reference: &str) -> Kept {
        let provider = ProviderName::parse("sms").unwrap();
        let key = SendKey { message: MessageId::generate(), step: 2 };
        let named = vec![Named::Address(Phi::new("ana@example.net")), Named::Index(vec![0, 255])];
        let said = Said::Undelivered(crate::domain::failure::Failure::Landline);
        let code = Some("30006".to_owned());
        Kept {
            at: "2026-12-01T15:00:00Z".parse().ok(),
            news: vec![
                Item::Receipt(Receipt {
                    provider: provider.clone(),
                    key,
                    reference: None,
                    said,
                    code,
                    named,
                }),
                Item::Reply(Reply {
                    provider,
                    channel: Channel::Sms,
                    reference: reference.to_owned(),
                    from: Phi::new("+13125550142"),
                    about: None,
                    text: Phi::new("STOP"),
                    keyword: Some(Keyword::Stop),
                    thread: None,
                }),
            ],
        }
    }

    #[test]
    fn what_is_kept_comes_back_in_order_and_goes_once_it_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let batches: Vec<Vec<Kept>> =
            (0..20).map(|n| vec![stop(&format!("SM{n}a")), stop(&format!("SM{n}b"))]).collect();
        let first = spool(dir.path());
        batches.iter().for_each(|batch| first.keep(batch).unwrap());
        // The next process finds the same.
        let next = spool(dir.path());
        assert_eq!((first.webhooks(), next.webhooks()), (40, 40));
        let left = next.left();
        let read: Vec<Vec<Kept>> = left.iter().map(|path| next.read(path).unwrap()).collect();
        assert_eq!(read, batches);
        left.iter().for_each(|path| next.remove(path));
        assert_eq!((next.webhooks(), waiting(dir.path())), (0, Waiting::default()));
    }

    #[test]
    fn a_file_shows_nothing_to_anybody_else() {
        let dir = tempfile::tempdir().unwrap();
        spool(dir.path()).keep(&[stop("SM1")]).unwrap();
        let path = spool(dir.path()).left().remove(0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(&path).unwrap();
        for word in ["13125550142", "STOP", "example.net", "SM1", "30006"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word}");
        }
        let other = Sealer::new(&[9; 32]).with_keys([&[8; 32]], true);
        assert!(Spool::open(dir.path(), other, 1 << 20).read(&path).is_ok(), "one of the sealing keys opens");
        let other = Sealer::new(&[9; 32]).with_keys([&[9; 32]], true);
        assert!(Spool::open(dir.path(), other, 1 << 20).read(&path).is_err());
        // Under another name it is another's.
        let moved = dir.path().join(format!("{PREFIX}{}-1{WAITS}", Uuid::now_v7().simple()));
        fs::rename(&path, &moved).unwrap();
        assert!(spool(dir.path()).read(&moved).is_err());
        // One that was cut off is whole nowhere.
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(spool(dir.path()).read(&path).is_err());
    }

    #[test]
    fn a_full_spool_takes_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), sealer(), 2_000);
        let kept = (0..10).take_while(|n| spool.keep(&[stop(&format!("SM{n}"))]).is_ok()).count();
        assert!((1..10).contains(&kept), "{kept}");
        assert_eq!(spool.keep(&[stop("SM9")]).unwrap_err().kind(), ErrorKind::QuotaExceeded);
        assert!(waiting(dir.path()).bytes <= 2_000);
        spool.remove(&spool.left().remove(0));
        spool.keep(&[stop("SM9")]).unwrap();
    }

    #[test]
    fn what_goes_is_subtracted_and_nothing_is_counted_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (first, other) = (spool(dir.path()), spool(dir.path()));
        for n in 0..3 {
            first.keep(&[stop(&format!("SM{n}a")), stop(&format!("SM{n}b"))]).unwrap();
        }
        let left = first.left();
        let sums = || (first.webhooks(), first.files(), first.bytes.load(Ordering::Acquire));
        let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
        let rest = size(&left[1]) + size(&left[2]);
        // Another process keeps one: the next look finds it.
        other.keep(&[stop("SM4")]).unwrap();
        first.remove(&left[0]);
        assert_eq!(sums(), (4, 2, rest));
        // One that another has removed was not ours to remove.
        other.remove(&left[1]);
        first.remove(&left[1]);
        assert_eq!(sums(), (4, 2, rest));
        let left = first.left();
        assert_eq!(sums(), (3, 2, left.iter().map(size).sum::<u64>()));
        left.iter().for_each(|path| first.remove(path));
        assert_eq!(sums(), (0, 0, 0));
    }

    #[test]
    fn what_is_put_aside_has_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), sealer(), 2_000);
        let aside = (0..10).take_while(|n| spool.put_aside(&[stop(&format!("SM{n}"))]).is_ok()).count();
        assert!((1..10).contains(&aside), "{aside}");
        assert_eq!(spool.put_aside(&[stop("SM9")]).unwrap_err().kind(), ErrorKind::QuotaExceeded);
        spool.keep(&[stop("SM9")]).unwrap();
    }

    #[test]
    fn what_the_ledger_refused_is_tried_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let first = spool(dir.path());
        first.put_aside(&[stop("SM1"), stop("SM2")]).unwrap();
        assert_eq!(first.left(), Vec::<PathBuf>::new());
        assert_eq!(waiting(dir.path()), Waiting { refused: 2, ..Waiting::default() });
        assert_eq!(spool(dir.path()).left().len(), 1);
    }
}
