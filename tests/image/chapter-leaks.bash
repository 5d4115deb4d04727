# shellcheck shell=bash
# A container that shares the network, with Docker's default capabilities, tries to get out past the tunnel.

# Most probes are known by the port that they are sent to.
mapfile -t PORTS < <("$PROBER" ports)
PUBLISHED=18215
FRAME_PORT=$(printf '%s\n' "${PORTS[@]}" | sed -n 's/ frame .*//p')

chapter() {
	local with_prober=(--volume "$PROBER:/prober:ro")
	new_network "$PREFIX" "$NUMBER" --ipv6 --subnet "2001:db8:213:$NUMBER::/64"
	start_vpn
	start_beside "$PREFIX-vpn" "$PREFIX-default" "${with_prober[@]}" -- sleep infinity
	start_beside "$PREFIX-vpn" "$PREFIX-dropped" "${with_prober[@]}" --cap-drop NET_RAW -- sleep infinity
	all_of_it_gets_out_where_nothing_is_in_the_way
	nothing_gets_out_past_the_tunnel
	frames_get_out_only_where_it_is_said
	a_published_port_is_reached_by_ipv6_where_the_lan_is_opened_to_it
}

start_vpn() {
	start "$PREFIX-vpn" --network "$PREFIX" --cap-add NET_ADMIN --sysctl net.ipv6.conf.all.disable_ipv6=0 \
		--publish "$PUBLISHED:8080" --env STATUS_LISTEN=:8080 "$@"
	wait_healthy "$PREFIX-vpn"
}

# probe NAME: every way out, from this container.
probe() {
	docker exec "$1" /prober once eth0 "$WORLD_NAMESERVER" "$WORLD_ELSEWHERE" "$WORLD_ELSEWHERE_V6" "$WORLD_API"
}

all_of_it_gets_out_where_nothing_is_in_the_way() {
	docker run --detach --name "$PREFIX-outside" --network "$PREFIX" --cap-add NET_ADMIN \
		--volume "$PROBER:/prober:ro" --entrypoint sleep "$IMAGE" infinity >/dev/null
	eventually 20 has_settled "$PREFIX-outside"
	watch_bridge "wpimg$NUMBER" "$FILES/outside.pcap"
	eventually 30 each_attempt_is_seen
	stop_watching
	docker rm --force --volumes "$PREFIX-outside" >/dev/null
	ok "control: from a container of its own all $((${#PORTS[@]} + 1)) attempts are seen on the wire"
}

# On a busy machine one that was made is not always sent: who wants to get out tries again.
each_attempt_is_seen() {
	probe "$PREFIX-outside"
	# What was sent a moment ago is still on its way through tcpdump.
	sleep 0.5
	[[ -z $(unseen) ]] || { echo "the control does not see: $(unseen)" && return 1; }
}

unseen() {
	local port
	for port in "${PORTS[@]}"; do
		[[ -n $(packets "$FILES/outside.pcap" "dst port ${port%% *}") ]] || echo "$port"
	done
	[[ -n $(packets "$FILES/outside.pcap" "icmp and dst host $WORLD_ELSEWHERE") ]] || echo ICMP
}

# has_settled NAME: its IPv6 addresses are known to be nobody else's; before that it sends nothing from them.
has_settled() {
	local addresses
	addresses=$(docker exec "$1" ip -6 address show scope global)
	[[ $addresses == *inet6* && $addresses != *tentative* ]]
}

# Packets of the VPN container's that are not WireGuard's own.
leaks() {
	local hardware endpoint
	hardware=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}' "$PREFIX-vpn")
	endpoint=$(docker exec "$PREFIX-vpn" wg show wg0 endpoints | cut -f2)
	packets "$1" "ether src $hardware and not arp and not (udp and dst host ${endpoint%:*} and dst port ${endpoint#*:})"
}

nothing_gets_out_past_the_tunnel() {
	watch_bridge "wpimg$NUMBER" "$FILES/inside.pcap"
	probe "$PREFIX-default"
	probe "$PREFIX-dropped"
	sees_tunnel "$PREFIX-default" || fail 'the tunnel does not carry'
	stop_watching
	[[ -n $(packets "$FILES/inside.pcap" 'udp') ]] || fail 'the watch saw not even the tunnel'
	local seen others
	seen=$(leaks "$FILES/inside.pcap")
	others=$(grep -v "\.$FRAME_PORT: " <<<"$seen" || true)
	[[ -z $others ]] || fail "leaked: $others"
	FRAMES=$(grep -c "\.$FRAME_PORT: " <<<"$seen" || true)
	ok 'with default capabilities nothing leaves past the tunnel: marks, SO_BINDTODEVICE, raw IP, other DNS, IPv6'
}

frames_get_out_only_where_it_is_said() {
	local expected=0
	[[ $(docker logs "$PREFIX-vpn" 2>&1) != *'frames that a program writes by itself'* ]] || expected=1
	[[ $FRAMES == "$expected" ]] || fail "of the container with NET_RAW $expected frames should have got out; it was $FRAMES"
	expect '^frame .*: refused' probe "$PREFIX-dropped"
	ok "written by AF_PACKET, $expected frames get out, as the log says, and none after cap_drop: [NET_RAW]"
}

a_published_port_is_reached_by_ipv6_where_the_lan_is_opened_to_it() {
	published 127.0.0.1 || fail 'the published port is not reached by IPv4'
	! published '[::1]' || fail 'the published port is reached by IPv6, which is shut'
	docker rm --force "$PREFIX-default" "$PREFIX-dropped" "$PREFIX-vpn" >/dev/null
	start_vpn --env LOCAL_NETWORK=fd00::/8 --env LOCAL_PORTS=8080/tcp
	eventually 20 published '[::1]'
	start_beside "$PREFIX-vpn" "$PREFIX-default" --volume "$PROBER:/prober:ro" -- sleep infinity
	watch_bridge "wpimg$NUMBER" "$FILES/open.pcap"
	probe "$PREFIX-default"
	published '[::1]'
	stop_watching
	[[ -n $(packets "$FILES/open.pcap" 'ip6 and tcp port 8080') ]] || fail 'the watch saw nothing of it'
	local seen
	seen=$(packets "$FILES/open.pcap" "dst host $WORLD_ELSEWHERE_V6 and not port $FRAME_PORT")
	[[ -z $seen ]] || fail "leaked: $seen"
	ok 'a published port is reached by IPv6 where LOCAL_NETWORK has a range of it, and nothing else of IPv6 leaves'
}

# published ADDRESS: by this one of the host's.
published() {
	curl --silent --globoff --max-time 2 "http://$1:$PUBLISHED/healthz"
}
