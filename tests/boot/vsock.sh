# Sockets between guest and host: the guest's own driver, socat on both sides.

# sockets SCRIPT [OPTION...]: sets what start and boot take.
sockets() {
	need socat
	tools "modprobe vmw_vsock_virtio_transport
		$1" --vsock 3,unix=v --stats "${@:2}"
}

# To the guest's port $1: stdin goes there, what comes back to stdout.
dial() {
	{
		echo "CONNECT $1"
		cat
	} | timeout 60 socat -t 60 - UNIX-CONNECT:v | {
		read -r ok port && [ "$ok" = OK ] || fail "port $1: '$ok'"
		cat
	}
}

# Until dial would reach somebody at the guest's port $1.
await_port() {
	until dial "$1" </dev/null >/dev/null 2>&1; do
		[ -d "/proc/$pid" ] || fail "lkvm ended before port $1 was open"
		sleep 0.2
	done
}

test_vsock() {
	socat -u UNIX-LISTEN:v_6000,fork,backlog=100 CREATE:got &
	sockets 't socat VSOCK-LISTEN:5000,fork EXEC:cat &
		echo hello | t socat -t 10 - VSOCK-CONNECT:2:6000 && echo sent
		t socat -u VSOCK-CONNECT:2:6001 - 2>&1 | head -c 200
		echo ready
		read -r line'
	mkfifo stdin
	exec 3<>stdin
	start "${args[@]}" <stdin
	await '^ready'
	says '^sent'
	says 'reset by peer'
	same "what came" hello "$(cat got)"
	same "what came back" abc "$(echo abc | dial 5000)"
	echo >&3
	finish
	ended 0
	[ ! -e v ] || fail "the socket is still there"
	cat errors
}

promise "vsock: bytes go both ways" test_vsock

# The host's kernel has the device, and AF_VSOCK for its own programs.
test_vhost() {
	need socat
	modprobe vhost_vsock 2>/dev/null || busybox modprobe vhost_vsock || true
	[ -e /dev/vhost-vsock ] || skip "needs /dev/vhost-vsock"
	socat -u VSOCK-LISTEN:6000,fork CREATE:got &
	tools 'modprobe vmw_vsock_virtio_transport
		t socat VSOCK-LISTEN:5000,fork EXEC:cat &
		echo hello | t socat -t 10 - VSOCK-CONNECT:2:6000 && echo sent
		echo ready
		read -r line' --vsock 77
	mkfifo stdin
	exec 3<>stdin
	start "${args[@]}" <stdin
	await '^ready'
	says '^sent'
	same "what came" hello "$(cat got)"
	same "what came back" abc "$(echo abc | socat -t 10 - VSOCK-CONNECT:77:5000)"
	! "$lkvm" run -k "$images/cloud/bzImage" --vsock 77 2>second ||
		fail "a second one has the CID, too"
	same "its message" "$(cat second)" \
		"lkvm: --vsock: another virtual machine of this host has the CID 77"
	echo >&3
	finish
	ended 0
}

promise "vsock: the host's kernel can serve it" test_vhost
