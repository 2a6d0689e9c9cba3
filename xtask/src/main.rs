//! Development tasks: `cargo xtask TASK` (an alias in `.cargo/config.toml`).

#![allow(clippy::print_stdout, reason = "a command for developers; its report goes to standard output")]

use anyhow::{Result, bail};
use std::path::Path;

#[cfg(feature = "codegen")]
mod codegen;
mod layers;
mod tidy;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let task = std::env::args().nth(1).unwrap_or_default();
    match task.as_str() {
        "layers" => layers::run(root),
        "tidy" => tidy::run(root),
        #[cfg(feature = "codegen")]
        "codegen" => codegen::run(root),
        #[cfg(not(feature = "codegen"))]
        "codegen" => bail!("run it with: cargo run -p xtask --features codegen -- codegen"),
        other => bail!("unknown task {other:?}; there are: layers, tidy, codegen"),
    }
}
