# Sockets between guest and host: the guest's own driver, socat on both sides.

# In the guest: serve PORT ADDRESS [OPTION [,OPTION]] takes one connection; up
# PORT... waits until somebody serves them.
with_sockets='modprobe vmw_vsock_virtio_transport
	serve() {
		t socat -d -d -t 60 $3 VSOCK-LISTEN:$1,backlog=100$4 $2 \
			2>/log.$1
	}
	up() {
		for port; do
			until grep -q listening /log.$port; do sleep 0.1; done
		done
	}
'


# sockets SCRIPT [OPTION...]: sets what start and boot take.
sockets() {
	need socat
	tools "$with_sockets$1" --vsock 3,unix=v --stats "${@:2}"
}

# host PORT ADDRESS [OPTION [,OPTION]]: serves that port of the host.
host() {
	socat -t 60 ${3:-} "UNIX-LISTEN:v_$1,backlog=100${4:-}" "$2" &
	until [ -e "v_$1" ]; do sleep 0.1; done
}

# with_stdin: starts the guest; its stdin is ours to write, as descriptor 3.
with_stdin() {
	mkfifo stdin
	exec 3<>stdin
	start "${args[@]}" <stdin
}

# To the guest's port $1: stdin goes there, what comes back to stdout.
dial() {
	{
		echo "CONNECT $1"
		cat
	} | socat -t 60 - UNIX-CONNECT:v | {
		read -r ok port && [ "$ok" = OK ] || fail "port $1: '$ok'"
		cat
	}
}

# counted WHAT N: so the device's counter stood at the end.
counted() {
	same "$1" "$(sed -n "s/^vsock0 *$1 *//p" errors)" "$2"
}

# Both directions, and both halves of a connection: sort answers when its
# input has ended.
test_vsock() {
	host 6000 CREATE:got -u
	host 6001 EXEC:sort
	sockets 'serve 5000 EXEC:sort &
		echo hello | t socat -u - VSOCK-CONNECT:2:6000 && echo sent
		echo answer=$(echo hello | t socat -t 60 - VSOCK-CONNECT:2:6001)
		t socat -u VSOCK-CONNECT:2:6002 - 2>&1 | head -c 200
		t socat -u VSOCK-CONNECT:9:6000 - 2>&1 | head -c 200
		up 5000
		echo ready
		read -r line'
	with_stdin
	await '^ready'
	says '^sent'
	same "what came" "$(cat got)" hello
	same answer "$(value answer)" hello
	same "those refused" "$(text | grep -c 'reset by peer')" 2
	same "what came back" "$(echo abc | dial 5000)" abc
	! dial 5001 </dev/null >refused || fail "nobody listens on 5001"
	same "a refusal" "$(cat refused)" "port 5001: ''"
	echo >&3
	finish
	ended 0
	[ ! -e v ] || fail "the socket is still there"
	counted connections-from-guest 2
	counted connections-from-host 2
	counted connections-refused 3
}

# The guest sends the beginning of its disk. LKVM_LONG=1: 64 MiB.
vsock_mib=$([ "${LKVM_LONG:-}" = 1 ] && echo 64 || echo 8)
test_vsock_bulk() {
	local size=$((vsock_mib << 20))
	host 6000 CREATE:got -u
	sockets 'serve 5000 STDOUT -u | sha256sum >/in &
		up 5000
		echo ready
		wait
		echo in=$(cut -d " " -f 1 /in)
		head -c '$size' /dev/vda | t socat -u - VSOCK-CONNECT:2:6000'
	head -c $size "$images/tools/tools.img" >data
	start "${args[@]}"
	await '^ready'
	dial 5000 <data
	finish
	ended 0
	same "what the guest has" "$(value in)" "$(sha data)"
	same "what the host has" "$(sha got)" "$(sha data)"
	counted bytes-from-guest $size
	counted bytes-to-guest $size
}

# A hundred each way, ten at a time.
test_vsock_many() {
	local batch i jobs
	host 6000 PIPE '' ,fork
	sockets 'serve 5000 PIPE "" ,fork &
		for batch in $(seq 10); do
			pids=
			for i in $(seq 10); do
				echo answer-$batch-$i | t socat -t 60 - \
					VSOCK-CONNECT:2:6000 >/got.$batch.$i &
				pids="$pids $!"
			done
			wait $pids
		done
		sort /got.* >/answers
		echo answers=$(sha /answers)
		up 5000
		echo ready
		read -r line'
	with_stdin
	await '^ready'
	echo answer-{1..10}-{1..10} | tr ' ' '\n' | sort >expected
	same "answers of the host" "$(value answers)" "$(sha expected)"
	for batch in {1..10}; do
		jobs=()
		for i in {1..10}; do
			echo answer-$batch-$i | dial 5000 >answer.$batch.$i &
			jobs+=($!)
		done
		wait "${jobs[@]}"
	done
	echo >&3
	finish
	ended 0
	# Both ways, each byte comes back.
	counted bytes-from-guest $((2 * $(wc -c <expected)))
	counted bytes-to-guest $((2 * $(wc -c <expected)))
	sort answer.* >answers
	diff answers expected || fail "answers of the guest"
	counted connections-from-guest 100
	counted connections-from-host 100
	counted connections-refused 0
}

# Whoever vanishes, the other one hears of it, and the rest goes on.
test_vsock_deaths() {
	local client
	host 6000 EXEC:'head -c 100000' -u >/dev/null 2>&1
	sockets 't cat /dev/zero | t socat -u - VSOCK-CONNECT:2:6000
		echo over
		serve 5001 OPEN:/dev/zero -U &
		up 5001
		echo ready
		read -r line
		killall -9 socat
		serve 5000 PIPE &
		serve 5002 OPEN:/dev/zero -U &
		up 5000 5002
		echo again
		read -r line'
	with_stdin
	await '^ready'
	says '^over'
	# the guest's program
	dial 5001 </dev/null >zeroes &
	client=$!
	until [ -s zeroes ]; do sleep 0.1; done
	echo >&3
	wait $client
	await '^again'
	same "what came back" "$(echo abc | dial 5000)" abc
	# the guest itself
	dial 5002 </dev/null >zeroes2 &
	client=$!
	until [ -s zeroes2 ]; do sleep 0.1; done
	kill -KILL $pid
	wait $client
	# The socket that it left behind is replaced.
	[ -S v ]
	sockets 'echo lives'
	boot "${args[@]}"
	ended 0
	says '^lives'
}

# Connections do not outlive the driver or the guest's kernel; listeners of the
# host do.
test_vsock_reset() {
	local client
	host 6000 EXEC:cat '' ,fork
	sockets 'again() {
			echo answer=$(echo $1 |
				t socat -t 60 - VSOCK-CONNECT:2:6000)
		}
		again first
		rmmod vmw_vsock_virtio_transport
		modprobe vmw_vsock_virtio_transport
		again second
		serve 5000 EXEC:cat "" ,fork &
		up 5000
		echo ready
		read -r line
		[ "$line" != reset ] || reboot -f' --on-reset=reset
	with_stdin
	await '^ready'
	mkfifo open
	socat -t 1 - UNIX-CONNECT:v <open >held &
	client=$!
	exec 4>open
	printf 'CONNECT 5000\nheld\n' >&4
	until grep -q held held; do sleep 0.1; done
	echo reset >&3
	# Its own input is open still.
	wait $client
	await '^ready' 2
	same "what came back" "$(echo abc | dial 5000)" abc
	echo >&3
	finish
	ended 0
	same "the answers" "$(value answer | tr '\n' ' ')" \
		"first second first second "
}

# The host's kernel has the device, and AF_VSOCK for its own programs.
test_vhost() {
	need socat
	modprobe vhost_vsock 2>/dev/null || busybox modprobe vhost_vsock || true
	[ -e /dev/vhost-vsock ] || skip "needs /dev/vhost-vsock"
	socat -u VSOCK-LISTEN:6000 CREATE:got &
	tools "$with_sockets"'serve 5000 EXEC:sort "" ,fork &
		echo hello | t socat -u - VSOCK-CONNECT:2:6000 && echo sent
		up 5000
		echo ready
		read -r line
		[ "$line" != reset ] || reboot -f' --vsock 77 --on-reset=reset
	with_stdin
	await '^ready'
	says '^sent'
	same "what came" "$(cat got)" hello
	same "what came back" \
		"$(echo abc | socat -t 60 - VSOCK-CONNECT:77:5000)" abc
	! "$lkvm" run --nodefaults -n mode=none -k "$images/cloud/bzImage" \
		--vsock 77 2>second ||
		fail "a second one has the CID, too"
	same "its message" "$(cat second)" "lkvm: --vsock: another virtual \
machine of this host has the CID 77"
	echo reset >&3
	await '^ready' 2
	same "what came back" \
		"$(echo abc | socat -t 60 - VSOCK-CONNECT:77:5000)" abc
	echo >&3
	finish
	ended 0
}

promise "vsock: bytes go both ways, and each half ends on its own" test_vsock
promise "vsock: $vsock_mib MiB each way arrive as they were" test_vsock_bulk
promise "vsock: a hundred connections each way" test_vsock_many
promise "vsock: whoever dies, the other side hears of it" test_vsock_deaths
promise "vsock: connections end with the driver, and with the guest" \
	test_vsock_reset
promise "vsock: the host's kernel can serve it" test_vhost
