#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# lkvm run at a terminal as people have it, in tmux: keys, and what is left of
# the terminal. The guest sends back what its serial port hears.

load helpers

# run_guest [OPTION...]: in the terminal; sets pid.
run_guest() {
	need_kvm
	terminal run -k "$(guests)/idle.elf" -m 16 --name vm \
		"${network[@]}" --nodefaults "$@"
	wait_until screen_has '^idle$'
	pid=$("$LKVM" list --json | jq '.[0].pid')
}

teardown() {
	[ ! -S tmux ] || close_window
	cd /
	rm -rf "$scratch"
}

# settings: the terminal's.
settings() {
	stty "$@" -F "$(tmux -S tmux display-message -p '#{pane_tty}')"
}

is_raw() {
	settings -a | grep -q -- '-icanon' && settings -a | grep -q -- '-isig'
}

is_gone() {
	[ ! -e "/proc/$pid" ]
}

@test "in a terminal, keys reach the guest, and Ctrl-a lkvm" {
	run_guest
	is_raw
	tmux -S tmux pipe-pane 'cat >shown'
	keys hello
	# by the guest alone
	wait_until screen_has '^hello$'
	keys C-c C-z
	# not this one, which is lkvm's; and then once to the guest
	keys C-a h
	wait_until screen_has 'Ctrl-a x +quit'
	keys C-a a there
	wait_until screen_has 'there$'
	keys C-a x
	terminal_ended 0
	wait_until grep -aq $'\x03' shown
	wait_until grep -aq $'\x1a' shown
	wait_until grep -aq $'\x01there' shown
	[ "$(tr -cd '\1' <shown)" = $'\x01' ]
}

@test "in a terminal, a stopped lkvm leaves it alone" {
	run_guest
	kill -TSTP "$pid"
	wait_until grep -q 'State:.T' "/proc/$pid/status"
	settings -g | cmp before -
	kill -CONT "$pid"
	wait_until is_raw
	keys hello
	wait_until screen_has '^hello$'
	keys C-a x
	terminal_ended 0
}

@test "in a terminal, a crash or a signal leaves it sane" {
	for signal in SEGV:139 TERM:143; do
		run_guest
		kill "-${signal%:*}" "$pid"
		terminal_ended "${signal#*:}"
		close_window
		rm before after
	done
}

@test "in a terminal, a closed window ends the run" {
	run_guest
	close_window
	wait_until is_gone
}
