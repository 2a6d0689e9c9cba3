//! What the cloned child does until execve: no allocation, no logging, no panic.
//!
//! A [`Program`] is a list of [`Op`]s that the parent has prepared: all strings terminated, all
//! descriptors open, every decision taken. [`spawn`] clones a child with its own copy of the parent's
//! memory and walks the list there, each operation a system call or a few. The child of a
//! multi-threaded program may do no more: a lock that another thread held at the time of the clone
//! (an allocator's) is never released in the copy.
//!
//! When a call fails the child writes one [`Report`] (which operation, which call, which errno) and ends;
//! the parent, which still has the list, makes the message. The child never returns into the
//! parent's code, and everything below the container's root is reached by descriptor.
#![no_std]

mod classic;
mod console;
mod device;
mod execute;
mod identity;
mod interpreter;
mod mask;
mod mount;
mod namespace;
mod op;
mod raw;
mod report;
mod spawn;
mod target;

pub use execute::{ArgumentArray, Pointer};
pub use interpreter::{ABANDON, MESSAGE};
pub use op::{
    CgroupsOp, ConsoleOp, DeviceOp, FsOption, HookOp, IdentityOp, ListenerOp, MountChange, MountOp,
    MountSource, Op, PathSource, Program, SockFilter, Stage, TargetKind, WindowSize,
};
pub use report::{Call, Report, ReportKind};
pub use spawn::{CloneRequest, ForeignUser, Spawned, spawn, spawn_in_user};
