//! What lies in `deploy/` fits the program: the alert rules can be read, each asks for what is there, and what is
//! measured is described; what people are told to give and to set exists; nothing is published beyond its machine.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use outreachd::config::Config;
use outreachd::domain::alert::Trouble;
use outreachd::domain::words::SafetyMode;

const RULES: &str = include_str!("../../deploy/alerts.yml");
const GO_LIVE: &str = include_str!("../../deploy/go-live.md");
const RUNBOOK: &str = include_str!("../../deploy/runbook.md");
/// Whose commands, settings and links are looked at.
const DOCUMENTS: [(&str, &str); 2] = [("go-live.md", GO_LIVE), ("runbook.md", RUNBOOK)];

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
    let headings = anchors(RUNBOOK);
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
            assert!(headings.contains(heading), "{alert}: {place}");
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

/// What a link may name within a document: its headings, as GitHub makes anchors of them.
fn anchors(text: &str) -> BTreeSet<String> {
    let anchor = |line: &str| {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        line.trim_start_matches('#').trim().to_lowercase().chars().filter(kept).collect::<String>()
    };
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line).replace(' ', "-")).collect()
}

/// What stands between backticks, each on one line.
fn spans(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What stands in fences of this kind.
fn fenced<'t>(text: &'t str, kind: &str) -> Vec<&'t str> {
    let fence = format!("```{kind}\n");
    text.split(fence.as_str()).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect()
}

#[test]
fn the_links_of_the_documents_lead_somewhere() {
    let deploy = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy"));
    for (name, text) in DOCUMENTS {
        for target in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = std::fs::read_to_string(deploy.join(if file.is_empty() { name } else { file }));
            let there = there.unwrap_or_else(|error| panic!("{name}: {target}: {error}"));
            assert!(anchor.is_empty() || anchors(&there).contains(anchor), "{name}: {target}");
        }
    }
}

/// With `--help` a command looks at its words and does nothing. What is none of ours is passed over, and a placeholder
/// stands for something of its form.
const STAND_INS: &str = r#"
set -euo pipefail
outreachd() {
    local word words=()
    for word; do
        case $word in
            ID) word=0196f3c0-0000-7000-8000-000000000001 ;;
            NAME) word=name ;;
        esac
        words+=("$word")
    done
    "$PROGRAM" "${words[@]}" --help > /dev/null || { printf 'outreachd %s\n' "$*" >&2; return 1; }
}
docker() {
    while (($#)) && [[ $1 != outreachd ]]; do shift; done
    "$@"
}
echo() { :; }
rabbitmqctl() { :; }
"#;

#[test]
fn the_commands_that_the_documents_name_can_be_given() {
    let mut script = vec![STAND_INS.to_owned()];
    for (_, text) in DOCUMENTS {
        script.extend(fenced(text, "sh").into_iter().map(str::to_owned));
        script.extend(spans(text).into_iter().filter(|span| span.starts_with("outreachd ")));
    }
    assert!(script.len() > 25, "the test has lost its eyes: {script:#?}");
    let folder = tempfile::tempdir().unwrap();
    let given = Command::new("bash")
        .args(["-c", &script.join("\n")])
        .env("PROGRAM", env!("CARGO_BIN_EXE_outreachd"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(given.status.success(), "{}", String::from_utf8_lossy(&given.stderr));
}

/// Every setting, as `section.key`: `outreachd.toml` names all of them.
fn settings() -> BTreeSet<String> {
    let mut section = "";
    let mut settings = BTreeSet::new();
    for line in include_str!("../../deploy/outreachd.toml").lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
        } else if let Some((key, _)) = line.split_once(" = ") {
            settings.insert(format!("{section}.{key}"));
        }
    }
    settings
}

#[test]
fn the_settings_that_the_documents_name_are_there() {
    let known = settings();
    let mut named = 0;
    for (name, text) in DOCUMENTS {
        for span in spans(text) {
            let Some((section, rest)) = span.strip_prefix('[').and_then(|span| span.split_once("] ")) else {
                continue;
            };
            let key = rest.split(' ').next().unwrap();
            assert!(known.contains(&format!("{section}.{key}")), "{name}: {span}");
            named += 1;
        }
    }
    assert!(named > 8, "the test has lost its eyes: {named}");
}

#[test]
fn what_is_set_on_the_way_is_good_for_the_list_and_for_live() {
    let folder = tempfile::tempdir().unwrap();
    let key = "07".repeat(32);
    let text = format!("[security]\nkey = \"{key}\"\n{}", fenced(GO_LIVE, "toml").join("\n"));
    for rest in text.split("/run/secrets/").skip(1) {
        let name = rest.split('"').next().unwrap();
        std::fs::write(folder.path().join(name), "-----BEGIN PRIVATE KEY-----").unwrap();
    }
    let text = text.replace("/run/secrets", &folder.path().display().to_string());
    let good = |text: &str| Config::from_toml(text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(good(&text).safety.mode, SafetyMode::AllowList);
    let live = good(&text.replace("mode = \"allow_list\"", "mode = \"live\""));
    assert_eq!((live.safety.mode, live.providers.len()), (SafetyMode::Live, 2));
    assert!(live.http.token_needed() && live.notify.heartbeat.is_some());
}

#[test]
fn nothing_of_the_composed_services_is_published_beyond_this_machine() {
    let lines = include_str!("../../deploy/compose.yaml").lines();
    let published: Vec<&str> =
        lines.filter_map(|line| line.trim_start().strip_prefix("- \"")?.strip_suffix('"')).collect();
    assert_eq!(published, ["127.0.0.1:8080:8080", "127.0.0.1:5672:5672"]);
}
