# shellcheck shell=bash disable=SC2034 # chapters use them
# The images under test.

IMAGE=wpimg:full
SLIM=wpimg:slim
# What the builds are given, from outside the sources.
FOLDER=dist/image-test
# What the images say that they are.
BUILD=image-test
# Holds the layers of the packages between runs.
CACHE=wireguard-pia-base:packages

build_images() {
	BASE=${IMAGE_TEST_BASE:-$(scripts/image-base)}
	mkdir -p "$FOLDER"
	quietly scripts/build-static "$FOLDER/wireguard-pia"
	build_prober
	# The world's, not PIA's.
	cp "$WORLD_PIA_CA_FILE" "$FOLDER/rsa_4096.crt"
	cp "$WORLD_PIA_SERVERLIST_KEY_FILE" "$FOLDER/RegionsListPubKey.pem"
	OPTIONS=(--build-arg "BASE_IMAGE=$BASE" --build-arg "BINARY=$FOLDER/wireguard-pia"
		--build-arg "PIA_FILES=$FOLDER" --build-arg "BUILDINFO=$BUILD")
	build_with 0 docker packages-full "$CACHE"
	build_with 0 docker full "$IMAGE"
	# The other builder, and the other image. Not every client of Docker's has it.
	local client
	while read -r client; do
		if build_with 1 "$client" slim "$SLIM" 2>/dev/null; then return; fi
	done < <(type -aP docker)
	echo 'scripts/image-test: no BuildKit here; the slim image is built by the older builder too'
	build_with 0 docker slim "$SLIM"
}

# Where the program is that tries every way out: one static file, so that any container can run it.
PROBER=

build_prober() {
	local host
	host=$(rustc -vV | sed -n 's/^host: //p')
	RUSTFLAGS='-C target-feature=+crt-static' quietly cargo build --release --locked --package prober --bin prober \
		--target "$host"
	PROBER=$FILES/prober
	cp "${CARGO_TARGET_DIR:-target}/$host/release/prober" "$PROBER"
}

# What a command says is of interest only where it fails.
quietly() {
	local said
	said=$("$@" 2>&1) || { echo "$said" >&2 && return 1; }
}

# build_with BUILDKIT CLIENT TARGET TAG
build_with() {
	DOCKER_BUILDKIT=$1 quietly "$2" build "${OPTIONS[@]}" --target "$3" --tag "$4" . </dev/null
}

# With the stages of earlier builds that the older builder leaves lying about, told by the arguments that they were
# built with.
remove_images() {
	docker image rm --force "$IMAGE" "$SLIM" >/dev/null 2>&1
	local id
	for id in $(docker image ls --quiet --filter dangling=true); do
		if grep -qF -e "BINARY=$FOLDER/" -e "BUILDINFO=$BUILD" < <(docker history --no-trunc --format '{{.CreatedBy}}' "$id" 2>/dev/null); then
			docker image rm "$id" >/dev/null 2>&1
		fi
	done
}
