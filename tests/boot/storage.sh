# Storage: engines, formats, caches; what a guest was told is safe survives the
# death of its monitor. LKVM_LONG=1 for as many deaths as trust needs.

# In the guest: /dev/vda holds tools, and t runs them.
with_tools='disks
	modprobe ext4
	mount -o ro -t ext4 /dev/vda /newroot
	mount -o bind /dev /newroot/dev
	mount -o bind /proc /newroot/proc
	mount -o bind /sys /newroot/sys
	t() { chroot /newroot "/bin/$@"; }
'

# tools SCRIPT [OPTION...]: sets what prepare, start and boot take. The kernel
# is that of cloud, or of $tools_target.
tools() {
	need_image tools
	need qemu-img
	set -- "${tools_target:-cloud}" "$with_tools$1" -m 512 \
		-d "$images/tools/tools.img,ro" "${@:2}"
	args=("$@")
}

spare_letters=bcdefghijklmnopqrstuvwxyz

# flat FILE FORMAT: the hash of what a guest sees in it.
flat() {
	qemu-img convert -f "$2" -O raw "$1" flat
	sha flat
	rm flat
}

# no_corruption FILE: leaked clusters are allowed (status 3), nothing else is.
no_corruption() {
	local status=0
	qemu-img check -f qcow2 "$1" >check.log 2>&1 || status=$?
	[[ $status = 0 || $status = 3 ]] || fail "$(cat check.log)"
}

# with_loops: looped FILE makes it a block device, $loop; tmpfs has no O_DIRECT.
with_loops() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	need losetup
	load loop
	loops=()
	trap 'losetup -d "${loops[@]}"' EXIT
}

looped() {
	loop=$(losetup --show -f "$1") || skip "needs a loop device"
	loops+=("$loop")
}

# fio, with data that it checks, on every disk at once; then their hashes as
# the guest sees them, and the host's view of the files. Each two of format,
# cache mode and engine meet; LKVM_LONG=1: each three.
test_fio() {
	local script="t fio --thread --direct=1 --ioengine=libaio --iodepth=8 \
		--rw=randwrite --bsrange=512-32k --size=3M --verify=crc32c \
		--verify_fatal=1 --randseed=7 --minimal" disks=() names=()
	local format cache engine file i n=0 sums=""
	with_loops
	for format in raw qcow2; do
		for cache in none writeback unsafe; do
			for engine in io_uring aio sync; do
				n=$((n + 1))
				[[ -n ${LKVM_LONG:-} || $((n % 2)) = 1 ]] ||
					continue
				file=$format-$cache-$engine
				truncate -s 5M $file
				if [ $cache = none ]; then
					looped $file
					file=$loop
				fi
				[ $format = raw ] ||
					qemu-img create -q -f qcow2 $file 4M
				disks+=(-d "$file,format=$format,cache=$cache,engine=$engine")
				names+=("$file $format")
			done
		done
	done
	for i in "${!names[@]}"; do
		script+=" --name=$i --filename=/dev/vd${spare_letters:i:1}"
		sums+="echo $i=\$(sha /dev/vd${spare_letters:i:1})
		"
	done
	tools "$script >/log 2>&1 && echo verified || cat /log
		$sums" "${disks[@]}"
	boot "${args[@]}"
	ended 0
	says '^verified'
	for i in "${!names[@]}"; do
		read -r file format <<<"${names[i]}"
		[ $format = raw ] || no_corruption "$file"
		same "${disks[2 * i + 1]}" "$(flat "$file" "$format")" \
			"$(value "$i")"
	done
}

test_qcow2() {
	local i
	random 4M >base.raw
	qemu-img create -q -f qcow2 -F raw -b base.raw disk0
	qemu-img convert -f raw -O qcow2 -c base.raw disk1
	qemu-img create -q -f qcow2 -F qcow2 -b disk1 -o cluster_size=512 disk2
	qemu-img convert -f raw -O qcow2 \
		-o compat=0.10,cluster_size=4k base.raw disk3
	qemu-img convert -f raw -O qcow2 -o cluster_size=2M,lazy_refcounts=on \
		base.raw disk4
	qemu-img convert -f raw -O qcow2 base.raw disk5
	qemu-img snapshot -c before disk5
	tools 'disks="vdb vdc vdd vde vdf" jobs=
		for disk in $disks; do
			echo old=$(sha /dev/$disk)
			jobs="$jobs --name=$disk --filename=/dev/$disk"
		done
		t fio --thread --direct=1 --ioengine=libaio --iodepth=8 \
			--rw=randwrite --bsrange=1k-64k --size=2M --offset=1M \
			--verify=crc32c --verify_fatal=1 --minimal $jobs \
			>/log 2>&1 && echo verified
		for disk in $disks; do
			t blkdiscard -o 262144 -l 262144 /dev/$disk &&
				t blkdiscard -z -o 65536 -l 65536 /dev/$disk ||
				echo failed
			echo $disk=$(sha /dev/$disk)
		done' -d disk0 -d disk2,serial=two -d disk3 -d disk4 -d disk5
	boot "${args[@]}"
	ended 0
	says_not '^failed'
	says '^verified'
	same "what was there" "$(value old | sort -u)" "$(sha base.raw)"
	i=0
	for disk in disk0 disk2 disk3 disk4 disk5; do
		no_corruption $disk
		same $disk "$(flat $disk qcow2)" "$(value "vd${spare_letters:i:1}")"
		i=$((i + 1))
	done
	qemu-img snapshot -a before disk5
	same snapshot "$(flat disk5 qcow2)" "$(sha base.raw)"
}

test_queues() {
	truncate -s 32M disk
	tools 'echo queues=$(ls /sys/block/vdb/mq | wc -l)
		t fio --thread --direct=1 --ioengine=libaio --iodepth=8 \
			--rw=randwrite --bs=4k --size=1M --offset_increment=8M \
			--numjobs=4 --verify=crc32c --verify_fatal=1 \
			--name=vdb --filename=/dev/vdb --minimal \
			--cpus_allowed=0-3 --cpus_allowed_policy=split \
			>/log 2>&1 && echo verified
		echo hash=$(sha /dev/vdb)
		echo ready
		read -r line' -c 4 -d disk,queues=4 --stats
	mkfifo stdin
	exec 3<>stdin
	start "${args[@]}" <stdin
	await '^ready'
	same "I/O threads" "$(cat "/proc/$pid"/task/*/comm | grep -c '^io-vdb')" 4
	echo go >&3
	finish
	ended 0
	says '^verified'
	same queues "$(value queues)" 4
	same disk "$(sha disk)" "$(value hash)"
	for row in reads read-bytes read-p50-us read-p99-us writes \
		written-bytes write-p99-us flushes discards errors; do
		cat console errors | grep -qE "^vdb +$row +[0-9]+" ||
			fail "--stats has no row $row of vdb"
	done
}

# A limit is kept, on the guest's clock: 100 requests at 50 a second, 2 MiB at
# 1 MiB a second; a tenth of a second's worth is free, and the last is not
# waited for.
test_limits() {
	local name ms
	truncate -s 4M iops
	qemu-img create -q -f qcow2 bw 4M
	boot cloud 'disks
		ms() { awk "{ print int(\$1 * 1000) }" /proc/uptime; }
		run() {
			from=$(ms)
			dd of=/dev/null iflag=direct "$@" 2>/dev/null || return
			echo $(($(ms) - from))
		}
		echo iops=$(run if=/dev/vda bs=4k count=100)
		echo bw=$(run if=/dev/vdb bs=64k count=32)' \
		-d iops,iops=50 -d bw,bw=1M
	ended 0
	for name in iops bw; do
		ms=$(value $name)
		[ "$ms" -ge 1800 ] || fail "$name: all done after $ms ms"
	done
}

# blocks FILE: KiB that it takes on the host.
blocks() {
	du -k "$1" | cut -f 1
}

test_discard() {
	random 16M >raw
	cp raw kept
	qemu-img convert -f raw -O qcow2 raw qcow2
	tools 't blkdiscard /dev/vdb
		t blkdiscard /dev/vdc
		echo kept=$(cat /sys/block/vdd/queue/discard_max_bytes)
		t blkdiscard -z -o 1048576 -l 1048576 /dev/vdd || echo failed
		echo zeroed=$(dd if=/dev/vdd bs=1M skip=1 count=1 | sha)' \
		-d raw -d qcow2 -d kept,discard=off
	boot "${args[@]}"
	ended 0
	says_not '^failed'
	[ "$(blocks raw)" -lt 1024 ] || fail "raw still has $(blocks raw) KiB"
	[ "$(blocks qcow2)" -lt 1024 ] ||
		fail "qcow2 still has $(blocks qcow2) KiB"
	no_corruption qcow2
	same "discard=off" "$(value kept)" 0
	[ "$(blocks kept)" -ge 16384 ] || fail "discard=off gave blocks back"
	same zeroes "$(value zeroed)" "$(head -c 1M /dev/zero | sha)"
}

test_snapshot() {
	local before
	random 4M >raw
	qemu-img convert -f raw -O qcow2 raw qcow2
	before=$(sha raw qcow2)
	tools 'for disk in vdb vdc; do
			old=$(sha /dev/$disk)
			t fio --name=$disk --filename=/dev/$disk --direct=1 \
				--ioengine=libaio --iodepth=8 --rw=randwrite \
				--bs=4k --size=4M --verify=crc32c --minimal \
				>/log 2>&1 && echo verified $disk
			t blkdiscard -o 0 -l 65536 /dev/$disk
			[ "$old" = "$(sha /dev/$disk)" ] || echo changed $disk
		done' -d raw,snapshot -d qcow2,snapshot
	boot "${args[@]}"
	ended 0
	for disk in vdb vdc; do
		says "^verified $disk"
		says "^changed $disk"
	done
	same "the files" "$(sha raw qcow2)" "$before"
	same "the folder" "$(ls)" \
		"$(printf '%s\n' add console errors initrd.img qcow2 raw)"
}

test_locking() {
	local name
	need qemu-io
	truncate -s 1M disk
	mkfifo stdin
	exec 3<>stdin
	start cloud 'disks
		echo ready
		read -r line' -d disk <stdin
	await '^ready'
	"$lkvm" run -n mode=none -k "$images/cloud/bzImage" -d disk >out 2>&1 && fail "two writers"
	same "lines" "$(wc -l <out)" 1
	name="process $pid "
	grep -qF "disk is in use by $name" out || fail "$(cat out)"
	"$lkvm" run -n mode=none -k "$images/cloud/bzImage" -d disk,ro >out 2>&1 &&
		fail "a reader beside a writer"
	qemu-io -f raw -c 'write 0 512' disk >out 2>&1 && fail "qemu wrote too"
	grep -q 'lock' out || fail "$(cat out)"
	qemu-io -U -r -f raw -c 'read 0 512' disk >out 2>&1 || fail "$(cat out)"
	echo go >&3
	finish
	ended 0
	boot cloud 'disks; echo alone' -d disk,ro -d disk,ro
	says '^alone'
}

# The host's file system is full: errors for the guest, and for it alone.
test_full_host() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	mkdir small
	mount -t tmpfs -o size=3m small small || skip "needs a mount"
	trap 'umount -l small' EXIT
	truncate -s 16M small/raw
	qemu-img create -q -f qcow2 small/qcow2 16M
	truncate -s 16M shrinks
	tools 'dd if=/dev/zero of=/dev/vdc bs=64k count=200 oflag=direct 2>&1
		dd if=/dev/zero of=/dev/vdb bs=64k count=200 oflag=direct 2>&1
		echo ready
		read -r line
		dd if=/dev/vdd of=/dev/null bs=64k skip=64 iflag=direct 2>&1
		dd if=/dev/vdd of=/dev/null bs=64k count=16 iflag=direct 2>&1 &&
			echo still-there
		echo alive' -d small/raw -d small/qcow2 -d shrinks
	mkfifo stdin
	exec 3<>stdin
	start "${args[@]}" <stdin
	await '^ready'
	truncate -s 1M shrinks
	echo go >&3
	finish
	ended 0
	says 'vdb.*(I/O error|error)'
	says 'vdc.*(I/O error|error)'
	says 'vdd.*(I/O error|error)'
	says '^still-there'
	says '^alive'
	grep -q 'No space left on device' errors || fail "nothing said of it"
	[ "$(wc -l <errors)" -lt 40 ] || fail "$(wc -l <errors) lines of it"
	no_corruption small/qcow2
}

# --- sudden death ------------------------------------------------------------

# In the guest: writes 64 KiB slots of vdb in an order that wanders, each full
# of its own number, and says so when it is safe; beside it fio makes metadata
# move in the rest of the disk, and an ext4 on vdc lives.
crash_load='slot() { echo $(($1 * 7 % 61)); }
	i=$(cat /first)
	(while :; do
		t fio --name=noise --filename=/dev/vdb --offset=4M --size=12M \
			--direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite \
			--bsrange=4k-64k --randseed=$i --fsync=16 --minimal
		t blkdiscard -o 8M -l 4M /dev/vdb
	done >/dev/null 2>&1) &
	mount -t ext4 /dev/vdc /mnt || echo no mount
	echo running
	while :; do
		i=$((i + 1))
		yes $i | dd of=/dev/vdb bs=64k seek=$(slot $i) count=1 \
			iflag=fullblock conv=notrunc,fsync 2>/dev/null &&
			echo safe=$i
		yes $i | head -c 30000 >/mnt/$((i % 9))
		t sync && echo synced=$i
	done'

# The slots hold what the guest was told, or what it wrote after that; the one
# that was being written is not known.
check_slots() {
	qemu-img convert -f qcow2 -O raw disk flat
	perl -e 'open F, "<:raw", "flat" or die; my $last = shift;
		for (my $i = $last; $i > 0 && $i > $last - 61; $i--) {
			my ($slot, $line, $got) = ($i * 7 % 61, "$i\n");
			next if $slot == ($last + 1) * 7 % 61;
			seek F, $slot << 16, 0 and read F, $got, 65536 or die;
			substr($line x 32768, 0, 65536) eq $got or
				die "slot $slot does not hold $i of $last\n";
		}' "$1" 2>log || fail "$(<log)"
}

# files_hold LAST OLDEST: the same of ext4, whose files are full of the number
# by which each was written.
files_hold() {
	local i want got
	for i in {0..8}; do
		echo "dump /$i file$i"
	done >commands
	rm -f file?
	debugfs -f commands ext4 >log 2>&1
	for ((i = $1; i >= $2; i--)); do
		want=$i
		while [ ${#want} -lt 30000 ]; do want+=$'\n'$want; done
		IFS= read -rd '' got <file$((i % 9)) || true
		[ "$got" = "${want:0:30000}" ] ||
			fail "file $((i % 9)) does not hold $i"
	done
}

test_death() {
	local round last=0 first synced oldest
	need e2fsck debugfs mke2fs perl
	qemu-img create -q -f qcow2 "$@" disk 16M
	truncate -s 16M ext4
	mkdir add
	tools 't mkfs.ext4 -q /dev/vdb && echo made' -d ext4
	boot "${args[@]}"
	says '^made'
	e2fsck -fn ext4 >log 2>&1 || fail "$(cat log)"
	tools "$crash_load" -d disk,format=qcow2 -d ext4,format=raw
	for round in 1 2 3; do
		first=$last
		echo "$first" >add/first
		start "${args[@]}"
		await '^running'
		sleep "$((RANDOM % 2)).$((RANDOM % 1000 + 1000))"
		kill -9 "$pid"
		finish
		ended 137
		last=$(text | sed -n 's/^safe=//p' | tail -n 1)
		last=${last:-$first}
		no_corruption disk
		check_slots "$last"
		synced=$(text | sed -n 's/^synced=//p' | tail -n 1)
		status=0
		e2fsck -fy ext4 >log 2>&1 || status=$?
		[ $status -le 1 ] || fail "$(cat log)"
		e2fsck -fn ext4 >log 2>&1 || fail "$(cat log)"
		[ -n "$synced" ] || continue
		# What came after the last sync may be there or not.
		oldest=$((last - 7 > first ? last - 7 : first + 1))
		files_hold "$synced" $oldest
	done
}

promise "fio verifies on every format, cache mode and engine" test_fio
promise "qcow2 of all sorts holds what the guest wrote" test_qcow2
promise "four queues have four threads and verify" test_queues
promise "a disk is no faster than its limits" test_limits
promise "a discard gives the host its blocks back" test_discard
promise "a snapshot leaves the files as they were" test_snapshot
promise "an image in use is refused, by whom is said" test_locking
promise "a full or shrunken host file is the guest's I/O error" test_full_host
# Three deaths a test: 6, or 200.
deaths=1
[ -z "${LKVM_LONG:-}" ] || deaths=34
for ((i = 0; i < deaths; i++)); do
	promise "what was flushed survives sudden death ($i)" test_death
	promise "what was flushed survives sudden death, small clusters ($i)" \
		test_death -o cluster_size=1k,lazy_refcounts=on
done
