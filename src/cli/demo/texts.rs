//! The shipped templates inside the program, so that the demo works without a clone of the repository. What points to the
//! portal comes with every catalogue.

use std::io;
use std::path::{Path, PathBuf};

use super::house;

/// The sets that the demo's jobs use.
pub(super) const SETS: [&str; 5] = [
    "appointment-reminder",
    "discharge-follow-up",
    "preferences-changed",
    "result-available",
    "vaccine-invitation",
];

/// The folder to load: `templates` of the working directory where it holds all five sets, so that whoever edits them
/// sees it; else the program's own, written into `home`.
pub(super) fn folder(home: &Path) -> io::Result<PathBuf> {
    let near = Path::new("templates");
    if SETS.iter().all(|set| near.join(set).join("template.toml").exists()) {
        return Ok(near.to_owned());
    }
    with(home, &[])
}

/// The shipped ones and `more`, by their paths, written into `home`: a show that must look the same wherever it is given.
pub(super) fn with(home: &Path, more: &[(&str, &str)]) -> io::Result<PathBuf> {
    let own = home.join("templates");
    write(&own, SHIPPED)?;
    write(&own, more)?;
    Ok(own)
}

fn write(to: &Path, files: &[(&str, &str)]) -> io::Result<()> {
    for (path, text) in files {
        let file = to.join(path);
        if let Some(folder) = file.parent() {
            house::private_folder(folder)?;
        }
        std::fs::write(file, text)?;
    }
    Ok(())
}

macro_rules! shipped {
    ($($path:literal),+ $(,)?) => {
        /// Every file by its path below the folder.
        const SHIPPED: &[(&str, &str)] =
            &[$(($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/", $path)))),+];
    };
}

shipped! {
    "_layouts/email_page.hbs",
    "_partials/en/about.hbs",
    "_partials/en/call_us.hbs",
    "_partials/en/call_us_voice.hbs",
    "_partials/en/email_footer_html.hbs",
    "_partials/en/email_footer_text.hbs",
    "_partials/en/greeting.hbs",
    "_partials/en/opt_out.hbs",
    "_partials/en/opt_out_page.hbs",
    "_partials/en/opt_out_voice.hbs",
    "_partials/en/opt_out_voicemail.hbs",
    "_partials/en/visit_of.hbs",
    "_partials/es/about.hbs",
    "_partials/es/call_us.hbs",
    "_partials/es/call_us_voice.hbs",
    "_partials/es/email_footer_html.hbs",
    "_partials/es/email_footer_text.hbs",
    "_partials/es/greeting.hbs",
    "_partials/es/opt_out.hbs",
    "_partials/es/opt_out_page.hbs",
    "_partials/es/opt_out_voice.hbs",
    "_partials/es/opt_out_voicemail.hbs",
    "_partials/es/visit_of.hbs",
    "_partials/zh-Hans/about.hbs",
    "_partials/zh-Hans/call_us.hbs",
    "_partials/zh-Hans/call_us_voice.hbs",
    "_partials/zh-Hans/email_footer_html.hbs",
    "_partials/zh-Hans/email_footer_text.hbs",
    "_partials/zh-Hans/greeting.hbs",
    "_partials/zh-Hans/opt_out.hbs",
    "_partials/zh-Hans/opt_out_page.hbs",
    "_partials/zh-Hans/opt_out_voice.hbs",
    "_partials/zh-Hans/opt_out_voicemail.hbs",
    "_partials/zh-Hans/visit_of.hbs",
    "appointment-reminder/en/also.hbs",
    "appointment-reminder/en/also.long.hbs",
    "appointment-reminder/en/email.html.hbs",
    "appointment-reminder/en/email.subject.hbs",
    "appointment-reminder/en/email.txt.hbs",
    "appointment-reminder/en/portal.hbs",
    "appointment-reminder/en/sms.hbs",
    "appointment-reminder/en/sms.short.hbs",
    "appointment-reminder/en/voice.hbs",
    "appointment-reminder/en/voicemail.hbs",
    "appointment-reminder/es/also.hbs",
    "appointment-reminder/es/also.long.hbs",
    "appointment-reminder/es/email.html.hbs",
    "appointment-reminder/es/email.subject.hbs",
    "appointment-reminder/es/email.txt.hbs",
    "appointment-reminder/es/portal.hbs",
    "appointment-reminder/es/sms.hbs",
    "appointment-reminder/es/sms.short.hbs",
    "appointment-reminder/es/voice.hbs",
    "appointment-reminder/es/voicemail.hbs",
    "appointment-reminder/template.toml",
    "appointment-reminder/zh-Hans/also.hbs",
    "appointment-reminder/zh-Hans/also.long.hbs",
    "appointment-reminder/zh-Hans/email.html.hbs",
    "appointment-reminder/zh-Hans/email.subject.hbs",
    "appointment-reminder/zh-Hans/email.txt.hbs",
    "appointment-reminder/zh-Hans/portal.hbs",
    "appointment-reminder/zh-Hans/sms.hbs",
    "appointment-reminder/zh-Hans/sms.short.hbs",
    "appointment-reminder/zh-Hans/voice.hbs",
    "appointment-reminder/zh-Hans/voicemail.hbs",
    "discharge-follow-up/en/email.html.hbs",
    "discharge-follow-up/en/email.subject.hbs",
    "discharge-follow-up/en/email.txt.hbs",
    "discharge-follow-up/en/portal.hbs",
    "discharge-follow-up/en/sms.hbs",
    "discharge-follow-up/en/sms.short.hbs",
    "discharge-follow-up/en/voice.hbs",
    "discharge-follow-up/en/voicemail.hbs",
    "discharge-follow-up/es/email.html.hbs",
    "discharge-follow-up/es/email.subject.hbs",
    "discharge-follow-up/es/email.txt.hbs",
    "discharge-follow-up/es/portal.hbs",
    "discharge-follow-up/es/sms.hbs",
    "discharge-follow-up/es/sms.short.hbs",
    "discharge-follow-up/es/voice.hbs",
    "discharge-follow-up/es/voicemail.hbs",
    "discharge-follow-up/template.toml",
    "discharge-follow-up/zh-Hans/email.html.hbs",
    "discharge-follow-up/zh-Hans/email.subject.hbs",
    "discharge-follow-up/zh-Hans/email.txt.hbs",
    "discharge-follow-up/zh-Hans/portal.hbs",
    "discharge-follow-up/zh-Hans/sms.hbs",
    "discharge-follow-up/zh-Hans/sms.short.hbs",
    "discharge-follow-up/zh-Hans/voice.hbs",
    "discharge-follow-up/zh-Hans/voicemail.hbs",
    "preferences-changed/en/email.html.hbs",
    "preferences-changed/en/email.subject.hbs",
    "preferences-changed/en/email.txt.hbs",
    "preferences-changed/en/portal.hbs",
    "preferences-changed/en/sms.hbs",
    "preferences-changed/en/voice.hbs",
    "preferences-changed/en/voicemail.hbs",
    "preferences-changed/es/email.html.hbs",
    "preferences-changed/es/email.subject.hbs",
    "preferences-changed/es/email.txt.hbs",
    "preferences-changed/es/portal.hbs",
    "preferences-changed/es/sms.hbs",
    "preferences-changed/es/voice.hbs",
    "preferences-changed/es/voicemail.hbs",
    "preferences-changed/template.toml",
    "preferences-changed/zh-Hans/email.html.hbs",
    "preferences-changed/zh-Hans/email.subject.hbs",
    "preferences-changed/zh-Hans/email.txt.hbs",
    "preferences-changed/zh-Hans/portal.hbs",
    "preferences-changed/zh-Hans/sms.hbs",
    "preferences-changed/zh-Hans/voice.hbs",
    "preferences-changed/zh-Hans/voicemail.hbs",
    "result-available/en/email.html.hbs",
    "result-available/en/email.subject.hbs",
    "result-available/en/email.txt.hbs",
    "result-available/en/portal.hbs",
    "result-available/en/portal.subject.hbs",
    "result-available/en/sms.hbs",
    "result-available/en/voice.hbs",
    "result-available/en/voicemail.hbs",
    "result-available/es/email.html.hbs",
    "result-available/es/email.subject.hbs",
    "result-available/es/email.txt.hbs",
    "result-available/es/portal.hbs",
    "result-available/es/portal.subject.hbs",
    "result-available/es/sms.hbs",
    "result-available/es/voice.hbs",
    "result-available/es/voicemail.hbs",
    "result-available/template.toml",
    "result-available/zh-Hans/email.html.hbs",
    "result-available/zh-Hans/email.subject.hbs",
    "result-available/zh-Hans/email.txt.hbs",
    "result-available/zh-Hans/portal.hbs",
    "result-available/zh-Hans/portal.subject.hbs",
    "result-available/zh-Hans/sms.hbs",
    "result-available/zh-Hans/voice.hbs",
    "result-available/zh-Hans/voicemail.hbs",
    "vaccine-invitation/en/email.html.hbs",
    "vaccine-invitation/en/email.subject.hbs",
    "vaccine-invitation/en/email.txt.hbs",
    "vaccine-invitation/en/portal.hbs",
    "vaccine-invitation/en/sms.hbs",
    "vaccine-invitation/en/sms.short.hbs",
    "vaccine-invitation/en/voice.hbs",
    "vaccine-invitation/en/voicemail.hbs",
    "vaccine-invitation/es/email.html.hbs",
    "vaccine-invitation/es/email.subject.hbs",
    "vaccine-invitation/es/email.txt.hbs",
    "vaccine-invitation/es/portal.hbs",
    "vaccine-invitation/es/sms.hbs",
    "vaccine-invitation/es/sms.short.hbs",
    "vaccine-invitation/es/voice.hbs",
    "vaccine-invitation/es/voicemail.hbs",
    "vaccine-invitation/template.toml",
    "vaccine-invitation/zh-Hans/email.html.hbs",
    "vaccine-invitation/zh-Hans/email.subject.hbs",
    "vaccine-invitation/zh-Hans/email.txt.hbs",
    "vaccine-invitation/zh-Hans/portal.hbs",
    "vaccine-invitation/zh-Hans/sms.hbs",
    "vaccine-invitation/zh-Hans/sms.short.hbs",
    "vaccine-invitation/zh-Hans/voice.hbs",
    "vaccine-invitation/zh-Hans/voicemail.hbs",
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn visit(folder: &Path, root: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("portal-pointer") {
                continue;
            }
            if path.is_dir() {
                visit(&path, root, found);
            } else if path.extension().is_none_or(|kind| kind != "md") {
                found.insert(path.strip_prefix(root).unwrap().to_string_lossy().into_owned());
            }
        }
    }

    #[test]
    fn every_shipped_file_is_in_the_program() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        let mut found = BTreeSet::new();
        visit(&root, &root, &mut found);
        let listed: BTreeSet<String> = SHIPPED.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed, found, "list it in src/cli/demo/texts.rs");
    }
}
