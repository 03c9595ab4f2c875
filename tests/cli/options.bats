#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The forms of options and the values of each: every wrong one has a message
# that names the option, the value and what would be right.

load helpers

@test "unknown options are refused" {
	for option in --nosuch --nosuch=1 -z -zk --kernelx; do
		refuses "unknown option '$option' (see 'lkvm help run')" \
			run "$option"
	done
	# A flag's letter does not take a value.
	refuses "unknown option '-hx' (see 'lkvm help run')" run -hx
}

@test "a single dash is a file's name, not an option" {
	refuses "Fatal: Unable to open kernel -: No such file or directory" run -
}

@test "options that lack their value are refused" {
	refuses "-k (--kernel) needs a value: FILE" run -k
	refuses "--kernel needs a value: FILE" run --kernel
	refuses "-d (--disk) needs a value: FILE[,KEY=VALUE...]" run -d
	refuses "--initrd needs a value: FILE" run --initrd
	refuses "-p (--params) needs a value: STRING" run -p
	refuses "--mem needs a value: SIZE" run --mem
	refuses "--cpus needs a value: N" run --cpus
	refuses "--name needs a value: NAME" run --name
	refuses "--dev needs a value: FILE" run --dev
	refuses "--loglevel needs a value: error|warning|info|debug" \
		run --loglevel
	refuses "--on-reset needs a value: exit|reset|fail" run --on-reset
	refuses "--virtio-transport needs a value: pci|mmio" run --virtio-transport
}

@test "empty values are refused" {
	refuses "-k (--kernel): bad value '': it is empty" run -k ''
	for option in kernel initrd name dev; do
		refuses "--$option: bad value '': it is empty" run "--$option="
	done
	refuses "-m (--mem): bad value '': use a number and one of B K M G T P" \
		run -m ''
	refuses "--cpus: bad value '': use a whole number" run --cpus=
}

@test "the prefix of a name must be unique" {
	refuses "'--n' could be --network or --name" run --n x
	refuses "'--' could be *" run --=x
	refuses "Fatal: Unable to open kernel x: No such file or directory" \
		run --ker x
}

@test "all forms of an option mean the same" {
	message="Fatal: Unable to open kernel x: No such file or directory"
	refuses "$message" run --kernel x
	refuses "$message" run --kernel=x
	refuses "$message" run -k x
	refuses "$message" run -kx
}

@test "of an option given twice the last one counts" {
	refuses "Fatal: Unable to open kernel b: No such file or directory" \
		run -k a -k b
	need_kvm
	make_kernel kernel
	lkvm run -k kernel -m 16 -m 32 --debug-exit=off --debug-exit
	[ "$status" = 43 ]
}

@test "flags are switched by on and off only" {
	for flag in nodefaults debug-exit stats boot-timer help; do
		refuses "--$flag: bad value '1': use on or off" run "--$flag=1"
	done
	need_kvm
	make_kernel kernel
	lkvm run -k kernel -m 16 --debug-exit=off
	[ "$status" = 0 ]
}

@test "--cpus is 1 to 255" {
	for value in 0 256 99999999999999999999; do
		refuses "--cpus: bad value '$value': use 1 to 255" \
			run --cpus "$value"
	done
	for value in -1 +1 1.5 two 4x ' 2' 0x; do
		refuses "-c (--cpus): bad value '$value': use a whole number" \
			run -c "$value"
	done
}

@test "--mem is a size of 1M or more, in whole pages" {
	for value in 0 0M 1K 1023K 4097B; do
		refuses "--mem: bad value '$value': use at least 1M" \
			run --mem "$value"
	done
	for value in 16384P 99999999999999999999 18446744073709551615; do
		refuses "--mem: bad value '$value': it is too large" \
			run --mem "$value"
	done
	for value in garbage 1Z 1MM M -5 1.5G ' 64'; do
		refuses "-m (--mem): bad value '$value': use a number and one of B K M G T P" \
			run -m "$value"
	done
	refuses "--mem: 1048577B is not a multiple of 4K" run -m 1048577B -k k
}

@test "--name is what can be a thread's and a file's name" {
	for name in 'a b' a/b .hidden -x 'ä' "$(printf 'x%.0s' {1..65})" $'a\tb'
	do
		refuses "--name: bad value '${name//$'\t'/?}': use at most 64 letters, digits, '.', '_' or '-', and begin with a letter, a digit or '_'" \
			run -k kernel --name="$name"
	done
	for name in a _a 0 vm-1.test_2 "$(printf 'x%.0s' {1..64})"; do
		refuses "Fatal: Unable to open kernel x: No such file or directory" \
			run -k x --name "$name"
	done
}

@test "--loglevel, --on-reset and --virtio-transport list their values" {
	refuses "--loglevel: bad value 'loud': use error, warning, info, debug" \
		run --loglevel loud
	refuses "--on-reset: bad value 'again': use exit, reset, fail" \
		run --on-reset=again
	refuses "--virtio-transport: bad value 'isa': use pci, mmio" \
		run --virtio-transport isa
	# Not by number, and not by a part of the word.
	refuses "--loglevel: bad value '1': *" run --loglevel 1
	refuses "--on-reset: bad value 're': *" run --on-reset re
	message="Fatal: Unable to open kernel x: No such file or directory"
	for option in loglevel={error,warning,info,debug} \
		on-reset={exit,reset,fail} virtio-transport={pci,mmio}; do
		refuses "$message" run -k x "--$option"
	done
}

@test "a device tree that cannot be written is an error" {
	[ -c /dev/kvm ] || skip "needs /dev/kvm"
	printf '\0%.0s' {1..4096} >kernel
	refuses "cannot write the device tree to /nosuch/dtb: No such file or directory" \
		run -k kernel -m 16 -c 1 --dump-dtb /nosuch/dtb
}

@test "--disk's keys are checked" {
	truncate -s 1M disk
	refuses "--disk: unknown key 'rw' (it has: file, ro, direct, format, cache, engine, snapshot, serial, queues, queue-size, packed, discard, iops, bw, locking, backing-ok)" \
		run -k kernel -d disk,rw
	refuses "--disk: unknown key '' (it has: file, ro, direct, format, cache, engine, snapshot, serial, queues, queue-size, packed, discard, iops, bw, locking, backing-ok)" \
		run -k kernel -d disk,
	refuses "--disk: unknown key '' (it has: file, ro, direct, format, cache, engine, snapshot, serial, queues, queue-size, packed, discard, iops, bw, locking, backing-ok)" \
		run -k kernel -d disk,ro,
	refuses "--disk: unknown key 'size' (it has: file, ro, direct, format, cache, engine, snapshot, serial, queues, queue-size, packed, discard, iops, bw, locking, backing-ok)" \
		run -k kernel -d disk,ro,size=1
	refuses "--disk: ro: bad value 'maybe': use on or off" \
		run -k kernel -d disk,ro=maybe
	refuses "--disk: direct: bad value '': use on or off" \
		run -k kernel -d disk,direct=
	refuses "--disk: file: bad value '': it is empty" run -k kernel -d ''
	refuses "--disk: file: bad value '': it is empty" run -k kernel -d ,ro
}

@test "--balloon's keys are checked" {
	keys="target, deflate-on-oom, reporting, hinting, stats"
	refuses "--balloon: unknown key 'size' (it has: $keys)" \
		run -k kernel --balloon=size=1
	refuses "--balloon: unknown key '' (it has: $keys)" \
		run -k kernel --balloon=
	refuses "--balloon: target: bad value 'half': use a number and one of B K M G T P" \
		run -k kernel --balloon=target=half
	refuses "--balloon: target needs a value: SIZE" \
		run -k kernel --balloon=target
	refuses "--balloon: stats: bad value '86401': use 0 to 86400" \
		run -k kernel --balloon=stats=86401
	for key in deflate-on-oom reporting hinting; do
		refuses "--balloon: $key: bad value '2': use on or off" \
			run -k kernel "--balloon=$key=2"
	done
	# A value comes behind an equals sign only; this is a kernel's name.
	refuses "Fatal: Unable to open kernel target=1: No such file or directory" \
		run --balloon target=1
	need_kvm
	make_kernel kernel
	refuses "--balloon: target: 17M is more than the guest's RAM (16M)" \
		run -k kernel -m 16 --balloon=target=17
	refuses "--balloon: one is enough" \
		run -k kernel -m 16 --balloon --balloon
	lkvm run -k kernel -m 16 --balloon=target=16M,stats=0,hinting
	[ "$status" = 0 ]
}

@test "what RAM is made of is checked" {
	refuses "--hugetlbfs: bad value '': it is empty" run --hugetlbfs=
	refuses "--hugetlbfs needs a value: DIR" run --hugetlbfs
	for flag in mem-file thp ksm; do
		refuses "--$flag: bad value 'yes': use on or off" \
			run "--$flag=yes"
	done
	for node in -1 x ''; do
		refuses "--numa-node: bad value '$node': use a whole number" \
			run "--numa-node=$node"
	done
	refuses "--numa-node: bad value '1024': use 0 to 1023" \
		run --numa-node=1024
	need_kvm
	make_kernel kernel
	refuses "--hugetlbfs missing: No such file or directory" \
		run -k kernel -m 16 --hugetlbfs missing
	refuses "--hugetlbfs .: no hugetlbfs is mounted there (mount -t hugetlbfs none .)" \
		run -k kernel -m 16 --hugetlbfs .
	refuses "--hugetlbfs kernel: no hugetlbfs is mounted there *" \
		run -k kernel -m 16 --hugetlbfs kernel
	refuses "--mem-file does not go with --hugetlbfs, which is a file by itself" \
		run -k kernel -m 16 --hugetlbfs . --mem-file
	refuses "--ksm does not go with --hugetlbfs: the host merges private pages only" \
		run -k kernel -m 16 --hugetlbfs . --ksm
	refuses "--ksm does not go with --mem-file: the host merges private pages only" \
		run -k kernel -m 16 --mem-file --ksm
	refuses "--numa-node 1023: *" run -k kernel -m 16 --numa-node 1023
	for option in mem-file mem-file=off thp thp=off ksm=off; do
		lkvm run -k kernel -m 16 "--$option"
		[ "$status" = 0 ]
	done
}

@test "--pin names vCPUs and CPUs that are there" {
	for item in 0 0= =0 0=x 0=-1 0=0=0 0-1=0 a=0; do
		refuses "--pin: bad item '$item': use VCPU=CPU, two numbers" \
			run -k kernel -c 1 --pin "$item"
	done
	refuses "--pin: bad value '': it is empty" run -k kernel --pin=
	cpu=$(sed -n 's/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/\1/p' \
		/proc/self/status)
	refuses "--pin: bad item '': use VCPU=CPU, two numbers" \
		run -k kernel -c 1 --pin "0=$cpu,"
	refuses "--pin: bad item '1=$cpu': the guest has no such vCPU (see --cpus)" \
		run -k kernel -c 1 --pin "0=$cpu,1=$cpu"
	refuses "--pin: bad item '0=$cpu': this vCPU has a CPU already" \
		run -k kernel -c 1 --pin "0=$cpu,0=$cpu"
	refuses "--pin: bad item '0=5000': the host has no such CPU for us *" \
		run -k kernel -c 1 --pin 0=5000
	need_kvm
	make_kernel kernel
	lkvm run -k kernel -m 16 -c 1 --pin "0=$cpu"
	[ "$status" = 0 ]
}

@test "a comma that belongs to a disk's name is doubled" {
	need_kvm
	make_kernel kernel
	truncate -s 1M 'a,ro'
	lkvm run -k kernel -m 16 -d a,,ro
	[ "$status" = 0 ]
	refuses "cannot open disk image b,ro: No such file or directory" \
		run -k kernel -d b,,ro
	refuses "cannot open disk image a,: No such file or directory" \
		run -k kernel -d a,,,ro
}

@test "a message stays one line whatever a name holds" {
	refuses "Fatal: Unable to open kernel a?b?[31m: No such file or directory" \
		run -k $'a\nb\e[31m'
	refuses "unknown option '--a?b' (see 'lkvm help run')" run $'--a\nb'
	long=$(printf 'x%.0s' {1..5000})
	refuses "unknown option '--xxx*" run "--$long"
}

@test "--rng's key is checked" {
	refuses "--rng: unknown key '' (it has: rate)" run -k kernel --rng=
	refuses "--rng: unknown key 'rat' (it has: rate)" \
		run -k kernel --rng=rat=1
	refuses "--rng: rate needs a value: SIZE" run -k kernel --rng=rate
	refuses "--rng: rate: bad value '0': use at least 1B" \
		run -k kernel --rng=rate=0
	refuses "--rng: rate: bad value 'x': use a number and one of B K M G T P" \
		run -k kernel --rng=rate=x
}

@test "--tty is a port's number" {
	for value in 4 -1 x 01 ''; do
		refuses "--tty: bad value '$value': use 0 to 3" \
			run -k kernel "--tty=$value"
	done
}

@test "--console and --port are checked" {
	refuses "--console: bad value 'foo': use serial, virtio" \
		run -k kernel --console foo
	refuses "--port: unknown key 'x' (it has: name, to, from)" \
		run -k kernel --port x=1
	refuses "--port: to= is missing" run -k kernel --port name=a
	refuses "--port: name= is missing" run -k kernel --port to=null
	for name in 'a b' .a a/b "$(printf 'x%.0s' {1..65})"; do
		refuses "--port: bad name '$name': use at most 64 letters, digits, '.', '_' or '-', and no '.' first" \
			run -k kernel --port "name=$name,to=null"
	done
	refuses "--port: there are two ports a" \
		run -k kernel --port name=a,to=null --port name=a,to=pty
	refuses "port b: the standard streams are taken" \
		run -k kernel --port name=a,to=stdio --port name=b,to=stdio
	refuses "port a: the standard streams are taken" \
		run -k kernel --console virtio --port name=a,to=stdio
	refuses "port a: input comes from stdio, and cannot come from x" \
		run -k kernel --port name=a,to=stdio,from=x
	ports=()
	for i in {1..15}; do ports+=(--port "name=p$i,to=null"); done
	refuses "--port: there can be no more than 14" \
		run -k kernel "${ports[@]}"
}

@test "a port's other end is checked" {
	need_kvm
	make_kernel kernel
	for to in foo file file: unix pipe: pty: null:x; do
		refuses "port a: bad value '$to': use file:PATH, fd:N, pipe:PATH, pty, pty:LINK, unix:PATH, stdio or null" \
			run -k kernel --port "name=a,to=$to"
	done
	refuses "port a: bad value 'fd:x': use a whole number" \
		run -k kernel --port name=a,to=fd:x
	refuses "--port: cannot write to fd:99: Bad file descriptor" \
		run -k kernel --port name=a,to=fd:99
	refuses "port a: cannot open no/file: No such file or directory" \
		run -k kernel --port name=a,to=file:no/file
	touch p.in
	refuses "port a: p.in is not a named pipe (see mkfifo(1))" \
		run -k kernel --port name=a,to=pipe:p
	refuses "port a: cannot make the socket no/s: No such file or directory" \
		run -k kernel --port name=a,to=unix:no/s
	refuses "port a: cannot make the socket p.in: Address already in use" \
		run -k kernel --port name=a,to=unix:p.in
	[ -e p.in ]
	refuses "port a: cannot make the link p.in: File exists" \
		run -k kernel --port name=a,to=pty:p.in
	refuses "port a: input comes from pty, and cannot come from p.in" \
		run -k kernel --port name=a,to=pty,from=p.in
	refuses "port a: cannot open nofile: No such file or directory" \
		run -k kernel --port name=a,to=null,from=nofile
}

@test "a port's socket that a dead lkvm left is no obstacle" {
	need_kvm
	make_kernel kernel
	python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("s")'
	lkvm run -k kernel -m 16 --port name=a,to=unix:s
	[ "$status" = 0 ]
	[ ! -e s ]
}
