/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio 1.2: rings, devices and the seam between devices and transports.
 *
 * A device supplies data (id, features, config space, queue sizes) and
 * handle_queue(). virtio/device.c owns negotiation, status, NEEDS_RESET and
 * every bound. A transport calls only virtio_device_*(). virtio/queue*.c are
 * the only code that reads a ring, and hide from devices how it is laid out.
 */
#ifndef LKVM_VIRTIO_H
#define LKVM_VIRTIO_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include <lkvm/device.h>
#include <lkvm/log.h>
#include <lkvm/memory.h>
#include <lkvm/throttle.h>

struct machine;
struct virtio_transport;
struct virtio_worker;
struct vring_avail;
struct vring_desc;
struct vring_packed_desc;
struct vring_packed_desc_event;
struct vring_used;

/* ---- queues (2.6 to 2.8) ------------------------------------------------- */

#define VIRTQ_MAX_SIZE 1024

/*
 * The longest chain that is handed out, indirect descriptors included. A
 * longer one is a broken queue: devices announce what fits (SEG_MAX).
 */
#define VIRTQ_MAX_CHAIN 256

struct virtio_device;

/*
 * One queue. Its registers are the transport's to write before DRIVER_OK and
 * frozen from then until reset; everything else belongs to the thread that
 * serves the queue.
 */
struct virtq {
	struct virtio_device *device;
	const struct guest_memory *memory;
	unsigned int index;
	uint16_t max_size; /* what the device offers */

	/* registers (4.1.4.3), guarded by device->lock until activation */
	uint16_t size;
	bool ready;
	uint16_t vector; /* MSI-X; interpreted by the transport */
	uint64_t desc_addr; /* descriptor area */
	uint64_t driver_addr; /* avail ring */
	uint64_t device_addr; /* used ring */

	/* running state, set up by virtq_start() */
	bool running;
	bool broken; /* answered with NEEDS_RESET; no more chains */
	bool packed; /* VIRTIO_F_RING_PACKED negotiated: the layout of 2.8 */
	bool event_idx; /* VIRTIO_F_EVENT_IDX negotiated */
	bool indirect; /* VIRTIO_F_INDIRECT_DESC negotiated */
	/*
	 * Split: indices that count up for ever, next to take and to fill.
	 * Packed: places in the ring, and the wrap counters of their laps.
	 */
	uint16_t last_avail;
	uint16_t used_idx;
	uint16_t signalled_used; /* used_idx at the last should_signal() */
	bool avail_wrap, used_wrap;
	/* Packed: how many slots of the ring, by id and all together. */
	uint16_t slots_in_flight;
	uint16_t slots[VIRTQ_MAX_SIZE];
	/* Packed: what virtq_show() is to write, and where; NULL: nothing. */
	struct vring_packed_desc *first_hidden;
	uint16_t first_flags;
	/* Heads of the chains that were popped and not pushed: a bit each. */
	uint64_t in_flight_map[VIRTQ_MAX_SIZE / 64];
	const struct vring_desc *desc; /* the three areas in RAM, if split */
	const struct vring_avail *avail;
	struct vring_used *used;
	struct vring_packed_desc *packed_desc; /* the same, if packed */
	const struct vring_packed_desc_event *driver_event;
	struct vring_packed_desc_event *device_event;
	struct ratelimit warn;
};

/*
 * A descriptor chain, checked and translated: @out_count readable elements
 * first, then @in_count writable ones, in iov[]. Lengths are in bytes.
 */
struct virtq_chain {
	uint16_t head; /* or, in a packed ring, the buffer id */
	unsigned int out_count, in_count;
	uint64_t out_len, in_len;
	struct iovec iov[VIRTQ_MAX_CHAIN];
};

/*
 * Check sizes and alignments and begin at the ring's start. All three areas
 * must be RAM. Returns 0, or -EINVAL and the queue is broken.
 */
int virtq_start(struct virtq *vq, uint64_t features);

/* Forget all running state and registers (device reset). */
void virtq_reset(struct virtq *vq);

/*
 * Take the next available chain. Returns 1 (in @chain), 0 (ring is empty) or
 * -EPROTO (the driver broke the ring: said once, and the caller calls
 * virtio_device_broken()). Each descriptor is read once. The queue's thread.
 */
int virtq_pop(struct virtq *vq, struct virtq_chain *chain);

/*
 * Undo the last virtq_pop() that has neither been undone nor pushed, of chain
 * @head: the next one takes it again. Chains popped before it may be pushed in
 * the meantime; none popped after it may be. The queue's thread.
 */
void virtq_unpop(struct virtq *vq, uint16_t head);

/*
 * Somebody else (vhost) has served the queue up to entry @last_avail of the
 * avail ring, and every chain before it was pushed. Nobody serves it now. The
 * ring is a split one.
 */
void virtq_set_position(struct virtq *vq, uint16_t last_avail);

/*
 * Return chain @head with @written bytes of its writable part filled. Every
 * popped chain is pushed exactly once, in any order; one that virtq_break()
 * was called for is not pushed at all. The queue's thread.
 */
void virtq_push(struct virtq *vq, uint16_t head, uint32_t written);

/*
 * The same in two steps, for chains that the driver must see together
 * (5.1.6.4): fill as many as belong together, no more than were popped, then
 * show them all. The queue's thread.
 */
void virtq_fill(struct virtq *vq, uint16_t head, uint32_t written);
void virtq_show(struct virtq *vq);

/*
 * The device cannot make sense of a chain: no more chains come from this
 * queue. Says @why once and returns -EPROTO; the caller goes on to
 * virtio_device_broken(). The queue's thread.
 */
int virtq_break(struct virtq *vq, const char *why);

/*
 * Does the driver want an interrupt for what was pushed since the last call?
 * (2.7.7, 2.8.10; has the needed memory barrier.) The queue's thread.
 */
bool virtq_should_signal(struct virtq *vq);

/*
 * Ask the driver not to notify, or to notify again. The latter returns true
 * when chains came in meanwhile, and the caller must pop again: there is no
 * lost wake-up when it does.
 */
void virtq_disable_notify(struct virtq *vq);
bool virtq_enable_notify(struct virtq *vq);

/* ---- devices ----------------------------------------------------------- */

#define VIRTIO_MAX_QUEUES 32

/* One per virtio device type; the callbacks' locking is noted at each. */
struct virtio_device_ops {
	uint16_t id; /* VIRTIO_ID_* */
	uint32_t pci_class; /* 24 bits, for the PCI transport */
	/*
	 * vdev->features has been agreed on (FEATURES_OK): config space may
	 * depend on it. Optional. vCPU's thread, device->lock held.
	 */
	void (*negotiated)(struct virtio_device *vdev);
	/*
	 * The driver has set DRIVER_OK with @features (a subset of what was
	 * offered), queues are set up. Returns 0, or -errno and the device
	 * gets NEEDS_RESET. vCPU's thread, device->lock held.
	 */
	int (*activate)(struct virtio_device *vdev, uint64_t features);
	/*
	 * Back to before activate(): on return no request is in flight and
	 * no queue is touched. vCPU's or main thread, device->lock held.
	 */
	void (*deactivate)(struct virtio_device *vdev);
	/*
	 * The driver notified queue @index, of a queue that is running, with
	 * no eventfd in between. vCPU's thread, no lock held. Never blocks.
	 */
	void (*handle_queue)(struct virtio_device *vdev, unsigned int index);
	/*
	 * Config space was written at [@offset, @offset + @len), inside
	 * config_len; copy what the driver may change. NULL: read-only.
	 * vCPU's thread, device->lock held.
	 */
	void (*config_write)(struct virtio_device *vdev, unsigned int offset,
			     const void *data, unsigned int len);
	/*
	 * The driver of the active device has read [@offset, @offset + @len)
	 * of the config space. Optional. vCPU's thread, device->lock held.
	 */
	void (*config_was_read)(struct virtio_device *vdev, unsigned int offset,
				unsigned int len);
};

/* The instance's link to its transport; const once plugged. */
struct virtio_transport_ops {
	/* Interrupt for used buffers of @vq. Any thread. */
	void (*signal_queue)(void *transport, struct virtq *vq);
	/* Interrupt for a configuration change. Any thread. */
	void (*signal_config)(void *transport);
	/*
	 * An eventfd by which the kernel can interrupt for @vq, without us,
	 * until the device is reset; the transport's own. -1: there is none,
	 * and signal_queue() is the only way. NULL: there never is.
	 * device->lock held, the device active.
	 */
	int (*queue_irqfd)(void *transport, struct virtq *vq);
	/*
	 * Deliver notifications of queue @index to eventfd @fd instead of
	 * handle_queue(). device->lock held. Returns 0 or -errno.
	 */
	int (*attach_notify)(void *transport, unsigned int index, int fd);
	void (*detach_notify)(void *transport, unsigned int index, int fd);
	/* Unplug and free. vCPUs are gone. */
	void (*destroy)(void *transport);
	/* Machine reset: the transport's own registers. Quiesced. */
	void (*reset)(void *transport);
};

#define VIRTIO_CONFIG_MAX 256

struct virtio_device {
	struct device device; /* first: a virtio device is a device */
	const struct virtio_device_ops *ops;
	struct machine *machine;
	/* Set before plug, if not the machine's; NULL: that. */
	const struct virtio_transport *own_transport;
	const struct virtio_transport_ops *transport_ops;
	void *transport;
	struct virtio_worker *worker; /* that has all queues; NULL: none has */

	uint64_t offered; /* features the device has; fixed after plug */
	unsigned int nr_queues; /* fixed after plug */
	unsigned int config_len; /* bytes of config; fixed after plug */
	uint8_t config[VIRTIO_CONFIG_MAX]; /* little-endian; lock */

	pthread_mutex_t lock; /* guards the registers below */
	_Atomic uint8_t status; /* lock, but for setting NEEDS_RESET */
	uint64_t driver_features;
	uint64_t features; /* negotiated; valid from FEATURES_OK */
	uint32_t config_generation;
	bool active; /* between activate() and deactivate() */
	struct virtq queue[VIRTIO_MAX_QUEUES];
	int notify_fd[VIRTIO_MAX_QUEUES]; /* attached eventfds, -1: none */
	struct ratelimit warn;
};

/*
 * State fields of every virtio device of @type, and of queue @n with at most
 * @size entries; the device is the member vdev.
 */
#define VIRTIO_STATE(type)                                     \
	STATE_FIELD(type, vdev.status, 1, 0),                  \
		STATE_FIELD(type, vdev.driver_features, 1, 0), \
		STATE_FIELD(type, vdev.features, 1, 0),        \
		STATE_FIELD(type, vdev.config_generation, 1, 0)

#define VIRTIO_QUEUE_STATE(type, n, max)                               \
	STATE_FIELD(type, vdev.queue[n].size, 1, max),                 \
		STATE_FIELD(type, vdev.queue[n].ready, 1, 0),          \
		STATE_FIELD(type, vdev.queue[n].vector, 1, 0xffff),    \
		STATE_FIELD(type, vdev.queue[n].desc_addr, 1, 0),      \
		STATE_FIELD(type, vdev.queue[n].driver_addr, 1, 0),    \
		STATE_FIELD(type, vdev.queue[n].device_addr, 1, 0),    \
		STATE_FIELD(type, vdev.queue[n].last_avail, 1, 0),     \
		STATE_FIELD(type, vdev.queue[n].used_idx, 1, 0),       \
		STATE_FIELD(type, vdev.queue[n].signalled_used, 1, 0), \
		STATE_FIELD(type, vdev.queue[n].avail_wrap, 1, 1),     \
		STATE_FIELD(type, vdev.queue[n].used_wrap, 1, 1)

/*
 * Prepare the zeroed @vdev: device type @type, offering @features (VERSION_1,
 * EVENT_IDX and INDIRECT_DESC are added here; RING_PACKED is the device's to
 * offer) and @nr_queues queues of at most @queue_size entries (power of two,
 * up to VIRTQ_MAX_SIZE). device.name is set by the caller.
 */
void virtio_device_init(struct virtio_device *vdev, struct machine *machine,
			const struct device_type *type,
			const struct virtio_device_ops *ops, uint64_t features,
			unsigned int nr_queues, uint16_t queue_size);

/*
 * Connect to its own or the machine's transport (PCI, MMIO). Returns 0, or
 * -errno after a message. virtio_device_release() undoes both this and init,
 * also when the plug failed; the device is inactive.
 */
int virtio_device_plug(struct virtio_device *vdev);
void virtio_device_release(struct virtio_device *vdev);

/* Power-on state of device and transport: as device_type.reset, or from it. */
void virtio_device_machine_reset(struct device *device);

/*
 * Send notifications of queue @index to eventfd @fd (-1: back to
 * handle_queue()). From activate() and deactivate(), device->lock held.
 */
int virtio_device_notify_fd(struct virtio_device *vdev, unsigned int index,
			    int fd);

/* After pushing: interrupt the driver if it wants to know. Queue's thread. */
void virtio_device_signal(struct virtio_device *vdev, struct virtq *vq);

/*
 * Config space has changed: bump the generation, interrupt. Any thread but a
 * queue's, device->lock held since before the change: a driver then never
 * sees new bytes under the old generation (2.5).
 */
void virtio_device_config_changed(struct virtio_device *vdev);

/*
 * The driver broke a rule: set DEVICE_NEEDS_RESET (2.1.2) and interrupt. The
 * VM goes on. Any thread; takes no lock that a queue's thread may not take.
 */
void virtio_device_broken(struct virtio_device *vdev);

/* ---- for transports: guest accesses, all bounds checked here ------------ */

/*
 * All of these are called with device->lock free; a vCPU's thread, as a rule.
 *
 * Features in dwords (4.1.4.3): @select 0 or 1; others read as 0 and ignore
 * writes. What FEATURES_OK has sealed does not change any more (3.1.1).
 */
uint32_t virtio_device_get_features(struct virtio_device *vdev,
				    uint32_t select);
void virtio_device_set_features(struct virtio_device *vdev, uint32_t select,
				uint32_t value);

/*
 * Device status (2.1): bits are only ever added, and DRIVER_OK activates the
 * device. Writing 0 resets, and has finished resetting when this returns.
 */
uint8_t virtio_device_get_status(struct virtio_device *vdev);
void virtio_device_set_status(struct virtio_device *vdev, uint8_t status);

/*
 * Config space (2.5), @len bytes from @offset on. Out-of-range accesses read
 * as zero and write nothing.
 */
void virtio_device_read_config(struct virtio_device *vdev, uint64_t offset,
			       void *data, unsigned int len);
void virtio_device_write_config(struct virtio_device *vdev, uint64_t offset,
				const void *data, unsigned int len);

/* Changes whenever the config space does (2.5). */
uint32_t virtio_device_config_generation(struct virtio_device *vdev);

/* Queue registers. */
enum virtq_register {
	VIRTQ_REG_MAX_SIZE, /* read-only */
	VIRTQ_REG_SIZE,
	VIRTQ_REG_READY,
	VIRTQ_REG_VECTOR,
	VIRTQ_REG_DESC, /* the three addresses, in the order of 4.1.4.3 */
	VIRTQ_REG_DRIVER,
	VIRTQ_REG_DEVICE,
};

/*
 * @index out of range reads as 0 and ignores writes. From activation until
 * reset all registers are frozen: reads work, writes are ignored.
 */
uint64_t virtio_device_get_queue(struct virtio_device *vdev, unsigned int index,
				 enum virtq_register reg);
void virtio_device_set_queue(struct virtio_device *vdev, unsigned int index,
			     enum virtq_register reg, uint64_t value);

/* A notification that came as a register write. Unknown queues: ignored. */
void virtio_device_notify(struct virtio_device *vdev, unsigned int index);

/* How virtio_device_plug() finds the transport that the user chose. */
struct virtio_transport {
	/* Sets vdev->transport_ops and ->transport. Returns 0 or -errno. */
	int (*attach)(struct machine *machine, struct virtio_device *vdev);
};

extern const struct virtio_transport virtio_pci_transport;
extern const struct virtio_transport virtio_mmio_transport;

/* Places that a board has for the latter (RESOURCE_VIRTIO_PLACE), each of: */
#define VIRTIO_MMIO_SLOTS 32U
#define VIRTIO_MMIO_BYTES 0x1000U

/* ---- device types ------------------------------------------------------- */

extern const struct device_type virtio_balloon_type;
extern const struct device_type virtio_blk_type;
extern const struct device_type virtio_console_type;
extern const struct device_type virtio_9p_type;
extern const struct device_type virtio_rng_type;

/*
 * One disk, as the user asked for it. (struct virtio_blk_config is the
 * kernel's name for the config space.)
 */
struct virtio_blk_options {
	const char *path;
	const char *serial; /* NULL: one is made from the disk's name */
	bool read_only;
	bool direct; /* cache=none by its older name */
	bool snapshot;
	bool discard;
	bool locking;
	bool backing_ok;
	bool packed; /* offer packed rings */
	int format; /* enum image_format */
	int cache; /* enum image_cache, -1: not said */
	int engine; /* enum engine_kind */
	uint64_t queues;
	uint64_t queue_size;
	uint64_t iops; /* 0: no limit, as the next */
	uint64_t bandwidth;
};

/* What holds where the user says nothing; and the keys to say it with. */
extern const struct virtio_blk_options virtio_blk_defaults;
extern const struct option_desc virtio_blk_keys[];
extern const struct option_desc virtio_rng_keys[];

/* One named port of a console device: see stream.h for @to and @from. */
struct virtio_port_options {
	const char *name;
	const char *to; /* or "stdio": the machine's console */
	const char *from; /* NULL: where @to is */
	struct chardev *chardev; /* not NULL: the host end; no @to then */
};

#define VIRTIO_MAX_PORTS 14

extern const struct option_desc virtio_port_keys[];

/* Either the machine's console, or named ports. */
struct virtio_console_options {
	bool console;
	const char *name; /* of the ports' device; NULL: "ports" */
	bool packed; /* offer packed rings */
	unsigned int nr_ports;
	struct virtio_port_options port[VIRTIO_MAX_PORTS];
};

/*
 * Is the last of @ports, which the user has just described, all right beside
 * the others? Returns 0, or -EINVAL after one line that says why not.
 */
int virtio_port_check(const struct virtio_console_options *ports);

/* One network device: struct net_options of net.h. */
extern const struct device_type virtio_net_type;
extern const struct option_desc virtio_net_keys[];

/*
 * Pull the cable (@up is false), or plug it in again: frames in either
 * direction are lost meanwhile, and the guest sees that there is no link. Main
 * thread.
 */
void virtio_net_set_link(struct device *device, bool up);

/*
 * The disk's file or block device may have been resized: look, and tell the
 * guest if so. Any thread but an I/O thread. Returns 0 or -errno.
 */
int virtio_blk_resize(struct device *device);

/*
 * Make the disk @bytes large (a multiple of its blocks), as image_resize(); if
 * it is a block device, only look. Then as above. Returns 0, or -errno and the
 * guest sees no change. Main thread.
 */
int virtio_blk_resize_to(struct device *device, uint64_t bytes);

/* Other rate limits, from now on. Any thread. */
void virtio_blk_set_limits(struct device *device,
			   const struct throttle_limits *limits);

/* Of one kind of request: how many have succeeded, and how long they took. */
struct virtio_blk_counts {
	uint64_t requests, bytes, ns;
};

/* A disk, and what it has done. Strings are the device's. */
struct virtio_blk_info {
	const char *path, *format, *serial;
	uint64_t bytes; /* of the disk */
	bool read_only;
	bool direct, no_flush; /* as the user asked for */
	struct throttle_limits limits;
	struct virtio_blk_counts read, write, flush, discard;
	uint64_t errors;
};

/* Any thread. */
void virtio_blk_info(struct device *device, struct virtio_blk_info *out);

/* The balloon, as the user asked for it. */
struct virtio_balloon_options {
	uint64_t target; /* bytes */
	bool deflate_on_oom;
	bool reporting;
	bool hinting;
	uint64_t stats_seconds; /* 0: no statistics */
};

extern const struct virtio_balloon_options virtio_balloon_defaults;
extern const struct option_desc virtio_balloon_keys[];

/*
 * Ask the guest to have @bytes (whole pages of them) in the balloon, which it
 * does in its own time, if at all. Any thread but the balloon's. Returns 0 or
 * -EINVAL (more than RAM).
 */
int virtio_balloon_set_target(struct device *device, uint64_t bytes);

/*
 * Ask the guest once for hints of all its free pages, which then go back to
 * the host. Any thread but the balloon's. Returns 0, -ENOTSUP (its driver does
 * not do that, or hinting is off) or -EBUSY (it has not answered the last one).
 */
int virtio_balloon_hint(struct device *device);

/* In bytes: what is asked for, and what the driver says there is. */
struct virtio_balloon_info {
	uint64_t target;
	uint64_t actual;
};

/* Any thread but the balloon's. */
void virtio_balloon_info(struct device *device,
			 struct virtio_balloon_info *info);
extern const struct device_type virtio_vsock_type;

/* What that creates where the host's kernel serves the queues. */
extern const struct device_type vhost_vsock_type;

/* A socket device (5.10), as the user asked for it. */
struct virtio_vsock_options {
	uint64_t cid;
	const char *path; /* the host's socket; NULL: AF_VSOCK, by vhost */
	int vhost; /* enum virtio_vsock_vhost */
};

enum virtio_vsock_vhost {
	VIRTIO_VSOCK_VHOST_AUTO, /* where there is no path */
	VIRTIO_VSOCK_VHOST_ON,
	VIRTIO_VSOCK_VHOST_OFF,
};

extern const struct virtio_vsock_options virtio_vsock_defaults;
extern const struct option_desc virtio_vsock_keys[];
/* One shared folder, as the user asked for it. */
struct virtio_9p_options {
	const char *path;
	const char *tag;
	bool read_only;
	int security; /* 0: none, 1: mapped */
};

extern const struct option_desc virtio_9p_keys[];

#endif
