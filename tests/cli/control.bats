#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The control socket and --events, on VMs that run a tiny guest: it says "idle",
# sends back what its serial port hears and powers off at the power button.

load helpers

# start NAME [OPTION...]: a VM of $kernel's; its console is in NAME.out.
start() {
	local name=$1 idle=${LKVM_TESTS:-$top/build/tests}/kvm/guests/idle.elf
	shift
	need_kvm
	: >"$name.out"
	"$LKVM" run -k "${kernel:-$idle}" -m 16 -n mode=none --nodefaults \
		"$@" >"$name.out" 2>"$name.err" </dev/null 3>&- &
	echo $! >"$name.pid"
	wait_until grep -q idle "$name.out"
}

# idles NAME N: its guest has started N times.
idles() {
	[ "$(grep -c idle "$1.out")" = "$2" ]
}

# ended NAME STATUS: it has.
ended() {
	local status=0
	wait "$(<"$1.pid")" || status=$?
	rm "$1.pid"
	cat "$1.err"
	[ "$status" = "$2" ]
}

# As many clients of web as there can be.
crowd() {
	for ((n = 0; n < 32; n++)); do
		socat -u UNIX:lkvm/web.sock - >"crowd$n" 3>&- &
		echo $! >>crowd.pid
		wait_until grep -qs QMP "crowd$n"
	done
}

# qmp SOCKET MESSAGE...: the server's lines, without the first two. A message
# that is one word is a command.
qmp() {
	local socket=$1 message
	shift
	for message in qmp_capabilities "$@"; do
		case $message in
		*[!a-z_-]*) echo "$message" ;;
		*) echo "{\"execute\": \"$message\"}" ;;
		esac
	done | socat -t 20 - "UNIX:$socket" | tr -d '\r' | tail -n +3
}

# The same, of one command with its arguments: what it returned, or its error.
ask() {
	qmp "$1" "{\"execute\": \"$2\", \"arguments\": ${3:-{\}}}" |
		grep -v '"event"' | jq -c '.return // .error'
}

teardown() {
	cd "$scratch"
	for pid in $(cat ./*.pid 2>/dev/null); do
		kill -9 "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	cd /
	rm -rf "$scratch"
}

@test "another's QMP client understands this server" {
	truncate -s 1M disk.img
	GOPATH=/usr/share/gocode GO111MODULE=off GOCACHE=$scratch/cache \
		go build -o client "$BATS_TEST_DIRNAME/qmp-client.go"
	start vm --name web -d disk.img,format=raw
	# Nor is it puzzled when there is no room for it.
	crowd
	! ./client lkvm/web.sock 2>why
	[ "$(<why)" = "too many clients are connected (32 at most)" ]
	lkvm pause web
	[ "$status" = 125 ]
	[ "$err" = "lkvm: web: too many clients are connected (32 at most)" ]
	kill $(<crowd.pid)
	wait_until "$LKVM" resume web 2>/dev/null
	# A guest is not to be interrupted while it sets its PICs up.
	./client lkvm/web.sock >answers < <(wait_until idles vm 2 && echo)
	ended vm 0
	cat answers
	diff - answers <<-END
		version $("$LKVM" version)
		supported true
		name web
		kvm true true
		disk vda raw 1048576
		stats vda 0
		balloon No balloon device has been activated
		event STOP <nil>
		status paused false
		event RESUME <nil>
		event RESET host-qmp-system-reset
		status running true
		event POWERDOWN <nil>
		event SHUTDOWN guest-shutdown
	END
	[ "$(stat -c %s disk.img)" = 2097152 ]
}

@test "names of files that are not UTF-8 do not get into JSON as they are" {
	local odd=$'\xff\xc3'
	truncate -s 1M "$odd.img"
	cp "${LKVM_TESTS:-$top/build/tests}/kvm/guests/idle.elf" "$odd.elf"
	kernel=$odd.elf start vm -d "$odd.img,format=raw" --control "$odd"
	ask "$odd" query-block >answer
	[ "$(jq -r '.[0].inserted.file, .[0].inserted.image.filename' answer |
		grep -c '^??.img$')" = 2 ]
	[ "$(ask "$odd" x-lkvm-info | jq -r .kernel)" = "??.elf" ]
	for command in "stat --json" "top --once --json -i 1"; do
		lkvm $command "./$odd"
		[ "$(jq -r '.[0].name' <<<"$out")" = './??' ]
	done
	lkvm stop "./$odd"
	[ "$status" = 0 ]
	ended vm 0
}

@test "the socket is its owner's alone" {
	start vm --name web
	[ "$(stat -c %a lkvm)" = 700 ]
	[ "$(stat -c %a lkvm/web.sock)" = 600 ]
	[ "$(qmp lkvm/web.sock query-name)" = '{"return":{"name":"web"}}' ]
	qmp lkvm/web.sock quit
	ended vm 0
	[ ! -e lkvm/web.sock ]
}

@test "a VM without a name is guest-PID" {
	start vm
	[ "$(qmp "lkvm/guest-$(<vm.pid).sock" query-name)" = '{"return":{}}' ]
	kill "$(<vm.pid)"
	wait "$(<vm.pid)" || true
	[ ! -e lkvm ]
}

@test "HOME has the socket where there is no XDG_RUNTIME_DIR" {
	unset XDG_RUNTIME_DIR
	start vm --name web
	[ -S .lkvm/web.sock ]
	qmp .lkvm/web.sock quit
	ended vm 0
}

@test "a place for the socket, and none" {
	start vm --name web --control here
	start other --name web --control off
	[ ! -e lkvm ]
	[ "$(qmp here query-name)" = '{"return":{"name":"web"}}' ]
	qmp here quit
	ended vm 0
}

@test "a socket whose VM was killed is replaced" {
	start vm --name web
	kill -9 "$(<vm.pid)"
	wait "$(<vm.pid)" || true
	[ -S lkvm/web.sock ]
	start vm --name web
	[ "$(qmp lkvm/web.sock query-name)" = '{"return":{"name":"web"}}' ]
}

@test "no two VMs have one name" {
	local kernel=${LKVM_TESTS:-$top/build/tests}/kvm/guests/idle.elf

	start vm --name web
	refuses "a VM listens on $scratch/lkvm/web.sock already (give this one another --name, or end that one)" \
		run -k "$kernel" -m 16 --name web
	[ "$(qmp lkvm/web.sock query-name)" = '{"return":{"name":"web"}}' ]
}

@test "no place for the socket" {
	need_kvm
	make_kernel kernel
	mkdir lkvm
	chmod 777 lkvm
	refuses "$scratch/lkvm is no folder of yours alone, for the control socket (choose another place with --control)" \
		run -k kernel -m 16 --name web
	refuses "cannot listen on /nonexistent/a: No such file or directory (choose another place with --control)" \
		run -k kernel -m 16 --control /nonexistent/a
	: >file
	refuses "cannot listen on file: File exists (choose another place with --control)" \
		run -k kernel -m 16 --control file
	# Who has not asked for it can do without.
	lkvm run -k kernel -m 16
	[ "$status" = 0 ]
	[ -z "$err" ]
	XDG_RUNTIME_DIR=/$(printf %0100d 0) refuses \
		"there is no place for the control socket: File name too long (set XDG_RUNTIME_DIR, or choose another with --control)" \
		run -k kernel -m 16 --name web
	unset XDG_RUNTIME_DIR HOME
	refuses "there is no place for the control socket: No such file or directory (set XDG_RUNTIME_DIR, or choose another with --control)" \
		run -k kernel -m 16 --name web
	lkvm run -k kernel -m 16
	[ "$status" = 0 ]
	[ -z "$err" ]
}

@test "events are lines of JSON, with the end's status" {
	start vm --name web --events events
	qmp lkvm/web.sock stop stop cont system_powerdown >/dev/null
	ended vm 0
	cat events
	jq -e '.timestamp.seconds > 1600000000 and .timestamp.microseconds < 1000000' events
	diff - <(jq -c '[.event, .data]' events) <<-END
		["START",{"name":"web","pid":$(jq 'select(.event == "START").data.pid' events)}]
		["STOP",null]
		["RESUME",null]
		["POWERDOWN",null]
		["SHUTDOWN",{"guest":true,"reason":"guest-shutdown"}]
		["END",{"status":0}]
	END
}

@test "events to an open file descriptor, and ends of all kinds" {
	need_kvm
	make_kernel kernel
	timeout 20 "$LKVM" run -k kernel -m 16 -n mode=none --debug-exit \
		--events fd:5 5>events >/dev/null || status=$?
	[ "${status:-0}" = 43 ]
	[ "$(jq -c 'select(.event == "END").data' events)" = '{"status":43}' ]
	start vm --grace 0 --events fd:5 5>events
	kill -TERM "$(<vm.pid)"
	wait "$(<vm.pid)" || true
	[ "$(jq -c 'select(.event == "SHUTDOWN").data' events)" = \
		'{"guest":false,"reason":"host-signal"}' ]
}

@test "a pipe that nobody reads from holds no VM up" {
	mkfifo pipe
	exec 6<>pipe
	start vm --name web --events pipe
	for _ in $(seq 500); do echo stop cont; done |
		xargs -n 1000 bash -c "$(declare -f qmp); "'qmp lkvm/web.sock "$@"' - |
		grep -c RESUME >resumed
	[ "$(<resumed)" = 500 ]
	qmp lkvm/web.sock quit
	ended vm 0
	grep -q "warning: --events: a line is lost: its reader is too slow" vm.err
	[ "$(wc -l <vm.err)" = 1 ]
	exec 6>&-
}

@test "events to where nothing can be written" {
	need_kvm
	make_kernel kernel
	refuses "--events: cannot write to /nonexistent/a: No such file or directory" \
		run -k kernel -m 16 --events /nonexistent/a
	refuses "--events: cannot write to fd:99: Bad file descriptor" \
		run -k kernel -m 16 --events fd:99
	err=$("$LKVM" run -k kernel -m 16 --events fd:5 2>&1 5</dev/null) &&
		return 1
	[ "$err" = "lkvm: --events: cannot write to fd:5: Permission denied" ]
	# None of lkvm's own files is taken for the user's.
	for number in 3 4 5 6 7 8 9; do
		(
			exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
			"$LKVM" run -k kernel -m 16 --events fd:$number
		) 2>said && return 1
		grep -qx "lkvm: --events: cannot write to fd:$number: Bad file descriptor" said
	done
	refuses "--events: cannot write to fd:x: Invalid argument" \
		run -k kernel -m 16 --events fd:x
	mkfifo pipe
	refuses "--events: cannot write to pipe: No such device or address" \
		run -k kernel -m 16 --events pipe
}

@test "vCPUs: their threads, their registers, an NMI" {
	start vm --name web -c 2 --events events
	for cpu in 0 1; do
		thread=$(qmp lkvm/web.sock query-cpus-fast |
			jq ".return[$cpu].\"thread-id\"")
		[ "$(<"/proc/$(<vm.pid)/task/$thread/comm")" = "vcpu$cpu" ]
	done
	ask lkvm/web.sock x-lkvm-registers '{"cpu-index": 1}' >text
	grep -q 'vCPU 1\\nrip ' text
	ask lkvm/web.sock x-lkvm-registers '{"cpu-index": 2}' >text
	grep -q "there are only 2 CPUs" text
	# Also of one that is paused.
	qmp lkvm/web.sock stop '{"execute": "x-lkvm-registers", "arguments": {"cpu-index": 0}}' cont |
		grep -q 'vCPU 0\\nrip '
	[ "$(qmp lkvm/web.sock query-status)" = \
		'{"return":{"status":"running","running":true}}' ]
	# The guest has no handler for it.
	qmp lkvm/web.sock inject-nmi
	ended vm 253
	grep -q "triple fault on vCPU 0" vm.err
}

@test "disks: their sizes and limits while the VM runs" {
	truncate -s 1M disk.img
	qemu-img create -q -f qcow2 disk.qcow2 1M
	qemu-img create -q -f qcow2 grows.qcow2 1M
	start vm --name web -d disk.img,format=raw,iops=50 -d disk.qcow2,ro \
		-d grows.qcow2
	ask lkvm/web.sock query-block |
		jq -c '.[] | [.device, .inserted.drv, .inserted.ro, .inserted.iops, .inserted.bps]' >disks
	diff disks - <<-'END'
		["vda","raw",false,50,0]
		["vdb","qcow2",true,0,0]
		["vdc","qcow2",false,0,0]
	END
	limits='"bps_rd": 0, "bps_wr": 0, "iops_rd": 0, "iops_wr": 0'
	[ "$(ask lkvm/web.sock block_set_io_throttle \
		"{\"id\": \"vda\", \"bps\": 1000, \"iops\": 0, $limits}")" = '{}' ]
	ask lkvm/web.sock block_set_io_throttle \
		"{\"id\": \"vda\", \"bps\": 1, \"iops\": 2, ${limits/0/3}}" |
		grep -q "reads and writes have their limits together"
	ask lkvm/web.sock query-block |
		jq -c '.[0] | [.inserted.iops, .inserted.bps]' | grep -qx '\[0,1000\]'
	throttle() {
		ask lkvm/web.sock block_set_io_throttle \
			"{\"id\": \"vda\", \"bps\": 1000, \"iops\": 0, $limits, $1}"
	}
	[ "$(throttle '"bps_max": 2000, "bps_max_length": 3')" = '{}' ]
	throttle '"bps_max": 999' | grep -q "'bps_max' expects 'bps' and no less"
	throttle '"iops_max": 1' | grep -q "'iops_max' expects 'iops' and no less"
	throttle '"bps_max_length": 2' | grep -q "number of seconds, for 'bps_max'"
	throttle '"bps_max": 1000, "bps_max_length": 0' | grep -q "number of seconds"
	throttle '"bps_max": 1000, "bps_max_length": 86401' | grep -q "within a day"
	throttle '"bps_max": 9223372036854775807' | grep -q "within a day"
	throttle '"bps_rd_max": 1' | grep -q "limits together"
	ask lkvm/web.sock query-block |
		jq -c '.[] | .inserted | [.bps, .bps_max, .bps_max_length, .iops_max]' >disks
	diff disks - <<-'END'
		[1000,2000,3,null]
		[0,null,null,null]
		[0,null,null,null]
	END
	[ "$(ask lkvm/web.sock block_resize '{"device": "vda", "size": 3145728}')" = '{}' ]
	[ "$(stat -c %s disk.img)" = 3145728 ]
	[ "$(ask lkvm/web.sock query-block | jq '.[0].inserted.image."virtual-size"')" = 3145728 ]
	for size in 0 511 3145729 9223372036854775807; do
		ask lkvm/web.sock block_resize "{\"device\": \"vda\", \"size\": $size}" |
			grep -q "vda cannot have $size bytes: "
	done
	[ "$(stat -c %s disk.img)" = 3145728 ]
	ask lkvm/web.sock block_resize '{"device": "vdb", "size": 512}' |
		grep -q "vdb cannot have 512 bytes: Read-only file system"
	[ "$(ask lkvm/web.sock block_resize '{"device": "vdc", "size": 3145728}')" = '{}' ]
	[ "$(ask lkvm/web.sock query-block | jq '.[2].inserted.image."virtual-size"')" = 3145728 ]
	ask lkvm/web.sock block_resize '{"device": "vdc", "size": 512}' |
		grep -q "vdc can only grow, "
	ask lkvm/web.sock block_resize '{"device": "vdc", "size": 9223372036854775296}' |
		grep -q "vdc cannot have 9223372036854775296 bytes: its L1 table has no room"
}

@test "devices and counters are listed" {
	: >disk.img
	truncate -s 1M disk.img
	start vm --name web -d disk.img,format=raw --balloon --stats
	ask lkvm/web.sock x-lkvm-devices | jq -c '.[]' >devices
	grep -qx '{"name":"serial0","type":"serial","transport":"platform","gsi":4,"regions":\[{"space":"pio","base":1016,"size":8}\]}' devices
	grep -qx '{"name":"vda","type":"virtio-blk","transport":"pci","address":"00:01.0","gsi":17,"regions":.*' devices
	[ "$(ask lkvm/web.sock x-lkvm-balloon-stats)" = '{"target":0,"actual":0,"guest":{}}' ]
	[ "$(ask lkvm/web.sock balloon '{"value": 8388608}')" = '{}' ]
	[ "$(ask lkvm/web.sock x-lkvm-balloon-stats | jq .target)" = 8388608 ]
	ask lkvm/web.sock balloon '{"value": 16777217}' | grep -q "at most 16777216 bytes"
	# The same rows as those of --stats, as far as they do not change.
	ask lkvm/web.sock x-lkvm-stats |
		jq -r 'to_entries[] | .key as $who | .value | to_entries[] | "\($who) \(.key) \(.value)"' |
		grep -v ^vcpu >asked
	qmp lkvm/web.sock quit
	ended vm 0
	[ "$(wc -l <asked)" -gt 15 ]
	diff asked <(awk 'NR > 1 && !/^vcpu/ { print $1, $2, $3 }' vm.err)
}

@test "a virtio-mmio device has an address" {
	: >disk.img
	truncate -s 1M disk.img
	start vm --name web -d disk.img,format=raw --virtio-transport mmio
	ask lkvm/web.sock x-lkvm-devices | jq -c '.[]' |
		grep -E '"name":"vda".*"transport":"mmio","gsi":[0-9]+,"regions":\[\{"space":"mmio","base":[0-9]{10},'
}
