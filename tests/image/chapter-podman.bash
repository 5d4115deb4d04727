# shellcheck shell=bash disable=SC2153 # names that scripts/image-test sets
# The other engine: a container, one beside it, a network attached later, and the pod of docs/kubernetes.yaml.

chapter() {
	command -v podman >/dev/null || { echo "skip  $CHAPTER: there is no Podman here" && return; }
	# Podman's pause container; Debian only recommends it.
	command -v catatonit /usr/libexec/podman/catatonit >/dev/null || fail 'install the package catatonit: pods need it'
	write_settings
	trap 'tell_of_podman; podman_clean_up; end_chapter' EXIT
	podman_clean_up
	docker save "$IMAGE" | quietly podman load
	podman_network "$PREFIX" "$NUMBER"
	podman_network "$PREFIX-later" "1$NUMBER"
	runs_a_container
	follows_a_network_that_is_attached_later
	stops_by_itself
	runs_as_a_unit_does
	runs_the_pod
	replaces_the_vpn_of_a_pod
}

# Podman as it comes, but for what machines without systemd lack, and for limits no higher than the caller's.
write_settings() {
	export CONTAINERS_CONF=$FILES/containers.conf
	cat >"$CONTAINERS_CONF" <<-END
		[containers]
		default_sysctls = ["net.ipv4.ping_group_range=0 0"]
		default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "file"
	END
	# Debian's crun wants version 2 of the control groups alone.
	[[ ! -d /sys/fs/cgroup/unified ]] || echo 'runtime = "runc"' >>"$CONTAINERS_CONF"
}

podman_network() {
	local subnet=10.213.$2.0/24
	# It lists the machine's interfaces, and fails where one goes away meanwhile, as those of other chapters do.
	eventually 10 podman network create --subnet "$subnet" "$1"
	ip rule add from "$subnet" lookup "$TABLE" pref "$TABLE"
	ip rule add from "$subnet" to 10.213.0.0/16 lookup main pref $((TABLE - 1))
}

# What may say why the chapter failed.
tell_of_podman() {
	local name
	[[ -z ${PASSED:-} ]] || return 0
	for name in $(podman ps --all --format '{{.Names}}'); do
		printf '%s\n' "--- $name" "$(podman logs --tail 60 "$name" 2>&1)"
	done
	podman exec "$(podman ps --format '{{.Names}}' | grep -m 1 'vpn$')" \
		sh -c 'wireguard-pia status; wg; ip route show table all; iptables-save -c; /usr/local/libexec/wireguard-pia/nft list table netdev wireguard-pia' 2>&1 || true
}

podman_clean_up() {
	{
		podman pod rm --force behind-vpn-pod-0 "$PREFIX-pod"
		podman rm --force --time 1 "$PREFIX-client" "$PREFIX-vpn"
		podman network rm --force "$PREFIX" "$PREFIX-later"
		podman volume rm --force pia-data "$PREFIX-shared"
		podman secret rm pia "$PREFIX-user" "$PREFIX-pass"
		podman image rm --force "localhost/$IMAGE"
	} >/dev/null 2>&1 || true
}

podman_healthy() {
	podman exec "$1" /scripts/healthcheck.sh
}

# comes_out_of_a_server COMMAND...: which runs what comes behind it.
comes_out_of_a_server() {
	local seen
	seen=$("$@" curl --silent --show-error --max-time 20 "$WORLD_INSIDE_PAGE") || fail "$* reaches nothing"
	is_server "$seen" || fail "$* comes out of $seen"
}

runs_a_container() {
	podman run --detach --name "$PREFIX-vpn" --network "$PREFIX" --dns "$WORLD_NAMESERVER" --device /dev/net/tun \
		--cap-add NET_ADMIN --env SSL_CERT_FILE=/web-authorities.pem \
		--volume "$WORLD_SSL_CERT_FILE:/web-authorities.pem:ro" \
		--env "USER=$WORLD_USER" --env "PASS=$WORLD_PASS" --env "LOC=$LOCATION" "localhost/$IMAGE" >/dev/null
	eventually 30 podman_healthy "$PREFIX-vpn"
	comes_out_of_a_server podman run --rm --network "container:$PREFIX-vpn" --entrypoint '' "localhost/$IMAGE"
	ok 'a container, with one beside it, with Podman'
}

follows_a_network_that_is_attached_later() {
	podman network connect "$PREFIX-later" "$PREFIX-vpn"
	eventually 20 podman exec "$PREFIX-vpn" ping -c 1 -W 1 "10.213.1$NUMBER.1"
	eventually 20 only_the_vpns_name_servers
	comes_out_of_a_server podman exec "$PREFIX-vpn"
	ok 'a network attached later is reached, and its name server is not asked'
}

only_the_vpns_name_servers() {
	! podman exec "$PREFIX-vpn" grep -E '^nameserver' /etc/resolv.conf | grep -vE ' 10\.0\.0\.24[23]$'
}

stops_by_itself() {
	podman stop --time 20 "$PREFIX-vpn" >/dev/null
	[[ $(podman inspect --format '{{.State.ExitCode}}' "$PREFIX-vpn") == 0 ]] || fail 'it did not exit with 0'
	podman rm "$PREFIX-vpn" >/dev/null
}

# With the options that a unit made of a .container file has, but for what takes systemd; account by Podman's secrets,
# one as a file and one as a variable; a client by another unit, which reads the port file as a user of its own.
runs_as_a_unit_does() {
	local unit=(--replace --rm --detach --pull never --log-driver k8s-file) vpn=$PREFIX-vpn port address seen
	printf '%s\n' "$WORLD_USER" | podman secret create "$PREFIX-user" - >/dev/null
	printf '%s' "$WORLD_PASS" | podman secret create "$PREFIX-pass" - >/dev/null
	podman run --name "$vpn" --cidfile "$FILES/cid" "${unit[@]}" --network "$PREFIX" --dns "$WORLD_NAMESERVER" \
		--device /dev/net/tun --cap-add NET_ADMIN --cap-add NET_RAW --sysctl net.ipv4.conf.all.src_valid_mark=1 \
		--volume "$PREFIX-shared:/pia-shared" --volume "$WORLD_SSL_CERT_FILE:/web-authorities.pem:ro" \
		--secret "$PREFIX-user" --secret "$PREFIX-pass,type=env,target=PASS" --env "USER_FILE=/run/secrets/$PREFIX-user" \
		--env SSL_CERT_FILE=/web-authorities.pem --env "LOC=$LOCATION" --env LOCAL_NETWORK=192.168.213.0/24 \
		--env PORT_FORWARDING=1 --env TZ=Etc/UTC "localhost/$IMAGE" >/dev/null
	podman run --name "$PREFIX-client" "${unit[@]}" --network "container:$vpn" --volume "$PREFIX-shared:/shared:ro" \
		--volume "$PWD/tests/image:/tools:ro" --entrypoint perl "localhost/$IMAGE" /tools/greet.pl 8080 >/dev/null
	eventually 30 podman_healthy "$vpn"
	comes_out_of_a_server podman exec "$PREFIX-client"
	port=$(podman logs "$vpn" 2>&1 | sed -n 's/.*Forwarding on port //p')
	eventually 20 podman exec --user 1000 "$PREFIX-client" grep -qx "$port" /shared/port.dat
	# Not by the published port: where Docker runs, too, its policy drops what is forwarded to other engines' containers.
	address=$(podman inspect --format "{{(index .NetworkSettings.Networks \"$PREFIX\").IPAddress}}" "$vpn")
	seen=$(curl --silent --show-error --max-time 20 "http://$address:8080/")
	[[ $seen == "10.213.$NUMBER.1" ]] || fail "the host was seen as $seen"
	podman rm --force --time 1 "$PREFIX-client" >/dev/null
	podman rm --force --ignore --time 20 --cidfile "$FILES/cid" >/dev/null
	! podman container exists "$vpn" || fail 'the unit left its container'
	ok 'as a systemd unit runs it: secrets, a port file for users, a client by another unit that the host reaches'
}

# With what this world is, and what Podman 4.3 cannot do: native sidecars, secrets in base64.
runs_the_pod() {
	local pod=behind-vpn-pod-0
	printf "data:\n  username: %s\n  password: '%s'\n" "$WORLD_USER" "$WORLD_PASS" | podman secret create pia - >/dev/null
	# What the first one adds only the second one can fill in.
	sed -f tests/image/kubernetes-for-podman.sed docs/kubernetes.yaml |
		sed -e "s|@IMAGE@|localhost/$IMAGE|; s|@LOCATION@|$LOCATION|" \
			-e "s|@NAMESERVER@|$WORLD_NAMESERVER|; s|@AUTHORITIES@|$WORLD_SSL_CERT_FILE|" >"$FILES/pod.yaml"
	podman kube play --network "$PREFIX" "$FILES/pod.yaml" >/dev/null
	eventually 30 podman_healthy "$pod-vpn"
	comes_out_of_a_server podman exec "$pod-program"
	podman kill "$pod-vpn" >/dev/null
	refused podman exec "$pod-program" curl --silent --max-time 2 http://203.0.113.66/
	podman start "$pod-vpn" >/dev/null
	eventually 30 podman_healthy "$pod-vpn"
	comes_out_of_a_server podman exec "$pod-program"
	# It reconnects: left alone, it would take its place at the server back from the next one.
	podman pod rm --force "$pod" >/dev/null
	ok 'docs/kubernetes.yaml: the program behind the VPN, sealed while it is killed, and out by it again after its restart'
}

in_pod() {
	podman run --detach --pod "$PREFIX-pod" --name "$PREFIX-$1" "${@:2}" >/dev/null
}

vpn_in_pod() {
	in_pod vpn --device /dev/net/tun --cap-add NET_ADMIN --volume pia-data:/pia \
		--env SSL_CERT_FILE=/web-authorities.pem --volume "$WORLD_SSL_CERT_FILE:/web-authorities.pem:ro" \
		--env "USER=$WORLD_USER" --env "PASS=$WORLD_PASS" --env "LOC=$LOCATION" "localhost/$IMAGE"
	eventually 30 podman_healthy "$PREFIX-vpn"
	comes_out_of_a_server podman exec "$PREFIX-client"
}

# A host that is no server of PIA's.
elsewhere() {
	podman exec "$PREFIX-client" timeout 2 bash -c 'exec 3<>/dev/tcp/203.0.113.66/80' 2>/dev/null
}

# "VPN and seal can both be removed and the VPN made anew" (docs/anchor.md)
replaces_the_vpn_of_a_pod() {
	local client
	podman pod create --name "$PREFIX-pod" --network "$PREFIX" --dns "$WORLD_NAMESERVER" >/dev/null
	in_pod client --entrypoint sleep "localhost/$IMAGE" infinity
	eventually 10 elsewhere
	in_pod net --cap-add NET_ADMIN "localhost/$IMAGE" wireguard-pia seal
	eventually 20 podman_healthy "$PREFIX-net"
	refused elsewhere
	client=$(podman inspect --format '{{.State.StartedAt}}' "$PREFIX-client")
	vpn_in_pod
	podman rm --force --time 0 "$PREFIX-vpn" >/dev/null
	refused elsewhere
	podman rm --force --time 5 "$PREFIX-net" >/dev/null
	refused elsewhere
	vpn_in_pod
	[[ $(podman inspect --format '{{.State.StartedAt}}' "$PREFIX-client") == "$client" ]] || fail 'the client was restarted'
	ok 'a pod: closed by a seal in it, and by the VPN after that; VPN and seal are removed and the client keeps its network'
}
