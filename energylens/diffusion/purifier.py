"""The purifier R(x): noise an image a little, take the noise out again (SDEdit, arXiv 2108.01073).

The noise is taken out by DDIM with eta 0 (arXiv 2010.02502) over the last of the respaced timesteps tau_0 < tau_1 <
...:

    x_t     = sqrt(a_t) (2 x - 1) + sqrt(1 - a_t) noise,                          a_i = alphas_bar[tau_i], a_{-1} = 1
    x_0     = clamp((x_i - sqrt(1 - a_i) eps(x_i, tau_i)) / sqrt(a_i), -1, 1)
    e       = (x_i - sqrt(a_i) x_0) / sqrt(1 - a_i)                               the noise that goes with x_0
    x_{i-1} = sqrt(a_{i-1}) x_0 + sqrt(1 - a_{i-1}) e,                            i = t, t - 1, ..., 0
    R(x)    = (x_{-1} + 1) / 2

as in the code of Diff-PGD (arXiv 2305.16494). Everything is differentiable in x.
"""

from __future__ import annotations

from torch import Tensor

from energylens.diffusion.diffuser import Diffuser


def purify(diffuser: Diffuser, x: Tensor, noise: Tensor, *, t: int, ddim_steps: int) -> Tensor:
    """R(x): a pure function of the images and the noise; t + 1 calls of the network.

    Args:
        diffuser: the model.
        x: (N, C, H, W) in [0, 1].
        noise: (N, C, H, W), of N(0, 1).
        t: a respaced index, 0 <= t < ddim_steps.
        ddim_steps: timesteps after respacing.

    Returns:
        Images (N, C, H, W) in [0, 1].
    """
    signal = diffuser.alphas_bar[diffuser.timesteps(ddim_steps)[t]]
    x_t = signal.sqrt() * (2 * x - 1) + (1 - signal).sqrt() * noise
    return denoise(diffuser, x_t, t=t, ddim_steps=ddim_steps)


def sample(diffuser: Diffuser, noise: Tensor, *, ddim_steps: int) -> Tensor:
    """Images out of nothing but noise.

    Args:
        diffuser: the model.
        noise: N(0, 1), (N, C, H, W).
        ddim_steps: timesteps after respacing, as many calls of the network.

    Returns:
        Images (N, C, H, W) in [0, 1].
    """
    return denoise(diffuser, noise, t=ddim_steps - 1, ddim_steps=ddim_steps)


def denoise(diffuser: Diffuser, x_t: Tensor, *, t: int, ddim_steps: int) -> Tensor:
    """Take the noise out of images by DDIM with eta 0 (arXiv 2010.02502).

    Args:
        diffuser: the model.
        x_t: (N, C, H, W), noisy images in [-1, 1] as they are at respaced index t.
        t: a respaced index, 0 <= t < ddim_steps.
        ddim_steps: timesteps after respacing.

    Returns:
        Images (N, C, H, W) in [0, 1].
    """
    timesteps = diffuser.timesteps(ddim_steps)
    for index in range(t, -1, -1):
        a = diffuser.alphas_bar[timesteps[index]]
        x_0 = (x_t - (1 - a).sqrt() * diffuser.predict_noise(x_t, timesteps[index])) / a.sqrt()
        x_0 = x_0.clamp(-1, 1)
        if index == 0:
            break
        e = (x_t - a.sqrt() * x_0) / (1 - a).sqrt()
        a = diffuser.alphas_bar[timesteps[index - 1]]
        x_t = a.sqrt() * x_0 + (1 - a).sqrt() * e
    return (x_0 + 1) / 2
