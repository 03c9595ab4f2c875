#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# --vsock: what it does not take, and the socket file that it makes.

load helpers

# A process that listens on the socket $1, until the test ends.
listen() {
	socat -u "UNIX-LISTEN:$1,fork" /dev/null 3>&- &
	listener=$!
	until [ -S "$1" ]; do sleep 0.1; done
}

@test "--vsock's keys are checked" {
	refuses "--vsock needs a value: CID[,KEY=VALUE...]" run --vsock
	refuses "--vsock: unknown key 'uni' (it has: cid, unix, vhost)" \
		run --vsock 3,uni=v
	refuses "--vsock: unix needs a value: PATH" run --vsock 3,unix
	refuses "--vsock: unix: bad value '': it is empty" run --vsock 3,unix=
	refuses "--vsock: vhost: bad value 'yes': use auto, on, off" \
		run --vsock 3,vhost=yes
}

@test "--vsock takes addresses that a guest can have, and no others" {
	for cid in '' x -1 3x unix=v; do
		refuses "--vsock: cid: bad value '$cid': use a whole number" \
			run --vsock "$cid"
	done
	for cid in 0 1 2 4294967295 4294967296 18446744073709551615; do
		refuses "--vsock: cid: bad value '$cid': use 3 to 4294967294" \
			run --vsock "$cid,unix=v"
	done
	need_kvm
	make_kernel kernel
	for cid in 3 4294967294; do
		lkvm run -k kernel -m 16 --vsock $cid,unix=v
		[ "$status" = 0 ]
		[ -z "$err" ]
		[ ! -e v ]
	done
}

@test "--vsock's keys must go together" {
	need_kvm
	make_kernel kernel
	refuses "--vsock: unix= and vhost=on exclude each other" \
		run -k kernel -m 16 --vsock 3,unix=v,vhost=on
	refuses "--vsock: vhost=off needs unix=PATH" \
		run -k kernel -m 16 --vsock 3,vhost=off
}

@test "a second --vsock is refused" {
	need_kvm
	make_kernel kernel
	lkvm run -k kernel -m 16 --vsock 3,unix=v --vsock 4,unix=w
	[ "$status" = 125 ]
	[ "$err" = "lkvm: --vsock: a guest can have only one" ]
	[ ! -e v ]
	[ ! -e w ]
}

@test "--vsock without vhost_vsock names the way out" {
	need_kvm
	[ ! -e /dev/vhost-vsock ] || skip "hardware: there is /dev/vhost-vsock"
	make_kernel kernel
	refuses "--vsock: cannot open /dev/vhost-vsock: No such file or directory (load vhost_vsock, or name the host's socket by unix=PATH)" \
		run -k kernel -m 16 --vsock 3
}

@test "a socket that cannot be made is refused" {
	need_kvm
	make_kernel kernel
	: >file
	refuses "--vsock: file exists and is no socket" \
		run -k kernel -m 16 --vsock 3,unix=file
	refuses "--vsock: . exists and is no socket" \
		run -k kernel -m 16 --vsock 3,unix=.
	refuses "--vsock: cannot make the socket no/v: No such file or directory" \
		run -k kernel -m 16 --vsock 3,unix=no/v
	long=$(printf 'x%.0s' {1..97})
	refuses "--vsock: the socket's name '$long' is longer than 96 bytes" \
		run -k kernel -m 16 --vsock "3,unix=$long"
}

@test "a socket that another process listens on is refused" {
	need_kvm
	make_kernel kernel
	listen v
	# The attempt itself is a connection.
	lkvm run -k kernel -m 16 --vsock 3,unix=v
	[ "$status" = 125 ]
	[ "$err" = "lkvm: --vsock: v is another process's socket" ]
	[ -S v ]
	kill $listener 2>/dev/null || true
}

@test "a socket whose owner has died is replaced" {
	need_kvm
	make_kernel kernel
	listen v
	kill -KILL $listener
	wait $listener || true
	[ -S v ]
	lkvm run -k kernel -m 16 --vsock 3,unix=v
	[ "$status" = 0 ]
	[ -z "$err" ]
	[ ! -e v ]
}
