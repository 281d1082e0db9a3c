#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# pkgconfig.sh COMPILER FOLDER EXAMPLE...: each example builds as its users would build it, with what pkg-config says.
cc=$1
PKG_CONFIG_PATH=$2
export PKG_CONFIG_PATH
shift 2
command -v pkg-config > /dev/null || {
	echo 'skipped: there is no pkg-config here' >&2
	exit 77
}
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
flags=$(pkg-config --cflags --libs vaccel) || exit 1
for example; do
	# shellcheck disable=SC2086 # a list of flags, and a compiler with its arguments
	$cc -Wall -Wextra -Wno-missing-field-initializers -Werror "$example" -o "$folder/program" $flags || exit 1
done
[ "$(pkg-config --modversion vaccel)" = "$VERSION" ] || exit 1
