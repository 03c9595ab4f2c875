/* SPDX-License-Identifier: GPL-2.0 */
/* Guest RAM: see memory.h. */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lkvm/log.h>
#include <lkvm/memory.h>
#include <lkvm/ram.h>

void memory_init(struct guest_memory *mem, int vm_fd)
{
	memset(mem, 0, sizeof(*mem));
	mem->vm_fd = vm_fd;
	mem->fd = -1;
	mem->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
}

void memory_release(struct guest_memory *mem)
{
	for (unsigned int i = 0; i < mem->nr_regions; i++)
		ram_unmap(&mem->region[i]);
	mem->nr_regions = 0;
	if (mem->fd >= 0)
		close(mem->fd);
	mem->fd = -1;
}

uint64_t memory_size(const struct guest_memory *mem)
{
	uint64_t bytes = 0;

	for (unsigned int i = 0; i < mem->nr_regions; i++)
		bytes += mem->region[i].size;
	return bytes;
}

static int set_slot(struct guest_memory *mem, unsigned int slot,
		    const struct memory_region *region)
{
	const struct kvm_userspace_memory_region kvm_region = {
		.slot = slot,
		.guest_phys_addr = region->base,
		.memory_size = region->size,
		.userspace_addr = (uintptr_t)region->host,
	};

	if (mem->vm_fd < 0)
		return 0;
	return ioctl(mem->vm_fd, KVM_SET_USER_MEMORY_REGION, &kvm_region) ?
		       -errno :
		       0;
}

int memory_add_ram(struct guest_memory *mem, gpa_t base, uint64_t size)
{
	unsigned int slot = mem->nr_regions;
	struct memory_region region = {
		.base = base,
		.size = size,
		.offset = memory_size(mem),
	};
	gpa_t floor = 0;
	gpa_t end;
	int err;

	if (slot)
		floor = mem->region[slot - 1].base + mem->region[slot - 1].size;
	if (!size || (base | size) & (mem->page_size - 1) || base < floor ||
	    __builtin_add_overflow(base, size, &end))
		return -EINVAL;
	if (slot == MEMORY_MAX_REGIONS)
		return -ENOSPC;

	err = ram_map(mem, &region);
	if (err)
		return err;
	err = set_slot(mem, slot, &region);
	if (err) {
		ram_unmap(&region);
		return err;
	}
	mem->region[slot] = region;
	mem->nr_regions++;
	return 0;
}

void *guest_map(const struct guest_memory *mem, gpa_t gpa, uint64_t len)
{
	if (!len)
		return NULL;
	for (unsigned int i = 0; i < mem->nr_regions; i++) {
		const struct memory_region *r = &mem->region[i];

		/* Differences cannot wrap: gpa >= base, offset <= size. */
		if (gpa >= r->base && gpa - r->base < r->size)
			return len <= r->size - (gpa - r->base) ?
				       r->host + (gpa - r->base) :
				       NULL;
	}
	return NULL;
}

int guest_read(const struct guest_memory *mem, gpa_t gpa, void *dst, size_t len)
{
	const void *src = guest_map(mem, gpa, len);

	if (!src)
		return -EFAULT;
	memcpy(dst, src, len);
	return 0;
}

int guest_write(const struct guest_memory *mem, gpa_t gpa, const void *src,
		size_t len)
{
	void *dst = guest_map(mem, gpa, len);

	if (!dst)
		return -EFAULT;
	memcpy(dst, src, len);
	return 0;
}

int guest_load(const struct guest_memory *mem, gpa_t gpa, int fd, off_t offset,
	       uint64_t len)
{
	void *dst = guest_map(mem, gpa, len);

	if (!dst)
		return -EFAULT;
	return pread_full(fd, dst, len, offset);
}

/* The region that @host points into; the caller has it from guest_map(). */
static struct memory_region *region_of(struct guest_memory *mem,
				       const uint8_t *host)
{
	struct memory_region *r = mem->region;

	while (host < r->host || host >= r->host + r->size)
		r++;
	return r;
}

int memory_discard(struct guest_memory *mem, void *host, uint64_t len)
{
	struct memory_region *r = region_of(mem, host);
	uint64_t at = (uint64_t)((uint8_t *)host - r->host);
	uint64_t start = align_up(at, mem->page_size);
	uint64_t end = align_down(at + len, mem->page_size);

	return start < end ? ram_discard(mem, r, start, end - start) : 0;
}

int memory_restore(struct guest_memory *mem, void *host, uint64_t len)
{
	struct memory_region *r = region_of(mem, host);
	uint64_t at = (uint64_t)((uint8_t *)host - r->host);
	uint64_t start = align_down(at, mem->page_size);
	uint64_t end = align_up(at + len, mem->page_size);

	return ram_restore(mem, r, start, end - start);
}

int memory_clear(struct guest_memory *mem)
{
	for (unsigned int i = 0; i < mem->nr_regions; i++) {
		struct memory_region *r = &mem->region[i];
		int err = ram_discard(mem, r, 0, r->size);

		if (err)
			return err;
		if (ram_restore(mem, r, 0, r->size))
			log_warn("memory",
				 "not enough free huge pages any more: the "
				 "guest gets ordinary ones");
	}
	return 0;
}
