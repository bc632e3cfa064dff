/* The cheapest delegate there can be: what is left of a call's time is cni-chain's own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	static char piece[65536];
	const char *command = getenv("CNI_COMMAND");

	while (read(0, piece, sizeof piece) > 0)
		;
	if (command && !strcmp(command, "VERSION"))
		fputs("{\"cniVersion\":\"1.1.0\",\"supportedVersions\":"
		      "[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}", stdout);
	else if (command && !strcmp(command, "ADD"))
		fputs("{\"cniVersion\":\"1.1.0\",\"interfaces\":[{\"name\":\"eth0\",\"mac\":\"02:00:00:00:00:01\","
		      "\"sandbox\":\"/run/netns/bench\"}],\"ips\":[{\"address\":\"192.0.2.7/24\",\"gateway\":\"192.0.2.1\","
		      "\"interface\":0}],\"routes\":[{\"dst\":\"0.0.0.0/0\"}],\"dns\":{}}", stdout);
	return 0;
}
