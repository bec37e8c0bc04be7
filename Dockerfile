# One image for both halves: Kong Gateway OSS with this plugin's schema at hand, and the plugin server itself
# (docker-compose.yml runs it twice, with another command). Kong does not start the server: see README.md, "Loading it into Kong".

FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# -dump is what Kong asks for at its start: an image whose dump fails must not exist.
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -o /out/openid-connect ./cmd/openid-connect \
 && /out/openid-connect -dump > /dev/null

FROM kong:3.9.1
LABEL org.opencontainers.image.title="openid-connect for Kong Gateway OSS" \
      org.opencontainers.image.description="Kong Gateway OSS 3.9 with the openid-connect plugin server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/kong:3.9.1"
USER root
COPY --from=build /out/openid-connect /usr/local/bin/openid-connect
# The socket's directory. A new named volume mounted here takes over its owner and mode.
RUN install -d -o kong -g 0 -m 0750 /run/openid-connect
USER kong
# As in Kong's own image. With SIGQUIT Kong lets its requests end, with SIGTERM it cuts them off; the plugin server lets them end
# with either.
STOPSIGNAL SIGQUIT
# The server's name in Kong is "oidc", not "openid-connect": where /usr/local/bin/<name> exists and no START_CMD is given,
# Kong starts that file by itself (kong/conf_loader/init.lua, 3.9.1), and this image wants the server run outside.
ENV KONG_PLUGINS="bundled,openid-connect" \
    KONG_PLUGINSERVER_NAMES="oidc" \
    KONG_PLUGINSERVER_OIDC_SOCKET="/run/openid-connect/openid-connect.sock" \
    KONG_PLUGINSERVER_OIDC_QUERY_CMD="/usr/local/bin/openid-connect -dump" \
    KONG_NGINX_HTTP_LUA_SOCKET_READ_TIMEOUT="15s" \
    OPENID_CONNECT_SOCKET="/run/openid-connect/openid-connect.sock"
