#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The documents against the truth.

load helpers

# The default variant, whatever make started this; its job server's file
# descriptors would be bats' own here.
make_here() {
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u CC -u SAN make -s -C "$top" "$@"
}

commands_of_help() {
	"$LKVM" help | sed -nE 's/^  ([a-z]+)  .*/\1/p' | sort
}

# A page's list of options, without the keys of one of them.
list_of_manual() {
	sed -n '/^\.SH OPTIONS/,/^\.SH [^O]/p' "$top/docs/lkvm-$1.1" |
		sed '/^\.RS/,/^\.RE/d'
}

# Lines "LETTER NAME" of the options in it.
options_of_manual() {
	list_of_manual "$1" |
		grep -A1 '^\.TP' | grep '^\.B' | sed 's/\\f[A-Z].*//; s/\\//g' |
		sed -E 's/^\.B[RI]? (-[a-z])?[", ]*--([a-z0-9-]+).*/\1 \2/' | sort
}

options_of_help() {
	"$LKVM" help "$1" | sed -nE \
		's/^  (-[a-z])?[, ] +--([a-z0-9-]+).*/\1 \2/p' | sort
}

@test "each command has a page, and no other page is there" {
	diff <(commands_of_help) <(cd "$top/docs" &&
		printf '%s\n' lkvm-*.1 | sed 's/lkvm-//; s/\.1$//' | sort)
	for command in $(commands_of_help); do
		grep -q "^lkvm-$command \\\\- ." "$top/docs/lkvm-$command.1"
	done
}

@test "the pages and help have the same options of each command" {
	[ "$(options_of_help run | wc -l)" -ge 16 ]
	for command in $(commands_of_help | grep -vx sandbox); do
		echo "$command"
		diff <(options_of_help "$command") \
			<(options_of_manual "$command")
	done
	# This one's are another's.
	diff <(options_of_help sandbox) <(options_of_help run)
	grep -A1 'options are those of$' "$top/docs/lkvm-sandbox.1" |
		grep -q '^\.BR lkvm-run (1)'
}

# The pages also without roff and blanks: "--on-reset exit|reset|fail",
# "--rng[=KEY=VALUE]" where the value is optional.
@test "the pages show each option's value as help does" {
	for command in $(commands_of_help | grep -vx sandbox); do
		echo "$command"
		diff <("$LKVM" help "$command" | sed -nE \
				's/^.* --([a-z-]+[[ ][^ ]+)(  .*|$)/\1/p' | sort) \
			<(list_of_manual "$command" | grep -A1 '^\.TP' |
				grep '^\.B' |
				sed 's/\\f[A-Z]//g; s/[\\"]//g; s/ *| */|/g' |
				sed -nE 's/^.*--([a-z-]+) +([^ ].*)/\1 \2/p' |
				sed -E 's/ +([],[])/\1/g; s/([],[]) +/\1/g' |
				sort)
	done
}

# Lines "OPTION KEY": those that the help lists after "Keys of --OPTION:", and
# those of the manual's indented parts.
keys_of_help() {
	"$LKVM" help run |
		awk '/^Keys of --/ { of = substr($3, 3); sub(/:/, "", of) }
			of && /^  [a-z]/ {
				key = $1
				sub(/[=[].*/, "", key)
				print of, key
			}' | grep -vx "disk direct" | sort
}

keys_of_manual() {
	sed -E 's/\\//g' "$top/docs/lkvm-run.1" |
		awk '/^\.RS/ { within = 1 } /^\.RE/ { within = 0 }
			title && match($0, /--[a-z0-9-]+/) && !within {
				of = substr($0, RSTART + 2, RLENGTH - 2)
			}
			title && within {
				key = $2
				sub(/[=[].*/, "", key)
				print of, key
			}
			{ title = /^\.TP/ }' | sort
}

@test "the manual and help have the same keys of each option" {
	[ "$(keys_of_help | wc -l)" -ge 20 ]
	diff <(keys_of_help) <(keys_of_manual)
}

@test "the manual names each command and its page, and no other" {
	diff <(commands_of_help) \
		<(sed -n '/^\.SH COMMANDS/,/^\.SH FILES/p' "$top/docs/lkvm.1" |
			sed -n 's/^\.B //p' | sort)
	diff <(commands_of_help) \
		<(sed -n 's/^\.BR lkvm-\([a-z]*\) (1)$/\1/p' "$top/docs/lkvm.1" |
			sort -u)
}

@test "the manual's pages have the version of the program" {
	for page in "$top"/docs/*.1; do
		grep -q "^\.TH .*\"$("$LKVM" version)\"" "$page"
	done
}

@test "man finds nothing to warn of in the manual" {
	for page in "$top"/docs/*.1; do
		run -0 --separate-stderr env LC_ALL=C.UTF-8 MANROFFSEQ= \
			MANWIDTH=80 man --warnings -l "$page"
		[ -z "$stderr" ]
		[[ $output == *"SEE ALSO"* ]]
	done
}

@test "the README's commands are targets of make" {
	for target in demo check; do
		grep -q "^ *make $target\>" "$top/README.md"
	done
	# Each one that it names, in text and examples.
	for target in $(grep -oE '(^ *|`)make( [a-z-]+)+' "$top/README.md" |
		sed 's/.*make//' | tr ' ' '\n' | sort -u); do
		make_here -n "$target" >/dev/null
	done
}

@test "the README's options exist" {
	for option in $(grep -oE '(^|[ `(])--[a-z][a-z-]+' "$top/README.md" |
		grep -o -- '--.*' | sort -u); do
		cat <("$LKVM" help run) <("$LKVM" help stop) |
			grep -q -- " $option\>" ||
			grep -q -- "$option" "$top/scripts/kvm-host"
	done
}

@test "the README's files exist" {
	for file in $(grep -oE '\]\([^)#:]+\)' "$top/README.md" |
		tr -d ']()' | sort -u); do
		[ -e "$top/$file" ]
	done
}

@test "make install puts the program and the manual in their places" {
	make_here install DESTDIR="$scratch/root" PREFIX=/usr
	diff <(cd root && find . -type f -printf '%P %m\n' | grep -v /man1/ |
		sort) - <<-END
	usr/bin/lkvm 755
	usr/share/bash-completion/completions/lkvm 644
	usr/share/fish/vendor_completions.d/lkvm.fish 644
	usr/share/zsh/site-functions/_lkvm 644
	END
	root/usr/bin/lkvm version
	diff <(cd "$top/docs" && sha256sum ./*.1) \
		<(cd root/usr/share/man/man1 && sha256sum ./*)
	for shell in bash:bash-completion/completions/lkvm \
		fish:fish/vendor_completions.d/lkvm.fish \
		zsh:zsh/site-functions/_lkvm; do
		"$LKVM" help --completion "${shell%%:*}" |
			cmp - "root/usr/share/${shell#*:}"
	done
}

@test "make uninstall removes what install made, and nothing else" {
	mkdir -p root/usr/bin root/usr/share/man/man1
	echo mine >root/usr/bin/lkvm-mine
	echo mine >root/usr/share/man/man1/other.1
	before=$(cd root && find . -type f | sort)
	make_here install DESTDIR="$scratch/root" PREFIX=/usr
	[ -e root/usr/bin/lkvm ]
	make_here uninstall DESTDIR="$scratch/root" PREFIX=/usr
	[ "$(cd root && find . -type f | sort)" = "$before" ]
}
