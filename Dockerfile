# The service in one image: the program alone, on a small Debian. Both of Docker's builders take this file.

# What it stands on. A release names them by digest: deploy/base-images prints the arguments.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /build

# As a release is built (deploy/release): no path of the build in the program, and in it a list of what it was made of, for
# who scans images.
ENV RUSTFLAGS="--remap-path-prefix=/build=. --remap-path-prefix=/usr/local/cargo=cargo"
RUN cargo install --locked cargo-auditable@0.7.7

# The dependencies are a layer of their own, built again only when these two files change: before the service itself is
# copied, programs of nothing stand in its place.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/pipeline \
    && echo 'fn main() {}' | tee src/main.rs > benches/pipeline/main.rs \
    && touch src/lib.rs \
    && cargo build --locked --release --bin rockets

COPY config config
COPY src src
# What was copied may be older than what stood in its place.
RUN touch src/main.rs src/lib.rs && cargo auditable build --locked --release --bin rockets
RUN mkdir -p /logins/broker /logins/ingest /logins/track /logins/query /logins/up /logins/operator /logins/admin


FROM ${DEBIAN_IMAGE}
LABEL org.opencontainers.image.title="rockets" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.description="Takes the messages of many rockets, out of order and more than once, and always knows each rocket's true state" \
      org.opencontainers.image.licenses="MIT"

# Whom TLS may trust.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/rockets /usr/local/bin/rockets

# Where docker-compose.yml has logins made: a volume at one of these folders belongs to whom the folder belongs to.
COPY --from=build --chown=65532:65532 /logins /logins

# Nobody in particular; nothing is written to the file system, which may be read-only.
USER 65532:65532
# Unless it is told otherwise it is reached from outside the container.
ENV ROCKETS_HTTP__ADDR=0.0.0.0:8088
EXPOSE 8088
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=2s --timeout=3s --start-period=30s --retries=3 CMD ["rockets", "health"]
ENTRYPOINT ["rockets"]
CMD ["--help"]
