//! Bundles that differ from the usual one in one thing: mounts, environment, seccomp profile.

use super::super::machine;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;

/// What a bundle has more than the usual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    Usual,
    /// So many bind mounts of a directory.
    Mounts(usize),
    /// So many variables of 30 bytes.
    Environment(usize),
    /// A seccomp profile of so many rules: one for each system call, the rest compare arguments.
    Seccomp(usize),
}

impl Variant {
    /// Those of the table, the usual one first.
    pub(super) const ALL: [Self; 6] = [
        Self::Usual,
        Self::Mounts(20),
        Self::Mounts(200),
        Self::Environment(5),
        Self::Environment(1000),
        Self::Seccomp(400),
    ];

    pub(super) fn name(self) -> String {
        match self {
            Self::Usual => "usual bundle".to_owned(),
            Self::Mounts(count) => format!("{count} mounts more"),
            Self::Environment(count) => format!("{count} variables"),
            Self::Seccomp(count) => format!("{count} seccomp rules"),
        }
    }

    /// The mode of the floor that makes the same mounts.
    pub(super) fn floor(self, mode: &str) -> String {
        match self {
            Self::Mounts(count) => format!("{mode}+{count}"),
            _ => mode.to_owned(),
        }
    }

    /// Writes the bundle.
    ///
    /// # Errors
    /// When a file or a mount point cannot be made.
    pub(super) fn make(self, directory: &Path, rootfs: &Path, command: &[&str]) -> Result<()> {
        if let Self::Mounts(count) = self {
            let names = (0..count).map(|index| index.to_string()).chain(["source".to_owned()]);
            for name in names {
                let place = rootfs.join("bench").join(name);
                std::fs::create_dir_all(&place).with_context(|| format!("mkdir {}", place.display()))?;
            }
        }
        let source = machine::path(rootfs)?.to_owned() + "/bench/source";
        machine::changed_bundle(directory, rootfs, command, |spec| self.change(spec, &source))
    }

    fn change(self, spec: &mut Value, source: &str) {
        match self {
            Self::Usual => {}
            Self::Mounts(count) => {
                let bind = |index| {
                    let place = format!("/bench/{index}");
                    json!({"destination": place, "type": "bind", "source": source, "options": ["rbind"]})
                };
                append(&mut spec["mounts"], (0..count).map(bind));
            }
            Self::Environment(count) => {
                let variable = |index| json!(format!("VARIABLE_{index:04}=value-{index:010}"));
                append(&mut spec["process"]["env"], (0..count).map(variable));
            }
            Self::Seccomp(count) => spec["linux"]["seccomp"] = profile(count),
        }
    }
}

fn append(list: &mut Value, more: impl Iterator<Item = Value>) {
    if let Value::Array(list) = list {
        list.extend(more);
    }
}

/// An allow list: every system call by a rule of its own, then rules that compare arguments of `ioctl`.
fn profile(rules: usize) -> Value {
    let plain = CALLS.split_whitespace().filter(|name| *name != "ioctl");
    let plain = plain.map(|name| json!({"names": [name], "action": "SCMP_ACT_ALLOW"}));
    let compared = (0..).map(|index| {
        let argument = json!({"index": 1, "value": 0x5400 + index, "op": "SCMP_CMP_EQ"});
        json!({"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [argument]})
    });
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": plain.chain(compared).take(rules).collect::<Vec<_>>(),
    })
}

/// The system calls of x86-64 up to Linux 5.12.
const CALLS: &str = "\
     _sysctl accept accept4 access acct add_key adjtimex afs_syscall alarm arch_prctl bind bpf brk capget capset \
     chdir chmod chown chroot clock_adjtime clock_getres clock_gettime clock_nanosleep clock_settime clone clone3 \
     close close_range connect copy_file_range creat create_module delete_module dup dup2 dup3 epoll_create \
     epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_wait epoll_wait_old eventfd eventfd2 execve execveat \
     exit exit_group faccessat faccessat2 fadvise64 fallocate fanotify_init fanotify_mark fchdir fchmod fchmodat \
     fchown fchownat fcntl fdatasync fgetxattr finit_module flistxattr flock fork fremovexattr fsconfig fsetxattr \
     fsmount fsopen fspick fstat fstatfs fsync ftruncate futex futimesat get_kernel_syms get_mempolicy \
     get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer \
     getpeername getpgid getpgrp getpid getpmsg getppid getpriority getrandom getresgid getresuid getrlimit \
     getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr init_module inotify_add_watch \
     inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit \
     io_uring_enter io_uring_register io_uring_setup ioctl ioperm iopl ioprio_get ioprio_set kcmp kexec_file_load \
     kexec_load keyctl kill lchown lgetxattr link linkat listen listxattr llistxattr lookup_dcookie lremovexattr \
     lseek lsetxattr lstat madvise mbind membarrier memfd_create migrate_pages mincore mkdir mkdirat mknod mknodat \
     mlock mlock2 mlockall mmap modify_ldt mount move_mount move_pages mprotect mq_getsetattr mq_notify mq_open \
     mq_timedreceive mq_timedsend mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap \
     name_to_handle_at nanosleep newfstatat nfsservctl open open_by_handle_at open_tree openat openat2 pause \
     perf_event_open personality pidfd_getfd pidfd_open pidfd_send_signal pipe pipe2 pivot_root pkey_alloc \
     pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_vm_readv process_vm_writev \
     pselect6 ptrace putpmsg pwrite64 pwritev pwritev2 query_module quotactl read readahead readlink readlinkat \
     readv reboot recvfrom recvmmsg recvmsg remap_file_pages removexattr rename renameat renameat2 request_key \
     restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn \
     rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min \
     sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity \
     sched_setattr sched_setparam sched_setscheduler sched_yield seccomp security select semctl semget semop \
     semtimedop sendfile sendmmsg sendmsg sendto set_mempolicy set_robust_list set_thread_area set_tid_address \
     setdomainname setfsgid setfsuid setgid setgroups sethostname setitimer setns setpgid setpriority setregid \
     setresgid setresuid setreuid setrlimit setsid setsockopt settimeofday setuid setxattr shmat shmctl shmdt \
     shmget shutdown sigaltstack signalfd signalfd4 socket socketpair splice stat statfs statx swapoff swapon \
     symlink symlinkat sync sync_file_range syncfs sysfs sysinfo syslog tee tgkill time timer_create timer_delete \
     timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill \
     truncate tuxcall umask umount2 uname unlink unlinkat unshare uprobe uretprobe uselib userfaultfd ustat utime \
     utimensat utimes vfork vhangup vmsplice vserver wait4 waitid write writev";
