//! System call numbers by name, for the architectures whose kernels Tare runs on.
//!
//! The numbers are the kernel's own (`arch/*/entry/syscalls/*.tbl` and `scripts/syscall.tbl`, up to Linux 7.1).
//! A name that no column knows is not in the table; the caller ignores it, as runc does, because a profile is
//! written for many kernels. The rows exist only while compiling: the program carries them packed, with a hash
//! index, so that looking up the 400 names of a usual profile costs a few microseconds and touches four pages.

use super::arch::Arch;

/// No such system call on this architecture.
const NO: u16 = u16::MAX;
/// 32-bit ARM has calls of its own from 0x0f0000 on; the table writes them from here on.
const ARM_PRIVATE: u16 = 0xf000;

/// The numbers of one system call on every architecture of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers([u16; COLUMNS]);

impl Numbers {
    /// The number as `seccomp_data.nr` holds it, if the architecture has the call.
    pub(super) fn on(self, arch: Arch) -> Option<u32> {
        let number = self.0[arch as usize];
        match (number, arch) {
            (NO, _) => None,
            (n, Arch::X32) => Some(u32::from(n) | super::arch::X32_BIT),
            (n, _) if n >= ARM_PRIVATE => Some(0x000f_0000 + u32::from(n - ARM_PRIVATE)),
            (n, _) => Some(u32::from(n)),
        }
    }
}

/// Finds a system call by its name.
pub(super) fn numbers(name: &str) -> Option<Numbers> {
    let mut slot = hash(name.as_bytes()) as usize % SLOTS;
    loop {
        let row = match PACKED.slots[slot] {
            0 => return None,
            row => usize::from(row) - 1,
        };
        let range = usize::from(PACKED.ends[row])..usize::from(PACKED.ends[row + 1]);
        if PACKED.names.get(range) == Some(name.as_bytes()) {
            return Some(Numbers(PACKED.numbers[row]));
        }
        slot = (slot + 1) % SLOTS;
    }
}

const COLUMNS: usize = 6;
const SLOTS: usize = 1024;
const NAME_BYTES: usize = {
    let (mut total, mut row) = (0, 0);
    while row < ROWS.len() {
        total += ROWS[row].0.len();
        row += 1;
    }
    total
};

struct Packed {
    names: [u8; NAME_BYTES],
    ends: [u16; ROWS.len() + 1],
    numbers: [[u16; COLUMNS]; ROWS.len()],
    /// Row plus one, or zero for an empty slot; open addressing.
    slots: [u16; SLOTS],
}

static PACKED: Packed = pack();

/// FNV-1a, folded: short names, no dependency, usable while compiling.
const fn hash(name: &[u8]) -> u32 {
    let (mut hash, mut i) = (0x811c_9dc5_u32, 0);
    while i < name.len() {
        hash = (hash ^ name[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    hash ^ (hash >> 15)
}

const fn pack() -> Packed {
    let mut packed = Packed {
        names: [0; NAME_BYTES],
        ends: [0; ROWS.len() + 1],
        numbers: [[0; COLUMNS]; ROWS.len()],
        slots: [0; SLOTS],
    };
    let (mut end, mut row) = (0, 0);
    while row < ROWS.len() {
        let name = ROWS[row].0.as_bytes();
        let mut i = 0;
        while i < name.len() {
            packed.names[end] = name[i];
            end += 1;
            i += 1;
        }
        packed.ends[row + 1] = end as u16;
        packed.numbers[row] = ROWS[row].1;
        let mut slot = hash(name) as usize % SLOTS;
        while packed.slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        packed.slots[slot] = row as u16 + 1;
        row += 1;
    }
    packed
}

/// Name, then the numbers on x86_64, i386, x32 (without its bit), 32-bit ARM, aarch64 and riscv64.
#[rustfmt::skip]
const ROWS: [(&str, [u16; COLUMNS]); 488] = [
    ("_llseek", [NO, 140, NO, 140, NO, NO]),
    ("_newselect", [NO, 142, NO, 142, NO, NO]),
    ("_sysctl", [156, 149, NO, 149, NO, NO]),
    ("accept", [43, NO, 43, 285, 202, 202]),
    ("accept4", [288, 364, 288, 366, 242, 242]),
    ("access", [21, 33, 21, 33, NO, NO]),
    ("acct", [163, 51, 163, 51, 89, 89]),
    ("add_key", [248, 286, 248, 309, 217, 217]),
    ("adjtimex", [159, 124, 159, 124, 171, 171]),
    ("afs_syscall", [183, 137, 183, NO, NO, NO]),
    ("alarm", [37, 27, 37, NO, NO, NO]),
    ("arch_prctl", [158, 384, 158, NO, NO, NO]),
    ("arm_fadvise64_64", [NO, NO, NO, 270, NO, NO]),
    ("arm_sync_file_range", [NO, NO, NO, 341, NO, NO]),
    ("bdflush", [NO, 134, NO, 134, NO, NO]),
    ("bind", [49, 361, 49, 282, 200, 200]),
    ("bpf", [321, 357, 321, 386, 280, 280]),
    ("break", [NO, 17, NO, NO, NO, NO]),
    ("breakpoint", [NO, NO, NO, 0xf001, NO, NO]),
    ("brk", [12, 45, 12, 45, 214, 214]),
    ("cacheflush", [NO, NO, NO, 0xf002, NO, NO]),
    ("cachestat", [451, 451, 451, 451, 451, 451]),
    ("capget", [125, 184, 125, 184, 90, 90]),
    ("capset", [126, 185, 126, 185, 91, 91]),
    ("chdir", [80, 12, 80, 12, 49, 49]),
    ("chmod", [90, 15, 90, 15, NO, NO]),
    ("chown", [92, 182, 92, 182, NO, NO]),
    ("chown32", [NO, 212, NO, 212, NO, NO]),
    ("chroot", [161, 61, 161, 61, 51, 51]),
    ("clock_adjtime", [305, 343, 305, 372, 266, 266]),
    ("clock_adjtime64", [NO, 405, NO, 405, NO, NO]),
    ("clock_getres", [229, 266, 229, 264, 114, 114]),
    ("clock_getres_time64", [NO, 406, NO, 406, NO, NO]),
    ("clock_gettime", [228, 265, 228, 263, 113, 113]),
    ("clock_gettime64", [NO, 403, NO, 403, NO, NO]),
    ("clock_nanosleep", [230, 267, 230, 265, 115, 115]),
    ("clock_nanosleep_time64", [NO, 407, NO, 407, NO, NO]),
    ("clock_settime", [227, 264, 227, 262, 112, 112]),
    ("clock_settime64", [NO, 404, NO, 404, NO, NO]),
    ("clone", [56, 120, 56, 120, 220, 220]),
    ("clone3", [435, 435, 435, 435, 435, 435]),
    ("close", [3, 6, 3, 6, 57, 57]),
    ("close_range", [436, 436, 436, 436, 436, 436]),
    ("connect", [42, 362, 42, 283, 203, 203]),
    ("copy_file_range", [326, 377, 326, 391, 285, 285]),
    ("creat", [85, 8, 85, 8, NO, NO]),
    ("create_module", [174, 127, NO, NO, NO, NO]),
    ("delete_module", [176, 129, 176, 129, 106, 106]),
    ("dup", [32, 41, 32, 41, 23, 23]),
    ("dup2", [33, 63, 33, 63, NO, NO]),
    ("dup3", [292, 330, 292, 358, 24, 24]),
    ("epoll_create", [213, 254, 213, 250, NO, NO]),
    ("epoll_create1", [291, 329, 291, 357, 20, 20]),
    ("epoll_ctl", [233, 255, 233, 251, 21, 21]),
    ("epoll_ctl_old", [214, NO, NO, NO, NO, NO]),
    ("epoll_pwait", [281, 319, 281, 346, 22, 22]),
    ("epoll_pwait2", [441, 441, 441, 441, 441, 441]),
    ("epoll_wait", [232, 256, 232, 252, NO, NO]),
    ("epoll_wait_old", [215, NO, NO, NO, NO, NO]),
    ("eventfd", [284, 323, 284, 351, NO, NO]),
    ("eventfd2", [290, 328, 290, 356, 19, 19]),
    ("execve", [59, 11, 520, 11, 221, 221]),
    ("execveat", [322, 358, 545, 387, 281, 281]),
    ("exit", [60, 1, 60, 1, 93, 93]),
    ("exit_group", [231, 252, 231, 248, 94, 94]),
    ("faccessat", [269, 307, 269, 334, 48, 48]),
    ("faccessat2", [439, 439, 439, 439, 439, 439]),
    ("fadvise64", [221, 250, 221, NO, 223, 223]),
    ("fadvise64_64", [NO, 272, NO, NO, NO, NO]),
    ("fallocate", [285, 324, 285, 352, 47, 47]),
    ("fanotify_init", [300, 338, 300, 367, 262, 262]),
    ("fanotify_mark", [301, 339, 301, 368, 263, 263]),
    ("fchdir", [81, 133, 81, 133, 50, 50]),
    ("fchmod", [91, 94, 91, 94, 52, 52]),
    ("fchmodat", [268, 306, 268, 333, 53, 53]),
    ("fchmodat2", [452, 452, 452, 452, 452, 452]),
    ("fchown", [93, 95, 93, 95, 55, 55]),
    ("fchown32", [NO, 207, NO, 207, NO, NO]),
    ("fchownat", [260, 298, 260, 325, 54, 54]),
    ("fcntl", [72, 55, 72, 55, 25, 25]),
    ("fcntl64", [NO, 221, NO, 221, NO, NO]),
    ("fdatasync", [75, 148, 75, 148, 83, 83]),
    ("fgetxattr", [193, 231, 193, 231, 10, 10]),
    ("file_getattr", [468, 468, 468, 468, 468, 468]),
    ("file_setattr", [469, 469, 469, 469, 469, 469]),
    ("finit_module", [313, 350, 313, 379, 273, 273]),
    ("flistxattr", [196, 234, 196, 234, 13, 13]),
    ("flock", [73, 143, 73, 143, 32, 32]),
    ("fork", [57, 2, 57, 2, NO, NO]),
    ("fremovexattr", [199, 237, 199, 237, 16, 16]),
    ("fsconfig", [431, 431, 431, 431, 431, 431]),
    ("fsetxattr", [190, 228, 190, 228, 7, 7]),
    ("fsmount", [432, 432, 432, 432, 432, 432]),
    ("fsopen", [430, 430, 430, 430, 430, 430]),
    ("fspick", [433, 433, 433, 433, 433, 433]),
    ("fstat", [5, 108, 5, 108, 80, 80]),
    ("fstat64", [NO, 197, NO, 197, NO, NO]),
    ("fstatat64", [NO, 300, NO, 327, NO, NO]),
    ("fstatfs", [138, 100, 138, 100, 44, 44]),
    ("fstatfs64", [NO, 269, NO, 267, NO, NO]),
    ("fsync", [74, 118, 74, 118, 82, 82]),
    ("ftime", [NO, 35, NO, NO, NO, NO]),
    ("ftruncate", [77, 93, 77, 93, 46, 46]),
    ("ftruncate64", [NO, 194, NO, 194, NO, NO]),
    ("futex", [202, 240, 202, 240, 98, 98]),
    ("futex_requeue", [456, 456, 456, 456, 456, 456]),
    ("futex_time64", [NO, 422, NO, 422, NO, NO]),
    ("futex_wait", [455, 455, 455, 455, 455, 455]),
    ("futex_waitv", [449, 449, 449, 449, 449, 449]),
    ("futex_wake", [454, 454, 454, 454, 454, 454]),
    ("futimesat", [261, 299, 261, 326, NO, NO]),
    ("get_kernel_syms", [177, 130, NO, NO, NO, NO]),
    ("get_mempolicy", [239, 275, 239, 320, 236, 236]),
    ("get_robust_list", [274, 312, 531, 339, 100, 100]),
    ("get_thread_area", [211, 244, NO, NO, NO, NO]),
    ("get_tls", [NO, NO, NO, 0xf006, NO, NO]),
    ("getcpu", [309, 318, 309, 345, 168, 168]),
    ("getcwd", [79, 183, 79, 183, 17, 17]),
    ("getdents", [78, 141, 78, 141, NO, NO]),
    ("getdents64", [217, 220, 217, 217, 61, 61]),
    ("getegid", [108, 50, 108, 50, 177, 177]),
    ("getegid32", [NO, 202, NO, 202, NO, NO]),
    ("geteuid", [107, 49, 107, 49, 175, 175]),
    ("geteuid32", [NO, 201, NO, 201, NO, NO]),
    ("getgid", [104, 47, 104, 47, 176, 176]),
    ("getgid32", [NO, 200, NO, 200, NO, NO]),
    ("getgroups", [115, 80, 115, 80, 158, 158]),
    ("getgroups32", [NO, 205, NO, 205, NO, NO]),
    ("getitimer", [36, 105, 36, 105, 102, 102]),
    ("getpeername", [52, 368, 52, 287, 205, 205]),
    ("getpgid", [121, 132, 121, 132, 155, 155]),
    ("getpgrp", [111, 65, 111, 65, NO, NO]),
    ("getpid", [39, 20, 39, 20, 172, 172]),
    ("getpmsg", [181, 188, 181, NO, NO, NO]),
    ("getppid", [110, 64, 110, 64, 173, 173]),
    ("getpriority", [140, 96, 140, 96, 141, 141]),
    ("getrandom", [318, 355, 318, 384, 278, 278]),
    ("getresgid", [120, 171, 120, 171, 150, 150]),
    ("getresgid32", [NO, 211, NO, 211, NO, NO]),
    ("getresuid", [118, 165, 118, 165, 148, 148]),
    ("getresuid32", [NO, 209, NO, 209, NO, NO]),
    ("getrlimit", [97, 76, 97, NO, 163, 163]),
    ("getrusage", [98, 77, 98, 77, 165, 165]),
    ("getsid", [124, 147, 124, 147, 156, 156]),
    ("getsockname", [51, 367, 51, 286, 204, 204]),
    ("getsockopt", [55, 365, 542, 295, 209, 209]),
    ("gettid", [186, 224, 186, 224, 178, 178]),
    ("gettimeofday", [96, 78, 96, 78, 169, 169]),
    ("getuid", [102, 24, 102, 24, 174, 174]),
    ("getuid32", [NO, 199, NO, 199, NO, NO]),
    ("getxattr", [191, 229, 191, 229, 8, 8]),
    ("getxattrat", [464, 464, 464, 464, 464, 464]),
    ("gtty", [NO, 32, NO, NO, NO, NO]),
    ("idle", [NO, 112, NO, NO, NO, NO]),
    ("init_module", [175, 128, 175, 128, 105, 105]),
    ("inotify_add_watch", [254, 292, 254, 317, 27, 27]),
    ("inotify_init", [253, 291, 253, 316, NO, NO]),
    ("inotify_init1", [294, 332, 294, 360, 26, 26]),
    ("inotify_rm_watch", [255, 293, 255, 318, 28, 28]),
    ("io_cancel", [210, 249, 210, 247, 3, 3]),
    ("io_destroy", [207, 246, 207, 244, 1, 1]),
    ("io_getevents", [208, 247, 208, 245, 4, 4]),
    ("io_pgetevents", [333, 385, 333, 399, 292, 292]),
    ("io_pgetevents_time64", [NO, 416, NO, 416, NO, NO]),
    ("io_setup", [206, 245, 543, 243, 0, 0]),
    ("io_submit", [209, 248, 544, 246, 2, 2]),
    ("io_uring_enter", [426, 426, 426, 426, 426, 426]),
    ("io_uring_register", [427, 427, 427, 427, 427, 427]),
    ("io_uring_setup", [425, 425, 425, 425, 425, 425]),
    ("ioctl", [16, 54, 514, 54, 29, 29]),
    ("ioperm", [173, 101, 173, NO, NO, NO]),
    ("iopl", [172, 110, 172, NO, NO, NO]),
    ("ioprio_get", [252, 290, 252, 315, 31, 31]),
    ("ioprio_set", [251, 289, 251, 314, 30, 30]),
    ("ipc", [NO, 117, NO, NO, NO, NO]),
    ("kcmp", [312, 349, 312, 378, 272, 272]),
    ("kexec_file_load", [320, NO, 320, 401, 294, 294]),
    ("kexec_load", [246, 283, 528, 347, 104, 104]),
    ("keyctl", [250, 288, 250, 311, 219, 219]),
    ("kill", [62, 37, 62, 37, 129, 129]),
    ("landlock_add_rule", [445, 445, 445, 445, 445, 445]),
    ("landlock_create_ruleset", [444, 444, 444, 444, 444, 444]),
    ("landlock_restrict_self", [446, 446, 446, 446, 446, 446]),
    ("lchown", [94, 16, 94, 16, NO, NO]),
    ("lchown32", [NO, 198, NO, 198, NO, NO]),
    ("lgetxattr", [192, 230, 192, 230, 9, 9]),
    ("link", [86, 9, 86, 9, NO, NO]),
    ("linkat", [265, 303, 265, 330, 37, 37]),
    ("listen", [50, 363, 50, 284, 201, 201]),
    ("listmount", [458, 458, 458, 458, 458, 458]),
    ("listns", [470, 470, 470, 470, 470, 470]),
    ("listxattr", [194, 232, 194, 232, 11, 11]),
    ("listxattrat", [465, 465, 465, 465, 465, 465]),
    ("llistxattr", [195, 233, 195, 233, 12, 12]),
    ("lock", [NO, 53, NO, NO, NO, NO]),
    ("lookup_dcookie", [212, 253, 212, 249, 18, 18]),
    ("lremovexattr", [198, 236, 198, 236, 15, 15]),
    ("lseek", [8, 19, 8, 19, 62, 62]),
    ("lsetxattr", [189, 227, 189, 227, 6, 6]),
    ("lsm_get_self_attr", [459, 459, 459, 459, 459, 459]),
    ("lsm_list_modules", [461, 461, 461, 461, 461, 461]),
    ("lsm_set_self_attr", [460, 460, 460, 460, 460, 460]),
    ("lstat", [6, 107, 6, 107, NO, NO]),
    ("lstat64", [NO, 196, NO, 196, NO, NO]),
    ("madvise", [28, 219, 28, 220, 233, 233]),
    ("map_shadow_stack", [453, 453, 453, 453, 453, 453]),
    ("mbind", [237, 274, 237, 319, 235, 235]),
    ("membarrier", [324, 375, 324, 389, 283, 283]),
    ("memfd_create", [319, 356, 319, 385, 279, 279]),
    ("memfd_secret", [447, 447, 447, NO, 447, 447]),
    ("migrate_pages", [256, 294, 256, 400, 238, 238]),
    ("mincore", [27, 218, 27, 219, 232, 232]),
    ("mkdir", [83, 39, 83, 39, NO, NO]),
    ("mkdirat", [258, 296, 258, 323, 34, 34]),
    ("mknod", [133, 14, 133, 14, NO, NO]),
    ("mknodat", [259, 297, 259, 324, 33, 33]),
    ("mlock", [149, 150, 149, 150, 228, 228]),
    ("mlock2", [325, 376, 325, 390, 284, 284]),
    ("mlockall", [151, 152, 151, 152, 230, 230]),
    ("mmap", [9, 90, 9, NO, 222, 222]),
    ("mmap2", [NO, 192, NO, 192, NO, NO]),
    ("modify_ldt", [154, 123, 154, NO, NO, NO]),
    ("mount", [165, 21, 165, 21, 40, 40]),
    ("mount_setattr", [442, 442, 442, 442, 442, 442]),
    ("move_mount", [429, 429, 429, 429, 429, 429]),
    ("move_pages", [279, 317, 533, 344, 239, 239]),
    ("mprotect", [10, 125, 10, 125, 226, 226]),
    ("mpx", [NO, 56, NO, NO, NO, NO]),
    ("mq_getsetattr", [245, 282, 245, 279, 185, 185]),
    ("mq_notify", [244, 281, 527, 278, 184, 184]),
    ("mq_open", [240, 277, 240, 274, 180, 180]),
    ("mq_timedreceive", [243, 280, 243, 277, 183, 183]),
    ("mq_timedreceive_time64", [NO, 419, NO, 419, NO, NO]),
    ("mq_timedsend", [242, 279, 242, 276, 182, 182]),
    ("mq_timedsend_time64", [NO, 418, NO, 418, NO, NO]),
    ("mq_unlink", [241, 278, 241, 275, 181, 181]),
    ("mremap", [25, 163, 25, 163, 216, 216]),
    ("mseal", [462, 462, 462, 462, 462, 462]),
    ("msgctl", [71, 402, 71, 304, 187, 187]),
    ("msgget", [68, 399, 68, 303, 186, 186]),
    ("msgrcv", [70, 401, 70, 302, 188, 188]),
    ("msgsnd", [69, 400, 69, 301, 189, 189]),
    ("msync", [26, 144, 26, 144, 227, 227]),
    ("munlock", [150, 151, 150, 151, 229, 229]),
    ("munlockall", [152, 153, 152, 153, 231, 231]),
    ("munmap", [11, 91, 11, 91, 215, 215]),
    ("name_to_handle_at", [303, 341, 303, 370, 264, 264]),
    ("nanosleep", [35, 162, 35, 162, 101, 101]),
    ("newfstatat", [262, NO, 262, NO, 79, 79]),
    ("nfsservctl", [180, 169, NO, 169, 42, 42]),
    ("nice", [NO, 34, NO, 34, NO, NO]),
    ("oldfstat", [NO, 28, NO, NO, NO, NO]),
    ("oldlstat", [NO, 84, NO, NO, NO, NO]),
    ("oldolduname", [NO, 59, NO, NO, NO, NO]),
    ("oldstat", [NO, 18, NO, NO, NO, NO]),
    ("olduname", [NO, 109, NO, NO, NO, NO]),
    ("open", [2, 5, 2, 5, NO, NO]),
    ("open_by_handle_at", [304, 342, 304, 371, 265, 265]),
    ("open_tree", [428, 428, 428, 428, 428, 428]),
    ("open_tree_attr", [467, 467, 467, 467, 467, 467]),
    ("openat", [257, 295, 257, 322, 56, 56]),
    ("openat2", [437, 437, 437, 437, 437, 437]),
    ("pause", [34, 29, 34, 29, NO, NO]),
    ("pciconfig_iobase", [NO, NO, NO, 271, NO, NO]),
    ("pciconfig_read", [NO, NO, NO, 272, NO, NO]),
    ("pciconfig_write", [NO, NO, NO, 273, NO, NO]),
    ("perf_event_open", [298, 336, 298, 364, 241, 241]),
    ("personality", [135, 136, 135, 136, 92, 92]),
    ("pidfd_getfd", [438, 438, 438, 438, 438, 438]),
    ("pidfd_open", [434, 434, 434, 434, 434, 434]),
    ("pidfd_send_signal", [424, 424, 424, 424, 424, 424]),
    ("pipe", [22, 42, 22, 42, NO, NO]),
    ("pipe2", [293, 331, 293, 359, 59, 59]),
    ("pivot_root", [155, 217, 155, 218, 41, 41]),
    ("pkey_alloc", [330, 381, 330, 395, 289, 289]),
    ("pkey_free", [331, 382, 331, 396, 290, 290]),
    ("pkey_mprotect", [329, 380, 329, 394, 288, 288]),
    ("poll", [7, 168, 7, 168, NO, NO]),
    ("ppoll", [271, 309, 271, 336, 73, 73]),
    ("ppoll_time64", [NO, 414, NO, 414, NO, NO]),
    ("prctl", [157, 172, 157, 172, 167, 167]),
    ("pread64", [17, 180, 17, 180, 67, 67]),
    ("preadv", [295, 333, 534, 361, 69, 69]),
    ("preadv2", [327, 378, 546, 392, 286, 286]),
    ("prlimit64", [302, 340, 302, 369, 261, 261]),
    ("process_madvise", [440, 440, 440, 440, 440, 440]),
    ("process_mrelease", [448, 448, 448, 448, 448, 448]),
    ("process_vm_readv", [310, 347, 539, 376, 270, 270]),
    ("process_vm_writev", [311, 348, 540, 377, 271, 271]),
    ("prof", [NO, 44, NO, NO, NO, NO]),
    ("profil", [NO, 98, NO, NO, NO, NO]),
    ("pselect6", [270, 308, 270, 335, 72, 72]),
    ("pselect6_time64", [NO, 413, NO, 413, NO, NO]),
    ("ptrace", [101, 26, 521, 26, 117, 117]),
    ("putpmsg", [182, 189, 182, NO, NO, NO]),
    ("pwrite64", [18, 181, 18, 181, 68, 68]),
    ("pwritev", [296, 334, 535, 362, 70, 70]),
    ("pwritev2", [328, 379, 547, 393, 287, 287]),
    ("query_module", [178, 167, NO, NO, NO, NO]),
    ("quotactl", [179, 131, 179, 131, 60, 60]),
    ("quotactl_fd", [443, 443, 443, 443, 443, 443]),
    ("read", [0, 3, 0, 3, 63, 63]),
    ("readahead", [187, 225, 187, 225, 213, 213]),
    ("readdir", [NO, 89, NO, NO, NO, NO]),
    ("readlink", [89, 85, 89, 85, NO, NO]),
    ("readlinkat", [267, 305, 267, 332, 78, 78]),
    ("readv", [19, 145, 515, 145, 65, 65]),
    ("reboot", [169, 88, 169, 88, 142, 142]),
    ("recv", [NO, NO, NO, 291, NO, NO]),
    ("recvfrom", [45, 371, 517, 292, 207, 207]),
    ("recvmmsg", [299, 337, 537, 365, 243, 243]),
    ("recvmmsg_time64", [NO, 417, NO, 417, NO, NO]),
    ("recvmsg", [47, 372, 519, 297, 212, 212]),
    ("remap_file_pages", [216, 257, 216, 253, 234, 234]),
    ("removexattr", [197, 235, 197, 235, 14, 14]),
    ("removexattrat", [466, 466, 466, 466, 466, 466]),
    ("rename", [82, 38, 82, 38, NO, NO]),
    ("renameat", [264, 302, 264, 329, 38, NO]),
    ("renameat2", [316, 353, 316, 382, 276, 276]),
    ("request_key", [249, 287, 249, 310, 218, 218]),
    ("restart_syscall", [219, 0, 219, 0, 128, 128]),
    ("riscv_flush_icache", [NO, NO, NO, NO, NO, 259]),
    ("riscv_hwprobe", [NO, NO, NO, NO, NO, 258]),
    ("rmdir", [84, 40, 84, 40, NO, NO]),
    ("rseq", [334, 386, 334, 398, 293, 293]),
    ("rseq_slice_yield", [471, 471, 471, 471, 471, 471]),
    ("rt_sigaction", [13, 174, 512, 174, 134, 134]),
    ("rt_sigpending", [127, 176, 522, 176, 136, 136]),
    ("rt_sigprocmask", [14, 175, 14, 175, 135, 135]),
    ("rt_sigqueueinfo", [129, 178, 524, 178, 138, 138]),
    ("rt_sigreturn", [15, 173, 513, 173, 139, 139]),
    ("rt_sigsuspend", [130, 179, 130, 179, 133, 133]),
    ("rt_sigtimedwait", [128, 177, 523, 177, 137, 137]),
    ("rt_sigtimedwait_time64", [NO, 421, NO, 421, NO, NO]),
    ("rt_tgsigqueueinfo", [297, 335, 536, 363, 240, 240]),
    ("sched_get_priority_max", [146, 159, 146, 159, 125, 125]),
    ("sched_get_priority_min", [147, 160, 147, 160, 126, 126]),
    ("sched_getaffinity", [204, 242, 204, 242, 123, 123]),
    ("sched_getattr", [315, 352, 315, 381, 275, 275]),
    ("sched_getparam", [143, 155, 143, 155, 121, 121]),
    ("sched_getscheduler", [145, 157, 145, 157, 120, 120]),
    ("sched_rr_get_interval", [148, 161, 148, 161, 127, 127]),
    ("sched_rr_get_interval_time64", [NO, 423, NO, 423, NO, NO]),
    ("sched_setaffinity", [203, 241, 203, 241, 122, 122]),
    ("sched_setattr", [314, 351, 314, 380, 274, 274]),
    ("sched_setparam", [142, 154, 142, 154, 118, 118]),
    ("sched_setscheduler", [144, 156, 144, 156, 119, 119]),
    ("sched_yield", [24, 158, 24, 158, 124, 124]),
    ("seccomp", [317, 354, 317, 383, 277, 277]),
    ("security", [185, NO, 185, NO, NO, NO]),
    ("select", [23, 82, 23, NO, NO, NO]),
    ("semctl", [66, 394, 66, 300, 191, 191]),
    ("semget", [64, 393, 64, 299, 190, 190]),
    ("semop", [65, NO, 65, 298, 193, 193]),
    ("semtimedop", [220, NO, 220, 312, 192, 192]),
    ("semtimedop_time64", [NO, 420, NO, 420, NO, NO]),
    ("send", [NO, NO, NO, 289, NO, NO]),
    ("sendfile", [40, 187, 40, 187, 71, 71]),
    ("sendfile64", [NO, 239, NO, 239, NO, NO]),
    ("sendmmsg", [307, 345, 538, 374, 269, 269]),
    ("sendmsg", [46, 370, 518, 296, 211, 211]),
    ("sendto", [44, 369, 44, 290, 206, 206]),
    ("set_mempolicy", [238, 276, 238, 321, 237, 237]),
    ("set_mempolicy_home_node", [450, 450, 450, 450, 450, 450]),
    ("set_robust_list", [273, 311, 530, 338, 99, 99]),
    ("set_thread_area", [205, 243, NO, NO, NO, NO]),
    ("set_tid_address", [218, 258, 218, 256, 96, 96]),
    ("set_tls", [NO, NO, NO, 0xf005, NO, NO]),
    ("setdomainname", [171, 121, 171, 121, 162, 162]),
    ("setfsgid", [123, 139, 123, 139, 152, 152]),
    ("setfsgid32", [NO, 216, NO, 216, NO, NO]),
    ("setfsuid", [122, 138, 122, 138, 151, 151]),
    ("setfsuid32", [NO, 215, NO, 215, NO, NO]),
    ("setgid", [106, 46, 106, 46, 144, 144]),
    ("setgid32", [NO, 214, NO, 214, NO, NO]),
    ("setgroups", [116, 81, 116, 81, 159, 159]),
    ("setgroups32", [NO, 206, NO, 206, NO, NO]),
    ("sethostname", [170, 74, 170, 74, 161, 161]),
    ("setitimer", [38, 104, 38, 104, 103, 103]),
    ("setns", [308, 346, 308, 375, 268, 268]),
    ("setpgid", [109, 57, 109, 57, 154, 154]),
    ("setpriority", [141, 97, 141, 97, 140, 140]),
    ("setregid", [114, 71, 114, 71, 143, 143]),
    ("setregid32", [NO, 204, NO, 204, NO, NO]),
    ("setresgid", [119, 170, 119, 170, 149, 149]),
    ("setresgid32", [NO, 210, NO, 210, NO, NO]),
    ("setresuid", [117, 164, 117, 164, 147, 147]),
    ("setresuid32", [NO, 208, NO, 208, NO, NO]),
    ("setreuid", [113, 70, 113, 70, 145, 145]),
    ("setreuid32", [NO, 203, NO, 203, NO, NO]),
    ("setrlimit", [160, 75, 160, 75, 164, 164]),
    ("setsid", [112, 66, 112, 66, 157, 157]),
    ("setsockopt", [54, 366, 541, 294, 208, 208]),
    ("settimeofday", [164, 79, 164, 79, 170, 170]),
    ("setuid", [105, 23, 105, 23, 146, 146]),
    ("setuid32", [NO, 213, NO, 213, NO, NO]),
    ("setxattr", [188, 226, 188, 226, 5, 5]),
    ("setxattrat", [463, 463, 463, 463, 463, 463]),
    ("sgetmask", [NO, 68, NO, NO, NO, NO]),
    ("shmat", [30, 397, 30, 305, 196, 196]),
    ("shmctl", [31, 396, 31, 308, 195, 195]),
    ("shmdt", [67, 398, 67, 306, 197, 197]),
    ("shmget", [29, 395, 29, 307, 194, 194]),
    ("shutdown", [48, 373, 48, 293, 210, 210]),
    ("sigaction", [NO, 67, NO, 67, NO, NO]),
    ("sigaltstack", [131, 186, 525, 186, 132, 132]),
    ("signal", [NO, 48, NO, NO, NO, NO]),
    ("signalfd", [282, 321, 282, 349, NO, NO]),
    ("signalfd4", [289, 327, 289, 355, 74, 74]),
    ("sigpending", [NO, 73, NO, 73, NO, NO]),
    ("sigprocmask", [NO, 126, NO, 126, NO, NO]),
    ("sigreturn", [NO, 119, NO, 119, NO, NO]),
    ("sigsuspend", [NO, 72, NO, 72, NO, NO]),
    ("socket", [41, 359, 41, 281, 198, 198]),
    ("socketcall", [NO, 102, NO, NO, NO, NO]),
    ("socketpair", [53, 360, 53, 288, 199, 199]),
    ("splice", [275, 313, 275, 340, 76, 76]),
    ("ssetmask", [NO, 69, NO, NO, NO, NO]),
    ("stat", [4, 106, 4, 106, NO, NO]),
    ("stat64", [NO, 195, NO, 195, NO, NO]),
    ("statfs", [137, 99, 137, 99, 43, 43]),
    ("statfs64", [NO, 268, NO, 266, NO, NO]),
    ("statmount", [457, 457, 457, 457, 457, 457]),
    ("statx", [332, 383, 332, 397, 291, 291]),
    ("stime", [NO, 25, NO, NO, NO, NO]),
    ("stty", [NO, 31, NO, NO, NO, NO]),
    ("swapoff", [168, 115, 168, 115, 225, 225]),
    ("swapon", [167, 87, 167, 87, 224, 224]),
    ("symlink", [88, 83, 88, 83, NO, NO]),
    ("symlinkat", [266, 304, 266, 331, 36, 36]),
    ("sync", [162, 36, 162, 36, 81, 81]),
    ("sync_file_range", [277, 314, 277, NO, 84, 84]),
    ("sync_file_range2", [NO, NO, NO, 341, NO, NO]),
    ("syncfs", [306, 344, 306, 373, 267, 267]),
    ("sysfs", [139, 135, 139, 135, NO, NO]),
    ("sysinfo", [99, 116, 99, 116, 179, 179]),
    ("syslog", [103, 103, 103, 103, 116, 116]),
    ("tee", [276, 315, 276, 342, 77, 77]),
    ("tgkill", [234, 270, 234, 268, 131, 131]),
    ("time", [201, 13, 201, NO, NO, NO]),
    ("timer_create", [222, 259, 526, 257, 107, 107]),
    ("timer_delete", [226, 263, 226, 261, 111, 111]),
    ("timer_getoverrun", [225, 262, 225, 260, 109, 109]),
    ("timer_gettime", [224, 261, 224, 259, 108, 108]),
    ("timer_gettime64", [NO, 408, NO, 408, NO, NO]),
    ("timer_settime", [223, 260, 223, 258, 110, 110]),
    ("timer_settime64", [NO, 409, NO, 409, NO, NO]),
    ("timerfd_create", [283, 322, 283, 350, 85, 85]),
    ("timerfd_gettime", [287, 326, 287, 354, 87, 87]),
    ("timerfd_gettime64", [NO, 410, NO, 410, NO, NO]),
    ("timerfd_settime", [286, 325, 286, 353, 86, 86]),
    ("timerfd_settime64", [NO, 411, NO, 411, NO, NO]),
    ("times", [100, 43, 100, 43, 153, 153]),
    ("tkill", [200, 238, 200, 238, 130, 130]),
    ("truncate", [76, 92, 76, 92, 45, 45]),
    ("truncate64", [NO, 193, NO, 193, NO, NO]),
    ("tuxcall", [184, NO, 184, NO, NO, NO]),
    ("ugetrlimit", [NO, 191, NO, 191, NO, NO]),
    ("ulimit", [NO, 58, NO, NO, NO, NO]),
    ("umask", [95, 60, 95, 60, 166, 166]),
    ("umount", [NO, 22, NO, NO, NO, NO]),
    ("umount2", [166, 52, 166, 52, 39, 39]),
    ("uname", [63, 122, 63, 122, 160, 160]),
    ("unlink", [87, 10, 87, 10, NO, NO]),
    ("unlinkat", [263, 301, 263, 328, 35, 35]),
    ("unshare", [272, 310, 272, 337, 97, 97]),
    ("uprobe", [336, NO, 336, NO, NO, NO]),
    ("uretprobe", [335, NO, 335, NO, NO, NO]),
    ("uselib", [134, 86, NO, 86, NO, NO]),
    ("userfaultfd", [323, 374, 323, 388, 282, 282]),
    ("usr26", [NO, NO, NO, 0xf003, NO, NO]),
    ("usr32", [NO, NO, NO, 0xf004, NO, NO]),
    ("ustat", [136, 62, 136, 62, NO, NO]),
    ("utime", [132, 30, 132, NO, NO, NO]),
    ("utimensat", [280, 320, 280, 348, 88, 88]),
    ("utimensat_time64", [NO, 412, NO, 412, NO, NO]),
    ("utimes", [235, 271, 235, 269, NO, NO]),
    ("vfork", [58, 190, 58, 190, NO, NO]),
    ("vhangup", [153, 111, 153, 111, 58, 58]),
    ("vm86", [NO, 166, NO, NO, NO, NO]),
    ("vm86old", [NO, 113, NO, NO, NO, NO]),
    ("vmsplice", [278, 316, 532, 343, 75, 75]),
    ("vserver", [236, 273, NO, 313, NO, NO]),
    ("wait4", [61, 114, 61, 114, 260, 260]),
    ("waitid", [247, 284, 529, 280, 95, 95]),
    ("waitpid", [NO, 7, NO, NO, NO, NO]),
    ("write", [1, 4, 1, 4, 64, 64]),
    ("writev", [20, 146, 516, 146, 66, 66]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name() {
        for (name, columns) in ROWS {
            assert_eq!(numbers(name), Some(Numbers(columns)), "{name}");
        }
        assert_eq!(numbers("no_such_call"), None);
        assert_eq!(numbers(""), None);
    }

    #[test]
    fn no_number_is_given_twice() {
        // The kernel's names for one number: the older one is an alias on that architecture.
        let aliases = ["arm_sync_file_range"];
        for column in 0..COLUMNS {
            let mut seen = [""; 0x1_0000];
            for (name, columns) in ROWS {
                let number = usize::from(columns[column]);
                if number == usize::from(NO) || aliases.contains(&name) {
                    continue;
                }
                assert_eq!(seen[number], "", "{name} in column {column}");
                seen[number] = name;
            }
        }
    }

    #[test]
    fn numbers_are_those_of_the_kernel() {
        let on = |name: &str, arch| numbers(name).and_then(|n| n.on(arch));
        assert_eq!(on("execve", Arch::X86_64), Some(59));
        assert_eq!(on("execve", Arch::X86), Some(11));
        assert_eq!(on("execve", Arch::X32), Some(0x4000_0000 + 520));
        assert_eq!(on("execve", Arch::Aarch64), Some(221));
        assert_eq!(on("set_tls", Arch::Arm), Some(0x000f_0005));
        assert_eq!(on("open", Arch::Aarch64), None);
        assert_eq!(on("open_tree_attr", Arch::Riscv64), Some(467));
    }
}
