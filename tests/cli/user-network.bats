#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The user-mode network: what --network refuses, and what it says of a passt
# that is not there or does not start.

load helpers

# fake_passt COMMAND...: a passt that runs this; nothing else is found.
fake_passt() {
	mkdir -p bin
	printf '#!/bin/bash\nPATH=/bin:/usr/bin\n%s\n' "$*" >bin/passt
	chmod 755 bin bin/passt
	as=(env "PATH=$scratch/bin")
}

@test "forwards are checked" {
	for forward in '' 80 tcp tcp:80 sctp:80-:80 tcp:80:80 tcp:80-80; do
		refuses "--network: hostfwd: bad value '$forward': use tcp|udp:[ADDR:]PORT-:PORT" \
			run -k kernel -n "mode=user,hostfwd=$forward"
	done
	for forward in tcp:0-:80 tcp:80-:0 udp:65536-:80 tcp:http-:80 tcp:80-:; do
		refuses "--network: hostfwd: bad value '$forward': a port is a number from 1 to 65535" \
			run -k kernel -n "mode=user,hostfwd=$forward"
	done
	for forward in tcp:localhost:80-:80 tcp:1.2.3:80-:80 tcp:::1:80-:80; do
		refuses "--network: hostfwd: bad value '$forward': its address is neither IPv4 nor [IPv6]" \
			run -k kernel -n "mode=user,hostfwd=$forward"
	done
	many=mode=user
	for port in {1001..1064}; do many+=,hostfwd=tcp:$port-:80; done
	refuses "--network: hostfwd: there are more than 64" \
		run -k kernel -n "$many,hostfwd=tcp:1-:1"
}

@test "addresses of mode=user are checked" {
	need_kvm
	make_kernel kernel
	refuses "net0: guest_ip: 192.168.33 is no IPv4 address" \
		run -k kernel -n mode=user,guest_ip=192.168.33
	refuses "net0: host_ip: ::1 is no IPv4 address (ADDR or ADDR/BITS)" \
		run -k kernel -n mode=user,host_ip=::1
	refuses "net0: guest_ip 10.0.0.2 and host_ip 192.168.33.1 are not in one network of 24 bits" \
		run -k kernel -n mode=user,guest_ip=10.0.0.2
	refuses "net0: 10.0.0.2 cannot be both guest_ip and host_ip" \
		run -k kernel -n mode=user,guest_ip=10.0.0.2,host_ip=10.0.0.2
}

@test "what only a tap has is refused for mode=user, and the other way round" {
	need_kvm
	make_kernel kernel
	for key in tapif=tap0 fd=5 script=./x downscript=./x mq=2; do
		refuses "net0: ${key%%=*}: mode=user has no use for it" \
			run -k kernel -n "mode=user,$key"
	done
	refuses "net0: mtu: mode=user carries at most 65520 bytes" \
		run -k kernel -n mode=user,mtu=65521
	fake_passt sleep 10
	refuses "net0: vhost=on: it goes with no such backend" \
		run -k kernel -n mode=user,vhost=on
	refuses "net0: hostfwd: only mode=user has it" \
		run -k kernel -n mode=tap,hostfwd=tcp:80-:80
}

@test "no passt: an error for who asks for it, a warning for all others" {
	need_kvm
	make_kernel kernel
	fake_passt
	rm bin/passt
	refuses "net0: mode=user needs passt (install the package passt)" \
		run -k kernel -n mode=user
	network=()
	lkvm run -k kernel -m 16 --debug-exit --stats
	[ "$status" = 43 ]
	[ "$(grep -c '^lkvm:' <<<"$err")" = 1 ]
	[[ $err == *"lkvm: warning: no network: there is no passt (install the package passt, or -n mode=none for none)"* ]]
	[[ $err != *net0* ]]
}

@test "a passt that ends at once: its own words" {
	need_kvm
	make_kernel kernel
	fake_passt 'echo it will not >&2; exit 1'
	refuses "net0: passt cannot start: it will not" \
		run -k kernel -n mode=user
	network=()
	lkvm run -k kernel -m 16 --debug-exit --stats
	[ "$status" = 43 ]
	[ "$(grep -c '^lkvm:' <<<"$err")" = 1 ]
	[[ $err == *"lkvm: warning: no network: passt cannot start: it will not (-n mode=none for none)"* ]]
	[[ $err != *net0* ]]
	fake_passt 'kill -9 $$'
	network=(-n mode=none)
	refuses "net0: passt cannot start: killed by signal 9" \
		run -k kernel -n mode=user
}

@test "a port that is taken" {
	need_kvm
	make_kernel kernel
	socat -u TCP4-LISTEN:47012,bind=127.0.0.1 - 3>&- >/dev/null &
	until ss -Htln | grep -q 127.0.0.1:47012; do sleep 0.1; done
	refuses "net0: passt cannot start: Failed to bind any port for '-t 127.0.0.1/47012:80', exiting" \
		run -k kernel -n mode=user,hostfwd=tcp:127.0.0.1:47012-:80
	kill %%
}

@test "captures are regular files" {
	need_kvm
	make_kernel kernel
	mkfifo pipe
	fake_passt sleep 10
	refuses "cannot write a capture to nosuch/file: No such file or directory" \
		run -k kernel -n mode=user,pcap=nosuch/file
	refuses "cannot write a capture to pipe: it is not a regular file" \
		run -k kernel -n mode=user,pcap=pipe
	refuses "cannot write a capture to /dev/null: it is not a regular file" \
		run -k kernel -n mode=user,pcap=/dev/null
}

@test "passt leaves with lkvm" {
	need_kvm
	make_kernel kernel
	lkvm run -k kernel -m 16 --debug-exit -n mode=user,hostfwd=tcp:127.0.0.1:47013-:80
	[ "$status" = 43 ]
	[ -z "$err" ]
	[ -z "$(ss -Htln | grep 127.0.0.1:47013)" ]
}
