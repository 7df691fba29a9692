"""Everything public says what it takes, gives and raises, and of which shape its tensors are."""

import ast
import re
from pathlib import Path

import pytest

griffe = pytest.importorskip("griffe", reason="the docstrings are read with pip install 'energylens[docs]'")

ROOT = Path(__file__).parents[1]
# (N, K) or (N,), not the (x, y) of a function E(x, y)
SHAPE = re.compile(r"(?<!\w)\((?:[A-Z0-9n]|\.\.\.)[^(),]*,[^()]*\)|any shape|same shape|shape of|scalar")
ONE_RETURN = {"returns_named_value": False, "returns_multiple_items": False}
OWN_ERRORS = {"InputError", "RunError"}


def _told(text: str, kind: str) -> dict[str, str]:
    """What a section of a docstring says, by name; a Returns section has one unnamed entry."""
    sections = griffe.Docstring(text).parse("google", warnings=False, **ONE_RETURN)
    entries: dict[str, str] = {}
    for section in sections:
        if section.kind.value != kind:
            continue
        for element in section.value:
            name = getattr(element, "name", "") or str(element.annotation or "")
            entries[name] = f"{element.annotation or ''} {element.description}"
    return entries


def _raised(function: ast.FunctionDef) -> set[str]:
    """The package's errors that the function's own body raises, not what a nested function raises."""
    names: set[str] = set()
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            names.add(ast.unparse(node.exc.func).split(".")[-1])
        waiting.extend(ast.iter_child_nodes(node))
    return names & OWN_ERRORS


def _faults_of_function(name: str, function: ast.FunctionDef, method: bool) -> list[str]:
    text = ast.get_docstring(function)
    if not text:
        return [f"{name}: no docstring"]
    faults = []
    said = _told(text, "parameters")
    arguments = function.args
    parameters = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    static = any(ast.unparse(decorator) == "staticmethod" for decorator in function.decorator_list)
    for position, parameter in enumerate(parameters):
        if parameter is None or (method and not static and position == 0) or parameter.arg.startswith("_"):
            continue
        words = next((words for told, words in said.items() if told.lstrip("*") == parameter.arg), None)
        if words is None:
            faults.append(f"{name}: no Args entry for {parameter.arg}")
        elif parameter.annotation and _is_tensor(parameter.annotation) and not SHAPE.search(words):
            faults.append(f"{name}: {parameter.arg} is a tensor and does not say its shape")
    if function.returns is not None and ast.unparse(function.returns) not in ("None", "NoReturn"):
        is_property = any("property" in ast.unparse(decorator) for decorator in function.decorator_list)
        returned = {**_told(text, "returns"), **_told(text, "yields")}
        if not returned and not is_property:
            faults.append(f"{name}: no Returns")
        whole = text if is_property else " ".join([*returned, *returned.values()])
        if (returned or is_property) and _is_tensor(function.returns) and not SHAPE.search(whole):
            faults.append(f"{name}: it returns a tensor and does not say its shape")
    for error in sorted(_raised(function) - set(_told(text, "raises"))):
        faults.append(f"{name}: no Raises entry for {error}")
    return faults


def _is_tensor(annotation: ast.expr) -> bool:
    """Whether a type is or holds tensors; a function's arguments and a state by name have no one shape."""
    words = ast.unparse(annotation)
    return re.search(r"\bTensor\b", words) is not None and not re.search(r"Callable|dict\[|Mapping\[", words)


def faults_of(source: str, module: str) -> list[str]:
    """What the public functions, classes and methods of a module leave unsaid."""
    faults: list[str] = []

    def visit(body: list[ast.stmt], prefix: str, method: bool) -> None:
        for node in body:
            name = getattr(node, "name", "_")
            if name.startswith("_"):
                continue
            if isinstance(node, ast.FunctionDef):
                decorators = " ".join(map(ast.unparse, node.decorator_list))
                # the docstring of a command is its help screen
                if not re.search(r"overload|\.(command|group)\(", decorators):
                    faults.extend(_faults_of_function(f"{prefix}.{name}", node, method))
            elif isinstance(node, ast.ClassDef):
                if not ast.get_docstring(node):
                    faults.append(f"{prefix}.{name}: no docstring")
                visit(node.body, f"{prefix}.{name}", True)

    visit(ast.parse(source).body, module, False)
    return faults


MODULES = sorted([*(ROOT / "energylens").rglob("*.py"), *(ROOT / "analyses").glob("*.py")])


@pytest.mark.parametrize("path", [path.relative_to(ROOT) for path in MODULES], ids=str)
def test_every_public_function_of_every_module_does(path: Path) -> None:
    assert faults_of((ROOT / path).read_text(), str(path)) == []


@pytest.mark.parametrize(
    ("cut", "heard"),
    [
        ("    x: images, (N, C, H, W).\n", "no Args entry for x"),
        (", (N, C, H, W)", "x is a tensor and does not say its shape"),
        ("    Returns:\n        Energies, (N,).\n", "no Returns"),
        (", (N,)", "it returns a tensor and does not say its shape"),
        ("    Raises:\n        InputError: where they are none.\n", "no Raises entry for InputError"),
    ],
)
def test_what_a_docstring_leaves_unsaid_is_heard(cut: str, heard: str) -> None:
    source = '''
def energies(x: Tensor) -> Tensor:
    """The energies.

    Args:
        x: images, (N, C, H, W).

    Returns:
        Energies, (N,).

    Raises:
        InputError: where they are none.
    """
    raise InputError("none")
'''
    assert cut in source
    assert faults_of(source, "m") == []
    assert faults_of(source.replace(cut, ""), "m") == [f"m.energies: {heard}"]
