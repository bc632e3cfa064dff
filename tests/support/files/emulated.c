/* Starts PROGRAM, which is for another machine, by EMULATOR: a runtime must be able to execute it like any other. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const char *all[64] = {EMULATOR, "-0", argv[0], PROGRAM};

	if (argc > 60)
		return 126;
	memcpy(all + 4, argv + 1, (size_t)argc * sizeof *argv); /* with the null at its end */
	execv(EMULATOR, (char *const *)all);
	perror(EMULATOR);
	return 127;
}
