"""Extensions of the program's own."""

from __future__ import annotations

import pytest
from smtpx._core import Command, Response
from smtpx.errors import CommandError, ConfigurationError
from smtpx.extension import (
    Extension,
    ExtensionLike,
    extension_line,
    extension_parameters,
    extension_refusal,
)
from smtpx.status import CommandKind

MAIL = Command(CommandKind.MAIL, "a@b.org", "", {"XPRIO": "9"})


class Priority(Extension):
    name = "XPRIO"
    params = "1 2 3"

    def validate_command(self, command: Command) -> Response | None:
        if command.params.get("XPRIO", "1") not in self.params:
            return Response(501, "5.5.4 No such priority")
        return None


class Bare:
    """Has only what it must: no base class, no ``parameters``."""

    name = "XBARE"
    params = ""

    def validate_command(self, command: Command) -> Response | None:
        return None


def test_an_extension_is_given_by_its_arguments() -> None:
    extension = Extension("XFOO", "BAR BAZ")
    assert extension_line(extension) == "XFOO BAR BAZ"
    assert extension_parameters(extension) == ("XFOO",)
    assert extension_refusal(extension, MAIL) is None


def test_an_extension_is_given_by_a_subclass() -> None:
    assert extension_line(Priority()) == "XPRIO 1 2 3"
    assert extension_refusal(Priority(), MAIL) == Response(501, "5.5.4 No such priority")


def test_an_object_with_only_the_three_members_serves() -> None:
    extension: ExtensionLike = Bare()
    assert extension_line(extension) == "XBARE"
    assert extension_parameters(extension) == ("XBARE",)
    assert extension_refusal(extension, MAIL) is None


def test_parameters_other_than_the_name_are_told_and_folded_to_upper_case() -> None:
    assert extension_parameters(Extension("XFOO", parameters=("xone", "XTWO"))) == ("XONE", "XTWO")
    assert extension_parameters(Extension("XFOO", parameters=())) == ()


def test_what_it_raises_is_a_reply_without_the_text_of_the_exception() -> None:
    class Raising(Extension):
        def validate_command(self, command: Command) -> Response | None:
            raise CommandError("the internal table says no", 555, "5.5.4")

    assert extension_refusal(Raising("XFOO"), MAIL) == Response(555, "5.5.4 Refused by XFOO")


@pytest.mark.parametrize("name", ["", "-X", "X FOO", "X=1", "X\r\n250 AUTH PLAIN", "XÄ"])
def test_a_name_that_is_no_keyword_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        extension_line(Extension(name))


@pytest.mark.parametrize("params", ["A\r\n250 X", "A\0", " A", "A  B", "Ä"])
def test_params_that_would_break_the_line_are_refused(params: str) -> None:
    with pytest.raises(ConfigurationError, match="XFOO"):
        extension_line(Extension("XFOO", params))


def test_a_parameter_that_is_no_keyword_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="XFOO"):
        extension_parameters(Extension("XFOO", parameters=["X="]))


@pytest.mark.parametrize("name", ["SIZE", "starttls", "AUTH"])
def test_a_name_that_the_engine_offers_itself_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="built in"):
        extension_line(Extension(name))
