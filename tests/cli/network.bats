#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# What --network refuses: keys, values, and interfaces that cannot be had.

load helpers

keys="mode, guest_mac, guest_ip, host_ip, tapif, fd, script, downscript, vhost, mq, mtu, trans, packed"

# need_taps: interfaces in a network that nobody else sees.
need_taps() {
	need_kvm
	[ -e /dev/net/tun ] || skip "hardware: no /dev/net/tun"
	unshare --net true 2>/dev/null || skip "hardware: no network namespaces"
	unshare --net sh -c 'ip tuntap add mode tap' 2>/dev/null ||
		skip "hardware: no taps"
	make_kernel kernel
	# Keeps the namespace while the test runs.
	unshare --net sleep 60 3>&- &
	sleeper=$!
	until [ "$(readlink "/proc/$sleeper/ns/net")" != \
		"$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
	as=(nsenter -t "$sleeper" --net)
}

teardown() {
	[ -z "${sleeper:-}" ] || kill "$sleeper"
	cd /
	rm -rf "$scratch"
}

@test "--network's keys are checked" {
	refuses "--network: unknown key 'bridge' (it has: $keys)" \
		run -k kernel -n bridge=br0
	refuses "--network: unknown key '' (it has: $keys)" \
		run -k kernel -n mode=tap,
	refuses "--network: unknown key 'tap' (it has: $keys)" \
		run -k kernel -n tap
	refuses "--network: mode: bad value 'bridge': use user, tap, none" \
		run -k kernel -n mode=bridge
	refuses "--network: vhost: bad value 'yes': use auto|on|off" \
		run -k kernel -n vhost=yes
	refuses "--network: trans: bad value 'mmio-legacy': use *" \
		run -k kernel -n trans=mmio-legacy
	refuses "--network: tapif: bad value '': it is empty" \
		run -k kernel -n tapif=
	for value in 0 9 -1; do
		refuses "--network: mq: bad value '$value': use *" \
			run -k kernel -n "mq=$value"
	done
	for value in 67 65536 x; do
		refuses "--network: mtu: bad value '$value': use *" \
			run -k kernel -n "mtu=$value"
	done
	refuses "-n (--network) needs a value: KEY=VALUE[,...]" run -n
}

@test "--network's guest_mac is one device's address" {
	for mac in x 02:00:00:00:00 02:00:00:00:00:00:00 2:0:0:0:0:1 \
		02-00-00-00-00-01 02:00:00:00:00:0g ' 2:00:00:00:00:01' \
		02:00:00:00:00:01x 02:00:00:00:00:-1 0x:00:00:00:00:01; do
		refuses "--network: guest_mac: bad value '$mac': use XX:XX:XX:XX:XX:XX" \
			run -k kernel -n "guest_mac=$mac"
	done
	for mac in 01:00:5e:00:00:01 ff:ff:ff:ff:ff:ff 00:00:00:00:00:00; do
		refuses "--network: guest_mac: bad value '$mac': it is no single device's address" \
			run -k kernel -n "guest_mac=$mac"
	done
}

@test "mode=none is no device" {
	need_kvm
	make_kernel kernel
	lkvm run -k kernel -m 16 --stats -n mode=none
	[ "$status" = 0 ]
	[[ $err != *net0* ]]
}

@test "interfaces that cannot be had are refused" {
	need_taps
	refuses "net0: there is no interface nosuch (make it with ip tuntap, or say host_ip= or script= to have it made)" \
		run -k kernel -n tapif=nosuch
	refuses "net0: interface lo is no tap" run -k kernel -n tapif=lo
	refuses "net0: tapif: the name is too long" \
		run -k kernel -n tapif=name-of-16-bytes
	refuses "net0: cannot open /dev/nosuch: No such file or directory" \
		run -k kernel -n tapif=/dev/nosuch
	refuses "net0: fd=77 is not open" run -k kernel -n fd=77
	refuses "net0: fd=0 is no tap with IFF_NO_PI and IFF_VNET_HDR" \
		run -k kernel -n fd=0
	refuses "net0: fd: it goes with no tapif" \
		run -k kernel -n fd=0,tapif=x
	refuses "net0: vhost=on: it goes with no packed rings" \
		run -k kernel -n vhost=on,packed
	"${as[@]}" ip tuntap add mode tap name single
	refuses "net0: interface single is no tap with several queues (ip tuntap add multi_queue)" \
		run -k kernel -n tapif=single,mq=2
	refuses "net0: host_ip: the interface is there already, and keeps what it has (see ip-address(8))" \
		run -k kernel -n tapif=single,host_ip=10.0.0.1
}

@test "a tap of another's is refused" {
	need_taps
	"${as[@]}" ip tuntap add mode tap name busy
	"${as[@]}" socat -u TUN,tun-type=tap,tun-name=busy,iff-no-pi,up - \
		3>&- >/dev/null &
	until "${as[@]}" ip link show busy | grep -q LOWER_UP; do
		sleep 0.1
	done
	refuses "net0: interface busy is in use by another process" \
		run -k kernel -n tapif=busy
	kill %%
}

@test "addresses and scripts of a tap are checked" {
	need_taps
	for ip in x 1.2.3 1.2.3.4/33 1.2.3.4/ 1.2.3.4/0 fe80::1 0.0.0.0; do
		refuses "net0: host_ip: use an IPv4 address, or one with /BITS" \
			run -k kernel -n "host_ip=$ip"
	done
	refuses "net0: guest_ip: a tap gives out no addresses (use mode=user, or -p ip=...)" \
		run -k kernel -n mode=tap,guest_ip=10.0.0.2
	refuses "cannot run script ./nosuch: No such file or directory" \
		run -k kernel -n script=./nosuch
	printf '#!/bin/sh\nexit 3\n' >fails
	chmod +x fails
	refuses "script ./fails failed with status 3" \
		run -k kernel -n script=./fails
	# Nothing of all this stays behind.
	[ -z "$("${as[@]}" ip -o link show type tun)" ]
}

@test "a user who may not make taps is told how to get one" {
	need_taps
	as+=(setpriv --bounding-set=-net_admin)
	refuses "net0: not allowed to open interface tap (as root: ip tuntap add mode tap user USER name NAME)" \
		run -k kernel -n mode=tap
}
