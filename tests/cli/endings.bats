#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# --expect, --fail, --timeout, --grace and --on-panic: their values, and what
# they make of a kernel that says "K" and powers off at once. (tests/boot has
# the same with Linux.)

load helpers

@test "--timeout and --grace are seconds" {
	for option in timeout grace; do
		for value in '' x -1 +1 1s 1.5.5 1. .5 0x10 1e3 ' 1' '1 '; do
			refuses "--$option: bad value '$value': use a number of seconds" \
				run "--$option=$value"
		done
		refuses "--$option needs a value: SECONDS" run "--$option"
	done
	for value in 0 0.0 0.0009 0.0000000000001 31536000.5 99999999999999999999; do
		refuses "--timeout: bad value '$value': use 0.001 to 31536000 seconds" \
			run --timeout "$value"
	done
	refuses "--grace: bad value '31536001': use 0 to 31536000 seconds" \
		run --grace 31536001
}

@test "--timeout and --grace take fractions" {
	for value in 1 0.5 31536000 1.123456789123 007; do
		refuses "Fatal: Unable to open kernel x: No such file or directory" \
			run -k x --timeout "$value" --grace "$value"
	done
	refuses "Fatal: Unable to open kernel x: No such file or directory" \
		run -k x --grace 0
}

@test "--expect and --fail are regular expressions" {
	for option in expect fail; do
		refuses "--$option: bad value 'a(b': Unmatched ( or \\(" \
			run "--$option=a(b"
		refuses "--$option: bad value '[a': Unmatched [, [^, [:, [., or [=" \
			run "--$option" '[a'
		refuses "--$option: bad value '': Invalid regular expression" \
			run "--$option="
		refuses "--$option: bad value 'a{2,1}': Invalid content of \{\}" \
			run --expect ok --fail ok "--$option=a{2,1}"
		refuses "--$option needs a value: REGEX" run "--$option"
	done
}

@test "--on-panic is exit, pause or reset" {
	refuses "--on-panic: bad value 'fail': use exit, pause, reset" \
		run --on-panic fail
	refuses "--on-panic: bad value '': use exit, pause, reset" \
		run --on-panic=
	refuses "--on-panic needs a value: exit|pause|reset" run --on-panic
}

# ends STATUS OPTION...: of a guest that ends faster than anybody looks.
ends() {
	lkvm run -k kernel -m 16 "${@:2}"
	[ "$out" = K ]
	[ "$status" = "$1" ]
}

@test "what a guest says is judged before its end" {
	need_kvm
	make_kernel kernel
	for round in $(seq 20); do
		ends 0 --expect K
		ends 0 --expect '^K$' --fail 'K.'
		ends 254 --fail K
		[ "$err" = "lkvm: the console said what --fail names: K" ]
		ends 254 --expect K --fail '^K'
		ends 254 --expect K --expect X
		[ "$err" = "lkvm: the console has not said: X" ]
		ends 0 --fail X
	done
}

@test "--debug-exit overrides what the console said" {
	need_kvm
	make_kernel kernel
	ends 43 --debug-exit --fail K
	ends 43 --debug-exit --expect X
}

@test "--expect reads a console that is a port's" {
	need_kvm
	make_kernel kernel
	lkvm run -k kernel -m 16 --port name=p,to=stdio --expect X
	[ "$status" = 254 ]
	[ -z "$out" ]
	[ "$err" = "lkvm: the console has not said: X
lkvm: the console said last:
K" ]
	lkvm run -k kernel -m 16 --port name=p,to=stdio --expect K
	[ "$status" = 0 ]
	[ -z "$err" ]
}

# A kernel that says K and spins.
make_spinner() {
	make_kernel "$1"
	poke "$1" 1034 '\xeb\xfe'
}

@test "--timeout ends a guest that spins" {
	need_kvm
	make_spinner kernel
	lkvm run -k kernel -m 16 --timeout 0.3
	[ "$status" = 124 ]
	[ "$out" = K ]
	[ "$err" = "lkvm: the time of --timeout is over" ]
	lkvm run -k kernel -m 16 --timeout 20 --grace 0 --expect K
	[ "$status" = 0 ]
	[ -z "$err" ]
	lkvm run -k kernel -m 16 --timeout 20 --grace 0.1 --fail K
	[ "$status" = 254 ]
	[[ $err = *"the guest does not power off: it is forced to" ]]
}

# interrupt STATUS SIGNAL... -- OPTION...: of a guest that spins.
interrupt() {
	local wanted=$1 signals=()
	shift
	while [ "$1" != -- ]; do
		signals+=("$1")
		shift
	done
	rm -f "$BATS_TEST_TMPDIR/said"
	# Whoever runs the tests may have had signals ignored.
	env "${signals_of[@]---default-signal=HUP,INT,TERM}" \
		"$LKVM" run "${network[@]}" -k kernel -m 16 "${@:2}" \
		>"$BATS_TEST_TMPDIR/said" 2>"$BATS_TEST_TMPDIR/err" &
	until grep -sq K "$BATS_TEST_TMPDIR/said"; do sleep 0.01; done
	for signal in "${signals[@]}"; do
		kill "-$signal" $!
		sleep 0.1
	done
	status=0
	wait $! || status=$?
	echo "$* -> $status: $(<"$BATS_TEST_TMPDIR/err")"
	[ "$status" = "$wanted" ]
}

@test "a signal forces a guest off after --grace; the second at once" {
	need_kvm
	make_spinner kernel
	interrupt 143 TERM -- --grace 0
	interrupt 143 TERM -- --grace 0.2
	interrupt 143 TERM TERM -- --grace 1000
	interrupt 129 HUP TERM -- --grace 1000
	interrupt 130 INT HUP -- --grace 1000
	# it had been asked to power off already, by what it said before
	interrupt 0 TERM -- --grace 1000 --expect K
	interrupt 254 TERM -- --grace 1000 --fail K
	# and here by the signal
	interrupt 143 TERM -- --grace 1000 --timeout 1
}

@test "SIGTERM, SIGINT and SIGHUP let a guest power off" {
	need_kvm
	for signal in TERM:143 INT:130 HUP:129; do
		env --default-signal=HUP,INT,TERM "$LKVM" run "${network[@]}" \
			-k "$(guests)/idle.elf" -m 16 --grace 100 >said 2>&1 3>&- &
		wait_until grep -sq idle said
		kill "-${signal%:*}" $!
		status=0
		wait $! || status=$?
		[ "$status" = "${signal#*:}" ]
		grep -q '^off' said
		[ "$(grep -c forced said)" = 0 ]
		rm said
	done
}

@test "a signal that nohup has ignored ends nothing" {
	need_kvm
	make_spinner kernel
	signals_of=(--ignore-signal=HUP)
	interrupt 143 HUP HUP TERM TERM -- --grace 1000
}
