# A terminal as people have it: keys, its size, and what is left of it.

tmux_() {
	env -u TMUX tmux -f /dev/null -S ./socket "$@"
}

# in_tmux: runs $command on a terminal of tmux's, in a shell that goes on
# after it; sets $pid to lkvm's.
in_tmux() {
	need tmux
	{
		echo 'stty -a >before'
		printf '%q ' sh -c 'echo $$ >pid; exec "$@"' sh "${command[@]}"
		echo '2>errors'
		echo 'echo $? >status.new; stty -a >after; mv status.new status'
		echo 'exec sh'
	} >commands
	tmux_ new-session -d -x 100 -y 30 'exec bash ./commands'
	trap 'tmux_ kill-server 2>/dev/null || true' EXIT
	until [ -s pid ]; do sleep 0.1; done
	pid=$(<pid)
}

# shows REGEX: waits until the screen does.
shows() {
	until tmux_ capture-pane -p >screen && grep -Eq -- "$1" screen; do
		sleep 0.1
	done
}

keys() {
	tmux_ send-keys "$@"
}

# left STATUS: lkvm's, and the terminal is what it was: it echoes, and its keys
# are the shell's.
left() {
	until [ -e status ]; do sleep 0.1; done
	status=$(<status)
	ended "$1"
	cmp before after
	keys 'echo sane$((1+1))' Enter
	shows '^sane2'
}

test_tmux_keys() {
	prepare cloud ''
	in_tmux
	shows '~ # $'
	stty -a <"/proc/$pid/fd/0" >raw
	grep -q -- '-icanon' raw || fail "the terminal is not raw"
	keys 'echo h$((40+2))' Enter
	shows '^h42'
	keys 'sleep 1000' Enter
	shows 'sleep 1000'
	keys C-c
	keys 'echo h$((50+2))' Enter
	shows '^h52'
	# not this one, which is lkvm's; and then once to the guest
	keys C-a h
	shows 'Ctrl-a x +quit'
	keys 'stty -icanon; dd bs=1 count=1 2>/dev/null | hexdump -C; stty icanon' \
		Enter
	sleep 1
	keys C-a a
	shows '^0+ +01 '
	keys C-a x
	left 0
}

test_tmux_size() {
	prepare cloud 'while :; do
			echo "size $(stty size </dev/hvc0)"
			sleep 0.3
		done' --console virtio -p 'console=hvc0 panic=-1'
	in_tmux
	shows '^size 30 100'
	tmux_ resize-window -x 120 -y 40
	shows '^size 40 120'
	tmux_ resize-window -x 70 -y 12
	shows '^size 12 70'
	keys C-a x
	left 0
}

test_tmux_crash() {
	prepare cloud 'echo spinning; while :; do :; done'
	in_tmux
	shows '^spinning'
	kill "-$1" "$pid"
	left "$2"
}

# Suspended from outside, the shell has its terminal; and back.
test_tmux_stop() {
	prepare cloud 'echo ready
		read -r line </dev/console
		echo "got $line"; sleep 1000'
	in_tmux
	shows '^ready'
	kill -TSTP "$pid"
	until grep -q 'State:.T' "/proc/$pid/status"; do sleep 0.1; done
	stty -a <"/proc/$pid/fd/0" >stopped
	cmp before stopped
	kill -CONT "$pid"
	until stty -a <"/proc/$pid/fd/0" | grep -q -- '-icanon'; do
		sleep 0.1
	done
	keys hello Enter
	shows '^got hello'
	keys C-a x
	left 0
}

# The window is closed: nobody is there, and lkvm ends.
test_tmux_closed() {
	prepare cloud 'echo spinning; while :; do :; done'
	in_tmux
	shows '^spinning'
	tmux_ kill-server
	while [ -d "/proc/$pid" ]; do sleep 0.1; done
}

# LKVM_LONG=1: terminals within terminals are slow in an emulated host.
if [ -n "${LKVM_LONG:-}" ]; then
	promise "tmux: keys reach the guest, and Ctrl-a lkvm" test_tmux_keys
	promise "tmux: the guest's terminal has the window's size" test_tmux_size
	promise "tmux: a crash leaves a sane terminal" test_tmux_crash SEGV 139
	promise "tmux: SIGTERM leaves a sane terminal" test_tmux_crash TERM 143
	promise "tmux: a stopped lkvm leaves the terminal alone" test_tmux_stop
	promise "tmux: a closed window ends the run" test_tmux_closed
fi
