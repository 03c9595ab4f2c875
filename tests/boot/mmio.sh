# virtio-mmio: disks that ACPI, a device tree or the command line tells of;
# and what both transports must endure. Packed rings come along.

# The guest's kernel found nothing wrong; devices share the IOAPIC's pins.
mmio_clean='dmesg -r | grep "^<[0-3]>" | sed "s/^/complaint: /"
grep IO-APIC.*virtio /proc/interrupts
'

test_mmio_disk() {
	local target=$1
	random 6M >disk
	shift
	boot "$target" "disks
		echo old=\$(sha /dev/vda)
		echo packed=\$(cut -c 35 /sys/bus/virtio/devices/virtio0/features)
		dd if=/dev/urandom of=/new bs=1M count=6 2>/dev/null
		dd if=/new of=/dev/vda bs=20k conv=fsync 2>/dev/null
		echo 3 >/proc/sys/vm/drop_caches
		echo new=\$(sha /dev/vda)
		$mmio_clean" --virtio-transport mmio "$@"
	ended 0
	says_not '^complaint'
	says 'IO-APIC.*virtio0'
	same new "$(value new)" "$(sha disk)"
	[ "$(value old)" != "$(value new)" ] || fail "nothing was written"
}

test_mmio_packed() {
	test_mmio_disk cloud -d disk,packed
	same packed "$(value packed)" 1
}

# Ten disks on eight lines, all of them busy at once.
test_mmio_many() {
	local i options=() sums=() letters=abcdefghij
	for ((i = 0; i < 10; i++)); do
		random $((i + 1))M >disk$i
		sums+=("$(sha disk$i)")
		options+=(-d "disk$i")
	done
	boot cloud "disks
		for disk in a b c d e f g h i j; do
			(for try in 1 2 3; do
				dd if=/dev/vd\$disk of=/dev/null bs=4k \
					iflag=direct count=200 2>/dev/null
			done; echo vd\$disk=\$(sha /dev/vd\$disk)) &
		done
		wait
		$mmio_clean" -c 2 --virtio-transport mmio "${options[@]}"
	ended 0
	says_not '^complaint'
	for ((i = 0; i < 10; i++)); do
		same disk$i "$(value "vd${letters:i:1}" || true)" "${sums[i]}"
	done
}

# A driver loses its device while requests are in flight, another may not
# take it, and then it gets it back.
unbind_in_flight='disks
case $transport in
pci) drivers=/sys/bus/pci/drivers/virtio-pci ;;
mmio) drivers=/sys/bus/platform/drivers/virtio-mmio ;;
esac
device=$(basename $(readlink -f /sys/block/vda/device/..))
for round in 1 2 3 4 5; do
	for reader in 1 2 3; do
		dd if=/dev/vda of=/dev/null bs=16k iflag=direct 2>/dev/null &
	done
	dd if=/dev/zero of=/dev/vda bs=4k seek=1024 oflag=direct 2>/dev/null &
	usleep 50000
	echo $device >$drivers/unbind
	wait
	[ ! -e /sys/block/vda ] || echo still there
	echo nobody >$drivers/../../devices/$device/driver_override
	echo $device >$drivers/bind 2>/dev/null && echo bound to a stranger
	echo >$drivers/../../devices/$device/driver_override
	echo $device >$drivers/bind || echo not bound
	for try in 1 2 3 4 5 6 7 8 9 10; do
		[ -b /dev/vda ] && break
		usleep 100000
	done
	echo round$round=$(dd if=/dev/vda bs=1M count=4 2>/dev/null | sha)
done
'

test_unbind() {
	local before round
	random 16M >disk
	before=$(head -c 4M disk | sha)
	boot cloud "transport=$1
		$unbind_in_flight" -c 2 --virtio-transport "$1" -d "disk,$2"
	ended 0
	says_not '^(still there|bound|not bound)'
	for round in 1 2 3 4 5; do
		same "round $round" "$(value round$round)" "$before"
	done
	same "the file's head" "$(head -c 4M disk | sha)" "$before"
}

test_mmio_reload() {
	random 4M >disk
	boot cloud "disks
		for round in 1 2 3 4 5; do
			dd if=/dev/vda of=/dev/null bs=64k iflag=direct 2>/dev/null
			rmmod virtio_blk && rmmod virtio_mmio || echo stays
			[ ! -e /sys/block/vda ] || echo still there
			modprobe -a virtio_mmio virtio_blk
			echo round\$round=\$(sha /dev/vda)
		done
		$mmio_clean" --virtio-transport mmio -d disk
	ended 0
	says_not '^(stays|still there|complaint)'
	for round in 1 2 3 4 5; do
		same "round $round" "$(value round$round)" "$(sha disk)"
	done
}

# The machine resets while requests are in flight; the second boot finds what
# the first one has written.
test_mmio_reset() {
	random 8M >disk
	boot cloud 'disks
		if [ "$(head -c 6 /dev/vda)" != marked ]; then
			echo marked | dd of=/dev/vda conv=fsync 2>/dev/null
			for i in 1 2 3; do
				dd if=/dev/vda of=/dev/null bs=4k iflag=direct &
			done 2>/dev/null
			usleep 50000
			reboot -f
		fi
		echo again=$(sha /dev/vda)' --virtio-transport mmio \
		--on-reset reset -d "disk,$1"
	ended 0
	same "the second boot" "$(value again)" "$(sha disk)"
	same mark "$(head -c 6 disk)" marked
}

# By its parameter, on a kernel that reads it; Debian's does not, but it shows
# what came.
test_mmio_parameter() {
	local words="virtio_mmio.device=4K@0xf0000000:16"
	words+=" virtio_mmio.device=4K@0xf0001000:17 console=ttyS0"
	truncate -s 1M disk
	boot cloud 'cat /proc/cmdline; reboot -f' --virtio-transport mmio \
		-d disk -d disk,ro,locking=off -p acpi=off --nodefaults=off
	ended 0
	says "^$words"
}

test_fdt() {
	need dtc
	truncate -s 1M disk
	boot cloud 'cd /sys/kernel/boot_params/setup_data/0
		echo type=$(cat type)
		echo data=$(sha data)
		ls /sys/firmware/acpi /sys/bus/acpi/devices 2>/dev/null |
			grep LNRO
		echo cpus=$(nproc)
		reboot -f' --virtio-transport mmio -d disk --fdt --dump-dtb dtb
	ended 0
	same type "$(value type)" 0x2
	same tree "$(value data)" "$(sha dtb)"
	says_not LNRO
	dtc -I dtb -O dts dtb >dts 2>log || fail "$(cat log)"
	[ ! -s log ] || fail "dtc says: $(cat log)"
	grep -q 'virtio_mmio@f0000000' dts || fail "no disk in the tree"
}

promise "virtio-mmio: the cloud kernel finds its disk by ACPI" \
	test_mmio_disk cloud -d disk
promise "virtio-mmio: the generic kernel finds its disk by ACPI" \
	test_mmio_disk generic -d disk
promise "virtio-mmio: the disk has packed rings" test_mmio_packed
promise "virtio-mmio: ten disks share eight lines" test_mmio_many
promise "virtio-mmio: modules come and go" test_mmio_reload
promise "virtio-mmio: a reset with requests in flight" test_mmio_reset packed=off
promise "virtio-mmio: a reset with requests in packed rings" test_mmio_reset packed
promise "virtio-mmio: acpi=off brings parameters" test_mmio_parameter
promise "--fdt: setup_data holds the tree that --dump-dtb writes" test_fdt
promise "unbind in flight on PCI" test_unbind pci packed=off
promise "unbind in flight on PCI with packed rings" test_unbind pci packed
promise "unbind in flight on virtio-mmio" test_unbind mmio packed=off
promise "unbind in flight on virtio-mmio with packed rings" test_unbind mmio packed
