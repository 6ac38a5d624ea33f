//! What became of each recipient, as a table for a spreadsheet: with a byte order mark, and without anything that it would
//! compute. Written a page at a time, so that an audience of a million is never held whole.

use super::{Office, Refused};
use crate::domain::ids::CampaignId;
use crate::domain::words::Reason;
use crate::intake::import::neutral;
use crate::store::StoreError;
use crate::store::campaigns::RecipientRow;

/// Recipients of a page.
const PAGE: u32 = 1_000;
const COLUMNS: [&str; 6] = ["row", "patient_id", "status", "reason", "channel", "message_id"];

/// The table of one campaign.
#[derive(Clone, Debug)]
pub struct Sheet {
    pub office: Office,
    pub id: CampaignId,
    /// Only those who could have no message, or had none when it was over; who needs none is not one of them.
    pub refused: bool,
}

/// A part of it.
#[derive(Clone, Debug)]
pub struct SheetPage {
    /// CSV in UTF-8; the first page begins with the names of the columns.
    pub csv: Vec<u8>,
    /// What the next page is asked for with; `None`: this is the last.
    pub next: Option<u64>,
}

impl Sheet {
    /// The recipients after the row `after`; 0 begins the table.
    ///
    /// # Errors
    /// The ledger is away.
    pub async fn page(&self, after: u64) -> Result<SheetPage, Refused> {
        let rows = self.office.store.recipients(&self.id, after, PAGE).await?;
        let next = rows.last().map(|row| row.ordinal);
        let mut csv = Vec::new();
        if after == 0 {
            csv.extend_from_slice("\u{feff}".as_bytes());
        }
        let mut table = csv::Writer::from_writer(csv);
        let unwritten = |_| StoreError::Internal("a table of recipients".to_owned());
        if after == 0 {
            table.write_record(COLUMNS).map_err(unwritten)?;
        }
        let without = |row: &RecipientRow| {
            row.message_id.is_none() && row.reason.is_some_and(|reason| reason != Reason::NoLongerNeeded)
        };
        let wanted = rows.iter().filter(|row| !self.refused || without(row));
        for row in wanted {
            let cells = cells(row);
            table.write_record(cells.iter().map(|cell| neutral(cell).into_owned())).map_err(unwritten)?;
        }
        let csv = table.into_inner().map_err(|_| StoreError::Internal("a table of recipients".to_owned()))?;
        Ok(SheetPage { csv, next })
    }
}

fn cells(row: &RecipientRow) -> [String; 6] {
    [
        row.ordinal.to_string(),
        row.patient_id.to_string(),
        row.status.map_or_else(String::new, |status| status.to_string()),
        row.reason.map_or_else(String::new, |reason| reason.to_string()),
        row.channel.map_or_else(String::new, |channel| channel.to_string()),
        row.message_id.map_or_else(String::new, |id| id.to_string()),
    ]
}
