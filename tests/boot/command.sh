# A command in the guest (lkvm run -- COMMAND): its streams, its status, its
# surroundings, and what is said when it cannot run.

# in_guest [OPTION...] -- COMMAND: sets $command to run that, in an initrd with
# busybox. $modules is where the kernel's are.
in_guest() {
	need_image cloud
	command=("$lkvm" run -k "$images/cloud/bzImage"
		-i "$images/cloud/initrd.img" -m 256 -c 1 "${network[@]}"
		--modules "${modules:-$images/cloud/root/lib/modules}" "$@")
}

# exec_in_guest ...: runs it with stdout and stderr in files; sets $status.
exec_in_guest() {
	in_guest "$@"
	status=0
	"${command[@]}" >out 2>errors || status=$?
}

test_exec_status() {
	exec_in_guest -- sh -c "exit $1"
	ended "$1"
}

test_exec_killed() {
	exec_in_guest -- sh -c 'kill -9 $$'
	ended 137
}

test_exec_not_found() {
	exec_in_guest -- "$2"
	ended "$1"
	grep -q "^lkvm: cannot run '$2': " errors || fail "it was not said why"
	same lines "$(wc -l <errors)" 1
}

test_exec_streams() {
	exec_in_guest -- sh -c 'echo out; echo error >&2; cat; echo more >&2' \
		<<<'line'
	ended 0
	same stdout "$(<out)" "out
line"
	same stderr "$(<errors)" "error
more"
}

# By hash, with all bytes that there are. LKVM_LONG=1: 100 MiB.
exec_mib=$([ "${LKVM_LONG:-}" = 1 ] && echo 100 || echo 8)
test_exec_data() {
	random ${exec_mib}M >data
	in_guest -- cat
	cat data | "${command[@]}" 2>errors | sha256sum >out
	same sum "$(cut -d ' ' -f 1 out)" "$(sha data)"
	[ ! -s errors ] || fail "something was said"
}

# Files, one of which the guest reads when it likes.
test_exec_files() {
	random 3M >data
	in_guest -- sh -c 'sleep 1; sha256sum >&2; head -c 2000000 /dev/zero'
	"${command[@]}" <data >out 2>errors
	same sum "$(cut -d ' ' -f 1 errors)" "$(sha data)"
	same bytes "$(stat -c %s out)" 2000000
}

# What a command writes just before it ends is not lost, however slow we are.
test_exec_slow_reader() {
	in_guest -- sh -c 'head -c 4000000 /dev/zero; exit 3'
	set +e
	"${command[@]}" 2>errors </dev/null | {
		sleep 3
		wc -c >out
	}
	status=${PIPESTATUS[0]}
	set -e
	ended 3
	same bytes "$(<out)" 4000000
}

# As without a guest between: the writer hears that nobody reads.
test_exec_closed_pipe() {
	in_guest -- sh -c 'yes; echo "yes: $?" >&2'
	"${command[@]}" </dev/null 2>errors | head -n 1 >out
	same stdout "$(<out)" y
	grep -q '^yes: 1' errors || fail "yes went on"
}

# Its background processes do not keep the command from ending.
test_exec_background() {
	exec_in_guest -- sh -c 'sleep 1000 & yes >/dev/null & echo done'
	ended 0
	same stdout "$(<out)" 'done'
}

# SIGTERM comes last, for it asks for the end.
test_exec_signals() {
	local name names="INT HUP QUIT USR1 USR2 TERM"
	mkfifo in
	exec 9<>in
	in_guest -- sh -c "for name in $names; do"'
			trap "echo got $name" $name
		done
		trap "echo got TERM; exit 5" TERM
		echo ready; while :; do read -r line; done'
	"${command[@]}" <in >console 2>errors &
	pid=$!
	await '^ready'
	for name in $names; do
		kill "-$name" "$pid"
		await "^got $name"
	done
	finish
	ended 5
	same "signals that came" "$(text | grep -c '^got')" 6
}

# One that the command does not catch.
test_exec_terminated() {
	in_guest -- sh -c 'echo ready; exec sleep 1000'
	"${command[@]}" </dev/null >console 2>errors &
	pid=$!
	await '^ready'
	kill -TERM "$pid"
	finish
	ended 143
}

# The guest has nobody who would hear a power button.
test_exec_stopped() {
	export XDG_RUNTIME_DIR=$PWD
	in_guest --name vm -- sh -c 'trap "echo asked; exit 6" TERM
		echo ready; while :; do sleep 0.1; done'
	"${command[@]}" </dev/null >console 2>errors &
	pid=$!
	await '^ready'
	"$lkvm" stop vm
	finish
	ended 6
	says '^asked'
}

test_exec_surroundings() {
	mkdir -p add/etc add/tmp/here
	echo 'root:x:0:0:root:/root:/bin/sh
user:x:1001:1002::/tmp/home:/bin/sh' >add/etc/passwd
	printf 'user:x:1002:\nmore:x:77:user\n' >add/etc/group
	(cd add && find . -mindepth 1 | cpio --quiet -o -H newc) |
		cat "$images/cloud/initrd.img" - >initrd.img
	A=1 exec_in_guest -i initrd.img --cwd /tmp/here --env A --env B=2 \
		--env B="3 4" --env NONE --user user -- \
		sh -c 'pwd; id -u; id -g; id -G; env; echo "$0,$1"' 'a b' ''
	ended 0
	same first "$(head -n 4 out)" "/tmp/here
1001
1002
1002 77"
	for line in A=1 'B=3 4' HOME=/tmp/home USER=user 'a b,'; do
		grep -qx -- "$line" out || fail "there is no $line"
	done
	! grep -E '^(B=2|NONE)' out || fail "too much environment"
}

test_exec_no_folder() {
	exec_in_guest --cwd /nowhere -- true
	ended 125
	same line "$(<errors)" \
		"lkvm: --cwd: cannot enter /nowhere: No such file or directory"
}

test_exec_no_user() {
	exec_in_guest --user nobody2 -- true
	ended 125
	grep -q '^lkvm: --user: there is no user nobody2 ' errors ||
		fail "it was not said who is not there"
	# 2^32 is no other name of root.
	exec_in_guest --user 4294967296 -- true
	ended 125
	exec_in_guest --user 7:4294967296 -- true
	ended 125
	exec_in_guest --user 4294967294 -- id -u
	ended 0
	same user "$(<out)" 4294967294
}

test_exec_klog() {
	exec_in_guest --klog klog -- echo hello
	ended 0
	same stdout "$(<out)" hello
	grep -aq 'Linux version' klog || fail "the kernel's log is not there"
}

# The window's size as it is and as it becomes; Ctrl-C as a key; colours.
test_exec_terminal() {
	in_guest --env TERM=linux -- sh -c 'tty; echo $TERM
		trap "echo interrupted" INT; trap "stty size" WINCH
		echo ready; while ! read -r word; do :; done; echo word=$word
		exit 4'
	on_terminal
	await '^ready'
	printf '\3' >&9
	# behind the echo of the key
	await 'interrupted'
	stty cols 123 rows 45 <"/proc/$pid/fd/0"
	await '^45 123'
	stty cols 0 rows 0 <"/proc/$pid/fd/0"
	printf 'hello\r' >&9
	off_terminal
	ended 4
	says '^/dev/pts/0'
	says '^linux'
	says '^word=hello'
}

test_exec_quit() {
	in_guest -- sh -c 'echo ready; exec sleep 1000'
	on_terminal
	await '^ready'
	printf '\1x' >&9
	off_terminal
	ended 137
}

# Who writes to a terminal that has gone hears of it, whatever it ignores.
test_exec_lost_terminal() {
	in_guest -- sh -c 'trap "" HUP; echo ready
		while echo more; do sleep 0.1; done; exit 5'
	command=(env --ignore-signal=HUP "${command[@]}")
	on_terminal
	await '^ready'
	kill -KILL "$terminal"
	for ((i = 0; i < 300; i++)); do
		kill -0 "$pid" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL "$pid"
	fail "the command still runs"
}

# without MODULE...: sets $modules to those of the kernel but these.
without() {
	local name version
	need_image cloud
	version=$(<"$images/cloud/version")
	modules=$PWD/modules
	cp -r "$images/cloud/root/lib/modules" "$modules"
	for name; do
		find "$modules" -name "$name.ko" -delete
		sed -i "/\/$name\.ko:/d" "$modules/$version/modules.dep"
	done
}

test_exec_missing() {
	without "$1"
	exec_in_guest -- true
	ended 125
	grep -q "^lkvm: .*$2.*$1" errors || fail "it was not said what is missing"
	same lines "$(wc -l <errors)" 1
}

# All that it takes is named at once.
test_exec_no_virtio() {
	without virtio virtio_ring virtio_pci virtio_pci_modern_dev \
		virtio_pci_legacy_dev virtio_mmio virtio_console
	exec_in_guest -- true
	ended 125
	same line "$(<errors)" "lkvm: this kernel has no virtio (CONFIG_VIRTIO_PCI and CONFIG_VIRTIO_CONSOLE, or modules virtio_pci and virtio_console)"
}

test_exec_no_virtio_mmio() {
	without virtio_mmio
	exec_in_guest --virtio-transport mmio -- true
	ended 125
	same line "$(<errors)" "lkvm: this kernel has no driver for virtio on MMIO (CONFIG_VIRTIO_MMIO, or module virtio_mmio)"
}

# What the command itself does not need does not keep it from running.
test_exec_no_drivers() {
	without virtio_balloon virtio-rng
	exec_in_guest --balloon --rng -- sh -c 'exit 3'
	ended 3
	# in one line, in the order that the kernel lists them in
	same lines "$(sed 's/.* no driver for //; s/, nor for /\n/' errors | sort)" \
		"the balloon (CONFIG_VIRTIO_BALLOON, or module virtio_balloon)
the entropy device (CONFIG_HW_RANDOM_VIRTIO, or module virtio_rng)"
	same lines "$(wc -l <errors)" 1
}

test_exec_wrong_kind() {
	need_image i686
	modules=$images/i686/root/lib/modules
	exec_in_guest -k "$images/i686/bzImage" -- true
	ended 125
	grep -q '^lkvm: this kernel does not run programs' errors ||
		fail "it was not said why"
}

# No DHCP client is there to ask.
test_exec_network() {
	with_user_net
	serve
	in_guest -n mode=user,guest_ip=10.1.2.3,host_ip=10.1.0.1/16 -- sh -c \
		'ip -o -4 addr show eth0; wget -q -O - http://10.1.0.1:8000/hello
		ip -o addr show lo | grep -c 127.0.0.1'
	in_user_net "${command[@]}" </dev/null >out 2>errors
	grep -q 'inet 10.1.2.3/16' out || fail "it has no address: $(<out)"
	grep -qx 'hello from the host' out || fail "it does not reach the host"
	same "addresses of lo" "$(tail -n 1 out)" 1
}

test_exec_broken_initrd() {
	random 20000 >broken
	exec_in_guest -i broken -- true
	ended 125
	grep -Eq '^lkvm: (the initrd is broken|.* did not unpack)' errors ||
		fail "it was not said why"
}

# The console is not shown, so its last words are.
test_exec_panic() {
	exec_in_guest -- sh -c 'echo c >/proc/sysrq-trigger; sleep 1000'
	ended 255
	grep -q '^lkvm: the guest kernel panicked' errors ||
		fail "that was not said"
	grep -q '^lkvm: the console said last' errors ||
		fail "its last words were not shown"
}

test_exec_mmio() {
	exec_in_guest --virtio-transport mmio -- cat <<<'by mmio'
	ended 0
	same stdout "$(<out)" "by mmio"
}

test_exec_timeout() {
	exec_in_guest --timeout 8 -- sh -c 'echo begun; sleep 1000'
	ended 124
	same stdout "$(<out)" begun
}

# test_exec_ends STATUS WORD COMMAND [OPTION...]: it is the guest that ends.
test_exec_ends() {
	exec_in_guest "${@:4}" -- "$3" -f
	ended "$1"
	grep -qx "lkvm: warning: the guest $2.* before the command ended, whose status is not known" \
		errors || fail "that was not said"
}

for number in 0 7 255; do
	promise "-- COMMAND: its status $number is lkvm's" \
		test_exec_status $number
done
promise "-- COMMAND: status 137 after SIGKILL" test_exec_killed
promise "-- COMMAND: status 127 when it is not found" \
	test_exec_not_found 127 no-such-command
promise "-- COMMAND: status 126 when it cannot be run" \
	test_exec_not_found 126 /etc/passwd
promise "-- COMMAND: stdin, stdout and stderr are apart" test_exec_streams
promise "-- cat passes $exec_mib MiB unchanged" test_exec_data
promise "-- COMMAND: files as stdin and stdout" test_exec_files
promise "-- COMMAND: a slow reader gets everything" test_exec_slow_reader
promise "-- COMMAND: a closed stdout ends who writes" test_exec_closed_pipe
promise "-- COMMAND: background processes end with it" test_exec_background
promise "-- COMMAND: signals are passed on" test_exec_signals
promise "-- COMMAND: status 143 after SIGTERM" test_exec_terminated
promise "-- COMMAND: lkvm stop asks it by SIGTERM" test_exec_stopped
promise "-- COMMAND: folder, environment and user" test_exec_surroundings
promise "-- COMMAND: --cwd that is not there" test_exec_no_folder
promise "-- COMMAND: --user that is not there" test_exec_no_user
promise "-- COMMAND: the console goes to --klog" test_exec_klog
promise "-- COMMAND: a terminal with size, signals and keys" test_exec_terminal
promise "-- COMMAND: Ctrl-a x quits" test_exec_quit
promise "-- COMMAND: a terminal that has gone ends who writes" \
	test_exec_lost_terminal
promise "-- COMMAND: a kernel without virtio_console" test_exec_missing \
	virtio_console CONFIG_VIRTIO_CONSOLE
promise "-- COMMAND: a kernel without virtio_pci" test_exec_missing \
	virtio_pci CONFIG_VIRTIO_PCI
promise "-- COMMAND: a kernel without virtio" test_exec_no_virtio
promise "-- COMMAND: a kernel without virtio_mmio" test_exec_no_virtio_mmio
promise "-- COMMAND: drivers of other devices that are missing are told" \
	test_exec_no_drivers
promise "-- COMMAND: a kernel of another kind" test_exec_wrong_kind
promise "-- COMMAND: the network is set up" test_exec_network
promise "-- COMMAND: an initrd that is none" test_exec_broken_initrd
promise "-- COMMAND: status 255 after a panic" test_exec_panic
promise "-- COMMAND: over virtio-mmio" test_exec_mmio
promise "-- COMMAND: status 124 after --timeout" test_exec_timeout
promise "-- COMMAND: a guest that powers off has status 0" \
	test_exec_ends 0 powered poweroff
promise "-- COMMAND: a guest that resets has status 252 with --on-reset=fail" \
	test_exec_ends 252 reset reboot --on-reset=fail
