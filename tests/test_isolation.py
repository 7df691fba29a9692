"""What a model finds around it while it is attacked, and what the caller finds afterwards."""

import threading

import pytest
import torch
from torch import nn

import energylens as el
from energylens.isolation import frozen, random_state

NEWER = hasattr(torch._C, "_get_fp32_precision_getter")
OWN = {  # name: where the newer API keeps it
    "generic": (torch.backends, "fp32_precision"),
    "cuda": (torch.backends.cudnn, "fp32_precision"),
    "conv": (getattr(torch.backends.cudnn, "conv", None), "fp32_precision"),
    "rnn": (getattr(torch.backends.cudnn, "rnn", None), "fp32_precision"),
    "matmul": (torch.backends.cuda.matmul, "fp32_precision"),
    "mkldnn conv": (getattr(torch.backends.mkldnn, "conv", None), "fp32_precision"),
    "mkldnn matmul": (getattr(torch.backends.mkldnn, "matmul", None), "fp32_precision"),
}


def seen():
    """Every flag as a user reads it; the older ones are an error where torch refuses to read them."""
    flags = {name: getattr(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    flags["algorithms"] = torch.are_deterministic_algorithms_enabled()
    flags["autocast"] = torch.is_autocast_enabled("cpu")
    older = {
        "cudnn tf32": lambda: torch.backends.cudnn.allow_tf32,
        "matmul tf32": lambda: torch.backends.cuda.matmul.allow_tf32,
        "matmul precision": torch.get_float32_matmul_precision,
    }
    for name, read in older.items():
        try:
            flags[name] = read()
        except RuntimeError:
            flags[name] = "mixed"
    return flags | ({name: getattr(where, what) for name, (where, what) in OWN.items()} if NEWER else {})


@pytest.fixture
def flags():
    """The flags are as they were when the test is over, whatever it has done."""
    keys = [("generic", "all"), *[(b, o) for b in ("cuda", "mkldnn") for o in ("all", "conv", "rnn", "matmul")]]
    before = {key: torch._C._get_fp32_precision_getter(*key) for key in keys} if NEWER else {}
    cudnn = {name: getattr(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    for name, value in cudnn.items():
        setattr(torch.backends.cudnn, name, value)
    for key, value in before.items():
        torch._C._set_fp32_precision_setter(*key, value)


class Witness(nn.Module):
    """Says what is set while its forward runs."""

    def __init__(self):
        super().__init__()
        self.net, self.inside = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), []

    def forward(self, x):
        self.inside.append(seen())
        return self.net(x)


def older(**values):
    def set_them():
        for name, value in values.items():
            if name == "matmul":
                torch.set_float32_matmul_precision(value)
            else:
                setattr(torch.backends.cudnn, name, value)

    return set_them


def newer(**values):
    def set_them():
        for name, value in values.items():
            where, what = OWN[name.replace("_", " ")]
            setattr(where, what, value)

    return set_them


SETTINGS = {
    "defaults": older(),
    "older": older(allow_tf32=True, matmul="high"),
    "older off": older(allow_tf32=False, matmul="medium"),
    "cudnn": older(enabled=False, benchmark=True, deterministic=True),
    "algorithms": lambda: torch.use_deterministic_algorithms(True),
}
if NEWER:
    SETTINGS |= {
        "generic": newer(generic="tf32"),
        "newer": newer(generic="tf32", conv="ieee"),  # with this the context manager of cuDNN's flags raised
        "newer, each": newer(cuda="tf32", rnn="ieee", matmul="tf32", mkldnn_conv="bf16", mkldnn_matmul="tf32"),
    }


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("fails", [False, True])
def test_a_model_runs_in_float32_with_the_callers_other_flags_and_all_are_restored(settings, fails, flags):
    model, x, y = Witness(), torch.rand(2, 1, 8, 8), torch.tensor([1, 2])
    attack = (lambda m, x, y: 1 / 0) if fails else "fgsm"
    settings()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = seen()
        with pytest.raises(ZeroDivisionError) if fails else torch.enable_grad():
            el.profile(model, (x, y), [attack], eps=0.1, ladder=False)
        assert seen() == before
    full = {"autocast": False, "cudnn tf32": False, "matmul tf32": False, "matmul precision": "highest"}
    full |= dict.fromkeys(OWN, "ieee") if NEWER else {}
    assert model.inside
    assert all(inside == before | full for inside in model.inside)


DOORS = {
    "attack": lambda model, x, y: el.attack("fgsm", model, x, y, eps=0.1),
    "profile": lambda model, x, y: el.profile(model, (x, y), ["fgsm", "pgd,steps=2"], eps=0.1),  # and its checks
    "examine": lambda model, x, y: el.examine(model, (x, y)),
}


@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_cudnn_stays_on_and_tf32_is_off_behind_every_door(door, flags):
    model, (x, y) = Witness(), (torch.rand(48, 1, 8, 8), torch.arange(48) % 10)
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    before = seen()
    assert before["enabled"] and before["cudnn tf32"] and before["matmul tf32"]
    door(model, x, y)
    off = {"cudnn tf32": False, "matmul tf32": False, "matmul precision": "highest"}
    assert all({name: inside[name] for name in off} == off for inside in model.inside)
    same = ("enabled", "benchmark", "deterministic", "algorithms")
    assert all(inside[name] == before[name] for inside in model.inside for name in same)
    assert seen() == before


def test_the_flags_are_restored_where_the_models_own_forward_fails(flags):
    class Failing(Witness):
        def forward(self, x):
            super().forward(x)
            raise RuntimeError("its own fault")

    model = Failing()
    torch.backends.cudnn.allow_tf32 = True
    before = seen()
    with pytest.raises(el.InputError, match="its own fault"):
        el.profile(model, (torch.rand(2, 1, 8, 8), torch.tensor([1, 2])), ["fgsm"], eps=0.1)
    assert model.inside and not any(inside["cudnn tf32"] for inside in model.inside)
    assert seen() == before


@pytest.mark.skipif(not NEWER, reason="this torch has no fp32_precision")
def test_what_was_inherited_is_inherited_afterwards(flags):
    """Not pinned to what it happened to be: the caller may change the generic setting later."""
    torch.backends.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "none"
    with frozen(nn.Identity()):
        pass
    torch.backends.fp32_precision = "ieee"
    assert {seen()[name] for name in ("conv", "matmul", "mkldnn matmul")} == {"ieee"}


def test_two_profiles_in_two_threads_give_the_rows_of_two_in_one():
    """apgd-t and square draw from the global random state."""
    model = el.load_model("digits-pgd")
    samples = el.load_data("digits", n=8)

    def rows(seed):
        attacks = ["apgd-t,steps=5", "square,queries=60"]
        return el.profile(model, samples, attacks, seed=seed, ladder=False).frame()

    alone, together = [rows(seed) for seed in (0, 1)], [None, None]
    started = threading.Barrier(2)

    def work(seed):
        started.wait()
        together[seed] = rows(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        assert one.equals(other)


def test_a_second_thread_waits_for_the_random_state():
    entered, drawn = threading.Event(), []

    def intrude():
        entered.wait()
        with random_state(1):
            torch.rand(3)

    other = threading.Thread(target=intrude)
    other.start()
    with random_state(0):
        entered.set()
        other.join(timeout=0.2)
        assert other.is_alive()
        drawn.append(torch.rand(2))
    other.join()
    torch.manual_seed(0)
    assert drawn[0].equal(torch.rand(2))
