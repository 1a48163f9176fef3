"""Goldens of losses, Adam and five training steps of every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from . import losses
from .discriminator import FeatureHeads, MultiscaleDiscriminator
from .encoder import ConvEncoder
from .golden_case import CLASSES, Case, Destination, Results, Tensors, load_network
from .golden_networks import dropout_length
from .layout import condition, instance_edges
from .pix2pix import MultiscalePatchDiscriminator, UNet
from .pix2pixhd import CoarseToFine
from .segformer import SegFormer
from .spade import SPADEGenerator
from .train_step import Trainer
from .tsit import TSITGenerator
from .vgg import Pyramid


def loss_functions(destination: Destination) -> None:
    """Every adversarial loss for fakes, reals and the generator; feature matching; KL."""
    case = Case("losses", {})
    shapes = {
        "scale0.layer0": (2, 4, 9, 13),
        "scale0.scores": (2, 1, 6, 8),
        "scale1.layer0": (2, 4, 5, 7),
        "scale1.scores": (2, 1, 4, 5),
    }
    for name, shape in shapes.items():
        case.uniform(f"fake.{name}", shape, 2.0)
        case.uniform(f"real.{name}", shape, 2.0)
    case.uniform("mean", (2, 16))
    case.uniform("log_variance", (2, 16))

    def run(inputs: Tensors, state: Tensors) -> Results:
        del state
        results: Results = {}

        def outputs(side: str) -> tuple[Tensors, list[list[torch.Tensor]]]:
            leaves = {name: inputs[f"{side}.{name}"].clone().requires_grad_() for name in shapes}
            values = list(leaves.values())
            return leaves, [values[:2], values[2:]]

        def keep(label: str, loss: torch.Tensor, leaves: Tensors) -> None:
            loss.backward()
            results[f"out/{label}"] = loss
            for name, leaf in leaves.items():
                if leaf.grad is not None:
                    results[f"grad/in.{name}.{label}"] = leaf.grad

        roles = {
            "discriminator_fake": ("fake", False, True),
            "discriminator_real": ("real", True, True),
            "generator": ("fake", True, False),
        }
        for kind in ("hinge", "least_squares", "cross_entropy", "wasserstein"):
            for role, (side, real, for_discriminator) in roles.items():
                leaves, scales = outputs(side)
                loss = losses.gan_loss(scales, kind, real=real, for_discriminator=for_discriminator)
                own = {f"{side}.{name}": leaf for name, leaf in leaves.items()}
                keep(f"{kind}.{role}", loss, own)
        fake_leaves, fake = outputs("fake")
        _, real_outputs = outputs("real")
        keep(
            "feature_matching",
            losses.feature_matching(fake, real_outputs),
            {f"fake.{name}": leaf for name, leaf in fake_leaves.items()},
        )
        latent = {name: inputs[name].clone().requires_grad_() for name in ("mean", "log_variance")}
        keep("kl", losses.kl_divergence(latent["mean"], latent["log_variance"]), latent)
        return results

    case.finish(run, destination)


def edges(destination: Destination) -> None:
    """Edges of instances; ids may exceed 255, as in COCO."""
    case = Case("edges", {})
    case.ids("instances", (2, 24, 32), 3000)

    def run(inputs: Tensors, state: Tensors) -> Results:
        del state
        return {"out/edges": instance_edges(inputs["instances"])}

    case.finish(run, destination)


DISCRIMINATORS = {"discriminator", "segmenter_discriminator"}
STEPS = 5
# A tenth of the published rate. Without momentum Adam changes every weight by nearly the full rate,
# whatever the size of its gradient: rounding decides the direction for the smallest gradients. At
# 2e-4 two float32 runs differ by 20% of the change after five steps.
STEPS_RATE = 2e-5


def adam(destination: Destination) -> None:
    """Adam on given gradients, at the published rates, with and without the betas of TTUR."""
    rates = {"generator": 1e-4, "discriminator": 4e-4, "plain": 2e-4}
    betas = {"generator": (0.0, 0.9), "discriminator": (0.0, 0.9), "plain": (0.5, 0.999)}
    case = Case(
        "adam", {"rates": rates, "betas": {key: list(value) for key, value in betas.items()}}
    )
    case.recipe("state/weight", "uniform", (5, 7), low=-0.1, high=0.1)
    for step in range(STEPS):
        # Of very different sizes, so that the history of the denominator matters.
        limit = 10.0 ** (-step if step < 3 else step - 5)
        case.uniform(f"gradient.{step}", (5, 7), limit)

    def run(inputs: Tensors, state: Tensors) -> Results:
        results: Results = {}
        for label, rate in rates.items():
            weight = state["weight"].clone().requires_grad_()
            optimizer = torch.optim.Adam([weight], lr=rate, betas=betas[label])
            for step in range(STEPS):
                weight.grad = inputs[f"gradient.{step}"].clone()
                optimizer.step()
                results[f"after/{label}.{step}"] = weight.detach().clone()
            results[f"change/{label}"] = weight.detach() - state["weight"]
        return results

    case.finish(run, destination)


def _steps_case(
    name: str,
    destination: Destination,
    generator_options: dict[str, Any],
    build: Callable[..., nn.Module],
    encoder_options: dict[str, Any] | None = None,
    *,
    size: tuple[int, int],
    build_discriminator: Callable[..., nn.Module] = MultiscaleDiscriminator,
    noise: tuple[int, ...] = (),
    discriminator: dict[str, Any] | None = None,
    ids: dict[str, float] | None = None,
    segmenter: dict[str, Any] | None = None,
    heads: dict[str, Any] | None = None,
    steps: int = STEPS,
    **settings: Any,
) -> None:
    """Five updates of G and D by `Trainer`, each on another batch.

    `discriminator` and `settings` hold the differences from SPADE's discriminator and from the
    defaults of `Trainer`; `noise` is the shape of an image's noise, for a generator with noise.
    State names begin with "generator.", "discriminator." or "encoder.". Losses are weighted:
    out/STEP.NAME. Noise of the two passes of a step: in/STEP.generator_noise and
    in/STEP.discriminator_noise. For translation in/STEP.content replaces in/STEP.ids. `segmenter`
    and `heads` are the options of a frozen SegFormer and of the discriminator of its maps, whose
    states are "segmenter." and "segmenter_discriminator.".
    """
    discriminator_options: dict[str, Any] = {
        "in_channels": CLASSES + 3,
        "channels": 2,
        "scales": 2,
        "layers": 4,
        **(discriminator or {}),
    }
    training: dict[str, Any] = {
        "kind": "hinge",
        "lambda_gan": 1.0,
        "lambda_l1": 0.0,
        "lambda_feature": 10.0,
        "lambda_kl": 0.05,
        "learning_rate": STEPS_RATE,
        "betas": [0.0, 0.9],
        "ttur": True,
        "apart": False,
        "translation": False,
        **settings,
    }
    case = Case(
        name,
        {
            "generator": generator_options,
            "discriminator": discriminator_options,
            "encoder": encoder_options,
            "size": size,
            "training": training,
            "steps": steps,
            **({} if segmenter is None else {"segmenter": segmenter, "heads": heads}),
        },
        has_steps=True,
    )
    case.golden.notes["classes"] = CLASSES
    builders: dict[str, Callable[[], nn.Module]] = {
        "generator": lambda: build(**generator_options),
        "discriminator": lambda: build_discriminator(**discriminator_options),
    }
    if encoder_options is not None:
        builders["encoder"] = lambda: ConvEncoder(**encoder_options)
    if heads is not None:
        builders["segmenter_discriminator"] = lambda: FeatureHeads(**heads)
    for part, make in builders.items():
        case.state_of(make(), f"{part}.")
    if segmenter is not None:
        case.state_of(SegFormer(**segmenter), "segmenter.")
    for step in range(steps):
        if training["translation"]:
            case.uniform(f"{step}.content", (2, 3, *size))
        else:
            case.ids(f"{step}.ids", (2, *size), CLASSES, **(ids or {}))
        case.uniform(f"{step}.image", (2, 3, *size))
        shape = noise if encoder_options is None else (encoder_options["latent_size"],)
        for side in ("generator", "discriminator") if shape else ():
            case.normal_like(f"{step}.{side}_noise", (2, *shape))

    def run(inputs: Tensors, state: Tensors) -> Results:
        parts = {part: load_network(make(), state, f"{part}.") for part, make in builders.items()}
        frozen = None
        if segmenter is not None:
            frozen = load_network(SegFormer(**segmenter), state, "segmenter.").eval()
        trainer = Trainer(
            parts["generator"],
            parts["discriminator"],
            encoder=parts.get("encoder"),
            vgg=Pyramid() if training["translation"] else None,
            segmenter=frozen,
            heads=parts.get("segmenter_discriminator"),
            **training,
        )
        results: Results = {}
        for step in range(steps):
            image = inputs[f"{step}.image"]
            planes = inputs.get(f"{step}.content")
            if planes is None:
                planes = condition(inputs[f"{step}.ids"], CLASSES).to(image.dtype)
            made = trainer.generator_step(planes, image, inputs.get(f"{step}.generator_noise"))
            if step == 0:
                for part, network in parts.items():
                    if part not in DISCRIMINATORS:
                        for key, parameter in network.named_parameters():
                            if parameter.grad is not None:
                                results[f"grad/state.{part}.{key}"] = parameter.grad.clone()
            made |= trainer.discriminator_step(
                planes, image, inputs.get(f"{step}.discriminator_noise")
            )
            if step == 0:
                for part in DISCRIMINATORS & parts.keys():
                    for key, parameter in parts[part].named_parameters():
                        results[f"grad/state.{part}.{key}"] = parameter.grad.clone()
            results |= {f"out/{step}.{key}": value for key, value in made.items()}
        for part, network in parts.items():
            for key, value in network.state_dict().items():
                full = f"{part}.{key}"
                results[f"after/{full}"] = value.clone()
                if key in dict(network.named_parameters()):
                    results[f"change/{full}"] = value - state[full]
        return results

    case.finish(run, destination)


def steps(destination: Destination) -> None:
    """SPADE, SPADE with its VAE, TSIT for both tasks, pix2pix and pix2pixHD."""
    # Small: each of the twenty passes must stay clear of all kinks. SPADE's hidden channels have
    # one argument per neighborhood of a layout.
    small = (64, 64)
    ids = {"speckles": 0.01}
    spade: dict[str, Any] = {
        "condition_channels": CLASSES,
        "size": small,
        "channels": 2,
        "halvings": "normal",
        "latent_size": 16,
    }
    tsit: dict[str, Any] = {
        "content_channels": CLASSES,
        "size": small,
        "channels": 2,
        "halvings": 5,
        "style_stream": True,
        "start": "layout",
    }
    _steps_case(
        "steps_spade", destination, {**spade, "vae": False}, SPADEGenerator, size=small, ids=ids
    )
    _steps_case(
        "steps_spade_vae",
        destination,
        {**spade, "vae": True},
        SPADEGenerator,
        {"channels": 2, "latent_size": 16},
        size=small,
        ids=ids,
    )
    _steps_case("steps_tsit", destination, tsit, TSITGenerator, size=small)
    _steps_case(
        "steps_tsit_translation",
        destination,
        {**tsit, "content_channels": 3, "size": (64, 96), "start": "noise"},
        TSITGenerator,
        size=(64, 96),
        noise=(3, 2, 3),
        discriminator={"in_channels": 3, "layers": 3, "stride_one_layer": 3},
        lambda_feature=1.0,
        lambda_vgg=1.0,
        translation=True,
    )
    _steps_case(
        "steps_spade_least_squares",
        destination,
        {**spade, "vae": False},
        SPADEGenerator,
        size=small,
        ids=ids,
        kind="least_squares",
    )
    segmenter: dict[str, Any] = {
        "widths": [4, 8, 10, 16],
        "blocks": [1, 1, 1, 1],
        "head_width": 8,
        "classes": CLASSES,
    }
    alone: dict[str, Any] = {"segmenter": segmenter, "steps": 1, "lambda_feature": 0.0}
    _steps_case(
        "steps_spade_segmenter",
        destination,
        {**spade, "vae": False},
        SPADEGenerator,
        size=small,
        ids=ids,
        heads={"feature_channels": segmenter["widths"], "channels": 2},
        lambda_segmentation=2.0,
        **alone,
    )
    _steps_case(
        "steps_spade_mask_probability",
        destination,
        {**spade, "vae": False},
        SPADEGenerator,
        size=small,
        ids=ids,
        lambda_segmentation=2.0,
        segmentation_loss="mask_probability",
        **alone,
    )
    published: dict[str, Any] = {"betas": [0.5, 0.999], "ttur": False}
    size = (64, 96)
    _steps_case(
        "steps_pix2pix",
        destination,
        {"condition_channels": CLASSES, "channels": 2, "halvings": 4},
        UNet,
        size=size,
        build_discriminator=MultiscalePatchDiscriminator,
        noise=(dropout_length(size, 2, 4),),
        discriminator={"scales": 1, "norm": "batch", "padding": 1},
        kind="cross_entropy",
        lambda_l1=100.0,
        lambda_feature=0.0,
        apart=True,
        **published,
    )
    _steps_case(
        "steps_pix2pixhd",
        destination,
        {"condition_channels": CLASSES, "channels": 2, "halvings": 4},
        CoarseToFine,
        size=size,
        build_discriminator=MultiscalePatchDiscriminator,
        discriminator={"scales": 3},
        kind="least_squares",
        lambda_gan=3.0,
        **published,
    )
