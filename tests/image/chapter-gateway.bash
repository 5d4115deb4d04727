# shellcheck shell=bash
# docs/gateway.md: machines that use the container as their way out, in a second compose network and on a LAN that the
# container is on by macvlan. The files are the page's own, adapted only in names. The LAN's router announces IPv6.

PAGE_HOST=100.64.0.80
MUCH_PORT=7080
ROUTER=wpimg-router
TELEVISION=wpimg-tv
PREFIX_V6=2001:db8:214::

chapter() {
	BEHIND=wpimg2$NUMBER
	trap 'take_back; end_chapter' EXIT
	take_back
	new_network "$PREFIX" "$NUMBER"
	ip netns exec "$WORLD_INTERNET_NETNS" perl tests/image/much.pl "$PAGE_HOST" "$MUCH_PORT" 9>&- &
	MUCH=$!
	in_a_second_compose_network
	on_a_lan_by_macvlan
}

# What is neither a container nor a network of Docker's, of an earlier run too.
take_back() {
	[[ -z ${MUCH:-} ]] || kill "$MUCH" 2>/dev/null || true
	[[ -z ${ANNOUNCER:-} ]] || kill "$ANNOUNCER" 2>/dev/null || true
	local name
	for name in "$TELEVISION" "$ROUTER"; do ip netns del "$name" 2>/dev/null || true; done
	while iptables -D DOCKER-USER -i "$BEHIND" -o "$BEHIND" -j ACCEPT 2>/dev/null; do :; done
}

# example HEADING: the compose file under it.
example() {
	# shellcheck disable=SC2016 # these are no commands
	sed -n "/^## $1\$/,/^## /p" docs/gateway.md | sed -n '/^```yaml$/,/^```$/p' | sed '/^```/d'
}

# compose NAME ARGUMENT...: with the files NAME.yml and what the world adds.
compose() {
	local file=$FILES/$1.yml adapted=(-f tests/image/gateway-world.yml)
	[[ $1 != second ]] || adapted+=(-f tests/image/gateway-machine.yml)
	shift
	env IMAGE="$IMAGE" PREFIX="$PREFIX" TOOLS="$PWD/tests/image" WEB_CA="$WORLD_SSL_CERT_FILE" \
		NAMESERVER="$WORLD_NAMESERVER" PAGE_HOST="$PAGE_HOST" ELSEWHERE="$WORLD_ELSEWHERE" LOCATION="$LOCATION" \
		PIA_USER="$WORLD_USER" PIA_PASS="$WORLD_PASS" COMPOSE_PROJECT_NAME="$PREFIX" \
		"${COMPOSE[@]}" -f "$file" "${adapted[@]}" "$@" 2>&1
}

# announce INTERFACE COMMAND...: router advertisements, from where COMMAND runs them, until ANNOUNCER is killed.
announce() {
	local interface=$1
	shift
	"$@" "$PROBER" announce "$interface" "$PREFIX_V6" >"$FILES/announced" 9>&- &
	ANNOUNCER=$!
	eventually 10 grep -q ready "$FILES/announced"
}

# within PROGRAM...: run in the network of the container or the namespace MACHINE.
within() {
	if [[ $MACHINE == "$TELEVISION" ]]; then
		ip netns exec "$MACHINE" "$@"
	else
		nsenter --net --target "$(docker inspect --format '{{.State.Pid}}' "$MACHINE")" "$@"
	fi
}

machine_sees_tunnel() {
	local seen
	seen=$(within curl --silent --show-error --max-time "${1:-20}" "$WORLD_INSIDE_PAGE") && is_server "$seen"
}

downloads_much() {
	local bytes
	bytes=$(within curl --silent --show-error --max-time 20 "http://$PAGE_HOST:$MUCH_PORT/" | wc -c)
	[[ $bytes == 8000000 ]] || fail "of a large download $bytes bytes came"
}

# Many datagrams and a few connections to a host on the internet, by IPv4 and IPv6.
tries_to_get_out() {
	within bash tests/image/try.bash "$WORLD_ELSEWHERE" "$WORLD_ELSEWHERE_V6" 2>/dev/null
}

# got_out FILE: what is on its way to that host.
got_out() {
	packets "$1" "dst host $WORLD_ELSEWHERE or dst host $WORLD_ELSEWHERE_V6"
}

has_ipv6() {
	local addresses
	addresses=$(within ip -6 address show dev eth0 scope global)
	[[ $addresses == *inet6* && $addresses != *tentative* ]]
}

# Comes back by itself.
loses_its_tunnel() {
	docker exec "$PREFIX-vpn" ip link delete wg0
	tries_to_get_out
	wait_log "$PREFIX-vpn" 'Reconnected' 60
}

# nothing_got_out FILE WORDS
nothing_got_out() {
	local seen
	seen=$(got_out "$1")
	[[ -z $seen ]] || fail "$2: got out: $(head -n 3 <<<"$seen")"
	ok "$2: nothing of the machine gets out past a tunnel that is up, gone, or stopped"
}

in_a_second_compose_network() {
	MACHINE=$PREFIX-machine
	example 'A second compose network' | sed "s/vpn-behind/$BEHIND/" >"$FILES/second.yml"
	compose second up --detach --no-build
	wait_healthy "$PREFIX-vpn"
	passes_on_its_bridge
	eventually 20 machine_sees_tunnel 3
	downloads_much
	expect "^$PAGE_HOST" docker exec "$MACHINE" getent hosts inside.test
	ok 'second network: the machine comes out of the tunnel, eight megabytes come through, the VPN looks names up'
	second_network_has_no_ipv6
	watch_bridge "wpimg$NUMBER" "$FILES/second.pcap"
	tries_to_get_out
	loses_its_tunnel
	local pinged
	pinged=$(said_pinged)
	eventually 20 has_pinged_more_than "$pinged"
	ok 'second network: its ping goes on with the next tunnel'
	docker stop --time 20 "$PREFIX-vpn" >/dev/null
	tries_to_get_out
	stop_watching
	nothing_got_out "$FILES/second.pcap" 'second network'
	docker start "$PREFIX-vpn" >/dev/null
	wait_healthy "$PREFIX-vpn"
	second_network_is_seen_without_guards
	compose second down --timeout 0
}

# "Docker's rules for `internal` networks drop what a machine sends to the VPN container for somebody else"
passes_on_its_bridge() {
	if [[ $(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null) != 1 ]]; then
		note "this host's iptables does not see what stays on a bridge"
		return
	fi
	within ping -c 1 -W 2 172.31.7.2 >/dev/null || fail 'the machine does not reach the VPN container'
	refused machine_sees_tunnel 1
	iptables -I DOCKER-USER -i "$BEHIND" -o "$BEHIND" -j ACCEPT
	ok 'second network: without the rule in DOCKER-USER the machine reaches the VPN container and nobody behind it'
}

# "A container on a Docker network without `enable_ipv6` has none"
second_network_has_no_ipv6() {
	announce "$BEHIND"
	watch_bridge "$BEHIND" "$FILES/second-v6.pcap"
	tries_to_get_out
	refused has_ipv6
	# What the network lacks, the container can be given.
	within sysctl --quiet --write net.ipv6.conf.eth0.disable_ipv6=0
	eventually 10 has_ipv6
	[[ -z $(packets "$FILES/second-v6.pcap" "dst host $WORLD_ELSEWHERE_V6") ]] || fail 'second network: it sends by IPv6'
	eventually 10 sends_by_ipv6 "$FILES/second-v6.pcap"
	within sysctl --quiet --write net.ipv6.conf.eth0.disable_ipv6=1
	stop_watching
	kill "$ANNOUNCER"
	ok 'second network: a router that announces itself gives the machine no IPv6; control: it would where IPv6 is on'
}

sends_by_ipv6() {
	tries_to_get_out
	[[ -n $(packets "$1" "dst host $WORLD_ELSEWHERE_V6") ]]
}

second_network_is_seen_without_guards() {
	docker exec "$PREFIX-vpn" bash -c 'ip rule add from 172.31.7.0/24 lookup main pref 5 && iptables -P FORWARD ACCEPT'
	watch_bridge "wpimg$NUMBER" "$FILES/second-open.pcap"
	eventually 10 is_seen "$FILES/second-open.pcap"
	stop_watching
	ok 'second network: control: with the chain FORWARD open and a route past the tunnel the machine is seen'
}

is_seen() {
	tries_to_get_out
	[[ -n $(got_out "$1") ]]
}

said_pinged() {
	logs "$MACHINE" | grep -c '^pinged$' || true
}

has_pinged_more_than() {
	(($(said_pinged) > $1))
}

on_a_lan_by_macvlan() {
	MACHINE=$TELEVISION
	make_lan
	example Macvlan | sed 's/enp3s0/wpimg-parent/' >"$FILES/macvlan.yml"
	compose macvlan up --detach --no-build
	wait_healthy "$PREFIX-vpn"
	eventually 20 machine_sees_tunnel 3
	downloads_much
	expect "^$PAGE_HOST\$" within dig +short @192.168.1.5 inside.test
	within ip address add 192.168.1.60/24 dev eth0
	refused within curl --silent --max-time 1 --interface 192.168.1.60 "$WORLD_INSIDE_PAGE"
	ok 'macvlan: a machine of the LAN comes out of the tunnel, eight megabytes come through; one not named does not'
	announce lan ip netns exec "$ROUTER"
	eventually 10 has_ipv6
	watch_bridge wan "$FILES/macvlan-v6.pcap" ip netns exec "$ROUTER"
	eventually 10 is_seen "$FILES/macvlan-v6.pcap"
	stop_watching
	[[ -z $(docker exec "$PREFIX-vpn" ip -6 address show dev eth0) ]] || fail 'the VPN container has IPv6'
	within sysctl --quiet --write net.ipv6.conf.all.disable_ipv6=1
	ok "macvlan: the machine goes around by the IPv6 that the LAN's router announces, until it is switched off there"
	watch_bridge wan "$FILES/macvlan.pcap" ip netns exec "$ROUTER"
	tries_to_get_out
	loses_its_tunnel
	eventually 20 machine_sees_tunnel 3
	downloads_much
	docker stop --time 20 "$PREFIX-vpn" >/dev/null
	tries_to_get_out
	stop_watching
	nothing_got_out "$FILES/macvlan.pcap" macvlan
	within ip route replace default via 192.168.1.1
	watch_bridge wan "$FILES/macvlan-open.pcap" ip netns exec "$ROUTER"
	eventually 10 is_seen "$FILES/macvlan-open.pcap"
	stop_watching
	ok "macvlan: control: with the router as its gateway the machine is seen"
}

# A switch with the macvlan's parent, a machine, and a router to the simulated internet.
make_lan() {
	local name
	for name in "$ROUTER" "$TELEVISION"; do
		ip netns add "$name"
		ip netns exec "$name" sysctl --quiet --write net.ipv6.conf.default.dad_transmits=0
	done
	ip link add wpimg-parent type veth peer name parent netns "$ROUTER"
	ip link set wpimg-parent up
	# A bridge has the lowest hardware address of its ports: with another one nobody would find it for a while.
	ip -n "$WORLD_INTERNET_NETNS" link add "$ROUTER" address fe:ff:ff:ff:ff:ff type veth peer name wan netns "$ROUTER"
	ip -n "$WORLD_INTERNET_NETNS" link set "$ROUTER" master wan up
	ip netns exec "$ROUTER" sysctl --quiet --write net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	ip -n "$ROUTER" -batch - <<-END
		link add lan type bridge
		link set lan up
		link set parent master lan up
		link add tv type veth peer name eth0 netns $TELEVISION
		link set tv master lan up
		addr add 192.168.1.1/24 dev lan
		addr add 198.51.100.251/24 dev wan
		addr add 2001:db8:1::251/64 dev wan nodad
		link set wan up
		route add default via 198.51.100.1
		route add default via 2001:db8:1::1
		route add blackhole 100.64.0.0/10
	END
	ip netns exec "$ROUTER" iptables -t nat -A POSTROUTING -o wan -j MASQUERADE
	ip -n "$TELEVISION" -batch - <<-END
		addr add 192.168.1.50/24 dev eth0
		link set eth0 up
		route add default via 192.168.1.5
	END
}
