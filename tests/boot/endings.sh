# The end that was asked for: --expect, --fail, --timeout, --on-panic, --grace,
# and signals to guests that listen or do not.

# Where nothing else ends a test's guest, the runner's limit does.
forever='while :; do sleep 1; done'

# A guest that hears its power button (in test.sh), from here on.
listens='modprobe -a button evdev
	until [ -e /dev/input/event0 ]; do sleep 0.1; done
	exec 3</dev/input/event0
	(head -c 24 <&3 >/dev/null
		echo "button pressed"
		poweroff -f) &
'

test_expect() {
	boot cloud "echo one; echo two; $forever" --expect '^t[w]+o$' "$@"
	ended 0
	says '^one'
	[ ! -s errors ] || fail "lkvm had something to say"
}

test_expect_hvc() {
	test_expect --console virtio -p 'console=ttyS0 console=hvc0 panic=-1'
}

# A prompt has no newline; the second pattern is of another line.
test_expect_all() {
	boot cloud "printf '\033[1mlo\033[0mgin: '; sleep 2; echo; echo second; $forever" \
		--expect second --expect '^login: '
	ended 0
	says '^second'
}

test_expect_listens() {
	boot cloud "$listens
		echo booted; $forever" --grace 100 --expect booted
	ended 0
	says '^button pressed'
}

# It gets --grace to listen, and does not.
test_expect_grace() {
	boot cloud "echo booted; sleep 1; echo later; $forever" --grace 3 \
		--expect booted
	ended 0
	says '^later'
	grep -q 'does not power off' errors
}

test_expect_missed() {
	boot cloud 'echo one' --expect one --expect three
	ended 254
	grep -qx 'lkvm: the console has not said: three' errors
	! grep -q 'said: one' errors
}

test_fail() {
	boot cloud "echo fine; echo 'BUG: bad'; $forever" --fail '^BUG:' \
		--fail nothing "$@"
	ended 254
	grep -qx 'lkvm: the console said what --fail names: ^BUG:' errors
}

# All in one write, and off at once; no pause decides.
test_race() {
	boot cloud "printf '$2'; poweroff -f" --expect good --fail bad
	ended "$1"
}

# The text comes first, whichever way the guest ends then.
test_race_panic() {
	boot cloud "modprobe pvpanic-mmio
		echo $2
		echo c >/proc/sysrq-trigger" --expect good --fail bad
	ended "$1"
}

# Off while lkvm is still busy with what was said.
test_race_flood() {
	boot cloud 'seq 1 3000; echo good; poweroff -f' --expect '^good$' \
		"$@"
	ended 0
	text | grep -Ex '[0-9]+' >got
	seq 1 3000 | cmp - got
}

# In the same output, and between boots.
test_expect_reset() {
	boot cloud 'printf "good\n"; reboot -f' --on-reset=reset --expect good
	ended 0
	same "boots" "$(text | grep -c '^good')" 1
}

test_timeout() {
	boot cloud "echo booted; $forever" --timeout 6.5 "$@"
	ended 124
	says '^booted'
	grep -qx 'lkvm: the time of --timeout is over' errors
}

test_timeout_decided() {
	boot cloud "echo booted; $forever" --timeout 8 --grace 100 --expect booted
	ended 0
}

# Nobody told pvpanic; the kernel says how its panic ends, or boots again.
test_panic_text() {
	boot cloud 'echo c >/proc/sysrq-trigger' -p "$1"
	ended 255
	says 'Kernel panic - not syncing: sysrq triggered crash'
	grep -qx 'lkvm: the guest kernel panicked' errors
}

test_panic_not() {
	boot cloud 'echo "---[ end Kernel panic - not syncing"
		echo "Kernel panic - not syncing: said a log"'
	ended 0
}

test_panic_pause() {
	start cloud 'modprobe pvpanic-mmio
		echo c >/proc/sysrq-trigger' --on-panic=pause --grace 100
	until grep -qx 'lkvm: the guest kernel panicked: it is paused' errors; do
		sleep 0.1
	done
	kill "$pid"
	finish
	ended 255
}

test_panic_reset() {
	truncate -s 1M disk
	boot cloud 'disks
		read -r count </dev/vda
		count=$((${count:-0} + 1))
		echo "boot number $count"
		echo $count | dd of=/dev/vda conv=fsync 2>/dev/null
		[ $count -lt 3 ] && echo c >/proc/sysrq-trigger' \
		-d disk --on-panic=reset -p "$1"
	ended 0
	says '^boot number 3'
	same "panics told" "$(grep -c 'panicked: booting again' errors)" 2
}

# The kernel never gets to its init.
test_broken_initrd() {
	need_image cloud
	head -c 100000 /dev/urandom >initrd.img
	status=0
	"$lkvm" run --nodefaults -n mode=none -k "$images/cloud/bzImage" \
		-i initrd.img -m 256 -c 1 -p "console=ttyS0 panic=$1" \
		--timeout 100 >"$2" 2>errors || status=$?
	ended 255
}

# Who has thrown the console away sees how it ended.
test_tail() {
	test_broken_initrd -1 /dev/null
	grep -qx 'lkvm: the console said last:' errors
	grep -q 'Kernel panic - not syncing: VFS: Unable to mount root' errors
	! grep -q 'Linux version' errors
	[ "$(wc -l <errors)" -lt 30 ]
}

test_no_tail() {
	test_broken_initrd 0 console
	same "lines of lkvm's" "$(cat errors)" 'lkvm: the guest kernel panicked'
}

test_signal_listens() {
	start cloud "$listens
		echo ready; $forever" --grace 100
	await '^ready'
	kill -TERM "$pid"
	finish
	ended 143
	says '^button pressed'
}

# A second signal, of whatever kind, does not wait.
test_second_signal() {
	start cloud "echo ready; $forever" --grace 1000
	await '^ready'
	kill -TERM "$pid"
	sleep 0.2
	kill -0 "$pid"
	kill -INT "$pid"
	finish
	ended 143
}

test_signal_grace() {
	start cloud "echo ready; $forever" --grace 2
	await '^ready'
	kill -TERM "$pid"
	finish
	ended 143
	grep -q 'does not power off' errors
}

# The button is heard by a guest that the user had paused.
test_signal_paused() {
	prepare cloud "$listens
		echo ready; $forever" --grace 100
	on_terminal
	await '^ready'
	printf '\1cpause\r' >&9
	printf 'pauze\r' >&9
	await "no command 'pauze'"
	kill -TERM "$pid"
	off_terminal
	ended 143
	says 'button pressed'
}

# A guest that resets itself when it shall power off does not boot again.
test_signal_reset() {
	start cloud "${listens/poweroff/reboot}
		echo ready; $forever" --grace 100 --on-reset=reset
	await '^ready'
	kill -TERM "$pid"
	finish
	ended 143
}

# The terminal goes: SIGHUP, and nobody reads or types any more.
test_terminal_gone() {
	prepare cloud "$listens
		echo ready; $forever" --grace 100
	on_terminal
	await '^ready'
	kill -KILL "$terminal"
	until [ ! -d "/proc/$pid" ]; do sleep 0.1; done
}

# Nobody reads the pipe, which is full: the signal ends it all the same.
test_full_pipe() {
	prepare cloud "echo ready >/proc/1/cwd/x; seq 1 100000" --grace 1
	mkfifo out
	exec 8<>out
	"${command[@]}" >out 2>errors &
	pid=$!
	sleep 6
	kill -TERM "$pid"
	finish
	ended 143
}

promise "--expect ends the run with status 0" test_expect
promise "--expect is found on hvc0" test_expect_hvc
promise "all of --expect are waited for, prompts too" test_expect_all
promise "--expect presses the power button" test_expect_listens
promise "--expect forces a guest off after --grace" test_expect_grace
promise "without what --expect names the status is 254" test_expect_missed
promise "--fail ends the run with status 254" test_fail
promise "--expect before --fail, off at once: status 0" \
	test_race 0 good\\nbad\\n
promise "--fail before --expect, off at once: status 254" \
	test_race 254 bad\\ngood\\n
promise "--fail and --expect in one line: status 254" \
	test_race 254 good,bad
promise "--expect without a newline, off at once: status 0" \
	test_race 0 good
promise "--expect before a panic: status 0" test_race_panic 0 good
promise "--fail before a panic: status 254" test_race_panic 254 bad
promise "a panic without --expect's text: status 255" test_race_panic 255 x
promise "--expect behind much output, off at once: status 0" test_race_flood
promise "--expect counts before a reset" test_expect_reset
promise "--timeout ends the run with status 124" test_timeout
promise "--timeout does not change what --expect has decided" \
	test_timeout_decided
promise "a panic that only the console tells has status 255" \
	test_panic_text panic=0
promise "a panic that boots again at once has status 255" \
	test_panic_text panic=-1
promise "a panic that boots again after a minute has status 255" \
	test_panic_text panic=60
promise "words of a panic are none" test_panic_not
promise "--on-panic=pause holds a guest that panicked" test_panic_pause
promise "--on-panic=reset boots again" test_panic_reset panic=-1
promise "a broken initrd has status 255, and its end is shown" test_tail
promise "a broken initrd's end is not shown twice" test_no_tail
promise "SIGTERM lets a guest power off, status 143" test_signal_listens
promise "a second signal ends the guest at once" test_second_signal
promise "SIGTERM forces a guest off after --grace" test_signal_grace
promise "SIGTERM wakes a paused guest" test_signal_paused
promise "SIGTERM and then a reset do not boot again" test_signal_reset
promise "a terminal that goes ends the guest" test_terminal_gone
promise "SIGTERM ends a guest whose output nobody reads" test_full_pipe
