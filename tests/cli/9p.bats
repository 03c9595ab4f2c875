#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# --9p: what cannot be shared, and what is not said well.

load helpers

@test "--9p needs a folder" {
	refuses "--9p needs a value: DIR[,TAG][,KEY=VALUE...]" run --9p
	refuses "--9p: dir: bad value '': it is empty" run --9p ''
	refuses "--9p: security: bad value 'passthrough': use none, mapped" \
		run --9p .,security=passthrough
	refuses "--9p: unknown key 'nosuch' (it has: dir, tag, ro, security)" \
		run --9p .,tag=a,nosuch=1
	refuses "--9p: ro: bad value 'x': use on or off" run --9p .,ro=x
}

@test "a folder that cannot be shared is refused" {
	need_kvm
	make_kernel kernel
	echo text >file
	refuses "cannot share folder missing: No such file or directory" \
		run kernel --9p missing
	refuses "cannot share folder file: Not a directory" \
		run kernel --9p file
	refuses "shared folder /../. is this host's root, which no guest may write to (add ,ro)" \
		run kernel --9p /../.
	refuses "shared folder /proc: its file system has no user attributes, which security=mapped needs" \
		run kernel --9p /proc,security=mapped
}

@test "a folder that cannot be read is refused" {
	need_kvm
	make_kernel kernel
	mkdir secret
	chmod 0 secret
	as_root_bound_by_modes
	refuses "cannot share folder secret: Permission denied" \
		run kernel --9p secret
}

@test "each tag is one folder's" {
	need_kvm
	make_kernel kernel
	refuses "shared folder .: the tag 'kvm_9p' is another folder's (give each its own: --9p DIR,TAG)" \
		run kernel --9p . --9p .
	refuses "shared folder .: the tag '123456789012345678901234567890123' is longer than 32 characters" \
		run kernel --9p .,123456789012345678901234567890123
}
