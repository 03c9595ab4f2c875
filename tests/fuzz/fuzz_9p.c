/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libFuzzer target: the input is what a guest sends to a 9P server over a
 * scratch folder, after it has attached: messages, each as length[2] type[1]
 * and that many bytes of arguments. See "make fuzz" and make-corpus-9p.
 */
#include <endian.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lkvm/9p.h>
#include <lkvm/util.h>

#define MESSAGES 64 /* of one input */
#define MSIZE 8192

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct p9_scratch scratch;
static char base[] = "/dev/shm/fuzz-9p.XXXXXX";
static char share[64];
static char outside[64];

static void must(bool ok)
{
	if (!ok)
		abort();
}

static int remove_entry(const char *path, const struct stat *st, int type,
			struct FTW *ftw)
{
	(void)st;
	(void)type;
	if (ftw->level)
		must(!remove(path));
	return 0;
}

static void remove_all(void)
{
	nftw(base, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	rmdir(base);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const struct rlimit limit = { 1 * MIB, 1 * MIB };
	sigset_t signals;

	(void)argc;
	(void)argv;
	umask(0);
	/* As lkvm's threads do; libFuzzer has a handler of its own. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGXFSZ);
	must(!sigprocmask(SIG_BLOCK, &signals, NULL));
	must(!setrlimit(RLIMIT_FSIZE, &limit));
	must(mkdtemp(base) != NULL);
	snprintf(share, sizeof(share), "%s/share", base);
	snprintf(outside, sizeof(outside), "%s/outside", base);
	atexit(remove_all);
	return 0;
}

static void make_file(const char *folder, const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	must(fd >= 0 && !write_full(fd, "secret", 6));
	close(fd);
}

static void link_to(const char *target, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", share, name);
	must(!symlink(target, path));
}

/* A small tree, and what must not be reached beside it. */
static void make_tree(void)
{
	char path[128];

	must(!mkdir(share, 0755));
	must(!mkdir(outside, 0755));
	make_file(outside, "secret");
	make_file(share, "f");
	snprintf(path, sizeof(path), "%s/d", share);
	must(!mkdir(path, 0755));
	make_file(path, "g");
	link_to("../outside", "l");
	link_to("..", "u");
}

/* The folder beside the share is as it was. */
static void check_outside(void)
{
	char path[128], text[16] = "";
	struct stat st;
	int fd;

	must(!stat(outside, &st) && st.st_nlink == 2 && st.st_mode == 040755);
	snprintf(path, sizeof(path), "%s/secret", outside);
	fd = open(path, O_RDONLY);
	must(fd >= 0 && read(fd, text, sizeof(text)) == 6);
	must(!memcmp(text, "secret", 6) && !fstat(fd, &st));
	must(st.st_mode == 0100644 && st.st_nlink == 1);
	close(fd);
}

static void ask(struct p9_server *server, uint8_t type, const uint8_t *args,
		size_t len)
{
	uint8_t *out = malloc(P9_HEADER + len);
	uint8_t *in = malloc(MSIZE);
	struct iovec out_iov = { out, P9_HEADER + len };
	struct iovec in_iov[2] = { { in, 11 }, { in + 11, MSIZE - 11 } };
	struct p9_cursor c = { out, out + P9_HEADER, 0 };
	struct p9_message message = {
		.out = &out_iov,
		.out_count = 1,
		.out_len = P9_HEADER + len,
		.in = in_iov,
		.in_count = 2,
		.in_len = MSIZE,
	};

	p9_put_u32(&c, (uint32_t)(P9_HEADER + len));
	p9_put_u8(&c, type);
	p9_put_u16(&c, 1);
	memcpy(out + P9_HEADER, args, len);
	must(!p9_message_parse(&message));
	p9_serve(server, &scratch, &message);
	must(message.answer >= P9_HEADER && message.answer <= MSIZE);
	c = (struct p9_cursor) { in, in + P9_HEADER, 0 };
	must(p9_get_u32(&c) == message.answer);
	must(p9_get_u8(&c) == (message.err ? P9_RLERROR : type + 1));
	free(in);
	free(out);
}

static void begin(struct p9_server *server)
{
	static const uint8_t version[] = "\0\x20\0\0\x08\0"
					 "9P2000.L";
	static const uint8_t attach[] = "\0\0\0\0\xff\xff\xff\xff\0\0\0\0"
					"\xe8\x03\0\0";

	ask(server, P9_TVERSION, version, sizeof(version) - 1);
	must(server->msize == MSIZE);
	ask(server, P9_TATTACH, attach, sizeof(attach) - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct p9_server *server = calloc(1, sizeof(*server));

	make_tree();
	must(server && !p9_server_init(server, share, false, false));
	begin(server);
	for (unsigned int i = 0; i < MESSAGES && size >= 3; i++) {
		size_t len = (size_t)data[0] | (size_t)data[1] << 8;
		uint8_t type = data[2];

		len = MIN(len, size - 3);
		ask(server, type, data + 3, len);
		data += 3 + len;
		size -= 3 + len;
	}
	p9_server_release(server);
	free(server);
	check_outside();
	nftw(base, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
