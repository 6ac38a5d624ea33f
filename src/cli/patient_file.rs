//! What a patient may ask for: all that is known of them, and that it be erased (45 CFR 164.524; GDPR 15 and 17).

use std::io::Write as _;
use std::path::Path;

use super::audit::record;
use super::files::private_file;
use super::{Desk, Failure};
use crate::domain::ids::PatientId;
use crate::store::patient_records::PatientRecord;
use crate::store::{Store, patiently};

/// Writes all that is known of a patient into a file that its owner alone may read.
pub(super) async fn export(desk: &mut Desk, id: &PatientId, out: &Path, reason: &str) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let found = known(store.as_ref(), id).await?;
    // On record before anything is shown.
    record(store.as_ref(), "patient.export", id, reason).await?;
    let failed = |error| Failure::unwritten(out, &error);
    let text = serde_json::to_vec_pretty(&found.to_json())
        .map_err(|_| Failure::said("the record cannot be written as JSON", "report this"))?;
    let mut file = private_file(out).map_err(failed)?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
    let told = format!("{} written: {}", out.display(), sizes(&found));
    Ok(desk.out.line(told)?)
}

/// Erases a patient, once their id was given a second time; until then tells what would go.
pub(super) async fn erase(
    desk: &mut Desk,
    id: &PatientId,
    reason: &str,
    confirm: Option<&PatientId>,
) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let found = known(store.as_ref(), id).await?;
    if confirm != Some(id) {
        let what = format!("nothing was erased. Of patient {id} there is: {}", sizes(&found));
        let cure =
            "to erase it for good, give the same id with --confirm; what they refused stays as keyed hashes";
        return Err(Failure::said(what, cure));
    }
    record(store.as_ref(), "patient.erase", id, reason).await?;
    patiently(|| store.erase_patient(id)).await?;
    Ok(desk.out.line(format!("patient {id} is erased: {}", sizes(&found)))?)
}

async fn known(store: &dyn Store, id: &PatientId) -> Result<PatientRecord, Failure> {
    store.patient_record(id).await?.ok_or_else(|| {
        let cure = "check the id; it is the one that the EHR uses";
        Failure::said(format!("nothing is known of patient {id}"), cure)
    })
}

fn sizes(found: &PatientRecord) -> String {
    let record = if found.patient.is_some() { "a record" } else { "no record" };
    format!(
        "{record}, {} messages, {} replies, {} changes, {} places in campaigns",
        found.messages.len(),
        found.replies.len(),
        found.word.changes.len(),
        found.campaigns.len()
    )
}
