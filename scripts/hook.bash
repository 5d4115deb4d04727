# shellcheck shell=bash
# Runs the text of a hook ($__hook_text) as if one shell ran them all: begins with what the earlier texts left
# (@EARLIER@), and writes what this one leaves to @LEFT@, as commands, and to @VARIABLES@, as NAME=value for the program,
# or NAME alone where the text took it away. Where the text ends the shell, by `exit` or `set -e`, nothing is written, by
# which the program knows. Names of our own begin with __hook, so that texts have all others.
export -n __hook_text
__hook_given=$(compgen -e)
# shellcheck disable=SC1091 # the program puts the path there
source "@EARLIER@" 2>/dev/null
# bash ignores this signal, which `kill -QUIT $$` means as another does `kill $$`.
trap 'kill $$' QUIT
# In a function, so that `local` and `return` work as they did in the original.
__hook() { eval "$__hook_text"; }
__hook
__hook_status=$?
{ set +euxvC; } 2>/dev/null
unset -f __hook
{
	__hook_exported=$(compgen -e)
	while IFS= read -r __hook_name; do
		case $__hook_name in
		# What the program tells hooks, which changes.
		VPN_LOCATION | VPN_SERVER_CN | VPN_SERVER_IP | VPN_LOCAL_IP | VPN_PORT | VPN_EXIT_IP | \
			outgoing_iface | outgoing_addr | portfile | tokenfile | wg_conf | __hook* | _) ;;
		*)
			if [[ $'\n'$__hook_exported$'\n' == *$'\n'$__hook_name$'\n'* ]]; then
				printf '%s=%s\0' "$__hook_name" "${!__hook_name}"
			else
				printf '%s\0' "$__hook_name"
			fi
			;;
		esac
	done <<<"$__hook_given"$'\n'"$__hook_exported"
	# Ours count without `export`, too. The last word on a name holds.
	# shellcheck disable=SC2043 # the program puts many names there
	for __hook_name in @OURS@; do
		[[ ! -v $__hook_name ]] || printf '%s=%s\0' "$__hook_name" "${!__hook_name}"
	done
} >|"@VARIABLES@" 2>/dev/null
{
	while IFS= read -r __hook_name; do
		[[ -v $__hook_name ]] || printf 'unset -v %s\n' "$__hook_name"
	done <<<"$__hook_given"
	while IFS= read -r __hook_name; do
		case $__hook_name in
		VPN_LOCATION | VPN_SERVER_CN | VPN_SERVER_IP | VPN_LOCAL_IP | VPN_PORT | VPN_EXIT_IP | \
			outgoing_iface | outgoing_addr | portfile | tokenfile | wg_conf | __hook* | _) ;;
		# Each shell's own, by their whole names: users' may begin alike.
		BASH | BASHOPTS | BASHPID | BASH_ALIASES | BASH_ARGC | BASH_ARGV | BASH_ARGV0 | BASH_CMDS | BASH_COMMAND | \
			BASH_EXECUTION_STRING | BASH_LINENO | BASH_MONOSECONDS | BASH_SOURCE | BASH_SUBSHELL | BASH_TRAPSIG | \
			BASH_VERSINFO | BASH_VERSION | BASH_XTRACEFD | DIRSTACK | EPOCHREALTIME | EPOCHSECONDS | EUID | \
			FUNCNAME | GROUPS | HISTCMD | LINENO | OLDPWD | OPTIND | PIPESTATUS | PPID | PWD | RANDOM | SHELLOPTS | \
			SHLVL | SRANDOM | UID) ;;
		*) declare -p "$__hook_name" ;;
		esac
	done < <(compgen -v)
	declare -f
	# The last line says that all of it is there.
	printf 'umask %s\ncd -- %q\n@END@\n' "$(umask)" "$PWD"
} >|"@LEFT@" 2>/dev/null
exit "$__hook_status"
