# What --dry-run says of a machine is what the guest of that machine finds.

# Lines that both sides write in one form.
guest_machine='modprobe -a virtio_pci virtio_mmio virtio_blk virtio_rng 2>/dev/null
modprobe virtio_balloon
line() {
	cat /sys/kernel/irq/$(cat irq)/hwirq
}
sed -n "s/^\([0-9a-f]*\)-\([0-9a-f]*\) : System RAM/guest ram \1 \2/p" /proc/iomem
for tty in 0 1 2 3; do
	cd /sys/class/tty/ttyS$tty
	echo "guest tty $tty $(cat port) $(line)"
done
for device in /sys/bus/pci/devices/*; do
	cd $device
	while read -r base end flags; do
		[ "$end" = 0x0000000000000000 ] || break
	done <resource
	[ "$(cat irq)" = 0 ] ||
		echo "guest pci ${device##*/0000:} $base $end irq $(line)"
done
grep "LNRO\|virtio-mmio" /proc/iomem | sed -n "s/^ *\([0-9a-f]*\)-\([0-9a-f]*\) : [^ ]*:.*/guest mmio \1 \2/p"
sed -n "s/^ *[0-9]*: .* IO-APIC *\([0-9]*\)-[^ ]* *virtio\([0-9]*\)\$/guest line \2 \1/p" /proc/interrupts
echo "guest cmdline $(cat /proc/cmdline)"'

dry() {
	jq -r "$1" machine | sort
}

# Sets dry run and guest of the same command line side by side.
dry_and_real() {
	truncate -s 1M disk disk2
	start cloud "$guest_machine" -d disk -d disk2,ro --rng --balloon "$@"
	"${command[@]}" --dry-run --json >machine
	finish
	ended 0
	text | sed -n 's/^guest //p' | sort >guest
}

# The lines of the guest that begin with a word.
of_guest() {
	sed -n "s/^$1 //p" guest | sort -u
}

hex='def digits: if . < 16 then "0123456789abcdef"[.:. + 1]
	else (. / 16 | floor | digits) + (. % 16 | digits) end;
def hex(n): digits | until(length >= n; "0" + .);
def span(n): "\(.base | hex(n)) \(.base + .size - 1 | hex(n))";
'

test_dry_pci() {
	dry_and_real -m 4G
	same RAM "$(of_guest ram | sed '/^00001000/s/00001000/00000000/' |
		tr '\n' ,)" "$(dry "$hex"'.["memory-map"][] |
			select(.kind == "ram") | span(8)' | tr '\n' ,)"
	same ports "$(of_guest tty | tr 'A-F' 'a-f' | tr '\n' ,)" \
		"$(dry "$hex"'.devices[] | select(.type == "serial") |
			"\(.name[6:]) 0x\(.regions[0].base | hex(0)) \(.gsi)"' |
			tr '\n' ,)"
	[ "$(of_guest pci | grep -c .)" = 4 ] || fail "$(cat guest)"
	same functions "$(of_guest pci | tr '\n' ,)" \
		"$(dry "$hex"'.devices[] | select(.transport == "pci") |
			select(.gsi) | .address + " " + (.regions[0] |
			"0x\(.base | hex(16)) 0x\(.base + .size - 1 | hex(16))")
			+ " irq \(.gsi)"' | tr '\n' ,)"
	same "command line" "$(of_guest cmdline)" "$(dry .cmdline)"
}

test_dry_mmio() {
	dry_and_real --virtio-transport mmio
	[ "$(of_guest mmio | grep -c .)" = 4 ] || fail "$(cat guest)"
	same places "$(of_guest mmio | tr '\n' ,)" \
		"$(dry "$hex"'.devices[] | select(.transport == "mmio") |
			.regions[0] | span(8)' | tr '\n' ,)"
	same lines "$(of_guest line | cut -d ' ' -f 2 | tr '\n' ,)" \
		"$(dry '.devices[] | select(.transport == "mmio").gsi' |
			tr '\n' ,)"
}

promise "a dry run tells the addresses and interrupts that a guest finds" \
	test_dry_pci
promise "a dry run tells where a guest finds virtio-mmio devices" test_dry_mmio
