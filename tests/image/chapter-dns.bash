# shellcheck shell=bash
# The name servers that containers are given, each kind of them.

# Nobody is there.
SILENT=203.0.113.99

chapter() {
	use_default_bridge
	new_network "$PREFIX" "$NUMBER"
	on_the_default_bridge
	with_the_embedded_resolver
	with_the_first_name_server_silent
	with_dns_left_alone
}

name_servers() {
	docker exec "$1" cat /etc/resolv.conf | sed -n 's/^nameserver[[:space:]]*//p' | tr '\n' ' '
}

# connected NAME OPTION...: a container that connects and finds names through the tunnel.
connected() {
	start_without_dns "$@" --dns "$WORLD_NAMESERVER" --cap-add NET_ADMIN
	wait_healthy "$1"
	sees_tunnel "$1" || fail "$1: no tunnel"
	expect '100\.64\.0\.80' docker exec "$1" getent hosts inside.test
}

on_the_default_bridge() {
	connected "$PREFIX-bridge"
	[[ $(name_servers "$PREFIX-bridge") == '10.0.0.243 10.0.0.242 ' ]] || fail "$(name_servers "$PREFIX-bridge")"
	stops "$PREFIX-bridge"
	grep -q "nameserver $WORLD_NAMESERVER" < <(docker cp "$PREFIX-bridge:/etc/resolv.conf" -) ||
		fail 'resolv.conf was not restored'
	ok 'default bridge with dns: connects, names by the tunnel, resolv.conf restored at the stop'
}

with_the_embedded_resolver() {
	connected "$PREFIX-embedded" --network "$PREFIX"
	docker exec "$PREFIX-embedded" grep -q '127\.0\.0\.11' /etc/resolv.conf ||
		fail "no embedded resolver here: $(docker exec "$PREFIX-embedded" cat /etc/resolv.conf)"
	ok "user-defined network: connects by way of Docker's embedded resolver"
	docker rm --force --volumes "$PREFIX-embedded" >/dev/null
}

with_the_first_name_server_silent() {
	local begun
	begun=$(now)
	connected "$PREFIX-second" --dns "$SILENT"
	ok "two name servers, the first silent: connected after $(($(now) - begun)) ms"
	docker rm --force --volumes "$PREFIX-second" >/dev/null
}

with_dns_left_alone() {
	connected "$PREFIX-alone" --network "$PREFIX" --env VPNDNS=0
	[[ $(name_servers "$PREFIX-alone") == '127.0.0.11 ' ]] || fail "$(name_servers "$PREFIX-alone")"
	docker rm --force --volumes "$PREFIX-alone" >/dev/null
	connected "$PREFIX-custom" --network "$PREFIX" --env VPNDNS=203.0.113.54
	[[ $(name_servers "$PREFIX-custom") == '203.0.113.54 ' ]] || fail "$(name_servers "$PREFIX-custom")"
	ok 'VPNDNS=0 leaves resolv.conf alone, and another VPNDNS is used through the tunnel'
}
