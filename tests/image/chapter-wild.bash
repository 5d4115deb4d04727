# shellcheck shell=bash disable=SC2153 # names that scripts/image-test sets
# Set-ups like those that people have published for the original image, rebuilt, with the image's line changed. All of
# them run at the same time, each at a location of its own, and are judged by what their owners want to see.

# The names of the VPN containers, in the order of the locations.
SETUPS=(media proxied watched polled told called pinged checked gateway derived noticed orchestrated nas switched)

chapter() {
	local number
	for number in "${!SETUPS[@]}"; do
		export "LOC_${SETUPS[number]^^}=${MORE_LOCATIONS[number]}"
	done
	# Where a container is sent later.
	LOC_ELSEWHERE=${MORE_LOCATIONS[-1]}
	NETWORK=10.213.$NUMBER LINK=10.213.1$NUMBER
	new_network "$PREFIX" "$NUMBER"
	new_network "$PREFIX-link" "1$NUMBER" --internal
	docker build --quiet --build-arg "FROM=$IMAGE" --tag "$PREFIX:derived" tests/image/wild >/dev/null
	trap 'docker image rm --force "$PREFIX:derived" >/dev/null 2>&1; end_chapter' EXIT
	write_files
	lists_locations_without_rights
	compose up --detach 2>&1
	is_a_media_stack
	is_behind_a_reverse_proxy
	tells_clients_their_port
	is_watched_in_its_log
	is_checked_by_others
	is_a_gateway
	is_derived_from
	tells_by_hooks
	is_a_job_of_an_orchestrator
	is_on_a_storage_box
	goes_to_another_location
	cleans_up_its_port_file
}

compose() {
	local file files=()
	for file in tests/image/wild/*.yml; do files+=(--file "$file"); done
	env IMAGE="$IMAGE" PREFIX="$PREFIX" TOOLS="$PWD/tests/image" FILES="$FILES" WEB_CA="$WORLD_SSL_CERT_FILE" \
		NAMESERVER="$WORLD_NAMESERVER" INSIDE_PAGE="$WORLD_INSIDE_PAGE" PIA_USER="$WORLD_USER" PIA_PASS="$WORLD_PASS" \
		NETWORK="$NETWORK" LINK="$LINK" COMPOSE_PROJECT_NAME="$PREFIX" \
		"${COMPOSE[@]}" --project-directory tests/image/wild "${files[@]}" "$@"
}

write_files() {
	mkdir "$FILES"/{polled,switched,noticed,orchestrated,nas}
	# What people do who mount one file: it has to be there first.
	touch "$FILES/polled/port.dat"
	chown 1000:1000 "$FILES/polled/port.dat"
	chmod 0640 "$FILES/polled/port.dat"
	chown 99:100 "$FILES/nas"
	echo 'CLIENT=localhost' >"$FILES/settings"
	echo "$LOC_SWITCHED" >"$FILES/switched/loc.txt"
}

# exits_at CONTAINER LOCATION: what it fetches comes out of that location's server.
exits_at() {
	local seen
	seen=$(page_inside "$1") || fail "$1 reaches nothing"
	grep -q "^$2 [^ ]* $seen " < <(printf '%s\n' "${WORLD_SERVERS[@]}") || fail "$1 comes out of $seen, not at $2"
}

# comes_up NAME: its container connects, at its own location.
comes_up() {
	local location=LOC_${1^^}
	wait_log "$PREFIX-$1-vpn" 'WireGuard successfully started' 60
	exits_at "$PREFIX-$1-vpn" "${!location}"
}

# A program that lets users choose reads what a container without any rights prints, from the first brace on.
lists_locations_without_rights() {
	docker run --name "$PREFIX-list" --network "$PREFIX" --dns "$WORLD_NAMESERVER" --env SSL_CERT_FILE=/web-authorities.pem \
		--volume "$WORLD_SSL_CERT_FILE:/web-authorities.pem:ro" "$IMAGE" /scripts/wg-gen.sh -a >"$FILES/list" 2>/dev/null ||
		fail 'wg-gen.sh -a failed'
	local listed
	listed=$(sed -n '/{/,$p' "$FILES/list" | jq --raw-output 'select(.port_forward).id') || fail 'wg-gen.sh -a is not JSON'
	has "$listed" "^$LOC_MEDIA$" || fail 'wg-gen.sh -a lacks a location'
	ok 'a container without rights prints the locations as programs parse them'
}

is_a_media_stack() {
	comes_up media
	sees_tunnel "$PREFIX-media-client" || fail 'the client started before the tunnel'
	local seen
	seen=$(ip netns exec wpimg-lan curl --silent --show-error --max-time 20 "http://$LAN_GATEWAY:18214/")
	[[ $seen == "$LAN_HOST" ]] || fail "the LAN's host was seen as $seen"
	expect "^$LINK.2$" docker exec "$PREFIX-media-client" curl --silent --max-time 20 "http://$LINK.3:8096/"
	refused docker exec "$PREFIX-media-client" curl --silent --max-time 2 --interface eth0 http://203.0.113.66/
	refused docker exec "$PREFIX-media-client" curl --silent --max-time 2 --interface eth1 http://203.0.113.66/
	ok 'a media stack: used from the LAN, with a server on a second network, and nothing beside the tunnel'
}

is_behind_a_reverse_proxy() {
	comes_up proxied
	local address
	address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$PREFIX-proxied-proxy")
	eventually 20 curl --silent --fail --max-time 2 "http://$address/"
	expect "^$address$" curl --silent --show-error --max-time 20 "http://$address/"
	expect "^nameserver ${WORLD_NAMESERVER//./\\.}$" docker exec "$PREFIX-proxied-vpn" cat /etc/resolv.conf
	expect '100\.64\.0\.80' docker exec "$PREFIX-proxied-ui" getent hosts inside.test
	ok 'a reverse proxy reaches the interface by the name of the VPN container; own name servers'
}

# port_of CONTAINER: as the log has it.
port_of() {
	wait_log "$1" 'Forwarding on port [0-9]+' 60
	logs "$1" | sed -n 's/.*Forwarding on port //p' | tail -n 1
}

# follows_the_port NAME: its client is reached from the internet, on the forwarded port.
follows_the_port() {
	local port address location=LOC_${1^^}
	comes_up "$1"
	port=$(port_of "$PREFIX-$1-vpn")
	address=$(printf '%s\n' "${WORLD_SERVERS[@]}" | sed -n "s/^${!location} [^ ]* \([^ ]*\) .*/\1/p")
	wait_log "$PREFIX-$1-client" "listening on $port" 60
	expect "^peer on $port$" ip netns exec "$WORLD_INTERNET_NETNS" curl --silent --show-error --max-time 20 \
		"http://$address:$port/"
}

tells_clients_their_port() {
	follows_the_port watched
	ok 'a helper without rights of its own that waits for changes in the folder told its client the port'
	follows_the_port polled
	[[ $(stat --format '%u:%g %a' "$FILES/polled/port.dat") == '1000:1000 640' ]] ||
		fail "the port file that was there is another's: $(stat --format '%u:%g %a' "$FILES/polled/port.dat")"
	docker exec "$PREFIX-polled-vpn" test -s /pia/portsig.json || fail 'the signature was not kept'
	ok 'a helper elsewhere that has the port file alone told the client the port; owner and mode of the file stay'
	follows_the_port told
	wait_log "$PREFIX-told-vpn" "told admin's client of [0-9]+" 20
	follows_the_port called
	wait_log "$PREFIX-called-vpn" 'helper: set to [0-9]+' 20
	ok 'own pf_success.sh, mounted read-only, and PORT_SCRIPT with words of its own told their clients the port'
}

# Started late, as one on the host is: it reads what was said before.
is_watched_in_its_log() {
	local port
	port=$(grep --max-count 1 'Forwarding on port' < <(timeout 20 docker logs --follow "$PREFIX-called-vpn" 2>&1) |
		sed 's/.*Forwarding on port //') || fail 'the log does not name the port'
	expect "^$port$" docker exec "$PREFIX-called-vpn" cat /pia-shared/port.dat
	expect '^[0-9.]+:[0-9]+$' docker exec "$PREFIX-called-vpn" bash -c "wg show wg0 endpoints | cut -f2"
	expect "^Endpoint = " docker exec "$PREFIX-called-vpn" grep Endpoint /etc/wireguard/wg0.conf
	ok 'a watcher of the log finds start and port; wg and wg0.conf tell the endpoint to docker exec'
}

is_checked_by_others() {
	comes_up pinged
	comes_up checked
	eventually 20 health_is "$PREFIX-pinged-vpn" healthy
	eventually 20 health_is "$PREFIX-checked-vpn" healthy
	[[ $(docker ps --quiet --filter label=autoheal=true --filter health=unhealthy --filter "name=^/?$PREFIX-") == '' ]] ||
		fail 'there is something to restart'
	ok 'healthy by health checks of their own: a ping by name; handshake, route and page'
}

health_is() {
	[[ $(health "$1") == "$2" ]]
}

is_a_gateway() {
	comes_up gateway
	exits_at "$PREFIX-gateway-machine" "$LOC_GATEWAY"
	docker kill --signal HUP "$PREFIX-gateway-vpn" >/dev/null
	wait_log "$PREFIX-gateway-vpn" 'Reconnected|reconnected' 60
	exits_at "$PREFIX-gateway-machine" "$LOC_GATEWAY"
	ok 'a gateway by rules from POST_UP: another machine comes out of the tunnel, after a reconnect too'
}

is_derived_from() {
	wait_log "$PREFIX-derived-vpn" 'proxy behind 10\.' 60
	local seen
	seen=$(docker exec "$PREFIX-proxied-proxy" curl --silent --retry 10 --retry-connrefused --max-time 20 \
		http://derived-vpn:8888/) || fail 'the proxy in the derived image is not reached'
	is_server "$seen" || fail "the proxy in the derived image comes out of $seen"
	eventually 20 health_is "$PREFIX-derived-vpn" healthy
	ok 'an image made from this one: its command starts VPN and proxy, and its health check is asked'
}

tells_by_hooks() {
	comes_up noticed
	eventually 20 test -s "$FILES/noticed/inner"
	is_server "$(cat "$FILES/noticed/address")" || fail "POST_UP came out of $(cat "$FILES/noticed/address")"
	has "$(cat "$FILES/noticed/inner")" '^10\.' || fail "POST_UP saw wg0 with $(cat "$FILES/noticed/inner")"
	wait_log "$PREFIX-noticed-vpn" 'from behind' 20
	stops "$PREFIX-noticed-vpn"
	has "$(cat "$FILES/noticed/last")" 'down after [0-9]+ s' || fail "PRE_DOWN wrote: $(cat "$FILES/noticed/last")"
	ok "hooks leave word of start, address and end on the host; stopped in $STOP_TOOK ms"
}

is_a_job_of_an_orchestrator() {
	comes_up orchestrated
	wait_healthy "$PREFIX-orchestrated-vpn"
	has "$(logs "$PREFIX-orchestrated-vpn")" 'PORT_FORWARDING.*true' || fail 'the word for a number is not mentioned'
	[[ -s $FILES/orchestrated/.token ]] || fail 'no token on the host'
	ok "an orchestrator's job: connected; a word where a number belongs is a warning"
}

is_on_a_storage_box() {
	comes_up nas
	local port
	port=$(port_of "$PREFIX-nas-vpn")
	eventually 20 grep -qx "$port" "$FILES/nas/port.dat"
	[[ $(stat --format '%u:%g %a' "$FILES/nas/port.dat") == '99:100 666' ]] ||
		fail "the port file is $(stat --format '%u:%g %a' "$FILES/nas/port.dat")"
	[[ $(stat --format %a "$FILES/nas/wg0.conf" "$FILES/nas/.token" | sort -u) == 600 ]] || fail 'secrets are readable'
	ok 'a storage box: one shared folder for everything, whose port file has the owner and the mask that were asked for'
}

goes_to_another_location() {
	comes_up switched
	echo "$LOC_ELSEWHERE" >"$FILES/switched/loc.txt"
	docker restart --time 20 "$PREFIX-switched-vpn" >/dev/null
	eventually 60 is_elsewhere
	exits_at "$PREFIX-switched-vpn" "$LOC_ELSEWHERE"
	ok 'an entry point of its own reads the location from a file: another one after a restart'
}

is_elsewhere() {
	(($(logs "$PREFIX-switched-vpn" | grep -c 'WireGuard successfully started') == 2))
}

cleans_up_its_port_file() {
	stops "$PREFIX-watched-vpn"
	docker run --rm --name "$PREFIX-look" --entrypoint test --volume "${PREFIX}_watched-shared:/pia-shared:ro" "$IMAGE" \
		! -e /pia-shared/port.dat || fail 'PORT_FILE_CLEANUP left the port file'
	ok 'PORT_FILE_CLEANUP removed the port file from the shared volume'
}
