/*
 * The floor: what the kernel alone needs to start a program in a container and to see it end.
 *
 *   floor none|parent|self[+MOUNTS] ROOTFS PROGRAM [ARGUMENT...]
 *
 * Same namespaces, mounts, devices, masks and cgroups as a runtime makes for the default bundle, and nothing else:
 * no configuration is read, nothing is checked, nothing is recorded. With `parent` the v1 cgroups are made and the
 * child is attached by the parent, as runtimes do it; with `self` the child attaches itself, which takes no lock of
 * the thread group; with `none` there are no cgroups. With a number, so many directories `bench/N` of the root are
 * covered by its `bench/source`. Exit status: that of the program; 99 when a step failed.
 *
 * In C because it is the yardstick: nobody should have to ask what a language adds to it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define NOEXEC (MS_NOSUID | MS_NOEXEC | MS_NODEV)

static const char *const hierarchies[] = {
	"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd",
};

static void need(long result, const char *step)
{
	if (result >= 0)
		return;
	dprintf(2, "floor: %s: %m\n", step);
	_exit(99);
}

static void put(const char *path, const char *text, size_t length)
{
	int file = open(path, O_WRONLY | O_CLOEXEC);
	need(file, path);
	need(write(file, text, length), path);
	close(file);
}

/* A new cpuset is empty; a task can enter it once it has the processors and memory nodes of its parent. */
static void inherit(const char *directory, const char *name)
{
	char path[128], value[256];
	snprintf(path, sizeof path, "/sys/fs/cgroup/cpuset/%s", name);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	need(file, path);
	ssize_t length = read(file, value, sizeof value);
	need(length, path);
	close(file);
	snprintf(path, sizeof path, "%s/%s", directory, name);
	put(path, value, (size_t)length);
}

static void cgroup_path(char *path, size_t size, unsigned hierarchy, int owner, const char *file)
{
	snprintf(path, size, "/sys/fs/cgroup/%s/floor-%d%s", hierarchies[hierarchy], owner, file);
}

static void make_cgroups(int owner)
{
	char path[128];
	for (unsigned i = 0; i < COUNT(hierarchies); i++) {
		cgroup_path(path, sizeof path, i, owner, "");
		need(mkdir(path, 0755), path);
		if (!strcmp(hierarchies[i], "cpuset")) {
			inherit(path, "cpuset.cpus");
			inherit(path, "cpuset.mems");
		}
	}
}

static void attach(int owner, const char *file, const char *pid)
{
	char path[128];
	for (unsigned i = 0; i < COUNT(hierarchies); i++) {
		cgroup_path(path, sizeof path, i, owner, file);
		put(path, pid, strlen(pid));
	}
}

static void mount_file_systems(const char *root)
{
	need(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "make / a slave");
	need(mount(root, root, NULL, MS_BIND | MS_REC, NULL), "bind the root");
	need(chdir(root), "enter the root");
	need(mount("proc", "proc", "proc", 0, NULL), "proc");
	need(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"), "dev");
	need(mkdir("dev/pts", 0755), "dev/pts");
	need(mkdir("dev/shm", 0755), "dev/shm");
	need(mkdir("dev/mqueue", 0755), "dev/mqueue");
	need(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		   "newinstance,ptmxmode=0666,mode=0620,gid=5"), "devpts");
	need(mount("shm", "dev/shm", "tmpfs", NOEXEC, "mode=1777,size=65536k"), "shm");
	need(mount("mqueue", "dev/mqueue", "mqueue", NOEXEC, NULL), "mqueue");
	need(mount("sysfs", "sys", "sysfs", NOEXEC | MS_RDONLY, NULL), "sysfs");
}

static void make_devices(void)
{
	static const struct { const char *path; unsigned major, minor; } nodes[] = {
		{ "dev/null", 1, 3 }, { "dev/zero", 1, 5 }, { "dev/full", 1, 7 },
		{ "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 },
	};
	static const char *const links[][2] = {
		{ "pts/ptmx", "dev/ptmx" }, { "/proc/self/fd", "dev/fd" }, { "/proc/self/fd/0", "dev/stdin" },
		{ "/proc/self/fd/1", "dev/stdout" }, { "/proc/self/fd/2", "dev/stderr" },
	};
	umask(0);
	for (unsigned i = 0; i < COUNT(nodes); i++)
		need(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].path);
	for (unsigned i = 0; i < COUNT(links); i++)
		need(symlink(links[i][0], links[i][1]), links[i][1]);
}

static void hide(void)
{
	static const char *const read_only[] = { "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger" };
	static const char *const masked[] = {
		"proc/acpi", "proc/asound", "proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list",
		"proc/timer_stats", "proc/sched_debug", "sys/firmware", "proc/scsi", "sys/devices/virtual/powercap",
	};
	for (unsigned i = 0; i < COUNT(read_only); i++)
		if (!mount(read_only[i], read_only[i], NULL, MS_BIND | MS_REC, NULL))
			need(mount(NULL, read_only[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | NOEXEC, NULL), read_only[i]);
	for (unsigned i = 0; i < COUNT(masked); i++) {
		struct stat found;
		if (stat(masked[i], &found))
			continue;
		if (S_ISDIR(found.st_mode))
			need(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1"), masked[i]);
		else
			need(mount("dev/null", masked[i], NULL, MS_BIND, NULL), masked[i]);
	}
}

static void bind_more(unsigned count)
{
	char place[32];
	for (unsigned i = 0; i < count; i++) {
		snprintf(place, sizeof place, "bench/%u", i);
		need(mount("bench/source", place, NULL, MS_BIND | MS_REC, NULL), place);
	}
}

static void become(const char *root, unsigned mounts, char **program)
{
	mount_file_systems(root);
	bind_more(mounts);
	make_devices();
	hide();
	need(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	need(umount2(".", MNT_DETACH), "leave the old root");
	need(chdir("/"), "enter /");
	char *environment[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	execve(program[0], program, environment);
	need(-1, program[0]);
}

int main(int count, char **arguments)
{
	if (count < 4) {
		dprintf(2, "usage: floor none|parent|self[+MOUNTS] ROOTFS PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	char *more = strchr(arguments[1], '+');
	unsigned mounts = more ? (unsigned)atoi(more + 1) : 0;
	if (more)
		*more = 0;
	int owner = getpid(), by_parent = !strcmp(arguments[1], "parent"), by_self = !strcmp(arguments[1], "self");
	int gate[2] = { -1, -1 };
	if (by_parent || by_self)
		make_cgroups(owner);
	if (by_parent)
		need(pipe2(gate, O_CLOEXEC), "pipe");
	struct clone_args clone = {
		.flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS |
			 (by_parent ? 0 : CLONE_VFORK),
		.exit_signal = SIGCHLD,
	};
	long child = syscall(SYS_clone3, &clone, sizeof clone);
	need(child, "clone3");
	if (child == 0) {
		char byte;
		if (by_parent)
			need(read(gate[0], &byte, 1), "wait for the parent");
		if (by_self)
			attach(owner, "/tasks", "0");
		become(arguments[2], mounts, arguments + 3);
	}
	if (by_parent) {
		char pid[24];
		snprintf(pid, sizeof pid, "%ld", child);
		attach(owner, "/cgroup.procs", pid);
		need(write(gate[1], "", 1), "let the child go");
	}
	int status;
	need(waitpid((pid_t)child, &status, 0), "wait");
	if (by_parent || by_self)
		for (unsigned i = 0; i < COUNT(hierarchies); i++) {
			char path[128];
			cgroup_path(path, sizeof path, i, owner, "");
			need(rmdir(path), path);
		}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
