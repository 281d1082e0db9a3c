# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Completion of vaccel(1) for bash. It asks the program itself for commands and options, so that it knows those which
# the installed version has.

# Completes $1, the beginning of a transport. Readline breaks words at colons: "shm:/run/v" arrives as three words, and
# what is offered replaces the last one only.
_vaccel_url()
{
	local scheme=${COMP_WORDS[COMP_CWORD - 2]}

	if [[ $1 == : ]]; then
		mapfile -t COMPREPLY < <(compgen -f /)
	elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == : && $scheme =~ ^(local|virtio|shm)$ ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$1")
	else
		mapfile -t COMPREPLY < <(compgen -W "local: virtio:/dev/vaccel shm:/run/vaccel/" -- "$1")
		compopt -o nospace 2>/dev/null
	fi
}

# Completes $2, the beginning of a model's name: those that the other end has, if it answers at once.
_vaccel_model()
{
	local transport=() name

	if [[ $COMP_LINE =~ [[:space:]](-t|--transport)[[:space:]=]+([^[:space:]]+) ]]; then
		transport=(--transport "${BASH_REMATCH[2]}")
	fi
	# Not through compgen -W, which would expand what somebody else's daemon calls a name.
	while read -r name; do
		[[ $name != "$2"* || ! $name =~ ^[A-Za-z0-9._-]+$ ]] || COMPREPLY+=("$name")
	done < <(timeout 2 "$1" models --names "${transport[@]}" 2>/dev/null)
}

_vaccel()
{
	local program=${COMP_WORDS[0]} command=${COMP_WORDS[1]} current=${COMP_WORDS[COMP_CWORD]} option
	local name letter type choices all=()

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$("$program" --print-options 2>/dev/null) --help --version" -- "$current")
		return
	fi
	# An input's file: behind the name and the equals sign, which is a word of its own.
	if [[ $command == infer && ${COMP_WORDS[COMP_CWORD - 1]} == "=" && ${COMP_WORDS[COMP_CWORD - 2]} != --* ]]; then
		mapfile -t COMPREPLY < <(compgen -f -- "$current")
		return
	fi
	# The option whose value this is, over the colons of a URL.
	option=${COMP_WORDS[COMP_CWORD - 1]}
	if [[ $current == : ]]; then
		option=${COMP_WORDS[COMP_CWORD - 2]}
	elif [[ $option == : ]]; then
		option=${COMP_WORDS[COMP_CWORD - 3]}
	fi
	while IFS=$'\t' read -r name letter type choices; do
		all+=("$name")
		[[ $type != flag && $type != operand && ($option == "$name" || $option == "$letter") ]] || continue
		case $type in
		url) _vaccel_url "$current" ;;
		model) _vaccel_model "$program" "$current" ;;
		file) mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
		list) [[ $option != -i && $option != --input ]] || mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
		choice) mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$current") ;;
		esac
		return
	done < <("$program" --print-options "$command" 2>/dev/null)
	mapfile -t COMPREPLY < <(compgen -W "${all[*]}" -- "$current")
	[[ $current != -* ]] || return
	case $command in
	plugin | classify | cipher) mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current") ;;
	models) _vaccel_model "$program" "$current" ;;
	esac
}

complete -F _vaccel vaccel
