/* clock STDIN STDOUT PROGRAM [ARGUMENT...]: run a program once and print its nanoseconds, those of the
 * processors on its behalf, its peak memory in KiB and wait status.
 * Not done from Python: a child's peak memory starts with that of the process which it was forked from. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec start, end;
	struct rusage usage;
	int status;

	if (argc < 4)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &start);
	pid_t pid = vfork();
	if (pid < 0)
		return 2;
	if (pid == 0) {
		dup2(open(argv[1], O_RDONLY | O_CLOEXEC), 0);
		dup2(open(argv[2], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), 1);
		execv(argv[3], argv + 3);
		_exit(127);
	}
	if (wait4(pid, &status, 0, &usage) != pid)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%lld %lld %ld %d\n", (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec,
	       (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
		       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL,
	       usage.ru_maxrss, status);
	return 0;
}
