# shellcheck shell=bash
# Makes the image that this program replaces run in a world of tests, for scripts that source this.

# prepare_original DIR TO: its scripts, from a checkout, as its image has them, and small programs of ours that come first
# in its PATH, for what it has on Alpine and Debian lacks: cut -F and pidof of BusyBox, curl with c-ares, grepcidr,
# openresolv.
prepare_original() {
	local original=$1 to=$2 program
	for program in jq getpcaps patch perl; do
		command -v "$program" >/dev/null || {
			echo "the original needs $program: install jq, libcap2-bin, patch and perl" >&2
			return 1
		}
	done
	mkdir -p "$to/scripts" "$to/bin"
	cp "$original"/{run,healthcheck.sh,pf_success.sh} "$original"/extra/*.sh "$to/scripts/"
	cp "$(command -v wg-quick)" "$to/bin/wg-quick"
	# The patch is for Alpine's wg-quick; an older one gets what matters of it: neither read-only sysctls nor, where the
	# user says so, refused rules are fatal.
	local patch=("$to/bin/wg-quick" "$original/patches/wg-quick.diff")
	if patch --quiet --force --dry-run "${patch[@]}" >/dev/null; then
		patch --quiet "${patch[@]}"
	else
		# shellcheck disable=SC2016
		sed -i -e 's/cmd sysctl -q \(.*src_valid_mark=1\)/{ sysctl -q \1 || true; }/' \
			-e 's/cmd $iptables-restore -n$/& || [[ $ALLOW_MISSING_IPTABLES_RULES == 1 ]]/' "$to/bin/wg-quick"
	fi
	cat >"$to/bin/cut" <<-'SHIM'
		#!/bin/bash
		[[ $1 == -F* ]] && exec awk "{print \$${1#-F}}"
		exec /usr/bin/cut "$@"
	SHIM
	# By the name of the process, which for a script is the script's.
	cat >"$to/bin/pidof" <<-'SHIM'
		#!/bin/bash
		for comm in /proc/[0-9]*/comm; do
			read -r name <"$comm" 2>/dev/null && [[ $name == "$1" ]] && found=1
		done
		[[ $found ]]
	SHIM
	# The name is asked for at the server and by the interface that c-ares would be told.
	cat >"$to/bin/curl" <<-'SHIM'
		#!/bin/bash
		words=() device='' server='' known=''
		while (($#)); do
			case $1 in
			--dns-interface) device=$2 && shift 2 ;;
			--dns-servers) server=$2 && shift 2 ;;
			--resolve) known=1 words+=("$1" "$2") && shift 2 ;;
			https://*) url=$1 words+=("$1") && shift ;;
			*) words+=("$1") && shift ;;
			esac
		done
		host=${url#https://} && host=${host%%/*} && host=${host%%:*}
		if [[ $server && ! $known && $host == *[a-z]* ]]; then
			address=$("${0%/*}/ask" "$device" "$server" "$host") || { echo "curl: cannot resolve $host" >&2 && exit 6; }
			words+=(--resolve "$host:443:$address")
		fi
		exec /usr/bin/curl "${words[@]}"
	SHIM
	cat >"$to/bin/ask" <<-'SHIM'
		#!/usr/bin/perl
		# ask DEVICE SERVER NAME: the first address of a name.
		use strict;
		use warnings;
		use Socket;
		my ($device, $server, $name) = @ARGV;
		socket(my $socket, PF_INET, SOCK_DGRAM, 0) or die;
		setsockopt($socket, SOL_SOCKET, 25, pack('Z*', $device)) or die;
		my $asked = join('', map { pack('C/a*', $_) } split /\./, $name) . "\0" . pack('n2', 1, 1);
		for (1 .. 3) {
			send($socket, pack('n6', $$ & 0xffff, 0x100, 1, 0, 0, 0) . $asked, 0, sockaddr_in(53, inet_aton($server)));
			my $set = '';
			vec($set, fileno($socket), 1) = 1;
			next unless select($set, undef, undef, 2);
			defined recv($socket, my $answer, 4096, 0) or next;
			my $at = 12 + length $asked;
			for (1 .. unpack('n', substr($answer, 6, 2))) {
				my $label;
				$at += 1 + $label while ($label = ord substr($answer, $at, 1)) && $label < 192;
				$at += $label ? 2 : 1;
				my ($type, undef, undef, $length) = unpack('nnNn', substr($answer, $at, 10));
				print(inet_ntoa(substr($answer, $at + 10, 4)), "\n"), exit 0 if $type == 1;
				$at += 10 + $length;
			}
			exit 1;
		}
		exit 1;
	SHIM
	cat >"$to/bin/grepcidr" <<-'SHIM'
		#!/bin/bash
		exit 1
	SHIM
	# As openresolv does for wg-quick: the tunnel's lines alone while it is there.
	cat >"$to/bin/resolvconf" <<-'SHIM'
		#!/bin/bash
		former=/run/resolv.former
		case $1 in
		-a) [[ -e $former ]] || cat /etc/resolv.conf >"$former" && cat >/etc/resolv.conf ;;
		-d) [[ ! -e $former ]] || { cat "$former" >/etc/resolv.conf && rm "$former"; } ;;
		esac
	SHIM
	chmod 755 "$to"/scripts/* "$to"/bin/*
}
