//! `[templates]`: where the texts are, and where their links may lead.

use std::path::PathBuf;

use super::fault::Broken;
use super::kind::text;
use super::read::Section;
use super::rules;

/// The templates' folder and their links.
#[derive(Clone, Debug)]
pub struct TemplatesSection {
    /// Absolute, or as given from the working directory.
    pub dir: PathBuf,
    /// Hosts that links in a job's data may lead to, with their sub-domains; none: no links from data.
    pub link_domains: Vec<String>,
}

impl TemplatesSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let dir = s.or("dir", rules::PATH, PathBuf::from("templates"));
        Self {
            dir: s.context.cwd.join(dir),
            link_domains: s.list("link_domains", text(domain)).unwrap_or_default(),
        }
    }

    /// Whether a link may lead to `host`.
    #[must_use]
    pub fn allows_link_to(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.link_domains.iter().any(|domain| {
            host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

fn domain(text: &str) -> Result<String, Broken> {
    let host = rules::host(text)?.to_ascii_lowercase();
    match host.contains('.') && !host.contains(':') {
        true => Ok(host),
        false => Err(Broken::new("must be a domain", "write it as \"example.org\", without scheme or path")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_within_its_domains() {
        let section = TemplatesSection { dir: PathBuf::new(), link_domains: vec!["example.org".to_owned()] };
        for host in ["example.org", "portal.example.org", "PORTAL.Example.ORG"] {
            assert!(section.allows_link_to(host), "{host}");
        }
        for host in ["evilexample.org", "example.org.evil.net", "org", ""] {
            assert!(!section.allows_link_to(host), "{host}");
        }
    }
}
