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

test_share() {
	mkdir folder
	random 5M >folder/host
	boot generic "$with_shares
		share kvm_9p /mnt || echo failed
		echo host=\$(sha /mnt/host)
		head -c 3000000 /dev/urandom >/mnt/guest
		echo guest=\$(sha /mnt/guest)
		ls -la /mnt
		df /mnt
		umount /mnt" --9p folder --stats
	ended 0
	says_not '^failed'
	same "the host's file" "$(value host)" "$(sha folder/host)"
	same "the guest's file" "$(value guest)" "$(sha folder/guest)"
	grep -qE '^9p0 +written-bytes +3000000' errors || fail "no counters"
}

promise "a shared folder is read and written" test_share
