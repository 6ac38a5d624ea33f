//! Whose account it is that an identity provider vouches for.

use super::Ledger;
use super::people::{USERS, sites_text};
use crate::domain::ids::UserName;
use crate::store::columns::Columns as _;
use crate::store::engine::{Engine, args};
use crate::store::people::{Recognised, User, Vouched};
use crate::store::{Result, StoreError};

impl<E: Engine> Ledger<E> {
    /// Two browsers of one person at the same moment: the second one finds what the first one made.
    pub(super) async fn whose(&self, who: &Vouched) -> Result<Recognised> {
        match self.whose_now(who).await {
            Err(StoreError::Contention) => self.whose_now(who).await,
            other => other,
        }
    }

    async fn whose_now(&self, who: &Vouched) -> Result<Recognised> {
        let mut tx = self.engine.begin().await?;
        let mut found = self.of_subject(&mut tx, who).await?;
        if found.is_none()
            && who.binds
            && let Some(name) = &who.name
            && bind::<E>(&mut tx, who, name).await?
        {
            found = self.of_subject(&mut tx, who).await?;
        }
        let recognised = match found {
            Some(user) if user.disabled_at.is_some() => Recognised::Disabled(user.name),
            Some(user) => Recognised::Known(self.granted(&mut tx, who, user).await?),
            None => self.newcomer(&mut tx, who).await?,
        };
        E::commit(tx).await?;
        Ok(recognised)
    }

    async fn of_subject(&self, tx: &mut E::Tx, who: &Vouched) -> Result<Option<User>> {
        let sql = format!("{USERS} WHERE issuer = $1 AND subject = $2");
        let rows = E::run(tx, sql, args![who.issuer.as_str(), who.subject.as_str()]).await?;
        rows.first().map(|row| self.user_row(row)).transpose()
    }

    /// With the role and the sites that they have from now on.
    async fn granted(&self, tx: &mut E::Tx, who: &Vouched, user: User) -> Result<User> {
        let Some(granted) = &who.granted else { return Ok(user) };
        let sites = sites_text(&granted.sites)?;
        let sql = "UPDATE users SET role = $2, sites = $3 WHERE name = $1 RETURNING name";
        E::run(tx, sql, args![user.name.as_str(), granted.role.as_str(), sites.as_str()]).await?;
        Ok(User { role: granted.role, sites: granted.sites.clone(), ..user })
    }

    async fn newcomer(&self, tx: &mut E::Tx, who: &Vouched) -> Result<Recognised> {
        let Some(name) = &who.name else { return Ok(Recognised::Unknown) };
        let rows = E::run(tx, "SELECT name FROM users WHERE name = $1", args![name.as_str()]).await?;
        if let Some(row) = rows.first() {
            // Another window of theirs may have made it since it was looked for.
            if self.of_subject(tx, who).await?.is_some() {
                return Err(StoreError::Contention);
            }
            return Ok(Recognised::Taken(row.word(0, UserName::parse)?));
        }
        let Some(user) = &who.newcomer else { return Ok(Recognised::Unknown) };
        if !self.add_row(tx, user).await? {
            return Err(StoreError::Contention);
        }
        Ok(Recognised::Made(user.clone()))
    }
}

/// An account that waits for whoever comes by its name is theirs now. False: there is none.
async fn bind<E: Engine>(tx: &mut E::Tx, who: &Vouched, name: &UserName) -> Result<bool> {
    let sql =
        "UPDATE users SET subject = $3 WHERE name = $1 AND issuer = $2 AND subject IS NULL RETURNING name";
    let bound = E::run(tx, sql, args![name.as_str(), who.issuer.as_str(), who.subject.as_str()]).await?;
    Ok(!bound.is_empty())
}
