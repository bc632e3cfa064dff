/* asks [pin]: look up a user that doesn't exist, as the command line would; pinned to the node's files, or as it is. */
#include <pwd.h>
#include <stdio.h>

#include "name_services.h"

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		pin_name_services();
	puts(getpwnam("no-such-user") ? "found" : "not found");
	return 0;
}
