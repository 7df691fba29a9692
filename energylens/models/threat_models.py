"""The threat models, as RobustBench calls them. Imports nothing heavy."""

from energylens.errors import unknown

THREAT_MODELS = ("Linf", "L2", "corruptions")


def threat_model_named(text: str) -> str:
    """The threat model that a spelling means; case, - and _ are ignored.

    Args:
        text: as a user writes it.

    Returns:
        One of THREAT_MODELS.

    Raises:
        InputError: for anything else.

    Example:
        >>> threat_model_named("l_inf"), threat_model_named("L2")
        ('Linf', 'L2')
    """
    for name in THREAT_MODELS:
        if plain(text) == plain(name):
            return name
    raise unknown("threat model", text, THREAT_MODELS)


def plain(word: str) -> str:
    """The word without what people spell differently.

    Args:
        word: any.

    Returns:
        In small letters, without - and _.
    """
    return word.lower().replace("-", "").replace("_", "")
