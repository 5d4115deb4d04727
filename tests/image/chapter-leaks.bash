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
	nothing_gets_out_while_it_is_sent_elsewhere
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

of_vpn() {
	local hardware
	hardware=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}' "$PREFIX-vpn")
	echo "ether src $hardware and not arp"
}

# Packets of the VPN container's that are not WireGuard's own.
leaks() {
	local endpoint
	endpoint=$(docker exec "$PREFIX-vpn" wg show wg0 endpoints | cut -f2)
	packets "$1" "$(of_vpn) and not (udp and dst host ${endpoint%:*} and dst port ${endpoint#*:})"
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

# By a command, while a sibling tries to get out, listens, and has a connection from the host open.
nothing_gets_out_while_it_is_sent_elsewhere() {
	local address here there trying seen own
	address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$PREFIX-vpn")
	docker exec --detach "$PREFIX-default" perl /tools/greet.pl 8090
	eventually 20 curl --silent --max-time 1 "http://$address:8090/"
	here=$(docker exec "$PREFIX-vpn" wg show wg0 endpoints | cut -f2)
	watch_bridge "wpimg$NUMBER" "$FILES/steered.pcap"
	exec 7<>"/dev/tcp/$address/8090"
	probe "$PREFIX-dropped" 7>&- &
	trying=$!
	expect "^connected to $ELSEWHERE: " docker exec "$PREFIX-vpn" wireguard-pia reconnect --location "$ELSEWHERE"
	wait "$trying"
	there=$(docker exec "$PREFIX-vpn" wg show wg0 endpoints | cut -f2)
	[[ $here != "$there" ]] || fail 'it is at the same server'
	# It says what it wants only now.
	printf 'GET / HTTP/1.0\r\n\r\n' >&7
	seen=$(timeout 20 cat <&7)
	exec 7>&-
	has "$seen" '200 OK' || fail "the connection that was open did not survive: $seen"
	expect . curl --silent --show-error --max-time 20 "http://$address:8090/"
	sees_tunnel "$PREFIX-default" || fail 'the new tunnel does not carry'
	stop_watching
	own="dst host ${there%:*} and (udp dst port ${there#*:} or tcp dst port 1337) or dst net 10.213.$NUMBER.0/24"
	[[ -n $(packets "$FILES/steered.pcap" "dst host ${there%:*} and tcp dst port 1337") ]] ||
		fail 'the watch did not see the registration'
	seen=$(packets "$FILES/steered.pcap" \
		"$(of_vpn) and not (udp and dst host ${here%:*} and dst port ${here#*:}) and not ($own)")
	[[ -z $seen ]] || fail "leaked: $seen"
	ok 'sent elsewhere by a command: connection and listener of a sibling stay, and nothing leaves past either tunnel'
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
