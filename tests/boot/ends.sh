# How a run ends, and what its status says.

test_poweroff() {
	boot cloud 'poweroff -f' "$@"
	ended 0
	[ ! -s errors ] || fail "lkvm had something to say"
}

# reboot= ways: a(cpi), k(eyboard), t(riple fault)
test_reboot() {
	boot cloud 'reboot -f' -p "reboot=$1" "${@:3}"
	ended "$2"
}

test_triple_fault() {
	test_reboot t 253
	grep -q 'triple fault on vCPU' errors
	grep -qi 'rip' errors || fail "no registers on stderr"
}

# The guest counts on its disk.
test_on_reset_reset() {
	truncate -s 1M disk
	boot cloud 'disks
		read -r count </dev/vda
		count=$((${count:-0} + 1))
		echo "boot number $count"
		echo $count | dd of=/dev/vda conv=fsync 2>/dev/null
		[ $count -lt 4 ] && reboot -f' --on-reset=reset -d disk \
		-p "reboot=$1" "${@:2}"
	ended 0
	for count in 1 2 3 4; do
		says "^boot number $count"
	done
	same "boots" "$(text | grep -c '^boot number')" 4
	same "times of userspace" "$(text | grep -c '^lkvm: userspace')" 4
}

test_panic() {
	boot "$1" "modprobe $2
		echo c >/proc/sysrq-trigger" "${@:3}"
	ended 255
	says 'Kernel panic - not syncing: sysrq triggered crash'
	says 'Call Trace:'
	says 'sysrq_handle_crash'
	grep -q 'guest kernel panicked' errors
}

# struct input_event behind its 16 bytes of time: EV_KEY, KEY_POWER, pressed
test_power_button() {
	start cloud 'modprobe -a button evdev
		echo listening
		dd if=/dev/input/event0 bs=24 count=1 2>/dev/null | tail -c 8 |
			hexdump -v -e "8/1 \"%02x\" \"\n\"" | sed "s/^/event=/"
		poweroff -f' "$@"
	await '^listening'
	kill -PWR "$pid"
	finish
	ended 0
	same event "$(value event)" 0100740001000000
}

# disk.img's system has an acpid, and takes its leave properly.
test_power_button_demo() {
	need e2fsck
	[ -e "$images/disk.img" ] || skip "needs the image disk"
	cp "$images/disk.img" disk
	"$lkvm" run -n mode=none -k "$images/cloud/bzImage" -i "$images/cloud/initrd.img" \
		-d disk -p quiet >console 2>errors &
	pid=$!
	await 'lkvm: welcome'
	sleep 1
	kill -PWR "$pid"
	finish
	ended 0
	e2fsck -fn disk >log 2>&1 || fail "$(cat log)"
}

test_signal() {
	start cloud 'echo spinning
		(while :; do :; done) &
		while :; do :; done' -c 2
	await '^spinning'
	kill -TERM "$pid"
	finish
	ended 143
}

# Folders of its own: the others' tests may write to the real ones.
test_kill9() {
	mkdir home run tmp
	truncate -s 1M disk
	export HOME=$PWD/home XDG_RUNTIME_DIR=$PWD/run TMPDIR=$PWD/tmp
	start cloud 'disks
		echo spinning
		while :; do dd if=/dev/zero of=/dev/vda bs=4k; done 2>/dev/null' \
		-c 2 -d disk --name killed
	await '^spinning'
	kill -9 "$pid"
	finish
	ended 137
	# Only the socket, which a next start takes, and takes away.
	same "files left" "$(find home run tmp | sort | xargs)" \
		"home run run/lkvm run/lkvm/killed.sock tmp"
	boot cloud : -d disk --name killed
	ended 0
	same "files left" "$(find run | xargs)" run
}

test_debug_exit() {
	boot cloud 'outb 0xf4 5' --debug-exit
	ended 11
}

test_boot_timer() {
	boot cloud : --boot-timer -p lkvm.boottimer
	ended 0
	for phase in 'board created' 'devices created' 'kernel loaded' \
		'vCPUs run' 'guest userspace' 'guest ended'; do
		grep -Eq "^$phase +[0-9.]*[1-9][0-9.]* +[0-9.]+$" errors ||
			fail "no time for: $phase"
	done
	grep -E '^[a-zA-Z ]+[0-9. ]+$' errors | awk '{ print $(NF - 1) }' |
		sort -nc || fail "the phases are out of order"
}

test_stats() {
	truncate -s 1M disk
	boot cloud 'disks
		cat /dev/vda >/dev/null' -c 2 -d disk --stats
	ended 0
	for row in 'vcpu[01] +pio' 'vcpu[01] +mmio' vcpu0 vcpu1 'vcpu[01] +pio serial0' \
		'vda +[a-z ]*read'; do
		grep -Eq "^$row.* [1-9][0-9]*$" errors || fail "no row for $row"
	done
}

promise "poweroff ends the process with status 0" test_poweroff
promise "poweroff with 2 CPUs ends the process with status 0" test_poweroff -c 2
promise "reboot ends the process with status 0" test_reboot a 0
promise "reboot=k ends the process with status 0" test_reboot k 0
promise "reboot with --on-reset=fail has status 252" \
	test_reboot a 252 --on-reset=fail
promise "reboot=k with --on-reset=fail has status 252" \
	test_reboot k 252 --on-reset=fail
promise "reboot=t, a triple fault, has status 253 and shows registers" \
	test_triple_fault
promise "--on-reset=reset boots three times again" test_on_reset_reset a
promise "--on-reset=reset boots three times again by keyboard, with 2 CPUs" \
	test_on_reset_reset k -c 2
promise "a panic has status 255, its text complete" test_panic cloud pvpanic-mmio
promise "a panic on one of 2 CPUs has status 255" \
	test_panic generic pvpanic-mmio -c 2
promise "the previous release's panic has status 255" \
	test_panic bullseye pvpanic
promise "SIGPWR is a press of the power button" test_power_button
promise "SIGPWR has disk.img's system power off" test_power_button_demo
# Other signals, and what the terminal is after a crash: tests/cli/endings.bats
# and terminal.bats, with tiny guests.
promise "SIGTERM ends a spinning guest with status 143" test_signal
promise "SIGKILL leaves nothing that a next start minds" test_kill9
promise "--debug-exit takes a status from port 0xf4" test_debug_exit
promise "--boot-timer tells the phases of a boot" test_boot_timer
promise "--stats counts exits and requests" test_stats
