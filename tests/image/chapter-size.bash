# shellcheck shell=bash disable=SC2153 # names that scripts/image-test sets
# How large the images are and what of; and that the slim one works.

chapter() {
	report
	has_no_nft
	new_network "$PREFIX" "$NUMBER"
	slim_connects
}

bytes() {
	docker image inspect --format '{{.Size}}' "$1"
}

megabytes() {
	awk -v bytes="$1" 'BEGIN { printf "%.1f MB", bytes / 1e6 }'
}

report() {
	local base slim full
	base=$(bytes "$BASE") slim=$(bytes "$SLIM") full=$(bytes "$IMAGE")
	note "base $(megabytes "$base"); slim adds $(megabytes $((slim - base))); full adds $(megabytes $((full - base)))"
	docker history --no-trunc --format '{{.Size}} {{.CreatedBy}}' "$IMAGE" |
		sed -E 's/(#\(nop\) +|\/bin\/sh -c )//g' | grep -v '^0B ' | cut -c -100 | sed "s/^/note  $CHAPTER:     /"
	local program
	program=$(docker run --rm --entrypoint stat "$IMAGE" -c %s /usr/local/bin/wireguard-pia)
	note "the program is $(megabytes "$program")"
	# Much more than this would be packages that nobody asked for.
	((full - base < 60000000)) || fail "the full image adds $(megabytes $((full - base))) to its base"
	((slim <= full)) || fail 'the slim image is larger than the full one'
}

has_no_nft() {
	local image
	for image in "$IMAGE" "$SLIM"; do
		refused docker run --rm --entrypoint bash "$image" -c 'command -v nft'
		# As the README tells hooks that want it.
		expect nftables docker run --rm --entrypoint bash "$image" -c \
			'ln -s /usr/local/libexec/wireguard-pia/nft /usr/local/bin/nft && nft --version'
	done
	refused docker run --rm --entrypoint bash "$SLIM" -c 'command -v jq'
	expect "$BUILD" docker run --rm "$IMAGE" wireguard-pia --version
	ok 'nft, which wg-quick would prefer, is outside PATH; no jq in the slim image; --version says BUILDINFO'
}

slim_connects() {
	local IMAGE=$SLIM
	start "$PREFIX-slim" --network "$PREFIX" --cap-add NET_ADMIN
	wait_healthy "$PREFIX-slim"
	# Without curl.
	local seen
	seen=$(docker exec "$PREFIX-slim" bash -c 'exec 3<>/dev/tcp/100.64.0.80/80; printf "GET / HTTP/1.0\r\n\r\n" >&3; cat <&3' |
		tail -n 1)
	is_server "$seen" || fail "the slim image comes out of $seen"
	stops "$PREFIX-slim"
	ok "the slim image connects; stopped in $STOP_TOOK ms"
}
