# virtio-console: hvc0 as the console, and named ports, by Linux's own driver.

# In the guest. hvc0: go on with the script there, once the driver is loaded.
# port NAME: sets $port to the device, which udev would call
# /dev/virtio-ports/NAME.
on_hvc0='modprobe -a virtio_pci virtio_console
	until [ -c /dev/hvc0 ]; do sleep 0.1; done
	exec </dev/hvc0 >/dev/hvc0 2>&1
'
ports='modprobe -a virtio_pci virtio_console
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

test_hvc0_shell() {
	printf 'echo h$((40+2)) of $(tty)\npoweroff -f\n' >typed
	cat typed - </dev/null | {
		boot cloud "${on_hvc0}setsid cttyhack sh" "${virtio_console[@]}"
		ended 0
	}
	says '^h42 of /dev/hvc0'
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
promise "4 MiB of binary data leave by hvc0, and 1 MiB come in" test_hvc0_data

# $size of binary data each way through the port p1, which $1 and the further
# options are; from_host and to_host are this side of it.
size=$((64 << 20))
port_data='port p1
	exec 5<>$port
	echo ready
	head -c '$size' <&5 | sha256sum >/sum
	echo in=$(cut -d " " -f 1 /sum)
	dd if=/dev/urandom of=/data bs=1M count=64 2>/dev/null
	echo out=$(sha /data)
	cat /data >&5
	read -r line <&5
	echo said $line
'

# What there is to send, and the last line, once everything has been read.
test_port_unix() {
	random $size >data
	need socat
	mkfifo last
	exec 8<>last
	start cloud "$ports$port_data" --port name=p1,to=unix:sock --stats -m 512
	until [ -S sock ]; do sleep 0.1; done
	same "the socket's mode" "$(stat -c %a sock)" 600
	{
		cat data
		read -r line <&8
		echo "$line"
	} | socat - unix-connect:sock | {
		head -c $size >back
		echo thanks >&8
		cat >rest
	}
	finish
	ended 0
	says '^said thanks'
	same in "$(value in)" "$(sha data)"
	same out "$(value out)" "$(sha back)"
	[ ! -e sock ] || fail "the socket is left"
	grep -Eq "^p1 +bytes-out +$size\$" errors || fail "bytes were not counted"
}

promise "64 MiB each way through a port on a Unix socket" test_port_unix
