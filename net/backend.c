/* SPDX-License-Identifier: GPL-2.0 */
/* Which backend a network device gets: see net.h. */
#include <errno.h>
#include <stddef.h>

#include <lkvm/log.h>
#include <lkvm/net.h>
#include <lkvm/util.h>

static int (*const modes[])(const struct net_options *options, const char *name,
			    struct net_backend **out) = {
	[NET_MODE_TAP] = net_tap_create,
};

int net_backend_create(const struct net_options *options, const char *name,
		       struct net_backend **out)
{
	size_t mode = (size_t)options->mode;

	if (mode >= ARRAY_SIZE(modes) || !modes[mode]) {
		log_err("net", "%s: there is no such backend", name);
		return -ENOTSUP;
	}
	return modes[mode](options, name, out);
}
