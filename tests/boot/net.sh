# Network devices: taps of all sorts, with and without vhost-net, one pair of
# queues and several. Each test has a network namespace of its own.

# In the guest: eth0 gets the address $1/24.
with_network='network() {
	modprobe -a virtio_pci virtio_net
	mount -t tmpfs tmp /newroot/tmp
	ip link set lo up
	ip addr add $1/24 dev eth0
	ip link set eth0 up
	until [ "$(cat /sys/class/net/eth0/carrier)" = 1 ]; do sleep 0.1; done
}
# reach HOST: the first frames may come before the other end is ready.
reach() {
	for try in 1 2 3 4 5 6 7 8 9 10; do
		ping -c 1 -W 2 "$@" >/dev/null && return
	done
	echo "cannot reach $*"
}
'

# with_net: commands behind in_net, and guests by net_start, see networks that
# nobody else does; they vanish with the test.
with_net() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	need ip nsenter
	load tun vhost_net
	[ -e /dev/net/tun ] || skip "needs /dev/net/tun"
	[ -e /dev/vhost-net ] || skip "needs /dev/vhost-net"
	ns=lkvm-$$
	ip netns add "$ns"
	trap leave_net EXIT
	in_net ip link set lo up
}

# load MODULE...: on the host, where they are modules.
load() {
	local module
	for module; do
		modprobe "$module" 2>/dev/null ||
			busybox modprobe "$module" 2>/dev/null || true
	done
}

leave_net() {
	kill $(jobs -p) 2>/dev/null || true
	ip netns del "$ns" || true
}

in_net() {
	nsenter "--net=/run/netns/$ns" "$@"
}

# net_start SCRIPT [OPTION...]: as start, of a guest with tools.
net_start() {
	tools "$with_network$1" --stats "${@:2}"
	prepare "${args[@]}"
	in_net "${command[@]}" <&0 >console 2>errors &
	pid=$!
}

net_boot() {
	net_start "$@"
	finish
}

# stat NAME: of net0, from --stats.
stat_of() {
	sed -n "s/^net0 *$1 *//p" errors
}

test_ping() {
	with_net
	net_boot 'network 192.168.33.15
		reach 192.168.33.1
		ping -c 3 -s 1400 192.168.33.1 | grep -c "^1408 bytes" |
			sed "s/^/pings=/"
		echo mac=$(cat /sys/class/net/eth0/address)
		echo mtu=$(cat /sys/class/net/eth0/mtu)
		t ethtool -k eth0' -n "mode=tap,guest_mac=02:00:00:00:00:2a,mtu=1400,$1"
	ended 0
	says_not '^cannot'
	same pings "$(value pings)" 3
	same mac "$(value mac)" 02:00:00:00:00:2a
	same mtu "$(value mtu)" 1400
	says 'tx-checksumming: on'
	says 'rx-checksumming: on'
	says 'tx-tcp-segmentation: on'
	says 'tx-tcp-ecn-segmentation: on'
	says 'tx-tcp6-segmentation: on'
	# The interface that we made is gone.
	same "taps left" "$(in_net ip -o link show type tun | wc -l)" 0
}

test_counters() {
	local what
	with_net
	net_boot 'network 192.168.33.15
		reach 192.168.33.1
		ping -c 5 -s 1000 192.168.33.1' -n "$1"
	ended 0
	for what in rx tx; do
		[ "$(stat_of $what-frames)" -ge 6 ] || fail "$what-frames"
		[ "$(stat_of $what-bytes)" -ge 5000 ] || fail "$what-bytes"
		same $what-drops "$(stat_of $what-drops)" 0
	done
}

test_ipv6() {
	with_net
	in_net ip tuntap add mode tap name tap0
	in_net ip link set tap0 up
	in_net ip addr add fd00::1/64 dev tap0 nodad
	net_boot 'network 10.0.0.2
		ip -6 addr add fd00::2/64 dev eth0
		sleep 2
		reach fd00::1
		t iperf3 -6 -c fd00::1 -n 4M >/log && echo done || cat /log
		t iperf3 -6 -c fd00::1 -n 4M -R >/log && echo back || cat /log' \
		-n "tapif=tap0,$1" < <(in_net iperf3 -s >/dev/null)
	ended 0
	says '^done'
	says '^back'
	says_not '^cannot'
	# It was there before, and stays.
	in_net ip link show tap0 >/dev/null
}

# iperf3 both ways with PAIRS queue pairs.
test_iperf() {
	local pairs=$1 options=$2 way i busy=0
	with_net
	need iperf3
	in_net iperf3 -s >/dev/null &
	net_start "network 192.168.33.15
		reach 192.168.33.1
		for way in '' -R; do
			t iperf3 -c 192.168.33.1 -t 3 -P $pairs \$way >/log &&
				echo way\$way || cat /log
		done
		grep virtio1 /proc/interrupts
		echo ready
		read -r line" -c "$pairs" -n "mq=$pairs,$options" \
		< <(until grep -qa '^ready' console 2>/dev/null; do
			sleep 0.1
		done
		# Processes that end meanwhile are no failure.
		grep -lsx 'io-net0.*' /proc/[0-9]*/task/*/comm |
			wc -l >threads || true
		echo go)
	finish
	ended 0
	says '^way$|^way.$'
	says '^way-R'
	# Each pair's interrupts have come.
	for ((i = 0; i < pairs; i++)); do
		text | grep -aE "virtio1-input.$i\$" |
			awk '{ n = 0; for (i = 2; $i ~ /^[0-9]+$/; i++) n += $i
				exit n == 0 }' || fail "input.$i is idle"
	done
	[ "$(<threads)" -ge "$pairs" ] || fail "threads: $(<threads)"
}

# lend SIZE COMMAND...: so many bytes for whoever connects to port 7001, and
# what comes by port 7000 is compared with them; $compared is the comparer.
# The sockets are COMMAND's, which socat's words follow.
lend() {
	head -c "$1" < <(seq 1000000000) >data
	"${@:2}" -u OPEN:data TCP-LISTEN:7001,reuseaddr &
	"${@:2}" -u TCP-LISTEN:7000,reuseaddr - | cmp - data &
	compared=$!
}

# In the guest: back to where it came from, at $1; hashes would take longer here
# than the way. The first nc must not close its half: the passt of 2023 sends
# such a connection the same data again and again.
give_back='give_back() {
	mkfifo /open
	nc $1 7001 8<>/open <&8 | nc $1 7000 && echo gave back
}
'

test_transfer() {
	with_net
	need socat
	lend "$2" in_net socat
	net_boot "$give_back network 192.168.33.15
		reach 192.168.33.1
		give_back 192.168.33.1" -n "$1"
	ended 0
	says '^gave back'
	wait $compared
}

# Datagrams of 1000 bytes, which both kernels are given 20 at a time and only
# the last one cuts: what crosses is frames, far fewer than datagrams.
test_uso() {
	local tools_target=trixie
	with_net
	need socat jq
	[ "$(printf '%s\n' 6.2 "$(uname -r)" | sort -V | head -n 1)" = 6.2 ] ||
		skip "hardware: a host's kernel whose taps have USO"
	# No more than a socket's buffer holds.
	random 100000 >data
	mkdir -p add
	cp data add/
	in_net socat -u -b 20000 UDP4-RECV:9000 CREATE:got &
	mkfifo stdin
	exec 3<>stdin
	net_start 'network 192.168.33.15
		reach 192.168.33.1
		t ethtool -K eth0 tx-udp-segmentation on
		t ethtool -k eth0 | grep udp-segmentation
		cp /data /newroot/tmp/
		t socat -u UDP4-RECV:9001 CREATE:/tmp/got &
		t socat -u -b 20000 OPEN:/tmp/data \
			UDP4-SENDTO:192.168.33.1:9000,setsockopt-int=17:103:1000
		echo sent
		until [ "$(stat -c %s /newroot/tmp/got)" = 100000 ]; do
			sleep 0.1
		done
		echo got=$(sha /newroot/tmp/got)
		read -r line' -n "mode=tap,$1" -c 2 <stdin
	await '^sent'
	in_net socat -u -b 20000 OPEN:data \
		UDP4-SENDTO:192.168.33.15:9001,setsockopt-int=17:103:1000
	await '^got='
	in_net ip -s -j link show type tun |
		jq '.[0].stats64 | .rx.packets, .tx.packets' >frames
	echo >&3
	finish
	ended 0
	says 'tx-udp-segmentation: on'
	same "to the guest" "$(value got)" "$(sha data)"
	same "from the guest" "$(sha got)" "$(sha data)"
	awk '{ n++; more += $1 >= 50 } END { exit n != 2 || more }' frames ||
		fail "frames: $(xargs <frames)"
}

# Two guests on a bridge that ip(8) made.
test_bridge() {
	local i pids=() dirs=()
	with_net
	load bridge
	in_net ip link add br0 type bridge
	in_net ip link set br0 up
	for i in 1 2; do
		in_net ip tuntap add mode tap name tap$i
		in_net ip link set tap$i master br0 up
	done
	mkdir one
	cd one
	net_start 'network 10.1.0.1
		t iperf3 -s -1 >/dev/null && echo served' -n "tapif=tap1,$1"
	pids+=("$pid")
	cd ..
	net_boot 'network 10.1.0.2
		reach 10.1.0.1
		until t iperf3 -c 10.1.0.1 -n 16M >/log; do sleep 1; done
		echo done' -n "tapif=tap2,$2"
	ended 0
	says '^done'
	says_not '^cannot'
	pid=${pids[0]}
	cd one
	finish
	ended 0
	says '^served'
}

# The interface is deleted under a guest that uses it.
test_link() {
	with_net
	in_net ip tuntap add mode tap name tap0
	in_net ip link set tap0 up
	in_net ip addr add 192.168.33.1/24 dev tap0
	mkfifo stdin
	exec 3<>stdin
	net_start 'network 192.168.33.15
		reach 192.168.33.1
		echo ready
		until [ "$(cat /sys/class/net/eth0/carrier)" = 0 ]; do
			sleep 0.1
		done
		t ethtool eth0 | grep "Link detected"
		ping -c 1 -W 1 192.168.33.1 >/dev/null || echo unreachable' \
		-n "tapif=tap0,vhost=off" <stdin
	await '^ready'
	in_net ip link del tap0
	finish
	ended 0
	says 'Link detected: no'
	says '^unreachable'
	same lines "$(grep -c 'interface tap0 has gone' errors)" 1
}

# The driver comes and goes, also with frames in flight.
test_reload() {
	with_net
	net_boot 'network 192.168.33.15
		reach 192.168.33.1
		for i in 1 2 3 4 5; do
			ping -f -s 1000 192.168.33.1 >/dev/null 2>&1 &
			sleep 0.3
			if [ $i = 3 ]; then
				cd /sys/bus/virtio/drivers/virtio_net
				echo virtio1 >unbind
				cd /
			fi
			modprobe -r virtio_net
			kill %% 2>/dev/null
			network 192.168.33.15 2>/dev/null
			reach 192.168.33.1 && echo again=$i
		done' -n "$1"
	ended 0
	says_not '^cannot'
	same "last round" "$(value again | tail -n 1)" 5
}

# What the driver asks for by the control queue.
test_control() {
	with_net
	net_boot 'network 192.168.33.15
		reach 192.168.33.1
		t ethtool -l eth0 | grep -a Combined
		for n in 1 4 2; do
			t ethtool -L eth0 combined $n && reach 192.168.33.1 &&
				echo pairs=$n
		done
		ip link set eth0 address 02:00:00:00:00:99
		reach 192.168.33.1 && echo address
		ip link set eth0 promisc on && ip link set eth0 allmulticast on
		ip link set eth0 promisc off
		reach 192.168.33.1 && echo modes
		ip link add link eth0 name eth0.7 type vlan id 7 2>/dev/null
		t ethtool -K eth0 gro off tso off tx off
		reach 192.168.33.1 && echo offloads
		ip neigh show' -c 4 -n "mq=4,$1"
	ended 0
	says_not '^cannot'
	same pairs "$(value pairs | tr '\n' ' ')" "1 4 2 "
	says '^address'
	says '^modes'
	says '^offloads'
}

# A script gets the name, and no descriptors but its own three.
test_scripts() {
	with_net
	cat >up <<-'END'
		#!/bin/sh
		echo "$@" >args
		ls -l /proc/self/fd | grep -c -- '->' >fds
		ip addr add 192.168.33.1/24 dev "$1"
		ip link set "$1" up
	END
	printf '#!/bin/sh\nip -o link show "$1" | wc -l >down-saw\n' >down
	chmod +x up down
	mount -o remount,exec /dev/shm 2>/dev/null || true
	net_boot 'network 192.168.33.15
		reach 192.168.33.1 && echo reached' \
		-n "tapif=mine,script=$PWD/up,downscript=$PWD/down" 7</dev/null
	ended 0
	says '^reached'
	says_not '^cannot'
	same argument "$(<args)" mine
	# ls has its own open folder.
	same descriptors "$(<fds)" 4
	same "the interface at the end" "$(<down-saw)" 1
	same "interfaces left" "$(in_net ip -o link show type tun | wc -l)" 0
}

# A macvtap over one end of a veth pair; the other end is the host's.
test_macvtap() {
	local index node
	with_net
	load veth macvtap
	in_net ip link add veth0 type veth peer name veth1
	in_net ip addr add 192.168.33.1/24 dev veth1
	in_net ip link set veth0 up
	in_net ip link set veth1 up
	in_net ip link add link veth0 name mac0 type macvtap mode bridge ||
		skip "needs macvtap"
	in_net ip link set mac0 up
	index=$(in_net cat /sys/class/net/mac0/ifindex 2>/dev/null) ||
		index=$(in_net ip -o link show mac0 | cut -d : -f 1)
	node=$(in_net sh -c "mount -t sysfs sys /sys 2>/dev/null
		cat /sys/class/net/mac0/tap$index/dev")
	mknod "$PWD/tap" c "${node%:*}" "${node#*:}"
	net_boot 'network 192.168.33.15
		echo mac=$(cat /sys/class/net/eth0/address)
		reach 192.168.33.1 && echo reached' -n "tapif=$PWD/tap,$1"
	ended 0
	says '^reached'
	says_not '^cannot'
	same mac "$(value mac)" \
		"$(in_net ip -o link show mac0 | sed 's/.*ether \([^ ]*\).*/\1/')"
}

# guest_iperf: a script that moves some megabytes both ways.
guest_iperf='network 192.168.33.15
	reach 192.168.33.1
	for way in "" -R; do
		t iperf3 -c 192.168.33.1 -n 8M $way >/log && echo way$way ||
			cat /log
	done
	cat /sys/bus/virtio/devices/virtio*/features | cut -c 35
	ls -l /sys/bus/virtio/devices'

test_mmio() {
	with_net
	in_net iperf3 -s >/dev/null &
	net_boot "modprobe virtio_mmio
		$guest_iperf" -n "trans=mmio,$1"
	ended 0
	says '^way$'
	says '^way-R'
	says 'LNRO0005.*/virtio|virtio-mmio'
}

test_packed() {
	with_net
	in_net iperf3 -s >/dev/null &
	net_boot "$guest_iperf" -n packed
	ended 0
	says '^way$'
	says '^way-R'
	# VIRTIO_F_RING_PACKED is bit 34.
	says '^1$'
}

for vhost in off on; do
	promise "a guest pings the host (vhost=$vhost)" test_ping vhost=$vhost
	promise "frames are counted (vhost=$vhost)" test_counters vhost=$vhost
	promise "iperf3 both ways, one pair (vhost=$vhost)" \
		test_iperf 1 vhost=$vhost
	promise "iperf3 both ways, four pairs (vhost=$vhost)" \
		test_iperf 4 vhost=$vhost
	promise "IPv6 works on a tap that was there (vhost=$vhost)" \
		test_ipv6 vhost=$vhost
	promise "the network driver comes and goes (vhost=$vhost)" \
		test_reload vhost=$vhost
	promise "the network's control queue is obeyed (vhost=$vhost)" \
		test_control vhost=$vhost
	promise "a macvtap carries frames (vhost=$vhost)" \
		test_macvtap vhost=$vhost
done
promise "a network device by virtio-mmio works (vhost=off)" \
	test_mmio vhost=off
promise "a network device by virtio-mmio works (vhost=on)" test_mmio vhost=on
promise "a network device has packed rings" test_packed
# LKVM_LONG=1: a GiB.
transfer=$((16 << 20))
[ -z "${LKVM_LONG:-}" ] || transfer=$((1 << 30))
for vhost in off on; do
	promise "$transfer bytes come to the guest, and back (vhost=$vhost)" \
		test_transfer vhost=$vhost $transfer
done
for vhost in off on; do
	promise "the kernels at both ends cut datagrams last (vhost=$vhost)" \
		test_uso vhost=$vhost
done
promise "two guests talk over a bridge" test_bridge vhost=off vhost=on
promise "a tap that vanishes takes the link down" test_link
promise "scripts see the tap and nothing else" test_scripts
