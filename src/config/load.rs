//! Finds the file and the variables, and reads them into one configuration.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::Table;

use super::Config;
use super::context::{Context, PREFIX, Variable};
use super::fault::{Broken, ConfigFault};
use super::read::Section;
use super::secret::unreadable;
use super::validate::validate;

/// The file that is taken where none is named, if it is there.
const DEFAULT_FILE: &str = "outreachd.toml";
/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Variables with our prefix that are not settings: the file's name, the log's filter, the tests' own.
const FILE_VARIABLE: &str = "OUTREACHD_CONFIG";
const OTHER_VARIABLES: [&str; 2] = [FILE_VARIABLE, "OUTREACHD_LOG"];
const TEST_PREFIX: &str = "OUTREACHD_TEST_";

/// Where to look.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// `--config FILE`; else `OUTREACHD_CONFIG`, else `./outreachd.toml` where it is, else the defaults alone.
    pub file: Option<PathBuf>,
    /// Every variable of the process; those of others are passed over.
    pub env: Vec<(OsString, OsString)>,
    /// Relative paths count from here.
    pub cwd: PathBuf,
}

impl LoadOptions {
    /// What this process was started with.
    ///
    /// # Errors
    /// The working directory is gone or may not be read.
    pub fn of_this_process(file: Option<PathBuf>) -> std::io::Result<Self> {
        Ok(Self { file, env: std::env::vars_os().collect(), cwd: std::env::current_dir()? })
    }

    /// The same with these variables and no others.
    #[must_use]
    pub fn with_env<'a>(mut self, env: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    /// The file that is loaded; without one the defaults count, and the variables.
    #[must_use]
    pub fn chosen_file(&self) -> Option<PathBuf> {
        let named = || {
            let value = self.env.iter().find(|(name, _)| name == FILE_VARIABLE).map(|(_, value)| value);
            value.filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| self.cwd.join(file).exists());
        self.file.clone().or_else(named).or_else(default)
    }
}

/// What came of loading, and what was asked for on the way.
pub(super) struct Loaded {
    pub(super) result: Result<Config, Vec<ConfigFault>>,
    #[cfg(test)]
    pub(super) known: std::collections::BTreeSet<String>,
}

impl Loaded {
    /// Of a file that cannot be read nothing else can be judged.
    fn unreadable(file: &str, path: String, broken: Broken) -> Self {
        let fault = ConfigFault { file: file.to_owned(), path, rule: broken.rule, cure: broken.cure };
        Self {
            result: Err(vec![fault]),
            #[cfg(test)]
            known: std::collections::BTreeSet::new(),
        }
    }
}

pub(super) fn load(options: &LoadOptions) -> Loaded {
    let Some(file) = options.chosen_file() else { return load_text("", options) };
    let name = file.display().to_string();
    match read_file(&options.cwd.join(&file)) {
        Ok(text) => load_named(&name, &text, options),
        Err(broken) => Loaded::unreadable(&name, "(file)".to_owned(), broken),
    }
}

pub(super) fn load_text(text: &str, options: &LoadOptions) -> Loaded {
    load_named("defaults", text, options)
}

fn load_named(file: &str, text: &str, options: &LoadOptions) -> Loaded {
    let table = match text.parse::<Table>() {
        Ok(table) => table,
        Err(error) => {
            let before = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(before).filter(|b| *b == b'\n').count();
            // Of the parser's message only the first line: the others may quote the file.
            let message = error.message().lines().next().unwrap_or_default();
            let broken =
                Broken::new(format!("is not TOML: {message}"), "mend the syntax; the rest is judged then");
            return Loaded::unreadable(file, format!("(line {line})"), broken);
        }
    };
    let context = Context {
        file: file.to_owned(),
        cwd: options.cwd.clone(),
        env: BTreeMap::new(),
        faults: RefCell::default(),
        known: RefCell::default(),
        variables: RefCell::default(),
    };
    let context = Context { env: our_variables(&options.env, &context), ..context };
    let mut root = Section::root(&context, &table);
    let mut config = Config::read(&mut root);
    validate(&config, &root);
    config.shown = root.finish();
    context.refuse_unused_variables();
    let faults = context.faults.into_inner();
    Loaded {
        result: if faults.is_empty() { Ok(config) } else { Err(faults) },
        #[cfg(test)]
        known: context.known.into_inner(),
    }
}

fn read_file(path: &Path) -> Result<String, Broken> {
    let size = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if size > MAX_FILE_BYTES {
        return Err(Broken::new("must be at most 4 MiB", "name the configuration, not another file"));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(&error))?;
    String::from_utf8(bytes).map_err(|_| Broken::new("must be UTF-8", "save the file as UTF-8"))
}

fn our_variables(env: &[(OsString, OsString)], context: &Context) -> BTreeMap<String, Variable> {
    let mut ours = BTreeMap::new();
    for (name, value) in env {
        let Some(name) = name.to_str() else { continue };
        let folded = name.to_ascii_uppercase();
        let other = OTHER_VARIABLES.contains(&folded.as_str()) || folded.starts_with(TEST_PREFIX);
        if !folded.starts_with(PREFIX) || other {
            continue;
        }
        let Some(value) = value.to_str() else {
            context.fault("environment", name, Broken::new("must be UTF-8", "set it again, in UTF-8"));
            continue;
        };
        ours.insert(
            folded,
            Variable { name: name.to_owned(), value: value.to_owned(), used: Cell::new(false) },
        );
    }
    ours
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DEPLOYED: &str = include_str!("../../deploy/outreachd.toml");

    /// The annotated file with every example made real: `#key = value` is an example, `# Words` are a comment.
    fn with_all_examples() -> String {
        let real = |line: &str| match line.strip_prefix('#') {
            Some(example) if !example.is_empty() && !example.starts_with([' ', '#']) => example.to_owned(),
            _ => line.to_owned(),
        };
        DEPLOYED.lines().map(real).collect::<Vec<_>>().join("\n")
    }

    /// The keys of a table in the spelling of [`Context::known`].
    fn keys(table: &Table, path: &str, found: &mut BTreeSet<String>) {
        for (key, value) in table {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            found.insert(path.clone());
            match value {
                toml::Value::Table(below) => keys(below, &path, found),
                toml::Value::Array(items) => {
                    for item in items.iter().filter_map(toml::Value::as_table) {
                        keys(item, &format!("{path}[]"), found);
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn the_annotated_file_states_the_defaults() {
        let annotated = Config::from_toml(DEPLOYED).unwrap();
        let defaults = Config::from_toml("").unwrap();
        assert_eq!(annotated.redacted_toml(), defaults.redacted_toml());
    }

    #[test]
    fn the_annotated_file_states_the_brokers_defaults() {
        let section = |text: &str| Config::from_toml(text).unwrap().shown.remove("amqp").unwrap();
        let text = with_all_examples();
        let start = text.find("[amqp]").unwrap();
        let end = text.find("[http]").unwrap();
        let amqp = text.get(start..end).unwrap();
        let url = amqp.lines().find(|line| line.starts_with("url")).unwrap();
        assert_eq!(section(amqp), section(&format!("[amqp]\n{url}")));
    }

    #[test]
    fn the_annotated_file_names_every_setting() {
        let text = with_all_examples();
        let folder = tempfile::tempdir().unwrap();
        for (name, body) in [
            ("ledger.key", "07".repeat(32)),
            ("seal.keys", "08".repeat(32)),
            ("token", "x".repeat(32)),
            ("secret", "s3cret".to_owned()),
            ("callback", format!("whsec_{}", "YWJj".repeat(8))),
            ("key.pem", "-----BEGIN PRIVATE KEY-----".to_owned()),
            ("ca.pem", "-----BEGIN CERTIFICATE-----".to_owned()),
        ] {
            std::fs::write(folder.path().join(name), body).unwrap();
        }
        let local = text.replace("/run/secrets/", &format!("{}/", folder.path().display()));
        let loaded = load_text(&local, &LoadOptions::default());
        let faults: Vec<String> =
            loaded.result.err().into_iter().flatten().map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:#?}");

        let mut named = BTreeSet::new();
        keys(&local.parse().unwrap(), "", &mut named);
        let missing: Vec<&String> = loaded
            .known
            .iter()
            .filter(|setting| !named.contains(*setting) && !named.contains(&format!("{setting}_file")))
            .collect();
        assert!(missing.is_empty(), "not in deploy/outreachd.toml: {missing:?}");
        for kind in crate::config::provider::KINDS {
            assert!(local.contains(&format!("kind = \"{kind}\"")), "no example of {kind}");
        }
    }
}
