# shellcheck shell=bash disable=SC2034 # chapters use them
# Containers of the test, and what is asked of them.

if docker-compose version >/dev/null 2>&1; then
	COMPOSE=(docker-compose)
else
	COMPOSE=(docker compose)
fi

# The kernel's WireGuard is not to be relied on.
DEVICES=(--device /dev/net/tun)

# start NAME OPTION...: a container of the image, in the background, with what it needs here: the world's name server,
# web authority and account.
start() {
	local name=$1
	shift
	start_without_dns "$name" --dns "$WORLD_NAMESERVER" "$@"
}

start_without_dns() {
	local name=$1
	shift
	docker run --detach --name "$name" "${DEVICES[@]}" --env SSL_CERT_FILE=/web-authorities.pem \
		--volume "$WORLD_SSL_CERT_FILE:/web-authorities.pem:ro" \
		--env "USER=$WORLD_USER" --env "PASS=$WORLD_PASS" --env "LOC=$LOCATION" "$@" "$IMAGE" >/dev/null
}

# start_beside VPN NAME OPTION... -- COMMAND...: a container that shares the network of another.
start_beside() {
	local vpn=$1 name=$2 options=()
	shift 2
	while [[ $1 != -- ]]; do options+=("$1") && shift; done
	shift
	docker run --detach --name "$name" --network "container:$vpn" --volume "$PWD/tests/image:/tools:ro" \
		--entrypoint "$1" "${options[@]}" "$IMAGE" "${@:2}" >/dev/null
}

healthy() {
	docker exec "$1" /scripts/healthcheck.sh
}

# What Docker itself thinks.
health() {
	docker inspect --format '{{.State.Health.Status}}' "$1"
}

wait_healthy() {
	eventually "${2:-30}" healthy "$1"
}

logs() {
	docker logs "$1" 2>&1
}

wait_log() {
	local patience=${3:-30} until
	until=$(($(now) + patience * 1000))
	until has "$(logs "$1")" "$2"; do
		(($(now) < until)) || fail "$1 did not log /$2/ within $patience s"
		sleep 0.2
	done
}

# page_inside CONTAINER [SECONDS]: the address that the page inside shows to it.
page_inside() {
	docker exec "$1" curl --silent --show-error --max-time "${2:-20}" "$WORLD_INSIDE_PAGE"
}

# sees_tunnel CONTAINER [SECONDS]: its way out is a server of PIA's.
sees_tunnel() {
	local seen
	seen=$(page_inside "$@") && is_server "$seen"
}

# stops NAME: by itself. How fast it is, the engine's part included, is shown; what it promises is tested elsewhere.
stops() {
	local begun
	begun=$(now)
	docker stop --time 20 "$1" >/dev/null
	STOP_TOOK=$(($(now) - begun))
	[[ $(docker inspect --format '{{.State.ExitCode}}' "$1") == 0 ]] || fail "$1 did not exit with 0"
}

tell_about_containers() {
	local name
	docker ps --all --filter "name=^/?$1" --format '{{.Names}} {{.Status}}' | while read -r name status; do
		echo "--- $name: $status"
		docker logs --tail 60 "$name" 2>&1
	done
}

# remove_containers PREFIX: with their networks and volumes.
remove_containers() {
	docker ps --all --quiet --filter "name=^/?$1" | xargs --no-run-if-empty docker rm --force --volumes >/dev/null
	docker network ls --quiet --filter "name=^$1" | xargs --no-run-if-empty docker network rm >/dev/null
	docker volume ls --quiet --filter "name=^$1" | xargs --no-run-if-empty docker volume rm >/dev/null
}

clean_up_everything() {
	remove_containers wpimg
	end_world
}

clean_up() {
	local status=$? pids
	set +e
	# Chapters still under way clear up after themselves first: what they have just started is theirs alone to know.
	pids=$(jobs -p | grep -vxF "${WORLD_PID:-none}")
	# shellcheck disable=SC2086 # several words
	[[ -z $pids ]] || { kill $pids && wait $pids; } 2>/dev/null
	[[ $status != 0 && ${IMAGE_TEST_KEEP:-} == 1 ]] || remove_containers wpimg
	end_world
	remove_images
}
