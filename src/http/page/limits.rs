//! How often somebody may come: a link can be tried in a loop, and links can be guessed at in many.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::HeaderMap;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::config::http::HttpSection;
use crate::domain::page::PageHash;

/// What a caller who came too often is told to wait.
pub(super) const RETRY_SECONDS: u32 = 5;

/// One link: as fast as a person presses buttons, and then one each two seconds.
const LINK_PAUSE: Duration = Duration::from_secs(2);
const LINK_AT_ONCE: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// One address: after a large mailing, a mail provider unsubscribes many of its users from few addresses.
const CALLER_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).unwrap();
const CALLER_AT_ONCE: NonZeroU32 = NonZeroU32::new(500).unwrap();

/// The limits, as they stand for each caller and each link.
#[derive(Debug)]
pub(super) struct Limits {
    callers: DefaultKeyedRateLimiter<IpAddr>,
    links: DefaultKeyedRateLimiter<u64>,
}

impl Limits {
    pub(super) fn new() -> Self {
        let link = Quota::with_period(LINK_PAUSE).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        Self {
            callers: RateLimiter::keyed(Quota::per_second(CALLER_PER_SECOND).allow_burst(CALLER_AT_ONCE)),
            links: RateLimiter::keyed(link.allow_burst(LINK_AT_ONCE)),
        }
    }

    /// Whether `caller` may use `link` once more. Who is over the limit of callers does not even count for the link.
    pub(super) fn allow(&self, caller: Option<IpAddr>, link: &PageHash) -> bool {
        if caller.is_some_and(|caller| self.callers.check_key(&network(caller)).is_err()) {
            return false;
        }
        let mut key = std::hash::DefaultHasher::new();
        link.hash(&mut key);
        self.links.check_key(&key.finish()).is_ok()
    }

    /// Forgets those who may come freely again, so that memory does not grow with those who ever came.
    pub(super) fn upkeep(&self) {
        self.callers.retain_recent();
        self.links.retain_recent();
    }
}

/// Who asks. Behind a proxy that the configuration names, its last entry in X-Forwarded-For: that one the proxy wrote
/// itself; those before it anybody can have written, unless the last one is such a proxy, too.
pub(in crate::http) fn caller(
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    http: &HttpSection,
) -> Option<IpAddr> {
    let mut from = peer?;
    let told = headers.get_all("x-forwarded-for").iter().rev();
    let mut told = told.flat_map(|header| header.to_str().unwrap_or_default().rsplit(','));
    while http.trusts(from) {
        let Some(before) = told.next().and_then(address) else { break };
        from = before;
    }
    Some(from)
}

/// An address as proxies write it: alone, with a port, in brackets.
fn address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let alone = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    alone.parse().ok().or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()))
}

/// A household or a machine has a whole /64 of IPv6 to come from.
pub(in crate::http) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::destination::Network;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_a_proxy_of_ours_speaks_for_others_and_only_its_own_word_counts() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "198.51.100.9".parse().unwrap());
        headers.append("x-forwarded-for", "203.0.113.1, 203.0.113.7".parse().unwrap());
        let mut http = Config::from_toml("").unwrap().http;
        for (peer, caller_is) in [
            ("127.0.0.1", "203.0.113.7"),
            ("::ffff:127.0.0.1", "203.0.113.7"),
            ("10.1.2.3", "10.1.2.3"),
            ("fd00::1", "fd00::1"),
            ("192.0.2.44", "192.0.2.44"),
        ] {
            assert_eq!(caller(Some(ip(peer)), &headers, &http), Some(ip(caller_is)), "{peer}");
        }
        http.trusted_proxies = ["10.0.0.0/8", "203.0.113.7"].map(|net| Network::parse(net).unwrap()).to_vec();
        for (peer, caller_is) in [("127.0.0.1", "127.0.0.1"), ("::ffff:10.1.2.3", "203.0.113.1")] {
            assert_eq!(caller(Some(ip(peer)), &headers, &http), Some(ip(caller_is)), "{peer}");
        }
        headers.append("x-forwarded-for", "unknown".parse().unwrap());
        assert_eq!(caller(Some(ip("10.1.2.3")), &headers, &http), Some(ip("10.1.2.3")));
    }

    #[test]
    fn an_address_is_read_as_proxies_write_it() {
        for (entry, expected) in [
            ("203.0.113.7", Some("203.0.113.7")),
            (" 203.0.113.7:51234 ", Some("203.0.113.7")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("[2001:db8::7]", Some("2001:db8::7")),
            ("[2001:db8::7]:99", Some("2001:db8::7")),
            ("unknown", None),
            ("203.0.113.7:", None),
            ("[2001:db8::7", None),
            ("", None),
        ] {
            assert_eq!(address(entry), expected.map(ip), "{entry:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "192.0.2.1, 203.0.113.7:51234".parse().unwrap());
        let http = Config::from_toml("").unwrap().http;
        assert_eq!(caller(Some(ip("127.0.0.1")), &headers, &http), Some(ip("203.0.113.7")));
    }

    #[test]
    fn a_link_and_a_caller_have_an_end_of_patience_each() {
        let limits = Limits::new();
        let (one, other) = (PageHash::of("one"), PageHash::of("other"));
        for n in 0..LINK_AT_ONCE.get() {
            assert!(limits.allow(Some(ip("192.0.2.1")), &one), "{n}");
        }
        assert!(!limits.allow(Some(ip("192.0.2.2")), &one), "whoever asks");
        assert!(limits.allow(Some(ip("192.0.2.1")), &other));
        let many = (0..2 * CALLER_AT_ONCE.get()).filter(|n| {
            // Of one /64.
            limits.allow(Some(ip(&format!("2001:db8::{n:x}"))), &PageHash::of(&n.to_string()))
        });
        assert!(many.count() < 600, "a caller who guesses is stopped");
        limits.upkeep();
    }
}
