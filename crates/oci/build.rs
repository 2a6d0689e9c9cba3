//! Linker arguments of the command: no start files, no libc, no dynamic linker, no unwind tables. For the binary alone.

fn main() {
    let script = concat!("-Wl,-T,", env!("CARGO_MANIFEST_DIR"), "/link.ld");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,norelro",
        "-Wl,--no-eh-frame-hdr",
        script,
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=link.ld");
}
