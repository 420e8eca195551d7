"""Scripts that make a shell complete crate's words, made from the tables that the commands are read with."""

from __future__ import annotations

from cratebox.cli import main as crate
from cratebox.cli.options import Command, Flag, visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_IMAGES = "crate images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null | grep -v '<none>'"
_CONTAINERS = "crate ps -a --format '{{.Names}}' 2>/dev/null"
_SHELLS = ("bash", "zsh", "fish")


def script(shell: str) -> str:
    """Return the script for bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def _commands() -> Iterator[tuple[tuple[str, ...], Command]]:
    """Return each verb as it is typed (("image", "ls")) and its table."""
    for verb in crate.VERBS:
        yield (verb,), crate.load(verb).COMMAND
    for group, verbs in crate.GROUPS.items():
        for verb, (module, _) in verbs.items():
            yield (group, verb), crate.load(module).COMMAND


def _top() -> list[str]:
    return [*crate.VERBS, *crate.GROUPS, "help"]


def _spellings(flag: Flag) -> list[str]:
    return [*([f"-{flag.short}"] if flag.short else []), f"--{flag.name}"]


def _with_help(command: Command) -> tuple[Flag, ...]:
    return (*visible(command.flags), Flag("help", help="show the manual page"))


def _bash() -> str:
    """Two functions of bash: what a verb's flags are, and what a value or an argument may be."""
    cases = ""
    values: dict[str, str] = {}
    for path, command in _commands():
        name = " ".join(path)
        flags = " ".join(spelling for flag in _with_help(command) for spelling in _spellings(flag))
        taking = " ".join(spelling for flag in visible(command.flags) if flag.metavar for spelling in _spellings(flag))
        cases += f'    "{name}") flags="{flags}" taking="{taking}" argument="{command.completes}" ;;\n'
        for flag in visible(command.flags):
            kind = " ".join(flag.words) or flag.completes
            for spelling in _spellings(flag) if kind else ():
                values[f"{name}/{spelling}"] = kind
    kinds = "".join(f'    "{key}") kind="{kind}" ;;\n' for key, kind in values.items())
    groups = "".join(f'    {group}) words="{" ".join(verbs)}" ;;\n' for group, verbs in crate.GROUPS.items())
    return _BASH.format(
        cases=cases,
        kinds=kinds,
        groups=groups,
        group_names="|".join(crate.GROUPS),
        top=" ".join(_top()),
        images=_IMAGES,
        containers=_CONTAINERS,
        shells=" ".join(_SHELLS),
        globals=" ".join(spelling for flag in _with_help(crate.GLOBAL) for spelling in _spellings(flag)),
        global_values="|".join(spelling for flag in crate.GLOBAL.flags if flag.metavar for spelling in _spellings(flag)),
    )


_BASH = """# bash completion of crate; made by `crate completion bash`
_crate_kind() {{
  case $1 in
    image) COMPREPLY=($(compgen -W "$({images})" -- "$2")) ; __ltrim_colon_completions "$2" 2>/dev/null ;;
    container) COMPREPLY=($(compgen -W "$({containers})" -- "$2")) ;;
    shell) COMPREPLY=($(compgen -W "{shells}" -- "$2")) ;;
    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$2")) ;;
    directory) compopt -o filenames -o nospace 2>/dev/null; COMPREPLY=($(compgen -d -- "$2")) ;;
    '') COMPREPLY=() ;;
    *) COMPREPLY=($(compgen -W "$1" -- "$2")) ;;
  esac
}}
_crate() {{
  local cur prev words cword verb= flags= taking= argument= kind= index=1 seen=0 IFS=$' \\t\\n'
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n := cur prev words cword
  else
    cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} words=("${{COMP_WORDS[@]}}") cword=$COMP_CWORD
  fi
  COMPREPLY=()
  while [ "$index" -lt "$cword" ]; do
    case ${{words[index]}} in
      {global_values}) index=$((index + 1)) ;;
      -*) ;;
      *) verb=${{words[index]}} ; index=$((index + 1)) ; break ;;
    esac
    index=$((index + 1))
  done
  if [ -z "$verb" ]; then
    case $prev in {global_values}) _crate_kind directory "$cur" ; return ;; esac
    case $cur in
      -*) COMPREPLY=($(compgen -W "{globals}" -- "$cur")) ;;
      *) COMPREPLY=($(compgen -W "{top}" -- "$cur")) ;;
    esac
    return
  fi
  case $verb in
  help) COMPREPLY=($(compgen -W "{top}" -- "$cur")) ; return ;;
  {group_names})
    if [ "$index" -ge "$cword" ]; then
      local words_of=$verb words=
      case $words_of in
{groups}      esac
      COMPREPLY=($(compgen -W "$words" -- "$cur"))
      return
    fi
    verb="$verb ${{words[index]}}" ; index=$((index + 1)) ;;
  esac
  case $verb in
{cases}    *) return ;;
  esac
  while [ "$index" -lt "$cword" ]; do
    case " $taking " in
      *" ${{words[index]}} "*) index=$((index + 1)) ;;
      *) case ${{words[index]}} in -*) ;; *) seen=$((seen + 1)) ;; esac ;;
    esac
    index=$((index + 1))
  done
  case $verb in
    run|create|start|'container run'|'container create'|'container start')
      # What follows the first argument belongs to the container's command.
      if [ "$seen" -gt 0 ]; then compopt -o default 2>/dev/null ; return ; fi ;;
  esac
  case "$verb/$prev" in
{kinds}  esac
  if [ -n "$kind" ]; then _crate_kind "$kind" "$cur" ; return ; fi
  case " $taking " in *" $prev "*) return ;; esac
  case $cur in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$cur")) ;;
    *) _crate_kind "$argument" "$cur" ;;
  esac
}}
complete -F _crate crate
"""


def _quoted(text: str) -> str:
    """Return text between single quotes, for any of the shells."""
    return "'" + text.replace("'", "'\\''") + "'"


def _zsh_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def _zsh_kind(flag: Flag) -> str:
    action = {"file": "_files", "directory": "_files -/", "image": "_crate_images", "container": "_crate_containers"}
    return f"({' '.join(flag.words)})" if flag.words else action.get(flag.completes, " ")


def _zsh_flag(flag: Flag) -> str:
    value = f":{_zsh_text(flag.metavar)}:{_zsh_kind(flag)}" if flag.metavar else ""
    star = "*" if flag.repeat else ""
    return " ".join(_quoted(f"{star}{spelling}[{_zsh_text(flag.help)}]{value}") for spelling in _spellings(flag))


def _zsh_arguments(command: Command) -> str:
    kinds = {"image": "_crate_images", "container": "_crate_containers", "shell": f"({' '.join(_SHELLS)})"}
    flags = " ".join(_zsh_flag(flag) for flag in _with_help(command))
    rest = ""
    if command.completes:
        where = "1" if command.stops or command.most == 1 else "*"
        rest = " " + _quoted(f"{where}:{command.completes}:{kinds[command.completes]}")
        rest += " " + _quoted("*::command:_normal") if command.stops else ""
    return f"_arguments -s {flags}{rest}"


def _zsh() -> str:
    cases = "".join(f"    {_quoted(' '.join(path))}) {_zsh_arguments(command)} ;;\n" for path, command in _commands())
    groups = "".join(f"    {group}) _values {group} {' '.join(verbs)} ;;\n" for group, verbs in crate.GROUPS.items())
    top = " ".join(_quoted(f"{verb}:{crate.load(verb).COMMAND.summary}") for verb in crate.VERBS)
    top += " " + " ".join(_quoted(f"{name}:Docker's longer names") for name in crate.GROUPS)
    return _ZSH.format(
        cases=cases,
        groups=groups,
        group_names="|".join(crate.GROUPS),
        top=top,
        globals=" ".join(_zsh_flag(flag) for flag in _with_help(crate.GLOBAL)),
        images=_IMAGES,
        containers=_CONTAINERS,
    )


_ZSH = """#compdef crate
# zsh completion of crate; made by `crate completion zsh`
_crate_images() {{ local -a found=(${{(f)"$({images})"}}) ; compadd -a found }}
_crate_containers() {{ local -a found=(${{(f)"$({containers})"}}) ; compadd -a found }}
_crate() {{
  local curcontext=$curcontext state line verb
  local -a top=({top})
  _arguments -C {globals} '1: :->verb' '*:: :->rest'
  case $state in
  verb) _describe command top ;;
  rest)
    verb=$words[1]
    case $verb in
    help) _describe command top ; return ;;
    {group_names})
      if (( CURRENT == 2 )); then
        case $verb in
{groups}        esac
        return
      fi
      verb="$verb $words[2]" ; shift words ; (( CURRENT-- )) ;;
    esac
    case $verb in
{cases}    esac ;;
  esac
}}
if [ "$funcstack[1]" = _crate ]; then _crate "$@"; else compdef _crate crate; fi
"""


def _fish() -> str:
    text = "# fish completion of crate; made by `crate completion fish`\ncomplete -c crate -f\n"
    top = f"not __fish_seen_subcommand_from {' '.join(_top())}"
    for verb in crate.VERBS:
        summary = crate.load(verb).COMMAND.summary
        text += f"complete -c crate -n {_quoted(top)} -a {verb} -d {_quoted(summary)}\n"
    for name in (*crate.GROUPS, "help"):
        text += f"complete -c crate -n {_quoted(top)} -a {name}\n"
    text += "".join(_fish_flag(top, flag) for flag in _with_help(crate.GLOBAL))
    for group, verbs in crate.GROUPS.items():
        inside = f"__fish_seen_subcommand_from {group}; and not __fish_seen_subcommand_from {' '.join(verbs)}"
        text += f"complete -c crate -n {_quoted(inside)} -a {_quoted(' '.join(verbs))}\n"
    for path, command in _commands():
        text += _fish_command(path, command)
    return text


def _fish_command(path: Sequence[str], command: Command) -> str:
    if len(path) == 1:
        condition = f"__fish_seen_subcommand_from {path[0]}; and not __fish_seen_subcommand_from {' '.join(crate.GROUPS)}"
    else:
        condition = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in path)
    text = "".join(_fish_flag(condition, flag) for flag in _with_help(command))
    offered = {"image": f"({_IMAGES})", "container": f"({_CONTAINERS})", "shell": " ".join(_SHELLS)}.get(command.completes)
    return text + (f"complete -c crate -n {_quoted(condition)} -a {_quoted(offered)}\n" if offered else "")


def _fish_flag(condition: str, flag: Flag) -> str:
    text = f"complete -c crate -n {_quoted(condition)} -l {flag.name}" + (f" -s {flag.short}" if flag.short else "")
    if flag.words:
        text += f" -x -a {_quoted(' '.join(flag.words))}"
    elif flag.metavar:
        text += " -r -F" if flag.completes else " -x"
    return f"{text} -d {_quoted(flag.help)}\n"
