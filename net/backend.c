/* SPDX-License-Identifier: GPL-2.0 */
/* Which backend a network device gets: see net.h. */
#include <errno.h>
#include <stddef.h>

#include <lkvm/log.h>
#include <lkvm/net.h>
#include <lkvm/util.h>

static int (*const modes[])(const struct net_options *options, const char *name,
			    struct net_backend **out) = {
	[NET_MODE_USER] = net_user_create,
	[NET_MODE_TAP] = net_tap_create,
};

int net_backend_create(const struct net_options *options, const char *name,
		       struct net_backend **out)
{
	size_t mode = (size_t)options->mode;
	struct net_backend *backend;
	int err;

	if (mode >= ARRAY_SIZE(modes) || !modes[mode]) {
		log_err("net", "%s: there is no such backend", name);
		return -ENOTSUP;
	}
	err = modes[mode](options, name, &backend);
	if (!err && options->pcap) {
		err = net_pcap_create(backend, options->pcap, out);
		if (err)
			backend->ops->destroy(backend);
	} else if (!err) {
		*out = backend;
	}
	return err;
}
