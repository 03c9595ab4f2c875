#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# What the host does not have: KVM, the right to use it, CPUs, memory. (A KVM
# of the wrong version is tests/unit/test-kvm-check.c's.)

load helpers

@test "no KVM device" {
	make_kernel kernel
	refuses "cannot open /nonexistent: No such file or directory (load the kvm module, or name another with --dev)" \
		run -k kernel -m 16 --dev /nonexistent
}

@test "no permission for the KVM device" {
	make_kernel kernel
	: >kvm
	chmod 000 kvm
	as_nobody
	refuses "cannot open kvm: Permission denied (add yourself to group kvm)" \
		run -k kernel -m 16 --dev kvm
}

@test "something else as the KVM device" {
	make_kernel kernel
	: >file
	refuses "/dev/null is not a KVM device (name one with --dev)" \
		run -k kernel -m 16 --dev /dev/null
	refuses "file is not a KVM device (name one with --dev)" \
		run -k kernel -m 16 --dev file
	refuses "cannot open .: Is a directory" run -k kernel -m 16 --dev .
}

@test "more CPUs than the host has is one warning" {
	need_kvm
	make_kernel kernel
	host=$(nproc --all)
	[ "$host" -lt 255 ] || skip "hardware: this host has 255 CPUs or more"
	lkvm run -k kernel -m 64 -c $((host + 1))
	[ "$status" = 0 ]
	[ "$out" = K ]
	[ "$err" = "lkvm: warning: $((host + 1)) vCPUs share the host's $host CPUs" ]
	lkvm run -k kernel -m 64 -c $((host + 1)) --loglevel error
	[ "$status" = 0 ]
	[ -z "$err" ]
}

@test "as many CPUs as the host has is no warning" {
	need_kvm
	make_kernel kernel
	lkvm run -k kernel -m 64
	[ "$status" = 0 ]
	[ -z "$err" ]
}

@test "more memory than the CPU can address is refused" {
	need_kvm
	make_kernel kernel
	refuses "--mem 1P is more than this CPU can address (give at most *" \
		run -k kernel -m 1P
}

@test "memory that the host refuses is one line" {
	need_kvm
	make_kernel kernel
	# A process has 128 TiB of addresses; most CPUs have as many or fewer.
	lkvm run -k kernel -m 1P
	[[ $err =~ at\ most\ ([0-9]+)G ]]
	[ "${BASH_REMATCH[1]}" -gt $((200 * 1024)) ] ||
		skip "hardware: this CPU addresses less than 200T"
	refuses "cannot give the guest 200T of RAM: Cannot allocate memory (see --mem)" \
		run -k kernel -m 200T
}

@test "too few file descriptors is one line" {
	need_kvm
	make_kernel kernel
	truncate -s 1M disk other
	for limit in 6 8 10 12 14 18; do
		as=(prlimit --nofile="$limit:$limit")
		refuses "*: Too many open files" \
			run -k kernel -m 16 -d disk -d other
	done
}

@test "a run leaves the terminal and all files as they were" {
	need_kvm
	make_kernel kernel
	truncate -s 1M disk
	# Where the control socket comes and goes, the folder's time changes.
	export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR
	before=$(snapshot)
	lkvm_at_terminal run -k kernel -m 16 -d disk
	[ "$status" = 0 ]
	[ "$out" = K ]
	[ -z "$err" ]
	[ "$(snapshot)" = "$before" ]
}
