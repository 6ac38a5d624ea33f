//! What lies in `deploy/` fits the program: the alert rules can be read, each asks for what is there, and what is
//! measured is described.

use std::collections::BTreeSet;
use std::path::Path;

use outreachd::domain::alert::Trouble;

const RULES: &str = include_str!("../../deploy/alerts.yml");

/// A rule as it stands in the file: names and values, those of `annotations` among them.
type Rule = Vec<(String, String)>;

/// Reads the few forms of YAML that the file uses, and refuses all others.
fn read(text: &str) -> Result<Vec<Rule>, String> {
    let mut lines =
        text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    for expected in ["groups:", "  - name: outreachd", "    rules:"] {
        let line = lines.next().unwrap_or_default();
        if line != expected {
            return Err(format!("{line:?} is not {expected:?}"));
        }
    }
    let mut rules: Vec<Rule> = Vec::new();
    for line in lines {
        let depth = line.len() - line.trim_start().len();
        let (name, value) = match (depth, line.trim_start().strip_prefix("- ")) {
            (6, Some(first)) => {
                rules.push(Rule::new());
                first.split_once(':')
            }
            (8 | 10, None) => line.trim_start().split_once(':'),
            _ => return Err(format!("{line:?} stands in no form of the file")),
        }
        .ok_or_else(|| format!("{line:?} has no name"))?;
        let value = value.trim();
        let whole = match value.strip_prefix('"') {
            Some(quoted) => quoted.ends_with('"') && !quoted.trim_end_matches('"').contains('"'),
            // Plain scalars may hold neither of these (YAML 1.2, 7.3.3).
            None => !value.contains(": ") && !value.contains(" #") || value.starts_with('{'),
        };
        if !whole {
            return Err(format!("{line:?} needs quotes"));
        }
        let rule = rules.last_mut().ok_or("no rule has begun")?;
        rule.push((name.to_owned(), value.trim_matches('"').to_owned()));
    }
    Ok(rules)
}

/// What is open is closed again, in turn, and quotes come in pairs.
fn is_balanced(expr: &str) -> bool {
    let mut open = Vec::new();
    let mut quoted = false;
    for c in expr.chars() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => open.push(c),
            ')' if open.pop() != Some('(') => return false,
            ']' if open.pop() != Some('[') => return false,
            '}' if open.pop() != Some('{') => return false,
            _ => {}
        }
    }
    open.is_empty() && !quoted
}

#[test]
fn the_alert_rules_can_be_read_and_cover_what_people_are_told_of() {
    let runbook = include_str!("../../deploy/runbook.md");
    let rules = read(RULES).unwrap();
    let mut names = BTreeSet::new();
    let mut led_to = BTreeSet::new();
    for rule in &rules {
        let get = |name: &str| rule.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let alert = get("alert").unwrap_or_else(|| panic!("{rule:?}"));
        assert!(names.insert(alert.to_owned()), "{alert} stands twice");
        for (name, _) in rule {
            let known = ["alert", "expr", "for", "labels", "annotations", "summary", "action", "runbook"];
            assert!(known.contains(&name.as_str()), "{alert}: {name}");
        }
        let expr = get("expr").unwrap_or_default();
        assert!(expr.contains("outreachd_") && is_balanced(expr), "{alert}: {expr}");
        assert!(
            expr.starts_with("absent(") || expr.contains(" > ") || expr.contains(" == "),
            "{alert}: {expr}"
        );
        for kind in expr.split("outreachd_trouble{kind=\"").skip(1).filter_map(|rest| rest.split('"').next())
        {
            assert!(Trouble::from_word(kind).is_some(), "{alert}: {kind}");
        }
        let span = get("for").unwrap_or("1m");
        assert!(span.strip_suffix('m').is_some_and(|n| n.parse::<u8>().is_ok()), "{alert}: {span}");
        assert!(matches!(get("labels"), Some("{ severity: page }" | "{ severity: look }")), "{alert}");
        assert!(get("summary").is_some_and(|s| !s.is_empty()) && get("action").is_some(), "{alert}");
        if let Some(place) = get("runbook") {
            let heading = place.strip_prefix("runbook.md#").unwrap_or_else(|| panic!("{alert}: {place}"));
            assert!(runbook.contains(&format!("\n## {heading}\n")), "{alert}: {place}");
            led_to.insert(heading.to_owned());
        }
    }
    let untold: Vec<_> =
        Trouble::ALL.iter().filter(|t| t.is_told() && !led_to.contains(t.as_str())).collect();
    assert!(untold.is_empty(), "no rule tells of {untold:?}");
    for broken in ["groups:\n  - name: x", "groups:\n  - name: outreachd\n    rules:\n      - alert: a: b"] {
        assert!(read(broken).is_err(), "{broken}");
    }
    assert!(!is_balanced("max(a") && !is_balanced("a{b=\"c}") && !is_balanced("(a]"));
}

/// What is measured, by the words of the program: every name that begins as measures do, and ends as a word.
fn measured(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(measured(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(names(&std::fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

fn names(text: &str) -> BTreeSet<String> {
    let name =
        |rest: &str| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap().to_owned();
    let names = text.split("outreachd_").skip(1).map(name);
    names
        .filter(|name| !name.is_empty() && !name.ends_with('_'))
        .map(|name| format!("outreachd_{name}"))
        .collect()
}

#[test]
fn every_measure_is_described_and_nothing_else() {
    let described = include_str!("../../deploy/measures.md");
    let rows = described.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: Vec<&str> = rows.collect();
    let told: BTreeSet<String> = rows.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(told.len(), rows.len(), "one stands twice");
    let measured = measured(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(measured.len() > 40, "the test has lost its eyes: {measured:?}");
    assert_eq!(told, measured);
}
