# A static binary in an empty image, not root.
#
#   docker build -t trunkline .
#   docker run -p 4000:4000 -e LITELLM_MASTER_KEY=... -v trunkline:/data trunkline
#
# It listens on all addresses of the container, so it refuses to start without a strong master key. A configuration
# file goes in with `-v $PWD/config.yaml:/config.yaml:ro` and `-e CONFIG_FILE_PATH=/config.yaml`; with `DATABASE_URL`
# the volume holds nothing that must be kept.

FROM rust:1.95-alpine AS build
# What the C parts need: aws-lc, SQLite, mimalloc.
RUN apk add --no-cache musl-dev gcc g++ make cmake perl linux-headers
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist -p trunkline \
    && cp target/dist/trunkline /trunkline \
    && mkdir /data

FROM scratch
COPY --from=build /trunkline /trunkline
COPY --from=build --chown=65532:65532 /data /data
# Users, temporary files and certificates of a distribution are not needed: root certificates are in the binary.
USER 65532:65532
VOLUME /data
EXPOSE 4000
ENV TRUNKLINE_HOST=0.0.0.0 TRUNKLINE_PORT=4000 TRUNKLINE_DATA_DIR=/data TRUNKLINE_LOG_FORMAT=json
# SIGTERM drains: give it longer than `--drain-timeout` (`docker stop -t 40`).
STOPSIGNAL SIGTERM
ENTRYPOINT ["/trunkline"]
CMD ["serve"]
