/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Host ends of byte devices that are files, pipes, pseudo-terminals and Unix
 * sockets: a struct chardev each. All reading and writing is done by the
 * thread of a loop, which never waits for it; a regular file's excepted.
 *
 *	file:PATH	output, to a file that is made or emptied
 *	fd:N		output, to a file that is open already
 *	pipe:PATH	output to the named pipe PATH.out, input from PATH.in
 *	pty[:LINK]	a pseudo-terminal, which the symbolic link names
 *	unix:PATH	a socket that listens; one client at a time
 *	null		output is dropped, and there is no input
 *
 * ("stdio", which users may also say, is the terminal's: see terminal.h.)
 *
 * Back-pressure goes through: a source is read only as far as the device takes
 * its bytes, and when an output's reader is slow, write() takes no more. Only
 * what is written while a socket has no client, or to a file that fails, is
 * dropped.
 */
#ifndef LKVM_STREAM_H
#define LKVM_STREAM_H

#include <lkvm/chardev.h>

struct loop;
struct stream;

/*
 * Open what @to names; with @from not NULL, input comes from that file, and
 * @to is output only ("file:", "fd:", "null"). @who is for messages ("port org.x").
 * Says on stderr which pseudo-terminal it is. Returns 0, or -errno after one
 * line that says what is wrong. Main thread.
 */
int stream_open(const char *who, const char *to, const char *from,
		struct stream **out);

/*
 * Begin and end to watch on @loop. Its thread, or while it does not run. What
 * was written is flushed in the end.
 */
int stream_start(struct stream *stream, struct loop *loop);
void stream_stop(struct stream *stream);

/*
 * Wait until all that was written is written out. Returns false if nobody has
 * read for a second. The loop's thread.
 */
bool stream_flush(struct stream *stream);

/* Close and free; it has been stopped. NULL is allowed. */
void stream_close(struct stream *stream);

struct chardev *stream_chardev(struct stream *stream);

#endif
