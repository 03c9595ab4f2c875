# Which kernels boot, and by which entry.

# The kernel itself notes 0xb0 when it came by the PVH entry; otherwise the
# boot loader's type that boot_params gave.
hello='echo entry=$(cat /proc/sys/kernel/bootloader_type)
echo release=$(uname -r)'
by_pvh=176 by_boot_params=255

boots_by() {
	local target=$1 entry=$2
	boot "$target" "$hello" "${@:3}"
	ended 0
	same release "$(value release)" "$(<"$images/$target/version")"
	same entry "$(value entry)" "$entry"
}

test_bzimage() {
	kernel=$images/$1/bzImage
	boots_by "$1" $by_boot_params "${@:2}"
}

test_pvh() {
	kernel=$images/$1/vmlinux
	boots_by "$1" $by_pvh
}

# The PVH note is type 18 (0x12) of the name "Xen"; make it another's.
test_elf64() {
	local at note='\x04\0{3}\x08\0{3}\x12\0{3}Xen\0'
	need_image cloud
	kernel=vmlinux
	cp "$images/cloud/vmlinux" vmlinux
	at=$(grep -obUaP "$note" vmlinux | head -n 1 | cut -d : -f 1)
	printf Y | dd of=vmlinux bs=1 seek=$((at + 12)) conv=notrunc status=none
	boots_by cloud $by_boot_params
}

# Bit 0 of xloadflags, XLF_KERNEL_64, off.
test_entry32() {
	local flags
	need_image cloud
	kernel=bzImage
	cp "$images/cloud/bzImage" bzImage
	flags=$(od -An -tu1 -j $((0x236)) -N 1 bzImage)
	((flags & 1)) || fail "the kernel has no 64-bit entry to hide"
	printf "\\x$(printf %x $((flags & ~1)))" |
		dd of=bzImage bs=1 seek=$((0x236)) conv=notrunc status=none
	boots_by cloud $by_boot_params
}

# Without an initrd: the software host's QEMU dies of a 32-bit kernel's first
# user-mode instruction. The panic comes after all that a machine is asked for,
# and its text on the console is how lkvm knows of it: this kernel has no pvpanic.
test_i686() {
	need_image i686
	status=0
	"$lkvm" run --nodefaults -n mode=none -k "$images/i686/bzImage" -m 256 -c "$1" \
		-p "console=ttyS0 panic=-1" >console 2>errors || status=$?
	ended 255
	says "Linux version $(<"$images/i686/version")"
	says 'BIOS-e820: \[mem 0x0*100000-0x0*fffffff\] usable'
	says "smp: Brought up 1 node, $1 CPU"
	says 'Unable to mount root fs on unknown-block\(0,0\)'
	says_not '(Firmware Bug|ACPI) (Error|Warning)'
}

# It draws a screen with the memory's size, and goes on until it is stopped.
test_memtest() {
	need_image memtest
	"$lkvm" run --nodefaults -n mode=none -k "$images/memtest/bzImage" -m 16 -c 1 \
		-p console=ttyS0 --grace 0 >console 2>errors &
	pid=$!
	await 'Memtest86\+ v'
	await 'Memory  : +16MB'
	await 'Status: Testing'
	kill "$pid"
	finish
	ended 143
}

promise "cloud kernel boots as bzImage" test_bzimage cloud
promise "generic kernel boots as bzImage" test_bzimage generic
promise "cloud kernel boots as vmlinux by its PVH note" test_pvh cloud
promise "generic kernel boots as vmlinux by its PVH note" test_pvh generic
promise "vmlinux without a PVH note boots by its 64-bit entry" test_elf64
promise "bzImage without XLF_KERNEL_64 boots by its 32-bit entry" test_entry32
promise "686 kernel boots by its 32-bit entry with 1 CPU" test_i686 1
promise "686 kernel boots by its 32-bit entry with 2 CPUs" test_i686 2
promise "the previous release's cloud kernel boots as bzImage" \
	test_bzimage bullseye
promise "the next release's cloud kernel boots as bzImage" test_bzimage trixie
promise "the next release's cloud kernel boots by its PVH note" test_pvh trixie
promise "memtest86+ runs in 16 MiB" test_memtest
