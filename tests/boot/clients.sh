# The commands for running VMs, where the guest has a part in it. (What needs
# none is in tests/cli/running.bats.)

# vm TARGET SCRIPT [OPTION...]: as start, a VM with the name vm, whose socket
# is the test's own.
vm() {
	export XDG_RUNTIME_DIR=$PWD
	start "$1" "$2" --name vm "${@:3}"
}

# vm_shell [OPTION...]: as vm; runs the lines that come on its console.
vm_shell() {
	mkfifo in
	exec 9<>in
	vm cloud 'modprobe -a virtio_pci virtio_balloon virtio_blk
		stty -echo </dev/console
		echo listening
		while read -r line </dev/console; do eval "$line"; done' \
		"$@" <in
	await '^listening'
}

# until_shown REGEX COMMAND...: again and again.
until_shown() {
	until "${@:2}" 2>&1 | grep -E -- "$1" >/dev/null; do
		[ -d "/proc/$pid" ] || fail "lkvm ended before: $1"
		sleep 0.2
	done
}

test_stop() {
	vm cloud 'modprobe -a button evdev
		echo listening
		dd if=/dev/input/event0 bs=24 count=1 of=/dev/null 2>/dev/null
		echo going
		poweroff -f'
	await '^listening'
	"$lkvm" pause vm
	"$lkvm" list | grep -E '^vm +[0-9]+ +paused +1 +256M ' >/dev/null ||
		fail "$("$lkvm" list)"
	"$lkvm" stop vm
	[ ! -e "/proc/$pid/exe" ] || fail "the process is still there"
	finish
	ended 0
	says '^going'
	[ ! -e lkvm/vm.sock ] || fail "the socket is still there"
}

test_pause() {
	vm_shell
	"$lkvm" pause vm
	echo 'echo woken' >&9
	"$lkvm" stat vm >before
	"$lkvm" stat vm | cmp before - || fail "a paused VM counts on"
	says_not '^woken'
	"$lkvm" resume vm
	await '^woken'
	echo 'poweroff -f' >&9
	finish
	ended 0
}

# Each sees what the other types, and the console's own terminal sees it all.
test_two_watchers() {
	local watchers=() i
	mkfifo in1 in2
	exec 7<>in1 8<>in2
	vm_shell
	for i in 1 2; do
		"$lkvm" console vm <in$i >seen$i 2>>errors &
		watchers+=($!)
	done
	# What came before them is there too.
	for i in 1 2; do
		until text seen$i | grep '^listening' >/dev/null; do sleep 0.1; done
	done
	echo 'echo one $((40 + 2))' >&7
	await '^one 42'
	echo 'echo two $((50 + 2)); seq 1 2000; echo END' >&8
	await '^END'
	echo 'poweroff -f' >&9
	finish
	ended 0
	wait "${watchers[@]}"
	for i in 1 2; do
		text seen$i | grep -x 'one 42' >/dev/null || fail "$i: no one"
		text seen$i | sed -n '/^two 52/,/^END/p' >got
		(echo two 52 && seq 1 2000 && echo END) | cmp - got
	done
}

test_client_balloon() {
	vm_shell --balloon=stats=1
	"$lkvm" balloon -i 100 -n vm
	until_shown '^vm +256M +100M +100M$' "$lkvm" balloon vm
	echo 'echo free=$(($(sed -n "s/^MemFree: *\([0-9]*\) kB/\1/p" /proc/meminfo) / 1024))' >&9
	await '^free='
	[ "$(value free)" -lt 110 ] || fail "the guest has $(value free) MiB"
	"$lkvm" balloon -d 60 -n vm
	until_shown '^vm +256M +40M +40M$' "$lkvm" balloon vm
	until_shown '^guest +free-memory +[0-9]{8,}$' "$lkvm" stat -n vm -m
	echo 'poweroff -f' >&9
	finish
	ended 0
}

test_sysrq() {
	vm_shell -p "sysrq_always_enabled loglevel=7"
	"$lkvm" debug vm -s h
	await 'sysrq: HELP'
	# The key was no input.
	echo 'echo still here' >&9
	await '^still here'
	"$lkvm" debug -n vm -s c
	finish
	ended 255
	says 'sysrq: Trigger a crash'
}

test_nmi() {
	vm_shell -c 2 -p unknown_nmi_panic
	"$lkvm" debug vm -m 1
	finish
	ended 255
	says 'NMI.* for unknown reason .* on CPU 1'
}

test_registers() {
	vm cloud 'echo spinning; while :; do :; done' -c 2
	await '^spinning'
	"$lkvm" debug vm --dump >dump
	[ "$(grep -ciE '\brip\b' dump)" -ge 2 ] || fail "$(cat dump)"
	# It runs on.
	"$lkvm" stat vm | grep '^vcpu1 ' >/dev/null
	"$lkvm" stop -f vm
	finish
	ended 0
}

test_top() {
	need jq
	truncate -s 16M disk
	vm_shell -d disk --balloon
	echo 'while dd if=/dev/vda of=/dev/null bs=64k iflag=direct; do :; done' >&9
	until_shown '^vda +reads +[1-9]' "$lkvm" stat vm
	"$lkvm" top --once --interval 2 --json vm >top.json
	jq -e '.[0] | .name == "vm" and .resident > 20000000 and .balloon == 0
		and .exits > 0 and .vcpus.vcpu0.exits > 0
		and .devices.vda.reads > 0
		and .devices.vda["read-bytes"] >= 65000 * .devices.vda.reads
		and .devices.vda["writes"] == null' top.json >/dev/null ||
		fail "$(cat top.json)"
	"$lkvm" top --once --interval 1 >top
	grep -E '^  vda +reads [0-9]+ read-bytes [0-9]+[KM]?$' top >/dev/null ||
		fail "$(cat top)"
	"$lkvm" stop --force vm
	finish
	ended 0
}

promise "lkvm stop lets a guest power off by itself" test_stop
promise "a paused guest does nothing until it is resumed" test_pause
promise "two watchers share one console, and lose nothing" test_two_watchers
promise "lkvm balloon takes memory from a guest, and gives it back" \
	test_client_balloon
promise "lkvm debug presses SysRq at the serial console" test_sysrq
promise "lkvm debug sends an NMI to the vCPU that it names" test_nmi
promise "lkvm debug shows the registers of vCPUs that run" test_registers
promise "lkvm top tells what a guest's disk does" test_top
