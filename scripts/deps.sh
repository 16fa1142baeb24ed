#!/bin/sh
# Install the packages of packages.txt that are missing. Quick and offline when there is nothing to do.
set -eu
here=$(dirname "$0")

command -v dpkg-query >/dev/null || { echo "deps: not a Debian system: install the equivalents of scripts/packages.txt yourself" >&2; exit 0; }

missing=
for package in $(sed 's/#.*//' "$here/packages.txt"); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
echo "deps: installing$missing"
[ -n "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit 2>/dev/null)" ] || $sudo apt-get update -q
install="$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends"
# Lists may be there and out of date: then what they name is gone from the mirror, and new lists help.
$install $missing || { $sudo apt-get update -q && $install $missing; }
