"""Scripts that make a shell complete a command's words, made from the tables that the commands are read with."""

from __future__ import annotations

from cratebox.cli.options import Command, Flag, Words, visible
from cratebox.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHELLS = ("bash", "zsh", "fish")


class Program(Record):
    """A command with verbs. `groups`: verbs of two words, as `image ls`. `kinds`: the shell command that lists what an argument
    may be, by what a table calls it ("container").
    """

    name: str
    globals: Command
    verbs: tuple[tuple[str, Command], ...]
    groups: dict[str, dict[str, Command]]
    kinds: dict[str, str]

    @property
    def commands(self) -> Iterator[tuple[tuple[str, ...], Command]]:
        """Each verb as it is typed (("image", "ls")) and its table."""
        for verb, command in self.verbs:
            yield (verb,), command
        for group, verbs in self.groups.items():
            for verb, command in verbs.items():
                yield (group, verb), command

    @property
    def top(self) -> list[str]:
        """What may stand first."""
        return [*(verb for verb, _command in self.verbs), *self.groups, "help"]

    @property
    def function(self) -> str:
        """The beginning of the names of shell functions."""
        return "_" + self.name.replace("-", "_")


def crate() -> Program:
    """Return the command crate."""
    from cratebox.cli import main, verbs

    kinds = {
        "image": "crate images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null | grep -v '<none>'",
        "container": "crate ps -a --format '{{.Names}}' 2>/dev/null",
        "network": "crate network ls --format '{{.Name}}' 2>/dev/null",
        "volume": "crate volume ls -q 2>/dev/null",
    }
    return Program(
        name="crate",
        globals=main.GLOBAL,
        verbs=tuple((verb, main.load(verb).COMMAND) for verb in verbs.VERBS),
        groups={
            group: {verb: main.load(module).COMMAND for verb, module in names.items()}
            for group, names in verbs.groups().items()
        },
        kinds={**kinds, "object": "; ".join(kinds.values())},
    )


def crate_oci() -> Program:
    """Return the command crate-oci; the containers are those of its usual --root."""
    from cratebox.cli.oci import main

    verbs = tuple((command.name, command) for command in main.commands())
    return Program("crate-oci", main.GLOBAL, verbs, {}, {"container": "crate-oci list -q 2>/dev/null"})


def asked(words: Words, program: Program) -> str:
    """Return the script for the shell that is the command's argument. Raises UsageError."""
    shell = words.arguments[0]
    if shell not in SHELLS:
        raise words.wrong(f"there is no completion for {shell}", f"one of {', '.join(SHELLS)}")
    return script(shell, program)


def script(shell: str, program: Program) -> str:
    """Return the script for bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](program)


def _spellings(flag: Flag) -> list[str]:
    return [*([f"-{flag.short}"] if flag.short else []), f"--{flag.name}"]


def _with_help(command: Command) -> tuple[Flag, ...]:
    return (*visible(command.all_flags), Flag("help", help="show the manual page"))


def _bash(program: Program) -> str:
    """Two functions of bash: what a verb's flags are, and what a value or an argument may be."""
    cases = ""
    values: dict[str, str] = {}
    for path, command in program.commands:
        name = " ".join(path)
        flags = " ".join(spelling for flag in _with_help(command) for spelling in _spellings(flag))
        taking = " ".join(spelling for flag in visible(command.all_flags) if flag.metavar for spelling in _spellings(flag))
        cases += f'    "{name}") flags="{flags}" taking="{taking}" argument="{command.completes}" ;;\n'
        for flag in visible(command.all_flags):
            kind = " ".join(flag.words) or flag.completes
            for spelling in _spellings(flag) if kind else ():
                values[f"{name}/{spelling}"] = kind
    listed = "".join(
        f'    {kind}) COMPREPLY=($(compgen -W "$({command})" -- "$2")) ; __ltrim_colon_completions "$2" 2>/dev/null ;;\n'
        for kind, command in program.kinds.items()
    )
    return _BASH.format(
        name=program.name,
        function=program.function,
        listed=listed,
        cases=cases,
        kinds="".join(f'    "{key}") kind="{kind}" ;;\n' for key, kind in values.items()),
        groups=_bash_groups(program),
        top=" ".join(program.top),
        stopping=_bash_stopping(program),
        shells=" ".join(SHELLS),
        globals=" ".join(spelling for flag in _with_help(program.globals) for spelling in _spellings(flag)),
        global_values="|".join(spelling for flag in program.globals.flags if flag.metavar for spelling in _spellings(flag)),
        global_kinds="".join(
            f'      {"|".join(_spellings(flag))}) {program.function}_kind "{" ".join(flag.words) or flag.completes}" "$cur" ; return ;;\n'
            for flag in program.globals.flags
            if flag.metavar
        ),
    )


def _bash_stopping(program: Program) -> str:
    """What follows the first argument belongs to the container's command, where a verb stops there."""
    stopping = "|".join(_quoted(" ".join(path)) for path, command in program.commands if command.stops)
    if not stopping:
        return ""
    return f"""  case $verb in
    {stopping})
      # What follows the first argument belongs to the container's command.
      if [ "$seen" -gt 0 ]; then compopt -o default 2>/dev/null ; return ; fi ;;
  esac
"""


def _bash_groups(program: Program) -> str:
    if not program.groups:
        return ""
    groups = "".join(f'        {group}) words="{" ".join(verbs)}" ;;\n' for group, verbs in program.groups.items())
    return _BASH_GROUPS.format(names="|".join(program.groups), groups=groups)


_BASH_GROUPS = """  {names})
    if [ "$index" -ge "$cword" ]; then
      local words_of=$verb words=
      case $words_of in
{groups}      esac
      COMPREPLY=($(compgen -W "$words" -- "$cur"))
      return
    fi
    verb="$verb ${{words[index]}}" ; index=$((index + 1)) ;;
"""
_BASH = """# bash completion of {name}; made by `{name} completion bash`
{function}_kind() {{
  case $1 in
{listed}    shell) COMPREPLY=($(compgen -W "{shells}" -- "$2")) ;;
    file) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$2")) ;;
    directory) compopt -o filenames -o nospace 2>/dev/null; COMPREPLY=($(compgen -d -- "$2")) ;;
    '') COMPREPLY=() ;;
    *) COMPREPLY=($(compgen -W "$1" -- "$2")) ;;
  esac
}}
{function}() {{
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
    case $prev in
{global_kinds}    esac
    case $cur in
      -*) COMPREPLY=($(compgen -W "{globals}" -- "$cur")) ;;
      *) COMPREPLY=($(compgen -W "{top}" -- "$cur")) ;;
    esac
    return
  fi
  case $verb in
  help) COMPREPLY=($(compgen -W "{top}" -- "$cur")) ; return ;;
{groups}  esac
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
{stopping}  case "$verb/$prev" in
{kinds}  esac
  if [ -n "$kind" ]; then {function}_kind "$kind" "$cur" ; return ; fi
  case " $taking " in *" $prev "*) return ;; esac
  case $cur in
    -*) COMPREPLY=($(compgen -W "$flags" -- "$cur")) ;;
    *) {function}_kind "$argument" "$cur" ;;
  esac
}}
complete -F {function} {name}
"""


def _quoted(text: str) -> str:
    """Return text between single quotes, for any of the shells."""
    return "'" + text.replace("'", "'\\''") + "'"


def _zsh_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def _zsh_kind(program: Program, flag: Flag) -> str:
    if flag.words:
        return f"({' '.join(flag.words)})"
    return {"file": "_files", "directory": "_files -/"}.get(flag.completes) or _zsh_action(program, flag.completes)


def _zsh_action(program: Program, kind: str) -> str:
    if kind == "shell":
        return f"({' '.join(SHELLS)})"
    return f"{program.function}_{kind}s" if kind in program.kinds else " "


def _zsh_flag(program: Program, flag: Flag) -> str:
    value = f":{_zsh_text(flag.metavar)}:{_zsh_kind(program, flag)}" if flag.metavar else ""
    star = "*" if flag.repeat else ""
    return " ".join(_quoted(f"{star}{spelling}[{_zsh_text(flag.help)}]{value}") for spelling in _spellings(flag))


def _zsh_arguments(program: Program, command: Command) -> str:
    flags = " ".join(_zsh_flag(program, flag) for flag in _with_help(command))
    rest = ""
    if command.completes:
        where = "1" if command.stops or command.most == 1 else "*"
        rest = " " + _quoted(f"{where}:{command.completes}:{_zsh_action(program, command.completes)}")
        rest += " " + _quoted("*::command:_normal") if command.stops else ""
    return f"_arguments -s {flags}{rest}"


def _zsh(program: Program) -> str:
    cases = "".join(
        f"    {_quoted(' '.join(path))}) {_zsh_arguments(program, command)} ;;\n" for path, command in program.commands
    )
    top = " ".join(_quoted(f"{verb}:{_zsh_text(command.summary)}") for verb, command in program.verbs)
    top += "".join(" " + _quoted(f"{name}:commands of two words") for name in program.groups)
    listing = '() {{ local -a found=(${{(f)"$({command})"}}) ; compadd -a found }}\n'
    return _ZSH.format(
        name=program.name,
        function=program.function,
        listed="".join(f"{program.function}_{kind}s" + listing.format(command=one) for kind, one in program.kinds.items()),
        cases=cases,
        groups=_zsh_groups(program),
        top=top,
        globals=" ".join(_zsh_flag(program, flag) for flag in _with_help(program.globals)),
    )


def _zsh_groups(program: Program) -> str:
    if not program.groups:
        return ""
    groups = "".join(f"        {group}) _values {group} {' '.join(verbs)} ;;\n" for group, verbs in program.groups.items())
    return _ZSH_GROUPS.format(names="|".join(program.groups), groups=groups)


_ZSH_GROUPS = """    {names})
      if (( CURRENT == 2 )); then
        case $verb in
{groups}        esac
        return
      fi
      verb="$verb $words[2]" ; shift words ; (( CURRENT-- )) ;;
"""
_ZSH = """#compdef {name}
# zsh completion of {name}; made by `{name} completion zsh`
{listed}{function}() {{
  local curcontext=$curcontext state line verb
  local -a top=({top})
  _arguments -C {globals} '1: :->verb' '*:: :->rest'
  case $state in
  verb) _describe command top ;;
  rest)
    verb=$words[1]
    case $verb in
    help) _describe command top ; return ;;
{groups}    esac
    case $verb in
{cases}    esac ;;
  esac
}}
if [ "$funcstack[1]" = {function} ]; then {function} "$@"; else compdef {function} {name}; fi
"""


def _fish(program: Program) -> str:
    name = program.name
    text = f"# fish completion of {name}; made by `{name} completion fish`\ncomplete -c {name} -f\n"
    top = f"not __fish_seen_subcommand_from {' '.join(program.top)}"
    for verb, command in program.verbs:
        text += f"complete -c {name} -n {_quoted(top)} -a {verb} -d {_quoted(command.summary)}\n"
    for word in (*program.groups, "help"):
        text += f"complete -c {name} -n {_quoted(top)} -a {word}\n"
    text += "".join(_fish_flag(program, top, flag) for flag in _with_help(program.globals))
    for group, verbs in program.groups.items():
        inside = f"__fish_seen_subcommand_from {group}; and not __fish_seen_subcommand_from {' '.join(verbs)}"
        text += f"complete -c {name} -n {_quoted(inside)} -a {_quoted(' '.join(verbs))}\n"
    for path, command in program.commands:
        text += _fish_command(program, path, command)
    return text


def _fish_command(program: Program, path: Sequence[str], command: Command) -> str:
    condition = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in path)
    if len(path) == 1 and program.groups:
        condition += f"; and not __fish_seen_subcommand_from {' '.join(program.groups)}"
    text = "".join(_fish_flag(program, condition, flag) for flag in _with_help(command))
    listed = program.kinds.get(command.completes)
    offered = f"({listed})" if listed else " ".join(SHELLS) if command.completes == "shell" else ""
    return text + (f"complete -c {program.name} -n {_quoted(condition)} -a {_quoted(offered)}\n" if offered else "")


def _fish_flag(program: Program, condition: str, flag: Flag) -> str:
    text = f"complete -c {program.name} -n {_quoted(condition)} -l {flag.name}" + (f" -s {flag.short}" if flag.short else "")
    if flag.words:
        text += f" -x -a {_quoted(' '.join(flag.words))}"
    elif flag.metavar:
        text += " -r -F" if flag.completes else " -x"
    return f"{text} -d {_quoted(flag.help)}\n"
