"""The two ways a request fails, each told in one message: what came, what was expected, how to mend it."""


class InputError(ValueError):
    """The request itself is wrong (a name, a number, an image, a file). The command line exits with status 2."""

    exit_status = 2


class RunError(RuntimeError):
    """The request was right but the work could not be done (disk, network, a corrupt record). Exit status 1."""

    exit_status = 1


class DataWarning(UserWarning):
    """What a user should know of data that were read nevertheless: files passed over, classes without images."""
