# shellcheck shell=bash
# Read by an unpatched wg-quick through BASH_ENV: tolerant versions of the programs that it calls.
#
# wireguard-pia writes it to /run/wireguard-pia, below lines that set these variables:
# WIREGUARD_PIA_BIN names the folder with links to the chosen iptables, or is empty; WIREGUARD_PIA_LEGACY=1 says that
# the kernel's nf_tables is not to be used; ALLOW_MISSING_IPTABLES_RULES=1 skips rules that the kernel has no module for.
# WIREGUARD_PIA_ALIAS and WIREGUARD_PIA_PROTOCOL mark the interface and the routing rules as ours.
unset BASH_ENV

# /etc/resolv.conf is written by wireguard-pia itself: it is a bind mount that openresolv refuses to touch. The input
# must be read all the same, or the writer would get SIGPIPE.
resolvconf() {
	[[ $1 != -a ]] || while read -r _; do :; done
}

# /proc/sys is read-only in an unprivileged container; wireguard-pia warns where the missing setting matters.
sysctl() {
	local name=${!#} value
	local file=/proc/sys/${name%%=*}
	file=${file//.//}
	if [[ $name == *=* ]]; then
		{ echo "${name#*=}" >"$file"; } 2>/dev/null || true
	elif read -r value <"$file"; then
		echo "$value"
	fi
}

# What has our marks is ours; what others have of the same shape is neither seen nor deleted.
ip() {
	local words=("$@")
	if [[ ${2-} == rule && ${3-} == @(add|delete|show) ]]; then
		words+=(protocol "$WIREGUARD_PIA_PROTOCOL")
	elif [[ "${*:1:3}" == 'link set mtu' ]]; then
		words+=(alias "$WIREGUARD_PIA_ALIAS")
	fi
	if __is_bringing_up; then
		case $* in
		"link show dev $INTERFACE") __has_interface "$INTERFACE" || return 1 ;;
		"-o -4 addr show dev $INTERFACE") __show_addresses && return ;;
		esac
		case "${FUNCNAME[2]-} $*" in
		'add_addr -4 address add '*)
			__changes+=("${words[*]:1}")
			return
			;;
		'set_mtu_up link set mtu '*)
			__changes+=("${words[*]}")
			__change
			return
			;;
		'add_default -4 route add '* | 'add_default -4 rule add '*)
			__changes+=("${words[*]:1}")
			((${#__changes[@]} < __DEFAULT_CHANGES)) || __change
			return
			;;
		esac
		__change || return
	fi
	command ip "${words[@]}"
}

# wg-quick gives the interface its addresses and its link, and later the default route and the rules that lead to it, in
# an order that is another one in newer versions. Of each of the two, all is done by one program, when the last of it is
# asked for: a program costs a start more than a millisecond, and does as little alone.
__changes=()
__DEFAULT_CHANGES=3
__change() {
	local changes
	((BASH_SUBSHELL == 0 && ${#__changes[@]} > 0)) || return 0
	printf -v changes '%s\n' "${__changes[@]}"
	changes=${changes%$'\n'}
	__changes=()
	command ip -4 -batch - <<<"$changes" && return
	echo "ip: one of these could not be done: ${changes//$'\n'/; }" >&2
	return 1
}

# Below, what wg-quick asks programs for that can be told without one: each costs a start two milliseconds. What is asked
# in any other form, or by a hook of the configuration, is the program's to answer.

# Whether wg-quick asks for itself while it brings an interface up, rather than one of its hooks.
__is_bringing_up() {
	[[ " ${FUNCNAME[*]} " == *' cmd_up '* && " ${FUNCNAME[*]} " != *' execute_hooks '* && " ${FUNCNAME[*]} " != *' del_if '* ]]
}

# A full path on which there is no link is its own.
readlink() {
	local path=${2-}
	if [[ $# == 2 && $1 == -f && $path == /* && -e $path && $path/ != *@(//|/./|/../)* ]]; then
		while [[ -n $path && ! -L $path ]]; do
			path=${path%/*}
		done
		if [[ -z $path ]]; then
			echo "$2"
			return
		fi
	fi
	command readlink "$@"
}

# WIREGUARD_PIA_MODES has what it would say, a line each, of the configuration and its folder.
stat() {
	local path mode
	if [[ $# == 3 && "$1 $2" == '-c 0%#a' ]]; then
		while read -r mode path; do
			if [[ -n $path && $path == "$3" ]]; then
				echo "0$mode"
				return
			fi
		done <<<"${WIREGUARD_PIA_MODES-}"
	fi
	command stat "$@"
}
declare +x WIREGUARD_PIA_MODES

# One line is in order.
sort() {
	local lines=()
	if [[ "$*" == '-nr -k 2 -t /' ]]; then
		mapfile -t lines
		if ((${#lines[@]} > 1)); then
			printf '%s\n' "${lines[@]}" | command sort "$@"
		elif ((${#lines[@]} == 1)); then
			printf '%s\n' "${lines[0]}"
		fi
		return
	fi
	command sort "$@"
}

# A new interface has what wg-quick has just given it, which is all in WG_CONFIG.
wg() {
	local peer
	if __is_bringing_up; then
		case $* in
		"show $INTERFACE fwmark")
			if __configured fwmark && [[ $REPLY == @([1-9]*([0-9])|0x[1-9a-f]*([0-9a-f])) ]]; then
				printf '0x%x\n' "$REPLY"
				return
			fi
			;;
		"show $INTERFACE allowed-ips")
			if __configured publickey && peer=$REPLY && __configured allowedips && [[ $REPLY == 0.0.0.0/0 ]]; then
				printf '%s\t%s\n' "$peer" "$REPLY"
				return
			fi
			;;
		esac
	fi
	command wg "$@"
}

# Makes REPLY the value of a key that is there once, for an interface with one peer.
__configured() {
	local line found=() peers=0
	while read -r line; do
		line=${line%%#*}
		line=${line//[[:space:]]/}
		[[ ${line,,} != '[peer]' ]] || ((peers += 1))
		[[ ${line,,} != "$1="* ]] || found+=("${line#*=}")
	done <<<"$WG_CONFIG"
	REPLY=${found[0]-}
	[[ $peers == 1 && ${#found[@]} == 1 ]]
}

__has_interface() {
	local name
	[[ -r /proc/net/dev ]] || return 0
	while read -r name _; do
		[[ $name != "$1:"* ]] || return 0
	done </proc/net/dev
	return 1
}

# As far as they are of IPv4.
__show_addresses() {
	local address
	for address in "${ADDRESSES[@]}"; do
		[[ $address == +([0-9.])?(/+([0-9])) ]] || return 1
	done
	for address in "${ADDRESSES[@]}"; do
		[[ $address == */* ]] || address+=/32
		echo "    inet $address scope global $INTERFACE"
	done
}

# wg-quick prefers nft wherever it finds one. It looks for it right after the default route's changes, so whatever of them
# waits still, in a version that makes fewer, is done by then.
type() {
	! __is_bringing_up || __change || exit 1
	[[ $WIREGUARD_PIA_LEGACY == 1 && $1 == -p && $2 == nft ]] && return 1
	builtin type "$@"
}

__iptables() {
	local program=$1
	shift
	[[ -n $WIREGUARD_PIA_BIN && -x $WIREGUARD_PIA_BIN/$program ]] && program=$WIREGUARD_PIA_BIN/$program
	command "$program" "$@"
}

# All rules at once, and again where that fails, for it may pass; where it does not and the user allows it, each by itself.
# Where others hold the lock of iptables, it is waited for as long as wireguard-pia does, 20 seconds in all; a wg-quick down
# has a second, as a stop may wait for it, and the rules that it leaves do no harm until the next start takes them away.
__restore() {
	local program=$1 rules line table error
	shift
	IFS= read -r -d '' rules || true
	if [[ " ${FUNCNAME[*]} " == *' cmd_down '* ]]; then
		set -- --wait 1 "$@"
		error=$(__iptables "$program" "$@" <<<"$rules" 2>&1) && return 0
		if [[ $error == *'xtables lock'* ]]; then
			echo "$error" >&2
			return 1
		fi
	else
		set -- --wait 4 "$@"
		__iptables "$program" "$@" <<<"$rules" 2>/dev/null && return 0
	fi
	for _ in {1..4}; do
		sleep 0.1
		error=$(__iptables "$program" "$@" <<<"$rules" 2>&1) && return 0
	done
	if [[ $ALLOW_MISSING_IPTABLES_RULES != 1 || $error == *'xtables lock'* ]]; then
		echo "$error" >&2
		return 1
	fi
	while read -r line; do
		case $line in
		'*'*) table=$line ;;
		-*)
			error=$(printf '%s\n%s\nCOMMIT\n' "$table" "$line" | __iptables "$program" "$@" 2>&1) ||
				echo "[!] skipped, as ALLOW_MISSING_IPTABLES_RULES=1: $program, table ${table#\*}: $line (${error%%$'\n'*})" >&2
			;;
		esac
	done <<<"$rules"
	return 0
}

iptables-save() { __iptables iptables-save "$@"; }
ip6tables-save() { __iptables ip6tables-save "$@"; }
iptables-restore() { __restore iptables-restore "$@"; }
ip6tables-restore() { __restore ip6tables-restore "$@"; }
