# What RAM is made of, as /proc tells it while a guest runs on it.

# ram_field KB NAME: of the mapping in /proc/PID/smaps that is so large.
ram_field() {
	awk -v size="$1" -v name="$2:" '
		$1 == "Size:" { here = $2 == size }
		here && $1 == name { $1 = ""; print; exit }' "/proc/$pid/smaps"
}

# idle [OPTION...]: a guest of 256 MiB that waits for a line on $9.
idle() {
	mkfifo in
	exec 9<>in
	start cloud 'echo up; read -r line </dev/console' "$@" <in
	await '^up'
}

idle_end() {
	echo >&9
	finish
	ended 0
}

# with_huge_pages N: so many of 2 MiB are in the host's pool, and on ./huge. The
# machine has one pool only: one test at a time.
with_huge_pages() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	local pool=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
	local before
	[ -e $pool ] || skip "the host's kernel has no hugetlbfs"
	exec 8>/run/lock/lkvm-huge-pages
	flock 8
	[ "$(huge_pages Total)" = "$(huge_pages Free)" ] ||
		skip "others use huge pages"
	before=$(<$pool)
	mkdir huge
	mount -t hugetlbfs -o pagesize=2M none huge
	trap "kill -KILL \$(jobs -p) 2>/dev/null || true; wait
		umount -l '$PWD/huge'; echo $before >$pool" EXIT
	echo 1 >/proc/sys/vm/compact_memory
	echo "$1" >$pool
	[ "$(huge_pages Total)" = "$1" ] || skip "the host has no $1 huge pages"
}

# huge_pages Total|Free|Rsvd
huge_pages() {
	sed -n "s/^HugePages_$1: *//p" /proc/meminfo
}

until_huge_pages_free() {
	until [ "$(huge_pages Free)" "$1" "$2" ]; do
		[ -d "/proc/$pid" ] || fail "lkvm ended before $1 $2 free pages"
		sleep 0.1
	done
}

test_hugetlbfs() {
	with_huge_pages 140
	idle --hugetlbfs huge
	same "page size" "$(ram_field 262144 KernelPageSize)" ' 2048 kB'
	same "pages" "$(ram_field 262144 Private_Hugetlb)" ' 262144 kB'
	same "free pages" "$(huge_pages Free)" 12
	# Nothing shows in the folder.
	same "files" "$(ls -A huge)" ''
	idle_end
	same "free pages afterwards" "$(huge_pages Free)" 140
}

# The pool gets whole pages back, loses some of them to others meanwhile, and
# the guest goes on.
test_hugetlbfs_balloon() {
	with_huge_pages 130
	with_shell --hugetlbfs huge --balloon --stats
	same "free pages" "$(huge_pages Free)" 2
	ask 'fill 60; mv /mnt/x /mnt/y; echo kept=$(sha /mnt/y)'
	balloon 64M
	until_huge_pages_free -gt 15
	balloon 0
	until_huge_pages_free -eq 2
	ask 'until_free -gt 100; fill 90; rm /mnt/x'
	balloon 64M
	until_huge_pages_free -gt 15
	fallocate -l 20M huge/others
	balloon 0
	ask 'until_free -gt 100; fill 90; rm /mnt/x'
	ask 'echo again=$(sha /mnt/y)'
	same data "$(value again)" "$(value kept)"
	printf 'poweroff -f\r' >&9
	off_terminal
	ended 0
	[ "$(counter not-restored)" -gt 0 ]
	same reported-bytes "$(counter reported-bytes)" 0
}

test_hugetlbfs_reset() {
	with_huge_pages 130
	start cloud "$with_balloon
		until_free -lt 130; echo inflated
		reboot -f" --hugetlbfs huge --on-reset=reset --balloon=target=64M
	await '^inflated' 3
	kill "$pid"
	finish
	ended 143
	same "free pages" "$(huge_pages Free)" 130
}

test_hugetlbfs_lacks_pages() {
	with_huge_pages 20
	boot cloud 'echo up' --hugetlbfs huge
	ended 125
	same "lines" "$(wc -l <errors)" 1
	grep -q 'cannot give the guest 256M of RAM: .*not enough free huge pages' errors
	boot cloud 'echo up' --hugetlbfs huge -m 37M
	ended 125
	same "lines" "$(wc -l <errors)" 1
	grep -q '37M is not a multiple of 2M, the size of a page of huge' errors
	same "free pages" "$(huge_pages Free)" 20
}

# Another process maps the file, and sees what the guest has written.
test_mem_file() {
	local link
	mkfifo in
	exec 9<>in
	start cloud 'printf "find%s me%s" -"$((6 * 7))" -here >/x
		echo up; read -r line </dev/console' --mem-file <in
	await '^up'
	link=$(find "/proc/$pid/fd" -lname '/memfd:lkvm-ram*')
	same "size" "$(stat -L -c %s "$link")" $((256 << 20))
	grep -aq 'find-42 me-here' "$link"
	[ "$(sed -n 's/^RssShmem:[^0-9]*\([0-9]*\) kB/\1/p' \
		"/proc/$pid/status")" -gt 20000 ]
	idle_end
}

# has_flag KB FLAG: in the VmFlags of the mapping that is so large.
has_flag() {
	ram_field "$1" VmFlags | grep -qw "$2"
}

test_thp() {
	idle
	has_flag 260096 hg
	idle_end
	rm in
	idle --thp=off
	has_flag 262144 nh
	idle_end
}

test_ksm() {
	idle --ksm --thp=off
	has_flag 262144 mg
	idle_end
}

test_numa_node() {
	idle --numa-node 0 --thp=off
	grep -q "^$(awk '$1 ~ /-/ { range = $1 }
		$1 == "Size:" && $2 == 262144 { sub("-.*", "", range); print range }' \
		"/proc/$pid/smaps") bind:0 " "/proc/$pid/numa_maps"
	idle_end
}

test_pin() {
	local cpus=() task
	[ "$(nproc)" -ge 2 ] || skip "needs two CPUs"
	idle -c 2 --pin 0=1,1=0
	for task in "/proc/$pid/task/"*; do
		case $(<"$task/comm") in
		# KVM's own, a thread of the VM's process in later kernels.
		kvm-nx-lpage-re*) ;;
		vcpu*) cpus+=("$(<"$task/comm")=$(sed -n \
			's/^Cpus_allowed_list:\t*//p' "$task/status")") ;;
		*) same "$(<"$task/comm")" "$(sed -n \
			's/^Cpus_allowed_list:\t*//p' "$task/status")" \
			"$(sed -n 's/^Cpus_allowed_list:\t*//p' \
				/proc/self/status)" ;;
		esac
	done
	same "vCPUs" "$(printf '%s\n' "${cpus[@]}" | sort | xargs)" \
		'vcpu0=1 vcpu1=0'
	idle_end
}

promise "RAM on hugetlbfs is of huge pages, all there from the start" \
	test_hugetlbfs
promise "the balloon gives huge pages to the pool, and takes them back" \
	test_hugetlbfs_balloon
promise "a reboot takes huge pages back from the pool" test_hugetlbfs_reset
promise "too few huge pages are an error at the start" \
	test_hugetlbfs_lacks_pages
promise "RAM in a memfd can be mapped by other processes" test_mem_file
promise "transparent huge pages are asked for, or not" test_thp
promise "RAM is marked for KSM" test_ksm
promise "RAM is bound to a NUMA node" test_numa_node
promise "vCPU threads are pinned, and others are not" test_pin
