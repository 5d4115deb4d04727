# shellcheck shell=bash
# Our own compose file, adapted only in addresses.

chapter() {
	is_valid_with_all_it_offers
	new_network "$PREFIX" "$NUMBER"
	comes_up
	shares_its_port_file
	shares_nothing_but_the_tunnel
	stops_and_restarts
	survives_a_kill
}

compose() {
	env IMAGE="$IMAGE" PREFIX="$PREFIX" TOOLS="$PWD/tests/image" FILES="$FILES" WEB_CA="$WORLD_SSL_CERT_FILE" \
		NAMESERVER="$WORLD_NAMESERVER" INSIDE_PAGE="$WORLD_INSIDE_PAGE" LOCATION="$LOCATION" PIA_USER="$WORLD_USER" PIA_PASS="$WORLD_PASS" \
		COMPOSE_PROJECT_NAME="$PREFIX" COMPOSE_PROFILES=torrent \
		"${COMPOSE[@]}" -f docker-compose.yml -f tests/image/compose-addresses.yml "$@"
}

# The lines that are commented out, which have no blank after the sign or stand in a list.
is_valid_with_all_it_offers() {
	sed -E '/^services:/,$ s/^( *)#([^ ]| +- |  +[a-z-]+:)/\1\2/' docker-compose.yml >"$FILES/all.yml"
	touch "$FILES/pia-username" "$FILES/pia-password"
	local said line
	said=$("${COMPOSE[@]}" -f "$FILES/all.yml" --profile torrent config 2>&1) || fail "with every line: $said"
	for line in 'read_only: true' 'PORT_SCRIPT=|PORT_SCRIPT:' '/etc/resolv.conf' 'pia-password' '/dev/net/tun' 'NET_RAW'; do
		has "$said" "$line" || fail "with every line there is no $line"
	done
	ok 'it is valid with every line that it has commented out'
}

comes_up() {
	local begun
	begun=$(now)
	compose up --detach --no-build 2>&1
	ok "up, healthy and with a client behind it after $(($(now) - begun)) ms"
	[[ $(health "$PREFIX-vpn") == healthy ]] || fail "depends_on did not wait: the VPN is $(health "$PREFIX-vpn")"
	wait_log "$PREFIX-torrent" '^page: ' 20
	local page
	page=$(logs "$PREFIX-torrent" | sed -n 's/^page: //p')
	is_server "$page" || fail "the client's first request did not come out of a server, but got: $page"
	ok "depends_on waits for the tunnel: the client's first request came out of the server $page"
}

shares_its_port_file() {
	wait_log "$PREFIX-vpn" 'Forwarding on port [0-9]+'
	local port said
	port=$(logs "$PREFIX-vpn" | sed -n 's/.*Forwarding on port //p' | tail -n 1)
	said=$(docker run --rm --name "$PREFIX-reader" --user 1000 --entrypoint cat \
		--volume "${PREFIX}_pia-shared:/pia-shared:ro" "$IMAGE" /pia-shared/port.dat)
	[[ $said == "$port" ]] || fail "the port is $port, but user 1000 reads: $said"
	ok "the port file is read by user 1000 of a third container: $port"
}

shares_nothing_but_the_tunnel() {
	refused docker exec "$PREFIX-torrent" curl --silent --max-time 2 --interface eth0 "http://203.0.113.66/"
	refused docker exec "$PREFIX-torrent" ping -c 1 -W 1 -I eth0 203.0.113.66
	expect '^nameserver 10\.0\.0\.24[23]' docker exec "$PREFIX-torrent" cat /etc/resolv.conf
	expect '100\.64\.0\.80' docker exec "$PREFIX-torrent" getent hosts inside.test
	ok 'the client sees the tunnel and its name servers, and nothing by eth0'
}

stops_and_restarts() {
	stops "$PREFIX-vpn"
	ok "docker stop took $STOP_TOOK ms"
	docker start "$PREFIX-vpn" >/dev/null
	wait_healthy "$PREFIX-vpn"
	sees_tunnel "$PREFIX-vpn" || fail 'no tunnel after stop and start'
	local begun
	begun=$(now)
	docker restart "$PREFIX-vpn" >/dev/null
	wait_healthy "$PREFIX-vpn"
	sees_tunnel "$PREFIX-vpn" || fail 'no tunnel after docker restart'
	ok "docker restart: connected again after $(($(now) - begun)) ms"
	clients_after_a_restart
}

# A new life of the container is a new network namespace: that is Docker's doing.
clients_after_a_restart() {
	if sees_tunnel "$PREFIX-torrent" 5; then
		ok 'a client that shares the network goes on after the restart'
		return
	fi
	refused docker exec "$PREFIX-torrent" curl --silent --max-time 2 "http://203.0.113.66/"
	docker restart --time 0 "$PREFIX-torrent" >/dev/null
	sees_tunnel "$PREFIX-torrent" || fail 'the client does not see the tunnel after its own restart'
	ok 'a client that shares the network is cut off by the restart, sealed, and back after its own'
}

survives_a_kill() {
	docker kill "$PREFIX-vpn" >/dev/null
	docker start "$PREFIX-vpn" >/dev/null
	wait_healthy "$PREFIX-vpn"
	sees_tunnel "$PREFIX-vpn" || fail 'no tunnel after kill and start'
	has "$(logs "$PREFIX-vpn" | grep -c 'Got a new token')" '^1$' || fail 'the stored token was not used'
	ok 'docker kill and start: connected again, with the stored token'
}
