//! Development tasks. `cargo run -p xtask -- TASK`, or for the code generator
//! `cargo run -p xtask --features codegen -- codegen`.

use anyhow::{Result, bail};

#[cfg(feature = "codegen")]
mod codegen;

fn main() -> Result<()> {
    let task = std::env::args().nth(1).unwrap_or_default();
    match task.as_str() {
        #[cfg(feature = "codegen")]
        "codegen" => codegen::run(std::path::Path::new(".")),
        #[cfg(not(feature = "codegen"))]
        "codegen" => bail!("run it with: cargo run -p xtask --features codegen -- codegen"),
        other => bail!("unknown task {other:?}; there is: codegen"),
    }
}
