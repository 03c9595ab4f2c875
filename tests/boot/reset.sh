# Resets within the process while everything is busy: nothing grows.

# Resident KiB of lkvm's, but guest RAM, which alone is kept out of core dumps.
own_memory() {
	awk '/^Rss:/ { rss = $2 }
	     /^VmFlags:/ { if (!/ dd/) sum += rss }
	     END { print sum }' "/proc/$pid/smaps"
}

holds() {
	echo "$(ls "/proc/$pid/fd" | wc -l) files, $(ls "/proc/$pid/task" | wc -l) threads"
}

# What keeps the devices busy, as much as the software host can take.
load='modprobe -a virtio_pci virtio_blk virtio_rng virtio_balloon
	while :; do dd if=/dev/vda of=/dev/vdb bs=64k oflag=direct; done 2>/dev/null &
	while :; do dd if=/dev/hwrng of=/dev/null bs=512 count=1; done 2>/dev/null &
	while :; do echo noise; usleep 20000; done &
	usleep 300000
	echo "loaded"
'

with_load=(-c 2 -d vda -d vdb --rng --balloon=target=32M --on-reset=reset)

# boots N: wait until the guest has been there N times.
boots() {
	until [ "$(text 2>/dev/null | grep -c '^loaded')" -ge "$1" ]; do
		[ -d "/proc/$pid" ] || fail "lkvm ended before boot $1"
		sleep 0.1
	done
}

test_reset_load() {
	truncate -s 4M vda vdb
	start cloud "$load
		reboot -f -n" "${with_load[@]}"
	boots 2
	before=$(holds) resident=$(own_memory)
	boots "$1"
	same "what lkvm holds" "$(holds)" "$before"
	grown=$(($(own_memory) - resident))
	[ $grown -lt 1024 ] || fail "lkvm has grown by $grown KiB"
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
	boots 1
	before=$(holds)
	for number in 2 3 4; do
		printf 'reset\r' >&9
		boots $number
	done
	same "what lkvm holds" "$(holds)" "$before"
	printf 'quit\r' >&9
	off_terminal
	ended 0
}

promise "resets under load leave nothing behind" test_reset_load 8
promise "resets from outside under load leave nothing behind" \
	test_reset_prompt
