# Entropy: random bytes reach the guest's own driver, as fast as they may.

# In the guest: the device is what /dev/hwrng reads from. Removing the driver
# waits for the kernel's own reader of it, which a limit makes slow.
hwrng='modprobe -a virtio_pci virtio-rng
	class=/sys/class/misc/hw_random
	until grep -q virtio $class/rng_available; do sleep 0.1; done
'

# FIPS 140-2 finds fault with about one in 1250 blocks of good randomness.
test_hwrng() {
	tools "$hwrng"'echo current=$(cat $class/rng_current)
		t rngtest -c 200 </dev/hwrng 2>&1
		modprobe -r virtio-rng
		echo left=$(cat $class/rng_current)
		modprobe virtio-rng
		until grep -q virtio $class/rng_available; do sleep 0.1; done
		dd if=/dev/hwrng bs=64 count=100 2>/dev/null | wc -c' \
		--rng --rng --stats
	boot "${args[@]}"
	ended 0
	says '^current=virtio_rng\.0'
	says 'FIPS 140-2 failures: [0-4]$'
	says 'FIPS 140-2 successes: (200|19[0-9])$'
	says '^left=none'
	says '^6400$'
	grep -Eq '^rng0 +bytes +[0-9]{6,}$' errors || fail "no bytes counted"
	grep -Eq '^rng0 +waits +0$' errors || fail "it waited without a limit"
}

test_rng_limit() {
	boot cloud "$hwrng"'dd if=/dev/hwrng bs=512 count=8 2>/dev/null | wc -c
		' --rng=rate=8K --stats
	ended 0
	says '^4096$'
	grep -Eq '^rng0 +waits +[1-9][0-9]*$' errors || fail "it never waited"
}

# While the device waits for the next byte, which would come in an hour.
test_rng_reset() {
	mkfifo stdin
	exec 3<>stdin
	start cloud 'modprobe -a virtio_pci virtio-rng
		echo ready
		read -r line
		[ "$line" = again ] && reboot -f' --rng=rate=1 --on-reset=reset <stdin
	await '^ready'
	echo again >&3
	await '^ready' 2
	echo end >&3
	finish
	ended 0
}

promise "/dev/hwrng passes rngtest, and comes back with its module" test_hwrng
promise "--rng=rate=8K makes the guest wait, and loses nothing" test_rng_limit
promise "a machine resets while its entropy device waits" test_rng_reset
