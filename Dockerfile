# syntax=docker/dockerfile:1
# Roomcast on Debian 12, as whoever has no rights. The Debian packages are those of scripts/lib.sh, the one list that scripts and images use.
#
#   docker build -t roomcast .
#   docker run --rm --init -v recordings:/recordings roomcast rehearse --to rehearsal.mp4
#
# The second line records a simulated meeting into the volume `recordings`. A folder of the host must belong to the user 10001. docs/with-your-opentalk.md has
# the line of the service.

FROM rust:1.95-bookworm AS build
WORKDIR /src
# First what seldom changes: the packages are installed anew only when their list does.
COPY scripts/lib.sh scripts/packages scripts/
RUN scripts/packages build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    CARGO_TARGET_DIR=/src/target cargo build --locked --release --bin roomcast \
    && install -m 755 target/release/roomcast /usr/local/bin/roomcast

FROM debian:12-slim
COPY scripts/lib.sh scripts/packages /tmp/scripts/
# Also certificates of well-known authorities, time zones, and fonts for names in any script.
RUN /tmp/scripts/packages image && rm -rf /tmp/scripts /root/.cache /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /var/lib/roomcast --create-home --shell /usr/sbin/nologin roomcast \
    && install -d -o roomcast -g roomcast /recordings
COPY --from=build /usr/local/bin/roomcast /usr/local/bin/roomcast
# By number, so that it is seen from outside that it is not root.
USER 10001
WORKDIR /recordings
# An image that lacks an element, an encoder or a font is not made. Also writes down once which plugins there are, so that workers start faster.
RUN roomcast check --image
# Whatever is not delivered yet lies here: without a volume it goes with the container.
VOLUME ["/recordings"]
EXPOSE 11411
# Of a service, or of what was started with --http. Lives, even if it can take no Orders just now: a process that records is not to be ended for that.
HEALTHCHECK --interval=15s --timeout=11s --start-period=20s --retries=3 CMD ["roomcast", "health"]
# Recordings get their end when the container is stopped; give it time: docker stop --time 120.
STOPSIGNAL SIGTERM
ENTRYPOINT ["roomcast"]
CMD ["--help"]
