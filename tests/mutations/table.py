"""The faults that were thought of: each breaks one thing that the papers, or the trainer's own pages, promise.

A fault whose text is gone is an error, so that whoever changes a line is told to change its fault too. Keep the texts
short.
"""

from __future__ import annotations

from collections.abc import Iterator

from .faults import Fault
from .running import CHECKOUT

_T = "tests/training"
#: all that may notice a fault in the trainer; the training of the shipped diffusion models has tests of its own
FILES = [
    *sorted(
        str(path.relative_to(CHECKOUT))
        for path in (CHECKOUT / _T).glob("test_*.py")
        if path.name != "test_digits_ddpm.py"
    ),
    *(f"energylens/training/{name}.py" for name in ("der", "linearity", "methods", "watch")),  # their examples
]

#: for faults in these files, the tests that are likely to notice
FIRST = {
    "attacks/registry.py": (f"{_T}/test_literal_methods.py", f"{_T}/test_methods.py"),
    "training/methods.py": (f"{_T}/test_methods.py",),
    "training/regularizers.py": (f"{_T}/test_regularizers.py",),
    "training/der.py": (f"{_T}/test_regularizers.py",),
    "training/linearity.py": (f"{_T}/test_regularizers.py",),
    "training/awp.py": (f"{_T}/test_regularizers.py",),
    "training/schedules.py": (f"{_T}/test_schedules.py",),
    "training/optimizers.py": (f"{_T}/test_schedules.py",),
    "training/augmentation.py": (f"{_T}/test_schedules.py", f"{_T}/test_selection.py"),
    "training/watch.py": (f"{_T}/test_watch.py",),
    "training/omission.py": (f"{_T}/test_omission.py",),
    "training/data.py": (f"{_T}/test_selection.py", f"{_T}/test_omission.py"),
    "training/evaluation.py": (f"{_T}/test_judging.py",),
    "training/history.py": (f"{_T}/test_judging.py",),
    "training/attacker.py": (f"{_T}/test_training_attack.py",),
    "training/settings.py": (f"{_T}/test_settings.py", f"{_T}/test_regularizers.py"),
    "training/recipes.py": (f"{_T}/test_settings.py",),
    "training/initial.py": (f"{_T}/test_extension.py",),
    "training/loop.py": (f"{_T}/test_course.py", f"{_T}/test_loop.py"),
    "training/run.py": (f"{_T}/test_course.py", f"{_T}/test_loop.py", f"{_T}/test_extension.py"),
}

#: more than a second each, for what a quicker one tells too: processes started anew, the command line, full disks
SLOW = frozenset(
    {
        "test_two_processes_train_together",
        "test_a_second_process_on_the_same_run_is_told_to_wait_and_a_killed_one_holds_nothing",
        "test_the_command_extends_says_the_schedule_and_prints_settings_only_when_asked",
        "test_without_a_schedule_the_longer_run_is_the_run_of_so_many_epochs[0.0]",
        "test_a_network_of_some_classes_is_profiled_on_them_alone",
        "test_the_command_trains_and_says_where_to_go_on",
        "test_a_full_disk_is_told_in_a_line_and_costs_one_epoch[300000]",
        "test_a_full_disk_is_told_in_a_line_and_costs_one_epoch[100000]",
        "test_with_one_it_goes_on_as_that_of_the_longer_run_and_says_so[cyclic]",
        "test_with_one_it_goes_on_as_that_of_the_longer_run_and_says_so[cosine]",
        "test_the_command_takes_the_rule_and_says_what_it_needs",
    }
)


def _faults() -> Iterator[Fault]:
    for module, rows in TABLE.items():
        for before, after, kind, breaks in rows:
            yield Fault(module, before, after, kind, breaks)


#: file -> (before, after, kind, what it breaks)
TABLE: dict[str, list[tuple[str, str, str, str]]] = {
    "training/methods.py": [
        ('start="uniform", relative_step=1.25', 'start="uniform", relative_step=1.0', "constant", "RS-FGSM steps 1.0 eps"),
        ("start_scale=2.0, clip=False", "start_scale=2.0", "setting", "N-FGSM is clipped to eps"),
        ("start_scale=2.0, clip=False", "start_scale=1.0, clip=False", "constant", "N-FGSM starts within eps, not 2 eps"),
        ('start_scale=0.001, steps=10, relative_step=0.25, loss="kl"',
         'start_scale=0.1, steps=10, relative_step=0.25, loss="kl"', "constant", "TRADES starts at .1 N(0, 1)"),
        ('start_scale=0.001, steps=10, relative_step=0.25, loss="kl"',
         'start_scale=0.001, steps=10, relative_step=0.25', "setting", "TRADES ascends the cross-entropy"),
        ('start_scale=0.001, steps=10, relative_step=0.25)',
         'start_scale=0.001, steps=10, relative_step=0.25, loss="kl")', "setting", "MART ascends the divergence"),
        ('start="uniform", steps=10, relative_step=0.25', 'steps=10, relative_step=0.25', "setting", "PGD starts at x"),
        ('"arXiv 1901.08573", "eval"', '"arXiv 1901.08573", "train"', "mode", "TRADES attacks in training-mode batch norm"),
        ('"openreview rklOg6EFwS", "eval"', '"openreview rklOg6EFwS", "train"', "mode", "MART attacks in training mode"),
        ('"arXiv 2106.07904", "eval"', '"arXiv 2106.07904", "train"', "mode", "MAIL attacks in training mode"),
        ('attack_mode: str = "train"', 'attack_mode: str = "eval"', "mode", "FGSM and PGD attack in eval mode"),
        ("step.logits, step.y).mean()", "step.logits, step.y).sum()", "constant", "the natural loss is a sum"),
        ("doubt = 1 - torch.exp(-cross_entropy(step.logits,", "doubt = 1 - torch.exp(-cross_entropy(step.logits_adv,",
         "selection", "MART's weight looks at x*"),
        ("probability_margin(step.logits_adv.detach()", "probability_margin(step.logits_adv", "selection",
         "MAIL's weight has a gradient"),
        ("w / w.mean() * _pull", "w * _pull", "constant", "MAIL's weights are not scaled to a mean of 1"),
        ("marginal_energy(logits.detach()).abs()", "marginal_energy(logits).abs()", "selection", "WEAT's weight has a gradient"),
        ("weat_weight(step.logits) * (cross_entropy(step.logits_adv", "weat_weight(step.logits_adv) * (cross_entropy(step.logits_adv",
         "selection", "WEAT_adv is weighted by x*"),
        ("weat_weight(step.logits) * (cross_entropy(step.logits_adv, step.y)", "weat_weight(step.logits) * (cross_entropy(step.logits, step.y)",
         "selection", "WEAT_adv has the natural cross-entropy"),
        ("kl_divergence(step.logits, step.logits_adv)", "kl_divergence(step.logits_adv, step.logits)", "order",
         "the KL is turned round"),
        ("kl_divergence(step.logits, step.logits_adv)", "kl_divergence(step.logits.detach(), step.logits_adv)",
         "selection", "the KL hands x no gradient"),
        ("replays=8", "replays=4", "constant", "free training uses a batch four times"),
    ],
    "training/attacker.py": [
        ('self.settings.attack_mode == "train"', "True", "mode", "--attack-mode is ignored"),
        ("    finally:\n        network.train()", "    finally:\n        pass", "mode", "the net is left in eval mode after the attack"),
        ("norm=settings.norm, steps", "steps", "setting", "the attack of training is Linf always"),
        ("steps=settings.steps or row.steps", "steps=row.steps", "setting", "--steps is ignored"),
        ("step_size=step_size)", "step_size=None)", "setting", "--step-size is ignored"),
        ("eps=settings.radius, norm", "eps=8 / 255, norm", "setting", "the attack's radius is 8/255 always"),
        ("full.step * (eps / full.eps)", "full.step", "setting", "the step does not grow with the radius"),
        ("replace(full, eps=eps,", "replace(full, eps=full.eps,", "setting", "the ramp of eps does not reach the attack"),
        ("].needs_reference\n", "].needs_reference and False\n", "setting", "KL attacks are rounded to bf16"),
        ("+ self._delta.clamp(-eps, eps)", "+ self._delta", "condition", "free: the carried perturbation may leave a smaller ball"),
        ("self._delta + eps * norm", "self._delta - eps * norm", "sign", "free descends"),
        ("self._delta + eps * norm", "eps * norm", "state", "free forgets the perturbation"),
        ("else {\"delta\": self._delta}", "else {}", "state", "free's perturbation is not in the checkpoint"),
        ('full.start == "zero" or full.loss == "kl"', 'full.start == "zero"', "selection", "TRADES counts its start as x_start"),
        ("weight.requires_grad_(True)", "weight.requires_grad_(False)", "mode", "compiled weights stay without gradients"),
    ],
    "training/evaluation.py": [
        ("steps=settings.eval_steps", "steps=1", "setting", "--eval-steps is ignored"),
        ("right & stands", "right", "selection", "an image that is misclassified as it is may count as robust"),
        ("                    stands = right", "                    pass", "selection", "nobody falls before the attack"),
        ("range(self.rank, len(images), self.ranks)", "range(0, len(images), self.ranks)", "selection", "every rank judges the same images"),
        ("noise = Noise(settings.seed, positions)\n                x_adv", "noise = Noise(settings.seed, tuple(range(len(x))))\n                x_adv",
         "order", "the judges' noise depends on the batch"),
        ('"probe_delta_marginal": marginal_clean - marginal_adv', '"probe_delta_marginal": marginal_adv - marginal_clean', "sign", "the probe's dE(x) is turned round"),
        ('"probe_delta_joint": joint_clean - joint_adv', '"probe_delta_joint": joint_adv - joint_clean', "sign", "the probe's dE(x, y) is turned round"),
        ("marginal_energy(adv), joint_energy(adv, y), abnormal(clean, adv, y)", "joint_energy(adv, y), marginal_energy(adv), abnormal(clean, adv, y)", "order", "the probe's adversarial energies change places"),
        ("abnormal(clean, adv, y)", "abnormal(adv, clean, y)", "order", "the probe counts who is not abnormal"),
        ("sums.index_add_(0, y,", "sums.index_add_(0, clean.argmax(1),", "selection", "the probe's classes are the predicted ones"),
        ("(total[1:] / total[0])", "total[1:]", "constant", "the probe's columns are sums"),
    ],
    "training/data.py": [
        ("for split in (\"train\", \"test\")", "for split in (\"test\", \"test\")", "selection", "the test set is learnt"),
        ("return order[:held], order[held:]", "return order[:held], order", "selection", "the validation images are learnt too"),
        ("return order[:held], order[held:]", "return torch.arange(held), torch.arange(held, n)", "selection", "the validation images are the first ones"),
        ('key(settings.seed, "validation", 0)', 'key(0, "validation", 0)', "setting", "the split does not depend on the seed"),
        ("everything[held[:limit]]", "tested[:limit]", "selection", "the best epoch is chosen by the test set"),
        ("        tested[:limit],", "        everything[held[:limit]],", "selection", "the test columns are of the validation images"),
        ("        everything[rest[:probed]]", "        everything[held[:probed]]", "selection", "the probe is not of the images to learn"),
        ("        everything[rest[:probed]]", "        everything[learnt[:probed]]", "selection", "the probe depends on who is left out"),
        ("rest[~torch.isin(", "rest[torch.isin(", "selection", "only who is to be left out is learnt"),
        (".nonzero().flatten()[:per_class]", ".nonzero().flatten()[-per_class:]", "selection", "the last of each class are taken"),
        ('"order", epoch', '"order", 0', "order", "every epoch has the same order"),
        ('key(self.settings.seed, "order"', 'key(0, "order"', "setting", "the order does not depend on the seed"),
        ("rows[self.rank :: self.ranks]", "rows[0 :: self.ranks]", "selection", "every rank learns the same images"),
        ("augment(batch.pixels, generator)", "batch.pixels", "setting", "nothing is augmented"),
        ('self.settings.augment or "none"', '"none"', "setting", "--augment is ignored"),
        ("classes=settings.classes, split", "split", "setting", "--classes is ignored"),
        ("share @ level.square() - mean.square()).sqrt()", "share @ level.square() - mean.square())", "constant", "images are divided by their variance"),
    ],
    "training/augmentation.py": [
        ("flip(-1)", "flip(-2)", "selection", "images are turned upside down"),
        ("(2, n, 1)", "(2, 1, 1)", "selection", "a batch moves as one"),
        ("2 * shift + 1", "shift + 1", "constant", "images move one way only"),
        ("2 * shift + 1", "2 * shift", "constant", "the last corner is never drawn"),
        ("rows = corner[0]", "rows = corner[1]", "selection", "images move along the diagonal only"),
        ("len(x), 1, 1, 1", "1, 1, 1, 1", "selection", "a batch is mirrored as one"),
        ('"mnist": "none", ', "", "setting", "MNIST's digits are mirrored"),
    ],
    "training/schedules.py": [
        ("at.share / at.peak if", "1 if", "condition", "cyclic does not rise"),
        ("(1 - at.share) / (1 - at.peak)", "1 - at.share", "constant", "cyclic falls from below its peak"),
        ("DROP = 0.1", "DROP = 0.5", "constant", "a milestone halves the rate"),
        ("at.share >= milestone", "at.share > milestone", "condition", "the rate drops a step late"),
        ("sum(at.share >= milestone for milestone in at.milestones)", "any(at.share >= milestone for milestone in at.milestones)", "selection", "only one milestone counts"),
        ("FIRST_DIVISOR, LAST_DIVISOR = 25.0, 1e4", "FIRST_DIVISOR, LAST_DIVISOR = 10.0, 1e4", "constant", "onecycle starts at a tenth"),
        ("HIGH_MOMENTUM = 0.85, 0.95", "HIGH_MOMENTUM = 0.85, 0.9", "constant", "onecycle's momentum ends at .9"),
        ('"piecewise": Schedule(piecewise)', '"piecewise": Schedule(constant)', "setting", "piecewise is constant"),
    ],
    "training/optimizers.py": [
        (", momentum=momentum, weight_decay=weight_decay)", ", momentum=momentum)", "setting", "SGD's weight decay is dropped"),
        ("betas=(momentum, 0.999), weight_decay=weight_decay)", "betas=(momentum, 0.999))", "setting", "Adam's weight decay is dropped"),
        ("SGD(parameters, lr, momentum=momentum, ", "SGD(parameters, lr, ", "setting", "SGD has no momentum"),
        ("SGD(parameters, lr, momentum=momentum,", "SGD(parameters, lr, momentum=momentum, nesterov=True,", "setting", "SGD is Nesterov's"),
        ("betas=(momentum, 0.999)", "betas=(0.9, 0.999)", "setting", "Adam's momentum is .9 always"),
        ("betas=(momentum, 0.999)", "betas=(momentum, 0.99)", "constant", "Adam's second beta is .99"),
        ('"adam": _adaptive(Adam)', '"adam": _adaptive(AdamW)', "setting", "adam is adamw"),
    ],
    "training/regularizers.py": [
        ("lambda settings: 4000.0, ", "lambda settings: 4.0, ", "constant", "ELLE-A's weight is 4"),
        ("10: 5000.0, 20: 5000.0", "10: 4000.0, 20: 4000.0", "constant", "ELLE's weight is ELLE-A's"),
        ("step.first_logits is None else step.first_logits", "True else step.first_logits", "selection", "AAER starts from another forward"),
        ('"start": lambda step: step.logits_start', '"start": lambda step: step.logits', "selection", "--der-start is ignored"),
        ("settings.der_warmup) if", "1.0) if", "setting", "DER's warm-up is one epoch always"),
        ("gamma=settings.der_gamma or 0.0", "gamma=0.0", "setting", "--der-gamma is ignored"),
        ('settings.der_stop_gradient == "adv"', 'settings.der_stop_gradient == "clean"', "selection", "DER's ends stop together"),
        ("min(settings.radius * 255, 16) / 8", "settings.radius * 255 / 8", "condition", "GradAlign's weight grows beyond 16/255"),
        ("step.eps, norm=step.settings.norm, noise=step.noise)\n\n\ndef gradalign", "step.eps, noise=step.noise)\n\n\ndef gradalign", "setting", "energy-linearity looks at the Linf ball always"),
        ("linearity.elle(step.model, step.x, step.y, step.eps, norm=step.settings.norm,", "linearity.elle(step.model, step.x, step.y, step.eps,", "setting", "ELLE looks at the Linf ball always"),
        ("linearity.gradalign(step.model, step.x, step.y, step.eps", "linearity.gradalign(step.model, step.x, step.y, step.settings.radius", "setting", "GradAlign looks at the full radius while eps grows"),
        ('elle, lambda settings: 4000.0, "arXiv 2401.11618", switched=True', 'elle, lambda settings: 4000.0, "arXiv 2401.11618"', "setting", "ELLE-A is on always"),
    ],
    "training/der.py": [
        ("SMALLEST_SPREAD**2", "SMALLEST_SPREAD", "constant", "the smallest spread is larger"),
        ("- gamma).relu()", "- gamma)", "condition", "DER may be negative"),
        ("abnormal(logits.detach(), logits_adv.detach(), y)", "abnormal(logits_adv.detach(), logits.detach(), y)", "order", "DER is of the samples that are not abnormal"),
        ('if mean == "selected" else len(term)', 'if mean == "all" else len(term)', "selection", "DER's means change places"),
    ],
    "training/linearity.py": [
        ('"share", x[:, :1, :1, :1]) + 1) / 2', '"share", x[:, :1, :1, :1]) + 1) / 4', "constant", "u is at most a half"),
        ("(1 - u) * one - u * other", "u * one - (1 - u) * other", "order", "the chord is turned round"),
        ("drop.detach() > 0", "drop.detach() < 0", "sign", "AAER is of the samples that are not abnormal"),
        ("_mean_over(distance.detach(), 1", "_mean_over(distance, 1", "selection", "AAER's normal samples have a gradient"),
        ("logits = logits.detach()\n", "logits = logits\n", "selection", "AAER hands x_0 a gradient"),
        ("return _bend(cross_entropy", "return _bend(joint_energy", "selection", "ELLE is of the joint energy"),
        ("DECAY, SETTLE = 2.0, 0.99, 3", "DECAY, SETTLE = 2.0, 0.9, 3", "constant", "ELLE-A decays by .9"),
        ("count >= self.SETTLE", "count > self.SETTLE", "condition", "ELLE-A waits an error more"),
        ("create_graph=True", "create_graph=False", "selection", "GradAlign has no gradient"),
        ("noisy = x + eps *", "noisy = x + 2 * eps *", "constant", "GradAlign looks twice as far"),
    ],
    "training/awp.py": [
        ("weight.add_(", "weight.sub_(", "sign", "AWP descends"),
        ("parameter.dim() > 1", "parameter.dim() > 0", "selection", "AWP moves the biases too"),
        ("* weight.norm() /", "/", "constant", "AWP's step ignores the weight's size"),
        ("weight.copy_(value)", "pass", "state", "AWP's weights are not restored"),
    ],
    "training/loop.py": [
        ("backward(loss + reg)", "backward(loss)", "selection", "the regulariser has no gradient"),
        ("run.optimizer.zero_grad()", "None", "order", "gradients add up over the steps"),
        ("run.attacker.after_backward(eps)", "None", "state", "free's perturbation stands still"),
        ("    if run.average is not None:\n        run.average.update", "    if False:\n        run.average.update", "state", "the moving average stands still"),
        ("partial(method_loss, see, run.network), settings.awp)", "partial(method_loss, see, run.network), 0.0)", "setting", "--awp is ignored"),
        ("total + weight * value\n        else", "total + value\n        else", "setting", "--reg-weight is ignored"),
        ("weight * switch.share.to(value) * value", "weight * value", "state", "ELLE-A's switch is ignored"),
        ("switch.update(", "(", "state", "ELLE-A's switch sees nothing"),
        ("epoch + (number + 1) / run.steps", "epoch", "order", "progress stands still within an epoch"),
        ("norm.momentum = 0.0", "pass", "state", "measuring moves batch norm's statistics"),
        ("EXPLODED = 1e4", "EXPLODED = 1e9", "constant", "a loss of 1e8 is none too large"),
        ('| table["reg"].isna()', "", "condition", "a regulariser that is not a number goes unseen"),
        ("if len(vectors) == FLUSH or", "if", "condition", "the losses are looked at once an epoch"),
        ('run.save(row.get("val_pgd" if', 'run.save(row.get("test_pgd" if', "selection", "the best epoch is that of the best test accuracy"),
        ('row.get("val_pgd" if', 'row.get("val_clean" if', "selection", "the best epoch is that of the best clean accuracy"),
        ('row.get("val_pgd" if', 'row.get("val_fgsm" if', "selection", "the best epoch is that of the best FGSM accuracy"),
        ('else "train_pgd", math.nan', 'else "train_clean", math.nan', "selection", "without a validation split the best is the best clean accuracy"),
        ('("test", run.data.test), ("train", run.data.probe)', '("test", run.data.probe), ("train", run.data.test)', "order", "test and probe accuracies change places"),
        ("step.eps >= run.settings.radius", "True", "condition", "the watch listens while eps grows"),
        ("run.share_buffers()", "None", "state", "batch norm's statistics stay those of the rank"),
        ("run.judged(), run.data", "run.network, run.data", "selection", "the probe looks at the network, not its average"),
        ("finish_epoch(run, pd.concat(tables)", "finish_epoch(run, tables[-1]", "selection", "the history is of an epoch's last steps"),
        ('row["train_fgsm"], row["train_pgd"]', 'row["train_clean"], row["train_pgd"]', "selection", "the gap is between clean and PGD"),
        ("count / len(images) if", "count if", "constant", "accuracies are counts"),
        ('run.gather(value.detach(), "mean")', 'run.gather(weight * value.detach(), "mean")', "selection", "ELLE-A's switch hears the weighted error"),
    ],
    "training/run.py": [
        ("if accuracy > self.best[1]", "if accuracy >= self.best[1]", "condition", "of equal epochs the last is the best"),
        ("if accuracy > self.best[1]", "if accuracy < self.best[1]", "condition", "the worst epoch is the best"),
        ("progress / ramp", "progress / ramp ** 2", "constant", "eps grows along another line"),
        ("else self.average.module", "else self.network", "selection", "the moving average is not judged"),
        ('            self.average.load_state_dict(state["average"])', "            pass", "state", "a resumed run forgets the moving average"),
        ('self.optimizer.load_state_dict(state["optimizer"])', "None", "state", "a resumed run forgets the optimiser"),
        ('self.attacker.load_state_dict(state["attacker"])', "None", "state", "a resumed run forgets free's perturbation"),
        ('switch.load_state_dict(state["switches"][name])', "pass", "state", "a resumed run forgets ELLE-A's switch"),
        ('            self.watch.load_state_dict(state["watch"])', "            pass", "state", "a resumed run forgets the watch"),
        ('self.best = (int(state["best"][0]), float(state["best"][1]))', "None", "state", "a resumed run forgets the best epoch"),
        ("get_ema_multi_avg_fn(settings.ema)", "get_ema_multi_avg_fn(0.999)", "setting", "--ema's decay is .999 always"),
        ("use_buffers=True", "use_buffers=False", "setting", "the average has batch norm's first statistics"),
        ("settings.momentum, settings.weight_decay", "settings.momentum, 0.0", "setting", "weight decay is dropped"),
        ("length = settings.length_at(epoch)", "length = settings.epochs", "setting", "an extended run has another schedule from its start"),
        ("settings.lr * rate.factor, rate.momentum", "settings.lr, rate.momentum", "setting", "the schedule does not reach the rate"),
        ("settings.lr * rate.factor, rate.momentum", "settings.lr * rate.factor, None", "setting", "onecycle's momentum is not cycled"),
        ('torch.manual_seed(key(settings.seed, "weights", 0))', "torch.manual_seed(0)", "setting", "the first weights do not depend on the seed"),
        ('f"epoch/{self.share.rank}", self.epoch)', 'f"epoch/{self.share.rank}", 0)', "order", "every epoch has the same noise"),
        ("    initial.into(core, settings.arch)", "    pass", "state", "--init is ignored"),
        ("buffer, \"mean\"", "buffer, \"sum\"", "constant", "batch norm's statistics are added up over the ranks"),
        ("self.network.train()\n            yield", "yield", "mode", "an epoch begins in whatever mode the last one left"),
        ("network.compile()", "pass", "setting", "--compile is ignored"),
        ("copy_weights(self.folder / BEST, self.folder / LAST)", "self.save_weights(LAST)", "state", "a rolled back run keeps its last weights"),
        ("for _ in range(self.replays)", "for _ in range(1)", "setting", "--replays is ignored"),
    ],
    "training/watch.py": [
        ("rise: float = 0.05", "rise: float = 0.1", "constant", "CO is called at twice the rise"),
        ("settle: int = 2", "settle: int = 3", "constant", "the watch settles a window later"),
        ("floor: float = -0.3", "floor: float = -0.5", "constant", "RO is called below -.5"),
        ("fall: float = 3.0", "fall: float = 2.0", "constant", "RO is called at twice the usual"),
        ("usual + max(settings.rise, chance)", "max(settings.rise, chance)", "condition", "CO is called without regard to what is usual"),
        ("min(settings.floor, settings.fall", "max(settings.floor, settings.fall", "selection", "RO's floor and factor change places"),
        ("delta_energy(marginal_energy(clean), marginal_energy(adv))", "delta_energy(marginal_energy(adv), marginal_energy(clean))", "sign", "the watch's dE(x) is turned round"),
        ("if kind and new else None", "if kind else None", "condition", "the watch says a failure again and again"),
        ("self._usual[::2], 2 *", "self._usual[::2], 1 *", "constant", "the watch's memory is of late windows"),
    ],
    "training/omission.py": [
        ("seen.energy.where(seen.right", "seen.energy.where(~seen.right", "selection", "high-energy is of the misclassified"),
        ("lambda seen: -seen.energy", "lambda seen: seen.energy", "sign", "low-energy leaves out those of high energy"),
        ("seen.chance.where(~seen.right", "seen.chance.where(seen.right", "selection", "misclassified leaves out who is right"),
        ('key(settings.seed, "omission", 0)', 'key(0, "omission", 0)', "setting", "chance does not depend on the seed"),
        ("descending=True", "descending=False", "order", "the lowest scores are left out"),
        ("* len(positions)), int", "* len(samples)), int", "constant", "the share is of all images, not of those to learn"),
    ],
    "training/history.py": [
        ('_accuracy(adv, step.y)}', '_accuracy(clean, step.y)}' , "selection", "the adversarial accuracy is the clean one"),
        ('"marginal_clean": marginal_energy(clean).mean()', '"marginal_clean": marginal_energy(clean).sum()', "constant", "energies are sums"),
        ("abnormal(clean, adv, step.y)", "abnormal(adv, clean, step.y)", "order", "the share is of who is not abnormal"),
        ("kl_terms(clean, adv)", "kl_terms(adv, clean)", "order", "the divergence's parts are turned round"),
        ('table["marginal_clean"] - table["marginal_adv"]', 'table["marginal_adv"] - table["marginal_clean"]', "sign", "dE(x) is turned round"),
        ('delta_joint=table["joint_clean"]', 'delta_joint=table["marginal_clean"]', "selection", "dE(x, y) is from E(x)"),
        ("steps[names].mean()", "steps[names].median()", "selection", "the history has medians"),
        ('table["epoch"] <= until', 'table["epoch"] >= 0', "condition", "a resumed run keeps rows of epochs that it does again"),
    ],
    "training/checkpoint.py": [
        ('for suffix in (".safetensors", ".json"):', 'for suffix in (".safetensors",):', "selection", "a copied checkpoint keeps another's description"),
        ("value.detach().cpu()", "value.detach().cpu().half()", "constant", "weights are saved in half precision"),
    ],
    "training/initial.py": [
        ("return Initial(settings.init, core.state_dict(), statistics, ", "return Initial(settings.init, core.state_dict(), None, ", "state", "a normalised model starts without its statistics"),
        ("(statistics is not None) != settings.normalize", "False", "condition", "--init and --normalize may disagree"),
        ("(layer.mean, layer.std)", "(layer.std, layer.mean)", "order", "mean and standard deviation change places"),
    ],
    "training/step.py": [
        ('self.settings.attack_mode == "train"', "True", "mode", "energies of eval-mode logits are compared with train-mode ones"),
        ("self.logits if self.x_start is self.x else", "self.logits if True else", "selection", "the start's logits are those of x"),
        ("return self.first_logits if same else None", "return None", "selection", "FGSM's clean logits are not seen"),
    ],
    "training/settings.py": [
        ('self.step_size or settings.usual_step_size', 'settings.usual_step_size', "setting", "--step-size is overwritten"),
        ("attack.relative_step * self.radius", "self.radius", "constant", "a step is eps always"),
        ('"attack_mode": method.attack_mode', '"attack_mode": "train"', "mode", "every method attacks in training mode"),
        ("row.default_eps[self.norm]", 'row.default_eps["linf"]', "setting", "L2 runs have the Linf radius"),
        ('"abnormal" if settings.steps == 1 else "all"', '"all"', "selection", "DER is of all samples in single-step training"),
        ("self.reg_weight or own", "own", "setting", "--reg-weight is overwritten"),
        ('"beta": method.beta', '"beta": 1.0', "constant", "beta is 1 where none is given"),
        ("if epoch < end), self.epochs)", "if epoch <= end), self.epochs)", "condition", "an extended run's schedule changes an epoch late"),
        ("and self.epochs % self.eval_every == 0", "", "condition", "an extended run passes for another whose last epoch was not judged"),
    ],
    "training/recipes.py": [
        ('"schedule": "cyclic", "peak": 0.5', '"schedule": "onecycle", "peak": 0.5', "setting", "co has another schedule"),
        ('"weat-adv"', '"weat-nat"', "setting", "weat trains WEAT_nat"),
        ('"method": "pgd", "eps": "8/255", "steps": 10, "step_size": "2/255"', '"method": "pgd", "eps": "8/255", "steps": 10, "step_size": "1/255"', "constant", "ro steps 1/255"),
        ('"schedule": "piecewise"', '"schedule": "cosine"', "setting", "ro has another schedule"),
        ('**(RECIPES[recipe][1] if recipe else {}), **own}', '**own, **(RECIPES[recipe][1] if recipe else {})}', "order", "a recipe overrides what the user set"),
        ('"normalize": False, "augment": "crop-flip"', '"normalize": True, "augment": "crop-flip"', "setting", "weat normalises its images"),
    ],
}  # fmt: skip

FAULTS = list(_faults())

#: who is not caught, and why
SURVIVORS: dict[str, str] = {}
