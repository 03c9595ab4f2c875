# The machine as a guest's kernel sees it.

topology='cd /sys/devices/system/cpu
echo online=$(cat online)
echo packages=$(cat cpu*/topology/physical_package_id | sort -u | wc -l)
echo cores=$(cat cpu*/topology/core_cpus_list | sort -u | wc -l)
echo cpuinfo_cores=$(grep "cpu cores" /proc/cpuinfo | sort -u | sed "s/.*: //")
echo siblings=$(grep siblings /proc/cpuinfo | sort -u | sed "s/.*: //")
echo apicids=$(grep ^apicid /proc/cpuinfo | sort -u | wc -l)
dmesg | grep -i "firmware bug"'

test_cpus() {
	boot cloud "$topology" -c "$1"
	ended 0
	same "CPUs online" "$(value online)" "$([ "$1" = 1 ] || echo 0-)$(($1 - 1))"
	same packages "$(value packages)" 1
	same cores "$(value cores)" "$1"
	same "cpu cores" "$(value cpuinfo_cores)" "$1"
	same siblings "$(value siblings)" "$1"
	same "APIC ids" "$(value apicids)" "$1"
	says_not '[Ff]irmware [Bb]ug'
}

promise "1 CPU is one core of one package" test_cpus 1
promise "2 CPUs are two cores of one package" test_cpus 2
promise "8 CPUs are eight cores of one package" test_cpus 8

memory='echo total=$(sed -n "s/MemTotal: *\([0-9]*\) kB/\1/p" /proc/meminfo)
grep "System RAM" /proc/iomem | sed "s/^/iomem /"'

# The smallest of Debian's kernels, and not compressed, or there is no room:
# the newer ones die of too little memory in other monitors as well.
test_64m() {
	kernel=$images/bullseye/vmlinux
	boot bullseye "$memory" -m 64
	ended 0
	says 'iomem 00100000-03ffffff'
}

# All but the kernel's own 4% is there; what is above 4 GiB is what the kernel
# hands out first, to the disk's buffers too.
test_5g() {
	random 8M >disk
	boot cloud "$memory
		disks
		echo hash=\$(sha /dev/vda)" -m 5G -d disk
	ended 0
	says 'iomem 00100000-bfffffff'
	says 'iomem 100000000-17fffffff'
	[ "$(value total)" -gt $((5 * 1024 * 1024 * 96 / 100)) ] ||
		fail "MemTotal is only $(value total) KiB"
	same hash "$(value hash)" "$(sha disk)"
}

# Twice the host's RAM; what the guest has not touched costs nothing.
test_overcommit() {
	local host resident
	host=$(sed -n 's/MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
	mkfifo in
	exec 9<>in
	start cloud "$memory
		echo ready
		read -r line" -m $((host * 2 / 1024)) <in
	await '^ready'
	resident=$(sed -n 's/VmRSS:\s*\([0-9]*\) kB/\1/p' "/proc/$pid/status")
	echo >&9
	finish
	ended 0
	[ "$(value total)" -gt $((host * 2 * 95 / 100)) ] ||
		fail "MemTotal is only $(value total) KiB"
	[ "$resident" -lt $((host / 4)) ] ||
		fail "$resident KiB of the host's $host KiB are resident"
}

promise "64 MiB are enough for the previous release's cloud kernel" test_64m
promise "5 GiB are usable, above 4 GiB too" test_5g
promise "RAM may be more than the host has" test_overcommit

# A disk's interrupts arrive, whichever way they take.
disk_works='disks
echo hash=$(sha /dev/vda)
grep -E "virtio|IO-APIC" /proc/interrupts
echo cpus=$(nproc)'

irq_works() {
	random 2M >disk
	boot "$1" "$disk_works
		$2" -c 2 -d disk "${@:3}"
	ended 0
	same hash "$(value hash)" "$(sha disk)"
	same cpus "$(value cpus)" 2
}

test_msix() {
	irq_works cloud :
	says 'PCI-MSI.*virtio0'
}

test_nomsi() {
	irq_works cloud : -p pci=nomsi
	says 'IO-APIC.*virtio0'
	says_not 'PCI-MSI.*virtio'
}

# Nothing to power off with: the keyboard controller resets.
test_no_acpi() {
	kernel=$images/generic/bzImage
	irq_works generic 'dmesg | grep "MP-table"
		reboot -f' -p acpi=off
	says 'found SMP MP-table'
	says 'IO-APIC.* ttyS0|IO-APIC.* timer'
}

test_no_x2apic() {
	irq_works cloud 'dmesg | grep -i x2apic' -p nox2apic
	says_not 'x2apic enabled|Enabled x2apic'
}

test_x2apic() {
	irq_works cloud 'grep -c x2apic /proc/cpuinfo; dmesg | grep -i x2apic'
	says 'x2apic enabled|Switched APIC routing to physical x2apic|x2apic: enabled'
}

promise "disks interrupt by MSI-X" test_msix
promise "pci=nomsi: disks interrupt by IOAPIC lines" test_nomsi
promise "acpi=off: the MP table has the CPUs and the disk's interrupt" test_no_acpi
promise "the kernel uses x2APIC" test_x2apic
promise "nox2apic: the kernel uses xAPIC" test_no_x2apic

# Complaints (warning and worse) of the kernel. The software host's CPU, which
# QEMU's own guests complain of as well, is not ours to mend.
test_dmesg() {
	truncate -s 1M disk
	boot "$1" 'modprobe -a virtio_pci virtio_blk pvpanic-mmio button evdev
		sleep 1
		dmesg -r | sed -n "s/^<[0-4]>/complaint: /p"' -c 2 -d disk
	ended 0
	text | sed -n 's/^complaint: \[[^]]*\] //p' >complaints
	! grep -Ev '^Speculative Return Stack Overflow' complaints ||
		fail "the kernel complains"
}

promise "cloud kernel has no complaints about the machine" test_dmesg cloud
promise "generic kernel has no complaints about the machine" test_dmesg generic

# By way of the disk, the tables come to iasl, which also must be able to make
# the DSDT again from its own listing.
test_iasl() {
	need iasl
	truncate -s 1M disk
	boot cloud 'disks
		mkdir /tables
		cd /sys/firmware/acpi/tables
		for table in [A-Z]*; do cat $table >/tables/$table; done
		cd /tables && tar cf /dev/vda *' -c 2 -d disk
	ended 0
	mkdir tables
	tar xf disk -C tables
	cd tables
	for table in APIC DSDT FACP MCFG; do
		[ -s $table ] || fail "no table $table"
	done
	for table in *; do
		iasl -d "$table" >../log 2>&1 || fail "$table: $(tail -n 3 ../log)"
		! grep -iE 'error|warning|invalid|incorrect' ../log ||
			fail "iasl dislikes $table"
	done
	iasl -p again DSDT.dsl >../log 2>&1 || fail "$(grep -A 2 Error ../log)"
}

promise "iasl takes the ACPI tables that the guest sees" test_iasl

test_clock() {
	local before after
	before=$(date +%s)
	boot cloud 'echo rtc=$(cat /sys/class/rtc/rtc0/since_epoch)
		echo clock=$(date +%s)
		echo source=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
		hwclock -u -r >/dev/null && echo hwclock=works'
	after=$(date +%s)
	ended 0
	for time in "$(value rtc)" "$(value clock)"; do
		((before - 2 <= time && time <= after + 2)) ||
			fail "$time is not between $before and $after"
	done
	same clocksource "$(value source)" kvm-clock
	says hwclock=works
}

promise "RTC and system clock tell the host's time" test_clock
