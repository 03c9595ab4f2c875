#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The commands for running VMs: what they refuse, and what they say where there
# is no VM.

load helpers

clients="stop pause resume console stat top balloon debug"

@test "commands for VMs want to know which" {
	for command in stop pause resume console stat balloon; do
		refuses "$command: which VM? (give its name; 'lkvm list' shows all)" \
			"$command"
	done
	refuses "debug: which VM? (give its name; 'lkvm list' shows all)" \
		debug --dump
}

@test "a VM that is not there is named, and so is the way to find others" {
	for command in stop pause resume console stat balloon "debug -d" \
		"top --once"; do
		refuses "web: there is no VM of this name ('lkvm list' shows all)" \
			$command web
		refuses "web: there is no VM of this name ('lkvm list' shows all)" \
			$command -n web
	done
}

@test "a name that no VM can have is refused" {
	refuses "--name: bad value '': it is empty" stop --name ''
	refuses ".web: no VM can have this name" stop .web
	refuses "./web: there is no VM of this name ('lkvm list' shows all)" \
		stop ./web
	refuses "?: no VM can have this name" stop $'\n'
	long=$(printf '%0200d' 7)
	refuses "$long: cannot connect: File name too long" stop "$long"
}

@test "all and one do not go together" {
	for command in stop pause resume stat top balloon "debug -d"; do
		refuses "${command% *}: --all and 'web' do not go together" \
			$command -a web
		refuses "${command% *}: --all and 'web' do not go together" \
			$command -n web --all
	done
	refuses "unknown option '-a' (see 'lkvm help console')" console -a
	refuses "console: one VM at a time" console web db
}

@test "with none running, all of them are quickly served" {
	for command in stop pause resume; do
		lkvm $command --all
		[ "$status" = 0 ]
		[ -z "$out$err" ]
	done
	[ ! -e lkvm ]
}

@test "list without VMs is its head line, or an empty array" {
	for option in "" -i --instances; do
		lkvm list $option
		[ "$status" = 0 ]
		[ -z "$err" ]
		[[ $out =~ ^NAME\ +PID\ +STATE\ +CPUS\ +MEMORY\ +UPTIME\ +KERNEL$ ]]
	done
	lkvm list --json
	[ "$status" = 0 ]
	[ "$out" = "[]" ]
	lkvm top --once --json --interval 1
	[ "$status" = 0 ]
	[ "$out" = "[]" ]
}

@test "a folder of sockets that cannot be read is named" {
	echo >lkvm
	refuses "cannot look for VMs in $scratch/lkvm: Not a directory" list
	refuses "web: cannot connect: Not a directory" stop web
}

@test "a folder of sockets that others could change is not trusted" {
	mkdir -m 777 lkvm
	why="$scratch/lkvm is no folder of yours alone, so who listens there may be anybody (choose another one with XDG_RUNTIME_DIR, or make it so with chown and chmod)"
	refuses "$why" list
	refuses "$why" stop -a
	refuses "web: $why" stop web
}

@test "list takes no arguments" {
	refuses "list takes no arguments, got 'web'" list web
	refuses "unknown option '-n' (see 'lkvm help list')" list -n web
}

@test "without a home there are no VMs to be found" {
	unset XDG_RUNTIME_DIR HOME
	refuses "there is no place for VMs' sockets (set XDG_RUNTIME_DIR or HOME)" \
		list
	refuses "web: there is no place for VMs' sockets (set XDG_RUNTIME_DIR or HOME)" \
		stop web
}

@test "stop needs a sensible time" {
	for bad in 0 86401; do
		refuses "-t (--timeout): bad value '$bad': use 1 to 86400" \
			stop -t $bad web
	done
	refuses "--timeout: bad value 'x': use a whole number" \
		stop --timeout x web
	refuses "--timeout needs a value: SECONDS" stop web --timeout
}

@test "balloon goes one way at a time, by whole MB" {
	refuses "--inflate and --deflate do not go together" \
		balloon web -i 1 -d 1
	refuses "-i (--inflate): bad value '0': use at least 1M" \
		balloon web -i 0
	refuses "--deflate: bad value '-5': use a number and one of B K M G T P" \
		balloon web --deflate -5
}

@test "debug needs something to do" {
	refuses "debug: nothing to do (--dump, --nmi VCPU or --sysrq KEY)" \
		debug web
	refuses "-m (--nmi): bad value 'x': use a whole number" debug web -m x
	for bad in ab '!' é; do
		refuses "--sysrq: bad value '$bad': use one letter or digit" \
			debug web -s "$bad"
	done
	refuses "-s (--sysrq): bad value '': it is empty" debug web -s ''
}

@test "top needs a terminal, or one look" {
	lkvm top
	[ "$status" = 125 ]
	[ "$err" = "lkvm: top needs a terminal (--once does not)" ]
	refuses "--json needs --once" top --json
	refuses "-i (--interval): bad value '0': use 1 to 3600" top -i 0
}

@test "a socket that is not a VM's is told" {
	mkdir -m 700 lkvm
	socat UNIX-LISTEN:lkvm/web.sock,fork \
		SYSTEM:'echo hello' 2>/dev/null 3>&- &
	server=$!
	until [ -S lkvm/web.sock ]; do sleep 0.1; done
	lkvm stop web
	kill $server
	[ "$status" = 125 ]
	[ "$err" = "lkvm: web: its socket does not speak QMP" ]
}

# says NAME LINE...: a VM's socket that says these, and then holds its tongue.
says() {
	: >"$1.says"
	[ $# = 1 ] || printf '%s\n' "${@:2}" >"$1.says"
	socat UNIX-LISTEN:"lkvm/$1.sock",fork \
		SYSTEM:"cat $1.says; cat >$1.heard" 2>/dev/null 3>&- &
	echo $! >"$1.pid"
	until [ -S "lkvm/$1.sock" ]; do sleep 0.1; done
}

@test "VMs that do not answer are told, and those that do are shown" {
	local greeting='{"QMP": {}}' ok='{"return": {}, "id": 1}'
	local state='{"return": {"status": "running"}, "id": 2}'
	mkdir -m 700 lkvm
	says mute
	says polite "$greeting"
	says shy "$greeting" "$ok"
	says slow "$greeting" "$ok" "$state"
	says well "$greeting" "$ok" "$state" \
		'{"return": {"pid": 7, "memory": 1048576, "cpus": 3}, "id": 3}'
	lkvm list
	for name in mute polite shy slow; do
		grep -qE "^$name +$(<$name.pid) +unresponsive$" <<<"$out"
	done
	grep -qE "^well +7 +running +3 +1M " <<<"$out"
	# top asks other things.
	says fine "$greeting" "$ok" '{"return": {"pid": 8}, "id": 2}' \
		'{"return": {"status": "paused"}, "id": 3}' \
		'{"return": {}, "id": 4}' '{"error": {}, "id": 5}'
	lkvm top --once --json -i 1
	[ "$(jq -r 'map(.status) | join(" ")' <<<"$out")" = "paused$(
		printf ' %s' unresponsive{,,,,})" ]
	kill $(cat ./*.pid)
}

# What a VM leaves that was killed.
make_stale() {
	mkdir -p -m 700 lkvm
	socat UNIX-LISTEN:"$1",unlink-close=0 /dev/null 2>/dev/null 3>&- &
	until [ -S "$1" ]; do sleep 0.1; done
	kill -9 $!
	wait $! || true
}

@test "a VM that was killed is told from one that is not there" {
	make_stale lkvm/web.sock
	refuses "web: its process has died ('lkvm list' removes what is left of it)" \
		stop web
	lkvm stop -a
	[ "$status" = 0 ]
	[ -z "$err" ]
}

@test "list removes the sockets of the dead, but for young ones" {
	make_stale lkvm/old.sock
	make_stale lkvm/young.sock
	touch -d '1 minute ago' lkvm/old.sock
	echo file >lkvm/file.sock
	touch -d '1 minute ago' lkvm/file.sock
	lkvm list
	[ "$status" = 0 ]
	[ "$(wc -l <<<"$out")" = 1 ]
	[ ! -e lkvm/old.sock ]
	[ -S lkvm/young.sock ]
	[ -f lkvm/file.sock ]
}

@test "each of them explains itself" {
	for command in list $clients; do
		lkvm help $command
		help=$out
		for way in "$command -h" "$command --help"; do
			lkvm $way
			[ "$status" = 0 ]
			[ "$out" = "$help" ]
		done
	done
}
