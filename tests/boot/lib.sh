# The runner of tests that boot real guests, and what these tests are written
# with. Sourced by tests/boot/run and tests/hostile/run.
#
# A test is a promise and a function that keeps it:
#
#	promise "poweroff ends the process with status 0" test_poweroff
#
# Each runs in a process of its own (set -e), in an empty folder that vanishes
# afterwards, with a time limit. It fails by a command that fails; fail and
# the checks below say why. At most $jobs of them run side by side.
set -uo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
lkvm=${LKVM:-$top/build/lkvm}
images=${LKVM_BUILD:-$top/build}/guest
jobs=${LKVM_TEST_JOBS:-2}
limit=${LKVM_TEST_LIMIT:-200}

promises=() bodies=()
promise() {
	promises+=("$1")
	bodies+=("${*:2}")
}

# --- what tests are made of --------------------------------------------------

fail() {
	echo "$*"
	exit 1
}

skip() {
	echo "$*" >skip
	exit 77
}

# need TOOL...: without it there is no test.
need() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || skip "needs $tool"
	done
}

# need_image TARGET: Debian's mirror may have dropped a kernel.
need_image() {
	[ ! -e "$images/$1/absent" ] || skip "$(<"$images/$1/absent")"
}

# What each script in a guest can use.
guest_library='disks() { modprobe -a virtio_pci virtio_mmio virtio_blk; }
sha() { sha256sum "$@" | cut -d " " -f 1; }
'

# The same, on this side.
sha() {
	sha256sum "$@" | cut -d ' ' -f 1
}

random() {
	head -c "$1" /dev/urandom
}

# What nearly all tests can do without.
network=(-n mode=none)

# Of each target the kernel that is soonest there: generic's bzImage has been
# packed by XZ, which takes as long as the rest of its boot.
declare -A image=([generic]=vmlinux)

# kernel_of TARGET
kernel_of() {
	echo "$images/$1/${image[$1]:-bzImage}"
}

# prepare TARGET SCRIPT [OPTION...]: sets $command to boot that kernel with
# SCRIPT as its /test.sh, which hears no power button; later options win. $kernel, if set, is booted
# instead; the files in add/, if any, come along.
prepare() {
	local target=$1 script=$2
	shift 2
	need_image "$target"
	mkdir -p add
	[ -z "$script" ] || echo "$guest_library$script" >add/test.sh
	(cd add && find . -mindepth 1 | cpio --quiet -o -H newc) |
		cat "$images/$target/initrd.img" - >initrd.img
	command=("$lkvm" run -k "${kernel:-$(kernel_of "$target")}"
		-i initrd.img -m 256 -c 1 -p "console=ttyS0 panic=-1 quiet"
		--nodefaults --grace 0 "${network[@]}" "$@")
}

# start ...: as prepare, and starts it; sets $pid. The guest's console goes to
# the file console, lkvm's own lines to errors.
start() {
	prepare "$@"
	"${command[@]}" <&0 >console 2>errors &
	pid=$!
}

# finish: waits for it to end; sets $status.
finish() {
	status=0
	wait "$pid" || status=$?
}

# boot ...: as prepare, from start to end.
boot() {
	start "$@"
	finish
}

# ended N: that was the exit status.
ended() {
	[ "$status" = "$1" ] || fail "exit status is $status, not $1"
}

# says REGEX, says_not REGEX: what the guest's console has shown by now.
says() {
	shown "$1" || fail "the guest did not say: $1"
}

says_not() {
	! text | grep -Ea -- "$1" || fail "the guest said: $1"
}

text() {
	tr -d '\r\0' <"${1:-console}"
}

# Programs are slow to start in the software host: the next ones look at the
# first lines on their own, and leave the rest to programs.
first_lines() {
	{ mapfile -t -n 1000 lines <console; } 2>/dev/null || true
	lines=("${lines[@]//$'\r'/}")
}

# shown REGEX: it is on the guest's console by now.
shown() {
	local lines=() line
	first_lines
	for line in "${lines[@]}"; do
		[[ ! $line =~ $1 ]] || return 0
	done
	text 2>/dev/null | grep -Ea -- "$1" >/dev/null
}

# value NAME: what the guest printed as NAME=VALUE.
value() {
	local lines=() line found=
	first_lines
	for line in "${lines[@]}"; do
		[[ $line == "$1="?* ]] || continue
		echo "${line#*=}"
		found=1
	done
	[ "$found" ] || text | sed -n "s/^$1=//p" | grep . ||
		fail "the guest gave no $1"
}

# await REGEX [N]: until the guest's console shows it (in N lines at least).
await() {
	local ended=
	while :; do
		echo >"$looked"
		if [ "${2:-1}" = 1 ]; then
			! shown "$1" || return 0
		else
			[ "$(text 2>/dev/null | grep -Eac -- "$1")" -lt "$2" ] ||
				return 0
		fi
		[ -z "$ended" ] || fail "lkvm ended before: $1"
		while
			nap
			[ -d "/proc/$pid" ] || ended=1
			[[ console -ot $looked && -z $ended ]]
		do :; done
	done
}

# A tenth of a second, without a program.
nap() {
	read -rt 0.1 <>"$scratch/nap" || true
}

# same WHAT GOT WANTED
same() {
	[ "$2" = "$3" ] || fail "$1: got '$2', wanted '$3'"
}

# --- the runner --------------------------------------------------------------

# One test, in this process; the file $looked is as old as its last look at the
# guest's console.
run_one() {
	looked=$scratch/$1.looked
	mkdir "$scratch/$1"
	cd "$scratch/$1"
	set -e
	${bodies[$1]}
}

last_lines() {
	[ -s "$2" ] || return 0
	echo "# $1:"
	tail -c 4000 "$2" | tr -cd '\11\12\40-\176' | tail -n 9 |
		cut -c 1-160 | sed 's/^/#   /'
}

# report INDEX: the TAP lines of a test that has ended, and how long it took.
report() {
	local dir=$scratch/$1 status seconds name="$(($1 + 1)) - ${promises[$1]}"
	read -r status seconds <"$dir.status"
	case $status in
	0) echo "ok $name" ;;
	77) echo "ok $name # skip $(<"$dir/skip")" ;;
	*) echo "not ok $name" ;;
	esac
	echo "# $seconds s"
	if [[ $status != 0 && $status != 77 ]]; then
		[ "$status" != 124 ] || echo "# no end after $limit s"
		tail -n 5 "$dir.log" | sed 's/^/# /'
		last_lines "the guest's console" "$dir/console"
		last_lines "lkvm's own words" "$dir/errors"
	fi
	if [ -e "$dir.first" ]; then
		echo "# this was try $(<"$dir.first/tries"); the first ended so:"
		tail -n 5 "$dir.first/log" | sed 's/^/# /'
		last_lines "the guest's console" "$dir.first/console"
	fi
	rm -rf "$dir" "$dir".{first,log,looked,status}
}

# The next test's number; its own process tells the status.
launch() {
	local status=0 try=1 began=$SECONDS
	attempt "$1" || status=$?
	# The software host's CPUs err now and then, and a guest dies of it. More
	# tries are told in the report, with how the first one ended.
	while [[ $status != 0 && $status != 77 && $try -lt 3 &&
		$(uname -n) = kvm-host ]]; do
		try=$((try + 1))
		[ -e "$scratch/$1.first" ] || {
			mv "$scratch/$1" "$scratch/$1.first"
			mv "$scratch/$1.log" "$scratch/$1.first/log"
		}
		rm -rf "${scratch:?}/$1"
		status=0
		attempt "$1" || status=$?
		echo $try >"$scratch/$1.first/tries"
	done
	echo "$status $((SECONDS - began))" >"$scratch/$1.done"
	mv "$scratch/$1.done" "$scratch/$1.status"
}

# What a test has left behind goes with it: timeout leads a process group.
attempt() {
	local status=0 leader
	timeout -k 5 "$limit" "$0" --one "$1" "$scratch" \
		</dev/null >"$scratch/$1.log" 2>&1 &
	leader=$!
	wait $leader || status=$?
	kill -KILL -- -$leader 2>/dev/null || true
	return $status
}

# The promises that were kept before the software host died (tests/run).
passed_before() {
	[ -z "${LKVM_TEST_PASSED:-}" ] ||
		sed -n 's/ # skip .*//; s/^ok [0-9]* - //p' "$LKVM_TEST_PASSED"
}

# run_tests [PATTERN...]: those whose promise has one of the patterns in it.
run_tests() {
	local i pattern passed chosen=() running=0 next=0
	if [ "${1:-}" = --one ]; then
		scratch=$3
		run_one "$2"
		exit
	fi
	[ -x "$lkvm" ] || {
		echo "Bail out! There is no $lkvm."
		exit 1
	}
	scratch=$(mktemp -d /dev/shm/lkvm-test.XXXXXX)
	trap 'rm -rf "$scratch"' EXIT
	trap 'exit 130' INT TERM
	mkfifo "$scratch/nap"
	passed=$'\n'$(passed_before)$'\n'
	for i in "${!promises[@]}"; do
		[[ $passed != *$'\n'"${promises[i]}"$'\n'* ]] || continue
		for pattern in "${@:-}"; do
			[[ ${promises[i]} == *"$pattern"* ]] || continue
			chosen+=("$i")
			break
		done
	done
	echo "1..${#chosen[@]}"
	for i in "${chosen[@]}"; do
		[ $running -lt "$jobs" ] || { wait -n && running=$((running - 1)); }
		launch "$i" &
		running=$((running + 1))
		report_ended
	done
	while [ $next -lt ${#chosen[@]} ]; do
		wait -n
		report_ended
	done
}

# Report in the tests' order, as far as they have ended.
report_ended() {
	while [[ $next -lt ${#chosen[@]} &&
		-e $scratch/${chosen[next]}.status ]]; do
		report "${chosen[next]}"
		next=$((next + 1))
	done
}
