# virtio-console: hvc0 as the console, and named ports, by Linux's own driver.

# In the guest. hvc0: go on with the script there, once the driver is loaded.
# port NAME: sets $port to the device, which udev would call
# /dev/virtio-ports/NAME.
on_hvc0='modprobe -a virtio_pci virtio_console
	until [ -c /dev/hvc0 ]; do sleep 0.1; done
	exec </dev/hvc0 >/dev/hvc0 2>&1
'
with_ports='modprobe -a virtio_pci virtio_console
	port() {
		local dev
		while :; do
			for dev in /sys/class/virtio-ports/*; do
				[ "$(cat $dev/name 2>/dev/null)" = "$1" ] || continue
				port=/dev/${dev##*/}
				[ -c $port ] && return
			done
			sleep 0.1
		done
	}
'

# The kernel on hvc0 and on serial, whose driver is there from the beginning.
virtio_console=(--console virtio -p console=hvc0)

# hvc0_shell SHELL OPTION...: the input is there from the beginning, long before
# the driver is.
hvc0_shell() {
	printf 'echo h$((40+2)) of $(tty)\npoweroff -f\n' >typed
	boot cloud "$on_hvc0$1" "${@:2}" <typed
	ended 0
	says '^h42 of /dev/hvc0'
}

test_hvc0_shell() {
	hvc0_shell 'setsid cttyhack sh' "${virtio_console[@]}"
}

test_hvc0_early() {
	hvc0_shell sh --console virtio --console-packed
}

# What comes in has no Ctrl-o: on the console that is the SysRq key.
test_hvc0_data() {
	random 768K | base64 -w 0 >data
	mkfifo in
	exec 9<>in
	start cloud "$on_hvc0"'stty raw -echo
		echo ready
		head -c 1048576 >/data
		echo sha=$(sha /data)
		dd if=/dev/urandom of=/data bs=64k count=64 2>/dev/null
		echo back=$(sha /data)
		echo DATA
		cat /data
		echo
		echo END' "${virtio_console[@]}" --stats <in
	await '^ready'
	cat data >&9
	finish
	ended 0
	same sha "$(value sha)" "$(sha data)"
	same back "$(bytes_after DATA 4194304 | sha)" "$(value back)"
	grep -Eq '^hvc0 +bytes-in +10485[0-9][0-9]$' errors ||
		fail "--stats has no count of hvc0's input"
}

promise "--console virtio: piped input reaches a shell on hvc0" test_hvc0_shell
promise "--console virtio: so it does if the kernel's log goes elsewhere" \
	test_hvc0_early
promise "4 MiB of binary data leave by hvc0, and 1 MiB come in" test_hvc0_data

# $port_size bytes of binary data each way through the port p1; 64 MiB of them with
# LKVM_LONG=1. With head -c, for a port has no end of file.
port_mib=$([ "${LKVM_LONG:-}" = 1 ] && echo 64 || echo 4)
port_size=$((port_mib << 20))
port_data='port p1
	exec 5<>$port
	echo ready
	head -c '$port_size' <&5 | sha256sum >/sum
	echo in=$(cut -d " " -f 1 /sum)
	dd if=/dev/urandom of=/data bs=1M count='$port_mib' 2>/dev/null
	echo out=$(sha /data)
	cat /data >&5
'

# both_ways: both hashes, of what was sent and what came back.
both_ways() {
	same in "$(value in)" "$(sha data)"
	same "bytes out" "$(stat -c %s back)" $port_size
	same out "$(value out)" "$(sha back)"
}

# The last line answers the first one, so both directions are open throughout.
test_port_unix() {
	random $port_size >data
	need socat
	mkfifo last
	exec 8<>last
	start cloud "$with_ports$port_data
		read -r line <&5
		echo said \$line" --port name=p1,to=unix:sock --stats -m 512
	until [ -S sock ]; do sleep 0.1; done
	same "the socket's mode" "$(stat -c %a sock)" 600
	{
		cat data
		read -r line <&8
		echo "$line"
	} | socat - unix-connect:sock | {
		head -c $port_size >back
		echo thanks >&8
		cat >rest
	}
	finish
	ended 0
	says '^said thanks'
	both_ways
	grep -Eq "^p1 +bytes-out +$port_size\$" errors || fail "bytes were not counted"
	[ ! -e sock ] || fail "the socket is left"
}

# The guest powers off at once: what it wrote is in the file all the same.
test_port_file() {
	random $port_size >data
	boot cloud "$with_ports$port_data" --port name=p1,to=file:back,from=data \
		-m 512
	ended 0
	both_ways
}

test_port_pty() {
	random $port_size >data
	need socat
	start cloud "$with_ports$port_data
		sleep 1000" --port name=p1,to=pty:link -m 512
	until [ -L link ]; do sleep 0.1; done
	grep -q "^lkvm: port p1 is $(readlink link)\$" errors ||
		fail "it was not said which pty it is"
	head -c $port_size link >back &
	socat -u open:data open:link
	wait $!
	kill -TERM "$pid"
	finish
	both_ways
	[ ! -L link ] || fail "the link is left"
}

test_port_pipe() {
	random $port_size >data
	mkfifo p.in p.out
	start cloud "$with_ports$port_data
		read -r line <&5" --port name=p1,to=pipe:p -m 512
	head -c $port_size <p.out >back &
	cat data >p.in
	wait $!
	echo thanks >p.in
	finish
	ended 0
	both_ways
}

promise "$port_mib MiB each way through a port on a Unix socket" test_port_unix
promise "$port_mib MiB each way through a port on files" test_port_file
promise "$port_mib MiB each way through a port on a pseudo-terminal" test_port_pty
promise "$port_mib MiB each way through a port on named pipes" test_port_pipe

# One client goes and the next one comes; the guest sees the end of each.
test_port_clients() {
	need socat
	start cloud "$with_ports"'port p1
		for i in 1 2 3; do
			until cat <$port >/got && [ -s /got ]; do
				sleep 0.1
			done
			echo client $i: $(cat /got)
		done' --port name=p1,to=unix:sock
	i=0
	until [ -S sock ]; do sleep 0.1; done
	for word in one two three; do
		echo $word | socat -u - unix-connect:sock
		i=$((i + 1))
		await "^client $i"
	done
	finish
	ended 0
	says '^client 1: one$'
	says '^client 2: two$'
	says '^client 3: three$'
}

test_ports_reload() {
	mkfifo p.in p.out
	start cloud "$with_ports"'for i in 1 2 3; do
			modprobe virtio_console
			port b
			port p1
			echo ready $i
			read -r line <$port
			echo load $i: $line
			echo back $i >$port
			sleep 0.2
			modprobe -r virtio_console
		done' --port name=p1,to=pipe:p --port name=b,to=null
	exec 4<>p.out
	for i in 1 2 3; do
		# Sooner, it would be the last driver's, which goes.
		await "^ready $i"
		echo line $i >p.in
		read -r line <&4
		same "line $i" "$line" "back $i"
	done
	finish
	ended 0
	says '^load 3: line 3$'
}

# What comes when the machine has been reset under an open port, before its
# driver is there again, waits for it.
test_port_reset() {
	local boots=0
	mkfifo p.in p.out
	start cloud "echo booted
		$with_ports"'port p1
		exec 5<>$port
		read -r line <&5
		echo back $line >&5
		[ "$line" = last ] || reboot -f' --port name=p1,to=pipe:p \
		--on-reset=reset
	exec 4<>p.out
	for line in first second last; do
		boots=$((boots + 1))
		await '^booted' $boots
		echo $line >p.in
		read -r got <&4
		same "line" "$got" "back $line"
	done
	finish
	ended 0
}

test_port_stdio() {
	printf 'a line\n' >typed
	boot cloud "$with_ports"'port p1
		exec 5<>$port
		read -r line <&5
		echo got $line >&5' --port name=p1,to=stdio <typed
	ended 0
	same "stdout" "$(text)" "got a line"
}

test_resize() {
	need tmux
	prepare cloud "$on_hvc0"'echo size $(stty size)
		trap "echo now \$(stty size)" WINCH
		until [ "$(stty size)" = "33 101" ]; do sleep 0.2; done
		echo now $(stty size)' "${virtio_console[@]}"
	printf '%q ' "${command[@]}" >run
	echo '2>errors | tee console; echo $? >status' >>run
	tmux -f /dev/null -L "$PWD" -S tmux new-session -d -x 90 -y 30 \
		'bash ./run'
	until text 2>/dev/null | grep '^size'; do sleep 0.1; done
	says '^size 30 90'
	tmux -S tmux resize-window -x 101 -y 33
	until [ -e status ]; do sleep 0.1; done
	says '^now 33 101'
}

promise "clients of a port's socket come and go" test_port_clients
promise "modprobe -r virtio_console and back, with ports" test_ports_reload
promise "a machine resets with a port open" test_port_reset
promise "--port to=stdio: the port has the standard streams" test_port_stdio
promise "hvc0 has the size of the terminal, and follows it" test_resize
