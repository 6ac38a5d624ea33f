//! The `outreachd` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    outreachd::cli::main()
}
