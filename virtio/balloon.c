/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory balloon (virtio 1.2, 5.5): the guest gives pages up and takes them
 * back, tells how much of its memory is in use, and reports free pages. What
 * becomes of the pages stands in balloon-pages.c.
 *
 * One thread serves all queues, and owns what is not said to be guarded by a
 * lock. Hints of free pages are the exception in one respect: see
 * balloon_handle_queue().
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <lkvm/balloon.h>
#include <lkvm/log.h>
#include <lkvm/loop.h>
#include <lkvm/machine.h>
#include <lkvm/util.h>
#include <lkvm/virtio.h>
#include <lkvm/worker.h>

/* Linux reports up to 32 ranges of free pages at once. */
#define BALLOON_QUEUE_SIZE 128

/* Numbers in one request: what a reset may have to wait for. */
#define BALLOON_MAX_PFNS (64 * KIB)

/* Entries of one buffer of statistics that are looked at. */
#define BALLOON_MAX_STATS 64

/* PCI Code and ID Assignment: memory controller, other. */
#define BALLOON_PCI_CLASS 0x058000

#define MAX_STATS_SECONDS 86400

/* What a queue is for; 5.5.2 in this order, but without what is not there. */
enum balloon_queue {
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATS,
	BALLOON_HINT,
	BALLOON_REPORT,
	BALLOON_QUEUES,
	BALLOON_UNUSED = BALLOON_QUEUES,
};

_Static_assert(sizeof(struct virtio_balloon_config) == 16, "5.5.4");
_Static_assert(sizeof(struct virtio_balloon_stat) == 10, "5.5.6.3");
_Static_assert(sizeof(struct virtio_balloon_config) <= VIRTIO_CONFIG_MAX,
	       "room for it");

struct balloon {
	struct virtio_device vdev;
	struct virtio_worker worker;
	struct loop_source timer; /* asks for statistics */
	/* enum balloon_queue by queue index; set before the worker starts */
	_Atomic uint8_t role[BALLOON_QUEUES];
	bool poisoned; /* the same: free pages have contents that must stay */

	struct balloon_pages pages;
	struct virtq_chain chain;
	struct virtq *stats_queue; /* that holds a buffer, or NULL */
	uint16_t stats_head; /* the buffer: it goes back when the timer runs */
	uint32_t last_hint_id; /* vdev.lock */
	bool hinting; /* what the driver sends belongs to the round hint_id */

	_Atomic uint32_t hint_id; /* as in config space; set under vdev.lock */
	_Atomic bool hint_ended; /* by the driver; DONE is to be said */
	/* As last told, also after a reset; UINT64_MAX: never. */
	_Atomic uint64_t stat[VIRTIO_BALLOON_S_NR];
	_Atomic uint64_t stats_received, reported,
		hinted; /* the last in bytes */
};

static struct balloon *to_balloon(struct virtio_device *vdev)
{
	return container_of(vdev, struct balloon, vdev);
}

static struct balloon *of_worker(struct virtio_worker *worker)
{
	return container_of(worker, struct balloon, worker);
}

static struct balloon *of_device(struct device *device)
{
	return container_of(device, struct balloon, vdev.device);
}

static struct virtio_balloon_config *config_of(struct balloon *b)
{
	return (struct virtio_balloon_config *)b->vdev.config;
}

/* ---- inflate and deflate (5.5.6) ----------------------------------------- */

static void use_list(struct balloon *b, bool inflate)
{
	const struct virtq_chain *chain = &b->chain;
	struct balloon_pages *pages = &b->pages;
	size_t got;

	for (size_t at = 0; at < chain->out_len; at += got) {
		unsigned int count;

		got = iov_to_buf(chain->iov, chain->out_count, at, pages->pfn,
				 sizeof(pages->pfn));
		count = (unsigned int)(got / sizeof(pages->pfn[0]));
		for (unsigned int i = 0; i < count; i++)
			pages->pfn[i] = le32toh(pages->pfn[i]);
		if (inflate)
			balloon_inflate(pages, count);
		else
			balloon_deflate(pages, count);
	}
}

static int take_list(struct virtio_worker *worker, struct virtq *vq)
{
	struct balloon *b = of_worker(worker);
	int got = virtq_pop(vq, &b->chain);

	if (got <= 0)
		return got;
	if (b->chain.out_len % sizeof(uint32_t) ||
	    b->chain.out_len > BALLOON_MAX_PFNS * sizeof(uint32_t))
		return virtq_break(vq, "a list of pages has a bad length");
	use_list(b, b->role[vq->index] == BALLOON_INFLATE);
	virtq_push(vq, b->chain.head, 0);
	return 1;
}

/* ---- statistics (5.5.6.3) ------------------------------------------------ */

static void read_stats(struct balloon *b)
{
	struct virtio_balloon_stat stats[BALLOON_MAX_STATS];
	size_t len = iov_to_buf(b->chain.iov, b->chain.out_count, 0, stats,
				sizeof(stats));

	for (size_t i = 0; i < len / sizeof(stats[0]); i++) {
		uint16_t tag = le16toh(stats[i].tag);

		/* What nobody knows is to be ignored. */
		if (tag < VIRTIO_BALLOON_S_NR)
			atomic_store(&b->stat[tag], le64toh(stats[i].val));
	}
	counter_add(&b->stats_received, 1);
}

static int take_stats(struct virtio_worker *worker, struct virtq *vq)
{
	struct balloon *b = of_worker(worker);
	int got = virtq_pop(vq, &b->chain);

	if (got <= 0)
		return got;
	if (b->stats_queue)
		return virtq_break(vq, "it has two buffers of statistics");
	read_stats(b);
	/* The device keeps the buffer until it wants to know more. */
	b->stats_queue = vq;
	b->stats_head = b->chain.head;
	return 1;
}

static void return_stats(struct balloon *b)
{
	struct virtq *vq = b->stats_queue;

	b->stats_queue = NULL;
	if (!vq || vq->broken)
		return;
	virtq_push(vq, b->stats_head, 0);
	virtio_device_signal(&b->vdev, vq);
}

static void on_timer(void *opaque, uint32_t events)
{
	struct balloon *b = opaque;
	uint64_t expirations;

	(void)events;
	(void)!read(b->timer.fd, &expirations, sizeof(expirations));
	if (b->worker.running)
		return_stats(b);
}

/* ---- free pages (5.5.6.4, 5.5.6.6) --------------------------------------- */

static void discard_free(struct balloon *b, _Atomic uint64_t *bytes)
{
	const struct virtq_chain *chain = &b->chain;

	for (unsigned int i = 0; i < chain->in_count; i++) {
		const struct iovec *iov = &chain->iov[chain->out_count + i];

		if (memory_discard(b->pages.memory, iov->iov_base,
				   iov->iov_len))
			counter_add(&b->pages.counters.kept, 1);
		else
			counter_add(bytes, iov->iov_len);
	}
}

static int take_report(struct virtio_worker *worker, struct virtq *vq)
{
	struct balloon *b = of_worker(worker);
	int got = virtq_pop(vq, &b->chain);

	if (got <= 0)
		return got;
	/* 5.5.6.6.2: what the guest filled its free pages with must stay. */
	if (!b->poisoned)
		discard_free(b, &b->reported);
	virtq_push(vq, b->chain.head, 0);
	return 1;
}

/* A number begins and ends a round; what comes between are free pages. */
static int take_hint(struct virtio_worker *worker, struct virtq *vq)
{
	struct balloon *b = of_worker(worker);
	int got = virtq_pop(vq, &b->chain);
	uint32_t id;

	if (got <= 0)
		return got;
	if (b->chain.out_count) {
		if (iov_to_buf(b->chain.iov, b->chain.out_count, 0, &id,
			       sizeof(id)) != sizeof(id))
			return virtq_break(vq, "a command is too short");
		id = le32toh(id);
		if (b->hinting && id == VIRTIO_BALLOON_CMD_ID_STOP)
			atomic_store(&b->hint_ended, true);
		/* 5.5.6.4.2: of other rounds, pages are to be ignored. */
		b->hinting = id > VIRTIO_BALLOON_CMD_ID_DONE &&
			     id == atomic_load(&b->hint_id);
	}
	if (b->hinting)
		discard_free(b, &b->hinted);
	virtq_push(vq, b->chain.head, 0);
	return 1;
}

/* ---- the thread ---------------------------------------------------------- */

static void balloon_kicked(struct virtio_worker *worker, struct virtq *vq)
{
	static int (*const take[BALLOON_QUEUES])(struct virtio_worker * worker,
						 struct virtq * vq) = {
		[BALLOON_INFLATE] = take_list,	[BALLOON_DEFLATE] = take_list,
		[BALLOON_STATS] = take_stats,	[BALLOON_HINT] = take_hint,
		[BALLOON_REPORT] = take_report,
	};
	unsigned int role = of_worker(worker)->role[vq->index];

	if (role != BALLOON_UNUSED)
		virtio_worker_serve(worker, vq, take[role]);
}

static void balloon_stop(struct virtio_worker *worker)
{
	/* Nothing is in flight then; the driver answers after the pause. */
	return_stats(of_worker(worker));
	virtio_worker_idle(worker);
}

static const struct virtio_worker_ops worker_ops = {
	.kicked = balloon_kicked,
	.stop = balloon_stop,
};

static void hint_on_thread(void *opaque)
{
	struct balloon *b = opaque;

	if (!b->worker.running)
		return;
	for (unsigned int i = 0; i < BALLOON_QUEUES; i++)
		if (b->role[i] == BALLOON_HINT && b->vdev.queue[i].running)
			balloon_kicked(&b->worker, &b->vdev.queue[i]);
}

/* ---- for the transport --------------------------------------------------- */

/*
 * Behind the first two, Linux counts only the queues that it uses; the
 * specification counts all. Either way the next queue that is set up has the
 * next purpose that was agreed on.
 */
static void set_roles(struct balloon *b, uint64_t features)
{
	const bool wanted[BALLOON_QUEUES] = {
		[BALLOON_STATS] = features & BIT_ULL(VIRTIO_BALLOON_F_STATS_VQ),
		[BALLOON_HINT] = features &
				 BIT_ULL(VIRTIO_BALLOON_F_FREE_PAGE_HINT),
		[BALLOON_REPORT] = features &
				   BIT_ULL(VIRTIO_BALLOON_F_REPORTING),
	};
	uint8_t purpose = BALLOON_STATS;

	b->role[BALLOON_INFLATE] = BALLOON_INFLATE;
	b->role[BALLOON_DEFLATE] = BALLOON_DEFLATE;
	for (unsigned int i = BALLOON_STATS; i < BALLOON_QUEUES; i++) {
		b->role[i] = BALLOON_UNUSED;
		if (!b->vdev.queue[i].running)
			continue;
		while (purpose < BALLOON_QUEUES && !wanted[purpose])
			purpose++;
		if (purpose < BALLOON_QUEUES)
			b->role[i] = purpose++;
	}
}

static int balloon_activate(struct virtio_device *vdev, uint64_t features)
{
	struct balloon *b = to_balloon(vdev);
	int err;

	set_roles(b, features);
	b->pages.told = features & BIT_ULL(VIRTIO_BALLOON_F_MUST_TELL_HOST);
	b->poisoned = features & BIT_ULL(VIRTIO_BALLOON_F_PAGE_POISON) &&
		      config_of(b)->poison_val;
	err = virtio_worker_activate(&b->worker);
	for (unsigned int i = 0; i < BALLOON_QUEUES && !err; i++)
		if (b->role[i] == BALLOON_HINT)
			virtio_device_notify_fd(vdev, i, -1);
	return err;
}

static void set_hint_id_locked(struct balloon *b, uint32_t id)
{
	atomic_store(&b->hint_id, id);
	config_of(b)->free_page_hint_cmd_id = htole32(id);
	virtio_device_config_changed(&b->vdev);
}

static void balloon_deactivate(struct virtio_device *vdev)
{
	struct balloon *b = to_balloon(vdev);

	virtio_worker_deactivate(&b->worker);
	balloon_pages_forget(&b->pages);
	b->hinting = false;
	atomic_store(&b->hint_ended, false);
	atomic_store(&b->hint_id, VIRTIO_BALLOON_CMD_ID_STOP);
	config_of(b)->free_page_hint_cmd_id = 0;
	config_of(b)->actual = 0;
	config_of(b)->poison_val = 0;
}

static void serve_hints(struct balloon *b)
{
	io_thread_call(b->worker.thread, hint_on_thread, b);
	if (!atomic_exchange(&b->hint_ended, false))
		return;
	/* The round is over: the driver may have its pages again. */
	pthread_mutex_lock(&b->vdev.lock);
	if (atomic_load(&b->hint_id) > VIRTIO_BALLOON_CMD_ID_DONE)
		set_hint_id_locked(b, VIRTIO_BALLOON_CMD_ID_DONE);
	pthread_mutex_unlock(&b->vdev.lock);
}

/*
 * 5.5.6.4.1: a driver may take a hinted page into use again, and nobody could
 * tell then whether it has been written to. Linux does so only after its
 * notification, so that one is not over before the page is gone: this vCPU
 * waits for the thread, which has no more to do than one madvise(2).
 */
static void balloon_handle_queue(struct virtio_device *vdev, unsigned int index)
{
	struct balloon *b = to_balloon(vdev);

	if (b->role[index] == BALLOON_HINT)
		serve_hints(b);
	else
		virtio_worker_kick(&b->worker, &vdev->queue[index]);
}

/* In pages. Config space is bytes: those that were just written one by one. */
static uint32_t actual_pages(const struct virtio_device *vdev)
{
	__le32 actual;

	memcpy(&actual,
	       vdev->config + offsetof(struct virtio_balloon_config, actual),
	       sizeof(actual));
	return le32toh(actual);
}

static void balloon_config_write(struct virtio_device *vdev,
				 unsigned int offset, const void *data,
				 unsigned int len)
{
	unsigned int actual = offsetof(struct virtio_balloon_config, actual);
	unsigned int poison =
		offsetof(struct virtio_balloon_config, poison_val);
	struct machine *machine = vdev->machine;
	uint32_t before = actual_pages(vdev);

	for (unsigned int i = 0; i < len; i++) {
		unsigned int at = offset + i;

		if (at - actual < sizeof(__le32) ||
		    at - poison < sizeof(__le32))
			vdev->config[at] = ((const uint8_t *)data)[i];
	}
	if (machine->balloon_changed && actual_pages(vdev) != before)
		machine->balloon_changed(machine,
					 actual_pages(vdev) * BALLOON_PAGE);
}

static const struct virtio_device_ops balloon_ops = {
	.id = VIRTIO_ID_BALLOON,
	.pci_class = BALLOON_PCI_CLASS,
	.activate = balloon_activate,
	.deactivate = balloon_deactivate,
	.handle_queue = balloon_handle_queue,
	.config_write = balloon_config_write,
};

/* ---- for the user -------------------------------------------------------- */

int virtio_balloon_set_target(struct device *device, uint64_t bytes)
{
	struct balloon *b = of_device(device);

	if (bytes > memory_size(b->pages.memory) ||
	    bytes / BALLOON_PAGE > UINT32_MAX)
		return -EINVAL;
	pthread_mutex_lock(&b->vdev.lock);
	config_of(b)->num_pages = htole32((uint32_t)(bytes / BALLOON_PAGE));
	virtio_device_config_changed(&b->vdev);
	pthread_mutex_unlock(&b->vdev.lock);
	return 0;
}

int virtio_balloon_hint(struct device *device)
{
	struct balloon *b = of_device(device);
	int err = 0;

	pthread_mutex_lock(&b->vdev.lock);
	if (!b->vdev.active ||
	    !(b->vdev.features & BIT_ULL(VIRTIO_BALLOON_F_FREE_PAGE_HINT)))
		err = -ENOTSUP;
	else if (atomic_load(&b->hint_id) > VIRTIO_BALLOON_CMD_ID_DONE)
		err = -EBUSY;
	else
		set_hint_id_locked(b, ++b->last_hint_id);
	pthread_mutex_unlock(&b->vdev.lock);
	return err;
}

void virtio_balloon_info(struct device *device,
			 struct virtio_balloon_info *info)
{
	struct balloon *b = of_device(device);

	pthread_mutex_lock(&b->vdev.lock);
	info->target = le32toh(config_of(b)->num_pages) * BALLOON_PAGE;
	info->actual = le32toh(config_of(b)->actual) * BALLOON_PAGE;
	pthread_mutex_unlock(&b->vdev.lock);
}

static void balloon_stats(struct device *device, struct stats_sink *sink)
{
	static const char *const names[] = VIRTIO_BALLOON_S_NAMES;
	struct balloon *b = of_device(device);
	const struct balloon_counters *c = &b->pages.counters;
	const char *who = device->name;
	struct virtio_balloon_info info;

	virtio_balloon_info(device, &info);
	stats_count(sink, who, "target-bytes", info.target);
	stats_count(sink, who, "actual-bytes", info.actual);
	stats_count(sink, who, "inflated-pages", c->inflated);
	stats_count(sink, who, "deflated-pages", c->deflated);
	stats_count(sink, who, "ranges", c->ranges);
	stats_count(sink, who, "not-ram-pages", c->not_ram);
	stats_count(sink, who, "kept-ranges", c->kept);
	stats_count(sink, who, "not-restored", c->not_restored);
	stats_count(sink, who, "reported-bytes", b->reported);
	stats_count(sink, who, "hinted-bytes", b->hinted);
	stats_count(sink, who, "stats-received", b->stats_received);
	for (unsigned int i = 0; i < VIRTIO_BALLOON_S_NR; i++) {
		uint64_t value = atomic_load(&b->stat[i]);
		char what[40];

		snprintf(what, sizeof(what), "guest-%s", names[i]);
		if (value != UINT64_MAX)
			stats_count(sink, who, what, value);
	}
}

/* ---- device type --------------------------------------------------------- */

static void balloon_resume(struct device *device)
{
	struct balloon *b = of_device(device);

	virtio_worker_resume(&b->worker);
	/* For what the driver has made available, it need not notify now. */
	serve_hints(b);
}

static void unwatch_on_thread(void *opaque)
{
	struct balloon *b = opaque;

	loop_del(virtio_worker_loop(&b->worker), &b->timer);
}

static void release_thread(struct balloon *b)
{
	io_thread_call(b->worker.thread, unwatch_on_thread, b);
	virtio_worker_destroy(&b->worker);
	if (b->timer.fd >= 0)
		close(b->timer.fd);
}

static void balloon_destroy(struct device *device)
{
	struct balloon *b = of_device(device);

	/* A guest need not have reset its devices before it went. */
	virtio_device_set_status(&b->vdev, 0);
	release_thread(b);
	virtio_device_release(&b->vdev);
	balloon_pages_release(&b->pages);
	free(b);
}

static uint64_t features_of(const struct virtio_balloon_options *options,
			    const struct guest_memory *memory)
{
	uint64_t features = BIT_ULL(VIRTIO_BALLOON_F_MUST_TELL_HOST) |
			    BIT_ULL(VIRTIO_BALLOON_F_PAGE_POISON);

	if (options->stats_seconds)
		features |= BIT_ULL(VIRTIO_BALLOON_F_STATS_VQ);
	if (options->deflate_on_oom)
		features |= BIT_ULL(VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
	/*
	 * A guest does not tell when it uses a reported page again: on
	 * hugetlbfs it would lose one huge page after the other for good.
	 */
	if (options->reporting && memory->page_size == BALLOON_PAGE)
		features |= BIT_ULL(VIRTIO_BALLOON_F_REPORTING);
	if (options->hinting)
		features |= BIT_ULL(VIRTIO_BALLOON_F_FREE_PAGE_HINT);
	return features;
}

/* What no key's own description can tell; one line if it is wrong. */
static int check_options(const struct machine *machine,
			 const struct virtio_balloon_options *options)
{
	const struct guest_memory *memory = &machine->memory;

	for (struct device *d = machine->devices; d; d = d->next)
		if (d->type == &virtio_balloon_type) {
			log_err("balloon", "--balloon: one is enough");
			return -EEXIST;
		}
	if (options->target > memory_size(memory)) {
		log_err("balloon",
			"--balloon: target: %s is more than the guest's RAM "
			"(%s)",
			format_size(options->target).text,
			format_size(memory_size(memory)).text);
		return -EINVAL;
	}
	if (options->hinting && memory->page_size != BALLOON_PAGE) {
		log_err("balloon",
			"--balloon: hinting does not go with --hugetlbfs");
		return -EINVAL;
	}
	return 0;
}

static int start_timer(struct balloon *b, uint64_t seconds)
{
	const struct itimerspec every = {
		.it_interval.tv_sec = (time_t)seconds,
		.it_value.tv_sec = (time_t)seconds,
	};

	if (!seconds)
		return 0;
	b->timer.ready = on_timer;
	b->timer.opaque = b;
	b->timer.fd =
		timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (b->timer.fd < 0 || timerfd_settime(b->timer.fd, 0, &every, NULL))
		return -errno;
	return loop_add(virtio_worker_loop(&b->worker), &b->timer, EPOLLIN);
}

static int init_thread(struct balloon *b, uint64_t stats_seconds)
{
	int err = virtio_worker_create(&b->worker, &b->vdev, &worker_ops,
				       "io-balloon", 0, BALLOON_QUEUES);

	if (err)
		return err;
	err = start_timer(b, stats_seconds);
	if (err)
		release_thread(b);
	return err;
}

static void set_name(char name[16])
{
	snprintf(name, 16, "balloon");
}

static void init_vdev(struct balloon *b, struct machine *machine,
		      const struct virtio_balloon_options *options)
{
	set_name(b->vdev.device.name);
	virtio_device_init(&b->vdev, machine, &virtio_balloon_type,
			   &balloon_ops, features_of(options, &machine->memory),
			   BALLOON_QUEUES, BALLOON_QUEUE_SIZE);
	b->vdev.config_len = sizeof(struct virtio_balloon_config);
	config_of(b)->num_pages =
		htole32((uint32_t)(options->target / BALLOON_PAGE));
	b->timer.fd = -1;
	b->last_hint_id = VIRTIO_BALLOON_CMD_ID_DONE;
	for (unsigned int i = 0; i < VIRTIO_BALLOON_S_NR; i++)
		atomic_store(&b->stat[i], UINT64_MAX);
}

static int balloon_create(struct machine *machine, const void *config,
			  struct device **out)
{
	const struct virtio_balloon_options *options = config;
	int err = check_options(machine, options);
	struct balloon *b;

	if (err)
		return err;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	init_vdev(b, machine, options);
	err = balloon_pages_init(&b->pages, &machine->memory);
	if (err)
		goto release;
	err = init_thread(b, options->stats_seconds);
	if (err)
		goto release_pages;
	err = virtio_device_plug(&b->vdev);
	if (err)
		goto release_thread;
	*out = &b->vdev.device;
	return 0;

release_thread:
	release_thread(b);
release_pages:
	balloon_pages_release(&b->pages);
release:
	virtio_device_release(&b->vdev);
	free(b);
	log_err("balloon", "cannot make the balloon: %s", strerror(-err));
	return err;
}

static int balloon_plan(const struct machine *machine, const void *config,
			struct device_plan *plan)
{
	set_name(plan->name);
	plan->ops = &balloon_ops;
	return check_options(machine, config);
}

/* ---- options ------------------------------------------------------------- */

const struct virtio_balloon_options virtio_balloon_defaults = {
	.deflate_on_oom = true,
	.reporting = true,
	.stats_seconds = 5,
};

#define FIELD(name) offsetof(struct virtio_balloon_options, name)

const struct option_desc virtio_balloon_keys[] = {
	{ OPTION_SIZE, 0, "target", "SIZE",
	  "what the guest shall give up, in MiB or with suffix (default 0)",
	  .offset = FIELD(target), .unit = MIB },
	{ OPTION_FLAG, 0, "deflate-on-oom", NULL,
	  "the guest takes pages back before it kills (default on)",
	  .offset = FIELD(deflate_on_oom) },
	{ OPTION_FLAG, 0, "reporting", NULL,
	  "the guest's free pages go back by themselves (default on)",
	  .offset = FIELD(reporting) },
	{ OPTION_FLAG, 0, "hinting", NULL,
	  "all free pages go back when the prompt's 'hint' asks for them",
	  .offset = FIELD(hinting) },
	{ OPTION_UINT, 0, "stats", "SECONDS",
	  "how often the guest tells its statistics (default 5, 0: never)",
	  .offset = FIELD(stats_seconds), .max = MAX_STATS_SECONDS },
	{ .kind = OPTION_END },
};

/* ---- state --------------------------------------------------------------- */

#define QUEUE_STATE(n) VIRTIO_QUEUE_STATE(struct balloon, n, BALLOON_QUEUE_SIZE)

#define CONFIG_STATE(field)                                              \
	{                                                                \
		.name = #field,                                          \
		.offset = offsetof(struct balloon, vdev.config) +        \
			  offsetof(struct virtio_balloon_config, field), \
		.width = sizeof(__le32), .count = 1, .version = 1,       \
	}

static const struct state_field balloon_fields[] = {
	VIRTIO_STATE(struct balloon),
	CONFIG_STATE(num_pages),
	CONFIG_STATE(actual),
	CONFIG_STATE(free_page_hint_cmd_id),
	CONFIG_STATE(poison_val),
	STATE_FIELD(struct balloon, last_hint_id, 1,
		    VIRTIO_BALLOON_CMD_ID_DONE),
	QUEUE_STATE(0),
	QUEUE_STATE(1),
	QUEUE_STATE(2),
	QUEUE_STATE(3),
	QUEUE_STATE(4),
	STATE_END,
};

static const struct state_table balloon_state = {
	.name = "virtio-balloon",
	.version = 1,
	.fields = balloon_fields,
};

const struct device_type virtio_balloon_type = {
	.name = "virtio-balloon",
	.options = virtio_balloon_keys,
	.defaults = &virtio_balloon_defaults,
	.config_size = sizeof(struct virtio_balloon_options),
	.create = balloon_create,
	.plan = balloon_plan,
	.destroy = balloon_destroy,
	.reset = virtio_device_machine_reset,
	.quiesce = virtio_device_quiesce,
	.resume = balloon_resume,
	.stats = balloon_stats,
	.state = &balloon_state,
};
