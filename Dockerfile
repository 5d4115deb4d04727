# wireguard-pia. Builds with BuildKit and with Docker's older builder.
#
#   docker build -t wireguard-pia .
#   docker build -t wireguard-pia:slim --target slim .
#
# Build arguments:
#   BASE_IMAGE    what the image is built on: Alpine, Debian or Ubuntu, of any release that has wireguard-go
#   BUILD_IMAGE   what the program is compiled on, where that is another: it needs Rust 1.89 or newer as a package, or
#                 as it comes (Debian 12 and 13 have an older one)
#   BINARY        a static program built beforehand (scripts/build-static), to compile nothing: a path in this folder,
#                 under dist/
#   PIA_FILES     a folder with rsa_4096.crt and RegionsListPubKey.pem, to download neither: also under dist/
#   BUILDINFO     what `--version` and the log say of this build
#
# A few things are left out because one of the builders lacks them: heredocs, `ADD --checksum`, `COPY --link`, cache
# mounts. `HEALTHCHECK --start-interval` is one more, so for the first half minute a container's health is asked for
# every five seconds at most; compose files of the newer kind can set `start_interval: 1s` (docs/migration.md).
ARG BASE_IMAGE=alpine:3.24
ARG BUILD_IMAGE=${BASE_IMAGE}

# --- the program and PIA's files -------------------------------------------------------------------------------------
FROM ${BUILD_IMAGE} AS build
ARG BINARY=
ARG PIA_FILES=
WORKDIR /src

COPY scripts/install-packages scripts/
RUN if [ -z "$BINARY" ] || [ -z "$PIA_FILES" ]; then \
        if ! command -v cargo >/dev/null; then sh scripts/install-packages build; fi; \
    fi

COPY scripts/fetch-pia-files scripts/
RUN if [ -z "$PIA_FILES" ]; then sh scripts/fetch-pia-files /pia-files; fi

# The dependencies first, on an empty program: they change less often than ours.
COPY Cargo.toml Cargo.lock ./
# Cargo wants to know all of the workspace, also what it does not build.
COPY tests/ tests/
COPY scripts/build-static scripts/build.rs scripts/
RUN if [ -z "$BINARY" ]; then \
        mkdir src && echo 'fn main() {}' >src/main.rs && : >src/lib.rs \
        && sh scripts/build-static /dev/null && rm -r src; \
    fi

COPY . .
# What was compiled above is newer than the sources, so it would be taken for current.
RUN if [ -z "$BINARY" ]; then \
        touch src/main.rs src/lib.rs && sh scripts/build-static /wireguard-pia; \
    fi; \
    sh scripts/image-tree /tree "${BINARY:-/wireguard-pia}" "${PIA_FILES:-/pia-files}"

# --- packages, and everything about the image that does not change with the program ----------------------------------
FROM ${BASE_IMAGE} AS packages-slim
COPY scripts/install-packages /tmp/
RUN sh /tmp/install-packages slim && rm /tmp/install-packages

# The first folder is the program's own: links to the iptables that it chose, so that hooks and `docker exec` use the
# same one.
ENV PATH=/run/wireguard-pia/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /scripts
# Account token, server list, forwarded port's signature, users' scripts.
VOLUME /pia
# The forwarded port, for other containers.
VOLUME /pia-shared
# By a shell, as a user's own file there may lack a `#!` line; `exec` saves the process.
HEALTHCHECK --interval=1m --timeout=3s --start-period=30s --retries=3 \
    CMD ["/bin/sh", "-c", "exec /scripts/healthcheck.sh"]
ENTRYPOINT ["/sbin/tini", "--"]
CMD ["/scripts/run"]

FROM packages-slim AS packages-full
COPY scripts/install-packages /tmp/
RUN sh /tmp/install-packages full && rm /tmp/install-packages

# --- the images -------------------------------------------------------------------------------------------------------
FROM packages-slim AS slim
COPY --from=build /tree/ /
ARG BUILDINFO=manual
ENV BUILDINFO=${BUILDINFO}

FROM packages-full AS full
COPY --from=build /tree/ /
ARG BUILDINFO=manual
ENV BUILDINFO=${BUILDINFO}
