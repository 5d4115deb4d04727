# shellcheck shell=bash
# What the ready-made PORT_SCRIPTs share: they tell a torrent client its port, and see to it that it stays told.
#
# A script sets NAME, URL and ADVICE, defines `tell PORT` and `hear`, which sets HEARD to the port that the client has,
# and calls `keep_told PORT`. Both return 0, 1 where the client does not answer, or 2 where it refuses us.
#
# The client may come later, be restarted or forget the port: it is looked after until the next port is forwarded, or
# the container stops. PORT_CLIENT_INTERVAL is the number of seconds between two looks, 60 by default.

set -uo pipefail
umask 077

RUN=/run/wireguard-pia
mkdir -p "$RUN" 2>/dev/null && [[ -w $RUN ]] || RUN=${TMPDIR:-/tmp}
SELF=${0##*/}
CLAIM=$RUN/$SELF.pid
COOKIES=$RUN/$SELF.$$.cookies
INTERVAL=${PORT_CLIENT_INTERVAL:-60}
FIRST_PAUSE=1
# Clients lock out whoever shows a wrong password too often.
FIRST_PAUSE_IF_REFUSED=60
LONGEST_PAUSE_IF_REFUSED=1800

say() { echo "$NAME: $*"; }

# secret NAME [DEFAULT]: the text of the file that NAME_FILE names, else the value of NAME, else the default.
secret() {
	local file=$1_FILE
	if [[ -n ${!file:-} && -r ${!file} ]]; then
		cat -- "${!file}"
	else
		printf '%s' "${!1:-${2:-}}"
	fi
}

# For a value in curl's configuration. Secrets reach curl by its standard input: anybody may read its arguments.
quoted() {
	local text=${1//\\/\\\\}
	text=${text//\"/\\\"} text=${text//$'\n'/\\n} text=${text//$'\r'/\\r} text=${text//$'\t'/\\t}
	printf '"%s"' "$text"
}

# A JSON string.
json() {
	local text=${1//\\/\\\\}
	text=${text//\"/\\\"} text=${text//$'\n'/\\n} text=${text//$'\r'/\\r} text=${text//$'\t'/\\t}
	printf '"%s"' "$text"
}

# ask CONFIGURATION...: one request, with lines of curl's configuration. Sets STATUS, 000 where nobody answers, HEADERS
# and BODY.
ask() {
	local answer
	STATUS=000 HEADERS='' BODY=''
	answer=$(printf '%s\n' "$@" | curl --silent --max-time 15 --noproxy '*' --include --http1.1 \
		--header 'Expect:' --cookie "$COOKIES" --cookie-jar "$COOKIES" --config -) || return 1
	answer=${answer//$'\r'/}
	HEADERS=${answer%%$'\n\n'*}
	# shellcheck disable=SC2034 # for those who asked
	BODY=${answer#*$'\n\n'}
	STATUS=${HEADERS#* } STATUS=${STATUS:0:3}
}

# Ends an earlier run for another port, and lets a later one know whom to end.
take_over() {
	local former='' words=''
	[[ ! -r $CLAIM ]] || former=$(<"$CLAIM")
	echo "$$" >"$CLAIM.$$" && mv -f "$CLAIM.$$" "$CLAIM"
	[[ $former =~ ^[0-9]+$ && $former != "$$" ]] || return 0
	# Not somebody else who happens to have that number now.
	words=$(tr '\0' ' ' 2>/dev/null <"/proc/$former/cmdline") || return 0
	[[ $words == *"$SELF"* ]] || return 0
	kill "$former" 2>/dev/null
	# Its last request may be under way.
	while kill -0 "$former" 2>/dev/null && ((SECONDS < 20)); do rest 0.1; done
}

# A pause that a signal ends at once.
rest() {
	sleep "$1" &
	SLEEPER=$!
	wait "$SLEEPER"
	SLEEPER=
}

clean_up() {
	[[ -z ${SLEEPER:-} ]] || kill "$SLEEPER" 2>/dev/null
	rm -f "$COOKIES"
	[[ ! -r $CLAIM || $(<"$CLAIM") != "$$" ]] || rm -f "$CLAIM"
}

is_ours() { [[ ! -r $CLAIM || $(<"$CLAIM") == "$$" ]]; }

# tell_once PORT: sees to it that the client has the port; CHANGED is set if it had not.
tell_once() {
	CHANGED='' HEARD=''
	hear || return
	[[ $HEARD != "$1" ]] || return 0
	is_ours || return 1
	tell "$1" && hear || return
	CHANGED=1
	[[ $HEARD == "$1" ]]
}

# grow STATE FIRST LONGEST: enters a state with its first pause, or doubles the pause of the state that it is in.
grow() {
	if [[ $state == "$1" ]]; then pause=$((pause * 2)); else pause=$2; fi
	((pause <= $3)) || pause=$3
	state=$1
}

keep_told() {
	local port=${1:-} state='' pause=0 outcome
	if [[ ! $port =~ ^[0-9]+$ ]]; then
		echo "usage: $SELF PORT (as PORT_SCRIPT=/scripts/$SELF)" >&2
		exit 2
	fi
	if ! command -v curl >/dev/null; then
		say "curl is missing here; take the full image, which has it"
		exit 1
	fi
	trap clean_up EXIT
	trap 'exit 0' TERM INT
	take_over
	while is_ours; do
		tell_once "$port"
		outcome=$?
		case $outcome in
		0)
			[[ $state == told && -z $CHANGED ]] || say "listens on port $port"
			state=told pause=$INTERVAL
			;;
		2)
			[[ $state == refused ]] || say "$URL refuses us: $ADVICE"
			grow refused "$FIRST_PAUSE_IF_REFUSED" "$LONGEST_PAUSE_IF_REFUSED"
			;;
		*)
			[[ $state == waiting ]] || say "no answer at $URL yet; waiting for it"
			grow waiting "$FIRST_PAUSE" "$INTERVAL"
			;;
		esac
		rest "$pause"
	done
}
