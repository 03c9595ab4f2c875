/* SPDX-License-Identifier: GPL-2.0 */
/*
 * 9P transport device (device ID 9; its config space and feature are those of
 * <linux/virtio_9p.h>): one queue of messages, each with room for its answer.
 * What a message does stands in 9p-*.c; see 9p.h.
 *
 * The device's I/O thread takes messages from the queue, and a few others
 * serve them, so that one that waits for a disk delays no other. A lone
 * message that is soon done it serves itself: to wake another thread for it
 * would take longer than that. Answers go
 * back in the order in which they are ready; what the protocol wants of order
 * is kept here: Tversion is alone with the server (version(5)), and Tflush is
 * answered after what it flushes (flush(5)).
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_9p.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include <lkvm/9p.h>
#include <lkvm/log.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>
#include <lkvm/worker.h>

/* A message of 1 MiB in single pages, as far as a chain may be that long. */
#define QUEUE_SIZE 256

/* Messages that are served at once. */
#define THREADS 6

/* What Linux's client has room for, and QEMU's users are used to. */
#define TAG_MAX 32

/* PCI Code and ID Assignment: a device that fits no class. */
#define P9_PCI_CLASS 0xff0000

_Static_assert(P9_MAX_IOV >= VIRTQ_MAX_CHAIN, "any chain can be served");
_Static_assert(sizeof(struct virtio_9p_config) + TAG_MAX <= VIRTIO_CONFIG_MAX,
	       "the tag fits");

struct request {
	struct virtq_chain chain;
	struct p9_message message;
	struct request *flushes; /* the Tflush that waits for this one */
	TAILQ_ENTRY(request) link; /* free or waiting; in flight below */
	LIST_ENTRY(request) in_flight;
};

TAILQ_HEAD(request_queue, request);
LIST_HEAD(request_list, request);

struct p9;

struct thread {
	struct p9 *p9;
	pthread_t thread;
	struct p9_scratch scratch;
};

struct p9 {
	struct virtio_device vdev;
	struct virtio_worker worker;
	struct p9_server server;
	struct thread threads[THREADS];
	unsigned int nr_threads;
	struct p9_scratch scratch; /* the worker's */

	/* Guards all below, the queue included while the worker runs. */
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool quit;
	bool stopping; /* the worker waits for the last answer */
	struct request *requests; /* while active */
	struct request_queue free, waiting;
	struct request_list in_flight; /* taken and not answered */
	struct request *version; /* to be served alone: nothing is taken */

	uint64_t messages, errors, bytes_read, bytes_written;
};

static struct p9 *to_p9(struct virtio_device *vdev)
{
	return container_of(vdev, struct p9, vdev);
}

static struct p9 *p9_of(struct device *device)
{
	return container_of(device, struct p9, vdev.device);
}

/* ---- answers (any thread that serves) ------------------------------------ */

static void idle_locked(struct p9 *p9)
{
	if (p9->stopping && LIST_EMPTY(&p9->in_flight)) {
		p9->stopping = false;
		virtio_worker_idle(&p9->worker);
	}
}

/* It has waited for another one's answer. */
static void begin_locked(struct p9 *p9, struct request *req)
{
	TAILQ_INSERT_TAIL(&p9->waiting, req, link);
	pthread_cond_signal(&p9->work);
}

static void count_locked(struct p9 *p9, const struct p9_message *message)
{
	p9->messages++;
	p9->errors += message->err != 0;
	p9->bytes_read += message->data_read;
	p9->bytes_written += message->data_written;
}

static void answer_locked(struct p9 *p9, struct request *req)
{
	struct machine *machine = p9->vdev.machine;
	struct virtq *vq = &p9->vdev.queue[0];

	count_locked(p9, &req->message);
	virtq_push(vq, req->chain.head, req->message.answer);
	LIST_REMOVE(req, in_flight);
	TAILQ_INSERT_HEAD(&p9->free, req, link);
	/* Answered before what flushes it: so no answer is lost. */
	for (struct request *flush = req->flushes, *next; flush; flush = next) {
		next = flush->flushes;
		flush->flushes = NULL;
		begin_locked(p9, flush);
	}
	if (p9->version == req) {
		p9->version = NULL;
		virtio_worker_kick(&p9->worker, vq);
	} else if (p9->version && LIST_FIRST(&p9->in_flight) == p9->version &&
		   !LIST_NEXT(p9->version, in_flight)) {
		begin_locked(p9, p9->version);
	}
	virtio_device_signal(&p9->vdev, vq);
	if (machine->drop_caches && p9_fids_crowded(&p9->server))
		machine->drop_caches(machine);
	idle_locked(p9);
}

/* ---- taking messages (the worker's thread) ------------------------------- */

static struct request *find_tag_locked(struct p9 *p9, uint16_t tag)
{
	struct request *req;

	LIST_FOREACH(req, &p9->in_flight, in_flight)
	if (req->message.tag == tag && req->message.type != P9_TFLUSH)
		return req;
	return NULL;
}

/* Where a message has to wait for others, let it; else it begins. */
static void order_locked(struct p9 *p9, struct request *req)
{
	bool alone = LIST_EMPTY(&p9->in_flight);
	struct request *old = NULL;

	if (req->message.type == P9_TFLUSH)
		old = find_tag_locked(p9, req->message.old_tag);
	LIST_INSERT_HEAD(&p9->in_flight, req, in_flight);
	if (req->message.type == P9_TVERSION) {
		p9->version = req;
		if (!alone)
			return;
	}
	if (old) {
		req->flushes = old->flushes;
		old->flushes = req;
		return;
	}
	TAILQ_INSERT_TAIL(&p9->waiting, req, link);
}

static int take_locked(struct virtio_worker *worker, struct virtq *vq)
{
	struct p9 *p9 = to_p9(worker->vdev);
	/* Never NULL: there is one more than can be in flight. */
	struct request *req = TAILQ_FIRST(&p9->free);
	struct virtq_chain *chain = &req->chain;
	int got;

	if (p9->version)
		return -EAGAIN;
	got = virtq_pop(vq, chain);
	if (got <= 0)
		return got;
	req->flushes = NULL;
	req->message = (struct p9_message) {
		.out = chain->iov,
		.out_count = chain->out_count,
		.out_len = chain->out_len,
		.in = chain->iov + chain->out_count,
		.in_count = chain->in_count,
		.in_len = chain->in_len,
	};
	if (p9_message_parse(&req->message))
		return virtq_break(vq, "not a message of 9P with an answer");
	TAILQ_REMOVE(&p9->free, req, link);
	order_locked(p9, req);
	return 1;
}

/* The only message that waits, if it neither reads nor changes files. */
static struct request *take_lone_locked(struct p9 *p9)
{
	struct request *req = TAILQ_FIRST(&p9->waiting);

	if (!req || TAILQ_NEXT(req, link))
		return NULL;
	switch (req->message.type) {
	case P9_TCLUNK:
	case P9_TGETATTR:
	case P9_TWALK:
		TAILQ_REMOVE(&p9->waiting, req, link);
		return req;
	default:
		return NULL;
	}
}

static void kicked(struct virtio_worker *worker, struct virtq *vq)
{
	struct p9 *p9 = to_p9(worker->vdev);
	struct request *lone, *first;
	bool several;

	pthread_mutex_lock(&p9->lock);
	virtio_worker_serve(worker, vq, take_locked);
	lone = take_lone_locked(p9);
	first = TAILQ_FIRST(&p9->waiting);
	several = first && TAILQ_NEXT(first, link);
	pthread_mutex_unlock(&p9->lock);
	/* Not before: whom it wakes wants the lock. */
	if (several)
		pthread_cond_broadcast(&p9->work);
	else if (first)
		pthread_cond_signal(&p9->work);
	if (!lone)
		return;
	p9_serve(&p9->server, &p9->scratch, &lone->message);
	pthread_mutex_lock(&p9->lock);
	answer_locked(p9, lone);
	pthread_mutex_unlock(&p9->lock);
}

static void start(struct virtio_worker *worker)
{
	struct p9 *p9 = to_p9(worker->vdev);

	pthread_mutex_lock(&p9->lock);
	p9->stopping = false;
	pthread_mutex_unlock(&p9->lock);
}

static void stop(struct virtio_worker *worker)
{
	struct p9 *p9 = to_p9(worker->vdev);

	pthread_mutex_lock(&p9->lock);
	p9->stopping = true;
	idle_locked(p9);
	pthread_mutex_unlock(&p9->lock);
}

static const struct virtio_worker_ops worker_ops = {
	.kicked = kicked,
	.start = start,
	.stop = stop,
};

/* ---- serving them (the other threads) ------------------------------------ */

static void *serve(void *opaque)
{
	struct thread *thread = opaque;
	struct p9 *p9 = thread->p9;
	struct request *req;

	pthread_setname_np(pthread_self(), p9->vdev.device.name);
	/*
	 * The guest has applied its own umask. Ours is the thread's alone
	 * when it does not share it; should that fail, it is not changed.
	 */
	if (!unshare(CLONE_FS))
		umask(0);
	pthread_mutex_lock(&p9->lock);
	while (!p9->quit) {
		req = TAILQ_FIRST(&p9->waiting);
		if (!req) {
			pthread_cond_wait(&p9->work, &p9->lock);
			continue;
		}
		TAILQ_REMOVE(&p9->waiting, req, link);
		pthread_mutex_unlock(&p9->lock);
		p9_serve(&p9->server, &thread->scratch, &req->message);
		pthread_mutex_lock(&p9->lock);
		answer_locked(p9, req);
	}
	pthread_mutex_unlock(&p9->lock);
	return NULL;
}

/* ---- the device ---------------------------------------------------------- */

static int p9_activate(struct virtio_device *vdev, uint64_t features)
{
	struct p9 *p9 = to_p9(vdev);
	/* One more than can be in flight: a pop always has where to go. */
	unsigned int count = vdev->queue[0].size + 1U;
	int err;

	(void)features;
	p9->requests = calloc(count, sizeof(*p9->requests));
	if (!p9->requests)
		return -ENOMEM;
	TAILQ_INIT(&p9->free);
	for (unsigned int i = 0; i < count; i++)
		TAILQ_INSERT_TAIL(&p9->free, &p9->requests[i], link);
	err = virtio_worker_activate(&p9->worker);
	if (err) {
		free(p9->requests);
		p9->requests = NULL;
	}
	return err;
}

static void p9_deactivate(struct virtio_device *vdev)
{
	struct p9 *p9 = to_p9(vdev);

	virtio_worker_deactivate(&p9->worker);
	p9_server_reset(&p9->server);
	free(p9->requests);
	p9->requests = NULL;
}

static const struct virtio_device_ops p9_ops = {
	.id = VIRTIO_ID_9P,
	.pci_class = P9_PCI_CLASS,
	.activate = p9_activate,
	.deactivate = p9_deactivate,
	.handle_queue = virtio_device_kick,
};

static void p9_stats(struct device *device, struct stats_sink *sink)
{
	struct p9 *p9 = p9_of(device);
	const char *who = device->name;

	pthread_mutex_lock(&p9->lock);
	stats_count(sink, who, "messages", p9->messages);
	stats_count(sink, who, "read-bytes", p9->bytes_read);
	stats_count(sink, who, "written-bytes", p9->bytes_written);
	stats_count(sink, who, "errors", p9->errors);
	pthread_mutex_unlock(&p9->lock);
}

/* ---- life ---------------------------------------------------------------- */

static void stop_threads(struct p9 *p9)
{
	pthread_mutex_lock(&p9->lock);
	p9->quit = true;
	pthread_cond_broadcast(&p9->work);
	pthread_mutex_unlock(&p9->lock);
	while (p9->nr_threads)
		pthread_join(p9->threads[--p9->nr_threads].thread, NULL);
}

static int start_threads(struct p9 *p9)
{
	while (p9->nr_threads < THREADS) {
		struct thread *thread = &p9->threads[p9->nr_threads];
		int err;

		thread->p9 = p9;
		err = thread_create(&thread->thread, serve, thread);
		if (err) {
			stop_threads(p9);
			return err;
		}
		p9->nr_threads++;
	}
	return 0;
}

static void p9_destroy(struct device *device)
{
	struct p9 *p9 = p9_of(device);

	/* A guest need not have reset its devices before it went. */
	virtio_device_set_status(&p9->vdev, 0);
	stop_threads(p9);
	virtio_worker_destroy(&p9->worker);
	virtio_device_release(&p9->vdev);
	p9_server_release(&p9->server);
	pthread_cond_destroy(&p9->work);
	pthread_mutex_destroy(&p9->lock);
	free(p9);
}

static bool tag_in_use(const struct machine *machine, const char *tag)
{
	size_t len = strlen(tag);

	for (struct device *d = machine->devices; d; d = d->next) {
		const struct virtio_9p_config *config =
			(const void *)p9_of(d)->vdev.config;

		if (d->type == &virtio_9p_type &&
		    le16toh(config->tag_len) == len &&
		    !memcmp(config->tag, tag, len))
			return true;
	}
	return false;
}

static int check_tag(const struct machine *machine,
		     const struct virtio_9p_options *options)
{
	if (strlen(options->tag) > TAG_MAX) {
		log_err("9p",
			"shared folder %s: the tag '%s' is longer than %u "
			"characters",
			options->path, options->tag, TAG_MAX);
		return -EINVAL;
	}
	if (tag_in_use(machine, options->tag)) {
		log_err("9p",
			"shared folder %s: the tag '%s' is another folder's "
			"(give each its own: --9p DIR,TAG)",
			options->path, options->tag);
		return -EEXIST;
	}
	return 0;
}

static int check_path(const struct virtio_9p_options *options)
{
	struct stat st, root;

	if (!options->path) {
		log_err("9p", "--9p needs a folder");
		return -EINVAL;
	}
	if (!options->read_only && !stat(options->path, &st) &&
	    !stat("/", &root) && st.st_dev == root.st_dev &&
	    st.st_ino == root.st_ino) {
		log_err("9p",
			"shared folder %s is this host's root, which no guest "
			"may write to (add ,ro)",
			options->path);
		return -EINVAL;
	}
	return 0;
}

static int open_share(struct p9 *p9, const struct virtio_9p_options *options)
{
	int err = check_path(options);

	if (err)
		return err;
	err = p9_server_init(&p9->server, options->path, options->read_only,
			     options->security);
	if (err == -EOPNOTSUPP)
		log_err("9p",
			"shared folder %s: its file system has no user "
			"attributes, which security=mapped needs",
			options->path);
	else if (err)
		log_err("9p", "cannot share folder %s: %s", options->path,
			strerror(-err));
	return err;
}

static void set_config(struct p9 *p9, const char *tag)
{
	struct virtio_9p_config *config = (void *)p9->vdev.config;
	size_t len = strlen(tag);

	config->tag_len = htole16((uint16_t)len);
	memcpy(config->tag, tag, len);
	p9->vdev.config_len = (unsigned int)(sizeof(*config) + len);
}

static void set_name(char name[16], const struct machine *machine)
{
	snprintf(name, 16, "9p%u", machine_count(machine, &virtio_9p_type));
}

/* Device and threads; the share is open. */
static int start_device(struct p9 *p9, struct machine *machine, const char *tag)
{
	char name[24];
	int err;

	set_name(p9->vdev.device.name, machine);
	snprintf(name, sizeof(name), "io-%s", p9->vdev.device.name);
	virtio_device_init(&p9->vdev, machine, &virtio_9p_type, &p9_ops,
			   BIT_ULL(VIRTIO_9P_MOUNT_TAG), 1, QUEUE_SIZE);
	set_config(p9, tag);
	err = virtio_worker_create(&p9->worker, &p9->vdev, &worker_ops, name, 0,
				   1);
	if (err)
		goto release;
	err = start_threads(p9);
	if (err)
		goto destroy_worker;
	err = virtio_device_plug(&p9->vdev);
	if (!err)
		return 0;

	stop_threads(p9);
destroy_worker:
	virtio_worker_destroy(&p9->worker);
release:
	virtio_device_release(&p9->vdev);
	log_err("9p", "cannot start %s: %s", p9->vdev.device.name,
		strerror(-err));
	return err;
}

static int p9_create(struct machine *machine, const void *config,
		     struct device **out)
{
	const struct virtio_9p_options *options = config;
	struct p9 *p9 = calloc(1, sizeof(*p9));
	int err;

	if (!p9)
		return -ENOMEM;
	err = open_share(p9, options);
	if (err)
		goto free_p9;
	err = check_tag(machine, options);
	if (err)
		goto release_server;
	pthread_mutex_init(&p9->lock, NULL);
	pthread_cond_init(&p9->work, NULL);
	TAILQ_INIT(&p9->waiting);
	LIST_INIT(&p9->in_flight);
	err = start_device(p9, machine, options->tag);
	if (err)
		goto destroy_lock;
	*out = &p9->vdev.device;
	return 0;

destroy_lock:
	pthread_cond_destroy(&p9->work);
	pthread_mutex_destroy(&p9->lock);
release_server:
	p9_server_release(&p9->server);
free_p9:
	free(p9);
	return err;
}

static int p9_plan(const struct machine *machine, const void *config,
		   struct device_plan *plan)
{
	const struct virtio_9p_options *options = config;

	set_name(plan->name, machine);
	plan->ops = &p9_ops;
	device_plan_file(plan, options->path,
			 options->read_only ? "read" : "read-write");
	return check_path(options);
}

/* ---- options ------------------------------------------------------------- */

static const struct virtio_9p_options p9_defaults = {
	.tag = "kvm_9p",
};

static const char *const securities[] = { "none", "mapped", NULL };
static const char *const p9_positional[] = { "dir", "tag", NULL };

#define FIELD(name) offsetof(struct virtio_9p_options, name)

const struct option_desc virtio_9p_keys[] = {
	{ OPTION_STRING, 0, "dir", "DIR", "the folder", .offset = FIELD(path) },
	{ OPTION_STRING, 0, "tag", "TAG",
	  "the name to mount it by, at most 32 bytes (default: kvm_9p)",
	  .offset = FIELD(tag) },
	{ OPTION_FLAG, 0, "ro", NULL, "the guest cannot change anything in it",
	  .offset = FIELD(read_only) },
	{ OPTION_ENUM, 0, "security", "none|mapped",
	  "owners and modes: the host's own, or kept in user attributes",
	  .offset = FIELD(security), .choices = securities },
	{ .kind = OPTION_END },
};

/* ---- state --------------------------------------------------------------- */

static const struct state_field p9_fields[] = {
	VIRTIO_STATE(struct p9),
	VIRTIO_QUEUE_STATE(struct p9, 0, QUEUE_SIZE),
	STATE_END,
};

static const struct state_table p9_state = {
	.name = "virtio-9p",
	.version = 1,
	.fields = p9_fields,
};

const struct device_type virtio_9p_type = {
	.name = "virtio-9p",
	.options = virtio_9p_keys,
	.positional = p9_positional,
	.defaults = &p9_defaults,
	.config_size = sizeof(struct virtio_9p_options),
	.create = p9_create,
	.plan = p9_plan,
	.destroy = p9_destroy,
	.reset = virtio_device_machine_reset,
	.quiesce = virtio_device_quiesce,
	.resume = virtio_device_resume,
	.stats = p9_stats,
	.state = &p9_state,
};
