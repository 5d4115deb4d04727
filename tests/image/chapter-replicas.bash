# shellcheck shell=bash
# Five containers on one account, with one volume, as `--scale` makes them: a server keeps one client of an account, so
# they have to find a server each.

REPLICAS=5
# How long they are watched once they are up: REPLICAS_WATCHED=600 for ten minutes.
WATCHED=${REPLICAS_WATCHED:-3}

chapter() {
	new_network "$PREFIX" "$NUMBER"
	local begun
	begun=$(now)
	compose up --detach --scale "vpn=$REPLICAS" 2>&1
	mapfile -t NAMES < <(compose ps --quiet)
	((${#NAMES[@]} == REPLICAS)) || fail "not $REPLICAS containers, but: ${NAMES[*]}"
	local until
	until=$(($(now) + 120000))
	until all_have_a_way_out_of_their_own; do
		(($(now) < until)) || fail 'they did not move apart within two minutes'
		sleep 1
	done
	ok "$REPLICAS containers have a tunnel by a server of their own after $(($(now) - begun)) ms"
	eventually 60 all_have_a_port_of_their_own
	ok "each has a port of its own, in a file of its own: $(ports | tr '\n' ' ')"
	local before
	before=$(reconnects)
	sleep "$WATCHED"
	all_have_a_way_out_of_their_own || fail 'they lost their ways out again'
	[[ $(reconnects) == "$before" ]] || fail "after they had moved apart there were $(reconnects) reconnects, not $before"
	ok "nothing changes in the $WATCHED s after that; it took $before reconnects until then"
}

compose() {
	env IMAGE="$IMAGE" PREFIX="$PREFIX" WEB_CA="$WORLD_SSL_CERT_FILE" NAMESERVER="$WORLD_NAMESERVER" LOCATION="$SHARED_LOCATION" \
		PIA_USER="$WORLD_USER" PIA_PASS="$WORLD_PASS" COMPOSE_PROJECT_NAME="$PREFIX" \
		"${COMPOSE[@]}" -f tests/image/replicas.yml "$@"
}

all_have_a_way_out_of_their_own() {
	local name seen=()
	for name in "${NAMES[@]}"; do
		healthy "$name" >/dev/null 2>&1 || return 1
		seen+=("$(page_inside "$name" 3 2>/dev/null)") || return 1
	done
	[[ $(printf '%s\n' "${seen[@]}" | sort --unique | wc -l) == "$REPLICAS" ]]
}

ports() {
	docker exec "${NAMES[0]}" bash -c 'cat /pia-shared/port-*.dat' | sort --unique
}

all_have_a_port_of_their_own() {
	[[ $(docker exec "${NAMES[0]}" bash -c 'ls /pia-shared' | wc -l) == "$REPLICAS" && $(ports | wc -l) == "$REPLICAS" ]]
}

reconnects() {
	local name
	# None is a count, too.
	for name in "${NAMES[@]}"; do logs "$name"; done | grep -c 'Reconnected to' || true
}
