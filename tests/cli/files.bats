#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Kernels, initrds, command lines and disks that cannot be used. None of them
# may cost the user a file: refuses() compares all of them.

load helpers

@test "a kernel that cannot be opened is reported in kvmtool's words" {
	truncate -s 1M disk
	refuses "Fatal: Unable to open kernel nosuch: No such file or directory" \
		run -k nosuch -d disk
	refuses "Fatal: Unable to open kernel no/such: No such file or directory" \
		run --kernel=no/such
	make_kernel secret
	chmod 000 secret
	as_nobody
	refuses "Fatal: Unable to open kernel secret: Permission denied" \
		run -k secret
}

@test "a kernel must be a regular file" {
	mkdir folder
	mkfifo pipe
	refuses "kernel folder is not a regular file" run -k folder
	# Nor is its writer waited for.
	refuses "kernel pipe is not a regular file" run -k pipe
	refuses "kernel /dev/null is not a regular file" run -k /dev/null
}

@test "an empty kernel is refused" {
	need_kvm
	: >empty
	refuses "kernel empty is empty" run -k empty -m 16
}

@test "a text file as kernel is refused, and the disk not touched" {
	need_kvm
	echo 'Hello, world.' >text
	for i in {1..1000}; do
		echo "line $i of a text that is longer than a setup header"
	done >longer
	truncate -s 1M disk
	for kernel in text longer; do
		refuses "kernel $kernel is not a bzImage nor an ELF kernel" \
			run -k "$kernel" -m 16 -d disk
	done
}

@test "a truncated bzImage is refused at any length" {
	need_kvm
	make_kernel kernel
	for length in 1 2 497 511 512 517; do
		head -c "$length" kernel >short
		refuses "kernel short is not a bzImage nor an ELF kernel" \
			run -k short -m 16
	done
	for length in 518 519 615; do
		head -c "$length" kernel >short
		refuses "kernel short is truncated: its header says 616 bytes, the file has $length" \
			run -k short -m 16
	done
	for length in 616 1023 1024 2048 4080; do
		head -c "$length" kernel >short
		refuses "kernel short is truncated: its header says 4096 bytes, the file has $length" \
			run -k short -m 16
	done
}

@test "a truncated ELF kernel is refused at any length" {
	need_kvm
	# Headers of an executable with one segment of 4096 bytes at 1 MiB.
	truncate -s 8192 vmlinux
	poke vmlinux 0 '\x7fELF\x01\x01\x01'
	poke vmlinux 16 '\x02\x00\x03\x00\x01\x00\x00\x00'
	poke vmlinux 24 '\x00\x00\x10\x00\x34\x00\x00\x00'
	poke vmlinux 40 '\x34\x00\x20\x00\x01\x00'
	poke vmlinux 52 '\x01\x00\x00\x00\x00\x10\x00\x00'
	poke vmlinux 60 '\x00\x00\x10\x00\x00\x00\x10\x00'
	poke vmlinux 68 '\x00\x10\x00\x00\x00\x10\x00\x00'
	for length in 16 51 52 83 84 4096 8191; do
		head -c "$length" vmlinux >short
		refuses "kernel short is truncated: its header says that *, the file has $length" \
			run -k short -m 16
	done
}

@test "a kernel that needs more RAM than there is says how much" {
	need_kvm
	make_kernel kernel
	poke kernel $((0x260)) '\x00\x00\x00\x02' # init_size: 32 MiB
	refuses "kernel kernel needs 33 MiB of RAM below 3 GiB, and there are 16 MiB (see --mem)" \
		run -k kernel -m 16
}

@test "an initrd that cannot be read is refused" {
	need_kvm
	make_kernel kernel
	mkdir folder
	mkfifo pipe
	: >empty
	refuses "Fatal: Unable to open initrd nosuch: No such file or directory" \
		run -k kernel -i nosuch
	refuses "initrd folder is not a regular file" run -k kernel -i folder
	refuses "initrd pipe is not a regular file" run -k kernel -i pipe
	refuses "initrd empty is empty" run -k kernel -i empty -m 16
}

@test "an initrd larger than RAM is refused with both sizes" {
	need_kvm
	make_kernel kernel
	truncate -s 20M initrd
	refuses "initrd initrd (20 MiB) does not fit with --mem 16 MiB; give at least 22 MiB" \
		run -k kernel -i initrd -m 16
	lkvm run -k kernel -i initrd -m 22
	[ "$status" = 0 ]
	[ "$out" = K ]
}

@test "an initrd that no RAM could hold is refused" {
	need_kvm
	make_kernel kernel
	poke kernel $((0x22c)) '\xff\xff\x7f\x00' # initrd_addr_max: 8 MiB
	truncate -s 20M initrd
	refuses "initrd initrd (20 MiB) is too large: kernel kernel has place for 6 MiB whatever the RAM" \
		run -k kernel -i initrd -m 64
}

@test "a command line longer than the kernel takes is refused" {
	need_kvm
	make_kernel kernel
	refuses "the kernel command line has 256 bytes, and kernel kernel takes at most 255" \
		run --nodefaults -k kernel -m 16 -p "$(printf 'x%.0s' {1..256})"
	# The strings of all -p and the defaults count.
	refuses "the kernel command line has *, and kernel kernel takes at most 255" \
		run -k kernel -m 16 -p "$(printf 'x%.0s' {1..127})" \
		-p "$(printf 'x%.0s' {1..127})"
	refuses "the kernel command line has 100000 bytes, *" \
		run --nodefaults -k kernel -m 16 \
		-p "$(printf 'x%.0s' {1..100000})"
	lkvm run --nodefaults -k kernel -m 16 -p "$(printf 'x%.0s' {1..255})"
	[ "$status" = 0 ]
}

@test "a disk that is missing or no disk is refused" {
	need_kvm
	make_kernel kernel
	mkfifo pipe
	refuses "cannot open disk image nosuch: No such file or directory" \
		run -k kernel -m 16 -d nosuch
	refuses "cannot use pipe as a disk image: it is a pipe (a regular file or a block device is needed)" \
		run -k kernel -m 16 -d pipe
	refuses "cannot use /dev/null as a disk image: it is a character device (a regular file or a block device is needed)" \
		run -k kernel -m 16 -d /dev/null
}

@test "a disk of a size that cannot be is refused" {
	need_kvm
	make_kernel kernel
	: >empty
	truncate -s 1000 odd
	truncate -s 511 small
	refuses "disk image empty is empty (make one with: truncate -s 1G FILE)" \
		run -k kernel -m 16 -d empty
	refuses "disk image odd has 1000 bytes, not a multiple of 512 (round it up with: truncate -s %512 FILE)" \
		run -k kernel -m 16 -d odd
	refuses "disk image small has 511 bytes, not a multiple of 512 *" \
		run -k kernel -m 16 -d small,ro
}

@test "one bad disk among good ones leaves all as they were" {
	need_kvm
	make_kernel kernel
	truncate -s 1M a
	truncate -s 2M b
	refuses "cannot open disk image nosuch: No such file or directory" \
		run -k kernel -m 16 -d a -d nosuch -d b
}

@test "a disk that may not be read or written is refused" {
	need_kvm
	make_kernel kernel
	truncate -s 1M disk
	chmod 000 disk
	as_root_bound_by_modes
	refuses "cannot open disk image disk: Permission denied" \
		run -k kernel -m 16 -d disk
	refuses "cannot open disk image disk: Permission denied" \
		run -k kernel -m 16 -d disk,ro
}

@test "a read-only file is refused without ro, and works with it" {
	need_kvm
	make_kernel kernel
	truncate -s 1M disk
	chmod 444 disk
	as_root_bound_by_modes
	refuses 'cannot open disk image disk: Permission denied (not writable: add ",ro" to use it read-only)' \
		run -k kernel -m 16 -d disk
	lkvm run -k kernel -m 16 -d disk,ro
	[ "$status" = 0 ]
}

@test "more disks than the PCI bus has room for are refused" {
	need_kvm
	make_kernel kernel
	truncate -s 1M disk
	disks=()
	for i in {1..40}; do
		disks+=(-d disk,ro)
	done
	refuses "no room for vd* on the PCI bus: No space left on device" \
		run -k kernel -m 16 "${disks[@]}"
}
