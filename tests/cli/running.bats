#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The commands for running VMs, on VMs that run: a tiny guest that sends back
# what its serial port hears and powers off at the power button.

load helpers

setup_file() {
	# What a VM of these tests must not leave behind.
	export TMPDIR=$BATS_FILE_TMPDIR
}

# start NAME [OPTION...]: a VM; its console is in NAME.out.
start() {
	local name=$1
	shift
	need_kvm
	: >"$name.out"
	"$LKVM" run -k "$(guests)/idle.elf" --name "$name" -m 16 -c 1 \
		-n mode=none --nodefaults "$@" >"$name.out" 2>"$name.err" \
		</dev/null 3>&- &
	echo $! >"$name.pid"
}

# running NAME...: they are, and have socket and guest.
running() {
	local name
	for name; do
		wait_until grep -q idle "$name.out"
		[ -S "lkvm/$name.sock" ]
	done
}

# ended NAME STATUS: it has, with nothing left of it.
ended() {
	local status=0
	wait "$(<"$1.pid")" || status=$?
	rm "$1.pid"
	[ "$status" = "$2" ]
	[ ! -e "lkvm/$1.sock" ]
}

# states: "NAME STATE" of each VM.
states() {
	"$LKVM" list | awk 'NR > 1 { print $1, $3 }'
}

teardown() {
	cd "$scratch"
	timeout 30 "$LKVM" stop --force --all || true
	cat ./*.pid 2>/dev/null | xargs -r kill -9 2>/dev/null || true
	[ ! -S tmux ] || close_window
	[ ! -e pages ] || cat pages >/proc/sys/vm/nr_hugepages
	! mountpoint -q huge || umount huge
	cd /
	rm -rf "$scratch"
}

@test "list shows each VM" {
	start web -c 2 --name other --name web
	start db
	running web db
	lkvm list
	[ "$status" = 0 ]
	[ "$(wc -l <<<"$out")" = 3 ]
	grep -qE "^db +$(<db.pid) +running +1 +16M +0:00:[0-9]{2}  .*/idle.elf$" \
		<<<"$out"
	grep -qE "^web +$(<web.pid) +running +2 +16M " <<<"$out"
	lkvm list --json
	[ "$(jq -r '.[] | "\(.name) \(.pid) \(.status) \(.cpus) \(.memory)"' \
		<<<"$out")" = "db $(<db.pid) running 1 16777216
web $(<web.pid) running 2 16777216" ]
}

@test "a VM without a name has its process's number" {
	need_kvm
	"$LKVM" run -k "$(guests)/idle.elf" -m 16 -c 1 -n mode=none \
		--nodefaults >x.out </dev/null 3>&- &
	echo $! >x.pid
	wait_until grep -q idle x.out
	[ "$(states)" = "guest-$(<x.pid) running" ]
	lkvm stop "guest-$(<x.pid)"
	[ "$status" = 0 ]
}

@test "stop presses the power button, and waits until the VM is gone" {
	start web
	running web
	lkvm stop -n web
	[ "$status" = 0 ]
	[ -z "$out$err" ]
	[ ! -e /proc/$(<web.pid)/exe ]
	ended web 0
	grep -q off web.out
}

@test "stop lets a paused VM go on" {
	start web
	running web
	lkvm pause web
	[ "$(states)" = "web paused" ]
	lkvm stop web
	[ "$status" = 0 ]
	ended web 0
	grep -q off web.out
}

@test "stop says which VM does not care, and --force ends it" {
	start deaf -k "$(guests)/spin.elf"
	start web
	running web
	wait_until [ -S lkvm/deaf.sock ]
	lkvm stop --timeout 1 --all
	[ "$status" = 125 ]
	[ "$err" = "lkvm: deaf: it still runs after 1 s (--force ends it)" ]
	[ "$(states)" = "deaf running" ]
	ended web 0
	lkvm stop --force deaf
	[ "$status" = 0 ]
	[ -z "$out$err" ]
	ended deaf 0
}

@test "stop --force kills a VM whose process does not answer" {
	start web
	running web
	kill -STOP "$(<web.pid)"
	lkvm stop --timeout 1 web
	[ "$status" = 125 ]
	[ "$err" = "lkvm: web: it does not answer" ]
	lkvm stop --timeout 1 --force web
	[ "$status" = 0 ]
	[ -z "$out$err" ]
	status=0
	wait "$(<web.pid)" || status=$?
	[ "$status" = 137 ]
	rm web.pid
	[ -z "$(states)" ]
}

@test "pause and resume" {
	start web
	start db
	running web db
	lkvm pause -n web
	[ "$status" = 0 ]
	[ -z "$out$err" ]
	[ "$(states)" = "db running
web paused" ]
	lkvm pause -a
	[ "$(states)" = "db paused
web paused" ]
	lkvm resume -n web
	[ "$(states)" = "db paused
web running" ]
	lkvm resume --all
	[ "$(states)" = "db running
web running" ]
	lkvm stop web db
	[ "$status" = 0 ]
}

@test "a VM that does not answer is told, and delays no other" {
	start hangs
	start web
	running hangs web
	kill -STOP "$(<hangs.pid)"
	lkvm list
	kill -CONT "$(<hangs.pid)"
	[ "$status" = 0 ]
	grep -qE "^hangs +$(<hangs.pid) +unresponsive$" <<<"$out"
	grep -qE "^web +[0-9]+ +running " <<<"$out"
}

@test "stat prints the counters of --stats" {
	start web
	running web
	lkvm stat -n web
	[ "$status" = 0 ]
	[[ $out == "who "*"what "*" count"* ]]
	grep -qE '^vcpu0 +pio +[0-9]+$' <<<"$out"
	grep -qE '^vcpu0 +pio serial0? +[0-9]+$' <<<"$out"
	start db
	running db
	lkvm stat -a
	grep -qx 'db:' <<<"$out"
	grep -qx 'web:' <<<"$out"
	lkvm stat web db --json
	[ "$(jq -r '.[] | select(.stats.vcpu0.pio > 0) | .name' <<<"$out")" = \
		"web
db" ]
}

@test "balloon takes and gives" {
	start web -m 64 --balloon
	start none
	running web none
	lkvm balloon web
	[ "$status" = 0 ]
	[ "$(tail -n 1 <<<"$out" | tr -s ' ')" = "web 64M 0B 0B" ]
	lkvm balloon -i 16 -n web
	[ "$status" = 0 ]
	[ -z "$out$err" ]
	lkvm balloon --inflate 8M web
	lkvm balloon web
	[ "$(tail -n 1 <<<"$out" | tr -s ' ')" = "web 64M 24M 0B" ]
	lkvm balloon -d 4 -n web
	lkvm balloon web --json
	[ "$(jq -c . <<<"$out")" = \
		'[{"name":"web","balloon":{"memory":67108864,"target":20971520,"actual":0}}]' ]
	refuses_live "web: the guest has only 44M left" balloon web -i 45
	refuses_live "web: the balloon shall have only 20M already" \
		balloon web -d 21
	lkvm balloon none
	[ "$status" = 125 ]
	[[ $err == "lkvm: none: "*balloon* ]]
	lkvm stat -n web -m
	[ "$status" = 0 ]
	grep -qE '^balloon +target +20971520$' <<<"$out"
}

# As refuses, but the scratch folder may change: VMs live there.
refuses_live() {
	lkvm "${@:2}"
	[ "$status" = 125 ]
	[ -z "$out" ]
	[ "$err" = "lkvm: $1" ]
}

@test "debug dumps registers, and knows its vCPUs" {
	start web -c 2
	running web
	lkvm debug -n web -d
	[ "$status" = 0 ]
	[ -z "$err" ]
	[ "$(grep -ciE '^ *.*rip' <<<"$out")" = 2 ]
	lkvm debug web --nmi 9
	[ "$status" = 125 ]
	[[ $err == "lkvm: web: "* ]]
	[ "$(states)" = "web running" ]
}

@test "console shows what was said before, and takes what is typed" {
	start web
	running web
	mkfifo in
	"$LKVM" console web <in >seen 2>errors 3>&- &
	watcher=$!
	exec 9>in
	wait_until grep -q idle seen
	echo 'one way' >&9
	wait_until grep -q 'one way' seen
	wait_until grep -q 'one way' web.out
	# The end of its input is no reason to go; the VM's end is.
	exec 9>&-
	lkvm stop web
	wait $watcher
	[ ! -s errors ]
}

@test "several watch one console, and come and go" {
	start web
	running web
	for i in 1 2 3; do
		"$LKVM" console web <>/dev/null >seen$i 3>&- &
		watcher[i]=$!
	done
	for i in 1 2 3; do
		wait_until grep -q idle seen$i
	done
	kill "${watcher[2]}"
	wait "${watcher[2]}" || true
	echo hello | "$LKVM" console web >seen4 3>&- &
	for i in 1 3 4; do
		wait_until grep -q hello seen$i
	done
	! grep -q hello seen2
	lkvm stop web
	wait "${watcher[1]}" "${watcher[3]}"
}

@test "a console whose reader goes ends" {
	start web
	running web
	status=$(
		timeout 30 "$LKVM" console web </dev/null 3>&- | head -n 1 >seen
		echo "${PIPESTATUS[0]}"
	)
	[ "$status" = 0 ]
	grep -q idle seen
	[ "$(states)" = "web running" ]
}

# ---- in a terminal ------------------------------------------------------------

@test "in a terminal, Ctrl-a d leaves the console" {
	start web
	running web
	terminal console web
	wait_until screen_has "this is web's console; Ctrl-a d detaches"
	wait_until screen_has '^idle$'
	keys hello
	wait_until screen_has '^hello'
	keys C-a h
	wait_until screen_has 'Ctrl-a d +detach'
	! screen_has 'quit lkvm'
	# Ctrl-c is the guest's
	keys C-c
	keys still here
	wait_until screen_has 'stillhere'
	keys C-a d
	terminal_ended 0
	screen_has 'detached from web'
	[ "$(states)" = "web running" ]
}

@test "in a terminal, the VM's end ends the console" {
	start web
	running web
	terminal console web
	wait_until screen_has '^idle$'
	lkvm stop web
	terminal_ended 0
	screen_has 'this was the end of web'
}

@test "in a terminal, a signal ends the console and restores it" {
	start web
	running web
	terminal console web
	wait_until screen_has '^idle$'
	pkill -TERM -f "^$LKVM console web"
	terminal_ended 143
}

@test "top draws all VMs, follows the window, and q quits" {
	start web -c 2
	start db
	running web db
	terminal top --interval 1
	wait_until screen_has '^NAME +STATE +CPUS +MEMORY +RESIDENT'
	wait_until screen_has '^web +running +2 +16M +[0-9]+'
	wait_until screen_has '^  vcpu1 +exits [0-9]'
	wait_until screen_has '^db +running +1 +16M '
	tmux -S tmux resize-window -x 40 -y 10
	wait_until screen_has '^NAME +STATE +CPUS$'
	lkvm stop db
	wait_until screen_has '^lkvm top: 1 VMs'
	! screen_has '^db '
	keys q
	terminal_ended 0
}

@test "top --once has numbers for scripts" {
	start web -c 2
	running web
	# Something to count.
	yes | "$LKVM" console web >/dev/null 3>&- &
	lkvm top --once --interval 1 --json web
	[ "$status" = 0 ]
	[ "$(jq -r '.[] | "\(.name) \(.status) \(.cpus) \(.memory)"' \
		<<<"$out")" = "web running 2 16777216" ]
	jq -e '.[0] | .resident > 0 and .exits > 0 and
		.vcpus.vcpu0.pio > 0 and .vcpus.vcpu1.exits == 0 and
		.exits == .vcpus.vcpu0.exits and (.stats | not)' \
		<<<"$out" >/dev/null
	lkvm top --once --interval 1
	grep -qE '^web +running +2 ' <<<"$out"
}

# ---- many ---------------------------------------------------------------------

@test "50 VMs at once are listed, paused, resumed and stopped" {
	for i in {1..50}; do
		start "vm$i"
	done
	running vm{1..50}
	[ "$(states)" = "$(printf 'vm%d running\n' {1..50})" ]
	lkvm pause -a
	[ "$status" = 0 ]
	[ -z "$err" ]
	[ "$(states)" = "$(printf 'vm%d paused\n' {1..50})" ]
	lkvm resume -a
	[ "$status" = 0 ]
	[ "$(states)" = "$(printf 'vm%d running\n' {1..50})" ]
	lkvm stop -a
	[ "$status" = 0 ]
	[ -z "$err" ]
	for i in {1..50}; do
		ended "vm$i" 0
	done
	[ -z "$(states)" ]
}

# What VMs might leave: sockets, temporary files, processes, taps, huge pages.
leavings() {
	find lkvm "$TMPDIR" | sort
	pgrep -f "^$LKVM" || true
	ls /sys/class/net | grep lkvmtest || true
	grep -E 'HugePages_(Free|Rsvd)' /proc/meminfo
}

# Sets lent to the options for what only root can lend to a VM.
lend() {
	lent=(-n mode=none)
	[ "$(id -u)" = 0 ] || return 0
	[ ! -w /dev/net/tun ] ||
		lent=(-n mode=tap,tapif=lkvmtest0,host_ip=192.168.77.1)
	mkdir huge
	mount -t hugetlbfs none huge || return 0
	cat /proc/sys/vm/nr_hugepages >pages
	echo $(($(<pages) + 8)) >/proc/sys/vm/nr_hugepages
	lent+=(--hugetlbfs huge)
}

@test "two hundred starts and stops leave nothing" {
	need_kvm
	lend
	mkdir -m 700 lkvm
	leavings >before
	for i in {1..50}; do
		for way in "stop" "stop -f" TERM KILL; do
			start web "${lent[@]}"
			running web
			case $way in
			stop*) lkvm $way web ;;
			*) kill -$way "$(<web.pid)" ;;
			esac
			wait "$(<web.pid)" || true
			[ "$way" = KILL ] || [ ! -e lkvm/web.sock ]
		done
	done
	rm web.pid
	touch -d '1 minute ago' lkvm/*
	lkvm list
	leavings | diff before -
}
