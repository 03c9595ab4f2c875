# SPDX-License-Identifier: GPL-2.0
# What the files of tests/cli share. Each test runs in an empty folder of its
# own, $scratch, which is also its $HOME; what lkvm prints goes elsewhere.

bats_require_minimum_version 1.5.0

setup() {
	top=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	export LKVM=${LKVM:-$top/build/lkvm}
	# Not below bats' own folder, which only its owner may enter.
	scratch=$(mktemp -d /tmp/lkvm-cli.XXXXXX)
	chmod 755 "$scratch"
	export HOME=$scratch XDG_RUNTIME_DIR=$scratch
	cd "$scratch"
	# What comes before lkvm's command line, to run it as somebody else.
	as=()
	# Behind "run": nearly all tests can do without a network.
	network=(-n mode=none)
}

teardown() {
	cd /
	rm -rf "$scratch"
}

need_kvm() {
	{ : <>/dev/kvm; } 2>/dev/null || skip "hardware: no usable /dev/kvm"
}

# Run lkvm as nobody; as root, whom no file mode stops, there is no other way.
# nobody need not be able to reach the binary where it is.
as_nobody() {
	[ "$(id -u)" = 0 ] || return 0
	cp "$LKVM" "$scratch/lkvm"
	LKVM=$scratch/lkvm
	as=(setpriv --reuid nobody --clear-groups)
}

# The same for files only: still root, and so allowed to use /dev/kvm.
as_root_bound_by_modes() {
	[ "$(id -u)" = 0 ] || return 0
	as=(setpriv --bounding-set '-dac_override,-dac_read_search')
}

# Put BYTES (with \xNN) at OFFSET of FILE.
poke() {
	printf %b "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# A bzImage (boot protocol 2.12, 32-bit entry, command line of at most 255
# bytes) of 4096 bytes. It writes "K\n" to the first serial port, 21 to the
# debug exit port and powers off.
make_kernel() {
	truncate -s 4096 "$1"
	poke "$1" $((0x1f1)) '\x01'             # setup_sects
	poke "$1" $((0x1f4)) '\xc0\x00\x00\x00' # syssize
	poke "$1" $((0x1fe)) '\x55\xaa\xeb\x66HdrS\x0c\x02'
	poke "$1" $((0x211)) '\x01'             # loadflags: LOADED_HIGH
	poke "$1" $((0x22c)) '\xff\xff\xff\x7f' # initrd_addr_max
	poke "$1" $((0x230)) '\x00\x00\x10\x00' # kernel_alignment
	poke "$1" $((0x238)) '\xff\x00\x00\x00' # cmdline_size
	poke "$1" $((0x258)) '\x00\x00\x10\x00' # pref_address
	poke "$1" $((0x260)) '\x00\x00\x01\x00' # init_size
	poke "$1" 1024 '\x66\xba\xf8\x03\xb0K\xee\xb0\x0a\xee'
	poke "$1" 1034 '\xb0\x15\xe6\xf4'
	poke "$1" 1038 '\x66\xba\x00\x06\xb0\x34\xee\xf4\xeb\xfd'
}

# Everything about $scratch but times of access.
snapshot() {
	find "$scratch" -printf '%p %y %m %U:%G %s %T@ %l\n' | sort
	find "$scratch" -type f -exec sha256sum {} + | sort
}

# Sets args to lkvm's arguments.
with_network() {
	args=("$@")
	[ "${1:-}" != run ] || args=(run "${network[@]}" "${@:2}")
}

# Run lkvm with pipes; sets status, out and err.
lkvm() {
	status=0
	with_network "$@"
	set -- "${args[@]}"
	timeout 30 "${as[@]}" "$LKVM" "$@" >"$BATS_TEST_TMPDIR/out" \
		2>"$BATS_TEST_TMPDIR/err" </dev/null || status=$?
	out=$(<"$BATS_TEST_TMPDIR/out")
	err=$(<"$BATS_TEST_TMPDIR/err")
	echo "lkvm $*" "-> $status, stdout: $out, stderr: $err"
}

# The same at a terminal of its own; out is what the terminal shows. The
# terminal's settings must be the same before and after.
lkvm_at_terminal() {
	local t=$BATS_TEST_TMPDIR

	with_network "$@"
	set -- "${args[@]}"
	{
		echo "stty -g >$t/before"
		printf '%q ' timeout --foreground 30 "${as[@]}" "$LKVM" "$@"
		printf '2>%q; echo $? >%q\n' "$t/err" "$t/status"
		echo "stty -g >$t/after"
	} >"$t/at-terminal"
	script -qec "bash $t/at-terminal" /dev/null </dev/null >"$t/out"
	status=$(<"$t/status")
	# The terminal itself echoes the end of script's own input.
	out=$(tr -d '\r\b' <"$t/out" | sed 's/\^D//')
	err=$(<"$t/err")
	echo "at a terminal -> $status, shown: $out, stderr: $err"
	[ -s "$t/before" ]
	cmp "$t/before" "$t/after"
}

# lkvm must refuse: status 125, nothing on stdout, the one line MESSAGE on
# stderr (where * stands for anything), and no file made or changed; at a
# terminal too.
#
#   refuses MESSAGE ARGUMENT...
refuses() {
	local message=$1 before way
	shift

	message=${message//\\/\\\\}
	message=${message//\[/\\[}
	message=${message//\?/\\?}
	before=$(snapshot)
	for way in lkvm lkvm_at_terminal; do
		"$way" "$@"
		[ "$status" = 125 ]
		[ -z "$out" ]
		[ "$(wc -l <"$BATS_TEST_TMPDIR/err")" = 1 ]
		[[ $err == "lkvm: "$message ]]
		[ "$(snapshot)" = "$before" ]
	done
}

# Where the tiny guests are.
guests() {
	echo "${LKVM_TESTS:-$top/build/tests}/kvm/guests"
}

wait_until() {
	for ((i = 0; i < 1500; i++)); do
		! "$@" || return 0
		sleep 0.02
	done
	echo "in vain: $*"
	false
}

# ---- in tmux -------------------------------------------------------------------

# terminal COMMAND...: on a terminal of 100 columns, with its settings before
# and after it.
terminal() {
	{
		echo 'stty -g >before'
		# A crash is a crash under the address sanitizer, too.
		echo 'export ASAN_OPTIONS=handle_segv=0'
		printf '%q ' "$LKVM" "$@"
		echo '; printf "\nstatus %s\n" $?; stty -g >after; exec cat'
	} >at-terminal
	tmux -S tmux -f /dev/null new-session -d -x 100 -y 20 \
		'bash ./at-terminal' 3>&-
}

keys() {
	tmux -S tmux send-keys "$@"
}

screen() {
	tmux -S tmux capture-pane -p
}

screen_has() {
	screen | grep -qE -- "$1"
}

# Not by kill-server, whose answer a server that ends may owe for ever.
close_window() {
	kill "$(tmux -S tmux display-message -p '#{pid}')"
	rm tmux
}

# The command has ended, with this status, and the terminal is as before.
terminal_ended() {
	wait_until screen_has "^status $1\$"
	wait_until [ -s after ]
	cmp before after
}
