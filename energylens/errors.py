"""The two ways a request fails, each told in one message: what came, what was expected, how to mend it."""

import sys
import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class InputError(ValueError):
    """The request itself is wrong (a name, a number, an image, a file). The command line exits with status 2."""

    exit_status = 2


class RunError(RuntimeError):
    """The request was right but the work could not be done (disk, network, a corrupt record). Exit status 1."""

    exit_status = 1


class Note(UserWarning):
    """What was made of a request where it could be read in several ways. The command line prints it and goes on."""


def some(names: Sequence[str], most: int) -> str:
    """The first names, in a message, and how many more there are.

    Args:
        names: all of them, in the order they are told.
        most: how many are written out.

    Returns:
        The names with commas between them, and the number of the others where there are any.

    Example:
        >>> some(["conv1", "conv2", "fc"], most=2)
        'conv1, conv2, and 1 more'
    """
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def did_you_mean(word: str, known: Iterable[str], most: int = 1) -> str:
    """The beginning of a message about an unknown word: which words are close to it.

    Args:
        word: as it was given.
        known: the words that there are.
        most: how many close words are named at most.

    Returns:
        A question with a space behind it; "" where no word is close.

    Example:
        >>> did_you_mean("shift", ["shifts", "steps"]), did_you_mean("x", ["shifts"])
        ('did you mean shifts? ', '')
    """
    close = get_close_matches(word, list(known), n=most)
    return f"did you mean {' or '.join(close)}? " if close else ""


def first_line(error: BaseException) -> str:
    """The first line of what an exception says.

    Args:
        error: any exception; torch's messages have many lines.

    Returns:
        The line; the name of the exception's type where it says nothing.

    Example:
        >>> first_line(KeyError("weight")), first_line(KeyboardInterrupt())
        ("'weight'", 'KeyboardInterrupt')
    """
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def unknown(what: str, word: str, known: Iterable[str]) -> InputError:
    """The error of a word that is not among those known.

    Args:
        what: what the word was to name, such as "loss".
        word: as it was given.
        known: the words that there are, in the order they are listed.

    Returns:
        The error, for the caller to raise; it lists the known words and asks whether a close one was meant.

    Example:
        >>> print(unknown("loss", "marginals", ["joint", "marginal"]))
        unknown loss 'marginals': did you mean marginal? give one of joint, marginal
    """
    known = list(known)
    return InputError(f"unknown {what} {word!r}: {did_you_mean(word, known)}give one of {', '.join(known)}")


def tell(note: str) -> None:
    """Give a Note as a warning of the caller's own line, the nearest outside this package.

    Args:
        note: what was made of the request, in a sentence.
    """
    depth, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "energylens":
        depth, frame = depth + 1, frame.f_back
    warnings.warn(note, Note, stacklevel=depth)
