//! The API, asked over the wire: a worker with a database of its own, in mode capture, so nothing leaves.

mod api;
mod auth;
mod bad_input;
mod campaigns;
mod described;
mod every_route;
mod files;
mod guide;
mod jobs;
mod limits;
mod messages;
mod oidc;
mod operations;
mod page;
pub(crate) mod pages;
mod patients;
mod people;
mod second_person;
mod sign_offs;
mod webhooks;
mod work;
