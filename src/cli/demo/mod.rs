//! tmp
use clap::Args;
#[derive(Debug, Args)]
pub(super) struct Options {}
pub(super) async fn run(_desk: &mut super::Desk<'_>, _options: Options) -> Result<(), super::Failure> {
    Ok(())
}
