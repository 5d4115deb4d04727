# shellcheck shell=bash
# The internet of the test's containers: the simulator's, reached from the engine's host by a wire and a routing table
# of its own, which only the test's networks use. The host's own routes stay as they are.

TABLE=7713
# The host's address on the simulated internet, and on the local network that the test adds.
OUTSIDE=198.51.100.250
LAN_GATEWAY=192.168.213.1
LAN_HOST=192.168.213.10
# What every container may be routed to: documentation addresses, so nothing else is kept from its way.
INTERNET=(198.51.100.0/24 203.0.113.0/24)

# start_world LOCATION...: with a server at each of them. Sets what the simulator tells: INTERNET_NETNS, NAMESERVER,
# USER, PASS and so on, each with WORLD_ before it.
start_world() {
	cargo build --quiet --locked --example simulator
	# Before the world: the first `ip netns add` of a machine mounts /run/netns over itself, and what was in it stays below.
	ip netns add wpimg-lan
	local line
	# shellcheck disable=SC2154 # the coprocess sets it
	coproc WORLD { "${CARGO_TARGET_DIR:-target}/debug/examples/simulator" demo-world "$@" 9>&-; }
	WORLD_SERVERS=()
	while read -r -t 60 -u "${WORLD[0]}" line; do
		case $line in
		READY=1) break ;;
		SERVER=*) WORLD_SERVERS+=("${line#SERVER=}") ;;
		*=*) printf -v "WORLD_${line%%=*}" %s "${line#*=}" ;;
		esac
	done
	[[ ${line:-} == READY=1 ]] || { echo 'the simulated world did not start' >&2 && return 1; }
	connect_host
	connect_lan
}

connect_host() {
	ip link add wpimg type veth peer name wpimg-host netns "$WORLD_INTERNET_NETNS"
	ip -n "$WORLD_INTERNET_NETNS" link set wpimg-host master wan up
	ip addr add "$OUTSIDE/32" dev wpimg
	ip link set wpimg up
	ip route add 198.51.100.0/24 dev wpimg src "$OUTSIDE" table "$TABLE"
	ip route add default via 198.51.100.1 dev wpimg src "$OUTSIDE" table "$TABLE"
	# The page inside is for those who come out of a server.
	ip route add blackhole 100.64.0.0/10 table "$TABLE"
	ip -6 route add blackhole default table "$TABLE"
}

# A host of the local network, for LOCAL_NETWORK and published ports.
connect_lan() {
	ip link add wpimg-lan type veth peer name eth0 netns wpimg-lan
	ip addr add "$LAN_GATEWAY/32" dev wpimg-lan
	ip link set wpimg-lan up
	ip route add 192.168.213.0/24 dev wpimg-lan src "$LAN_GATEWAY" table "$TABLE"
	ip rule add to 192.168.213.0/24 lookup "$TABLE" pref "$TABLE"
	ip netns exec wpimg-lan ip addr add "$LAN_HOST/24" dev eth0
	ip netns exec wpimg-lan ip link set eth0 up
	ip netns exec wpimg-lan ip link set lo up
	ip netns exec wpimg-lan ip route add default via "$LAN_GATEWAY"
}

# The public address of the server that a page inside named, or nothing.
is_server() {
	# A pipe would fail where grep has seen enough before all is written.
	grep -qxF -- "$1" < <(printf '%s\n' "${WORLD_SERVERS[@]}" | cut -d' ' -f3)
}

# new_network NAME NUMBER [OPTION...]: a Docker network with its own part of 10.213.0.0/16 and this world as its
# internet. Its bridge is called wpimgNUMBER.
new_network() {
	local name=$1 number=$2 subnet=10.213.$2.0/24
	shift 2
	docker network create --subnet "$subnet" -o com.docker.network.bridge.name="wpimg$number" "$@" "$name" >/dev/null
	ip rule add from "$subnet" lookup "$TABLE" pref "$TABLE"
	# What is the host's own, the bridges included, comes first.
	ip rule add from "$subnet" to 10.213.0.0/16 lookup main pref $((TABLE - 1))
}

# The default bridge is everybody's: only packets to the world's addresses take the way there.
use_default_bridge() {
	local subnet range
	subnet=$(docker network inspect bridge --format '{{range .IPAM.Config}}{{.Subnet}} {{end}}' | cut -d' ' -f1)
	for range in "${INTERNET[@]}"; do
		ip rule add from "$subnet" to "$range" lookup "$TABLE" pref "$TABLE"
	done
}

end_world() {
	[[ -z ${WORLD_PID:-} ]] || {
		local world=$WORLD_PID
		kill "$world" 2>/dev/null || true
		# It takes its namespaces with it.
		tail --pid="$world" -f /dev/null 2>/dev/null || true
	}
	ip link del wpimg 2>/dev/null || true
	ip link del wpimg-lan 2>/dev/null || true
	ip netns del wpimg-lan 2>/dev/null || true
	local preference
	for preference in "$TABLE" $((TABLE - 1)); do
		while ip rule del pref "$preference" 2>/dev/null; do :; done
	done
	ip route flush table "$TABLE" 2>/dev/null || true
	ip -6 route flush table "$TABLE" 2>/dev/null || true
}

# watch_bridge BRIDGE FILE [COMMAND...]: watches it from here on, until the chapter's end, from where COMMAND runs it.
watch_bridge() {
	local bridge=$1 file=$2
	shift 2
	# The end of the pipe tells when it listens.
	"$@" tcpdump -i "$bridge" -w "$file" -U --immediate-mode 2>"$file.log" 9>&- &
	WATCHER=$!
	eventually 20 grep -q 'listening on' "$file.log"
}

stop_watching() {
	# What was sent a moment ago is still on its way through tcpdump.
	sleep 0.5
	kill "$WATCHER"
	wait "$WATCHER" || true
}

# packets FILE FILTER: one line each.
packets() {
	tcpdump -nn -r "$1" "$2" 2>/dev/null
}
