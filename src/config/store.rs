//! `[store]`: the ledger's database.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use toml::Value;

use super::fault::Broken;
use super::kind::{Int, Span};
use super::read::{MASK, Section};
use super::secret::Secret;

/// The database and how it is used.
#[derive(Clone, Debug)]
pub struct StoreSection {
    /// `postgres://user@host/name` or `sqlite://path`; may hold a password.
    pub url: Secret,
    pub kind: StoreKind,
    /// Connections at once (PostgreSQL; SQLite has one writer).
    pub pool_size: u32,
    /// How long a statement may wait for a connection (PostgreSQL).
    pub acquire_timeout: Duration,
    /// How long a statement may take (PostgreSQL).
    pub statement_timeout: Duration,
}

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    Sqlite,
    Postgres,
}

const DEFAULT_URL: &str = "sqlite://outreachd.db";

impl StoreSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let url = s.secret("url").unwrap_or_else(|| Secret::new(DEFAULT_URL));
        let kind = store_kind(url.expose()).unwrap_or_else(|broken| {
            s.fault("url", broken);
            StoreKind::Sqlite
        });
        s.show("url", Value::String(without_password(&url)));
        Self {
            url,
            kind,
            pool_size: s.or("pool_size", Int(2..=200), 16),
            acquire_timeout: s.or("acquire_timeout", SECONDS, Duration::from_secs(5)),
            statement_timeout: s.or("statement_timeout", SECONDS, Duration::from_secs(60)),
        }
    }

    /// The file that is the ledger, in SQLite.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        let url = Some(self.url.expose()).filter(|_| self.kind == StoreKind::Sqlite)?;
        Some(Path::new(url.strip_prefix("sqlite://").or(url.strip_prefix("sqlite:")).unwrap_or(url)))
    }

    /// The same, where nobody has made it yet.
    #[must_use]
    pub fn missing_file(&self) -> Option<&Path> {
        self.file().filter(|file| file.try_exists().is_ok_and(|there| !there))
    }

    /// Whether it may lie on another machine whose certificate is not looked at.
    #[must_use]
    pub fn trusts_the_network(&self) -> bool {
        self.kind == StoreKind::Postgres && Url::parse(self.url.expose()).is_ok_and(|url| is_unproven(&url))
    }

    /// The URL fit to be shown, its passwords masked.
    #[must_use]
    pub fn shown(&self) -> String {
        without_password(&self.url)
    }
}

const SECONDS: Span = Span(Duration::from_secs(1)..=Duration::from_secs(60));

/// A socket lies on this machine, whatever host stands there too.
fn is_unproven(url: &Url) -> bool {
    let asked = |names: &[&str]| {
        let given = url.query_pairs().filter(|(name, _)| names.contains(&&**name));
        given.last().map(|(_, value)| value.to_ascii_lowercase())
    };
    let host =
        asked(&["host", "hostaddr"]).or(url.host_str().map(str::to_ascii_lowercase)).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let here = host.is_empty()
        || host == "localhost"
        || host.starts_with('/')
        || host.starts_with("%2f")
        || address.is_ok_and(|address| address.is_loopback());
    let proven = asked(&["sslmode", "ssl-mode"]).is_some_and(|mode| mode.starts_with("verify-"));
    !here && !proven
}

fn store_kind(text: &str) -> Result<StoreKind, Broken> {
    let cure = "write postgres://USER:PASSWORD@HOST/NAME or sqlite://FILE; in a password % is written as %25, # as %23, \
                / as %2F, ? as %3F, @ as %40";
    let url = Url::parse(text).map_err(|_| Broken::new("must be the URL of a database", cure))?;
    match url.scheme() {
        "postgres" | "postgresql" if url.username().is_empty() => {
            Err(Broken::new("must name a user: none is taken from the operating system", cure))
        }
        "postgres" | "postgresql" if url.path().trim_matches('/').is_empty() => {
            Err(Broken::new("must name a database", "write postgres://USER@HOST/NAME"))
        }
        "postgres" | "postgresql" => Ok(StoreKind::Postgres),
        "sqlite" if text.contains(":memory:") || text.contains("mode=memory") => {
            Err(Broken::new("must outlive the process: the ledger never forgets", "write sqlite://FILE"))
        }
        "sqlite" if text.trim_start_matches("sqlite:").trim_matches('/').is_empty() => {
            Err(Broken::new("must name a file", "write sqlite://FILE"))
        }
        "sqlite" => Ok(StoreKind::Sqlite),
        _ => Err(Broken::new("must be PostgreSQL or SQLite", cure)),
    }
}

/// A URL fit to be shown: its password, and passwords in its query, masked.
pub(super) fn without_password(url: &Secret) -> String {
    let Ok(mut shown) = Url::parse(url.expose()) else { return MASK.to_owned() };
    if shown.password().is_some() && shown.set_password(Some(MASK)).is_err() {
        return MASK.to_owned();
    }
    let hidden = shown.query_pairs().any(|(key, _)| key.contains("pass") || key.contains("key"));
    if hidden {
        shown.set_query(Some(MASK));
    }
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_has_a_place_that_lasts() {
        for (url, kind) in [
            (DEFAULT_URL, StoreKind::Sqlite),
            ("sqlite:///var/lib/outreachd/ledger.db", StoreKind::Sqlite),
            ("postgres://outreach:pw@db/outreach", StoreKind::Postgres),
            ("postgresql://outreach@%2Frun%2Fpostgresql/outreach", StoreKind::Postgres),
        ] {
            assert_eq!(store_kind(url), Ok(kind), "{url}");
        }
        for url in [
            "",
            "mysql://u@h/d",
            "postgres://db/outreach",
            "postgres://u@db",
            "sqlite::memory:",
            "sqlite://",
            "ledger.db",
        ] {
            assert!(store_kind(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_that_breaks_the_url_is_told_how_to_be_written() {
        for url in
            ["a#b", "a/b", "12#b"].map(|password| format!("postgres://outreach:{password}@db/outreach"))
        {
            let broken = store_kind(&url).unwrap_err();
            assert!(broken.cure.contains("# as %23, / as %2F"), "{url}: {broken:?}");
        }
        assert_eq!(store_kind("postgres://outreach:a%23b%2F@db/outreach"), Ok(StoreKind::Postgres));
    }

    #[test]
    fn beyond_this_machine_a_certificate_proves_who_it_is() {
        for (url, unproven) in [
            ("postgres://u@db/o", true),
            ("postgres://u@10.0.0.7/o?sslmode=require", true),
            ("postgres://u@localhost/o?host=db.example.org", true),
            ("postgres://u@db.example.org/o?sslmode=verify-full", false),
            ("postgres://u@db.example.org/o?ssl-mode=VERIFY-CA", false),
            ("postgres://u@localhost/o", false),
            ("postgres://u@127.0.0.1:5433/o", false),
            ("postgres://u@[::1]/o", false),
            ("postgres://u@%2Frun%2Fpostgresql/o", false),
            ("postgres://u@db/o?host=/run/postgresql", false),
        ] {
            assert_eq!(is_unproven(&Url::parse(url).unwrap()), unproven, "{url}");
        }
    }

    #[test]
    fn a_shown_url_holds_no_password() {
        let shown = without_password(&Secret::new("postgres://u:hunter2@db/o"));
        assert_eq!(shown, "postgres://u:***@db/o");
        assert!(!without_password(&Secret::new("postgres://u@db/o?password=hunter2")).contains("hunter2"));
        assert_eq!(without_password(&Secret::new("hunter2")), MASK);
    }
}
