#!/bin/sh
# Prove that a clean clone works on a clean Debian: make a new chroot of a suite, clone the committed tree into it and run
# `make demo` and `make test` there, where nothing but make is installed beforehand. Needs root (or sudo) and debootstrap.
# usage: check-suite.sh SUITE [TARGET...]      SUITE: bookworm, trixie; targets: demo test unless given
# The mirror and apt's network settings are this machine's; MIRROR=... overrides. The chroot stays at build/chroot/SUITE.
set -eu
suite=$1
shift
[ $# -gt 0 ] || set -- demo test
top=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || exec sudo ${MIRROR:+MIRROR=$MIRROR} "$0" "$suite" "$@"
root=$top/build/chroot/$suite

if [ "${VEER_IN_NAMESPACE:-}" = "" ]; then # /proc and /dev are mounted in a namespace of our own: they go when we do
    exec unshare --mount env VEER_IN_NAMESPACE=1 "$0" "$suite" "$@"
fi

# The sources of this machine's own release, as: site release component. Third parties' are left out.
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
sources=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v c="$codename" '$2 == c || index($2, c "-") == 1' | sort -u)
mirror=${MIRROR:-$(echo "$sources" | awk -v c="$codename" '$2 == c {print $1; exit}')}
[ -n "$mirror" ] || { echo "check-suite: no Debian mirror in this machine's apt sources: give MIRROR=..." >&2; exit 1; }

rm -rf --one-file-system "$root"
mkdir -p "$root"
echo "check-suite: new $suite chroot in $root"
debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$root.log" 2>&1 || { tail -20 "$root.log" >&2; exit 1; }
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"

# What apt needs to reach the mirror from inside: sources, proxy and check settings, name resolution, certificates.
if [ -z "${MIRROR:-}" ]; then
    echo "$sources" | awk -v c="$codename" -v s="$suite" '{sub(c, s, $2); print "deb", $1, $2, $3}' >"$root/etc/apt/sources.list"
fi
apt-config dump | grep -E '^Acquire::(http|https|Check-)' >"$root/etc/apt/apt.conf.d/90machine" || true
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
    [ ! -e "$file" ] || { mkdir -p "$root$(dirname "$file")" && cat "$file" >"$root$file"; }
done

inside() { chroot "$root" /usr/bin/env LC_ALL=C.UTF-8 HOME=/root "$@"; }
inside sh -c 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends make' >>"$root.log" 2>&1 ||
    { tail -20 "$root.log" >&2; exit 1; }
git -c safe.directory="*" clone -q --no-hardlinks "$top" "$root/veer"

summary=
for target in "$@"; do
    start=$(date +%s)
    inside make -C /veer "$target" ${JOBS:+JOBS=$JOBS}
    summary="$summary
check-suite: $suite: make $target: $(($(date +%s) - start)) s"
done
echo "check-suite: $suite: $(git -c safe.directory="*" -C "$root/veer" log -1 --format=%h), installed: $(inside dpkg-query -W -f '${Package} ${Version}, ' gcc llvm-19-dev libdnnl-dev libprotobuf-c-dev cmake)$summary"
