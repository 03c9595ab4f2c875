/* SPDX-License-Identifier: GPL-2.0 */
/* lkvm version */
#include <stdio.h>

#include <lkvm/commands.h>
#include <lkvm/log.h>
#include <lkvm/vm.h>

int command_version(int argc, char **argv)
{
	if (argc > 1) {
		log_err("version", "version takes no arguments, got '%s'",
			argv[1]);
		return STATUS_LKVM_FAILED;
	}
	printf("lkvm %s\n", LKVM_VERSION);
	return STATUS_OK;
}
