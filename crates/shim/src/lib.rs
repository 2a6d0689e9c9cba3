//! `containerd-shim-tare-v2`: the process between a daemon and its containers.
//!
//! One shim serves the containers of a sandbox, or one container. It outlives the daemon, is the parent of the
//! containers' processes, runs the OCI runtime in-process, owns stdio and logs, and holds published ports. It speaks
//! containerd's shim v2 protocol (`io.containerd.tare.v2`), so Go's containerd drives it, and a private service beside.
//!
//! # Life
//!
//! - `start` (containerd): finds the group, binds the socket, spawns the server, prints the address; see `bootstrap`.
//! - `serve`: the server. **tared's fast path** spawns it without `start`: it binds the socket itself (0600, in the
//!   bundle), and spawns the sealed binary (`/proc/self/fd/N` of a read-only clone of the binary's mount, made once) with
//!
//!   ```text
//!   argv:   -namespace NS -id ID -address SOCKET [-events exits] [-debug] serve
//!   cwd:    the bundle            env: TTRPC_ADDRESS=SOCKET.ttrpc
//!   stdin:  the listening socket  stdout: anything  stderr: where messages go when nobody reads <bundle>/log
//!   ```
//!
//!   It must not make the shim a process group leader: the shim makes its own session. tared may connect at once;
//!   the kernel keeps the connection until the shim accepts. `-events exits` leaves out events that tared
//!   can tell from the answers to its own calls. One process start, no handshake.
//! - `delete`: ends and cleans up what a dead shim left.
//! - The server ends after Shutdown when it has no container; or when it has neither container nor connection for
//!   thirty seconds. It ignores SIGTERM: containers outlive daemons.
//!
//! # What holds
//!
//! - One thread. Calls of the runtime are made in it; nothing else blocks but writing log files. So the parent of
//!   a container's processes is a thread that lives as long as the shim, and no exit is reaped before it is known.
//! - Every wait on another process has a deadline, except waits for the end of a container.
//! - Nothing grows with time: queues, buffers and tables are bounded, and exits are kept until Delete.
//! - Files in the bundle and the private protocol: `docs/formats/shim.md`.
//!
//! Not here: images, networks (the spec names a namespace), restart policies, reading logs.

mod args;
mod bootstrap;
mod container;
mod diagnostics;
mod events;
mod lifecycle;
mod log;
mod oom;
mod ports;
mod process;
mod reaper;
mod rootfs;
mod serve;
mod service;
mod settings;
mod shim;
mod stdio;

use args::Action;
use std::ffi::OsString;

/// Runs the program on its arguments, the first of which is its name.
///
/// # Errors
/// A sentence for standard error; the exit code is 1 then.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), String> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let args = args::parse_args(arguments)?;
    match args.action {
        Action::Start => bootstrap::start(&args),
        Action::Delete => bootstrap::delete::delete(&args),
        Action::Serve => serve::serve(args),
        Action::Logger => bootstrap::logger::exec(&args.rest),
        Action::Version => bootstrap::info::version(&program).map_err(|error| error.to_string()),
        Action::Info => bootstrap::info::info().map_err(|error| error.to_string()),
    }
}
