# Shared folders: what the guest sees and does in one is what the host sees and
# does, and nothing outside of it.

# In the guest: share TAG FOLDER [OPTIONS] mounts one.
with_shares='modprobe -a virtio_pci 9pnet_virtio 9p
	share() {
		mkdir -p "$2"
		mount -t 9p -o "trans=virtio,version=9p2000.L,msize=262144${3:+,$3}" \
			"$1" "$2"
	}
'

# shares SCRIPT [OPTION...]: sets what prepare, start and boot take; the guest
# has tools, as t, and the first folder at t's /mnt. What fails is said.
# (A shell for git and make, and a place for it: tools.img is read-only.)
shares() {
	need_image tools
	args=(generic "$with_tools$with_shares
		failed() { echo \"failed: \$*\"; }
		mkdir /rw
		mount -t tmpfs rw /rw
		mkdir /rw/upper /rw/work
		modprobe overlay
		mount -t overlay -o lowerdir=/newroot,upperdir=/rw/upper,workdir=/rw/work \
			overlay /newroot
		for dir in dev proc sys; do
			mount -o bind /\$dir /newroot/\$dir
		done
		cp /bin/busybox /newroot/bin
		ln -s busybox /newroot/bin/mkdir
		ln -s bash /newroot/bin/sh
		for name in upload receive; do
			ln -s git /newroot/bin/git-\$name-pack
		done
		share kvm_9p /newroot/mnt || failed mount
		cd /newroot/mnt
		$1
		cd /" -m 512 -d "$images/tools/tools.img,ro" "${@:2}")
}

# interactive: the guest reads its standard input from descriptor 3.
interactive() {
	mkfifo stdin
	exec 3<>stdin
}

test_share() {
	mkdir folder
	random 5M >folder/host
	boot generic "$with_shares
		share kvm_9p /mnt || echo failed
		echo host=\$(sha /mnt/host)
		head -c 3000000 /dev/urandom >/mnt/guest
		echo guest=\$(sha /mnt/guest)
		mount | grep ' /mnt '
		umount /mnt" --9p folder --stats
	ended 0
	says_not '^failed'
	same "the host's file" "$(value host)" "$(sha folder/host)"
	same "the guest's file" "$(value guest)" "$(sha folder/guest)"
	grep -qE '^9p0 +written-bytes +3000000' errors || fail "no counters"
}

# What programs do: git, make, sqlite with its locks; then the host's programs
# look at it.
test_programs() {
	need git sqlite3
	mkdir folder
	git init -q --bare folder/origin.git
	git init -q work
	(cd work && random 300K >data && mkdir -p a/b && echo text >a/b/c &&
		ln -s a/b/c link && git add . &&
		git -c user.name=n -c user.email=e commit -qm one &&
		git push -q ../folder/origin.git HEAD:master)
	git -C folder/origin.git symbolic-ref HEAD refs/heads/master
	printf '%s\n' 'all: sums' 'SRC := $(wildcard src/*)' \
		'obj/%: src/%' '	mkdir -p obj && sha256sum $< >$@' \
		'sums: $(SRC:src/%=obj/%)' '	cat $^ >$@' >folder/Makefile
	mkdir folder/src
	for ((i = 0; i < 8; i++)); do
		random 2000 >folder/src/$i
	done
	shares '
		export HOME=/mnt/home GIT_CONFIG_COUNT=1
		export GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0="*"
		mkdir home
		t git clone -q /mnt/origin.git /mnt/clone || failed clone
		echo more >clone/more
		t git -C /mnt/clone add more &&
		t git -C /mnt/clone -c user.name=n -c user.email=e commit -qm two &&
		t git -C /mnt/clone push -q origin HEAD:master || failed push
		t git -C /mnt/clone fsck --strict || failed fsck
		t make -s -C /mnt || failed make
		t make -q -C /mnt || failed "make is not done"
		db="t sqlite3 /mnt/db"
		$db "create table t (k integer primary key, v blob);" || failed sqlite
		for i in 1 2 3 4; do
			$db "pragma busy_timeout=60000; begin immediate;
				insert into t (v) select randomblob(500) from
				generate_series(1, 200); commit;" >/dev/null || failed insert $i &
		done
		wait
		$db "delete from t where k % 3 = 0; vacuum;" || failed delete
		echo rows=$($db "select count(*) from t;")
		echo check=$($db "pragma integrity_check;")
	' --9p folder
	boot "${args[@]}"
	ended 0
	says_not '^failed'
	git config --global --add safe.directory '*'
	git -C folder/origin.git fsck --strict || fail "the host's fsck"
	same commits "$(git -C folder/origin.git log --format=%s master | xargs)" \
		"two one"
	same status "$(git -C folder/clone status --porcelain)" ""
	(cd folder && sha256sum --quiet -c sums) || fail "make's sums"
	same check "$(value check)" ok
	same rows "$(value rows)" 534
	same "the host's rows" "$(sqlite3 folder/db 'select count(*) from t')" 534
	same "the host's check" "$(sqlite3 folder/db 'pragma integrity_check')" ok
}

# test_stress STRESSOR...
test_stress() {
	mkdir folder
	shares "
		for s in $*; do
			t stress-ng --temp-path /mnt --\$s 1 --timeout 1 --verify \
				--hdd-bytes 4m --seek-size 4m --sync-file-bytes 4m \
				--dentries 100 --dir-dirs 64 >/log 2>&1 || {
				failed \$s
				cat /log
			}
		done
		echo left=\$(ls -A | wc -l)
	" --9p folder
	boot "${args[@]}"
	ended 0
	says_not '^failed'
	same "what is left" "$(value left)" 0
	same "what is left on the host" "$(ls -A folder)" ""
}

# A tree's names, kinds, modes, sizes, links and contents, as lines.
with_tree='tree() {
		(cd $1 && find . -type d -exec stat -c "%n %A" {} + &&
			find . ! -type d -exec stat -c "%n %A %s %h" {} + &&
			find . -type l -exec readlink {} \; &&
			find . -type f -exec sha256sum {} +) | sort
	}
'

test_tree() {
	mkdir folder
	shares "$with_tree"'
		RANDOM=7 n=0
		pick() { eval $1=d$((RANDOM % 4))/e$((RANDOM % 3))/f$((RANDOM % 6)); }
		for i in 0 1 2 3; do
			mkdir -p d$i/e0 d$i/e1 d$i/e2
		done
		while [ $n -lt 200 ]; do
			n=$((n + 1))
			some=$RANDOM
			pick a
			pick b
			[ -p $a ] && continue
			case $((some % 12)) in
			0 | 1) head -c $some /dev/urandom >$a ;;
			2) echo $n >>$a ;;
			3) mv -f $a $b ;;
			4) ln $a $b ;;
			5) ln -s ../$b $a ;;
			6) rm -rf $a ;;
			7) chmod $((400 + some / 12 % 3 * 100 + some / 36 % 8 * 10 + some % 8)) $a ;;
			8) mkdir $a ;;
			9) mkfifo $a ;;
			10) dd if=/dev/urandom of=$a bs=100 count=3 \
				seek=$((some / 12)) conv=notrunc ;;
			11) truncate -s $some $a ;;
			esac >/dev/null 2>&1
		done
		tree . >/tree
		cp /tree guest-tree
		mkdir big
		long=$(head -c 200 /dev/zero | tr "\0" n)
		# More than one message holds.
		(cd big && seq -w 500 | sed "s/^/$long/" | xargs touch)
		echo big=$(ls big | wc -l)
		rm -rf big/* || failed "rm"
		echo left=$(ls big | wc -l)
	' --9p folder
	boot "${args[@]}"
	ended 0
	says_not '^failed'
	same "entries of a large folder" "$(value big)" 500
	same "entries after rm" "$(value left)" 0
	rmdir folder/big
	mv folder/guest-tree .
	[ "$(wc -l <guest-tree)" -gt 30 ] || fail "a small tree"
	eval "$with_tree"
	tree folder >tree
	diff guest-tree tree || fail "the trees differ"
}

# What the guest makes and names never leads out of the folder.
test_confined() {
	mkdir -p folder/inside
	echo secret >outside
	mkdir secrets
	echo secret >secrets/file
	echo inside >folder/inside/file
	ln -s ../outside folder/host-link
	ln -s "$PWD/secrets" folder/host-dir
	mkfifo folder/fifo
	mknod folder/null c 1 3 || skip "needs root"
	shares '
		ln -s "$(cat /newroot/mnt/path)" out
		ln -s ../outside up
		ln -s ../../../../../../../../../etc etc
		for file in out up host-link host-dir/file etc/passwd; do
			# The guest follows links to files of its own.
			cat $file 2>/dev/null
			(echo bad >>$file) 2>/dev/null
		done
		ls host-dir/ && echo "listed"
		# The folder that is being read becomes a link.
		mkdir dir
		echo x >dir/file
		cd dir
		mv ../dir ../moved
		ln -s .. ../dir
		cat ../moved/file
		cd ..
		mknod sda b 8 0 && echo "made a device"
		mknod zero c 1 5 && echo "made a device"
		head -c 1 null >/dev/null 2>&1
		chmod 4755 inside/file
		t setfattr -n trusted.x -v 1 inside/file 2>/dev/null &&
			echo "set trusted"
		t setfattr -n security.x -v 1 inside/file 2>/dev/null &&
			echo "set security"
		echo done
	' --9p folder
	echo "$PWD/outside" >folder/path
	boot "${args[@]}"
	ended 0
	says '^done'
	says_not '^(secret|listed|made a device|set )'
	same outside "$(cat outside)" secret
	same "outside's folder" "$(ls secrets)" file
	[ ! -u folder/inside/file ] || fail "a set-user-ID bit on the host"
	[ ! -e folder/sda ] && [ ! -e folder/zero ] || fail "a device"
}

test_9p_read_only() {
	local before
	mkdir -p folder/dir
	echo text >folder/file
	before=$(find folder -printf '%p %m %s %T@ %C@\n' | sort)
	shares '
		cat file
		echo x 2>/dev/null >>file && echo changed
		for c in "touch new" "rm file" "mv file other" "mkdir new" \
			"rmdir dir" "ln file new" "ln -s x new" \
			"mkfifo new" "chmod 600 file" "chown 1:1 file" \
			"truncate -s 0 file" "touch -d 2001-01-01 file" \
			"t setfattr -n user.x -v 1 /mnt/file"; do
			$c 2>/dev/null && echo "changed: $c"
		done
		echo done
	' --9p folder,ro
	boot "${args[@]}"
	ended 0
	says '^text'
	says '^done'
	says_not '^changed'
	same "the folder" \
		"$(find folder -printf '%p %m %s %T@ %C@\n' | sort)" "$before"
}

# with_attributes: the folder disk has user attributes; tmpfs may not.
with_attributes() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	need mke2fs
	load loop crc32c_generic ext4
	truncate -s 32M image
	mke2fs -q -t ext4 -b 4096 image
	mkdir disk
	mount -o loop image disk || skip "needs ext4 on a loop device"
	trap 'umount -l disk' EXIT
}

# Owners and modes in attributes of a file system that has them.
test_mapped() {
	with_attributes
	mkdir disk/folder
	echo text >disk/folder/plain
	shares '
		echo x >file
		chown 1234:5678 file
		chmod 4755 file
		mkdir -m 1777 dir
		ln -s file link
		chown -h 12:34 link || failed "chown of a link"
		mkfifo fifo
		stat -c "%n %u:%g %a" file dir plain
		t getfattr -d -m - /mnt/file
		t setfattr -n user.mine -v 1 /mnt/file || failed setfattr
		t getfattr -d -m - /mnt/file
		t setfattr -n user.virtfs.uid -v 1 /mnt/file 2>/dev/null &&
			failed "set an owner by its attribute"
		true
	' --9p disk/folder,security=mapped
	boot "${args[@]}"
	ended 0
	says_not '^failed'
	says '^file 1234:5678 4755'
	says '^dir 0:0 1777'
	says "^plain $(stat -c '%u:%g %a' disk/folder/plain)"
	says_not virtfs
	says '^user.mine="1"'
	same "the host's view" "$(stat -c '%u:%g %a' disk/folder/file)" \
		"$(id -u):$(id -g) 600"
	same "the attribute" "$(getfattr --only-values -n user.virtfs.uid \
		disk/folder/file | od -An -tu4 | tr -d ' ')" 1234
}

test_mapped_needs_attributes() {
	local status=0
	"$lkvm" run -n mode=none -k "$images/generic/bzImage" --9p /proc,security=mapped \
		>out 2>&1 || status=$?
	same status "$status" 125
	grep -q 'has no user attributes' out || fail "$(cat out)"
}

test_xattrs() {
	with_attributes
	mkdir disk/folder
	echo text >disk/folder/file
	setfattr -n user.host -v hello disk/folder/file
	shares '
		t getfattr -d /mnt/file
		t setfattr -n user.guest -v world /mnt/file || failed set
		t setfattr -n user.big -v \
			$(head -c 2000 /dev/zero | tr "\0" x) /mnt/file ||
			failed big
		t setfattr -n user.gone -v 1 /mnt/file || failed gone
		t setfattr -x user.gone /mnt/file || failed remove
		t getfattr -n user.gone /mnt/file 2>/dev/null && failed "is there"
		true
	' --9p disk/folder
	boot "${args[@]}"
	ended 0
	says_not '^failed'
	says '^user.host="hello"'
	same "the guest's" \
		"$(getfattr --only-values -n user.guest disk/folder/file)" world
	same "the big one" "$(getfattr --only-values -n user.big \
		disk/folder/file | wc -c)" 2000
	same "all" "$(getfattr -d disk/folder/file | grep -c ^user)" 3
}

# Locks of both kinds, both ways; and what the host moves into the folder is
# there within a second.
test_host() {
	mkdir folder
	touch folder/file
	interactive
	shares '
		exec 3<&0
		read -r line
		t flock -n -x /mnt/file /bin/busybox true && failed "two locks"
		echo refused
		read -r line
		t flock -x -w 90 /mnt/file /bin/busybox sh -c "
			/bin/busybox true
			echo locked
			read -r line" || failed "no lock"
		echo unlocked
		read -r line
		n=0
		until [ -e moved ]; do
			n=$((n + 1))
			[ $n -lt 10 ] || break
			usleep 100000
		done
		echo moved=$(cat moved)
		mv moved back
		echo back
		read -r line
	' --9p folder
	exec 8<>folder/file
	flock -x 8
	start "${args[@]}" <stdin
	echo >&3
	await '^refused'
	echo >&3
	sleep 1
	flock -u 8
	await '^locked'
	flock -n -s 8 && fail "the host locked it too"
	echo >&3
	await '^unlocked'
	flock -n -x 8 || fail "still locked"
	echo content >beside
	mv beside folder/moved
	echo >&3
	await '^back'
	same "what came back" "$(cat folder/back)" content
	echo >&3
	finish
	ended 0
	says_not '^failed'
	same "what was moved" "$(value moved)" content
}

test_two() {
	mkdir one two
	echo 1 >one/file
	echo 2 >two/file
	boot generic "$with_shares"'
		share first /a && share second /b || echo failed
		cat /a/file /b/file
		echo from-a >/a/new
		umount /a /b
		for i in 1 2 3; do
			rmmod 9pnet_virtio 9p 9pnet 2>/dev/null
			modprobe -a 9pnet_virtio 9p
			share first /a || echo failed
			[ "$(cat /a/new)" = from-a ] || echo failed
			umount /a
		done
		for dev in /sys/bus/virtio/drivers/9pnet_virtio/virtio*; do
			driver=${dev%/*} dev=${dev##*/}
			for i in 1 2 3; do
				echo $dev >$driver/unbind
				echo $dev >$driver/bind
			done
		done
		share second /b || echo failed
		[ "$(cat /b/file)" = 2 ] || echo failed
		echo done
	' --9p one,first --9p two,tag=second
	ended 0
	says_not '^failed'
	says '^done'
	same "the first" "$(cat one/new)" from-a
	[ ! -e two/new ] || fail "a file in the wrong folder"
}

test_reset() {
	mkdir folder
	random 100K >folder/file
	boot generic "$with_shares"'
		share kvm_9p /mnt || echo failed
		if [ -e /mnt/again ]; then
			echo second=$(sha /mnt/file)
			exit
		fi
		exec 7</mnt/file 8>>/mnt/log
		touch /mnt/again
		(while :; do cat /mnt/file >/mnt/copy; done) &
		usleep 300000
		reboot -f
	' --9p folder --on-reset reset
	ended 0
	says_not '^failed'
	same "the second boot" "$(value second)" "$(sha folder/file)"
}

test_gone() {
	mkdir folder
	echo text >folder/file
	echo text >folder/other
	interactive
	shares '
		exec 7<file
		echo ready
		read -r line
		cat <&7
		cat other 2>/dev/null && failed "is there"
		ls >/dev/null
		touch new 2>/dev/null && failed "made one"
		echo alive
	' --9p folder
	start "${args[@]}" <stdin
	await '^ready'
	rm -r folder
	echo >&3
	finish
	ended 0
	says '^text'
	says '^alive'
	says_not '^failed'
}

promise "a shared folder is read and written" test_share
promise "git, make and sqlite work in a shared folder" test_programs
promise "a shared folder bears stress on its files" \
	test_stress access chmod chown fcntl flock fstat hdd lockf seek sync-file
promise "a shared folder bears stress on its names" \
	test_stress dentry dir filename mknod rename touch utime
promise "a random tree in a shared folder is the host's" test_tree
promise "a guest stays in the folder it was given" test_confined
promise "a folder shared read-only does not change" test_9p_read_only
promise "security=mapped keeps owners in attributes" test_mapped
promise "security=mapped needs a file system with attributes" \
	test_mapped_needs_attributes
promise "extended attributes of shared files go both ways" test_xattrs
promise "host and guest share locks and new files" test_host
promise "two shared folders, and drivers that come and go" test_two
promise "a reset with open shared files boots again" test_reset
promise "a shared folder may vanish" test_gone
