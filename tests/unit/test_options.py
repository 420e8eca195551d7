"""How flags and arguments are read."""

from __future__ import annotations

import pytest

from cratebox.cli.options import Command, Flag, Words, parse
from cratebox.errors import InvalidValue, Unsupported, UsageError

RUN = Command(
    name="run",
    arguments="IMAGE [COMMAND] [ARG...]",
    summary="Run",
    flags=(
        Flag("env", "e", "K=V", repeat=True),
        Flag("interactive", "i"),
        Flag("tty", "t"),
        Flag("detach", "d"),
        Flag("name", metavar="NAME"),
        Flag("rm"),
        Flag("sig-proxy", default="true"),
        Flag("network", metavar="MODE", default="host", alias="net"),
        Flag("pull", metavar="WHEN", words=("always", "never")),
        Flag("hostname", "h", "NAME"),
        Flag("stop-timeout", metavar="SECONDS"),
    ),
    least=1,
    most=None,
    stops=True,
    later=("p/publish", "restart"),
)
RM = Command(name="rm", arguments="CONTAINER [CONTAINER...]", summary="Remove", flags=(Flag("force", "f"),), least=1, most=2)


def run(*argv: str) -> Words:
    return parse(RUN, argv)


def test_a_value_may_follow_as_the_next_word() -> None:
    assert run("--name", "web", "alpine").text("name") == "web"


def test_a_value_may_follow_after_an_equals_sign() -> None:
    assert run("--name=web=1", "alpine").text("name") == "web=1"


@pytest.mark.parametrize(
    "argv", [("-e", "K=V"), ("-eK=V",), ("-e=K=V",), ("--env", "K=V"), ("--env=K=V",), ("-ite", "K=V"), ("-iteK=V",)]
)
def test_a_variable_may_be_written_in_all_of_dockers_ways(argv: tuple[str, ...]) -> None:
    assert run(*argv, "alpine").all("env") == ("K=V",)


def test_the_next_word_is_the_value_even_where_it_looks_like_a_flag() -> None:
    assert run("--name", "--rm", "alpine").text("name") == "--rm"


def test_an_empty_value_is_a_value() -> None:
    assert run("--name=", "alpine").text("name") == ""


def test_letters_without_values_combine() -> None:
    words = run("-itd", "alpine")
    assert (words.yes("interactive"), words.yes("tty"), words.yes("detach")) == (True, True, True)


def test_a_yes_or_no_flag_does_not_take_the_next_word() -> None:
    assert run("--rm", "false").arguments == ("false",)


@pytest.mark.parametrize(
    ("word", "expected"), [("--rm=false", False), ("--rm=0", False), ("--rm=True", True), ("-t=false", False)]
)
def test_a_yes_or_no_flag_takes_a_value_after_an_equals_sign(word: str, expected: bool) -> None:
    assert run(word, "alpine").yes("tty" if word.startswith("-t") else "rm") is expected


def test_a_yes_or_no_flag_refuses_other_values() -> None:
    with pytest.raises(InvalidValue, match="--rm is true or false, not maybe"):
        run("--rm=maybe", "alpine")


def test_a_default_of_yes_can_be_turned_off() -> None:
    assert (run("alpine").yes("sig-proxy"), run("--sig-proxy=false", "alpine").yes("sig-proxy")) == (True, False)


def test_the_last_of_several_values_counts() -> None:
    assert run("--name", "a1", "--name", "b2", "alpine").text("name") == "b2"


def test_an_alias_means_the_same_flag() -> None:
    assert run("--net", "none", "alpine").text("network") == "none"


def test_flags_after_the_image_belong_to_the_command() -> None:
    words = run("alpine", "ls", "--rm", "-l")
    assert (words.arguments, words.yes("rm")) == (("alpine", "ls", "--rm", "-l"), False)


def test_help_after_the_image_belongs_to_the_command() -> None:
    assert not run("alpine", "ls", "--help").help


def test_two_dashes_end_the_flags() -> None:
    assert run("--", "-odd-", "-x").arguments == ("-odd-", "-x")


def test_two_dashes_after_the_image_stay_with_the_command() -> None:
    assert run("alpine", "--", "x").arguments == ("alpine", "--", "x")


def test_one_dash_is_an_argument() -> None:
    assert parse(RM, ["-", "-f"]).arguments == ("-",)


def test_other_commands_take_flags_anywhere() -> None:
    words = parse(RM, ["web", "-f"])
    assert (words.arguments, words.yes("force")) == (("web",), True)


def test_an_unknown_flag_is_named_with_the_nearest_one() -> None:
    with pytest.raises(UsageError) as caught:
        run("--nmae", "x", "alpine")
    assert caught.value.message == "unknown flag --nmae"
    assert (caught.value.hint or "").startswith("did you mean --name")


def test_an_unknown_flag_says_where_help_is() -> None:
    with pytest.raises(UsageError) as caught:
        run("-Z", "alpine")
    assert (caught.value.message, caught.value.hint) == ("unknown flag -Z", "see crate run --help")


@pytest.mark.parametrize("word", ["-p", "--publish", "--publish=80", "-p80"])
def test_a_flag_of_dockers_that_is_not_there_yet_is_not_called_unknown(word: str) -> None:
    with pytest.raises(Unsupported, match="--publish is not there yet"):
        run(word, "80:80", "alpine")


def test_a_missing_value_is_said() -> None:
    with pytest.raises(UsageError, match="-e, --env wants a value"):
        run("-e")


def test_a_value_must_be_one_of_the_words_of_its_flag() -> None:
    with pytest.raises(UsageError, match="--pull cannot be maybe"):
        run("--pull", "maybe", "alpine")


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(UsageError, match=r"^an IMAGE is missing$"):
        run("--rm")


def test_too_many_arguments_are_counted() -> None:
    with pytest.raises(UsageError, match="takes at most 2 arguments, not 3"):
        parse(RM, ["a", "b", "c"])


def test_help_comes_before_every_other_complaint() -> None:
    assert parse(RM, ["--help", "--nonsense"]).help


def test_a_lonely_h_is_help_where_no_flag_has_the_letter() -> None:
    assert (parse(RM, ["-h"]).help, run("-h", "box", "alpine").text("hostname")) == (True, "box")


def test_a_number_is_checked() -> None:
    with pytest.raises(InvalidValue, match="--stop-timeout is a whole number of at least -1, not soon"):
        run("--stop-timeout", "soon", "alpine").number("stop-timeout", -1)


def test_a_negative_number_is_a_value() -> None:
    assert run("--stop-timeout", "-1", "alpine").number("stop-timeout", -1) == -1


def test_an_exit_code_of_125_belongs_to_a_wrong_command_line() -> None:
    with pytest.raises(UsageError) as caught:
        run()
    assert caught.value.exit_code == 125


def test_a_seldom_flag_is_found_in_its_module_and_the_others_are_not_imported() -> None:
    name = "cratebox.cli.commands.flags_limits"
    command = RUN.replace(more=(name, "no.such.module"))
    words = parse(command, ("--name", "web", "--ulimit", "core=0", "alpine"))
    assert words.all("ulimit") == ("core=0",)
    assert [module.__name__ for module in words.modules] == [name]
    with pytest.raises(ModuleNotFoundError):
        parse(command, ("--of-no-module", "alpine"))
