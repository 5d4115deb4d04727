# shellcheck shell=bash disable=SC2016,SC2034 # patterns have backquotes; others use the names
# As few rights as possible; and where one is missing, the message that says which line to add.

# A container without any rights but those named.
HARDENED=(--read-only --cap-drop ALL --security-opt no-new-privileges)
WRITABLE=(--tmpfs /run --tmpfs /tmp --tmpfs /etc/wireguard:mode=0700)
SAID=0

chapter() {
	new_network "$PREFIX" "$NUMBER"
	runs_hardened
	runs_hardened_on_the_legacy_backend
	says_what_is_missing
	says_that_secrets_cannot_be_read
	says_that_tun_is_missing
	lists_locations_and_exits
	runs_with_another_init
}

runs_hardened() {
	printf 'nameserver %s\n' "$WORLD_NAMESERVER" >"$FILES/resolv.conf"
	start "$PREFIX-hardened" --network "$PREFIX" "${HARDENED[@]}" "${WRITABLE[@]}" --cap-add NET_ADMIN \
		--volume "$FILES/resolv.conf:/etc/resolv.conf"
	wait_healthy "$PREFIX-hardened"
	sees_tunnel "$PREFIX-hardened" || fail 'no tunnel'
	eventually 20 docker exec "$PREFIX-hardened" ping -c 1 -W 1 1.1.1.1
	expect '^ok ' docker exec "$PREFIX-hardened" wireguard-pia doctor
	expect '^nameserver 10\.0\.0\.243' docker exec "$PREFIX-hardened" cat /etc/resolv.conf
	stops "$PREFIX-hardened"
	[[ $(cat "$FILES/resolv.conf") == "nameserver $WORLD_NAMESERVER" ]] || fail 'resolv.conf was not restored'
	ok "read-only, NET_ADMIN alone, no new privileges: connected; stopped in $STOP_TOOK ms"
}

runs_hardened_on_the_legacy_backend() {
	start "$PREFIX-legacy" --network "$PREFIX" "${HARDENED[@]}" "${WRITABLE[@]}" --cap-add NET_ADMIN --env NFTABLES=0
	wait_log "$PREFIX-legacy" 'unable to initialize table.*NET_RAW' 20
	docker rm --force --volumes "$PREFIX-legacy" >/dev/null
	start "$PREFIX-legacy" --network "$PREFIX" "${HARDENED[@]}" "${WRITABLE[@]}" --cap-add NET_ADMIN --cap-add NET_RAW \
		--env NFTABLES=0
	wait_healthy "$PREFIX-legacy"
	sees_tunnel "$PREFIX-legacy" || fail 'no tunnel'
	# The exec'd command's PATH is the image's.
	expect 'legacy' docker exec "$PREFIX-legacy" iptables --version
	expect '^-P OUTPUT DROP' docker exec "$PREFIX-legacy" iptables -S
	ok 'NFTABLES=0: NET_RAW is asked for, and with it `docker exec vpn iptables` is the legacy one'
}

# says LINE OPTION...: a start with these options logs this, and does not claim to be sealed.
says() {
	local line=$1 name
	shift
	name=$PREFIX-says-$((++SAID))
	start "$name" --network "$PREFIX" "$@"
	wait_log "$name" "$line" 20
}

says_what_is_missing() {
	says 'add `cap_add: \[NET_ADMIN\]`'
	wait_log "$PREFIX-says-1" 'Waiting to be stopped; SIGHUP tries again' 20
	! has "$(logs "$PREFIX-says-1")" 'sealed' || fail 'without NET_ADMIN it claims to be sealed'
	stops "$PREFIX-says-1"
	says 'Fatal error.*NET_ADMIN' --env EXIT_ON_FATAL=1
	[[ $(docker wait "$PREFIX-says-2") == 1 ]] || fail 'EXIT_ON_FATAL=1 did not exit with 1'
	says 'remove `read_only: true`, or mount a file' "${HARDENED[@]}" "${WRITABLE[@]}" --cap-add NET_ADMIN
	docker rm --force --volumes "$PREFIX-says-$SAID" >/dev/null
	says 'tmpfs: \[.*/run' --cap-add NET_ADMIN --read-only
	says 'tmpfs: \[.*/etc/wireguard' --cap-add NET_ADMIN --read-only --tmpfs /run
	ok 'without NET_ADMIN, or read-only without a tmpfs: the message names the line to add'
}

says_that_secrets_cannot_be_read() {
	printf secret >"$FILES/secret"
	chown 1000 "$FILES/secret"
	chmod 0400 "$FILES/secret"
	says 'PASS_FILE.*(mode|permission|Permission).*' "${HARDENED[@]}" "${WRITABLE[@]}" --cap-add NET_ADMIN \
		--volume "$FILES/secret:/run/secrets/pia-password:ro" --env PASS= --env PASS_FILE=/run/secrets/pia-password
	note "unreadable secret: $(logs "$PREFIX-says-$SAID" | grep "PASS_FILE.*cannot be read")"
	ok 'a secret that cannot be read: the message names the variable and the cure'
}

says_that_tun_is_missing() {
	if ip link add wpimg-probe type wireguard 2>/dev/null; then
		ip link del wpimg-probe
		echo "skip  $CHAPTER: this kernel has WireGuard, so a missing /dev/net/tun is nothing to complain of"
		return
	fi
	local DEVICES=()
	start "$PREFIX-tun" --network "$PREFIX" --cap-add NET_ADMIN
	wait_log "$PREFIX-tun" 'add `devices: \[/dev/net/tun:/dev/net/tun\]`' 20
	ok 'without tun and kernel module: the message names the device to add'
}

lists_locations_and_exits() {
	start "$PREFIX-list" --network "$PREFIX" --cap-add NET_ADMIN --env LOC=
	[[ $(docker wait "$PREFIX-list") == 1 ]] || fail 'with an empty LOC it did not exit with 1'
	has "$(docker logs "$PREFIX-list" 2>/dev/null)" "\"id\": \"$LOCATION\"" || fail 'no list of locations on stdout'
	expect "^$LOCATION " docker run --rm --name "$PREFIX-locations" --network "$PREFIX" --dns "$WORLD_NAMESERVER" \
		--volume "$WORLD_SSL_CERT_FILE:/web-authorities.pem:ro" --env SSL_CERT_FILE=/web-authorities.pem \
		"$IMAGE" wireguard-pia locations
	ok 'with an empty LOC it prints the locations and exits with 1; `wireguard-pia locations` needs no rights at all'
}

runs_with_another_init() {
	start "$PREFIX-init" --network "$PREFIX" --cap-add NET_ADMIN --init
	wait_healthy "$PREFIX-init"
	stops "$PREFIX-init"
	ok "with init: true: connected; stopped in $STOP_TOOK ms"
}
