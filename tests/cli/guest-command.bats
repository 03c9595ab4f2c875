#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# lkvm run -- COMMAND: what is refused before anything runs.

load helpers

@test "options of a command are refused where there is none" {
	local option
	make_kernel kernel
	for option in klog=log cwd=/ env=A=1 user=root; do
		refuses "--${option%%=*}: there is no command (add -- COMMAND)" \
			run -k kernel "--$option"
	done
	[ ! -e log ]
}

@test "a command whose name is empty is refused" {
	make_kernel kernel
	refuses "the command's name is empty" run -k kernel -- ''
}

@test "--cwd is an absolute path" {
	make_kernel kernel
	refuses "--cwd: 'here' is no absolute path" \
		run -k kernel --cwd here -- true
}

@test "--env has a name" {
	make_kernel kernel
	refuses "--env: bad value '=1': use NAME=VALUE or NAME" \
		run -k kernel --env =1 -- true
}

@test "--klog in a folder that is not there is refused" {
	need_kvm
	make_kernel kernel
	refuses "--klog: cannot open nowhere/log: No such file or directory" \
		run -k kernel --klog nowhere/log --root . -- true
}

@test "the standard streams cannot be a port's and a command's" {
	make_kernel kernel
	refuses "port p: the standard streams are taken" \
		run -k kernel --port name=p,to=stdio -- true
}

@test "a command that is too long is refused" {
	make_kernel kernel
	long=$(head -c 100000 /dev/zero | tr '\0' x)
	refuses "the command and its environment are too long: *, and at most 1048576 can be passed" \
		run -k kernel --root . -- true "$long" "$long" "$long" "$long" \
		"$long" "$long" "$long" "$long" "$long" "$long" "$long"
}
