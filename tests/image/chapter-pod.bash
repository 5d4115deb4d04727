# shellcheck shell=bash
# A network that outlives the container, as in a pod: killed and started again, it finds what its earlier life left.

chapter() {
	new_network "$PREFIX" "$NUMBER"
	docker run --detach --name "$PREFIX-pause" --network "$PREFIX" --dns "$WORLD_NAMESERVER" --entrypoint sleep \
		--volume "$PWD/tests/image:/tools:ro" "$IMAGE" infinity >/dev/null
	start_in_pod
	start_beside "$PREFIX-pause" "$PREFIX-beside" -- sleep infinity
	wait_healthy "$PREFIX-vpn"
	sees_tunnel "$PREFIX-beside" || fail 'no tunnel in the first life'
	survives kill
	survives stop
	survives_a_new_container
}

start_in_pod() {
	# The name servers are the network's.
	start_without_dns "$PREFIX-vpn" --network "container:$PREFIX-pause" --cap-add NET_ADMIN --volume "$PREFIX-pia:/pia"
}

stays_sealed() {
	refused docker exec "$PREFIX-beside" curl --silent --max-time 2 http://203.0.113.66/
	refused docker exec "$PREFIX-beside" curl --silent --max-time 2 --interface eth0 http://203.0.113.66/
}

# survives kill|stop: the end of one life, and the next.
survives() {
	docker "$1" "$PREFIX-vpn" >/dev/null
	stays_sealed
	docker start "$PREFIX-vpn" >/dev/null
	wait_healthy "$PREFIX-vpn"
	sees_tunnel "$PREFIX-beside" || fail "no tunnel after $1 and start"
	ok "docker $1 in a network that goes on: neighbours stay sealed, and have the tunnel again after the start"
}

survives_a_new_container() {
	docker kill "$PREFIX-vpn" >/dev/null
	docker rm --volumes "$PREFIX-vpn" >/dev/null
	start_in_pod
	wait_healthy "$PREFIX-vpn"
	sees_tunnel "$PREFIX-beside" || fail 'no tunnel by the new container'
	ok 'killed and replaced by a new container: connected, neighbours need no restart'
}
