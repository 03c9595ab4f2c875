# Resets within the process while everything is busy: nothing grows.

# Resident bytes of lkvm's, in KiB, but guest RAM, which alone is kept out of
# core dumps.
own_memory() {
	awk '/^Rss:/ { rss = $2 }
	     /^VmFlags:/ { if (!/ dd/) sum += rss }
	     END { print sum }' "/proc/$pid/smaps"
}

holds() {
	echo "$(ls "/proc/$pid/fd" | wc -l) files, $(ls "/proc/$pid/task" | wc -l) threads"
}

# What keeps each device busy while the guest resets itself, on another CPU.
load='modprobe -a virtio_pci virtio_blk virtio_rng virtio_balloon virtio_console
	modprobe -a 9pnet_virtio 9p
	mkdir /mnt
	mount -t 9p -o trans=virtio,version=9p2000.L share /mnt
	while :; do dd if=/dev/vda of=/dev/vdb bs=64k oflag=direct; done 2>/dev/null &
	while :; do cat /dev/vdb >/dev/null; echo 3 >/proc/sys/vm/drop_caches; done &
	while :; do dd if=/dev/hwrng of=/dev/null bs=512 count=100; done 2>/dev/null &
	while :; do cat /mnt/file >/mnt/copy; done &
	while :; do seq 1 200 >/dev/ttyS0; done &
	sleep 1
	echo "boot number $(($(cat /mnt/count) + 1))" | tee /mnt/said
	sed "s/boot number //" /mnt/said >/mnt/count
'

# boots N: wait until the guest has been there N times.
boots() {
	until [ "$(cat share/count)" -ge "$1" ] 2>/dev/null; do
		[ -d "/proc/$pid" ] || fail "lkvm ended before boot $1"
		sleep 0.1
	done
}

test_reset_load() {
	truncate -s 4M vda vdb
	mkdir share
	random 300K >share/file
	echo 0 >share/count
	start generic "$load
		[ \$(cat /mnt/count) = $1 ] && sleep 1000
		reboot -f -n" -c 2 -m 384 --on-reset=reset -d vda -d vdb \
		--rng --balloon --port name=p,to=null --9p share,share
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
	mkdir share
	random 300K >share/file
	echo 0 >share/count
	prepare generic "$load
		sleep 1000" -c 2 -m 384 -d vda -d vdb --rng --balloon \
		--port name=p,to=null --9p share,share
	on_terminal
	printf '\1c' >&9
	boots 1
	before=$(holds)
	for number in 2 3 4; do
		printf 'reset\rreset\r' >&9
		boots $number
	done
	same "what lkvm holds" "$(holds)" "$before"
	printf 'quit\r' >&9
	off_terminal
	ended 0
}

promise "resets under load leave nothing behind" test_reset_load 7
promise "resets from outside under load leave nothing behind" \
	test_reset_prompt
