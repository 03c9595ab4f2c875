# Resets within the process while everything is busy: nothing grows.

# Resident KiB of lkvm's, but guest RAM, which alone is kept out of core dumps.
own_memory() {
	awk '/^Rss:/ { rss = $2 }
	     /^VmFlags:/ { if (!/ dd/) sum += rss }
	     END { print sum }' "/proc/$pid/smaps"
}

# entries FOLDER: of lkvm's in /proc
entries() {
	ls "/proc/$pid/$1" | wc -l
}

# What lkvm has open, a line each.
files() {
	(readlink "/proc/$pid/fd/"* || true) | sed 's/:.*//' | sort
}

# What keeps the devices busy, and leaves the software host's CPUs some time.
# Each has been used once when that is said: what lkvm holds for it is there.
load='modprobe -a virtio_pci virtio_blk virtio_rng virtio_balloon
	dd if=/dev/vda of=/dev/vdb bs=4k count=1 oflag=direct 2>/dev/null
	dd if=/dev/hwrng of=/dev/null bs=16 count=1 2>/dev/null
	until grep -q "^balloon_inflate [1-9]" /proc/vmstat; do usleep 20000; done
	while usleep 20000; do
		dd if=/dev/vda of=/dev/vdb bs=1M oflag=direct
	done 2>/dev/null &
	while usleep 20000; do
		dd if=/dev/hwrng of=/dev/null bs=512 count=1
	done 2>/dev/null &
	while usleep 20000; do echo noise; done &
	usleep 100000
	echo loaded
'

with_load=(-c 1 -d vda -d vdb --rng --balloon=target=32M --on-reset=reset)

# What lkvm holds now, and whether that is more than then.
remember() {
	files >held
	threads=$(entries task) resident=$(own_memory)
}

not_grown() {
	files >holds
	[ "$(wc -l <holds)" -le "$(wc -l <held)" ] ||
		fail "more files: $(diff held holds)"
	[ "$(entries task)" -le "$threads" ] || fail "more than $threads threads"
	[ $(($(own_memory) - resident)) -lt 1024 ] ||
		fail "lkvm had $resident KiB, and has $(own_memory)"
}

test_reset_load() {
	local number
	truncate -s 4M vda vdb
	interactive
	# A driver that is going has given something back.
	start cloud "$load
		read -r line </dev/console
		reboot -f -n" "${with_load[@]}" <stdin
	for ((number = 1; number < $1; number++)); do
		await '^loaded' $number
		[ $number != 2 ] || remember
		echo go >&3
	done
	await '^loaded' "$1"
	not_grown
	kill "$pid"
	finish
	ended 143
}

# The same from outside, whatever the guest is at just then.
test_reset_prompt() {
	truncate -s 4M vda vdb
	prepare cloud "$load
		sleep 1000" "${with_load[@]}"
	on_terminal
	printf '\1c' >&9
	await '^loaded'
	for number in 2 3 4 5; do
		printf 'reset\r' >&9
		await '^loaded' $number
		[ $number != 2 ] || remember
	done
	not_grown
	printf 'quit\r' >&9
	off_terminal
	ended 0
}

promise "resets under load leave nothing behind" test_reset_load 6
promise "resets from outside under load leave nothing behind" \
	test_reset_prompt
