//! The `outreachd` program.

fn main() {}
