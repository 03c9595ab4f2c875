/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a hostile passt sends (net/stream.c): the first byte chooses how the
 * rest is cut, the second how much room the guest has.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lkvm/net-stream.h>
#include <lkvm/net.h>
#include <lkvm/util.h>

#define INPUT_MAX (100 * KIB) /* fits into the socket */
#define ROOM (NET_HEADER_BYTES + NET_MAX_FRAME)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Take all frames that are there; each within the room that there is. */
static void drain(struct net_stream *stream, uint8_t *guest, size_t room)
{
	const struct iovec iov[] = {
		{ guest, MIN(room, 37) },
		{ guest + 37, room > 37 ? room - 37 : 0 },
	};
	ssize_t n;

	do {
		n = net_stream_receive(stream, iov, 2, room);
		if (n > (ssize_t)room)
			abort();
	} while (n > 0 || n == -EMSGSIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct net_stream stream; /* too large for a stack */
	size_t room, piece;
	uint8_t *guest;
	int fds[2];

	if (size < 2 || size > INPUT_MAX)
		return 0;
	piece = data[0] < 128 ? data[0] + 1U : 1U << (data[0] % 17);
	room = NET_HEADER_BYTES + data[1] * (NET_MAX_FRAME / 255U);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) ||
	    net_stream_init(&stream, fds[0]))
		abort();
	/* Of its own size, so that a byte too many is seen. */
	guest = malloc(MAX(room, 37));
	if (!guest)
		abort();
	for (size_t at = 2; at < size && !stream.dead; at += piece) {
		if (write(fds[1], data + at, MIN(piece, size - at)) < 0)
			break;
		drain(&stream, guest, room);
	}
	close(fds[1]);
	drain(&stream, guest, room);
	if (!stream.dead)
		abort();
	free(guest);
	net_stream_release(&stream);
	return 0;
}
