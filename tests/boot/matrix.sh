# Every device on both transports, with both layouts of rings where it offers
# them; all of them in one guest, which uses each once.

# One line for each device: its driver, its status, packed rings or not.
list_devices='for device in /sys/bus/virtio/devices/*; do
	driver=$(basename "$(readlink $device/driver)")
	echo "device: $driver $(cat $device/status)" \
		"$(cut -c 35 $device/features)"
done
'

# matrix TRANSPORT on|off
test_matrix() {
	local script options=(-c 2 --virtio-transport "$1" --stats)
	[ "$(id -u)" = 0 ] || skip "needs root"
	need unshare socat
	busybox modprobe tun 2>/dev/null || true
	[ -e /dev/net/tun ] || skip "needs /dev/net/tun"
	random 4M >disk
	mkdir folder
	random 1M >folder/host
	socat -u UNIX-LISTEN:v_6000 CREATE:socket &
	until [ -e v_6000 ]; do sleep 0.1; done
	[ "$2" = off ] || options+=(--console-packed)
	options+=(-d "$images/tools/tools.img,ro,packed=$2" -d "disk,packed=$2"
		--9p folder --rng --balloon --vsock "3,unix=v"
		-n "mode=tap,vhost=off,packed=$2"
		--port name=port,to=file:ported)
	script='echo disk=$(sha /dev/vdb)
		modprobe -a virtio_net virtio-rng virtio_balloon 9pnet_virtio 9p \
			virtio_console vmw_vsock_virtio_transport
		ip addr add 192.168.33.15/24 dev eth0
		ip link set eth0 up
		for try in 1 2 3 4 5 6 7 8 9 10; do
			ping -c 1 -W 1 192.168.33.1 >/dev/null || continue
			echo ping works
			break
		done
		mount -t 9p -o trans=virtio,version=9p2000.L kvm_9p /mnt
		echo share=$(sha /mnt/host)
		until grep -q virtio /sys/class/misc/hw_random/rng_available; do
			sleep 0.1
		done
		echo random=$(dd if=/dev/hwrng bs=16 count=4 2>/dev/null | wc -c)
		until [ -c /dev/vport*p1 ]; do sleep 0.1; done
		port=$(echo /dev/vport*p1)
		echo ported >$port
		echo hello | t socat -u - VSOCK-CONNECT:2:6000
		'
	prepare generic "$with_tools$script$list_devices" -m 512 "${options[@]}"
	command=(unshare -n "${command[@]}")
	"${command[@]}" </dev/null >console 2>errors &
	pid=$!
	finish
	ended 0
	same disk "$(value disk)" "$(sha disk)"
	same share "$(value share)" "$(sha folder/host)"
	same random "$(value random)" 64
	same socket "$(cat socket)" hello
	same port "$(cat ported)" ported
	says '^ping works'
	matrix_devices "$2"
}

# Each has its driver, which is happy, and the layout that was asked for.
matrix_devices() {
	local driver packed=0 count
	[ "$1" = off ] || packed=1
	for driver in virtio_blk virtio_net virtio_console; do
		says "^device: $driver 0x0000000f $packed"
	done
	for driver in virtio_rng virtio_balloon 9pnet_virtio \
		vmw_vsock_virtio_transport; do
		says "^device: $driver 0x0000000f"
	done
	count=$(text | grep -c '^device:')
	same "those that work" "$(text | grep -c '^device: .* 0x0000000f')" \
		"$count"
}

for transport in pci mmio; do
	promise "every device works on $transport" test_matrix $transport off
	promise "every device works on $transport, with packed rings" \
		test_matrix $transport on
done
