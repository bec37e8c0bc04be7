# The commands of every day. All of them are plain Go commands; nothing here is needed to use the plugin.
GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: help demo build test race bench lint gen keycloak ci

help:                    ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo:                    ## identity provider, gateway and upstream on loopback, with the story played
	go run ./cmd/demo

build:                   ## the plugin server, static, into bin/
	CGO_ENABLED=0 go build -trimpath -o bin/openid-connect ./cmd/openid-connect

test:                    ## all tests; those that need more than Go say what they miss
	go test ./...

race:                    ## the same under the race detector (needs a C compiler)
	go test -race -shuffle=on ./...

bench:                   ## our server beside go-pdk's own, driven as Kong drives them: the table
	BENCH_TABLE=1 go test -count=1 -run TestBenchTable -v ./pkg/pluginserver
	go test -run '^$$' -bench . ./pkg/oidc ./pkg/cache ./plugin/...

lint:                    ## golangci-lint with .golangci.yml
	go run $(GOLANGCI) run

gen:                     ## docs/config.md from plugin/config
	go test ./plugin/config -run TestDocs -update

keycloak:                ## the tests against a real Keycloak (downloads it from Maven Central once)
	.ci/keycloak -v

ci:                      ## everything that CI runs
	bash .ci/run
