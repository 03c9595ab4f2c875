# The balloon: pages that the guest gives up leave the process, and it gets
# them back. LKVM_LONG=1 for as many cycles as trust needs.

# In the guest: a tmpfs with room for most of RAM, and what is free of it.
with_balloon='modprobe -a virtio_pci virtio_balloon
	mount -t tmpfs -o size=90% none /mnt
	fill() { dd if=/dev/zero of=/mnt/x bs=1M count=$1 2>/dev/null; }
	free() { sed -n "s/^MemFree: *\([0-9]*\) kB/\1/p" /proc/meminfo; }
	until_free() { until [ $(($(free) / 1024)) $1 $2 ]; do sleep 0.2; done; }
'

# resident: what is in the process, in MiB.
resident() {
	local key value
	while read -r key value _; do
		[ "$key" != VmRSS: ] || break
	done <"/proc/$pid/status"
	echo $((value / 1024))
}

# until_resident -lt|-gt MIB
until_resident() {
	until [ "$(resident)" "$1" "$2" ]; do
		[ -d "/proc/$pid" ] || fail "lkvm ended before $1 $2"
		nap
	done
}

# counter NAME: of the balloon, from --stats.
counter() {
	awk -v name="$1" '$1 == "balloon" && $2 == name { print $3; found = 1 }
		END { exit !found }' errors
}

# balloon SIZE: typed at the control prompt.
balloon() {
	printf '\1cballoon %s\r\1c' "$1" >&9
}

# with_shell [OPTION...]: a guest that runs the lines that ask types.
with_shell() {
	prepare cloud "$with_balloon stty -echo </dev/console
		echo listening
		while read -r line </dev/console; do eval \"\$line\"; done" "$@"
	on_terminal
	await '^listening'
}

# ask COMMAND: to that guest; returns when it has been run.
asked=0
ask() {
	asked=$((asked + 1))
	printf '%s; echo; echo "did %s"\r' "$1" "$asked" >&9
	await "^did $asked\$"
}

test_balloon_cycles() {
	local cycles=${LKVM_LONG:+100} i
	cycles=${cycles:-3}
	with_shell --balloon=reporting=off,stats=1 --stats
	ask 'fill 150; rm /mnt/x'
	until_resident -gt 200
	for ((i = 0; i < cycles; i++)); do
		balloon 128M
		until_resident -lt 140
		balloon 0
		ask 'until_free -gt 160; fill 150; rm /mnt/x'
		until_resident -gt 200
	done
	printf 'poweroff -f\r' >&9
	off_terminal
	ended 0
	[ "$(counter inflated-pages)" -ge $((25000 * cycles)) ]
	same not-ram-pages "$(counter not-ram-pages)" 0
	same kept-ranges "$(counter kept-ranges)" 0
	# What the guest said of itself.
	[ "$(counter stats-received)" -ge 2 ]
	[ "$(counter guest-total-memory)" -gt $((128 << 20)) ]
	[ "$(counter guest-total-memory)" -le $((256 << 20)) ]
	[ "$(counter guest-free-memory)" -gt 0 ]
}

test_balloon_target() {
	boot cloud "$with_balloon
		until_free -lt 70; echo inflated
		rmmod virtio_balloon
		until_free -gt 150; echo deflated
		modprobe virtio_balloon
		until_free -lt 70; echo inflated again" \
		--balloon=target=128M,stats=0 --stats
	ended 0
	says '^inflated again'
	[ "$(counter inflated-pages)" -ge 50000 ]
	[ "$(counter deflated-pages)" -ge 25000 ]
	same stats-received "$(counter stats-received)" 0
}

test_free_pages_are_reported() {
	mkfifo in
	exec 9<>in
	start cloud "$with_balloon fill 300; echo full
		read -r line </dev/console
		rm /mnt/x; echo freed
		read -r line </dev/console" -m 512 "$@" --stats <in
	await '^full'
	until_resident -gt 300
	echo >&9
	await '^freed'
	until_resident -lt 200
	echo >&9
	finish
	ended 0
	[ "$(counter reported-bytes)" -gt $((100 << 20)) ]
}

test_hints() {
	with_shell -m 512 --balloon=reporting=off,hinting --stats
	ask 'fill 100; mv /mnt/x /mnt/y; echo kept=$(sha /mnt/y)'
	ask 'fill 200; rm /mnt/x'
	until_resident -gt 300
	printf '\1chint\r\1c' >&9
	until_resident -lt 250
	# The round has ended, and there can be another.
	ask 'until_free -gt 250; fill 200; rm /mnt/x'
	until_resident -gt 300
	printf '\1chint\r\1c' >&9
	until_resident -lt 250
	ask 'echo again=$(sha /mnt/y)'
	same data "$(value again)" "$(value kept)"
	printf 'poweroff -f\r' >&9
	off_terminal
	ended 0
	[ "$(counter hinted-bytes)" -gt $((200 << 20)) ]
	says_not 'there is no|has not ended|does not do'
}

# dd wants more than the balloon has left.
test_oom() {
	boot cloud "$with_balloon
		until_free -lt 60; echo small
		dd if=/dev/zero of=/dev/null bs=120M count=1 && echo enough" \
		--balloon="target=160M,deflate-on-oom=$1" --stats
	ended 0
	says '^small'
}

test_oom_deflates() {
	test_oom on
	says '^enough'
	[ "$(counter deflated-pages)" -gt 0 ]
}

test_oom_kills() {
	test_oom off
	says_not '^enough'
	same deflated-pages "$(counter deflated-pages)" 0
}

test_balloon_reset() {
	start cloud "$with_balloon
		until_free -lt 70; echo inflated
		reboot -f" \
		--balloon=target=128M --on-reset=reset
	await '^inflated' 3
	kill "$pid"
	finish
	ended 143
}

promise "the balloon takes half of RAM out of the process, and gives it back" \
	test_balloon_cycles
promise "the balloon has its target at the start, and with a new driver" \
	test_balloon_target
promise "the balloon starts anew when the guest reboots" test_balloon_reset
promise "pages that the guest frees leave the process by themselves" \
	test_free_pages_are_reported --balloon
promise "pages of a memfd leave it too" \
	test_free_pages_are_reported --balloon --mem-file
promise "free pages leave the process when the user asks for hints" test_hints
promise "the balloon gives pages back to a guest without memory" \
	test_oom_deflates
promise "but not if the user says so" test_oom_kills
