#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The Debian package.

load helpers

@test "make deb builds a package in which lintian finds no error" {
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u CC -u SAN \
		make -s -C "$top" deb >made
	package=$top/$(tail -n 1 made)
	[ ! -s "$top/build/deb/lintian" ] || ! grep '^E:' "$top/build/deb/lintian"
	dpkg -x "$package" root
	[ "$(root/usr/bin/lkvm version)" = "$("$LKVM" version)" ]
	for file in man/man1/lkvm.1.gz zsh/vendor-completions/_lkvm \
		bash-completion/completions/lkvm doc/lkvm/copyright \
		fish/vendor_completions.d/lkvm.fish; do
		[ -s "root/usr/share/$file" ]
	done
	diff <(cd "$top/docs" && printf '%s.gz\n' *.1) \
		<(ls root/usr/share/man/man1)
	[ "$(dpkg-deb -f "$package" Recommends)" = passt ]
	# Each library that the program wants comes with a package.
	depends=$(dpkg-deb -f "$package" Depends)
	for library in c6 aio1 fdt1 jansson4 lzma5 uring2 zstd1; do
		[[ $depends == *"lib$library ("* ]]
	done
}

@test "the package's version is the program's" {
	mkdir copy
	cp -a "$top/scripts" copy
	for version in 0.1 0.2; do
		sed -i "1s/(.*)/($version)/" copy/scripts/debian/changelog
		[ "lkvm $version" != "$("$LKVM" version)" ] || continue
		run -1 copy/scripts/make-deb "$("$LKVM" version | cut -c 6-)"
		[[ $output == "make-deb: this is version "* ]]
	done
}

@test "no package is made of a variant" {
	for variant in CC=clang SAN=1; do
		run -2 env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL \
			make -s -C "$top" deb "$variant"
		[[ $output == *"make deb packs the default build: leave out CC and SAN"* ]]
	done
}
