//! `outreachd users`: who may sign in to the console, and as what.

use std::io::{IsTerminal as _, Read as _};

use clap::Subcommand;
use jiff::Timestamp;

use super::audit::record;
use super::messages::short;
use super::out::Table;
use super::{Desk, Failure, args};
use crate::config::Config;
use crate::config::oidc::OidcSection;
use crate::domain::credential::{MAX_PASSWORD, MIN_PASSWORD, PasswordHash, TotpSecret, password_of};
use crate::domain::ids::{SiteId, UserName};
use crate::domain::people::Role;
use crate::store::Store;
use crate::store::people::{Link, User, UserChange};

/// Accounts of people. As soon as there is one, everybody signs in, on this machine too.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make an account; its password and the secret of its authenticator are shown once
    #[command(after_help = "Examples:\n  outreachd users add ana --role operator\n  \
        outreachd users add ben --role coordinator --site lakeside-north\n  \
        outreachd users add cho --role viewer --oidc --subject 9f1c2e")]
    Add {
        /// 1 to 64 of a-z 0-9 . _ @ -
        #[arg(value_parser = args::user)]
        name: UserName,
        /// viewer, operator, coordinator, approver or admin
        #[arg(long, value_parser = args::role)]
        role: Role,
        /// Sees this site only; repeat it for several
        #[arg(long, value_parser = args::site)]
        site: Vec<SiteId>,
        /// Read the password from standard input instead of making one
        #[arg(long)]
        password_stdin: bool,
        /// Without a password: of somebody whom the identity provider knows ([console.oidc])
        #[arg(long, conflicts_with = "password_stdin")]
        oidc: bool,
        /// What the provider knows them by (`sub`); without it the account is of whoever first signs in there by this name
        #[arg(long, requires = "oidc", value_parser = args::subject)]
        subject: Option<String>,
    },
    /// List the accounts
    #[command(after_help = "Example:\n  outreachd users list")]
    List,
    /// Close an account and sign it out everywhere
    #[command(after_help = "Example:\n  outreachd users disable ana")]
    Disable {
        /// The account, as `users list` shows it
        #[arg(value_parser = args::user)]
        name: UserName,
    },
    /// Open a closed account again
    #[command(after_help = "Example:\n  outreachd users enable ana")]
    Enable {
        /// The account, as `users list` shows it
        #[arg(value_parser = args::user)]
        name: UserName,
    },
    /// Give an account to somebody whom the identity provider knows, and sign it out everywhere
    #[command(after_help = "Example:\n  outreachd users link ana --subject 9f1c2e")]
    Link {
        /// The account, as `users list` shows it
        #[arg(value_parser = args::user)]
        name: UserName,
        /// What the provider knows them by (`sub`); without it the account is of whoever next signs in there by this name
        #[arg(long, value_parser = args::subject)]
        subject: Option<String>,
    },
    /// Give an account a new password and a new secret, and sign it out everywhere
    #[command(after_help = "Example:\n  outreachd users reset ana")]
    Reset {
        /// The account, as `users list` shows it
        #[arg(value_parser = args::user)]
        name: UserName,
        /// Read the password from standard input instead of making one
        #[arg(long)]
        password_stdin: bool,
    },
}

pub(super) async fn run(desk: &mut Desk, command: Command) -> Result<(), Failure> {
    match command {
        Command::Add { name, role, site, password_stdin, oidc, subject } => {
            let way =
                if oidc { Way::Provider(subject) } else { Way::Password { from_stdin: password_stdin } };
            add(desk, name, role, site, way).await
        }
        Command::List => list(desk).await,
        Command::Disable { name } => change_user(desk, &name, UserChange::Disable, "user.disable").await,
        Command::Enable { name } => change_user(desk, &name, UserChange::Enable, "user.enable").await,
        Command::Link { name, subject } => link(desk, &name, subject).await,
        Command::Reset { name, password_stdin } => reset(desk, &name, password_stdin).await,
    }
}

/// How a new account is opened.
enum Way {
    Password {
        from_stdin: bool,
    },
    /// By whom the identity provider knows so; without a subject, by its name.
    Provider(Option<String>),
}

/// The identity provider in force.
fn provider(config: &Config) -> Result<&OidcSection, Failure> {
    config.console.oidc.as_ref().ok_or_else(|| {
        Failure::said(
            "no identity provider is configured",
            "set up [console.oidc] first; see deploy/sign-in.md",
        )
    })
}

/// Who an account is at the identity provider in force; nobody has two.
async fn linked(
    config: &Config,
    store: &dyn Store,
    name: &UserName,
    subject: Option<String>,
) -> Result<Link, Failure> {
    let link = Link { issuer: provider(config)?.issuer.clone(), subject };
    if link.subject.is_some()
        && let Some(user) = store.users().await?.iter().find(|user| user.link.as_ref() == Some(&link))
        && user.name != *name
    {
        let what = format!("whom the provider knows so has the account {} already", user.name);
        return Err(Failure::said(what, "correct --subject; the audit log has it of each who was refused"));
    }
    Ok(link)
}

/// What was linked, and what follows from it.
fn of_whom(link: &Link) -> &'static str {
    match link.subject {
        Some(_) => "of whom the provider knows so",
        None => {
            "of whoever first signs in there by that name; name them by --subject where people may change theirs"
        }
    }
}

async fn link(desk: &mut Desk, name: &UserName, subject: Option<String>) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let link = linked(&config, store.as_ref(), name, subject).await?;
    let password = match provider(&config)?.decides(Some(&link.issuer)) {
        true => "; its password opens nothing any more, for groups decide",
        false => "",
    };
    if !store.change_user(name, &UserChange::Link(link.clone())).await? {
        return Err(missing(name));
    }
    record(store.as_ref(), "user.link", name, link.subject.as_deref().unwrap_or_default()).await?;
    Ok(desk.out.line(format!("{name}: done; signed out everywhere; {}{password}", of_whom(&link)))?)
}

async fn add(
    desk: &mut Desk,
    name: UserName,
    role: Role,
    sites: Vec<SiteId>,
    way: Way,
) -> Result<(), Failure> {
    if role == Role::Admin && !sites.is_empty() {
        return Err(Failure::said(
            "an admin cannot be limited to sites",
            "leave --site out, or choose another role",
        ));
    }
    let config = desk.config()?;
    if let Some(unknown) = sites.iter().find(|site| config.site(site).is_none()) {
        let what = format!("there is no site {unknown} in the configuration");
        return Err(Failure::said(what, "use the id of a `[[site]]`"));
    }
    if config.is_spoken_for(&name) {
        let what = format!("{name} stands on record for a token of the API, or for this system itself");
        return Err(Failure::said(what, "choose another name"));
    }
    let store = Desk::store(&config).await?;
    let (fresh, link) = match way {
        Way::Password { from_stdin } => (Some(Fresh::make(from_stdin)?), None),
        Way::Provider(subject) => (None, Some(linked(&config, store.as_ref(), &name, subject).await?)),
    };
    let whose = link.as_ref().map(of_whom).unwrap_or_default();
    let user = User {
        name: name.clone(),
        role,
        sites,
        password: fresh.as_ref().map_or_else(PasswordHash::of_nobody, |fresh| fresh.hash.clone()),
        totp: fresh
            .as_ref()
            .map_or_else(|| TotpSecret::from_bits(rand::random()), |fresh| fresh.totp.clone()),
        created_at: Timestamp::UNIX_EPOCH,
        disabled_at: None,
        link,
    };
    if !store.add_user(&user).await? {
        let what = format!("there is an account {name} already");
        return Err(Failure::said(
            what,
            "choose another name, or give it new credentials: outreachd users reset",
        ));
    }
    record(store.as_ref(), "user.add", &name, role.as_str()).await?;
    match fresh {
        Some(fresh) => fresh.tell(desk, &name),
        None => Ok(desk.out.line(format!("{name}: done; {whose}"))?),
    }
}

async fn reset(desk: &mut Desk, name: &UserName, password_stdin: bool) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    let user = store.user(name).await?.ok_or_else(|| missing(name))?;
    let issuer = user.link.as_ref().map(|link| link.issuer.as_str());
    if config.console.oidc.as_ref().is_some_and(|oidc| oidc.decides(issuer)) {
        let what = format!("{name} signs in through the identity provider, whose groups decide");
        let cure =
            "reset it there; for the hour when the provider is away: outreachd users add OTHER --role ROLE";
        return Err(Failure::said(what, cure));
    }
    let fresh = Fresh::make(password_stdin)?;
    let change = UserChange::Credentials(fresh.hash.clone(), fresh.totp.clone());
    if !store.change_user(name, &change).await? {
        return Err(missing(name));
    }
    record(store.as_ref(), "user.reset", name, "").await?;
    fresh.tell(desk, name)
}

async fn change_user(desk: &mut Desk, name: &UserName, change: UserChange, act: &str) -> Result<(), Failure> {
    let config = desk.config()?;
    let store = Desk::store(&config).await?;
    if !store.change_user(name, &change).await? {
        return Err(missing(name));
    }
    record(store.as_ref(), act, name, "").await?;
    Ok(desk.out.line(format!("{name}: done; signed out everywhere"))?)
}

async fn list(desk: &mut Desk) -> Result<(), Failure> {
    let config = desk.config()?;
    let users = Desk::store(&config).await?.users().await?;
    if desk.json {
        return Ok(users.iter().try_for_each(|user| desk.out.json(user))?);
    }
    if users.is_empty() {
        let text = "nobody has an account; whoever sits at this machine needs none until then";
        return Ok(desk.out.line(text)?);
    }
    let mut table = Table::new(&["name", "role", "sites", "made", "signs in", "state"]);
    for user in &users {
        let sites: Vec<&str> = user.sites.iter().map(|site| site.as_str()).collect();
        table.row([
            user.name.to_string(),
            user.role.to_string(),
            if sites.is_empty() { "all".to_owned() } else { sites.join(", ") },
            short(user.created_at),
            signs_in(user).to_owned(),
            if user.disabled_at.is_some() { "disabled".to_owned() } else { "open".to_owned() },
        ]);
    }
    Ok(table.write(&mut desk.out)?)
}

fn signs_in(user: &User) -> &'static str {
    match &user.link {
        None => "by password",
        Some(Link { subject: None, .. }) => "by provider, not yet",
        Some(Link { subject: Some(_), .. }) => "by provider",
    }
}

/// New credentials, as long as they are known.
struct Fresh {
    /// `None`: whoever gave it knows it.
    password: Option<String>,
    hash: PasswordHash,
    totp: TotpSecret,
}

impl Fresh {
    fn make(from_stdin: bool) -> Result<Self, Failure> {
        let made = (!from_stdin).then(|| password_of(rand::random()));
        let password = match &made {
            Some(made) => made.clone(),
            None => read_password()?,
        };
        let hash = PasswordHash::new(&password, rand::random()).ok_or_else(|| {
            let what =
                format!("the password must have {MIN_PASSWORD} characters, and at most {MAX_PASSWORD} bytes");
            Failure::said(what, "several words are easy to keep in mind")
        })?;
        Ok(Self { password: made, hash, totp: TotpSecret::from_bits(rand::random()) })
    }

    /// Shows what is shown once.
    fn tell(&self, desk: &mut Desk, name: &UserName) -> Result<(), Failure> {
        let link = self.totp.link(name.as_str());
        if desk.json {
            let told = serde_json::json!({
                "name": name, "password": self.password, "totp": self.totp.base32(), "totp_link": link,
            });
            return Ok(desk.out.json(&told)?);
        }
        desk.out.line(format!("account   {name}"))?;
        if let Some(password) = &self.password {
            desk.out.line(format!("password  {password}"))?;
        }
        desk.out.line(format!("secret    {}   (type it into an authenticator)", self.totp.base32()))?;
        desk.out.line(format!("or as     {link}"))?;
        Ok(desk.out.line("neither is shown again; hand them over in person")?)
    }
}

fn read_password() -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::said(
            "a password typed here would be seen",
            "send it from a file or a password manager: outreachd users add ... --password-stdin < FILE",
        ));
    }
    let mut text = String::new();
    let limit = u64::try_from(MAX_PASSWORD).unwrap_or(u64::MAX) + 2;
    stdin.take(limit).read_to_string(&mut text).map_err(|error| {
        Failure::said(format!("standard input: {}", error.kind()), "send the password as UTF-8, on one line")
    })?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn missing(name: &UserName) -> Failure {
    Failure::said(format!("there is no account {name}"), "look at `outreachd users list`")
}
