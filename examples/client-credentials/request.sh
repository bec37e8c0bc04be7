#!/bin/sh
# The requests of README.md with curl. PROXY is the gateway's address. Exit 0: all of them were answered as they should be.
set -eu
proxy=${PROXY:-http://localhost:8000}
secret=cf4c655a-0622-4ce6-a0de-d3353ef0b714

# request TITLE STATUS CREDENTIALS
request() {
  printf '\n== %s\n' "$1"
  answer=$(curl -sS -u "$3" -w '\n%{http_code} in %{time_total} s' "$proxy/")
  printf '%s\n' "$answer"
  case $answer in
    *"
$2 in "*) ;;
    *) printf 'expected %s\n' "$2" >&2; exit 1 ;;
  esac
}

request "the first request: the provider is asked for a token" 200 "service:$secret"
request "the second: the token is in the cache" 200 "service:$secret"
request "a wrong secret: the provider refuses, the upstream is not called" 401 "service:wrong"
