//! The demo's house: a private folder that goes with the process, and a configuration in which only simulated
//! providers can be reached.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use toml::Value;

use super::Options;
use crate::cli::Failure;
use crate::config::Config;
use crate::store::Store;
use crate::store::rows::MessageFilter;

/// The source of all jobs of the demo.
pub(super) const SOURCE: &str = "demo";
/// Every name on a broker begins with it, so that no queue of anybody else is touched.
const PREFIX: &str = "outreach-demo";
/// Known to everybody, as the demo's patients are.
pub(super) const KEY: &[u8; 32] = b"outreachd demo: no real patients";

/// A folder of the demo's own, removed with this value.
pub(in crate::cli) struct Home(PathBuf);

impl Home {
    pub(in crate::cli) fn make() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("outreachd-demo-{}", uuid::Uuid::now_v7().simple()));
        private_folder(&path)?;
        Ok(Self(path))
    }

    pub(in crate::cli) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be removed stays where temporary files are.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes a folder, and those above it, that only this user may enter.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The configuration, without its providers: those of the simulator are put in their place.
pub(super) fn config(home: &Home, templates: &Path, options: &Options) -> Result<Config, Failure> {
    let ledger = || format!("sqlite://{}", home.path().join("ledger.db").display());
    let store = options.database.clone().unwrap_or_else(ledger);
    let amqp = match &options.amqp {
        Some(url) => format!("[amqp]\nurl = {}\nprefix = \"{PREFIX}\"\n", quoted(url)),
        None => String::new(),
    };
    let text = format!(
        "[store]\nurl = {}\n{amqp}\n[security]\nkey = \"{}\"\n[templates]\ndir = {}\n{CLINIC}",
        quoted(&store),
        hex::encode(KEY),
        quoted(&templates.display().to_string()),
    );
    Config::from_toml(&text).map_err(Failure::Config)
}

/// As TOML writes it.
pub(in crate::cli) fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// Two sites, one organisation. Mode live, because the simulator stands where the world would be; the provider is
/// a place holder.
const CLINIC: &str = r#"
[safety]
mode = "live"
[organisation]
name = "Lakeside Health"
timezone = "America/Chicago"
default_region = "US"
language = "en"
[http]
listen = "127.0.0.1:0"
[limits]
countries = ["US"]
# A demo is looked at when there is time for it, and its patients get more in a minute than others in a month.
[policy.hours]
channels = []
[policy.cap]
per_day = 0
per_week = 0
[policy.digest]
most = 1
[policy.surge]
learning_factor = 1000000
[[site]]
id = "lakeside-north"
name = { en = "Lakeside Health North", es = "Lakeside Health Norte", zh-Hans = "湖畔医疗北院" }
phone = "+13125550100"
timezone = "America/Chicago"
postal_address = "100 Lake Street, Chicago, IL 60601"
[[site]]
id = "lakeside-south"
name = { en = "Lakeside Health South", es = "Lakeside Health Sur", zh-Hans = "湖畔医疗南院" }
phone = "+17735550100"
timezone = "America/Chicago"
postal_address = "900 Shore Road, Chicago, IL 60615"
[[provider]]
name = "none"
kind = "capture"
channel = "sms"
"#;

/// The demo's worker sends whatever is due into the simulator, and says that it was sent. So it works only on a
/// ledger in which there is nothing but the demo's own.
pub(super) async fn nobody_elses(store: &dyn Store) -> Result<(), Failure> {
    let mut filter = MessageFilter { limit: 1_000, ..MessageFilter::default() };
    loop {
        let page = store.messages(&filter).await?;
        if page.iter().any(|row| row.facts.source.as_str() != SOURCE) {
            return Err(Failure::said(
                "this ledger holds messages that are not the demo's",
                "give --database an empty database: what is due there would go to the simulator",
            ));
        }
        let Some(last) = page.last() else { return Ok(()) };
        filter.before = Some(last.facts.id);
    }
}
