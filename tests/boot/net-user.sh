# The user-mode network: passt as a child of lkvm's. Each test has a network
# namespace of its own, whose loopback interface is the guest's host.

# In the guest: an address by DHCP, from lkvm's own server.
user_network='network() {
	modprobe -a virtio_pci virtio_net
	ip link set lo up
	ip link set eth0 up
	udhcpc -i eth0 -n -q -t 10 -O mtu -s /udhcpc || echo no lease
}
'

udhcpc_script='#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
ip route add default via "$router"
for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
echo "ip=$ip/$mask"
echo "router=$router"
echo "dns=$dns"
echo "mtu=$mtu"
'

# with_user_net [outside]: commands behind in_user_net, and guests, see
# networks that nobody else does; with "outside" there are default routes,
# to nobody.
with_user_net() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	need passt ip nsenter socat
	ns=lkvm-user-$$
	ip netns add "$ns"
	trap 'kill $(jobs -p) 2>/dev/null || true; wait; ip netns del "$ns"' EXIT
	in_user_net ip link set lo up
	[ "${1:-}" = outside ] || return 0
	modprobe dummy 2>/dev/null || busybox modprobe dummy || true
	in_user_net ip link add outside type dummy
	in_user_net ip addr add 192.0.2.2/24 dev outside
	in_user_net ip addr add 2001:db8::2/64 dev outside nodad
	in_user_net ip link set outside up
	in_user_net ip route add default via 192.0.2.1
	in_user_net ip route add default via 2001:db8::1 dev outside
}

in_user_net() {
	nsenter "--net=/run/netns/$ns" "$@"
}

# What lkvm is started by.
within=()

# user_start SCRIPT [OPTION...]: as start; the guest's address is by DHCP.
user_start() {
	mkdir -p add
	echo "$udhcpc_script" >add/udhcpc
	chmod 755 add/udhcpc
	prepare cloud "$user_network$1" "${@:2}"
	nsenter "--net=/run/netns/$ns" "${within[@]}" "${command[@]}" <&0 >console 2>errors &
	pid=$!
}

user_boot() {
	user_start "$@"
	finish
}

# serve: the folder web at port 8000 of the host, on 127.0.0.1 only.
serve() {
	mkdir -p web
	echo "hello from the host" >web/hello
	in_user_net busybox httpd -f -p 127.0.0.1:8000 -h web &
	listening 127.0.0.1:8000
}

# listening ADDRESS: until somebody does, in this test's network.
listening() {
	until in_user_net ss -Htuln | grep -qF "$1 "; do sleep 0.05; done
}

# The guest waits for a line of our stdin, and then powers off.
user_stdin() {
	mkfifo stdin
	exec 3<>stdin
}

# children_of PID NAME
children_of() {
	pgrep -P "$1" -x "$2" || true
}

test_user_dhcp() {
	with_user_net
	serve
	user_boot 'network
		wget -q -O - http://192.168.33.1:8000/hello
		echo "address=$(ip -o -4 addr show eth0 | grep -o "inet [^ ]*")"
		echo "device=$(cat /sys/class/net/eth0/mtu)"' \
		-n mode=user,pcap=capture --stats
	ended 0
	same ip "$(value ip)" 192.168.33.15/24
	same router "$(value router)" 192.168.33.1
	same address "$(value address)" "inet 192.168.33.15/24"
	same "DHCP's MTU" "$(value mtu)" 65520
	same "the device's MTU" "$(value device)" 65520
	says '^hello from the host'
	grep -q '^net0 ' errors || fail "no counters"
	! grep '^lkvm:' errors || fail "it said something"
	need tshark
	tshark -r capture -Y dhcp >dhcp 2>log || fail "$(cat log)"
	same "frames of DHCP" "$(wc -l <dhcp)" 4
	tshark -r capture -Y http -T fields -e http.file_data >http 2>log
	grep -q 'hello from the host' http || fail "$(cat http)"
	same "frames cut off" "$(tshark -r capture \
		-Y 'frame.cap_len < frame.len || _ws.malformed' 2>log)" ""
}

test_user_addresses() {
	with_user_net
	serve
	user_boot 'network
		wget -q -O - http://10.1.0.1:8000/hello' \
		-n mode=user,guest_ip=10.1.2.3,host_ip=10.1.0.1/16,mtu=1400
	ended 0
	same ip "$(value ip)" 10.1.2.3/16
	same router "$(value router)" 10.1.0.1
	same mtu "$(value mtu)" 1400
	says '^hello from the host'
}

# A DNS server that knows one address: of whatever it is asked.
dns_answer='#!/bin/bash
query=$(dd bs=512 count=1 2>/dev/null | od -An -v -tx1 | tr -d " \n")
answer=${query:0:4}85800001000100000000${query:24}
answer+=c00c000100010000003c0004c000024d
printf "$(echo "$answer" | sed "s/../\\\\x&/g")"
'

# passt hands the guest the host's server, and carries the questions there.
test_user_dns() {
	local server=203.0.113.53
	need unshare
	[ -e /etc/resolv.conf ] || skip "needs /etc/resolv.conf"
	with_user_net
	in_user_net ip addr add "$server/32" dev lo
	echo "$dns_answer" >answer
	chmod 755 answer
	in_user_net socat -t 60 "UDP4-RECVFROM:53,bind=$server,fork" EXEC:./answer &
	listening "$server:53"
	echo "nameserver $server" >resolv.conf
	within=(unshare --mount sh -c
		'mount --bind resolv.conf /etc/resolv.conf && exec "$@"' sh)
	user_boot 'network
		nslookup name.example' -n mode=user
	ended 0
	same dns "$(value dns)" "$server"
	says 'Address.*192\.0\.2\.77'
}

test_user_forwards() {
	local i got=
	need curl
	need_image tools
	with_user_net
	user_stdin
	user_start "$with_tools"'network
		mkdir /web
		echo "hello from the guest" >/web/hello
		httpd -p 80 -h /web
		t socat UDP4-LISTEN:5000,fork EXEC:/bin/cat &
		until netstat -lun | grep -q :5000; do sleep 0.1; done
		echo ready
		read -r line' -m 512 -d "$images/tools/tools.img,ro" \
		-n mode=user,hostfwd=tcp:8080-:80,hostfwd=tcp:127.0.0.1:8081-:80,hostfwd=udp::5001-:5000 \
		<stdin
	await '^ready'
	for i in 8080 8081; do
		same "port $i" "hello from the guest" "$(in_user_net \
			curl -s -m 60 "http://127.0.0.1:$i/hello")"
	done
	for ((i = 0; i < 5 && ${#got} == 0; i++)); do
		got=$(echo "datagram" | in_user_net timeout 20 \
			socat -t 10 - UDP4:127.0.0.1:5001) || true
	done
	same UDP "$got" datagram
	echo go >&3
	finish
	ended 0
}

test_user_transfer() {
	with_user_net
	lend "$1" in_user_net socat
	user_boot "$give_back network; give_back 192.168.33.1" -n mode=user
	ended 0
	says '^gave back'
	wait $compared
}

test_user_ipv6() {
	need curl
	with_user_net outside
	in_user_net busybox httpd -f -p '[::1]:8000' -h . &
	listening '[::1]:8000'
	echo "hello from the host" >hello
	user_stdin
	user_start 'network
		echo "hello from the guest" >/hello
		until ip -6 addr show dev eth0 scope global | grep -v tentative |
			grep -q inet6; do sleep 0.1; done
		until ip -6 route | grep -q ^default; do sleep 0.1; done
		echo "address=$(ip -6 addr show dev eth0 scope global |
			grep -o "2001:db8:.*/64")"
		wget -q -O - "http://[2001:db8::1]:8000/hello"
		httpd -p "[::]:80" -h /
		echo ready
		read -r line' -n 'mode=user,hostfwd=tcp:[::1]:8086-:80' <stdin
	await '^ready'
	in_user_net curl -s -m 60 'http://[::1]:8086/hello' >got
	same "through ::1" "$(cat got)" "hello from the guest"
	echo go >&3
	finish
	ended 0
	says '^address=2001:db8:'
	says '^hello from the host'
}

test_user_passt_dies() {
	with_user_net
	user_stdin
	user_start 'network
		echo ready
		read -r line
		until [ "$(cat /sys/class/net/eth0/carrier)" = 0 ]; do
			sleep 0.1
		done
		echo down
		ping -c 1 -W 1 192.168.33.1 >/dev/null || echo alone
		rmmod virtio_net && modprobe virtio_net && ip link set eth0 up
		echo "again=$(cat /sys/class/net/eth0/carrier)"' -n mode=user <stdin
	await '^ready'
	kill -9 "$(children_of "$pid" passt.avx2)$(children_of "$pid" passt)"
	echo go >&3
	finish
	ended 0
	says '^down'
	says '^alone'
	same again "$(value again)" 0
	same "lines" "$(wc -l <errors)" 1
	grep -qF "net0: passt has ended (killed by signal 9): the link is down" \
		errors || fail "$(cat errors)"
}

test_user_lkvm_dies() {
	local child tries=0
	with_user_net
	user_stdin
	user_start 'network; echo ready; read -r line' -n mode=user <stdin
	await '^ready'
	child=$(children_of "$pid" passt.avx2)$(children_of "$pid" passt)
	[ -n "$child" ] || fail "there is no passt"
	kill -9 "$pid"
	finish
	ended 137
	while [ -e "/proc/$child/exe" ]; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || fail "passt lives on"
		sleep 0.1
	done
}

test_user_default() {
	local bin
	with_user_net
	network=()
	user_boot 'network'
	ended 0
	same ip "$(value ip)" 192.168.33.15/24
	[ ! -s errors ] || fail "$(cat errors)"
	# Nobody else's, and one that ends at once.
	mkdir bin
	for bin in none fails; do
		[ $bin = none ] || {
			printf '#!/bin/sh\necho it will not >&2\nexit 1\n' >bin/passt
			chmod 755 bin/passt
		}
		prepare cloud 'modprobe -a virtio_pci virtio_net
			echo "devices=$(ls /sys/class/net | xargs)"'
		PATH=$PWD/bin "${command[@]}" >console 2>errors || fail "status $?"
		same devices "$(value devices)" lo
		same "$bin: lines" "$(wc -l <errors)" 1
	done
	grep -qF "no network: passt cannot start: it will not" errors ||
		fail "$(cat errors)"
}

promise "passt: DHCP, the host at 192.168.33.1, a capture" test_user_dhcp
promise "passt: other addresses and an MTU" test_user_addresses
promise "passt: DNS" test_user_dns
promise "passt: forwards of TCP and UDP" test_user_forwards
# LKVM_LONG=1: a GiB.
transfer=$((8 << 20))
[ -z "${LKVM_LONG:-}" ] || transfer=$((1 << 30))
promise "passt: $transfer bytes come to the guest, and back" \
	test_user_transfer $transfer
promise "passt: IPv6, and a forward to it" test_user_ipv6
promise "passt: its death is a link that goes down" test_user_passt_dies
promise "passt: it dies with lkvm" test_user_lkvm_dies
promise "passt: a network by default, or one warning" test_user_default
