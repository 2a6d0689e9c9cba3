//! containerd-shim-tare-v2: see the library.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match tare_shim::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nobody to tell when standard error is gone.
            writeln!(std::io::stderr(), "containerd-shim-tare-v2: {message}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}
