//! What a hold can stop, by name: a hold on a misspelled name stops nothing, and nobody sees it before it matters.

use crate::config::Config;
use crate::domain::words::{Channel, Purpose};
use crate::store::rows::HoldScope;
use crate::template::Catalogue;

/// So many names are told where somebody has misspelled one.
const TOLD: usize = 20;

/// The names that a hold of this scope can have, in order; `None`: any can come, since nothing of the kind is configured, or
/// the templates cannot be read.
#[must_use]
pub fn holdable(scope: HoldScope, config: &Config, catalogue: Option<&Catalogue>) -> Option<Vec<String>> {
    fn names<T: ToString>(all: impl Iterator<Item = T>) -> Vec<String> {
        let mut names: Vec<String> = all.map(|name| name.to_string()).collect();
        names.sort_unstable();
        names
    }
    let known = match scope {
        HoldScope::Source => names(config.sources.iter().map(|source| &source.name)),
        HoldScope::Site => names(config.sites.iter().map(|site| &site.id)),
        HoldScope::Template => names(catalogue?.templates().map(|template| &template.name)),
        HoldScope::Provider => names(config.providers.iter().map(|provider| &provider.name)),
        HoldScope::Purpose => names(Purpose::ALL.iter()),
        HoldScope::Channel => names(Channel::ALL.iter()),
        HoldScope::All | HoldScope::Campaign => return None,
    };
    // With no source or no site configured, jobs may name any.
    (!known.is_empty()).then_some(known)
}

/// What to say to whoever wants to hold what is not there; `None`: it is, or may be.
#[must_use]
pub fn misspelled(
    scope: HoldScope,
    value: &str,
    config: &Config,
    catalogue: Option<&Catalogue>,
) -> Option<String> {
    let known = holdable(scope, config, catalogue)?;
    if known.iter().any(|name| name == value) {
        return None;
    }
    let more = if known.len() > TOLD { " ..." } else { "" };
    let told: Vec<&str> = known.iter().take(TOLD).map(String::as_str).collect();
    Some(format!("use one of: {}{more}", told.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_cannot_be_held() {
        let config = Config::from_toml(
            "[[source]]\nname = \"lakeside-ehr\"\n[[source]]\nname = \"lab\"\n[[site]]\nid = \"lakeside-north\"\n\
             name = \"Lakeside North\"\nphone = \"+13125550100\"\n[[provider]]\nname = \"box\"\nkind = \"capture\"\nchannel = \"sms\"\n",
        )
        .unwrap();
        let said = |scope, value| misspelled(scope, value, &config, None);
        assert_eq!(said(HoldScope::Source, "lab"), None);
        assert_eq!(said(HoldScope::Source, "lakeside-her").unwrap(), "use one of: lab, lakeside-ehr");
        assert_eq!(said(HoldScope::Site, "lakside-north").unwrap(), "use one of: lakeside-north");
        assert!(said(HoldScope::Provider, "boxx").is_some() && said(HoldScope::Provider, "box").is_none());
        assert!(said(HoldScope::Channel, "sms").is_none() && said(HoldScope::Channel, "fax").is_some());
        assert!(said(HoldScope::Purpose, "care").is_none() && said(HoldScope::Purpose, "cares").is_some());
        assert_eq!(said(HoldScope::All, ""), None);
        // A broken folder of templates is no reason to let a wrong text go out.
        assert_eq!(said(HoldScope::Template, "recall"), None);
        // Where nothing of the kind is configured, jobs may name any.
        let open = Config::from_toml("").unwrap();
        assert_eq!(misspelled(HoldScope::Source, "ehr", &open, None), None);
        assert_eq!(misspelled(HoldScope::Site, "north", &open, None), None);
    }
}
