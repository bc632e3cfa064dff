/* Users, groups and hosts are looked up in the node's files, whatever its nsswitch.conf says.
 *
 * The C library would load a library for each other service that is named there, and one that was made for another C
 * library ends the process. */
#include <nss.h>
#include <stddef.h>

#include "name_services.h"

static const char *const databases[] = {"aliases",  "ethers",   "group",  "gshadow",   "hosts", "initgroups", "netgroup",
					"networks", "passwd",   "protocols", "publickey", "rpc",   "services",   "shadow"};

void pin_name_services(void)
{
	for (size_t one = 0; one < sizeof databases / sizeof *databases; one++)
		__nss_configure_lookup(databases[one], "files");
}
