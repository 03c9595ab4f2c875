/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mode=user: the guest's network is passt(1), a process of its own at the other
 * end of a stream socket. It drops its privileges and locks itself in; of ours
 * it has the socket and a pipe for its words. It ends when our end of the
 * socket closes, by whatever death.
 *
 * Starting takes it a while. The rest of the machine is made meanwhile:
 * creation only launches it, and complete() waits until it answers.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_arp.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/net-stream.h>
#include <lkvm/passt.h>
#include <lkvm/util.h>

/* The socket's number in the child. */
#define CHILD_FD (STDERR_FILENO + 1)

/* Until it answers; a software-emulated host needs a good part of a second. */
#define START_LIMIT_NS 30000000000ULL

/*
 * What may be on its way to it. By default three of the longest frames fill the
 * socket, and it counts as writable again only when it is all but empty: each
 * end would wait for the other in turns. The kernel's limit (net.core.wmem_max)
 * may give less.
 */
#define SEND_BYTES ((int)MIB)

struct passt {
	struct net_backend backend;
	struct net_stream stream;
	char name[16]; /* the device's */
	bool implicit;
	struct in_addr guest_ip, host_ip;
	pid_t pid; /* 0: not started, or waited for */
	int end_code, end_status; /* as waitid() tells */
	bool down; /* the link */
	bool mute; /* no more words come */
	/* What the thread of the queue watches while it is attached. */
	struct loop *loop; /* NULL: not attached */
	struct loop_source in;
	struct loop_source out; /* another descriptor of the same socket */
	struct loop_source end; /* pidfd */
	struct loop_source words; /* pipe from its stderr */
	/* The line that is being read, and the last one worth repeating. */
	char line[128], said[128];
	size_t line_len;
};

static struct passt *to_passt(struct net_backend *backend)
{
	return container_of(backend, struct passt, backend);
}

/* ---- its words and its end ----------------------------------------------- */

/* It complains of a missing syslog, and of root, whoever asks. */
static void end_line(struct passt *passt)
{
	static const char *const noise[] = { "Failed to send ",
					     "Don't run as root" };
	bool worth = passt->line_len > 0;

	passt->line[passt->line_len] = '\0';
	passt->line_len = 0;
	for (size_t i = 0; i < ARRAY_SIZE(noise); i++)
		worth &= strncmp(passt->line, noise[i], strlen(noise[i])) != 0;
	if (!worth)
		return;
	memcpy(passt->said, passt->line, sizeof(passt->said));
	log_debug("net", "%s: passt: %s", passt->name, passt->said);
}

static void read_words(struct passt *passt)
{
	char text[512];
	ssize_t n;

	while ((n = read(passt->words.fd, text, sizeof(text))) > 0)
		for (ssize_t i = 0; i < n; i++) {
			if (text[i] == '\n')
				end_line(passt);
			else if (passt->line_len < sizeof(passt->line) - 1 &&
				 (unsigned char)text[i] >= ' ')
				passt->line[passt->line_len++] = text[i];
		}
	if (n)
		return;
	/* Nobody can speak any more: it would be an event for ever. */
	passt->mute = true;
	if (passt->loop)
		loop_del(passt->loop, &passt->words);
}

/* Wait for the process, which has ended or is about to. */
static void reap(struct passt *passt)
{
	siginfo_t info = { 0 };

	if (!passt->pid)
		return;
	while (waitid(P_PIDFD, (id_t)passt->end.fd, &info, WEXITED) &&
	       errno == EINTR)
		;
	passt->end_code = info.si_code;
	passt->end_status = info.si_status;
	passt->pid = 0;
	read_words(passt);
}

static void kill_it(struct passt *passt)
{
	if (passt->pid)
		pidfd_send_signal(passt->end.fd, SIGKILL, NULL, 0);
}

/* Why it has ended. */
static void explain(const struct passt *passt, char *text, size_t size)
{
	if (passt->stream.bad_length)
		snprintf(text, size, "it sent a frame of %u bytes",
			 passt->stream.bad_length);
	else if (passt->end_code != CLD_EXITED)
		snprintf(text, size, "killed by signal %d", passt->end_status);
	else if (*passt->said)
		snprintf(text, size, "%s", passt->said);
	else
		snprintf(text, size, "status %d", passt->end_status);
}

/* The queue's thread. */
static void unwatch(struct passt *passt)
{
	loop_del(passt->loop, &passt->in);
	loop_del(passt->loop, &passt->out);
	loop_del(passt->loop, &passt->end);
	loop_del(passt->loop, &passt->words);
}

static void on_end(void *opaque, uint32_t events)
{
	struct passt *passt = opaque;
	char why[160];

	(void)events;
	reap(passt);
	passt->stream.dead = true;
	unwatch(passt);
	explain(passt, why, sizeof(why));
	log_warn("net", "%s: passt has ended (%s): the link is down",
		 passt->name, why);
	passt->down = true;
	passt->backend.frontend->link(passt->backend.opaque, false);
	/* Frames that wait to be sent would wait for ever: they are lost. */
	passt->backend.frontend->writable(passt->backend.opaque, 0);
}

static void on_words(void *opaque, uint32_t events)
{
	(void)events;
	read_words(opaque);
}

/* ---- frames -------------------------------------------------------------- */

/* A stream that has broken is of no use; on_end() tells of it. */
static void look_at_stream(struct passt *passt)
{
	if (passt->stream.dead)
		kill_it(passt);
}

static void want_writable(struct passt *passt)
{
	if (passt->loop && !passt->out.added)
		loop_add(passt->loop, &passt->out, EPOLLOUT);
}

static void on_in(void *opaque, uint32_t events)
{
	struct passt *passt = opaque;

	(void)events;
	passt->backend.frontend->readable(passt->backend.opaque, 0);
}

static void on_out(void *opaque, uint32_t events)
{
	struct passt *passt = opaque;

	(void)events;
	if (!net_stream_flush(&passt->stream))
		return;
	loop_del(passt->loop, &passt->out);
	look_at_stream(passt);
	passt->backend.frontend->writable(passt->backend.opaque, 0);
}

static int passt_send(struct net_backend *backend, unsigned int queue,
		      const struct iovec *iov, unsigned int count, size_t len)
{
	struct passt *passt = to_passt(backend);
	int err = net_stream_send(&passt->stream, iov, count, len);

	(void)queue;
	if (net_stream_unsent(&passt->stream) || err == -EAGAIN)
		want_writable(passt);
	look_at_stream(passt);
	return err;
}

static ssize_t passt_receive(struct net_backend *backend, unsigned int queue,
			     const struct iovec *iov, unsigned int count,
			     size_t room)
{
	struct passt *passt = to_passt(backend);
	ssize_t n = net_stream_receive(&passt->stream, iov, count, room);

	(void)queue;
	look_at_stream(passt);
	return n;
}

static void passt_detach(struct net_backend *backend, unsigned int queue)
{
	struct passt *passt = to_passt(backend);

	(void)queue;
	unwatch(passt);
	passt->loop = NULL;
}

static int passt_attach(struct net_backend *backend, unsigned int queue,
			struct loop *loop)
{
	struct passt *passt = to_passt(backend);
	int err;

	passt->loop = loop;
	if (passt->down)
		return 0;
	err = loop_add(loop, &passt->in, EPOLLIN | EPOLLET);
	if (!err)
		err = loop_add(loop, &passt->end, EPOLLIN);
	if (!err && !passt->mute)
		err = loop_add(loop, &passt->words, EPOLLIN);
	if (err)
		passt_detach(backend, queue);
	else if (net_stream_unsent(&passt->stream))
		want_writable(passt);
	return err;
}

/* ---- start --------------------------------------------------------------- */

/*
 * A session of its own keeps our terminal's signals away. It needs nothing of
 * the environment.
 */
static int spawn(struct passt *passt, char *const *argv, int socket_fd,
		 int words_fd)
{
	static char *const nothing[] = { NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int err;

	spawn_attributes(&attr, POSIX_SPAWN_SETSID);
	posix_spawn_file_actions_init(&files);
	err = posix_spawn_file_actions_addopen(&files, STDIN_FILENO,
					       "/dev/null", O_RDWR, 0);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&files, STDIN_FILENO,
						       STDOUT_FILENO);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&files, words_fd,
						       STDERR_FILENO);
	if (!err)
		err = posix_spawn_file_actions_adddup2(&files, socket_fd,
						       CHILD_FD);
	if (!err)
		err = posix_spawn_file_actions_addclosefrom_np(&files,
							       CHILD_FD + 1);
	if (!err)
		err = posix_spawnp(&passt->pid, argv[0], &files, &attr, argv,
				   nothing);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return -err;
}

/*
 * Ask who has the host's address: passt answers when it has started, and what
 * it could not do has ended it by then.
 */
static void send_question(struct passt *passt)
{
	struct {
		struct virtio_net_hdr_v1 hdr;
		struct ethhdr eth;
		struct arphdr arp;
		uint8_t sender_mac[ETH_ALEN], sender_ip[4];
		uint8_t target_mac[ETH_ALEN], target_ip[4];
	} __attribute__((packed)) question = {
		.eth.h_dest = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
		.eth.h_source = { 0x02, 0x15, 0x15 },
		.eth.h_proto = htons(ETH_P_ARP),
		.arp.ar_hrd = htons(ARPHRD_ETHER),
		.arp.ar_pro = htons(ETH_P_IP),
		.arp.ar_hln = ETH_ALEN,
		.arp.ar_pln = 4,
		.arp.ar_op = htons(ARPOP_REQUEST),
		.sender_mac = { 0x02, 0x15, 0x15 },
	};
	const struct iovec iov = { &question, sizeof(question) };

	memcpy(question.sender_ip, &passt->guest_ip, 4);
	memcpy(question.target_ip, &passt->host_ip, 4);
	/* If it has ended already, await_answer() learns of it. */
	net_stream_send(&passt->stream, &iov, 1, sizeof(question));
}

/* Wait for something to happen. Returns 0, or -ETIMEDOUT. */
static int wait_until(struct passt *passt, uint64_t deadline)
{
	struct pollfd fds[] = {
		{ .fd = passt->in.fd, .events = POLLIN },
		{ .fd = passt->end.fd, .events = POLLIN },
		{ .fd = passt->mute ? -1 : passt->words.fd, .events = POLLIN },
	};
	uint64_t now = now_ns();

	if (now >= deadline)
		return -ETIMEDOUT;
	poll(fds, ARRAY_SIZE(fds), (int)((deadline - now) / 1000000) + 1);
	read_words(passt);
	return 0;
}

/* No guest runs yet, so the answer is all that comes. */
static int await_answer(struct passt *passt)
{
	uint64_t deadline = now_ns() + START_LIMIT_NS;
	uint8_t *frame = malloc(NET_HEADER_BYTES + NET_MAX_FRAME);
	const struct iovec iov = { frame, NET_HEADER_BYTES + NET_MAX_FRAME };
	int err = frame ? 0 : -ENOMEM;

	while (!err && net_stream_receive(&passt->stream, &iov, 1,
					  iov.iov_len) == -EAGAIN)
		err = passt->stream.dead ? -EPIPE : wait_until(passt, deadline);
	free(frame);
	return err;
}

static int fail(const struct passt *passt, int err, const char *why)
{
	if (passt->implicit)
		log_warn("net",
			 "no network: passt cannot start: %s (-n mode=none "
			 "for none)",
			 why);
	else
		log_err("net", "%s: passt cannot start: %s", passt->name, why);
	return err;
}

static int passt_complete(struct net_backend *backend)
{
	struct passt *passt = to_passt(backend);
	int err = await_answer(passt);
	char why[160];

	if (!err)
		return 0;
	/* An end of its own has come before this one. */
	kill_it(passt);
	reap(passt);
	if (err == -EPIPE)
		explain(passt, why, sizeof(why));
	else
		snprintf(why, sizeof(why), "%s", strerror(-err));
	return fail(passt, err, why);
}

/* ---- life ---------------------------------------------------------------- */

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void passt_destroy(struct net_backend *backend)
{
	struct passt *passt = to_passt(backend);

	/* It goes when the socket does; or at once, where we may kill it. */
	net_stream_release(&passt->stream);
	close_fd(passt->out.fd);
	kill_it(passt);
	reap(passt);
	close_fd(passt->end.fd);
	close_fd(passt->words.fd);
	free(passt);
}

static const struct net_backend_ops passt_ops = {
	.name = "user",
	.attach = passt_attach,
	.detach = passt_detach,
	.send = passt_send,
	.receive = passt_receive,
	.complete = passt_complete,
	.destroy = passt_destroy,
};

static struct passt *passt_alloc(const struct net_options *options,
				 const char *name)
{
	struct passt *passt = calloc(1, sizeof(*passt));

	if (!passt)
		return NULL;
	passt->backend = (struct net_backend) {
		.ops = &passt_ops,
		.pairs = 1,
		.features = BIT_ULL(VIRTIO_NET_F_CSUM) |
			    BIT_ULL(VIRTIO_NET_F_GUEST_CSUM),
		.mtu = PASST_MTU,
	};
	snprintf(passt->name, sizeof(passt->name), "%s", name);
	passt->implicit = options->implicit;
	passt->stream.fd = -1;
	passt->in = (struct loop_source) { -1, on_in, passt, false };
	passt->out = (struct loop_source) { -1, on_out, passt, false };
	passt->end = (struct loop_source) { -1, on_end, passt, false };
	passt->words = (struct loop_source) { -1, on_words, passt, false };
	return passt;
}

/* Both ends of socket and pipe; @child gets those of the child. */
static int open_channels(struct passt *passt, int child[2])
{
	const int send_bytes = SEND_BYTES;
	int sockets[2], pipes[2];
	int err;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets))
		return -errno;
	child[0] = sockets[1];
	(void)setsockopt(sockets[0], SOL_SOCKET, SO_SNDBUF, &send_bytes,
			 sizeof(send_bytes));
	err = net_stream_init(&passt->stream, sockets[0]);
	if (err)
		return err;
	passt->in.fd = sockets[0];
	passt->out.fd = fcntl(sockets[0], F_DUPFD_CLOEXEC, 0);
	if (passt->out.fd < 0 || pipe2(pipes, O_CLOEXEC))
		return -errno;
	child[1] = pipes[1];
	passt->words.fd = pipes[0];
	return fcntl(pipes[0], F_SETFL, O_NONBLOCK) ? -errno : 0;
}

static int launch(struct passt *passt, char *const *argv)
{
	int child[2] = { -1, -1 };
	int err = open_channels(passt, child);

	if (!err)
		err = spawn(passt, argv, child[0], child[1]);
	if (!err) {
		passt->end.fd = pidfd_open(passt->pid, 0);
		err = passt->end.fd < 0 ? -errno : 0;
	}
	if (!err)
		send_question(passt);
	close_fd(child[0]);
	close_fd(child[1]);
	return err;
}

static int no_passt(const char *name, bool implicit)
{
	if (implicit)
		log_warn("net", "no network: there is no passt (install the "
				"package passt, or -n mode=none for none)");
	else
		log_err("net",
			"%s: mode=user needs passt (install the package "
			"passt)",
			name);
	return -ENOENT;
}

static int fail_launch(const struct passt *passt, int err)
{
	if (err != -ENOENT)
		return fail(passt, err, strerror(-err));
	return no_passt(passt->name, passt->implicit);
}

/* Would posix_spawnp() find it? */
static bool in_path(const char *program)
{
	const char *dir = getenv("PATH");
	bool found = false;

	while (dir && !found) {
		size_t len = strcspn(dir, ":");
		char *path;

		if (asprintf(&path, "%.*s/%s", (int)len, dir, program) < 0)
			break;
		found = !access(path, X_OK);
		free(path);
		dir = dir[len] ? dir + len + 1 : NULL;
	}
	return found;
}

int net_user_check(const struct net_options *options, const char *name)
{
	struct passt_args args;
	int err = passt_args_init(&args, options, name, CHILD_FD);

	if (err)
		return err;
	err = in_path(args.argv[0]) ? 0 : no_passt(name, options->implicit);
	passt_args_release(&args);
	return err;
}

int net_user_create(const struct net_options *options, const char *name,
		    struct net_backend **out)
{
	struct passt *passt = passt_alloc(options, name);
	struct passt_args args;
	int err;

	if (!passt) {
		log_err("net", "%s: out of memory", name);
		return -ENOMEM;
	}
	err = passt_args_init(&args, options, name, CHILD_FD);
	if (err)
		goto destroy;
	passt->guest_ip = args.guest_ip;
	passt->host_ip = args.host_ip;
	err = launch(passt, args.argv);
	passt_args_release(&args);
	if (err) {
		fail_launch(passt, err);
		goto destroy;
	}
	*out = &passt->backend;
	return 0;

destroy:
	passt_destroy(&passt->backend);
	return err;
}
