# shellcheck shell=bash
# docs/anchor.yml, adapted only in addresses: VPN containers come and go under a client that runs.

chapter() {
	new_network "$PREFIX" "$NUMBER"
	ip netns exec wpimg-lan perl tests/image/echo.pl 7000 9>&- &
	ECHO=$!
	watch_bridge "wpimg$NUMBER" "$FILES/wire.pcap"
	all_of_it_is_seen_where_nothing_is_closed
	comes_up
	goes_on_over 'docker kill and start' killed_and_started
	goes_on_over 'docker-compose up --force-recreate --no-deps' recreated
	goes_on_over 'docker rm --force and a new one' removed_and_made
	kill "$ECHO"
	stop_watching
	nothing_got_out
	is_what_docker_makes_of_a_restart
}

compose() {
	env IMAGE="$IMAGE" PREFIX="$PREFIX" TOOLS="$PWD/tests/image" WEB_CA="$WORLD_SSL_CERT_FILE" \
		NAMESERVER="$WORLD_NAMESERVER" PAGE_HOST=100.64.0.80 ELSEWHERE="$WORLD_ELSEWHERE" \
		LAN=192.168.213.0/24 LAN_HOST="$LAN_HOST" LOCATION="$LOCATION" PIA_USER="$WORLD_USER" PIA_PASS="$WORLD_PASS" \
		COMPOSE_PROJECT_NAME="$PREFIX" "${COMPOSE[@]}" -f docs/anchor.yml -f tests/image/anchor-addresses.yml "$@" 2>&1
}

# probes SOURCE: packets of the client's tries that a container with this address sent.
probes() {
	packets "$FILES/wire.pcap" "src host $1 and dst host $WORLD_ELSEWHERE"
}

address() {
	docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$1"
}

all_of_it_is_seen_where_nothing_is_closed() {
	docker run --detach --name "$PREFIX-open" --network "$PREFIX" --ip "10.213.$NUMBER.99" \
		--volume "$PWD/tests/image:/tools:ro" --entrypoint bash "$IMAGE" \
		/tools/behind.bash 100.64.0.80 "$WORLD_ELSEWHERE" "$LAN_HOST" >/dev/null
	eventually 20 seen_from "10.213.$NUMBER.99" UDP
	eventually 20 seen_from "10.213.$NUMBER.99" 'Flags \[S\]'
	docker rm --force "$PREFIX-open" >/dev/null
	ok 'control: the same client in a network that nobody has closed is seen on the wire, by UDP and TCP'
}

seen_from() {
	has "$(probes "$1")" "$2"
}

comes_up() {
	compose up --detach --no-build net torrent
	[[ $(health "$PREFIX-net") == healthy ]] || fail "depends_on did not wait: the anchor is $(health "$PREFIX-net")"
	NET=$(docker inspect --format '{{.Id}}' "$PREFIX-net")
	refused docker exec "$PREFIX-client" curl --silent --max-time 1 "http://$LAN_HOST:7000/"
	compose up --detach --no-build
	wait_healthy "$PREFIX-vpn"
	eventually 20 has_more_than 0 talked
	eventually 20 has_more_than 0 pinged
	ok 'with the anchor alone a client reaches nothing; with a VPN beside it the tunnel and the LAN'
}

# said WORD: how often the client has said it.
said() {
	logs "$PREFIX-client" | grep -c "^$1\$" || true
}

has_more_than() {
	(($(said "$2") > $1))
}

# goes_on_over WORDS COMMAND: by itself, with the same network and the same connection.
goes_on_over() {
	local talked pinged client
	client=$(docker inspect --format '{{.Id}} {{.State.StartedAt}}' "$PREFIX-client")
	"$2"
	wait_healthy "$PREFIX-vpn"
	talked=$(said talked) pinged=$(said pinged)
	eventually 30 has_more_than "$talked" talked
	eventually 30 has_more_than "$pinged" pinged
	sees_tunnel "$PREFIX-client" || fail "no tunnel after: $1"
	[[ $(said 'the connection is broken') == 0 ]] || fail "the connection to the LAN broke: $1"
	[[ $(docker inspect --format '{{.Id}}' "$PREFIX-net") == "$NET" ]] || fail "the anchor was recreated: $1"
	[[ $(docker inspect --format '{{.Id}} {{.State.StartedAt}}' "$PREFIX-client") == "$client" ]] || fail "the client was restarted: $1"
	healthy "$PREFIX-net" || fail "the anchor is not healthy: $1"
	ok "$1: the connection to the LAN lives, the ping through the tunnel goes on"
}

killed_and_started() {
	docker kill "$PREFIX-vpn" >/dev/null
	local talked
	talked=$(said talked)
	eventually 10 has_more_than "$talked" talked
	refused docker exec "$PREFIX-client" curl --silent --max-time 1 "$WORLD_INSIDE_PAGE"
	docker start "$PREFIX-vpn" >/dev/null
}

recreated() {
	local before
	before=$(docker inspect --format '{{.Id}}' "$PREFIX-vpn")
	compose up --detach --no-build --force-recreate --no-deps vpn
	[[ $(docker inspect --format '{{.Id}}' "$PREFIX-vpn") != "$before" ]] || fail 'the VPN was not recreated'
}

removed_and_made() {
	docker rm --force "$PREFIX-vpn" >/dev/null
	compose up --detach --no-build --no-deps vpn
}

nothing_got_out() {
	local got_out
	got_out=$(probes "$(address "$PREFIX-net")")
	[[ -z $got_out ]] || fail "packets got out: $(head -n 3 <<<"$got_out")"
	ok 'nothing of what the client tried all the while was on the wire'
}

# "Then those who joined it are cut off" (docs/anchor.md)
is_what_docker_makes_of_a_restart() {
	docker restart --time 5 "$PREFIX-net" >/dev/null
	has "$(docker exec "$PREFIX-client" ip -brief link)" '^eth0' && fail 'the client has a network card left'
	docker restart --time 0 "$PREFIX-vpn" "$PREFIX-client" >/dev/null
	wait_healthy "$PREFIX-vpn"
	sees_tunnel "$PREFIX-client" || fail 'no tunnel after the restart of all'
	ok 'the anchor restarted: its network is gone for the others, until they are restarted too'
}
