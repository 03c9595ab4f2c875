/* SPDX-License-Identifier: GPL-2.0 */
/* Guest RAM: see memory.h. */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lkvm/memory.h>

#define HUGE_PAGE (2 * MIB)

void memory_init(struct guest_memory *mem, int vm_fd)
{
	memset(mem, 0, sizeof(*mem));
	mem->vm_fd = vm_fd;
}

void memory_release(struct guest_memory *mem)
{
	for (unsigned int i = 0; i < mem->nr_regions; i++)
		munmap(mem->region[i].host, mem->region[i].size);
	mem->nr_regions = 0;
}

/*
 * @size bytes that begin at a huge page's boundary. KVM maps a huge page only
 * where guest and host address agree in their low bits; mmap() promises no
 * such thing. Returns NULL and sets errno.
 */
static uint8_t *map_aligned(uint64_t size)
{
	uint64_t room = size + HUGE_PAGE;
	uint8_t *start, *host;

	if (room < size) {
		errno = ENOMEM;
		return NULL;
	}
	/* NORESERVE: a guest may be given more than the host has. */
	start = mmap(NULL, room, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (start == MAP_FAILED)
		return NULL;
	host = start +
	       (align_up((uintptr_t)start, HUGE_PAGE) - (uintptr_t)start);
	if (host != start)
		munmap(start, (size_t)(host - start));
	munmap(host + size, (size_t)(start + room - (host + size)));
	return host;
}

int memory_add_ram(struct guest_memory *mem, gpa_t base, uint64_t size)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned int slot = mem->nr_regions;
	gpa_t floor = 0;
	gpa_t end;
	uint8_t *host;

	if (slot)
		floor = mem->region[slot - 1].base + mem->region[slot - 1].size;
	if (!size || (base | size) & (page - 1) || base < floor ||
	    __builtin_add_overflow(base, size, &end))
		return -EINVAL;
	if (slot == MEMORY_MAX_REGIONS)
		return -ENOSPC;

	host = map_aligned(size);
	if (!host)
		return -errno;
	/*
	 * Fewer faults while the kernel unpacks itself: a hint only. The first
	 * 2 MiB hold a few tables, for which zeroing a whole huge page would
	 * cost more than it saves.
	 */
	if (size > HUGE_PAGE)
		madvise(host + HUGE_PAGE, size - HUGE_PAGE, MADV_HUGEPAGE);
	/* Guest RAM is not ours to show in a core dump, nor small. */
	madvise(host, size, MADV_DONTDUMP);

	if (mem->vm_fd >= 0) {
		struct kvm_userspace_memory_region region = {
			.slot = slot,
			.guest_phys_addr = base,
			.memory_size = size,
			.userspace_addr = (uintptr_t)host,
		};

		if (ioctl(mem->vm_fd, KVM_SET_USER_MEMORY_REGION, &region)) {
			int err = -errno;

			munmap(host, size);
			return err;
		}
	}
	mem->region[slot] = (struct memory_region) {
		.base = base,
		.size = size,
		.host = host,
	};
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

int memory_clear(struct guest_memory *mem)
{
	for (unsigned int i = 0; i < mem->nr_regions; i++)
		if (madvise(mem->region[i].host, mem->region[i].size,
			    MADV_DONTNEED))
			return -errno;
	return 0;
}
