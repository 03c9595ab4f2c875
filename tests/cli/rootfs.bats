# SPDX-License-Identifier: GPL-2.0
# What --root, --ro, --rw and --modules refuse.

load helpers

# A kernel that says it is Linux 6.1-test.
make_linux() {
	make_kernel "$1"
	poke "$1" $((0x20e)) '\x80\x01' # kernel_version, from 0x200 on
	poke "$1" $((0x380)) '6.1-test (a@b) #1\x00'
}

@test "the host's root is never writable" {
	make_linux kernel
	ln -s / slash
	for name in / /usr/.. slash; do
		refuses "--rw $name: the host's own root is never writable in a guest (name a folder below it)" \
			run -k kernel --rw "$name" -- true
		refuses "--root $name: the host's own root is never writable in a guest (name a folder below it)" \
			run -k kernel --root "$name,rw" -- true
	done
}

@test "a folder cannot stand where the root is" {
	make_linux kernel
	refuses "--ro /: that is where the root is (see --root)" \
		run -k kernel --ro / -- true
}

@test "a root or folder that is not there is refused" {
	make_linux kernel
	echo text >file
	refuses "--root no/such: No such file or directory" \
		run -k kernel --root no/such -- true
	refuses "--ro no/such: No such file or directory" \
		run -k kernel --ro no/such
	refuses "--rw file: Not a directory" run -k kernel --rw file -- true
	refuses "--root file: no file system that is known (name it with \",type=ext4\", for example)" \
		run -k kernel --root file -- true
	refuses '--root .: ",type=" is for images' \
		run -k kernel --root .,type=ext4 -- true
	refuses "--root: *" run -k kernel --root .,nosuch=1 -- true
	refuses "--root: *" run -k kernel --root= -- true
}

@test "images that can only be read are refused with rw" {
	make_linux kernel
	truncate -s 64K image
	poke image 0 hsqs
	refuses '--root image: squashfs can only be read (leave out ",rw")' \
		run -k kernel --root image,rw -- true
}

@test "more folders than there is room for are refused" {
	make_linux kernel
	refuses "--ro: there can be no more than 14 folders" \
		run -k kernel $(printf -- '--ro . %.0s' {1..15}) -- true
}

@test "modules that are not there are refused" {
	make_linux kernel
	mkdir -p empty ours/6.1-test
	refuses "--modules empty: no modules of kernel kernel there: neither empty/6.1-test nor the folder itself has a modules.dep (see depmod)" \
		run -k kernel --modules empty -- true
	refuses "--modules no/such: no modules of kernel kernel there: *" \
		run -k kernel --modules no/such -- true
	refuses "--modules: there is no command (add -- COMMAND)" \
		run -k kernel --nodefaults --modules ours
	echo kernel/drivers/virtio_pci.ko: >ours/6.1-test/modules.dep
	refuses "cannot use module *ours/6.1-test/kernel/drivers/virtio_pci.ko: No such file or directory" \
		run -k kernel -i kernel --modules ours -- true
}

@test "a kernel without 9P cannot share to write" {
	make_linux kernel
	mkdir -p lib/modules/6.1-test folder
	: >lib/modules/6.1-test/modules.dep
	refuses "--rw folder: kernel kernel does not have 9P (CONFIG_NET_9P_VIRTIO, CONFIG_9P_FS)" \
		run -k kernel -i kernel --rw folder -- true
	refuses "kernel kernel has neither 9P (CONFIG_NET_9P_VIRTIO, CONFIG_9P_FS) nor erofs nor squashfs for *folder" \
		run -k kernel --root folder -- true
}

@test "a kernel without overlayfs has no throw-away root" {
	make_linux kernel
	mkdir -p lib/modules/6.1-test
	printf 'a/9p.ko:\na/9pnet_virtio.ko:\n' >lib/modules/6.1-test/modules.dep
	refuses "kernel kernel does not have overlayfs (CONFIG_OVERLAY_FS), which takes what is written to a root that can only be read" \
		run -k kernel -- true
}

@test "a kernel that is no Linux gets no root by itself" {
	need_kvm
	make_kernel kernel
	lkvm run -k kernel -m 16
	[ "$status" = 0 ]
	[ "$out" = K ]
	# Nor does one with a command line that says what to do.
	make_linux kernel
	lkvm run -k kernel -m 16 -p init=/bin/sh
	[ "$out" = K ]
	lkvm run -k kernel -m 16 --nodefaults
	[ "$out" = K ]
}

@test "--root takes no other option's file" {
	need_kvm
	make_linux kernel
	lkvm run -k kernel -m 16 --events fd:5 --root . -- true 5>events
	grep -q '"END"' events
}

@test "a killed run leaves no image under way, nor who makes it" {
	command -v mkfs.erofs >/dev/null || PATH=$PATH:/usr/sbin
	command -v mkfs.erofs >/dev/null || skip "tools: no mkfs.erofs"
	make_linux kernel
	mkdir -p lib/modules/6.1-test folder home
	printf 'a/%s.ko:\n' erofs overlay virtio_blk \
		>lib/modules/6.1-test/modules.dep
	truncate -s 3G folder/file
	HOME=$scratch/home "$LKVM" run "${network[@]}" -k kernel -m 16 \
		--root folder -- true 2>err 3>&- &
	until pgrep -P $! >tool; do
		[ -d "/proc/$!" ]
		sleep 0.01
	done
	kill -KILL $!
	wait $! || true
	# The signal comes with its parent's end.
	for i in {1..50}; do
		[ -d "/proc/$(<tool)" ] || break
		sleep 0.1
	done
	run ! ps -o pid= -p "$(<tool)"
	[ -z "$(find home -type f)" ]
}
