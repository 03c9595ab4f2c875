#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# setup, sandbox, and folders as roots; tests/boot/sandbox.sh runs guests in them.

load helpers

@test "setup makes a root folder, and says where" {
	umask 077
	lkvm setup box-1.0_a
	[ "$status" = 0 ]
	[ "$out" = "$HOME/.lkvm/box-1.0_a" ]
	cd "$out"
	for folder in dev etc proc root run sys tmp usr var/lib var/tmp virt; do
		[ -d "$folder" ]
	done
	[ "$(stat -c %a tmp)" = 1777 ]
	[ "$(stat -c %a ..)" = 700 ]
	grep -q ^root: etc/passwd
	# /bin of the guest is what /bin is here.
	[ "$(readlink bin)" = "$(readlink /bin)" ]
	# No file of the host's is in it.
	[ "$(find . -type f | wc -l)" = 4 ]
}

@test "setup completes a folder, and keeps what is there" {
	lkvm setup box
	cd "$HOME/.lkvm/box"
	echo mine >etc/passwd
	echo mine >file
	rm -r tmp
	lkvm setup box
	[ "$status" = 0 ]
	[ "$(cat etc/passwd file)" = $'mine\nmine' ]
	[ -d tmp ]
}

@test "setup follows no link that a guest has put there" {
	lkvm setup box
	cd "$HOME/.lkvm/box"
	mkdir "$HOME/outside"
	rm -r var etc/hosts
	ln -s "$HOME/outside" var
	ln -s "$HOME/outside/hosts" etc/hosts
	lkvm setup box
	[ "$status" = 125 ]
	[[ $err == "lkvm: cannot set up $HOME/.lkvm/box: "* ]]
	[ -z "$(ls "$HOME/outside")" ]
	# Nor when the script goes in.
	rm var
	mv virt old
	ln -s "$HOME/outside" virt
	make_kernel "$HOME/kernel"
	echo "#!/bin/sh" >"$HOME/script"
	lkvm sandbox -d box -k "$HOME/kernel" --sandbox "$HOME/script"
	[ "$status" = 125 ]
	[[ $err == "lkvm: cannot put $HOME/script into $HOME/.lkvm/box: "* ]]
	[ -z "$(ls "$HOME/outside")" ]
}

@test "bad names of folders are refused" {
	long=$(printf '%065d' 0)
	for name in '' . .. a/b .x -x 'a b' "$long"; do
		refuses "setup: bad name '$name': use at most 64 letters, digits, '.', '_' or '-', and begin with a letter, a digit or '_'" \
			setup "$name"
	done
	refuses "setup needs a name" setup
	refuses "setup takes one name, got 'b' too" setup a b
	as=(env -u HOME)
	refuses "setup: \$HOME is not set to a folder" setup a
	as=(env HOME=relative)
	refuses "setup: \$HOME is not set to a folder" setup a
	as=()
	touch .lkvm
	refuses "cannot set up $HOME/.lkvm/a: Not a directory" setup a
}

@test "sandbox needs a command, and one root" {
	lkvm setup box
	make_kernel kernel
	mkdir folder
	echo "#!/bin/sh" >script
	refuses "sandbox: there is no command (add -- COMMAND, or --sandbox SCRIPT)" \
		sandbox -d box -k kernel
	refuses "--sandbox: there is a command already ('true')" \
		sandbox -d box -k kernel --sandbox script -- true
	refuses "--sandbox: cannot open nothing: No such file or directory" \
		sandbox -d box -k kernel --sandbox nothing
	refuses "--sandbox: folder is not a regular file" \
		run -d box -k kernel --sandbox folder
	refuses "--disk folder: the root is $HOME/.lkvm/box already" \
		run -d box -d folder -k kernel
	refuses "--disk $HOME/.lkvm/box and --root folder: there is one root" \
		sandbox -d box --root folder -k kernel -- true
	refuses "--disk: unknown key 'snapshot' (it has: dir, ro)" \
		run -d folder,snapshot -k kernel
	refuses "--disk /: the host's own root is never writable in a guest (add \",ro\")" \
		run -d / -k kernel
	as=(env -u HOME)
	refuses "sandbox: \$HOME is not set to a folder (name one with --disk DIR)" \
		sandbox -k kernel -- true
}

@test "a name is a folder of setup's, then a file, then nothing" {
	make_kernel kernel
	refuses "*disk image box*: No such file or directory*" \
		run -d box -k kernel -m 16
	truncate -s 1M box
	lkvm run --dry-run -d box -k kernel -m 16
	[[ $out == *"vda "* ]]
	lkvm setup box
	lkvm run --dry-run -d box -k kernel -m 16 -p rdinit=/x
	[[ $out != *"vda "* ]]
	# A folder is a share that the kernel mounts by itself.
	mkdir folder
	lkvm run --dry-run -d folder -k kernel -m 16
	[[ $out == *"root=/dev/root rootfstype=9p rootflags=trans=virtio,version=9p2000.L rw"* ]]
	[[ $out == *"9p0 "* ]]
	lkvm run --dry-run -d folder,ro -k kernel -m 16
	[[ $out == *"9p2000.L ro"* ]]
}

@test "a dry run of sandbox makes no folder and no script" {
	make_kernel kernel
	echo "#!/bin/sh" >script
	lkvm setup box
	before=$(snapshot)
	lkvm sandbox --dry-run -d box -k kernel -m 16 --sandbox script
	[ "$status" = 0 ]
	[ "$(snapshot)" = "$before" ]
	lkvm sandbox --dry-run -k kernel -m 16 -- true
	[ "$status" = 0 ]
	[[ $out == *"  read-write $HOME/.lkvm/default"* ]]
	[ "$(snapshot)" = "$before" ]
}

@test "list -r names the folders of setup" {
	lkvm list -r
	[ "$status" = 0 ]
	[ -z "$out" ]
	lkvm setup b
	lkvm setup a
	touch .lkvm/file
	lkvm list -r
	[ "$out" = $'a\nb' ]
	lkvm list -r --json
	[ "$(jq -c . <<<"$out")" = '["a","b"]' ]
	lkvm list -i -r
	[[ $out == NAME*$'\na\nb' ]]
	refuses "--json lists instances or root folders, not both" \
		list -i -r --json
	as=(env -u HOME)
	refuses "cannot look for root folders: No such file or directory" \
		list -r
}

@test "the user's folders lie over the host's, and there is room for both" {
	make_kernel kernel
	lkvm setup box
	lkvm sandbox --dry-run -d box -k kernel -m 16 --rw /usr/share -- true
	[ "$status" = 0 ]
	[[ $out == *"  read       /usr"$'\n'*"  read-write /usr/share"* ]]
	mkdir folder{1..14}
	lkvm sandbox --dry-run -d box -k kernel -m 16 \
		$(printf -- '--ro %s ' folder*) -- true
	[ "$status" = 0 ]
	[[ $out == *"  read       /usr"$'\n'* ]]
	[[ $out == *"/folder9"* ]]
}

# The kernel powers off at once: the command is never run.
@test "runs with a script may start at the same time in one folder" {
	need_kvm
	make_kernel kernel
	lkvm setup box
	mkdir .lkvm/box/virt/.sandbox.sh.new
	echo "#!/bin/sh" >script
	for i in {1..30}; do
		"$LKVM" sandbox -d box -k kernel -m 16 -n mode=none \
			--sandbox script >/dev/null 2>"err$i" &
	done
	wait
	run -1 grep -h "cannot put" err*
	rmdir .lkvm/box/virt/.sandbox.sh.new
	[ "$(ls -A .lkvm/box/virt)" = sandbox.sh ]
	# What cannot take its place goes.
	rm .lkvm/box/virt/sandbox.sh
	mkdir .lkvm/box/virt/sandbox.sh
	lkvm sandbox -d box -k kernel -m 16 --sandbox script
	[ "$status" = 125 ]
	[[ $err == "lkvm: cannot put "*": Is a directory" ]]
	[ "$(ls -A .lkvm/box/virt)" = sandbox.sh ]
}

@test "a script that the guest does not see is refused" {
	make_kernel kernel
	lkvm setup box
	mkdir folder scripts
	echo "#!/bin/sh" >scripts/script
	refuses "--sandbox: $HOME/scripts/script is not in the guest, whose root is $HOME/.lkvm/box (add its folder with --ro)" \
		sandbox -d box,ro -k kernel -m 16 --sandbox scripts/script
	refuses "--sandbox: $HOME/scripts/script is not in the guest, whose root is folder (add its folder with --ro)" \
		run --root folder -k kernel -m 16 --sandbox scripts/script
	lkvm sandbox --dry-run -d box,ro -k kernel -m 16 \
		--sandbox scripts/script --ro scripts
	[ "$status" = 0 ]
	cp -r --parents "$HOME/scripts" folder
	lkvm run --dry-run --root folder -k kernel -m 16 \
		--sandbox scripts/script
	[ "$status" = 0 ]
}
