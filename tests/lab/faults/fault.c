/* fault SECONDS REPORT list PROGRAM [ARGUMENT...]
 * fault SECONDS REPORT once|on|all CALL TARGET NTH ERROR PROGRAM [ARGUMENT...]
 *
 * Run a program once and write down its system calls, or have one of them fail: the NTH (from 1) that is named CALL and
 * is about TARGET, alone (`once`), with every later one of this name about this target (`on`), or with every later one
 * of this name (`all`). A call that fails isn't carried out, save for close: the kernel takes the descriptor back
 * whatever it then says (close(2)).
 *
 * REPORT gets a line for each call that was listed or made to fail, "<number> TAB <call> TAB <target>", and at the end
 * "end TAB <wait status>", or "hung" if the program had to be killed after SECONDS. Without that last line nothing can
 * be told, and stderr has the reason.
 *
 * Only the program itself is traced. What it starts runs as it would: no option of ptrace(2) follows it. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a call is about: nothing that has a name, a path, a path below a directory, a descriptor, and a command for it. */
enum about { NOTHING, PATH, AT, DESCRIPTOR, COMMAND };

static const struct known { long number; const char *name; enum about about; } known[] = {
#define CALL(name, about) {SYS_##name, #name, about},
	CALL(read, DESCRIPTOR) CALL(pread64, DESCRIPTOR) CALL(readv, DESCRIPTOR) CALL(write, DESCRIPTOR)
	CALL(pwrite64, DESCRIPTOR) CALL(writev, DESCRIPTOR) CALL(lseek, DESCRIPTOR) CALL(close, DESCRIPTOR)
	CALL(fstat, DESCRIPTOR) CALL(fsync, DESCRIPTOR) CALL(fdatasync, DESCRIPTOR) CALL(ftruncate, DESCRIPTOR)
	CALL(getdents64, DESCRIPTOR) CALL(dup, DESCRIPTOR) CALL(dup3, DESCRIPTOR) CALL(flock, DESCRIPTOR)
	CALL(fchmod, DESCRIPTOR) CALL(fchown, DESCRIPTOR) CALL(fallocate, DESCRIPTOR) CALL(fcntl, COMMAND)
	CALL(ioctl, COMMAND) CALL(openat, AT) CALL(newfstatat, AT) CALL(statx, AT) CALL(readlinkat, AT)
	CALL(faccessat, AT) CALL(faccessat2, AT) CALL(unlinkat, AT) CALL(mkdirat, AT) CALL(renameat, AT)
	CALL(renameat2, AT) CALL(linkat, AT) CALL(execve, PATH) CALL(truncate, PATH) CALL(chdir, PATH)
	CALL(statfs, PATH) CALL(getcwd, NOTHING) CALL(pipe2, NOTHING) CALL(clone, NOTHING) CALL(clone3, NOTHING)
	CALL(wait4, NOTHING) CALL(waitid, NOTHING) CALL(kill, NOTHING) CALL(tgkill, NOTHING) CALL(pidfd_open, NOTHING)
	CALL(pidfd_send_signal, NOTHING) CALL(ppoll, NOTHING) CALL(mmap, NOTHING) CALL(munmap, NOTHING)
	CALL(mremap, NOTHING) CALL(mprotect, NOTHING) CALL(madvise, NOTHING) CALL(brk, NOTHING)
	CALL(rt_sigaction, NOTHING) CALL(rt_sigprocmask, NOTHING) CALL(rt_sigreturn, NOTHING)
	CALL(sigaltstack, NOTHING) CALL(getrandom, NOTHING) CALL(clock_gettime, NOTHING) CALL(clock_nanosleep, NOTHING)
	CALL(nanosleep, NOTHING) CALL(getpid, NOTHING) CALL(gettid, NOTHING) CALL(getppid, NOTHING)
	CALL(getuid, NOTHING) CALL(geteuid, NOTHING) CALL(getgid, NOTHING) CALL(getegid, NOTHING)
	CALL(prlimit64, NOTHING) CALL(sysinfo, NOTHING) CALL(uname, NOTHING) CALL(futex, NOTHING) CALL(rseq, NOTHING)
	CALL(set_tid_address, NOTHING) CALL(set_robust_list, NOTHING) CALL(sched_getaffinity, NOTHING)
	CALL(prctl, NOTHING) CALL(umask, NOTHING) CALL(setpgid, NOTHING) CALL(setsid, NOTHING) CALL(exit, NOTHING)
	CALL(exit_group, NOTHING) CALL(socket, NOTHING) CALL(connect, DESCRIPTOR)
#ifdef SYS_open /* what newer architectures do without */
	CALL(open, PATH) CALL(stat, PATH) CALL(lstat, PATH) CALL(readlink, PATH) CALL(access, PATH) CALL(unlink, PATH)
	CALL(mkdir, PATH) CALL(rmdir, PATH) CALL(rename, PATH) CALL(link, PATH) CALL(dup2, DESCRIPTOR)
	CALL(pipe, NOTHING) CALL(poll, NOTHING) CALL(select, NOTHING) CALL(fork, NOTHING) CALL(vfork, NOTHING)
	CALL(arch_prctl, NOTHING)
#endif
};

static const struct { int number; const char *name; } commands[] = {
#define COMMAND(name) {name, #name},
	COMMAND(F_DUPFD) COMMAND(F_DUPFD_CLOEXEC) COMMAND(F_GETFD) COMMAND(F_SETFD) COMMAND(F_GETFL) COMMAND(F_SETFL)
	COMMAND(F_SETLK) COMMAND(F_SETLKW) COMMAND(F_GETLK) COMMAND(F_OFD_SETLK) COMMAND(F_SETOWN) COMMAND(F_SETSIG)
};

static pid_t program;
static volatile sig_atomic_t hung;

static void on_alarm(int signal)
{
	(void)signal;
	hung = 1;
	kill(program, SIGKILL);
}

static const char *text_at(unsigned long long address)
{
	static char text[PATH_MAX];
	size_t page = 4096, got = 0;

	/* Page by page: the next one may not be there. */
	while (got + 1 < sizeof text) {
		size_t size = page - (address + got) % page;
		struct iovec here = {text + got, size < sizeof text - 1 - got ? size : sizeof text - 1 - got};
		struct iovec there = {(void *)(address + got), here.iov_len};
		ssize_t n = process_vm_readv(program, &here, 1, &there, 1, 0);
		if (n <= 0)
			break;
		if (memchr(text + got, 0, (size_t)n))
			return text;
		got += (size_t)n;
	}
	text[got] = 0;
	return text;
}

/* Where a descriptor leads, without the numbers that are others in each run: a pipe's, and the program's own. */
static const char *behind(int descriptor)
{
	static char target[PATH_MAX], own[PATH_MAX + 16];
	char link[64];

	if (descriptor == AT_FDCWD)
		return ".";
	snprintf(link, sizeof link, "/proc/%d/fd/%d", program, descriptor);
	ssize_t n = readlink(link, target, sizeof target - 1);
	target[n > 0 ? n : 0] = 0;
	if (strncmp(target, "pipe:", 5) == 0)
		return "pipe";
	int itself = snprintf(link, sizeof link, "/proc/%d/", program);
	if (strncmp(target, link, (size_t)itself) == 0) {
		snprintf(own, sizeof own, "/proc/self/%s", target + itself);
		return own;
	}
	return n > 0 ? target : "closed";
}

static const struct known *look_up(unsigned long long number)
{
	static struct known other;
	static char name[32];

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if ((unsigned long long)known[i].number == number)
			return &known[i];
	snprintf(name, sizeof name, "call-%llu", number);
	other = (struct known){(long)number, name, NOTHING};
	return &other;
}

/* The name of a call; a command for a descriptor is a part of it. */
static const char *name_of(const struct known *call, const unsigned long long *args)
{
	static char name[64];

	if (call->about != COMMAND)
		return call->name;
	snprintf(name, sizeof name, "%s(%#llx)", call->name, args[1]);
	for (size_t i = 0; !strcmp(call->name, "fcntl") && i < sizeof commands / sizeof *commands; i++)
		if ((unsigned long long)commands[i].number == args[1])
			snprintf(name, sizeof name, "fcntl(%s)", commands[i].name);
	return name;
}

static const char *target_of(const struct known *call, const unsigned long long *args)
{
	static char target[2 * PATH_MAX + 1];
	const char *path;

	switch (call->about) {
	case PATH:
		return text_at(args[0]);
	case AT:
		path = text_at(args[1]);
		if (*path == '/' || (int)args[0] == AT_FDCWD)
			return path;
		snprintf(target, sizeof target, "%s%s%s", behind((int)args[0]), *path ? "/" : "", path);
		return target;
	case DESCRIPTOR:
	case COMMAND:
		return behind((int)args[0]);
	default:
		return "";
	}
}

/* Have the kernel carry out no call at all. */
static void skip(void)
{
#if defined __x86_64__
	struct user_regs_struct registers;
	ptrace(PTRACE_GETREGS, program, 0, &registers);
	registers.orig_rax = (unsigned long long)-1;
	ptrace(PTRACE_SETREGS, program, 0, &registers);
#elif defined __aarch64__
	int none = -1;
	struct iovec number = {&none, sizeof none};
	ptrace(PTRACE_SETREGSET, program, NT_ARM_SYSTEM_CALL, &number);
#else
#error "how a system call is skipped on this processor is yet to be written"
#endif
}

static void answer(int error)
{
#if defined __x86_64__
	struct user_regs_struct registers;
	ptrace(PTRACE_GETREGS, program, 0, &registers);
	registers.rax = (unsigned long long)-error;
	ptrace(PTRACE_SETREGS, program, 0, &registers);
#elif defined __aarch64__
	struct user_regs_struct registers;
	struct iovec all = {&registers, sizeof registers};
	ptrace(PTRACE_GETREGSET, program, NT_PRSTATUS, &all);
	registers.regs[0] = (unsigned long long)-error;
	ptrace(PTRACE_SETREGSET, program, NT_PRSTATUS, &all);
#endif
}

/* Which calls fail. Without a name none does, and all are listed. */
static struct { const char *how, *name, *target; long nth; int error; } wanted;

static int fails(const char *name, const struct known *call, const unsigned long long *args)
{
	static long met;

	if (!wanted.name || strcmp(name, wanted.name))
		return 0;
	int begun = met >= wanted.nth;
	if (begun && !strcmp(wanted.how, "all"))
		return 1;
	if (strcmp(target_of(call, args), wanted.target))
		return 0;
	met++;
	return met == wanted.nth || (begun && !strcmp(wanted.how, "on"));
}

int main(int argc, char **argv)
{
	int listing = argc > 4 && !strcmp(argv[3], "list"), first = listing ? 4 : 8, status;
	long number = 0;

	if (argc <= first)
		return 2;
	if (!listing) {
		wanted.how = argv[3], wanted.name = argv[4], wanted.target = argv[5];
		wanted.nth = atol(argv[6]), wanted.error = atoi(argv[7]);
	}
	program = fork();
	if (program == 0) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(126);
		raise(SIGSTOP);
		execv(argv[first], argv + first);
		_exit(127);
	}
	FILE *report = fopen(argv[2], "we");
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	if (!report || waitpid(program, &status, 0) != program || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, program, 0, options)) {
		perror("fault: ptrace");
		return 2;
	}
	signal(SIGALRM, on_alarm);
	alarm((unsigned)atoi(argv[1]));
	int failing = 0, signal = 0, started = 0, done = 0;
	for (;;) {
		ptrace(done ? PTRACE_DETACH : PTRACE_SYSCALL, program, 0, signal);
		if (waitpid(program, &status, 0) < 0) {
			if (errno == EINTR)
				continue;
			perror("fault: waitpid");
			return 2;
		}
		if (!WIFSTOPPED(status))
			break;
		signal = WSTOPSIG(status);
		if (status >> 16) { /* it has begun, or begun anew */
			signal = 0;
			started = 1;
			continue;
		}
		if (signal != (SIGTRAP | 0x80))
			continue; /* a signal for the program */
		signal = 0;
		struct __ptrace_syscall_info info = {0};
		if (!started || ptrace(PTRACE_GET_SYSCALL_INFO, program, sizeof info, &info) <= 0)
			continue;
		if (info.op == PTRACE_SYSCALL_INFO_EXIT && failing) {
			answer(wanted.error);
			failing = 0;
			done = !strcmp(wanted.how, "once"); /* the rest runs untraced, which is faster */
		} else if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
			unsigned long long args[6];
			memcpy(args, info.entry.args, sizeof args);
			const struct known *call = look_up(info.entry.nr);
			const char *name = name_of(call, args);
			number++;
			failing = fails(name, call, args);
			if (listing || failing)
				fprintf(report, "%ld\t%s\t%s\n", number, name, target_of(call, args));
			if (failing && strcmp(name, "close"))
				skip();
		}
	}
	fprintf(report, hung ? "hung\n" : "end\t%d\n", status);
	return fclose(report) ? 2 : 0;
}
