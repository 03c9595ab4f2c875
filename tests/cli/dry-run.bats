#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# --dry-run prints a machine and makes nothing; tests/boot/dry-run.sh has guests
# say that it is theirs.

load helpers

# All kinds of devices, and each would make or start something.
every_device() {
	make_kernel kernel
	truncate -s 1M disk overlay
	mkdir -p share
	devices=(-k kernel -m 64 -c 2 -d disk -d overlay,ro --9p share
		-n "mode=tap,script=$scratch/up,pcap=$scratch/pcap"
		-n mode=user --rng --balloon --vsock "7,unix=$scratch/vsock"
		--port "name=log,to=file:$scratch/log" --console virtio
		--dump-dtb "$scratch/dtb" --debug-exit
		--events "$scratch/events")
	printf '#!/bin/sh\ntouch %s/ran\n' "$scratch" >up
	chmod +x up
}

@test "a dry run makes no file and runs nothing" {
	network=()
	every_device
	# What would be run, instead of passt, would tell.
	mkdir bin
	cp up bin/passt
	as=(env "PATH=$scratch/bin:$PATH")
	before=$(snapshot)
	for form in "" --json; do
		lkvm run --dry-run $form "${devices[@]}"
		[ "$status" = 0 ]
		[ -z "$err" ]
		[ "$(snapshot)" = "$before" ]
	done
}

@test "a dry run needs no KVM, and tells that it is not there" {
	make_kernel kernel
	lkvm run --dry-run -k kernel -m 64 --dev /nowhere/kvm
	[ "$status" = 0 ]
	[[ $out == *"read-write /nowhere/kvm (No such file or directory)"* ]]
}

@test "a dry run names each device, its place and its files" {
	network=()
	every_device
	lkvm run --dry-run --name box "${devices[@]}"
	for line in "name: +box" "cpus: +2" "memory: +64M" "kernel: +kernel" \
		"command line: console=hvc0 .*root=/dev/vda rw" \
		"0x000100000-0x003ffffff +ram" \
		"serial0 +serial +platform +gsi 4 +pio 0x3f8-0x3ff" \
		"debug-exit .* pio 0xf4-0xf7" \
		"pci +pci-host +pci +00:00.0 +pio 0xcf8-0xcff" \
		"vda +virtio-blk +pci +00:01.0 +gsi 17 +mmio 0xd0000000-" \
		"vdb +virtio-blk +pci +00:02.0 +gsi 18" \
		"hvc0 +virtio-console +pci +00:03.0 +gsi 19" \
		"ports +virtio-console +pci +00:04.0 +gsi 20" \
		"9p0 +virtio-9p +pci +00:05.0 +gsi 21" \
		"net0 +virtio-net +pci +00:06.0 +gsi 22" \
		"net1 +virtio-net +pci +00:07.0 +gsi 23" \
		"rng0 +virtio-rng +pci +00:08.0 +gsi 16" \
		"balloon +virtio-balloon +pci +00:09.0 +gsi 17" \
		"vsock0 +virtio-vsock +pci +00:0a.0 +gsi 18" \
		"read-write /dev/kvm" "read-write disk" "read +overlay" \
		"read-write share" "read-write /dev/net/tun" \
		"run +$scratch/up" "write +$scratch/pcap" "run +passt" \
		"listen +$scratch/vsock" "port +file:$scratch/log" \
		"write +$scratch/dtb" "write +$scratch/events" \
		"listen +$scratch/lkvm/box.sock"; do
		grep -qE -- "^ *$line" <<<"$out" || {
			echo "missing: $line"
			return 1
		}
	done
}

@test "--json says the same to programs" {
	make_kernel kernel
	truncate -s 1M $'odd \xff"name'
	lkvm run --dry-run --json -k kernel -m 5G -d $'odd \xff"name' \
		--virtio-transport mmio -p acpi=off
	[ "$(jq -r .memory <<<"$out")" = $((5 << 30)) ]
	[ "$(jq -r .name <<<"$out")" = null ]
	[ "$(jq -r '.["memory-map"][-1] | "\(.kind) \(.base) \(.size)"' \
		<<<"$out")" = "ram $((4 << 30)) $((2 << 30))" ]
	[ "$(jq -c '.devices[] | select(.name == "vda")' <<<"$out")" = \
		'{"name":"vda","type":"virtio-blk","transport":"mmio","gsi":16,"regions":[{"space":"mmio","base":4026531840,"size":4096}]}' ]
	# Also what is added to the command line late.
	[[ $(jq -r .cmdline <<<"$out") == \
		"virtio_mmio.device=4K@0xf0000000:16 "*acpi=off ]]
	jq -e '.files[] | select(.path == "odd ?\"name")' <<<"$out"
}

@test "what a run would refuse a dry run refuses" {
	make_kernel kernel
	refuses "Fatal: Unable to open kernel x: No such file or directory" \
		run --dry-run x
	echo text >text
	refuses "*text*" run --dry-run text
	refuses "disk image kernel: queue-size=5 is not a power of 2" \
		run --dry-run -k kernel -d kernel,queue-size=5
	refuses "--vsock: vhost=off needs unix=PATH" \
		run --dry-run -k kernel --vsock 3,vhost=off
	refuses "--json goes with --dry-run only" run --json -k kernel
	refuses "*initrd*does not fit with --mem 2 MiB*" run --dry-run \
		-k kernel -m 2 -i "$LKVM"
}

@test "without passt a dry run has no network that nobody asked for" {
	make_kernel kernel
	network=()
	as=(env PATH=/nowhere)
	lkvm run --dry-run -k kernel -n mode=user
	[ "$status" = 125 ]
	[ "$err" = "lkvm: net0: mode=user needs passt (install the package passt)" ]
	lkvm run --dry-run -k kernel
	[ "$status" = 0 ]
	[[ $err == "lkvm: warning: no network: there is no passt"* ]]
	[[ $out != *net0* ]]
}

@test "a machine that cannot be printed is an error" {
	make_kernel kernel
	status=0
	"$LKVM" run "${network[@]}" --dry-run -k kernel -m 64 >/dev/full \
		2>err || status=$?
	[ "$status" = 125 ]
	[[ $(<err) == "lkvm: cannot print the machine: "* ]]
}

# What a VM that runs says of itself.
@test "a dry run tells the devices that a run then has" {
	need_kvm
	truncate -s 1M disk
	mkdir share
	kernel=${LKVM_TESTS:-$top/build/tests}/kvm/guests/idle.elf
	for transport in pci mmio; do
		command=("$LKVM" run -k "$kernel" -m 16 --nodefaults
			--virtio-transport $transport -d disk,ro --9p share
			-n mode=none --rng --balloon --console virtio
			--vsock "7,unix=$scratch/vsock" --debug-exit
			--port "name=log,to=file:$scratch/log" --name box)
		"${command[@]}" --dry-run --json >planned
		"${command[@]}" >out 2>err </dev/null &
		pid=$!
		for ((i = 0; i < 1500; i++)); do
			! grep -q idle out || break
			sleep 0.02
		done
		printf '{"execute": "%s"}\n' qmp_capabilities x-lkvm-devices \
			quit | socat -t 20 - UNIX:lkvm/box.sock >replies
		wait "$pid"
		[ "$(jq '.devices | length' planned)" = 18 ]
		diff <(jq -s 'map(select(.return | arrays))[0].return' replies) \
			<(jq .devices planned)
	done
}
