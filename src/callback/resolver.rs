//! Looks names up for the client, and lets through only what may be connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve};

use crate::domain::destination::{Exception, judge_address};

/// What a look-up answers.
pub type Resolving = BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;

/// Looks up a name.
pub type Lookup = Arc<dyn Fn(String) -> Resolving + Send + Sync>;

/// As this machine does: its hosts file, then its name servers.
#[must_use]
pub fn system_lookup() -> Lookup {
    Arc::new(|host| {
        async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        }
        .boxed()
    })
}

/// One forbidden address condemns a name: whoever answers with a private one beside a public one means no good. What
/// it lets through is what the client connects to, without looking again.
pub(super) struct Judging {
    pub(super) exceptions: Arc<[Exception]>,
    pub(super) lookup: Lookup,
}

impl Resolve for Judging {
    fn resolve(&self, name: Name) -> reqwest::dns::Resolving {
        let host = name.as_str().to_owned();
        let found = (self.lookup)(host.clone());
        let exceptions = self.exceptions.clone();
        Box::pin(async move {
            let found = found.await?;
            for address in &found {
                judge_address(&host, *address, &exceptions)?;
            }
            // The port of the URL takes the place of 0.
            let found = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}
