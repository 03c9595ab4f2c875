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
