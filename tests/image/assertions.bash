# shellcheck shell=bash
# What chapters say and ask.

ok() {
	echo "ok    $CHAPTER: $*"
}

note() {
	echo "note  $CHAPTER: $*"
}

fail() {
	echo "FAIL  $CHAPTER: $*" >&2
	exit 1
}

# Milliseconds since the epoch.
now() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

# eventually SECONDS COMMAND...: until it succeeds.
eventually() {
	local patience=$1 until
	shift
	until=$(($(now) + patience * 1000))
	until "$@" >/dev/null 2>&1; do
		(($(now) < until)) || fail "not within $patience s: $*"
		sleep 0.2
	done
}

# has TEXT PATTERN: TEXT has a line like this.
has() {
	grep -qE -- "$2" <<<"$1"
}

# expect PATTERN COMMAND...: it succeeds and says this.
expect() {
	local pattern=$1 said
	shift
	said=$("$@" 2>&1) || fail "$* failed: $said"
	has "$said" "$pattern" || fail "$* did not say /$pattern/ but: $said"
}

# refused COMMAND...: it fails.
refused() {
	! "$@" >/dev/null 2>&1 || fail "succeeded, and should not have: $*"
}
