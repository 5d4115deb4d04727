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
	if [[ ${2-} == rule && ${3-} == @(add|delete|show) ]]; then
		command ip "$@" protocol "$WIREGUARD_PIA_PROTOCOL"
		return
	fi
	local alias=()
	[[ "${*:1:3}" != 'link set mtu' ]] || alias=(alias "$WIREGUARD_PIA_ALIAS")
	command ip "$@" "${alias[@]}"
}

# wg-quick prefers nft wherever it finds one.
type() {
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
__restore() {
	local program=$1 rules line table error
	shift
	IFS= read -r -d '' rules || true
	__iptables "$program" "$@" <<<"$rules" 2>/dev/null && return 0
	for _ in {1..4}; do
		sleep 0.1
		error=$(__iptables "$program" "$@" <<<"$rules" 2>&1) && return 0
	done
	if [[ $ALLOW_MISSING_IPTABLES_RULES != 1 ]]; then
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
