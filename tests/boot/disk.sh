# Disks: what the guest reads and writes is what the host's file holds.

test_read() {
	random 6M >disk
	boot cloud "disks
		for bs in 512 4k 65k 3M; do
			echo \$bs=\$(dd if=/dev/vda bs=\$bs 2>/dev/null | sha)
			echo 3 >/proc/sys/vm/drop_caches
		done
		for bs in 4k 1M; do
			echo direct-\$bs=\$(dd if=/dev/vda bs=\$bs iflag=direct |
				sha)
		done
		echo size=\$(blockdev --getsize64 /dev/vda)" -d disk
	ended 0
	same size "$(value size)" $((6 << 20))
	for way in 512 4k 65k 3M direct-4k direct-1M; do
		same "read $way" "$(value $way)" "$(sha disk)"
	done
}

test_write() {
	random 4M >disk
	boot cloud "disks
		dd if=/dev/urandom of=/new bs=1M count=4
		dd if=/new of=/dev/vda bs=512 count=1000
		dd if=/new of=/dev/vda bs=4k skip=125 seek=125 count=300 oflag=direct
		dd if=/new of=/dev/vda bs=20k skip=85 seek=85 conv=fsync
		echo new=\$(sha /new)" -d disk
	ended 0
	same disk "$(sha disk)" "$(value new)"
}

# Four writers on two CPUs, each in its own quarter, and readers between.
test_parallel() {
	truncate -s 8M disk
	boot cloud "disks
		dd if=/dev/urandom of=/new bs=1M count=8 2>/dev/null
		for i in 0 1 2 3; do
			dd if=/new of=/dev/vda bs=16k skip=\$((i * 128)) \
				seek=\$((i * 128)) count=128 oflag=direct &
			dd if=/dev/vda of=/dev/null bs=64k iflag=direct &
		done 2>/dev/null
		wait
		echo new=\$(sha /new)" -c 2 -d disk
	ended 0
	same disk "$(sha disk)" "$(value new)"
}

test_many() {
	local count=$1 options=() shas=() i letter
	for ((i = 0; i < count; i++)); do
		random $((i + 1))M >disk$i
		shas+=("$(sha disk$i)")
		options+=(-d disk$i)
	done
	boot cloud "disks
		for disk in vda vdb vdc vdd vde vdf vdg vdh; do
			[ -b /dev/\$disk ] || break
			echo \$disk=\$(sha /dev/\$disk)
			echo \$disk | dd of=/dev/\$disk conv=fsync 2>/dev/null
		done" "${options[@]}"
	ended 0
	for ((i = 0; i < count; i++)); do
		letter=${letters:i:1}
		same "vd$letter" "$(value "vd$letter")" "${shas[i]}"
		same "disk$i" "$(head -n 1 disk$i)" "vd$letter"
	done
}
letters=abcdefgh

test_read_only() {
	random 2M >disk
	local before
	before=$(sha disk)
	boot cloud "disks
		echo ro=\$(cat /sys/block/vda/ro)
		echo hash=\$(sha /dev/vda)
		dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync 2>&1 &&
			echo written
		blockdev --setrw /dev/vda
		dd if=/dev/zero of=/dev/vda bs=4k count=1 oflag=direct 2>&1 &&
			echo written" -d disk,ro
	ended 0
	same ro "$(value ro)" 1
	same hash "$(value hash)" "$before"
	says_not '^written'
	same "the file" "$(sha disk)" "$before"
}

test_serial() {
	truncate -s 1M disk-one
	boot cloud "disks
		echo serial=\$(cat /sys/block/vda/serial)" -d disk-one
	ended 0
	[ -n "$(value serial)" ]
}

# with_loop: a block device of the host, over the file disk; sets $loop.
with_loop() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	need losetup
	load loop
	loop=$(losetup --show -f disk) || skip "needs a loop device"
	trap 'losetup -d $loop' EXIT
}

test_block_device() {
	random 4M >disk
	with_loop
	boot cloud "disks
		echo size=\$(blockdev --getsize64 /dev/vda)
		echo old=\$(sha /dev/vda)
		dd if=/dev/urandom of=/new bs=1M count=4
		dd if=/new of=/dev/vda bs=64k conv=fsync
		echo new=\$(sha /new)" -d "$loop${1:-}"
	ended 0
	sync
	same size "$(value size)" $((4 << 20))
	same disk "$(sha "$loop")" "$(value new)"
}

# The host's e2fsck and debugfs judge what the guest has written.
test_ext4() {
	need mke2fs e2fsck debugfs
	truncate -s 48M disk
	mke2fs -q -t ext4 disk
	boot cloud "disks
		modprobe -q ext4
		mount -t ext4 /dev/vda /mnt || exit
		cp -r /bin /lib /mnt
		dd if=/dev/urandom of=/mnt/big bs=1M count=10 2>/dev/null
		rm -r /mnt/lib
		echo big=\$(sha /mnt/big)
		umount /mnt" -c 2 -d disk
	ended 0
	e2fsck -fn disk >log 2>&1 || fail "$(cat log)"
	debugfs -R "dump /big big" disk 2>/dev/null
	same "the file's hash" "$(sha big)" "$(value big)"
}

# As the README says it, with nothing of ours in between.
test_demo() {
	need mke2fs
	[ -e "$images/disk.img" ] || skip "needs the image disk"
	cp "$images/disk.img" disk
	status=0
	"$lkvm" run -n mode=none -k "$images/cloud/bzImage" -i "$images/cloud/initrd.img" \
		-d disk -p lkvm.demo=poweroff >console 2>errors || status=$?
	ended 0
	says 'lkvm: userspace reached'
	e2fsck -fn disk >log 2>&1 || fail "$(cat log)"
}

promise "a guest reads what the file holds, in any block size" test_read
promise "the file holds what a guest has written, in any block size" test_write
promise "requests in parallel do not mix" test_parallel
promise "two disks keep their order" test_many 2
promise "eight disks keep their order" test_many 8
promise "a read-only disk cannot be written" test_read_only
promise "a disk has a serial" test_serial
promise "a block device is a disk" test_block_device
promise "a block device is a disk with O_DIRECT" test_block_device ,direct
promise "an ext4 that the guest has written is clean and complete" test_ext4
promise "disk.img boots as root file system" test_demo
