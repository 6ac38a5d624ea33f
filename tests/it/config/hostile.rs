//! Whatever stands in the file: it is read or refused, with the field, the rule and the cure, and never with the value.
//! `PROPTEST_CASES` says how many cases.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use toml::{Table, Value};

use super::*;
use crate::support::cases;

/// Stands in every text that is put in the place of a value.
const CANARY: &str = "Zyxwvu";

/// The names of all settings and sections, as the deployed file has them.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let text = include_str!("../../../deploy/outreachd.toml");
    let lines = text.lines().map(|line| line.trim_start_matches('#'));
    let names = lines.flat_map(|line| match line.strip_prefix('[') {
        Some(section) => section.trim_matches(['[', ']']).split('.').map(str::to_owned).collect(),
        None => line.split_once(" = ").map(|(name, _)| name.to_owned()).into_iter().collect::<Vec<_>>(),
    });
    let mut names: Vec<String> =
        names.filter(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).collect();
    names.sort();
    names.dedup();
    names
});

/// What may stand behind a name: what others have there, what nobody has, the ends of all ranges.
fn value() -> impl Strategy<Value = Value> {
    let texts = vec![
        "",
        "live",
        "1ms",
        "-1s",
        "99999999999999999999h",
        "24h",
        "8MiB",
        "99999999999EiB",
        "10/s",
        "0/s",
        "1/s per sender",
        "25:00-24:61",
        "08:00-21:00",
        "mon-sun closed, holidays always",
        "31st mon feb",
        "02-30",
        "2026-13-45",
        "US",
        "en",
        "America/Chicago",
        "Etc/Nowhere",
        "+13125550142",
        "a@b",
        "https://",
        "https://example.org",
        "postgres://",
        "amqp://x",
        "127.0.0.1:0",
        "::1",
        "::/129",
        "whsec_",
        "-----BEGIN",
        "/",
        "lakeside-north",
        "ehr",
        "twilio_sms",
        "smtp",
    ];
    let leaf = prop_oneof![
        4 => select(texts).prop_map(|text| Value::String(text.to_owned())),
        2 => any::<String>().prop_map(|text| Value::String(format!("{CANARY}{text}"))),
        2 => any::<i64>().prop_map(Value::Integer),
        1 => (-2_i64..2).prop_map(Value::Integer),
        1 => any::<f64>().prop_map(Value::Float),
        1 => any::<bool>().prop_map(Value::Boolean),
        1 => Just(Value::Datetime("2026-11-28T09:00:00Z".parse().unwrap())),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((select(NAMES.clone()), inner), 0..4)
                .prop_map(|pairs| Value::Table(pairs.into_iter().collect())),
        ]
    })
}

/// Refused in words that an operator can use, and that hold nothing of what was refused.
fn told(text: &str) -> Result<Vec<ConfigFault>, TestCaseError> {
    let faults = faults_of(text);
    for fault in &faults {
        prop_assert!(!fault.path.is_empty() && !fault.rule.is_empty() && !fault.cure.is_empty(), "{fault:?}");
        prop_assert!(!fault.to_string().contains(CANARY), "the value came back: {}", fault.path);
    }
    Ok(faults)
}

/// The ways to all values that are no tables.
fn leaves(value: &Value, way: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let mut walk = |key: String, value: &Value| {
        way.push(key);
        leaves(value, way, found);
        way.pop();
    };
    match value {
        Value::Table(table) => table.iter().for_each(|(key, value)| walk(key.clone(), value)),
        Value::Array(list) => list.iter().enumerate().for_each(|(n, value)| walk(n.to_string(), value)),
        _ => found.push(way.clone()),
    }
}

fn at<'v>(value: &'v mut Value, way: &[String]) -> &'v mut Value {
    way.iter().fold(value, |value, key| match value {
        Value::Array(list) => &mut list[key.parse::<usize>().unwrap()],
        value => value.get_mut(key.as_str()).unwrap(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(64), ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}", lines in prop::collection::vec("[\\[\\]a-z_.=\"' 0-9{}#,-]{0,30}", 0..12)) {
        told(&text)?;
        told(&lines.join("\n"))?;
    }

    #[test]
    fn any_settings_are_read_or_refused(
        sections in prop::collection::vec((select(NAMES.clone()), prop::collection::vec((select(NAMES.clone()), value()), 0..8), any::<bool>()), 0..6),
    ) {
        let mut whole = Table::new();
        for (name, pairs, many) in sections {
            let table = Value::Table(pairs.into_iter().collect());
            whole.insert(name, if many { Value::Array(vec![table]) } else { table });
        }
        told(&whole.to_string())?;
    }

    #[test]
    fn one_value_that_is_wrong_is_named(which in any::<Index>(), value in value()) {
        let mut clinic = Value::Table(CLINIC.parse().unwrap());
        let mut ways = Vec::new();
        leaves(&clinic, &mut Vec::new(), &mut ways);
        let way = which.get(&ways);
        *at(&mut clinic, way) = value;
        let faults = told(&toml::to_string(&clinic).unwrap())?;
        // The setting itself, or one beside it that no longer goes with it.
        let named = |fault: &ConfigFault| {
            way.iter().any(|key| fault.path.contains(key.as_str())) || fault.file == "configuration"
        };
        prop_assert!(faults.is_empty() || faults.iter().any(named), "{} is not named: {faults:#?}", way.join("."));
    }

    #[test]
    fn any_variable_is_read_or_refused(
        pairs in prop::collection::vec((prop::collection::vec(select(NAMES.clone()), 1..4), "\\PC{0,30}"), 1..5),
    ) {
        let pairs: Vec<(String, String)> = pairs
            .into_iter()
            .map(|(way, text)| (format!("OUTREACHD_{}", way.join("__").to_uppercase()), format!("{CANARY}{text}")))
            .collect();
        let nowhere = LoadOptions { cwd: PathBuf::from("/nowhere"), ..Default::default() };
        let given = pairs.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        for fault in Config::load(&nowhere.with_env(given)).err().into_iter().flatten() {
            prop_assert!(!fault.path.is_empty() && !fault.to_string().contains(CANARY), "{fault}");
        }
    }
}
