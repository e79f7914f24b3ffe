#!/bin/sh
# Installs plane for the current user. Usage:
#
#   PLANE_DOWNLOAD_URL=URL sh install.sh [--to DIR] [--version VERSION]
#
# PLANE_DOWNLOAD_URL is the directory of a release: SHA256SUMS and the archives
# that it lists. https://, file:// and, from this machine only, http:// will do.
# DIR is ~/.local/bin unless said otherwise. Nothing is installed unless its
# checksum is the one listed.
set -eu

fail() {
	echo "install.sh: $*" >&2
	exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# fetch URL FILE
fetch() {
	case $1 in
	file://*)
		cp "${1#file://}" "$2" || fail "can't read $1"
		;;
	*)
		if has curl; then
			curl -fsSL -o "$2" "$1" || fail "can't download $1"
		elif has wget; then
			wget -q -O "$2" "$1" || fail "can't download $1"
		else
			fail "install curl or wget, one of them downloads"
		fi
		;;
	esac
}

# checksum FILE prints 64 hexadecimal digits.
checksum() {
	if has sha256sum; then
		sha256sum "$1" | cut -c 1-64
	elif has shasum; then
		shasum -a 256 "$1" | cut -c 1-64
	elif has openssl; then
		openssl dgst -sha256 -r "$1" | cut -c 1-64
	else
		fail "install sha256sum, shasum or openssl, one of them verifies the download"
	fi
}

platform() {
	case $(uname -s) in
	Linux) os=linux ;;
	Darwin) os=darwin ;;
	*) fail "there is no build for $(uname -s); build from source with: go build ./cmd/plane" ;;
	esac
	case $(uname -m) in
	x86_64 | amd64) arch=amd64 ;;
	aarch64 | arm64) arch=arm64 ;;
	*) fail "there is no build for $(uname -m); build from source with: go build ./cmd/plane" ;;
	esac
}

# choose sets archive and sum from the list of checksums.
choose() {
	archive='' sum=''
	while read -r digits name; do
		name=${name#\*} # as sha256sum -b writes it
		case $name in
		*/*) continue ;;
		plane_"${version:-*}"_"${os}_${arch}.tar.gz") ;;
		plane_*_"${os}_${arch}.tar.gz") [ -z "$version" ] || continue ;;
		*) continue ;;
		esac
		[ -z "$archive" ] || fail "$base has several versions for $os/$arch; choose one with --version"
		archive=$name sum=$digits
	done <"$work/SHA256SUMS"
	[ -n "$archive" ] || fail "$base/SHA256SUMS lists nothing for ${version:+version $version on }$os/$arch"
	case $sum in
	*[!0-9a-f]*) sum='' ;;
	esac
	[ ${#sum} -eq 64 ] || fail "$base/SHA256SUMS is damaged: the checksum of $archive isn't one"
}

main() {
	to=${HOME:+$HOME/.local/bin} version=''
	while [ $# -gt 0 ]; do
		case $1 in
		--to | --version)
			[ $# -ge 2 ] || fail "$1 needs a value"
			[ "$1" = --to ] && to=$2 || version=$2
			shift 2
			;;
		*) fail "$1 isn't known; usage: PLANE_DOWNLOAD_URL=URL sh install.sh [--to DIR] [--version VERSION]" ;;
		esac
	done
	[ -n "$to" ] || fail "HOME isn't set; say where to install with --to DIR"
	base=${PLANE_DOWNLOAD_URL:-}
	base=${base%/}
	case $base in
	'') fail "set PLANE_DOWNLOAD_URL to the directory of a release, e.g. file:///tmp/plane/dist" ;;
	https://* | file:///*) ;;
	http://127.0.0.1[:/]* | http://localhost[:/]* | http://\[::1\][:/]*) ;;
	http://*) fail "PLANE_DOWNLOAD_URL: what comes over http:// can be changed on the way; use https://" ;;
	*) fail "PLANE_DOWNLOAD_URL must begin with https:// or file:///" ;;
	esac
	platform

	work=$(mktemp -d)
	staged=''
	trap 'rm -rf "$work"; [ -z "$staged" ] || rm -f "$staged"' EXIT
	trap 'exit 1' HUP INT TERM
	fetch "$base/SHA256SUMS" "$work/SHA256SUMS"
	choose
	fetch "$base/$archive" "$work/$archive"
	got=$(checksum "$work/$archive")
	[ "$got" = "$sum" ] || fail "$archive isn't what SHA256SUMS lists: nothing was installed.
  listed:     $sum
  downloaded: $got
Download it again; if that doesn't help, tell whoever gave you the address."
	tar -xzf "$work/$archive" -C "$work" plane || fail "$archive has no plane in it"
	about=$("$work/plane" version) || fail "the program doesn't run on this machine ($os/$arch)"

	mkdir -p "$to" || fail "can't make $to; choose another directory with --to"
	staged=$to/.plane.new.$$ # renamed: a plane that runs keeps its own file
	cp "$work/plane" "$staged" && chmod 755 "$staged" && mv -f "$staged" "$to/plane" ||
		fail "can't write to $to; choose another directory with --to"
	staged=''
	echo "$about is $to/plane"
	case ":$PATH:" in
	*":$to:"*) ;;
	*) echo "$to isn't on your PATH; add it: export PATH=\"$to:\$PATH\"" ;;
	esac
}

main "$@"
