# setup and sandbox as kvmtool's users run them.

# sandbox_setup NAME: a root folder of its own $HOME; sets $root.
sandbox_setup() {
	need_image generic
	export HOME=$PWD XDG_CACHE_HOME=$PWD/cache XDG_RUNTIME_DIR=$PWD
	"$lkvm" setup "$1" >setup || fail "setup: status $?"
	root=$PWD/.lkvm/$1
	same "what setup says" "$(<setup)" "$root"
}

# in_sandbox OPTION...: sets $status; words go to the files console and errors.
in_sandbox() {
	status=0
	"$lkvm" sandbox -k "$(kernel_of generic)" -m 256 -c 1 \
		"${network[@]}" "$@" >console 2>errors || status=$?
}

# The loop of a fuzzer's manager: commands come as a file in the root folder,
# and go when they are taken.
manager_script() {
	mkdir -p scripts
	cat >scripts/script.sh <<-'END'
	#!/bin/bash
	echo "script runs"
	while :; do
		if [ -e /cmd ]; then
			cmd=$(cat /cmd)
			rm -f /cmd
			eval "$cmd"
			echo "command exited"
		fi
		sleep 0.1
	done
	END
	chmod +x scripts/script.sh
}

# start_manager: as the manager starts its instances, with a kernel that says
# little. Sets $pid.
start_manager() {
	taskset -c 0 "$lkvm" sandbox --disk syz-0 \
		--kernel "$(kernel_of generic)" \
		--params "slub_debug=UZ console=ttyS0 quiet" --mem 512 --cpus 1 \
		--network mode=user --sandbox "$PWD/scripts/script.sh" \
		>console 2>&1 </dev/null &
	pid=$!
	await 'script runs'
	told=0
}

# tell COMMAND: a file that is renamed into the folder.
tell() {
	echo "$1" >"$root/new"
	mv "$root/new" "$root/cmd"
	told=$((told + 1))
	await 'command exited' $told
}

killed() {
	kill -KILL "$pid"
	wait "$pid" || true
}

# No time is measured: what does not come ends the test by its limit.
test_manager() {
	need passt socat
	sandbox_setup syz-0
	manager_script
	echo "from the host" >greeting
	socat TCP-LISTEN:5123,bind=127.0.0.1,fork,reuseaddr OPEN:greeting &
	server=$!
	start_manager
	tell 'exec 3<>/dev/tcp/192.168.33.1/5123; cat <&3 >/answer.new
		mv /answer.new /answer; echo >&2 "on stderr"'
	while [ ! -e "$root/answer" ]; do sleep 0.1; done
	same "what the host's port said" "$(<"$root/answer")" "from the host"
	says 'on stderr'
	[ ! -e "$root/cmd" ] || fail "the guest's rm is not seen"
	# A crash of the kernel would be there too.
	tell 'echo "<0>words of the kernel" >/dev/kmsg'
	await '\] words of the kernel'
	# Killed while it writes, it starts again.
	tell 'while :; do echo late >>/late; done &'
	while [ ! -s "$root/late" ]; do sleep 0.1; done
	killed
	"$lkvm" setup syz-0 >setup || fail "a second setup: status $?"
	start_manager
	tell 'cat /answer'
	says '^from the host$'
	killed
	kill "$server"
}

promise "a fuzzer's manager drives a sandbox as it did kvmtool's" test_manager

test_sandbox_command() {
	sandbox_setup box
	in_sandbox -d box -- sh -c 'echo kept >/home/file; echo gone >/usr/file
		test -e /etc/shadow && echo host; pwd; exit 7'
	ended 7
	same kept "$(<"$root/home/file")" kept
	[ ! -e /usr/file ] || fail "the host's /usr was written to"
	says_not '^host$'
	# The folder need not be set up, nor named.
	in_sandbox -- sh -c 'echo mine >/home/mine'
	ended 0
	same default "$(<.lkvm/default/home/mine)" mine
	# ro: the guest may write, and it is gone.
	in_sandbox -d box,ro -- sh -c 'cat /home/file; echo new >/home/file'
	ended 0
	says '^kept$'
	same kept "$(<"$root/home/file")" kept
}

promise "a sandbox keeps its folder, and has only programs of the host" \
	test_sandbox_command

# The kernel's own mount, by the initrd of the tests: 9P is a module here.
test_folder_root() {
	mkdir -p folder/{bin,proc,sys,dev,newroot,sbin}
	cp /bin/busybox folder/bin
	cat >folder/sbin/init <<-'END'
	#!/bin/busybox sh
	/bin/busybox echo "init of the folder"
	/bin/busybox echo made >/made
	/bin/busybox poweroff -f
	END
	chmod +x folder/sbin/init
	mkdir -p add
	# On one line: the initrd's script reads no more.
	boot generic "" -d folder \
		-p "console=ttyS0 panic=-1 quiet root=/dev/root rootfstype=9p rw"
	ended 0
	says 'init of the folder'
	same "what it wrote" "$(<folder/made)" made
}

promise "a kernel boots from a folder that --disk names" test_folder_root
