//! Where results may be posted by HTTP: to the open internet, and to what the operator names beside it.
//!
//! Whoever may set a URL could else make this program talk to machines that only it can reach: the cloud's metadata
//! service, a database, itself (OWASP: server-side request forgery). A URL is judged as it is written, by
//! [`judge_url`]; its address by [`judge_address`], at the moment of the connection and of the very address that is
//! connected to, so that a name which leads elsewhere the second time gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// What may be posted to although it is not the open internet, by plain HTTP as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exception {
    /// A host by its name, wherever that leads.
    Host(String),
    /// Every address of a network; names that lead there too.
    Network(Network),
}

/// Addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// Why nothing is posted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Neither https nor http.
    Scheme,
    /// Plain HTTP to a host that is no exception.
    PlainHttp,
    /// A user or a password stands in the URL: credentials do not belong there, and `https://ours@theirs` misleads.
    Userinfo,
    /// A port below 1024 that is not 80 or 443: mail, shells and databases, not the web.
    Port,
    /// This machine, a private or reserved network, or one address that hides another.
    Address,
}

impl Refusal {
    /// The code that is kept of a failed delivery.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheme => "url_scheme",
            Self::PlainHttp => "url_plain_http",
            Self::Userinfo => "url_userinfo",
            Self::Port => "url_port",
            Self::Address => "address_refused",
        }
    }

    /// The rule that is broken.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Scheme => "must be a web address",
            Self::PlainHttp => "must be https: what happened to patients' messages goes there",
            Self::Userinfo => "must hold no user or password",
            Self::Port => "must use port 443, or one from 1024 on",
            Self::Address => "must not lead to this machine, or to a private or reserved network",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn cure(self) -> &'static str {
        match self {
            Self::Scheme => "write it as \"https://host/path\"",
            Self::PlainHttp => "write https://, or name the host or its network in [events.callbacks] allow",
            Self::Userinfo => "remove it: every request is signed",
            Self::Port => "let the receiver listen there, or name its host in [events.callbacks] allow",
            Self::Address => {
                "name the host or its network in [events.callbacks] allow, if it is meant to be reached"
            }
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.rule())
    }
}

impl std::error::Error for Refusal {}

impl Exception {
    /// A host's name, an address, or a network such as `10.20.0.0/16`. `None`: it is none of them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(network) = Network::parse(text) {
            return Some(Self::Network(network));
        }
        let label = |part: &str| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        // A name whose last label is a number would be read as an address wherever it is used.
        let last_is_number =
            text.rsplit('.').next().is_none_or(|part| part.bytes().all(|b| b.is_ascii_digit()));
        (text.len() <= 253 && text.split('.').all(label) && !last_is_number)
            .then(|| Self::Host(text.to_ascii_lowercase()))
    }

    fn names(&self, host: &str) -> bool {
        matches!(self, Self::Host(name) if name.eq_ignore_ascii_case(host.trim_end_matches('.')))
    }

    fn covers(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(address))
    }
}

impl std::fmt::Display for Exception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { base, bits } = self;
        if *bits == width(*base) { base.fmt(f) } else { write!(f, "{base}/{bits}") }
    }
}

impl Network {
    /// An address, or a network such as `10.20.0.0/16`. `None`: it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?),
            None => {
                let base = text.parse::<IpAddr>().ok()?;
                (base, width(base))
            }
        };
        (bits <= width(base)).then_some(Self { base, bits })
    }

    /// Whether `address` lies in it; one of IPv4 that is written as one of IPv6 is what it stands for.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                same_start(u128::from(base.to_bits()) << 96, u128::from(address.to_bits()) << 96, self.bits)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                same_start(base.to_bits(), address.to_bits(), self.bits)
            }
            _ => false,
        }
    }
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

const fn same_start(a: u128, b: u128, bits: u8) -> bool {
    bits == 0 || (a ^ b) >> (128 - bits as u32) == 0
}

/// Judges a URL as it is written. A host that is written as an address, in whatever spelling, is judged with it; a
/// name can be judged only once it is looked up.
///
/// # Errors
/// Why nothing is posted there.
pub fn judge_url(url: &Url, exceptions: &[Exception]) -> Result<(), Refusal> {
    if !matches!(url.scheme(), "https" | "http") {
        return Err(Refusal::Scheme);
    }
    let Some(host) = url.host_str() else { return Err(Refusal::Scheme) };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::Userinfo);
    }
    // The URL standard reads 0x7f.1, 2130706433 and 017700000001 as the address that they are (WHATWG URL, 3.5).
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let excepted = exceptions
        .iter()
        .any(|exception| exception.names(host) || literal.is_some_and(|ip| exception.covers(ip)));
    if let Some(address) = literal {
        judge_address(host, address, exceptions)?;
    }
    if url.scheme() == "http" && !excepted {
        return Err(Refusal::PlainHttp);
    }
    match url.port_or_known_default() {
        Some(80 | 443 | 1024..) => Ok(()),
        _ if excepted => Ok(()),
        _ => Err(Refusal::Port),
    }
}

/// Judges the address that `host` leads to.
///
/// # Errors
/// The address is not of the open internet, and no exception names it or the host.
pub fn judge_address(host: &str, address: IpAddr, exceptions: &[Exception]) -> Result<(), Refusal> {
    let excepted = exceptions.iter().any(|exception| exception.names(host) || exception.covers(address));
    if excepted || is_open(address) { Ok(()) } else { Err(Refusal::Address) }
}

/// Whether an address belongs to the open internet: globally reachable by the registries of special addresses (IANA,
/// RFC 6890), and hiding no other.
fn is_open(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_open_v4(v4),
        IpAddr::V6(v6) => is_open_v6(v6),
    }
}

fn is_open_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    !matches!(
        (a, b, c, d),
        (0 | 10 | 127, ..)                    // this network, private, loopback
            | (100, 64..=127, ..)             // shared by carriers (RFC 6598); a cloud's metadata too
            | (169, 254, ..)                  // link-local; most clouds' metadata
            | (172, 16..=31, ..)
            | (192, 0, 0 | 2, _)              // protocols, documentation
            | (192, 88, 99, _)                // 6to4 relays, retired
            | (192, 168, ..)
            | (198, 18 | 19, ..)              // benchmarks
            | (198, 51, 100, _)               // documentation
            | (203, 0, 113, _)                // documentation
            | (168, 63, 129, 16)              // the host agent of a cloud, under a public address
            | (224..=255, ..) // multicast, reserved, broadcast
    )
}

fn is_open_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64 (RFC 6052): the last 32 bits are the address that is reached.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_open_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        // Within the space of global unicast: protocols with Teredo and benchmarks, documentation, 6to4.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        // Outside of it lie loopback, unspecified, IPv4-compatible, local NAT64, unique and link-local, multicast.
        [first, ..] => (0x2000..=0x3fff).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exceptions(texts: &[&str]) -> Vec<Exception> {
        texts.iter().map(|text| Exception::parse(text).unwrap_or_else(|| panic!("{text}"))).collect()
    }

    fn judge(url: &str, allow: &[&str]) -> Result<(), Refusal> {
        judge_url(&Url::parse(url).unwrap(), &exceptions(allow))
    }

    #[test]
    fn an_address_in_any_spelling_is_the_address_that_it_is() {
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://017700000001/",
            "https://127.0.0.1./",
            "https://①②⑦.0.0.1/",
            "https://0/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[::127.0.0.1]/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://[64:ff9b:1::10.0.0.1]/",
            "https://[2002:7f00:1::]/",
            "https://[2001:0:7f00:1::]/",
            "https://[fe80::1]/",
            "https://[fec0::1]/",
            "https://[fc00::1]/",
            "https://[fd00:ec2::254]/",
            "https://[ff02::1]/",
            "https://[2001:db8::1]/",
            "https://[3fff::1]/",
            "https://10.0.0.1/",
            "https://100.64.0.1/",
            "https://100.100.100.200/",
            "https://169.254.169.254/latest/meta-data/",
            "https://172.31.255.255/",
            "https://192.0.0.192/",
            "https://192.168.1.1/",
            "https://198.18.0.1/",
            "https://168.63.129.16/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
        ] {
            assert_eq!(judge(url, &[]), Err(Refusal::Address), "{url}");
        }
    }

    #[test]
    fn the_open_internet_may_be_posted_to() {
        for url in [
            "https://ehr.example.org/results?clinic=1",
            "https://ehr.example.org:8443/",
            "https://93.184.215.14/",
            "https://172.32.0.1/",
            "https://100.128.0.1/",
            "https://[2606:4700::1]/",
            "https://[64:ff9b::93.184.215.14]/",
        ] {
            assert_eq!(judge(url, &[]), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_is_no_web_address_is_refused_by_name() {
        for (url, refusal) in [
            ("ftp://ehr.example.org/", Refusal::Scheme),
            ("file:///etc/passwd", Refusal::Scheme),
            ("gopher://ehr.example.org/", Refusal::Scheme),
            ("http://ehr.example.org/", Refusal::PlainHttp),
            ("https://ehr.example.org@10.0.0.1/", Refusal::Userinfo),
            ("https://user:word@ehr.example.org/", Refusal::Userinfo),
            ("https://ehr.example.org:22/", Refusal::Port),
            ("https://ehr.example.org:25/", Refusal::Port),
            ("https://ehr.example.org:0/", Refusal::Port),
        ] {
            assert_eq!(judge(url, &[]), Err(refusal), "{url}");
        }
    }

    #[test]
    fn an_exception_opens_what_it_names_and_no_more() {
        let allow = ["127.0.0.1", "10.20.0.0/16", "fd12::/16", "Ehr.intranet"];
        for url in [
            "http://127.0.0.1:9000/",
            "http://[::ffff:127.0.0.1]/",
            "https://10.20.255.1:25/",
            "http://[fd12:1::1]/",
            "http://ehr.intranet/results",
            "http://EHR.intranet./results",
        ] {
            assert_eq!(judge(url, &allow), Ok(()), "{url}");
        }
        for url in ["http://127.0.0.2/", "http://10.21.0.1/", "http://[fd13::1]/"] {
            assert_eq!(judge(url, &allow), Err(Refusal::Address), "{url}");
        }
        assert_eq!(judge("http://other.intranet/", &allow), Err(Refusal::PlainHttp));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let allow = exceptions(&allow);
        assert_eq!(judge_address("ehr.intranet", address("192.168.1.1"), &allow), Ok(()));
        assert_eq!(judge_address("a.example.org", address("192.168.1.1"), &allow), Err(Refusal::Address));
        assert_eq!(judge_address("a.example.org", address("10.20.0.1"), &allow), Ok(()));
        assert_eq!(judge_address("any", address("192.168.1.1"), &exceptions(&["0.0.0.0/0"])), Ok(()));
    }

    #[test]
    fn an_exception_is_a_host_an_address_or_a_network() {
        for good in ["10.0.0.0/8", "127.0.0.1", "fd00::/8", "::1", "ehr.intranet", "ehr"] {
            assert_eq!(Exception::parse(good).map(|e| e.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "300.1.1.1", "https://ehr", "a b", "ehr:443", "a..b"] {
            assert_eq!(Exception::parse(bad), None, "{bad}");
        }
    }
}
