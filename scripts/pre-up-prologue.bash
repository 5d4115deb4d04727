# shellcheck shell=bash
# Read by the bash that runs PRE_UP, through BASH_ENV, before its text. When that shell exits it writes our variables,
# as the text left them, and all that it exports to @FILE@. A variable that the text unset is written as empty, which
# counts as unset.
unset BASH_ENV
# shellcheck disable=SC2154 # __name is the loop's own
trap '{
  for __name in @VARIABLES@; do
    if [[ -v $__name ]]; then printf "%s=%s\0" "$__name" "${!__name}"
    elif [[ " $__given " == *" $__name "* ]]; then printf "%s=\0" "$__name"; fi
  done
  while read -r __name; do
    [[ $__name == __given ]] || printf "%s=%s\0" "$__name" "${!__name}"
  done < <(compgen -e)
} >"@FILE@" 2>/dev/null' EXIT
__given=$(compgen -e | tr '\n' ' ')
