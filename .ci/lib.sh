# shellcheck shell=bash
# What .ci/run and examples/run-climate share: packages of the system, a Python environment.

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
say() { printf '\n== %s\n' "$*"; }

# as_root COMMAND...: directly, or through sudo where it asks for no password
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# need COMMAND:PACKAGE... or PATH:PACKAGE...: install the packages of what is missing (Debian, Ubuntu)
need() {
  local pair packages=()
  for pair in "$@"; do
    if [ -e "${pair%%:*}" ] && [ "${pair:0:1}" = / ]; then continue; fi
    # Programs for administrators are often not on an ordinary user's PATH.
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
  done
  install_packages "${packages[@]}"
}

install_packages() {
  [ $# -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "install these first (no apt-get here to do it): $*"
  as_root true 2>/dev/null || die "install these first, as root: apt-get install $*"
  say "installing $*"
  as_root apt-get update -qq </dev/null
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null
}

# find_python: prints a Python of version 3.10 or newer.  The system's comes first: ordinary users,
# in whose name tests run, may not be allowed to read another.
find_python() {
  local python
  for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11 python3.10; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      command -v "$python"
      return
    fi
  done
  return 1
}

# make_venv EXTRAS: .venv with nbrw[EXTRAS] in it, from this checkout; done anew if the extras asked
# for or pyproject.toml have changed.  pip goes by this machine's settings.
make_venv() {
  local python stamp
  find_python >/dev/null || need python3:python3
  python=$(find_python) || die "no Python 3.10 or newer found; install one"
  "$python" -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
  stamp="$1 $("$python" -V) $(sha256sum <pyproject.toml)"
  if [ "$(cat .venv/nbrw-stamp 2>/dev/null)" = "$stamp" ] && .venv/bin/python -c 'import nbrw_builder'; then
    return
  fi
  say "making .venv with $("$python" -V)"
  "$python" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$1]" </dev/null
  printf '%s\n' "$stamp" >.venv/nbrw-stamp
}
