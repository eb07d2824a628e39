"""Completion of flags in a shell, by shtab, also behind `python`, which is how scripts are called."""

from __future__ import annotations

import argparse

import shtab

# bash completes by a line's first word, which is not the script but `python`.
BEHIND_PYTHON = """
_behind_python() {
  local at script
  for ((at = 1; at < COMP_CWORD; at++)); do
    script=${COMP_WORDS[at]##*/}
    [[ ${COMP_WORDS[at - 1]} == -m ]] && script=${script##*.}.py
    script=_shtab_${script//[^a-zA-Z0-9]/_}
    if declare -F "$script" > /dev/null; then
      COMP_WORDS=("${COMP_WORDS[@]:at}")
      COMP_CWORD=$((COMP_CWORD - at))
      "$script" "${COMP_WORDS[0]}" "$2" "$3"
      return
    fi
  done
}
complete -o bashdefault -o default -F _behind_python python python3
"""


def add_completion(parser: argparse.ArgumentParser) -> None:
    """The flag that prints the script for a shell."""
    text = "print a script that completes the flags in this shell"
    shtab.add_argument_to(parser, "--print_completion", help=text, preamble={"bash": BEHIND_PYTHON})
