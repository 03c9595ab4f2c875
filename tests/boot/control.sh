# The control socket: what Linux makes of what its commands do.

# control MESSAGE...: the answers of the VM whose socket is ./qmp, a line each,
# and events among them. A message that is one word is a command.
control() {
	local message
	for message in qmp_capabilities "$@"; do
		case $message in
		*[!a-z_-]*) echo "$message" ;;
		*) echo "{\"execute\": \"$message\"}" ;;
		esac
	done | socat -t 20 - UNIX:qmp | tr -d '\r' | tail -n +3
}

# control_with COMMAND ARGUMENTS: it must work.
control_with() {
	control "{\"execute\": \"$1\", \"arguments\": $2}" >answer
	grep -q '^{"return":' answer || fail "$1: $(<answer)"
}

# control_await PATTERN: until a line of events has it.
control_await() {
	until grep -q -- "$1" events; do
		[ -d "/proc/$pid" ] || fail "lkvm ended before: $1"
		sleep 0.1
	done
}

test_control_disk() {
	need socat jq qemu-img
	truncate -s 4M disk
	qemu-img create -q -f qcow2 disk.qcow2 4M
	start cloud 'disks
		until_size() {
			until [ $(blockdev --getsize64 /dev/${2:-vda}) = $1 ]; do
				sleep 0.1
			done
		}
		echo ready
		until_size 8388608
		dd if=/dev/urandom of=/new bs=1M count=8 2>/dev/null
		dd if=/new of=/dev/vda bs=1M oflag=direct 2>/dev/null
		echo new=$(sha /new)
		until_size 1048576
		echo smaller
		until_size 8388608 vdb
		dd if=/new of=/dev/vdb bs=1M oflag=direct 2>/dev/null' \
		-d disk,format=raw -d disk.qcow2 --control qmp --events events
	await '^ready'
	control_with block_resize '{"device": "vda", "size": 8388608}'
	await '^new='
	same disk "$(sha disk)" "$(value new)"
	same written "$(control query-blockstats |
		jq '.return[0].stats | .wr_bytes, .wr_total_time_ns > 0' |
		xargs)" "8388608 true"
	control_with block_resize '{"device": "vda", "size": 1048576}'
	control_with block_resize '{"device": "vdb", "size": 8388608}'
	finish
	ended 0
	says '^smaller'
	qemu-img check -q disk.qcow2
	qemu-img convert -O raw disk.qcow2 grown
	same "qcow2 disk" "$(sha grown)" "$(value new)"
	same END "$(jq -c 'select(.event == "END").data' events)" '{"status":0}'
}

# A rate of one byte a second, taken back while a request waits for it.
test_control_throttle() {
	need socat
	local zeros='"bps_rd": 0, "bps_wr": 0, "iops_rd": 0, "iops_wr": 0'
	random 4M >disk
	interactive
	start cloud 'disks
		echo ready
		read -r line </dev/console
		echo reads
		echo hash=$(dd if=/dev/vda bs=64k iflag=direct 2>/dev/null |
			sha)' -d disk,format=raw --control qmp <stdin
	await '^ready'
	control_with block_set_io_throttle \
		"{\"id\": \"vda\", \"bps\": 1, \"iops\": 0, $zeros}"
	echo go >&3
	await '^reads'
	sleep 1
	says_not '^hash'
	control_with block_set_io_throttle \
		"{\"id\": \"vda\", \"bps\": 0, \"iops\": 0, $zeros}"
	finish
	ended 0
	same hash "$(value hash)" "$(sha disk)"
}

# The file ends earlier than the disk that the guest has been promised.
test_control_disk_error() {
	need jq
	random 4M >disk
	start cloud 'disks
		echo ready
		until dd if=/dev/vda of=/dev/null bs=4k skip=1000 count=1 \
			iflag=direct 2>&1 | grep "error"; do sleep 0.1; done' \
		-d disk,format=raw --events events
	await '^ready'
	truncate -s 1M disk
	finish
	ended 0
	says 'I/O error|Input/output error'
	same event "$(jq -c 'select(.event == "BLOCK_IO_ERROR").data |
		[.device, .operation, .action]' events | head -n 1)" \
		'["vda","read","report"]'
}

test_control_balloon() {
	need socat jq
	start cloud 'modprobe -a virtio_pci virtio_balloon
		echo ready
		while sleep 1; do :; done' --balloon=stats=1 --control qmp \
		--events events
	await '^ready'
	control_with balloon '{"value": 201326592}'
	control_await '"BALLOON_CHANGE","data":{"actual":201326592}}'
	same actual "$(control query-balloon)" '{"return":{"actual":201326592}}'
	# The driver's first word is about all of its memory.
	until [ "$(control x-lkvm-balloon-stats | grep '^{"return":' |
		jq '.return.guest."total-memory" // 0')" -gt 100000000 ]; do
		sleep 0.1
	done
	control_with balloon '{"value": 268435456}'
	control_await '"BALLOON_CHANGE","data":{"actual":268435456}}'
	control quit >answer
	finish
	ended 0
	same end "$(jq -c 'select(.event == "SHUTDOWN").data' events)" \
		'{"guest":false,"reason":"host-qmp-quit"}'
}

test_control_debug() {
	need socat
	start cloud 'echo 1 >/proc/sys/kernel/sysrq
		echo ready
		while sleep 1; do :; done' -c 2 --control qmp
	await '^ready'
	control_with x-lkvm-sysrq '{"key": "h"}'
	await 'sysrq: HELP'
	# Its letters are a shell's input otherwise; twice, for order.
	control_with x-lkvm-sysrq '{"key": "m"}'
	await 'sysrq: Show Memory'
	control inject-nmi >answer
	await 'NMI received for unknown reason .* on CPU 0'
	control_with x-lkvm-nmi '{"cpu-index": 1}'
	await 'NMI received for unknown reason .* on CPU 1'
	control_with x-lkvm-registers '{"cpu-index": 1}'
	grep -q 'vCPU 1.*rip ffffffff.*64-bit' answer || fail "$(<answer)"
	control_with x-lkvm-sysrq '{"key": "o"}'
	finish
	ended 0
}

test_control_reset() {
	need socat jq
	start cloud 'echo ready; while sleep 1; do :; done' --control qmp \
		--events events
	await '^ready'
	control stop system_reset >answer
	control_await '"RESET"'
	: >console
	# A user's pause outlasts it.
	same status "$(control query-status)" \
		'{"return":{"status":"paused","running":false}}'
	control cont >answer
	await '^ready'
	same status "$(control query-status)" \
		'{"return":{"status":"running","running":true}}'
	control quit >answer
	finish
	ended 0
	same events "$(jq -r .event events | xargs)" \
		'START STOP RESET RESUME SHUTDOWN END'
}

# control_panic ACTION OPTION...
test_control_panic() {
	need socat jq
	start cloud 'modprobe pvpanic-mmio 2>/dev/null
		echo ready
		echo c >/proc/sysrq-trigger' --control qmp --events events \
		--on-panic="$1"
	if [ "$1" = pause ]; then
		control_await GUEST_PANICKED
		same status "$(control query-status)" \
			'{"return":{"status":"guest-panicked","running":false}}'
		control quit >answer
	fi
	finish
	ended 255
	same action "$(jq -r 'select(.event == "GUEST_PANICKED").data.action' \
		events)" "$2"
	same END "$(jq -c 'select(.event == "END").data' events)" \
		'{"status":255}'
}

# The same cable, pulled and plugged in again.
test_control_link() {
	need socat
	with_net
	net_start 'network 192.168.33.15
		carrier() {
			until [ "$(cat /sys/class/net/eth0/carrier)" = $1 ]; do
				sleep 0.1
			done
		}
		reach 192.168.33.1
		echo ready
		carrier 0
		echo pulled
		carrier 1
		reach 192.168.33.1
		echo back
		carrier 0' -n "mode=tap,$1" --control qmp
	await '^ready'
	in_net ping -c 1 -W 5 192.168.33.15 >/dev/null || fail "cannot reach it"
	control_with set_link '{"name": "net0", "up": false}'
	await '^pulled'
	! in_net ping -c 1 -W 1 192.168.33.15 >/dev/null ||
		fail "reached it without a cable"
	# A pause does not plug it in.
	control stop cont >answer
	! in_net ping -c 1 -W 1 192.168.33.15 >/dev/null ||
		fail "reached it after a pause"
	control_with set_link '{"name": "net0", "up": true}'
	await '^back'
	control_with set_link '{"name": "net0", "up": false}'
	finish
	ended 0
	says_not '^cannot'
}

promise "a disk gets another size while the guest runs" test_control_disk
promise "a disk's limits change while a request waits for them" \
	test_control_throttle
promise "an error of the disk's file is an event" test_control_disk_error
promise "the balloon's size is asked for, and told, by the control socket" \
	test_control_balloon
promise "SysRq, NMIs and registers by the control socket" test_control_debug
promise "a reset by the control socket keeps a pause" test_control_reset
promise "a panic is an event, and the end" test_control_panic exit poweroff
promise "a panic is an event, and a pause" test_control_panic pause pause
promise "a network's cable is pulled and plugged in" \
	test_control_link vhost=off
promise "a network's cable is pulled and plugged in, with vhost-net" \
	test_control_link vhost=on
