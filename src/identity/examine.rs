//! What is wrong with a provider, for people who set it up.

use super::{IdentityProvider, Trouble};
use crate::config::oidc::Signing;

/// Something that is wrong, with its cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether nobody can sign in because of it.
    pub fatal: bool,
    pub what: String,
    pub cure: String,
}

impl IdentityProvider {
    /// Asks for the provider's document and its keys, and compares them with the settings. Nobody is signed in by it, so
    /// that the provider knows this client shows only at the first sign-in.
    pub async fn examine(&self) -> Vec<Finding> {
        let fatal = |(what, cure): (String, String)| vec![Finding { fatal: true, what, cure }];
        let document = match self.document().await {
            Ok(document) => document,
            Err(trouble) => return fatal(self.cure(trouble)),
        };
        let told = &document.told;
        let lacks = |known: &Option<Vec<String>>, word: &str| {
            known.as_ref().is_some_and(|known| !known.iter().any(|one| one == word))
        };
        let mut findings = Vec::new();
        if lacks(&told.response_types_supported, "code") {
            let what = "it offers no authorization code flow".to_owned();
            let cure = "switch that flow on for this client at the provider".to_owned();
            findings.push(Finding { fatal: true, what, cure });
        }
        if lacks(&told.code_challenge_methods_supported, "S256") {
            let what = "it does not say that it knows PKCE with S256; it may not check it".to_owned();
            let cure = "switch PKCE on for this client at the provider".to_owned();
            findings.push(Finding { fatal: false, what, cure });
        }
        for scope in self.settings.scopes.iter().filter(|scope| lacks(&told.scopes_supported, scope)) {
            let what = format!("it does not list the scope {scope}");
            let cure = "remove it from `scopes`, or let the provider give it to this client".to_owned();
            findings.push(Finding { fatal: false, what, cure });
        }
        let signs = |signing: &Signing| !lacks(&told.id_token_signing_alg_values_supported, signing.as_str());
        if !self.settings.algorithms.iter().any(signs) {
            let all = told.id_token_signing_alg_values_supported.iter().flatten();
            let known: Vec<&str> =
                all.filter_map(|word| Signing::from_word(word)).map(Signing::as_str).collect();
            let what = "it signs its tokens with none of `algorithms`".to_owned();
            let cure = match known.is_empty() {
                true => "let the provider sign with RS256 or ES256".to_owned(),
                false => format!("set algorithms = [\"{}\"]", known.join("\", \"")),
            };
            findings.push(Finding { fatal: true, what, cure });
        }
        match self.keys(|_| true).await {
            Ok(keys) if keys.any_fits(&self.settings.algorithms) => {}
            Ok(_) => findings.push(Finding {
                fatal: true,
                what: "none of its keys fits `algorithms`".to_owned(),
                cure: "let the provider publish a key for signatures of one of these kinds".to_owned(),
            }),
            Err(trouble) => findings.extend(fatal(self.cure(trouble))),
        }
        findings
    }

    /// What is wrong, and what to do about it.
    fn cure(&self, trouble: Trouble) -> (String, String) {
        let cure = match trouble {
            Trouble::Away("dns") => "correct the host in `issuer`, or look at this machine's name servers",
            Trouble::Away("connect" | "timeout" | "connection_lost") => {
                "look at network and firewall, and at the provider's certificate"
            }
            Trouble::Away(_) => "wait until the provider is well again, or ask whoever runs it",
            Trouble::Unfit("discovery_missing") => {
                "correct `issuer`: below it must lie /.well-known/openid-configuration"
            }
            Trouble::Unfit("discovery_issuer") => {
                "write `issuer` to the letter as the document does, the slash at its end included"
            }
            Trouble::Unfit("discovery_endpoints") => {
                "its end points must be there, and https: ask whoever runs the provider"
            }
            Trouble::Unfit(_) | Trouble::Code | Trouble::Token(_) => {
                "see that `issuer` leads to an OpenID Connect provider, and not to its sign-in page"
            }
        };
        (trouble.to_string(), cure.to_owned())
    }
}
