# lkvm: one non-recursive Makefile.
#
#   make            build/lkvm
#   make demo       boot Debian's kernel and a small disk (installs what lacks)
#   make check      all tests; one line of counts at the end
#   make install    DESTDIR and PREFIX as usual
#   make deb        a Debian package of it
#
# Variants build beside each other: CC=clang, SAN=1 (address, undefined),
# SAN=thread. V=1 shows commands.

PREFIX ?= /usr/local
DESTDIR ?=
BINDIR = $(PREFIX)/bin
MANDIR = $(PREFIX)/share/man
BASHDIR = $(PREFIX)/share/bash-completion/completions
ZSHDIR = $(PREFIX)/share/zsh/site-functions
FISHDIR = $(PREFIX)/share/fish/vendor_completions.d

ifeq ($(origin CC),default)
CC = gcc
endif

VARIANT :=
ifneq ($(findstring clang,$(notdir $(CC))),)
VARIANT := $(VARIANT)-clang
endif
ifeq ($(SAN),1)
VARIANT := $(VARIANT)-san
SAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
else ifneq ($(SAN),)
VARIANT := $(VARIANT)-$(SAN)
SAN_FLAGS := -fsanitize=$(SAN)
# gcc cannot follow fences under the thread sanitizer, and says so; clang can.
ifeq ($(findstring clang,$(notdir $(CC))),)
SAN_FLAGS += -Wno-tsan
endif
endif

# Objects and binaries of this variant; guest images are common to all.
O := build$(if $(VARIANT),/$(patsubst -%,%,$(VARIANT)))
export LKVM := $(CURDIR)/$(O)/lkvm

VERSION := 0.1

WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes \
	-Wmissing-prototypes -Wpointer-arith -Wformat=2 -Werror
# A sanitizer wants its own view of memory: no fortified copies then.
HARDEN := -fstack-protector-strong -fPIE \
	$(if $(SAN_FLAGS),,-D_FORTIFY_SOURCE=2)
CFLAGS ?= -O2 -g
# Wire structs are looked at in bytes and in fields.
BASE_CFLAGS := -std=gnu17 -fno-strict-aliasing -D_GNU_SOURCE -DLKVM_VERSION='"$(VERSION)"' \
	-Iinclude -pthread $(WARN) $(HARDEN) $(SAN_FLAGS) -MMD -MP
LDFLAGS_ALL := -pie -Wl,-z,relro,-z,now -pthread $(SAN_FLAGS) $(LDFLAGS)
LIBS := -luring -laio -lz -lzstd -llzma -lfdt -ljansson

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2);)

CORE := core/bucket.c core/bus.c core/irq.c core/log.c core/loop.c \
	core/machine.c core/memory.c core/options.c core/ram.c core/ring.c \
	core/state.c core/stream-open.c core/stream.c core/util.c
DISK := disk/engine-aio.c disk/engine-sync.c disk/engine-uring.c \
	disk/engine.c disk/file-lock.c disk/file.c disk/image.c \
	disk/qcow2-backing.c disk/qcow2-cache.c disk/qcow2-compressed.c \
	disk/qcow2-create.c disk/qcow2-file.c disk/qcow2-io.c disk/qcow2-map.c \
	disk/qcow2-refcount.c disk/qcow2-repair.c disk/qcow2-request.c \
	disk/qcow2-resize.c disk/qcow2.c disk/raw.c disk/throttle.c
NET := net/backend.c net/passt-args.c net/passt.c net/pcap.c net/stream.c \
	net/tap-setup.c net/tap.c net/unix-socket.c net/vsock-connection.c \
	net/vsock.c
HW := hw/boot-timer.c hw/debug-exit.c hw/i8042.c hw/msix.c hw/pci.c \
	hw/power.c hw/pvpanic.c hw/rtc.c hw/serial.c
VIRTIO := virtio/9p-attr.c virtio/9p-fid.c virtio/9p-fs.c \
	virtio/9p-lock.c virtio/9p-ops-attr.c virtio/9p-ops-dir.c \
	virtio/9p-ops-file.c virtio/9p-ops.c virtio/9p-proto.c \
	virtio/9p-serve.c virtio/9p.c virtio/balloon-pages.c virtio/balloon.c \
	virtio/blk-request.c virtio/blk-stats.c virtio/blk.c virtio/console-control.c \
	virtio/console-port.c virtio/console.c virtio/device.c \
	virtio/mmio.c virtio/net-control.c virtio/net-frames.c virtio/net-options.c \
	virtio/net.c virtio/pci.c virtio/pci-notify.c virtio/queue-packed.c \
	virtio/queue-split.c virtio/queue.c virtio/rng.c \
	virtio/vhost-vsock.c virtio/vhost.c virtio/vsock.c virtio/worker.c
X86 := x86/acpi.c x86/aml.c x86/board.c x86/boot-elf.c \
	x86/boot-linux.c x86/boot-version.c x86/boot.c x86/cpuid.c x86/fdt.c x86/mptable.c \
	x86/vcpu-state.c
VMM := vmm/cache.c vmm/console-hub.c vmm/console-text.c \
	vmm/control-block.c vmm/control-commands.c vmm/control-console.c \
	vmm/control-device.c vmm/control-path.c vmm/control-vm.c vmm/control.c \
	vmm/describe.c vmm/device-table.c vmm/dry-run.c vmm/endings.c \
	vmm/event.c vmm/guest-command.c vmm/guest-init.c vmm/initrd.c \
	vmm/json-frame.c vmm/modules-pack.c vmm/modules.c vmm/output.c \
	vmm/pin.c vmm/prompt.c vmm/rootfs-image.c vmm/rootfs.c vmm/stats.c \
	vmm/terminal.c vmm/tty.c vmm/unpack.c vmm/vcpu.c vmm/vm-create.c \
	vmm/vm.c
COMMANDS := builtin-balloon.c builtin-client.c builtin-completion.c \
	builtin-console.c builtin-debug.c builtin-help.c builtin-list.c \
	builtin-pause.c builtin-run-guest.c builtin-run-options.c \
	builtin-run.c builtin-sandbox.c builtin-setup.c builtin-stat.c \
	builtin-stop.c builtin-top-view.c builtin-top.c builtin-version.c
MAIN := main.c

LIB_SRC := $(CORE) $(DISK) $(NET) $(HW) $(VIRTIO) $(X86) $(VMM) $(COMMANDS)
SRC := $(LIB_SRC) $(MAIN)
LIB_OBJ := $(LIB_SRC:%.c=$(O)/obj/%.o)
OBJ := $(SRC:%.c=$(O)/obj/%.o)

# Each unit test is one program over the library.
UNIT_SRC := $(wildcard tests/unit/test-*.c)
UNIT := $(UNIT_SRC:%.c=$(O)/%)

all: $(O)/lkvm

$(O)/lkvm: $(OBJ)
	$(call say,LD,$@)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# What runs as the first process of a guest, without a library.
INIT_SRC := $(wildcard guest/*.c)
INIT_FLAGS := -std=gnu17 -Iinclude $(WARN) -Os -ffreestanding -fno-pie -static \
	-nostdlib -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -s \
	-Wl,--build-id=none,-z,noexecstack,-z,norelro,-z,noseparate-code

$(O)/guest-init: $(INIT_SRC) $(wildcard guest/*.h) \
		include/lkvm/guest-protocol.h Makefile
	@mkdir -p $(@D)
	$(call say,INIT,$@)$(CC) $(INIT_FLAGS) -o $@ $(INIT_SRC)

$(O)/obj/vmm/guest-init.o build/fuzz/obj/vmm/guest-init.o: $(O)/guest-init
BASE_CFLAGS += -DGUEST_INIT_FILE='"$(O)/guest-init"'

$(O)/liblkvm.a: $(LIB_OBJ)
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $^

$(O)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(BASE_CFLAGS) $(CFLAGS) -c -o $@ $<

$(O)/tests/%: tests/%.c $(O)/liblkvm.a Makefile
	@mkdir -p $(@D)
	$(call say,TEST,$@)$(CC) $(BASE_CFLAGS) $(CFLAGS) $(LDFLAGS_ALL) \
		-o $@ $< $(O)/liblkvm.a -lcmocka $(LIBS)

# Tests of tests/kvm share a harness, and run tiny guests: 32- and 64-bit ELF
# kernels in assembly.
KVM_SRC := $(wildcard tests/kvm/test-*.c)
KVM_TESTS := $(KVM_SRC:%.c=$(O)/%)
GUEST_SRC := $(wildcard tests/kvm/guests/*.S)
GUESTS := $(GUEST_SRC:%.S=$(O)/%.elf)
HARNESS := $(O)/obj/tests/kvm/harness.o

$(KVM_TESTS): $(O)/%: %.c $(HARNESS) $(O)/liblkvm.a Makefile | $(GUESTS)
	@mkdir -p $(@D)
	$(call say,TEST,$@)$(CC) $(BASE_CFLAGS) $(CFLAGS) $(LDFLAGS_ALL) \
		-o $@ $< $(HARNESS) $(O)/liblkvm.a -lcmocka $(LIBS)

$(O)/tests/kvm/guests/%.elf: tests/kvm/guests/%.S tests/kvm/guests/guest.h \
		Makefile
	@mkdir -p $(@D)
	$(call say,GUEST,$@)gcc $(if $(findstring 64,$*),-m64,-m32) -nostdlib \
		-static -no-pie -Wl,--build-id=none,-z,noexecstack \
		-Wl,-Ttext=0x100000,-n -o $@ $<

# Programs and guests of the benchmarks.
BENCH := $(O)/tests/bench/bare-kvm $(O)/tests/bench/cpu-time \
	$(O)/tests/bench/qmp-time \
	$(O)/tests/bench/exit.elf $(O)/tests/bench/halt.elf

$(O)/tests/bench/%: tests/bench/%.c Makefile
	@mkdir -p $(@D)
	$(call say,BENCH,$@)$(CC) $(BASE_CFLAGS) -O2 -o $@ $<

$(O)/tests/bench/%.elf: tests/bench/guests/%.S Makefile
	@mkdir -p $(@D)
	$(call say,GUEST,$@)gcc -m32 -nostdlib -static -no-pie \
		-Wl,--build-id=none,-z,noexecstack,-Ttext=0x100000,-n \
		-o $@ $<

tests: $(UNIT) $(KVM_TESTS) $(GUESTS)

deps:
	@scripts/install-deps

# The kernel and disk that the README speaks of.
demo: deps
	@$(MAKE) --no-print-directory all
	@scripts/guest-images cloud disk
	@scripts/demo

# What the tests boot; a run that only wants unit tests needs none of it.
images:
	@scripts/guest-images all

check: deps
	@$(MAKE) --no-print-directory all tests hdr-check layer-check images
	@LKVM_TESTS=$(CURDIR)/$(O)/tests tests/run

# Fuzz targets are clang's, over a library of their own. Inputs that find new
# paths stay in build/fuzz/corpus; seeds are in tests/fuzz/corpus.
FUZZ_SECONDS ?= 60
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_OBJ := $(LIB_SRC:%.c=build/fuzz/obj/%.o)
FUZZ_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined

build/fuzz/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call say,FUZZ,$<)clang $(filter-out -D_FORTIFY_SOURCE%,$(BASE_CFLAGS)) \
		-O1 -g $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -c -o $@ $<

build/fuzz/liblkvm.a: $(FUZZ_OBJ)
	@rm -f $@ && $(AR) rcs $@ $^

build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c build/fuzz/liblkvm.a Makefile
	$(call say,FUZZ,$@)clang $(filter-out -D_FORTIFY_SOURCE%,$(BASE_CFLAGS)) \
		-O1 -g $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $< \
		build/fuzz/liblkvm.a $(LIBS)

# make fuzz, or one target: make fuzz-qcow2.
fuzz: $(FUZZ:%=fuzz-%)

fuzz-%: build/fuzz/fuzz_%
	@mkdir -p build/fuzz/corpus/$* tests/fuzz/corpus/$*
	cd build/fuzz && ./fuzz_$* -max_total_time=$(FUZZ_SECONDS) -timeout=20 \
		-print_final_stats=1 corpus/$* ../../tests/fuzz/corpus/$*

# One kind: make check-unit, check-cli, check-kvm, check-boot, check-hostile.
check-%: all tests
	@LKVM_TESTS=$(CURDIR)/$(O)/tests tests/run $*

# Each header compiles alone.
HEADERS := $(wildcard include/lkvm/*.h)
hdr-check: $(HEADERS:include/%.h=$(O)/hdr/%.ok)

$(O)/hdr/%.ok: include/%.h Makefile
	@mkdir -p $(@D)
	$(call say,HDR,$<)$(CC) $(BASE_CFLAGS) -MF $(O)/hdr/$*.d -MT $@ \
		-fsyntax-only -x c $< && touch $@

layer-check:
	@scripts/check-layers

# Static analysis: any finding is an error. gcc 12 loses objects of which only
# a pointer to a member is kept (container_of), and calls them leaks;
# LeakSanitizer watches those. cppcheck does not see through the loops of
# <sys/queue.h>, which qcow2 uses. clang-tidy counts on stderr what it leaves out.
ANALYZE_SRC := $(SRC:%=analyze/%) $(INIT_SRC:%=analyze/%)
ANALYZE_FLAGS := $(filter-out -MMD -MP -fstack-protector% -D_FORTIFY%, \
	$(BASE_CFLAGS))
analyze: $(ANALYZE_SRC)
	$(call say,ANALYZE,cppcheck)cppcheck --quiet --error-exitcode=1 \
		--std=c11 --enable=warning,performance,portability \
		'--suppress=uninitvar:disk/qcow2-*.c' \
		-D_GNU_SOURCE -Iinclude $(SRC) $(INIT_SRC)

$(INIT_SRC:%=analyze/%): ANALYZE_FLAGS := $(filter-out -s -Wl%,$(INIT_FLAGS))
$(ANALYZE_SRC): analyze/%: | analyze-deps
	$(call say,ANALYZE,$*)gcc $(ANALYZE_FLAGS) -O1 -fanalyzer \
		-Wno-analyzer-malloc-leak -c -o /dev/null $*
	$(Q)clang-tidy --quiet $* -- $(ANALYZE_FLAGS) 2>/dev/null

analyze-deps:
	@scripts/install-deps build dev

bench: deps
	@$(MAKE) --no-print-directory all images $(BENCH)
	@LKVM_TESTS=$(CURDIR)/$(O)/tests tests/bench/run

# Shells complete by what the program's own tables say.
COMPLETION := $(O)/completion/bash $(O)/completion/zsh $(O)/completion/fish
$(COMPLETION): $(O)/completion/%: $(O)/lkvm
	@mkdir -p $(@D)
	$(call say,MAKE,$@)$(O)/lkvm help --completion $* >$@.new && mv $@.new $@

MANUAL := $(wildcard docs/*.1)

install: all $(COMPLETION)
	install -D -m 755 $(O)/lkvm $(DESTDIR)$(BINDIR)/lkvm
	install -d $(DESTDIR)$(MANDIR)/man1
	install -m 644 $(MANUAL) $(DESTDIR)$(MANDIR)/man1
	install -D -m 644 $(O)/completion/bash $(DESTDIR)$(BASHDIR)/lkvm
	install -D -m 644 $(O)/completion/zsh $(DESTDIR)$(ZSHDIR)/_lkvm
	install -D -m 644 $(O)/completion/fish $(DESTDIR)$(FISHDIR)/lkvm.fish

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/lkvm $(DESTDIR)$(BASHDIR)/lkvm \
		$(DESTDIR)$(ZSHDIR)/_lkvm $(DESTDIR)$(FISHDIR)/lkvm.fish \
		$(MANUAL:docs/%=$(DESTDIR)$(MANDIR)/man1/%)

# The package goes to build/deb, once lintian has found no error in it. What is
# in it is the default build.
ifeq ($(VARIANT),)
deb: all
else
deb:
	$(error make deb packs the default build: leave out CC and SAN)
endif
	@scripts/make-deb $(VERSION)

clean:
	rm -rf build/obj build/lkvm build/liblkvm.a build/guest-init build/tests \
		build/hdr build/completion build/deb \
		build/clang* build/san* build/thread* build/fuzz

distclean:
	rm -rf build

.PHONY: all tests deb deps demo images check hdr-check layer-check analyze \
	analyze-deps bench fuzz install uninstall clean distclean $(ANALYZE_SRC)
.SECONDARY:

-include $(OBJ:.o=.d) $(UNIT:=.d) $(KVM_TESTS:=.d) $(HARNESS:.o=.d) \
	$(HEADERS:include/%.h=$(O)/hdr/%.d) $(FUZZ_OBJ:.o=.d) \
	$(FUZZ:%=build/fuzz/fuzz_%.d)
