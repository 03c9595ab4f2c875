# The root of a command: the host's, a folder or an image, by 9P or without,
# and the folders that come along.

# outside: goes to a folder that a guest with the host's root sees too; /dev is
# its own.
outside() {
	outside=$(mktemp -d /var/tmp/lkvm-test.XXXXXX)
	trap 'rm -rf "$outside"' EXIT
	ln -s "$PWD/out" "$PWD/errors" "$outside"
	cd "$outside"
}

# with_root TARGET [OPTION...] -- COMMAND: runs that with the root that the
# options ask for, on that kernel, whose modules are beside it; sets $status.
with_root() {
	need_image "$1"
	# An image of a build that is older has none there.
	[ -d "$images/$1/lib/modules" ] || skip "needs new guest images"
	export XDG_CACHE_HOME=$PWD/cache
	status=0
	# shellcheck disable=SC2086 # it may be several words
	$lkvm run -k "$(kernel_of "$1")" -m 512 -c 1 "${network[@]}" \
		"${@:2}" >out 2>errors || status=$?
}

# small_root: a folder with busybox in it, to be a root.
small_root() {
	mkdir -p small/bin small/old
	cp "$images/generic/root/bin/busybox" small/bin/
	ln -s busybox small/bin/sh
	ln -s busybox small/bin/cat
	ln -s busybox small/bin/mount
	echo original >small/old/file
}

# What each root shows, and what it does with what is written.
look='cat /old/file && echo changed >/old/file && cat /old/file &&
	echo new >/new && cat /new && exit 9'
seen='original
changed
new'

looked() {
	ended 9
	same output "$(<out)" "$seen"
}

# untouched: all of that has vanished.
untouched() {
	looked
	same "the host's file" "$(<small/old/file)" original
	[ ! -e small/new ] || fail "the host has the new file"
}

test_root_of_host() {
	outside
	echo "on the host" >file
	with_root generic -k "$images/generic/bzImage" -- \
		sh -c 'cat file; rm file; echo guest >other
		touch /etc/lkvm-was-here && ls /etc/lkvm-was-here
		uname -r; grep " / " /proc/mounts; exit 7'
	ended 7
	same "the host's file" "$(<file)" "on the host"
	[ ! -e other ] || fail "the host has the guest's file"
	[ ! -e /etc/lkvm-was-here ] || fail "the host has the guest's file"
	[[ $(<out) == "on the host
/etc/lkvm-was-here
$(<"$images/generic/version")
"*" / overlay "* ]] || fail "the command says: $(<out)"
	[ ! -s errors ] || fail "something was said"
}

test_root_shell() {
	outside
	SHELL=/bin/sh with_root generic <<<'echo "$0 in $PWD"; exit 5'
	ended 5
	same output "$(<out)" "/bin/sh in $PWD"
}

test_root_shares() {
	outside
	mkdir ro rw
	echo ro >ro/file
	echo rw >rw/file
	ln -s rw link
	with_root generic --ro ro --rw link -- sh -c 'cat ro/file rw/file
		echo guest >rw/file; mkdir rw/dir; echo guest >ro/file; rm ro/file
		mv rw/dir rw/moved; exit 4'
	ended 4
	same output "$(<out)" "ro
rw"
	same "the file to read" "$(<ro/file)" ro
	same "the file to write" "$(<rw/file)" guest
	[ -d rw/moved ] || fail "the folder is not there"
	grep -q 'ro/file: Read-only file system' errors ||
		fail "ro/file could be written"
}

test_root_folder() {
	small_root
	with_root generic --root small -- sh -c "$look"
	untouched
	with_root generic --root small,rw -- sh -c "$look"
	looked
	same "the host's file" "$(<small/old/file)" changed
	same "the new file" "$(<small/new)" new
}

# test_root_image TARGET TYPE OF-IMAGE
test_root_image() {
	need mkfs.erofs mksquashfs
	small_root
	case $2 in
	erofs) mkfs.erofs image small >log ;;
	squashfs) mksquashfs small image -no-progress >log ;;
	ext4) mke2fs -q -t ext4 -d small image 16M ;;
	esac
	sha image >sum
	with_root "$1" --root image -- sh -c "$look"
	looked
	same image "$(sha image)" "$(<sum)"
	if [ "$2" = ext4 ]; then
		with_root "$1" --root image,rw -- sh -c "$look"
		looked
		e2fsck -fn image >log || fail "e2fsck: $(<log)"
		same "the new file" "$(debugfs -R 'cat /new' image 2>log)" new
	fi
}

# Who is killed with the command still has a file when that has ended.
test_root_left_clean() {
	small_root
	mke2fs -q -t ext4 -d small image 64M
	with_root generic --root image,rw -- sh -c '
		busybox dd if=/dev/zero of=/dev/null bs=200M 3>/new &
		busybox sleep 2; exit 9'
	ended 9
	dumpe2fs -h image >log 2>&1
	! grep -q needs_recovery log || fail "it was not unmounted"
}

# The cloud kernel has no 9P.
test_root_without_9p() {
	need mkfs.erofs
	small_root
	with_root cloud --root small -- sh -c "$look"
	untouched
	grep -q 'the kernel has no 9P: making an erofs image of .*/small' errors ||
		fail "the image was not announced"
	# A second time it is there, and a folder comes the same way.
	# (Not ": >file", whose failure ends a shell.)
	with_root cloud --root small --ro small/old -- sh -c "cd $PWD/small/old
		cat file; echo changed >file || exit 3"
	ended 3
	same output "$(<out)" original
	grep 'image of' errors | grep -q 'image of .*small/old' ||
		fail "no image of the folder"
	[ "$(grep -c 'image of' errors)" = 1 ] || fail "the first one is made anew"
	with_root cloud --root small --rw small -- true
	ended 125
	grep -q 'does not have 9P (CONFIG_NET_9P_VIRTIO' errors ||
		fail "it was not said why"
}

# A guest caches names, and each keeps a handle: more than lkvm may have.
test_root_many_files() {
	need setpriv
	outside
	mkdir many
	(cd many && seq 7000 | xargs touch)
	ulimit -n 6000
	lkvm="setpriv --bounding-set=-sys_resource $lkvm"
	with_root generic -- sh -c 'ls -l many >list && wc -l <list'
	ended 0
	same lines "$(<out)" 7001
	[ ! -s errors ] || fail "something was said"
}

# As other distributions have them.
test_root_packed_modules() {
	need_image generic
	[ -d "$images/generic/lib/modules" ] || skip "needs new guest images"
	need xz zstd gzip
	cp -r "$images/generic/root/lib/modules" .
	local n=0 file end
	for file in $(find modules -name '*.ko'); do
		case $((n++ % 3)) in
		0) end=xz && xz --check=crc32 "$file" ;;
		1) end=zst && zstd -q --rm "$file" ;;
		2) end=gz && gzip "$file" ;;
		esac
		file=${file#modules/*/}
		sed -i "s|${file//./\\.}|$file.$end|g" modules/*/modules.dep
	done
	grep -q '9p.ko.[a-z]*:' modules/*/modules.dep || fail "no list"
	with_root generic --modules modules -- sh -c 'exit 6'
	ended 6
	[ ! -s errors ] || fail "something was said"
}

# Half of what lkvm is made of would be read; the whole takes long.
test_root_make() {
	[[ -e $top/build/obj/core/util.o && -e $top/build/tests/unit/test-util ]] ||
		skip "needs a build"
	need make gcc
	with_root generic -m 1024 -c 2 --cwd "$top" -- sh -ec '
		if [ "$1" = 1 ]; then
			make clean
		else
			touch core/util.c
		fi
		make -j2
		build/lkvm version
		if [ "$1" = 1 ]; then
			make -j2 tests
			tests/run unit
		else
			build/tests/unit/test-util && build/tests/unit/test-options
		fi' sh "${LKVM_LONG:-}"
	ended 0
	grep -q 'CC *core/util.c' out || fail "nothing was built"
	grep -Fqx "$("$lkvm" version)" out || fail "what was built does not run"
}

promise "-- COMMAND has the host's root, and what it writes there vanishes" \
	test_root_of_host
promise "no command: a shell in the host's root runs what stdin says" \
	test_root_shell
promise "--ro and --rw: the folders are there, one to read, one to write" \
	test_root_shares
promise "--root DIR: the folder is the root, and changes only with rw" \
	test_root_folder
promise "--root IMAGE: erofs" test_root_image generic erofs
promise "--root IMAGE: squashfs, on the cloud kernel" test_root_image cloud squashfs
promise "--root IMAGE: ext4 is clean when the command has ended" \
	test_root_left_clean
promise "--root IMAGE: ext4, changed only with rw" test_root_image cloud ext4
promise "without 9P folders come in images, which are made once" \
	test_root_without_9p
promise "more files are looked at than lkvm has handles for" test_root_many_files
promise "modules come packed by xz, zstd and gzip" test_root_packed_modules
promise "make -j2 of lkvm in its own guest, and unit tests" test_root_make
