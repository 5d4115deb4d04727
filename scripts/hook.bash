# shellcheck shell=bash
# Runs the text of a hook ($__text) as if one shell ran them all: begins with what the earlier texts left (@EARLIER@),
# and writes what this one leaves to @LEFT@, as commands, and to @VARIABLES@, as NAME=value for the program, or NAME alone
# where the text took it away. Where the text ends the shell, by `exit` or `set -e`, nothing is written, by which the
# program knows.
export -n __text
__given=$(compgen -e)
# shellcheck disable=SC1091 # the program puts the path there
source "@EARLIER@" 2>/dev/null
# In a function, so that `local` and `return` work as they did in the original.
__hook() { eval "$__text"; }
__hook
__status=$?
{ set +eux; } 2>/dev/null
unset -f __hook
{
	__exported=$(compgen -e)
	while IFS= read -r __name; do
		case $__name in
		__* | VPN_* | outgoing_iface | outgoing_addr | portfile | tokenfile | wg_conf | _) ;;
		*)
			if [[ $'\n'$__exported$'\n' == *$'\n'$__name$'\n'* ]]; then
				printf '%s=%s\0' "$__name" "${!__name}"
			else
				printf '%s\0' "$__name"
			fi
			;;
		esac
	done <<<"$__given"$'\n'"$__exported"
	# Ours count without `export`, too. The last word on a name holds.
	# shellcheck disable=SC2043 # the program puts many names there
	for __name in @OURS@; do
		[[ ! -v $__name ]] || printf '%s=%s\0' "$__name" "${!__name}"
	done
} >"@VARIABLES@" 2>/dev/null
# Not what the program tells hooks, which changes, nor what is the shell's own.
{
	while IFS= read -r __name; do
		[[ -v $__name ]] || printf 'unset -v %s\n' "$__name"
	done <<<"$__given"
	while IFS= read -r __name; do
		case $__name in
		__* | VPN_* | BASH* | COMP_* | EPOCH* | DIRSTACK | EUID | FUNCNAME | GROUPS | HISTCMD | LINENO | OLDPWD | OPTIND | \
			PIPESTATUS | PPID | PWD | RANDOM | SHELLOPTS | SHLVL | SRANDOM | UID | _ | \
			outgoing_iface | outgoing_addr | portfile | tokenfile | wg_conf) ;;
		*) declare -p "$__name" ;;
		esac
	done < <(compgen -v)
	declare -f
	# The last line says that all of it is there.
	printf 'umask %s\ncd -- %q\n@END@\n' "$(umask)" "$PWD"
} >"@LEFT@" 2>/dev/null
exit "$__status"
