//! What each role may do, in the scopes that tokens have too.

use crate::config::api::Scope;
use crate::domain::people::Role;

const SEES: &[Scope] = &[Scope::MessagesRead, Scope::TemplatesRead];

/// Patients themselves are read one by one and with a reason only (`reveal`), which `patients:read` opens to people.
const OPERATES: &[Scope] = &[
    Scope::MessagesRead,
    Scope::TemplatesRead,
    Scope::MessagesWrite,
    Scope::HoldsWrite,
    Scope::WorkWrite,
    Scope::PatientsRead,
];

const COORDINATES: &[Scope] = &[
    Scope::MessagesRead,
    Scope::TemplatesRead,
    Scope::WorkWrite,
    Scope::PatientsRead,
    Scope::CampaignsWrite,
];

/// Lets go out what others have planned or written: neither plans nor starts, so that nobody does both.
const APPROVES: &[Scope] = &[
    Scope::MessagesRead,
    Scope::TemplatesRead,
    Scope::WorkWrite,
    Scope::PatientsRead,
    Scope::CampaignsApprove,
    Scope::TemplatesApprove,
];

/// The scopes of a role.
pub(super) const fn scopes(role: Role) -> &'static [Scope] {
    match role {
        Role::Viewer => SEES,
        Role::Operator => OPERATES,
        Role::Coordinator => COORDINATES,
        Role::Approver => APPROVES,
        Role::Admin => Scope::ALL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_what_its_work_needs_and_no_more() {
        for (role, has, lacks) in [
            (Role::Viewer, Scope::MessagesRead, Scope::WorkWrite),
            (Role::Viewer, Scope::TemplatesRead, Scope::PatientsRead),
            (Role::Operator, Scope::HoldsWrite, Scope::CampaignsWrite),
            (Role::Operator, Scope::MessagesWrite, Scope::PatientsWrite),
            (Role::Coordinator, Scope::WorkWrite, Scope::MessagesWrite),
            (Role::Coordinator, Scope::CampaignsWrite, Scope::CampaignsApprove),
            (Role::Approver, Scope::CampaignsApprove, Scope::CampaignsWrite),
            (Role::Approver, Scope::WorkWrite, Scope::HoldsWrite),
            (Role::Approver, Scope::TemplatesApprove, Scope::PatientsWrite),
            (Role::Coordinator, Scope::CampaignsWrite, Scope::TemplatesApprove),
            (Role::Operator, Scope::HoldsWrite, Scope::TemplatesApprove),
            (Role::Admin, Scope::PatientsWrite, Scope::Admin),
        ] {
            assert!(scopes(role).contains(&has), "{role} {has}");
            assert_eq!(scopes(role).contains(&lacks), role == Role::Admin, "{role} {lacks}");
        }
    }
}
