//! Stories about templates.
