# The console: what goes in comes out, on pipes and on terminals.

# Input that comes before the guest listens is not lost.
test_piped_input() {
	printf 'echo h$((40+2))\npoweroff -f\n' >typed
	cat typed - </dev/null | {
		boot cloud ''
		ended 0
	}
	says '^h42'
}

test_stdin_file() {
	printf 'echo h$((40+2))\npoweroff -f\n' >typed
	boot cloud '' <typed
	ended 0
	says '^h42'
}

# bytes_after MARK COUNT: what the guest has said after the line MARK.
bytes_after() {
	local at
	at=$(grep -abo "^$1" console | head -n 1 | cut -d : -f 1)
	tail -c +$((at + ${#1} + 2)) console | head -c "$2"
}

test_output() {
	boot cloud "stty raw -echo </dev/console
		dd if=/dev/urandom of=/data bs=64k count=$1 2>/dev/null
		echo sha=\$(sha /data)
		echo DATA
		cat /data
		echo
		echo END"
	ended 0
	same sha "$(bytes_after DATA $(($1 << 16)) | sha)" "$(value sha)"
}

# The guest takes its time; nothing is lost on the way.
test_input() {
	random 32K >data
	mkfifo in
	exec 9<>in
	start cloud 'stty raw -echo </dev/console
		echo ready
		sleep 1
		head -c 32768 </dev/console >/data
		echo sha=$(sha /data)' <in
	await '^ready'
	cat data >&9
	finish
	ended 0
	same sha "$(value sha)" "$(sha data)"
}

# More than pipe and buffer hold: a reader that sleeps holds the guest back.
test_slow_reader() {
	prepare cloud 'seq 1 25000'
	"${command[@]}" 2>errors | {
		sleep 8
		cat >console
	}
	text | grep -Ex '[0-9]+' >got
	seq 1 25000 | cmp - got
}

test_closed_stdout() {
	prepare cloud 'seq 1 3000; poweroff -f'
	set +e
	"${command[@]}" 2>errors | head -n 1 >console
	status=${PIPESTATUS[0]}
	set -e
	ended 0
}

test_closed_stdin() {
	boot cloud 'echo still here' <&-
	ended 0
	says '^still here'
}

# on_terminal: runs $command on a terminal of its own, types what comes by
# file descriptor 9; sets $pid to lkvm's. Before and after, the terminal's
# state is noted.
on_terminal() {
	need script
	{
		echo 'stty -a >before'
		printf '%q ' sh -c 'echo $$ >pid; exec "$@"' sh "${command[@]}"
		echo '2>errors'
		echo 'echo $? >status; stty -a >after'
	} >commands
	mkfifo in
	exec 9<>in
	script -qefc 'bash ./commands' console <in >/dev/null 2>&1 9>&- &
	terminal=$!
	until [ -s pid ]; do sleep 0.1; done
	pid=$(<pid)
}

# The exit status, and the terminal as it was.
off_terminal() {
	wait "$terminal" || true
	status=$(<status)
	cmp before after
}

test_ctrl_a_x() {
	prepare cloud ''
	on_terminal
	await 'job control|~ #'
	printf 'echo h$((40+2))\r' >&9
	await '^h42'
	printf '\1h' >&9
	await 'Ctrl-a x +quit'
	# Ctrl-c is the guest's
	printf 'sleep 1000\r' >&9
	sleep 1
	printf '\3echo h$((50+2))\r' >&9
	await '^h52'
	printf '\1x' >&9
	off_terminal
	ended 0
}

# The guest hears no key meanwhile, and nothing at all while it is paused.
test_prompt() {
	prepare cloud 'stty -echo </dev/console
		echo booted
		while read -r line </dev/console; do echo "got $line"; done'
	on_terminal
	await '^booted'
	printf '\1chelp\r' >&9
	await '^powerdown +press'
	printf 'pauze\bse\b\b\b\025pause\rnonsense\r' >&9
	await "there is no command 'nonsense'"
	printf '\1clate\r' >&9
	# lkvm has read that when it answers this
	printf '\1cstats\r' >&9
	await '^vcpu0 +pio '
	says_not '^got'
	printf 'resume\r\1c' >&9
	await '^got late'
	printf '\1creset\r\1c' >&9
	await '^booted' 2
	printf 'hello\r' >&9
	await '^got hello'
	printf '\1cpause\rquit\r' >&9
	off_terminal
	ended 0
	says_not 'got .*(help|pause|stats|resume|reset)'
}

test_terminal_end() {
	prepare cloud 'echo spinning; while :; do :; done'
	on_terminal
	await '^spinning'
	stty -a <"/proc/$pid/fd/0" >raw
	grep -q -- '-icanon' raw || fail "the terminal is not raw"
	kill "-$1" "$pid"
	off_terminal
	ended "$2"
}

test_terminal_poweroff() {
	prepare cloud 'poweroff -f'
	on_terminal
	off_terminal
	ended 0
}

# tty N: waits until lkvm has said what port N is; prints that.
tty_of() {
	until sed -n "s/^lkvm: ttyS$1 is //p" errors | grep '^/dev/pts/'; do
		sleep 0.1
	done
}

# The console on one, a program on the other, lkvm's own streams on neither.
test_ttys() {
	local one
	start cloud 'exec 5<>/dev/ttyS1
		stty raw -echo <&5
		echo ready >&5
		read -r line <&5
		echo back $line >&5
		read -r line
		echo and $line' --tty 0 --tty 1
	cat "$(tty_of 0)" >shown &
	one=$(tty_of 1)
	exec 8<>"$one"
	read -r line <&8
	same "ttyS1" "$line" ready
	echo first >&8
	read -r line <&8
	same "ttyS1" "$line" "back first"
	echo second >"$(tty_of 0)"
	finish
	ended 0
	[ ! -s console ] || fail "stdout has what is the pseudo-terminal's"
	text shown | grep -q '^and second' || fail "ttyS0 did not answer"
}

promise "piped input reaches the guest's shell" test_piped_input
promise "--tty: serial ports are pseudo-terminals" test_ttys
promise "input from a file reaches the guest's shell" test_stdin_file
# Each byte is an exit of the guest, slow in the software host. LKVM_LONG=1:
# more than any buffer holds, which tests/kvm's tiny guests have by default.
promise "64 KiB of binary output arrive whole" test_output 1
promise "32 KiB of binary input arrive whole" test_input
[ -z "${LKVM_LONG:-}" ] || {
	promise "256 KiB of binary output arrive whole" test_output 4
	promise "a slow reader of stdout loses nothing" test_slow_reader
}
promise "a closed stdout does not end the guest" test_closed_stdout
promise "a closed stdin does not end the guest" test_closed_stdin
promise "on a terminal, keys reach the guest and Ctrl-a x quits" test_ctrl_a_x
promise "Ctrl-a c opens a prompt that commands the machine" test_prompt
promise "the terminal is restored after power-off" test_terminal_poweroff
promise "the terminal is restored after SIGTERM" test_terminal_end TERM 143
promise "the terminal is restored after a crash" test_terminal_end SEGV 139
