# shellcheck shell=bash
# Shared by the scripts of this directory (sourced by bash): where downloads are kept, and what a missing part means.

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/openid-connect-ci
mkdir -p "$CACHE"

# missing REASON: a part of the checks cannot run here. On a developer's machine that is a skip, in CI it is a failure.
missing() {
  if [[ ${CI:-} == true ]]; then
    echo "MISSING: $*"
    return 1
  fi
  echo "SKIP: $*"
  return 77
}

# need COMMAND PACKAGE: installs Debian's package when the command is not there.
need() {
  command -v "$1" >/dev/null && return 0
  if ! command -v apt-get >/dev/null || [[ $(id -u) != 0 ]]; then
    missing "$1 is not installed (Debian: apt-get install $2)"
    return
  fi
  echo "installing Debian's $2"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2"; } >"$CACHE/apt.log" 2>&1 ||
    { tail -5 "$CACHE/apt.log"; missing "apt-get could not install $2"; }
}
