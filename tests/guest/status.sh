#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The command's exit status and environment reach through the guest.
. "$(dirname "$0")/lib.sh"
can_run

guest -- sh -c 'exit 7'
equal "exit status" 7 $?

# shellcheck disable=SC2016 # for the guest's shell
said=$(guest --env 'WORDS=two  "words"' -- sh -c 'echo "$PWD|$VACCEL_GUEST|$WORDS|$1|$(id -u)|$(hostname)"; exit 0' \
	sh "it's"' $HOME')
equal "exit status" 0 $?
equal "what the command sees" "$private|$kind|two  \"words\"|it's \$HOME|0|vaccel-guest" "$said"

guest -- /nonexistent/command 2> err
equal "status of a command that is not there" 127 $?

# shellcheck disable=SC2016
guest -- sh -c 'kill -9 $$' 2> err
equal "status of a killed command" 137 $?
