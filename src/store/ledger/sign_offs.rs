//! What people say of the texts of templates. What was said before is in the audit log.

use async_trait::async_trait;

use super::Ledger;
use crate::domain::ids::TemplateName;
use crate::domain::sign_off::{SignOff, SignOffs, Word};
use crate::store::columns::Columns;
use crate::store::engine::{Args, Engine, args};
use crate::store::{Result, SigningOff};

/// Texts of one locale of a template of which the word is kept: workers may have those of before, or go back to them.
const KEPT: i64 = 8;

#[async_trait]
impl<E: Engine> SigningOff for Ledger<E> {
    async fn sign_off(&self, word: &Word<'_>, hash: &str) -> Result<()> {
        let (template, locale) = (word.template.as_str(), word.locale);
        let mut tx = self.engine.begin().await?;
        E::run(
            &mut tx,
            "INSERT INTO template_sign_offs (template, locale, hash, signed, who, at, note)
             VALUES ($1, $2, $3, true, $4, now(), $5)
             ON CONFLICT (template, locale, hash) DO UPDATE SET
                 signed = true, who = excluded.who, at = excluded.at, note = excluded.note",
            args![template, locale, hash, word.by, word.note],
        )
        .await?;
        E::run(
            &mut tx,
            "DELETE FROM template_sign_offs WHERE template = $1 AND locale = $2 AND hash NOT IN (
                 SELECT hash FROM template_sign_offs WHERE template = $1 AND locale = $2 ORDER BY at DESC, hash LIMIT $3)",
            args![template, locale, KEPT],
        )
        .await?;
        E::commit(tx).await
    }

    async fn take_back_sign_off(&self, word: &Word<'_>) -> Result<bool> {
        let sql = "UPDATE template_sign_offs SET signed = false, who = $3, at = now(), note = $4
             WHERE template = $1 AND locale = $2 AND signed RETURNING hash";
        let args = args![word.template.as_str(), word.locale, word.by, word.note];
        Ok(!self.engine.write(sql, args).await?.is_empty())
    }

    async fn sign_offs(&self) -> Result<SignOffs> {
        let sql = "SELECT template, locale, hash, signed, who, at, note FROM template_sign_offs";
        let rows = self.engine.read(sql, Args::none()).await?;
        rows.iter()
            .map(|row| {
                Ok(SignOff {
                    template: row.word(0, TemplateName::parse)?,
                    locale: row.text(1)?.to_owned(),
                    hash: row.text(2)?.to_owned(),
                    stands: row.flag(3)?,
                    by: row.text(4)?.to_owned(),
                    at: row.time(5)?,
                    note: row.text(6)?.to_owned(),
                })
            })
            .collect()
    }
}
