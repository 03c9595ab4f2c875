#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# What shells offer to complete lkvm's command line with.

load helpers

# offers WANTED LINE: bash completes LINE's last word to the words WANTED (of
# what readline takes for a word: not what stands before an equals sign).
offers() {
	PATH=${LKVM%/*}:$PATH bash -c '
		compopt() { :; }
		source <("$LKVM" help --completion bash)
		COMP_WORDBREAKS=" =:" COMP_LINE=$1 COMP_POINT=${#1}
		_lkvm
		printf "%s\n" "${COMPREPLY[@]}"' - "$2" | sort >got
	echo "[$2] -> $(<got), wanted: $1"
	[ "$(<got)" = "$(tr ' ' '\n' <<<"$1" | sort)" ]
}

@test "the shells find nothing wrong with their scripts" {
	for shell in bash zsh fish; do
		"$LKVM" help --completion "$shell" >script
		[ -s script ]
		run -0 "$shell" -n script
		[ -z "$output" ]
	done
}

@test "bash completes commands, options and choices" {
	offers run "lkvm ru"
	offers "version" "lkvm help ver"
	offers --kernel "lkvm run --ker"
	offers --kernel "lkvm run --nodefaults -p quiet --ker"
	offers --boot-timer "lkvm bzImage --boot-t"
	offers "serial virtio" "lkvm run --console "
	offers virtio "lkvm run --console=v"
	offers "bash zsh fish" "lkvm help --completion "
	offers "" "lkvm version "
	offers "" "lkvm run --mem "
}

@test "bash completes files and folders" {
	touch kernel-a kernel-b
	mkdir kernels
	offers "kernel-a kernel-b kernels" "lkvm run --kernel k"
	offers "kernel-b" "lkvm run --kernel=kernel-b"
	offers "kernel-a" "lkvm run -k kernel-a"
	offers "kernel-a" "lkvm run --stats kernel-a"
	offers "kernels" "lkvm run --9p k"
	# Not the value of an option that has one only after "=".
	offers "kernel-a" "lkvm run --rng kernel-a"
	offers "" "lkvm run -- kernel"
}

@test "bash completes the keys of lists" {
	offers "mode=user mode=tap mode=none" "lkvm run -n mod"
	offers "user,hostfwd=" "lkvm run -n mode=user,hostf"
	offers "user,trans=pci user,trans=mmio" \
		"lkvm run --network=mode=user,tr"
	offers "a.img,ro" "lkvm run -d a.img,r"
	offers "none" "lkvm run -d a.img,ro,cache=no"
	offers "rate=" "lkvm run --rng=r"
}

# The words before the tab of what fish offers.
fish_offers() {
	PATH=${LKVM%/*}:$PATH fish -c '
		source (lkvm help --completion fish | psub)
		complete -C $argv[1]' "$2" | cut -f 1 | paste -sd ' ' >got
	echo "[$2] -> $(<got), wanted: $1"
	[ "$(<got)" = "$1" ]
}

@test "fish completes commands, options, choices and keys" {
	touch disk
	fish_offers run "lkvm ru"
	fish_offers "version" "lkvm help v"
	fish_offers --kernel "lkvm run --ker"
	fish_offers --boot-timer "lkvm bzImage --boot-t"
	fish_offers "serial virtio" "lkvm run --console "
	fish_offers "mode=none mode=tap mode=user" "lkvm run -n mod"
	fish_offers "disk,ro" "lkvm run -d disk,r"
	fish_offers disk "lkvm run --kernel di"
}

# What zsh's own functions would be told, with them replaced by echoes.
@test "zsh is told of commands, options, choices and keys" {
	"$LKVM" help --completion zsh >_lkvm
	zsh -fc '
		_arguments() { print -rl -- "$@" }
		_describe() { print -rl -- "${(@P)2}" }
		_files() { print files }
		words=(lkvm run "") CURRENT=3
		source ./_lkvm >run
		words=(lkvm "") CURRENT=2
		source ./_lkvm >first
		compset() { : }
		compadd() { print "add $*" }
		PREFIX=disk,
		_lkvm_list _files ro format=raw >list
		PREFIX=
		_lkvm_list _files ro >>list'
	grep -qF -- '--console=[which' run
	grep -qF -- ':( serial virtio)' run
	grep -qF -- '*-d+[disk image' run
	grep -qF -- '*--disk=[disk image' run
	grep -qF -- '--stats[print' run
	grep -qF -- '*: :_files' run
	grep -q '^run:Boot a kernel' first
	grep -qx files first
	diff list - <<-END
	add -S  -- ro format=raw
	files
	add -S  -- ro
	END
}

@test "completion knows each command and option that help knows" {
	"$LKVM" help --completion bash >script
	source ./script
	diff <(tr ' ' '\n' <<<"$_lkvm_commands") \
		<("$LKVM" help | sed -nE 's/^  ([a-z]+)  .*/\1/p')
	for command in $_lkvm_commands; do
		_lkvm_look_up ''
		diff <(tr -s ' ' '\n' <<<"$options" | grep . | sort) \
			<("$LKVM" help "$command" |
			sed -nE 's/^  (-[a-z])?[, ] +(--[a-z0-9-]+).*/\2/p' | sort)
	done
}

@test "an unknown shell is refused" {
	refuses "--completion: bad value 'csh': use bash, zsh, fish" \
		help --completion csh
	refuses "help takes one command, got 'run' too" \
		help --completion bash run
	status=0
	"$LKVM" help --completion bash >/dev/full || status=$?
	[ "$status" = 125 ]
}

@test "the names of VMs that run are offered" {
	need_kvm
	: >out
	"$LKVM" run -k "${LKVM_TESTS:-$top/build/tests}/kvm/guests/idle.elf" \
		--name box -m 16 -n mode=none --nodefaults >out 2>err </dev/null &
	pid=$!
	for ((i = 0; i < 1500; i++)); do
		! grep -q idle out || break
		sleep 0.02
	done
	offers "box" "lkvm stop "
	offers "box" "lkvm stat --name b"
	fish_offers "box" "lkvm stop bo"
	# A VM that is to be has another.
	offers "" "lkvm run --name b"
	"$LKVM" stop --force box
	wait "$pid"
	offers "" "lkvm stop "
}
