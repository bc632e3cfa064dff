/* count STDIN STDOUT PROGRAM [ARGUMENT...]: run a program once and print what it did:
 * "<system calls> <files opened> <syncs> <programs started> <wait status>".
 *
 * Counted is the program itself with its threads, also where it executes itself anew. What it starts counts up to the
 * moment when that executes a program of its own. ptrace(2) rather than strace(1), which a machine may not have. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 4096 };

static struct process {
	pid_t pid;
	int started;  /* by the program: after its next execve it is another program */
	int other;    /* it is another program */
	int opening;  /* what it waits for in the kernel is an open */
	int known;    /* its maker's stop has told whose it is */
	int held;     /* it has stopped before that, and waits */
} processes[PROCESSES];

static struct process *find(pid_t pid)
{
	for (int i = 0; i < PROCESSES; i++) {
		if (processes[i].pid == pid || !processes[i].pid) {
			processes[i].pid = pid;
			return &processes[i];
		}
	}
	exit(3);
}

static int opens(unsigned long long number)
{
	switch (number) {
#ifdef SYS_open
	case SYS_open:
#endif
	case SYS_openat:
		return 1;
	}
	return 0;
}

static int syncs(unsigned long long number)
{
	return number == SYS_fsync || number == SYS_fdatasync;
}

int main(int argc, char **argv)
{
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
			     PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	long calls = 0, opened = 0, synced = 0, started = 0;
	int status, result = -1;

	if (argc < 4)
		return 2;
	pid_t program = fork();
	if (program == 0) {
		dup2(open(argv[1], O_RDONLY | O_CLOEXEC), 0);
		dup2(open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), 1);
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(126);
		raise(SIGSTOP);
		execv(argv[3], argv + 3);
		_exit(127);
	}
	if (waitpid(program, &status, 0) != program || !WIFSTOPPED(status) || ptrace(PTRACE_SETOPTIONS, program, 0, options)) {
		perror("count: ptrace");
		return 2;
	}
	find(program)->known = 1;
	ptrace(PTRACE_SYSCALL, program, 0, 0);
	for (;;) {
		pid_t pid = waitpid(-1, &status, __WALL);
		if (pid < 0)
			break;
		struct process *process = find(pid);
		if (!WIFSTOPPED(status)) {
			process->pid = -1; /* never found again, and not the end of the list */
			if (pid == program)
				result = status;
			continue;
		}
		int signal = WSTOPSIG(status), event = status >> 16;
		if (signal == (SIGTRAP | 0x80)) {
			struct __ptrace_syscall_info info = {0};
			if (!process->other && ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) > 0) {
				if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
					calls++;
					process->opening = opens(info.entry.nr);
					synced += syncs(info.entry.nr);
				} else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
					opened += process->opening && !info.exit.is_error;
				}
			}
			signal = 0;
		} else if (event) {
			unsigned long number = 0;
			ptrace(PTRACE_GETEVENTMSG, pid, 0, &number);
			if (event == PTRACE_EVENT_EXEC) {
				process->other |= process->started;
			} else {
				int is_thread = event == PTRACE_EVENT_CLONE; /* it is of what its maker is */
				struct process *child = find((pid_t)number);
				started += !is_thread && !process->other;
				child->started = is_thread ? process->started : 1;
				child->other = process->other;
				child->known = 1;
				if (child->held)
					ptrace(child->other ? PTRACE_CONT : PTRACE_SYSCALL, child->pid, 0, 0);
				child->held = 0;
			}
			signal = 0;
		} else if (signal == SIGSTOP) {
			signal = 0; /* the stop with which a traced child begins */
			if (!process->known) {
				process->held = 1;
				continue;
			}
		}
		/* Another program is only watched for what it starts. */
		ptrace(process->other ? PTRACE_CONT : PTRACE_SYSCALL, pid, 0, signal);
	}
	if (errno != ECHILD)
		return 2;
	printf("%ld %ld %ld %ld %d\n", calls, opened, synced, started, result);
	return 0;
}
