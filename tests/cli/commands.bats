#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Which command it is: the table of commands, help, version, and kernels that
# are named without "run".

load helpers

@test "lkvm alone explains itself, as kvmtool's does" {
	lkvm
	[ "$status" = 0 ]
	[ -z "$err" ]
	grep -qx 'The most commonly used lkvm commands are:' <<<"$out"
	for command in run version help; do
		grep -q "^  $command  *[A-Z]" <<<"$out"
	done
}

@test "lkvm help, --help and -h are the same" {
	lkvm
	overview=$out
	for arg in help --help -h; do
		lkvm "$arg"
		[ "$status" = 0 ]
		[ -z "$err" ]
		[ "$out" = "$overview" ]
	done
}

@test "help of a command, and --help behind it, list its options" {
	lkvm help run
	[ "$status" = 0 ]
	[ -z "$err" ]
	help=$out
	for option in kernel initrd params disk mem cpus name dev nodefaults \
		virtio-transport on-reset debug-exit stats boot-timer loglevel \
		help; do
		grep -q -- " --$option\>" <<<"$help"
	done
	for way in "--help run" "run --help" "run -h" "-k nosuch -h"; do
		lkvm $way
		[ "$status" = 0 ]
		[ -z "$err" ]
		[ "$out" = "$help" ]
	done
}

@test "every command that the overview names has help" {
	lkvm help
	for command in $(sed -n 's/^  \([a-z]*\)  .*/\1/p' <<<"$out"); do
		lkvm help "$command"
		[ "$status" = 0 ]
		[[ $out == "usage: lkvm $command"* ]]
	done
}

@test "help refuses what is no command" {
	refuses "no command 'nosuch' (see 'lkvm help')" help nosuch
	refuses "no command 'nosuch' (see 'lkvm help')" --help nosuch
	refuses "help takes one command, got 'version' too" help run version
}

@test "version is one line" {
	for arg in version --version; do
		lkvm "$arg"
		[ "$status" = 0 ]
		[ -z "$err" ]
		[[ $out =~ ^lkvm\ [0-9]+\.[0-9]+$ ]]
	done
	refuses "version takes no arguments, got 'x'" version x
	refuses "version takes no arguments, got 'x'" --version x
}

@test "what is neither a command nor a kernel is refused" {
	refuses "'nosuch' is neither a command nor a kernel (see 'lkvm help')" \
		nosuch
	refuses "'' is neither a command nor a kernel (see 'lkvm help')" ""
}

@test "a kernel needs no 'run' before it" {
	refuses "Fatal: Unable to open kernel ./nosuch: No such file or directory" \
		./nosuch
	refuses "Fatal: Unable to open kernel nosuch: No such file or directory" \
		--kernel nosuch
	need_kvm
	make_kernel kernel
	lkvm kernel -m 16
	[ "$status" = 0 ]
	[ "$out" = K ]
	lkvm -m 16 ./kernel
	[ "$status" = 0 ]
	[ "$out" = K ]
}

@test "the kernel may be a positional argument, before or after options" {
	need_kvm
	make_kernel kernel
	lkvm run kernel --mem 16
	[ "$status" = 0 ]
	[ "$out" = K ]
	lkvm run --mem 16 kernel
	[ "$status" = 0 ]
	[ "$out" = K ]
	# "--" ends the options.
	cp kernel ./-kernel
	lkvm run --mem 16 ./-kernel --
	[ "$status" = 0 ]
	[ "$out" = K ]
}

@test "kvmtool's places are searched for a kernel when none is named" {
	need_kvm
	for place in bzImage arch/x86/boot/bzImage; do
		mkdir -p "$(dirname "$place")"
		make_kernel "$place"
		lkvm run -m 16
		[ "$status" = 0 ]
		[ "$out" = K ]
		rm "$place"
	done
	mkdir -p arch/x86/boot a/b
	make_kernel arch/x86/boot/bzImage
	cd a/b
	lkvm run -m 16
	[ "$status" = 0 ]
	[ "$out" = K ]
}

@test "without any kernel it asks for one" {
	release=$(uname -r)
	for kernel in "/boot/vmlinuz-$release" "/boot/bzImage-$release"; do
		! [ -r "$kernel" ] || skip "hardware: this host has $kernel"
	done
	refuses "no kernel found (name one with --kernel)" run
}

@test "two kernels are one too many" {
	refuses "'b' is one argument too many: the kernel is a" run a b
	refuses "'b' is one argument too many: the kernel is a" run -k a b
	refuses "'c' is one argument too many: the kernel is a" run a b c
}
