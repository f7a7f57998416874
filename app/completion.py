"""Shell completion: ``antlr-snn completion bash|zsh|fish`` prints a script that completes the command ``antlr-snn``.

  bash   antlr-snn completion bash > ~/.local/share/bash-completion/completions/antlr-snn
  zsh    antlr-snn completion zsh > ~/.zfunc/_antlr-snn      with fpath+=(~/.zfunc) before compinit in ~/.zshrc
  fish   antlr-snn completion fish > ~/.config/fish/completions/antlr-snn.fish

It completes commands, their keys and flags, the settings of a run, names of configurations and values that can be
listed; behind other keys, files. The words are in the script, so that no key press waits for Python: write it anew
after an update.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Literal, NamedTuple, get_args, get_origin

from .arguments import wants_help
from .config import CONFIGS
from .config.schema import Key, keys
from .errors import UserError
from .sweep.launchers import LAUNCHERS

TAKE_SETTINGS = ("train", "evaluate", "costs", "sweep", "landscape")
"""Commands whose keys are those of a run, besides their own."""
KEYS, FLAGS = ("shell",), ()


class Words(NamedTuple):
    """What can be completed.

    Args:
        commands: each with its purpose.
        keys: of each command, without ``=``.
        flags: of each command, with ``--``.
        values: of each key whose values can be listed.
    """

    commands: Mapping[str, str]
    keys: Mapping[str, list[str]]
    flags: Mapping[str, list[str]]
    values: Mapping[str, list[str]]


def main(argv: list[str]) -> int:
    """Print the script.

    Raises:
        UserError: there is none for this shell.
    """
    if wants_help(argv):
        print(__doc__)
        return 0
    if len(argv) != 1 or argv[0] not in SHELLS:
        raise UserError(f"say for which shell: antlr-snn completion {'|'.join(SHELLS)}")
    print(SHELLS[argv[0]](words()), end="")
    return 0


def words() -> Words:
    """All that can be completed now."""
    from .cli import COMMANDS

    values = {name: its for name, key in keys().items() if (its := values_of(key))}
    own, flags = {}, {}
    for name, (module, _) in COMMANDS.items():
        found = import_module(f".{module}", __package__)
        settings = list(keys()) if name in TAKE_SETTINGS else []
        own[name] = list(dict.fromkeys([*getattr(found, "KEYS", ()), *settings]))
        more = ("help", "help-all") if settings else ("help",)
        values |= {key: list(its) for key, its in getattr(found, "VALUES", {}).items()}
        flags[name] = [f"--{flag}" for flag in (*getattr(found, "FLAGS", ()), *more)]
    own["completion"], flags["completion"] = [], [*SHELLS, "--help"]
    values["launcher"] = list(LAUNCHERS)
    values["config"] = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    return Words({name: purpose for name, (_, purpose) in COMMANDS.items()}, own, flags, values)


def values_of(key: Key) -> list[str]:
    """The values of a setting that can be listed; none if it takes numbers or text."""
    found = []
    for hint in key.choices:
        if get_origin(hint) is Literal:
            found += [str(value) for value in get_args(hint)]
        elif hint is bool:
            found += ["true", "false"]
    return found


def bash(words: Words) -> str:
    """For bash 4 or newer, with or without ``=`` among the characters that divide words."""
    of_commands = {
        name: " ".join([*(f"{key}=" for key in words.keys[name]), *words.flags[name]]) for name in words.commands
    }
    return f"""\
# antlr-snn completion bash
_antlr_snn() {{
  local line=${{COMP_LINE:0:COMP_POINT}} list= reply
  local word=${{line##*[[:space:]]}}
  local -a given
  read -ra given <<< "$line"
  COMPREPLY=()
  if (( ${{#given[@]}} < 2 )) || {{ (( ${{#given[@]}} == 2 )) && [[ -n $word ]]; }}; then
    mapfile -t COMPREPLY < <(compgen -W "{" ".join(words.commands)} --help --help-all --version" -- "$word")
    return
  fi
  if [[ $word == *=* ]]; then
    local key=${{word%%=*}} value=${{word#*=}}
    case $key in
{_cases({name: " ".join(its) for name, its in words.values.items()})}
    esac
    if [[ -n $list ]]; then
      mapfile -t COMPREPLY < <(compgen -W "$list" -- "$value")
    else
      compopt -o filenames 2> /dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$value")
    fi
    [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${{COMPREPLY[@]/#/$key=}}")
    return
  fi
  case ${{given[1]}} in
{_cases(of_commands)}
  esac
  mapfile -t COMPREPLY < <(compgen -W "$list" -- "$word"; compgen -f -- "$word")
  for reply in "${{COMPREPLY[@]}}"; do
    [[ $reply != *= ]] || compopt -o nospace 2> /dev/null
  done
}}
complete -F _antlr_snn antlr-snn
"""


def _cases(texts: Mapping[str, str]) -> str:
    return "\n".join(f'      {name}) list="{text}" ;;' for name, text in texts.items())


def zsh(words: Words) -> str:
    """For zsh's completion system."""
    values = "\n".join(f"      {name}) compadd -- {' '.join(its)} ;;" for name, its in words.values.items())
    commands = "\n".join(
        f"    {name}) compadd -S '' -- {' '.join(f'{key}=' for key in words.keys[name])}; "
        f"compadd -- {' '.join(words.flags[name])} ;;"
        for name in words.commands
    )
    return f"""\
#compdef antlr-snn
_antlr_snn() {{
  if (( CURRENT == 2 )); then
    compadd -- {" ".join(words.commands)} --help --help-all --version
    return
  fi
  local word=$words[CURRENT]
  if [[ $word == *=* ]]; then
    local key=${{word%%=*}}
    compset -P '*='
    case $key in
{values}
      *) _files ;;
    esac
    return
  fi
  case $words[2] in
{commands}
  esac
  _files
}}
if [[ $funcstack[1] == _antlr-snn ]]; then
  _antlr_snn "$@"
else
  compdef _antlr_snn antlr-snn
fi
"""


def fish(words: Words) -> str:
    """For fish."""
    lines = ["complete -c antlr-snn -e"]
    for name, purpose in words.commands.items():
        lines.append(f"complete -c antlr-snn -f -n __fish_use_subcommand -a {name} -d '{purpose}'")
    for name in words.commands:
        seen = f"complete -c antlr-snn -n '__fish_seen_subcommand_from {name}' -a"
        candidates = [*(f"{key}=" for key in words.keys[name]), *words.flags[name]]
        candidates += [f"{key}={value}" for key in words.keys[name] for value in words.values.get(key, ())]
        if candidates:
            lines.append(f"{seen} '{' '.join(candidates)}'")
    return "\n".join(lines) + "\n"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
