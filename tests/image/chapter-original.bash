# shellcheck shell=bash disable=SC2153 # names that scripts/image-test sets
# A compose file written for the original image, with only its `image:` line changed.

chapter() {
	INNER=10.213.1$NUMBER
	# Two networks: the way out, and the one for which the container is the gateway.
	new_network "$PREFIX-a" "$NUMBER"
	new_network "$PREFIX-b" "1$NUMBER"
	write_scripts
	compose up --detach 2>&1
	wait_log "$PREFIX-vpn" 'WireGuard successfully started'
	answers_by_all_its_names
	reads_secrets_and_falls_back_to_the_second_location
	is_reached_from_the_lan
	is_a_gateway
	forwards_its_port
	runs_all_hooks_in_order
}

compose() {
	env IMAGE="$IMAGE" PREFIX="$PREFIX" TOOLS="$PWD/tests/image" FILES="$FILES" SCRIPTS="$FILES/scripts" \
		WEB_CA="$WORLD_SSL_CERT_FILE" NAMESERVER="$WORLD_NAMESERVER" INNER_VPN="$INNER.2" INNER_CLIENT="$INNER.3" \
		LOCATION="$LOCATION" CLIENT_PORT=8081 COMPOSE_PROJECT_NAME="$PREFIX" \
		"${COMPOSE[@]}" -f tests/image/original/docker-compose.yml "$@"
}

write_scripts() {
	local stage
	mkdir "$FILES/scripts"
	for stage in pre-up post-up pre-down post-down; do
		# shellcheck disable=SC2016 # for the script's shell
		printf '#!/bin/bash\necho "script in $(pwd)"\n' >"$FILES/scripts/$stage.sh"
	done
	# shellcheck disable=SC2016 # for the script's shell
	printf '#!/bin/sh\necho "told of port $1"\n' >"$FILES/scripts/port.sh"
	chmod 0755 "$FILES"/scripts/*.sh
	printf '%s\r\n' "$WORLD_USER" >"$FILES/pia-username"
	printf '%s\n' "$WORLD_PASS" >"$FILES/pia-password"
}

answers_by_all_its_names() {
	expect '^healthy' docker exec "$PREFIX-vpn" /scripts/healthcheck.sh
	# Relative to the working directory, as users write it.
	expect '^healthy' docker exec "$PREFIX-vpn" ./healthcheck.sh
	local name
	for name in run wg-gen.sh pia-auth.sh pf.sh pf_success.sh; do
		docker exec "$PREFIX-vpn" test -x "/scripts/$name" || fail "/scripts/$name is not there"
	done
	for name in port-qbittorrent port-transmission port-deluge; do
		# Nothing listens where it looks for the client, so it gets no further than that.
		docker exec --env PORT_CLIENT_INTERVAL=1 "$PREFIX-vpn" timeout 2 "/scripts/$name" 4711 >/dev/null 2>&1 ||
			[[ $? == 124 ]] || fail "/scripts/$name cannot be run"
	done
	for name in bash curl jq iptables ip wg openssl; do
		docker exec "$PREFIX-vpn" bash -c "command -v $name" >/dev/null || fail "users' hooks expect $name"
	done
	ok 'healthcheck.sh answers, and everything in /scripts and what hooks call is there'
}

reads_secrets_and_falls_back_to_the_second_location() {
	local said
	said=$(logs "$PREFIX-vpn")
	has "$said" 'no_such_place' || fail 'the unknown location was not mentioned'
	has "$said" 'Got a new token' || fail 'it did not log in'
	! grep -qF "$WORLD_PASS" <<<"$said" || fail 'the password is in the log'
	sees_tunnel "$PREFIX-vpn" || fail 'no tunnel'
	ok 'credentials from secrets (one ending in CRLF), an unknown location passed over'
}

is_reached_from_the_lan() {
	eventually 20 health_is "$PREFIX-vpn" healthy
	eventually 20 docker exec "$PREFIX-web" curl --silent --max-time 1 http://127.0.0.1:8080/
	local seen
	seen=$(ip netns exec wpimg-lan curl --silent --show-error --max-time 20 "http://$LAN_GATEWAY:18213/")
	[[ $seen == "$LAN_HOST" ]] || fail "the LAN's host was seen as $seen"
	ip netns exec wpimg-lan perl tests/image/greet.pl 8082 9>&- &
	SERVANT=$!
	eventually 20 ip netns exec wpimg-lan curl --silent --max-time 1 http://127.0.0.1:8082/
	docker exec "$PREFIX-web" curl --silent --show-error --max-time 20 "http://$LAN_HOST:8082/" >/dev/null ||
		fail 'the LAN cannot be reached from behind the VPN'
	kill "$SERVANT"
	ok 'LOCAL_NETWORK: a published port is reached from the LAN, and the LAN from behind the VPN'
}

health_is() {
	[[ $(health "$1") == "$2" ]]
}

is_a_gateway() {
	local seen
	seen=$(page_inside "$PREFIX-client") || fail 'the client of the gateway reaches nothing'
	is_server "$seen" || fail "the client of the gateway comes out of $seen"
	ok 'FWD_IFACE: another container comes out of the tunnel by this one as its gateway'
}

forwards_its_port() {
	wait_log "$PREFIX-vpn" 'Forwarding on port [0-9]+'
	local port server
	port=$(logs "$PREFIX-vpn" | sed -n 's/.*Forwarding on port //p' | tail -n 1)
	server=$(page_inside "$PREFIX-vpn")
	wait_log "$PREFIX-vpn" "told of port $port" 20
	expect "^$port$" docker exec "$PREFIX-vpn" cat /pia-shared/port.dat
	docker exec "$PREFIX-vpn" test -s /pia/portsig.json || fail 'the signature was not kept'
	# PF_DEST_IP: the client listens there.
	docker exec --detach "$PREFIX-client" perl /tools/greet.pl "$port"
	local seen
	seen=$(ip netns exec "$WORLD_INTERNET_NETNS" curl --silent --show-error --retry 5 --retry-connrefused \
		--max-time 20 "http://$server:$port/") || fail 'the forwarded port is not reached from the internet'
	ok "port $port forwarded: file, script, and by PF_DEST_IP from the internet to the client (visitor $seen)"
}

runs_all_hooks_in_order() {
	stops "$PREFIX-vpn"
	local said stage lines
	said=$(logs "$PREFIX-vpn")
	for stage in pre-up post-up pre-down post-down; do
		lines=$(grep -oE "\[$stage\] (script in /scripts|variable)" <<<"$said" | cut -d' ' -f2- | tr '\n' ';')
		[[ $lines == 'script in /scripts;variable;' ]] || fail "the $stage hooks said: $lines"
	done
	has "$said" '\[post-up\] inet 10\.' || fail 'POST_UP did not see wg0'
	has "$said" '\[pre-down\] with wg0' || fail 'PRE_DOWN ran without wg0'
	has "$said" '\[post-down\] without wg0' || fail 'POST_DOWN ran with wg0'
	docker cp "$PREFIX-vpn:/pia-shared/port.dat" "$FILES/" 2>/dev/null && fail 'PORT_FILE_CLEANUP left the port file'
	ok "hooks: each script, then its variable, in /scripts, with the tunnel as it should be; stopped in $STOP_TOOK ms"
}
