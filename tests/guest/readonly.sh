#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The guest sees the host's files, changes its own view of them at will, and cannot change them.
. "$(dirname "$0")/lib.sh"
can_run
case $kind in
uml)
	# there is nothing but Landlock to stop that kind of guest
	python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(444, None, 0, 1) < 0)' ||
		skip "this host's kernel has no Landlock"
	;;
esac

echo host > file
mkdir folder
# shellcheck disable=SC2016 # for the guest's shell
guest -- sh -c '
	[ "$(cat file)" = host ] || { echo "the file is not there"; exit 1; }
	echo guest > file && [ "$(cat file)" = guest ] || { echo "the file cannot be changed in the guest"; exit 1; }
	rm -r folder; : > new; chmod 600 file
	# The guest made the mounts read-only itself, and its root may undo that: the host must refuse as well.
	case $VACCEL_GUEST in
	uml)
		mkdir -p /mnt/host
		mount -t hostfs -o "$PWD" none /mnt/host || { echo "the folder cannot be mounted"; exit 1; }
		target=/mnt/host/evil
		;;
	*)
		modules=/lib/modules/$(uname -r)
		mount -o remount,rw "$modules" || { echo "the host folder cannot be remounted"; exit 1; }
		target=$modules/evil
		;;
	esac
	if (echo evil > "$target") 2> /dev/null; then
		rm -f "$target"
		echo "a file could be made in the host folder"
		exit 1
	fi' > said 2>&1 || fail "status $?: $(cat said)"
equal "the file" host "$(cat file)"
[ -d folder ] || fail "the folder is gone"
[ ! -e evil ] || fail "the guest made a file in the folder"
[ ! -e new ] || fail "a new file appeared"
