use super::tables::{area_code, phone, postal, zones_of};
use super::*;
use crate::domain::phi::Phi;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn names(zones: &[TimeZone]) -> Vec<String> {
    let mut names: Vec<String> = zones.iter().map(|zone| zone.iana_name().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn address(state: &str, postal_code: &str, country: &str) -> PostalAddress {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    PostalAddress {
        postal_code: given(postal_code).map(Phi::new),
        state: given(state),
        country: given(country),
    }
}

/// Looks for somebody of an organisation in New York, perhaps with a site in Chicago; words as (zones, sources, areas).
fn look(
    timezone: Option<&str>,
    address: Option<&PostalAddress>,
    phone: Option<&str>,
    at_site: bool,
) -> (String, String, String) {
    let (chicago, organisation) = (zone("America/Chicago"), zone("America/New_York"));
    let site = at_site.then_some(&chicago);
    let known = Known { timezone, address, phone, site, organisation: &organisation, country: "US" };
    let place = place(&known);
    let from: Vec<&str> = place.from.iter().map(|from| from.as_str()).collect();
    let areas: Vec<&str> = place.areas.iter().map(Area::as_str).collect();
    (names(&place.zones).join(" "), from.join(" "), areas.join(" "))
}

#[test]
fn what_is_known_makes_the_candidates() {
    let table = [
        ("she has said so", Some("Europe/Paris"), None, None, true, "Europe/Paris", "stated", "US"),
        (
            "a zone that does not exist says nothing",
            Some("Mars/Base"),
            None,
            None,
            true,
            "America/Chicago",
            "site",
            "US",
        ),
        ("nor does one that is no place's", Some("EST"), None, None, true, "America/Chicago", "site", "US"),
        ("only the site is known", None, None, None, true, "America/Chicago", "site", "US"),
        ("nothing is known", None, None, None, false, "America/New_York", "organisation", "US"),
        (
            "Texas has two zones, and her number is from Boston",
            None,
            Some(("TX", "", "US")),
            Some("+16175550142"),
            false,
            "America/Chicago America/Denver America/New_York",
            "postal_area phone_area",
            "US-TX",
        ),
        (
            "the state stands in the postal code",
            None,
            Some(("", "96813-1234", "")),
            None,
            false,
            "Pacific/Honolulu",
            "postal_area",
            "US-HI",
        ),
        (
            "the country alone says too little of the United States",
            None,
            Some(("", "", "US")),
            Some("+19075550142"),
            true,
            "America/Adak America/Anchorage America/Chicago",
            "phone_area site",
            "US-AK",
        ),
        (
            "a state that does not exist says nothing",
            None,
            Some(("ZZ", "", "US")),
            None,
            true,
            "America/Chicago",
            "site",
            "US",
        ),
        (
            "abroad, the country says it",
            None,
            Some(("Bayern", "80331", "DE")),
            Some("+4989123456"),
            true,
            "America/Chicago Europe/Berlin",
            "postal_area phone_area site",
            "DE",
        ),
        (
            "toll-free numbers are nowhere",
            None,
            None,
            Some("+18005550142"),
            true,
            "America/Chicago",
            "site",
            "US",
        ),
        ("so are unknown codes", None, None, Some("+19995550142"), true, "America/Chicago", "site", "US"),
        (
            "a state with its country",
            None,
            Some(("us-AZ", "", "")),
            None,
            false,
            "America/Denver America/Phoenix",
            "postal_area",
            "US-AZ",
        ),
        (
            "Canada knows its letters",
            None,
            Some(("", "y1a 2c6", "CA")),
            None,
            false,
            "America/Whitehorse",
            "postal_area",
            "CA-YT",
        ),
        (
            "a stated zone leaves the state's rules in force",
            Some("America/Chicago"),
            Some(("TX", "", "")),
            None,
            true,
            "America/Chicago",
            "stated",
            "US-TX",
        ),
    ];
    for (why, stated, home, number, at_site, zones, from, areas) in table {
        let home = home.map(|(state, code, country)| address(state, code, country));
        let found = look(stated, home.as_ref(), number, at_site);
        assert_eq!(found, (zones.to_owned(), from.to_owned(), areas.to_owned()), "{why}");
    }
}

#[test]
fn states_on_a_border_of_zones_have_both() {
    for state in ["AK", "AZ", "FL", "ID", "IN", "KS", "KY", "MI", "ND", "NE", "NV", "OR", "SD", "TN", "TX"] {
        assert_eq!(zones_of(&Area::parse(&format!("US-{state}")).unwrap()).len(), 2, "{state}");
    }
    assert_eq!(names(phone("+19155550142").unwrap().zones), ["America/Denver"], "El Paso");
    assert_eq!(names(phone("+18505550142").unwrap().zones).len(), 2, "over the border in Florida");
}

#[test]
fn a_number_tells_its_country() {
    assert_eq!(area_code("+14165550142").map(Area::as_str), Some("CA-ON"), "its area code is enough");
    for (number, country) in [("+13125550142", "US"), ("+14165550142", "CA"), ("+4989123456", "DE")] {
        assert_eq!(country_of(number).as_deref(), Some(country), "{number}");
    }
}

/// A row that does not read would silently know nothing.
#[test]
fn every_row_of_the_tables_reads() {
    let rows = |text: &'static str| text.lines().filter(|row| !row.starts_with('#') && !row.is_empty());
    let mut codes = std::collections::BTreeSet::new();
    for row in rows(include_str!("nanp.txt")).chain(rows(include_str!("countries.txt"))) {
        let (places, of_row) = row.split_once(':').unwrap_or((row, ""));
        let (zones, areas): (Vec<&str>, Vec<&str>) = places.split(' ').partition(|word| word.contains('/'));
        assert!(!zones.is_empty() && !areas.is_empty(), "{row}");
        assert!(areas.iter().all(|area| Area::parse(area).is_some()), "{row}");
        assert!(zones.iter().all(|zone| TimeZone::get(zone).is_ok()), "{row}");
        for code in of_row.split_ascii_whitespace() {
            assert!(code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()), "{row}");
            assert!(codes.insert(code), "{code} stands twice");
            assert!(phone(&format!("+1{code}5550142")).is_some(), "{code}");
        }
    }
    assert!(codes.len() > 400, "{} area codes", codes.len());
    for code in ["800", "833", "844", "855", "866", "877", "888", "900", "555", "700"] {
        assert!(!codes.contains(code), "{code} lies nowhere");
    }
    let states = [
        "AL", "AK", "AZ", "AR", "CA", "CO", "CT", "DE", "DC", "FL", "GA", "HI", "ID", "IL", "IN", "IA", "KS",
        "KY", "LA", "ME", "MD", "MA", "MI", "MN", "MS", "MO", "MT", "NE", "NV", "NH", "NJ", "NM", "NY", "NC",
        "ND", "OH", "OK", "OR", "PA", "RI", "SC", "SD", "TN", "TX", "UT", "VT", "VA", "WA", "WV", "WI", "WY",
        "PR", "GU", "VI", "AS", "MP",
    ];
    for state in states {
        assert!(!zones_of(&Area::parse(&format!("US-{state}")).unwrap()).is_empty(), "{state}");
    }
}

#[test]
fn postal_codes_lie_in_one_state() {
    for (country, code, area) in [
        ("US", "60601", "US-IL"),
        ("US", "79901", "US-TX"),
        ("US", "00501", "US-NY"),
        ("US", "00901", "US-PR"),
        ("CA", "M5V 3L9", "CA-ON"),
        ("CA", "h2x 1y4", "CA-QC"),
    ] {
        let found = postal(country, code);
        assert_eq!(found.iter().map(Area::as_str).collect::<Vec<_>>(), [area], "{code}");
    }
    for (country, code) in [("US", "09601"), ("US", "6"), ("US", "ÄÖ"), ("MX", "60601"), ("US", "H2X")] {
        assert!(postal(country, code).is_empty(), "{country} {code}");
    }
    // Every prefix that is given out, but those of the armed forces, lies somewhere and once.
    let known = (0..1_000).filter(|prefix| !postal("US", &format!("{prefix:03}01")).is_empty()).count();
    assert!(known > 880, "{known} prefixes");
}
