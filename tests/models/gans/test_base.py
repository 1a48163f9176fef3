"""Methods: steps against the reference, and the parameters that each step changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jittor as jt
import numpy as np
import pytest

from models.gans import create_method
from models.gans.base import DISCRIMINATORS, Method
from models.layers.resampling import pool_average
from models.layouts.layout import Content, Photos
from models.losses import VGG_WEIGHTS
from models.networks.segformer import SegFormer, SegFormerShape
from models.networks.vgg import VGG19
from options.generators import DEPTH_WORDS
from options.groups import DataOptions, DiscriminatorOptions, GeneratorOptions, LossOptions
from options.train import RunOptions
from tests.models.conftest import Record
from tests.models.golden import (
    Arrays,
    OwnPart,
    Part,
    SpectralPart,
    check,
    fetch,
    gradients,
    layout_of,
)
from tests.models.inputs import CLASSES, layout, shape, values
from tests.reference.goldens import Golden, load
from training.optimizer import Adam
from training.trainer import Trainer


def _options(**generator: Any) -> RunOptions:
    return RunOptions(
        data=DataOptions(height=64, width=64, classes=CLASSES),
        generator=GeneratorOptions(
            **{"channels": 4, "num_downsamples": 5, "latent_size": 16, **generator}
        ),
        discriminator=DiscriminatorOptions(discriminator_channels=4),
    )


def _data(height: int, width: int, translation: bool) -> DataOptions:
    if translation:
        return DataOptions(task="translation", height=height, width=width)
    return DataOptions(height=height, width=width, classes=CLASSES)


def _golden_options(golden: Golden) -> RunOptions:
    stored, discriminator = golden.options["generator"], golden.options["discriminator"]
    training = golden.options["training"]
    height, width = golden.options["size"]
    generator = golden.name.split("_")[1]
    return RunOptions(
        data=_data(height, width, training.get("translation", False)),
        generator=GeneratorOptions(
            generator=generator,
            channels=stored["channels"],
            num_downsamples=DEPTH_WORDS.get(stored["num_downsamples"], stored["num_downsamples"]),
            latent_size=16,
            vae=golden.options["encoder"] is not None,
            style_stream=stored.get("style_stream", True),
            start=stored.get("start", "layout"),
        ),
        discriminator=DiscriminatorOptions(
            discriminator_scales=discriminator["scales"],
            discriminator_channels=discriminator["channels"],
            discriminator_layers=discriminator["layers"],
            segmenter_discriminator=golden.options.get("heads") is not None,
        ),
        loss=LossOptions(
            gan_loss=training["kind"],
            lambda_gan=training["lambda_gan"],
            lambda_l1=training["lambda_l1"],
            lambda_feature=training["lambda_feature"],
            lambda_vgg=training.get("lambda_vgg", 20.0),
            lambda_kl=training["lambda_kl"],
            lambda_segmentation=training.get("lambda_segmentation", 0.0),
            segmentation_loss=training.get("segmentation_loss", "cross_entropy"),
        ),
    )


def _parts(method: Method) -> dict[str, Part | OwnPart]:
    generator = method.options.generator.generator
    if generator in ("pix2pix", "pix2pixhd"):
        return {name: OwnPart(("global_generator.last.",)) for name in method.networks}
    families = {"generator": generator, "discriminator": "discriminator", "encoder": "encoder"}
    return {
        name: SpectralPart() if name == "segmenter_discriminator" else Part(families[name])
        for name in method.networks
    }


def _segmenter_of(golden: Golden) -> SegFormer:
    """The frozen segmenter of a golden."""
    given = golden.options["segmenter"]
    sizes = SegFormerShape(tuple(given["widths"]), tuple(given["blocks"]), given["head_width"])
    network = SegFormer(shape=sizes, classes=given["classes"])
    prefix = "segmenter."
    state = golden.section("state").items()
    named = {k.removeprefix(prefix): v for k, v in state if k.startswith(prefix)}
    Part("segformer").load(network, named)
    network.eval()
    return network


def _pyramid(image: jt.Var) -> list[jt.Var]:
    """Replaces VGG-19, as in the golden: the image at five sizes."""
    maps = [image]
    for _ in range(4):
        maps.append(pool_average(maps[-1]))
    return maps


def _total(losses: dict[str, jt.Var]) -> jt.Var:
    first, *others = losses.values()
    return sum(others, start=first)


@pytest.mark.parametrize(
    "name",
    [
        "steps_spade",
        "steps_spade_least_squares",
        "steps_spade_mask_probability",
        "steps_spade_segmenter",
        "steps_spade_vae",
        "steps_tsit",
        "steps_tsit_translation",
        "steps_pix2pix",
        "steps_pix2pixhd",
    ],
)
def test_steps_of_both_sides_as_published(
    name: str, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = load(name)
    translation = golden.options["training"].get("translation", False)
    method = create_method(_golden_options(golden), _pyramid if translation else None)
    if "segmenter" in golden.options:
        method.use_segmenter(_segmenter_of(golden))
    parts = _parts(method)
    before = golden.section("state")
    for part, network in method.networks.items():
        state = {k.removeprefix(f"{part}."): v for k, v in before.items() if k.startswith(part)}
        parts[part].load(network, state)
    method.train()
    training = golden.options["training"]
    beta1, beta2 = training["betas"]
    stage = method.stage_parameters()
    trained = {
        "generator": {n: value for n, value in method.generator_parameters() if n in stage},
        "discriminator": dict(method.discriminator_parameters()),
    }
    optimizers = {
        side: Adam(parameters, beta1=beta1, beta2=beta2) for side, parameters in trained.items()
    }
    rate = training["learning_rate"]
    slow, fast = (0.5, 2.0) if training["ttur"] else (1.0, 1.0)
    arrays: Arrays = {}
    for step in range(golden.options["steps"]):
        image = jt.array(golden.get(f"in/{step}.image"))
        condition: Content
        if translation:
            condition = Photos(jt.array(golden.get(f"in/{step}.content")))
        else:
            condition = layout_of(golden, f"{step}.")
        for side, factor in (("generator", slow), ("discriminator", fast)):
            key = f"in/{step}.{side}_noise"
            if key in golden.shapes:
                noise = golden.get(key)
                monkeypatch.setattr(jt, "randn", lambda shape, noise=noise: _noise(noise, shape))
            if side == "generator":
                losses, _ = method.generator_losses(condition, image)
            else:
                losses = method.discriminator_losses(condition, image)
            results = {f"out/{step}.{loss}": value for loss, value in losses.items()}
            if step == 0:
                of = {
                    f"state.{network}.{parameter}": value
                    for network in method.networks
                    if (network in DISCRIMINATORS) == (side == "discriminator")
                    for parameter, value in parts[network]
                    .trainable(method.networks[network])
                    .items()
                }
                assert len(of) == len(trained[side])
                results |= gradients(_total(losses), of)
            arrays |= fetch(results)
            optimizers[side].step(_total(losses), factor * rate)
            jt.sync_all()
    for part, network in method.networks.items():
        for key, value in parts[part].state(network).items():
            arrays[f"after/{part}.{key}"] = value
            if f"change/{part}.{key}" in golden.shapes:
                arrays[f"change/{part}.{key}"] = value - before[f"{part}.{key}"]
    record(check(golden, arrays))


def _noise(noise: np.ndarray, shape: Any) -> jt.Var:
    assert tuple(shape) == noise.shape
    return jt.array(noise)


VARIANTS: dict[str, dict[str, Any]] = {
    "pix2pix": {"generator": "pix2pix"},
    "pix2pixhd": {"generator": "pix2pixhd", "num_downsamples": 4},
    "spade": {"generator": "spade"},
    "spade_vae": {"generator": "spade", "vae": True},
    "tsit": {"generator": "tsit"},
    "tsit_noise": {"generator": "tsit", "style_stream": False, "start": "noise"},
    "tsit_vae": {"generator": "tsit", "style_stream": False, "vae": True},
    "tsit_translation": {"generator": "tsit", "start": "noise"},
}


# Variant, stage, the prefix of the generator parameters that the stage does not train, and the
# height of the images that it trains on.
STAGES = [
    *((variant, "all", "no such", 64) for variant in VARIANTS if variant != "pix2pixhd"),
    ("pix2pixhd", "all", "generator.global_generator.last.", 64),
    ("pix2pixhd", "global", "generator.enhancer.", 32),
    ("pix2pixhd", "enhancer", "generator.global_generator.", 64),
]


@pytest.mark.parametrize(("variant", "stage", "fixed", "height"), STAGES)
def test_a_step_changes_every_parameter_of_its_side_and_no_other(
    variant: str, stage: str, fixed: str, height: int
) -> None:
    # With the hinge loss the initial gradient of a discriminator's last bias is 1 - 1.
    loss = LossOptions(gan_loss="least_squares")
    options = _options(**VARIANTS[variant])
    condition: Content = layout(2, 64, 64)
    if variant == "tsit_translation":
        options = replace(options, data=_data(64, 64, translation=True))
        condition = Photos(values(2, 3, 64, 64, seed=1))
    trainer = Trainer(create_method(replace(options, loss=loss)), options)
    method = trainer.method
    trainer.begin_stage(stage, fresh=False)
    image = values(2, 3, 64, 64)
    sides = {
        "generator": dict(method.generator_parameters()),
        "discriminator": dict(method.discriminator_parameters()),
    }
    every = sides["generator"] | sides["discriminator"]
    names = {name for name, network in method.networks.items() for _ in network.parameters()}
    assert {name.split(".")[0] for name in every} == names
    for side, parameters in sides.items():
        before = fetch(every)
        if side == "generator":
            losses, fake = method.generator_losses(condition, image)
            assert shape(fake) == (2, 3, height, height)
        else:
            losses = method.discriminator_losses(condition, image)
        moved = method.stage_parameters() if side == "generator" else None
        trainer.optimizers[side].step(_total(losses), 2e-4, moved)
        jt.sync_all()
        after = fetch(every)
        changed = {name for name in every if (before[name] != after[name]).any()}
        assert changed == {name for name in parameters if not name.startswith(fixed)}
        assert all(np.isfinite(array).all() for array in after.values())


@pytest.mark.parametrize("lambda_gan", [1.0, 0.0])
def test_a_frozen_segmenter_judges_images_and_stays_as_it_is(lambda_gan: float) -> None:
    options = _options(generator="spade")
    discriminator = replace(options.discriminator, segmenter_discriminator=True)
    loss = LossOptions(
        gan_loss="least_squares",
        lambda_gan=lambda_gan,
        lambda_feature=0.0,
        lambda_vgg=0.0,
        lambda_segmentation=3.0,
    )
    options = replace(options, discriminator=discriminator, loss=loss)
    method = create_method(options)
    assert "segmenter_discriminator" not in method.networks  # inference needs no segmenter
    shapes = SegFormerShape((4, 8, 10, 16), (1, 1, 1, 1), 8)
    segmenter = SegFormer(shape=shapes, classes=CLASSES)
    segmenter.eval()
    method.use_segmenter(segmenter)
    trainer = Trainer(method, options)
    before = fetch(segmenter.state_dict())
    names = dict(method.discriminator_parameters())
    assert {name.split(".")[0] for name in names} == set(DISCRIMINATORS)
    assert not any(name.startswith(DISCRIMINATORS) for name, _ in method.generator_parameters())
    content, image = layout(2, 64, 64), values(2, 3, 64, 64)
    heads = fetch({n: v for n, v in names.items() if n.startswith("segmenter_")})
    result = trainer.step(content, image, learning_rate=2e-4, seed=0)
    expected = {"gan", "gan_segmenter"} if lambda_gan else set()
    both = {"fake", "real", "fake_segmenter", "real_segmenter"}
    assert set(result) == expected | both | {"segmentation"}
    assert all((array != names[name].numpy()).any() for name, array in heads.items())
    after = fetch(segmenter.state_dict())
    assert all((array == after[name]).all() for name, array in before.items())
    saved = trainer.variables()
    assert "network.segmenter_discriminator.heads.3.last.weight" in saved
    assert not any("segmenter" in name for name in trainer.snapshot())


def test_stage_global_generates_without_the_enhancer() -> None:
    options = _options(**VARIANTS["pix2pixhd"])
    method = create_method(options)
    condition = layout(1, 64, 64)
    method.eval()
    whole = method.generate(condition).numpy()
    method.begin_stage("global")
    alone = method.generate(condition)
    half = method.networks["generator"].run_global(condition.downsample())
    assert shape(half) == (1, 3, 32, 32) and shape(alone) == (1, 3, 64, 64)
    assert alone.numpy().mean() == pytest.approx(half.numpy().mean(), abs=0.02)
    assert method.networks["generator"].state_dict()["global_alone"].item() == 1
    method.begin_stage("enhancer")
    np.testing.assert_array_equal(method.generate(condition).numpy(), whole)


def test_an_unknown_stage_raises() -> None:
    with pytest.raises(ValueError, match="spade has no stage 'global'"):
        create_method(_options(generator="spade")).begin_stage("global")
    with pytest.raises(ValueError, match="one of global, enhancer, all, got 'half'"):
        create_method(_options(**VARIANTS["pix2pixhd"])).begin_stage("half")


def test_the_l1_loss_has_its_weight() -> None:
    options = _options(generator="pix2pix")
    loss = LossOptions(lambda_gan=0.0, lambda_feature=0.0, lambda_vgg=0.0, lambda_l1=100.0)
    method = create_method(replace(options, loss=loss))
    image = values(1, 3, 64, 64)
    losses, fake = method.generator_losses(layout(1, 64, 64), image)
    assert list(losses) == ["l1"]
    expected = 100 * np.abs(fake.numpy() - image.numpy()).mean()
    assert losses["l1"].item() == pytest.approx(expected, rel=1e-5)


def test_the_perceptual_loss_has_a_gradient_for_the_generator_but_not_for_vgg() -> None:
    options = _options(generator="spade")
    alone = replace(options, loss=LossOptions(lambda_gan=0.0, lambda_feature=0.0))
    vgg = VGG19()
    method = create_method(alone, vgg)
    method.train()
    losses, _ = method.generator_losses(layout(1, 64, 64), values(1, 3, 64, 64))
    assert list(losses) == ["vgg"]
    generator = dict(method.generator_parameters())
    assert not {id(value) for value in generator.values()} & {id(v) for v in vgg.parameters()}
    (gradient,) = jt.grad(losses["vgg"], [generator["generator.last.weight"]])
    assert np.abs(gradient.numpy()).max() > 0


def test_translation_scores_images_alone_and_compares_them_with_the_content() -> None:
    options = _options(start="noise")
    alone = LossOptions(lambda_feature=0.0, lambda_vgg=1.0)
    options = replace(options, data=_data(64, 64, translation=True), loss=alone)
    seen: list[np.ndarray] = []

    def vgg(image: jt.Var) -> list[jt.Var]:
        seen.append(image.numpy())
        return [image] * 5

    method = create_method(options, vgg)
    method.eval()
    contents = [values(1, 3, 64, 64, seed=seed) for seed in (1, 2)]
    style = values(1, 3, 64, 64)
    discriminator = method.networks["discriminator"]
    assert discriminator.discriminators[0].first.weight.shape[1] == 3
    scores = [discriminator(Photos(content), style)[0][0][-1].numpy() for content in contents]
    np.testing.assert_array_equal(*scores)
    losses, fake = method.generator_losses(Photos(contents[0]), style)
    assert set(losses) == {"gan", "vgg"}
    np.testing.assert_array_equal(seen[0], contents[0].numpy())
    expected = sum(VGG_WEIGHTS) * np.abs(fake.numpy() - contents[0].numpy()).mean()
    assert losses["vgg"].item() == pytest.approx(expected, rel=1e-4)


def test_losses_of_weight_0_are_left_out() -> None:
    options = _options(generator="spade", vae=True)
    method = create_method(replace(options, loss=LossOptions(lambda_feature=0.0)))
    losses, _ = method.generator_losses(layout(1, 64, 64), values(1, 3, 64, 64))
    assert set(losses) == {"kl", "gan"}


@pytest.mark.parametrize(
    ("variant", "needs_style", "noise_shape"),
    [
        ("pix2pix", False, (3, 3584)),
        ("pix2pixhd", False, None),
        ("spade", False, None),
        ("spade_vae", True, (3, 16)),
        ("tsit", True, None),
        ("tsit_noise", False, (3, 3, 2, 2)),
        ("tsit_vae", True, (3, 16)),
    ],
)
def test_the_inputs_of_a_generator(
    variant: str, needs_style: bool, noise_shape: tuple[int, ...] | None
) -> None:
    method = create_method(_options(**VARIANTS[variant]))
    assert method.needs_style is needs_style
    assert method.noise_shape(3) == noise_shape
    style = values(3, 3, 64, 64) if needs_style else None
    noise = None if noise_shape is None or needs_style else values(*noise_shape)
    assert shape(method.generate(layout(3, 64, 64), style, noise)) == (3, 3, 64, 64)


def test_shapes_with_photos_as_content() -> None:
    options = replace(
        _options(**VARIANTS["tsit_translation"], fadain_alpha=0.5),
        data=_data(96, 160, translation=True),
    )
    method = create_method(options)
    content, photos = Photos(values(3, 3, 96, 160)), values(3, 3, 96, 160)
    assert method.layout_channels == 3 and method.needs_style
    assert method.noise_shape(3) == (3, 3, 3, 5)
    noise = values(3, 3, 3, 5)
    assert shape(method.generate(content, photos, noise)) == (3, 3, 96, 160)
    styles = method.encode_style(photos)
    widths = [8, 16, 32, 64, 64]  # levels 1 to 5, mean and deviation each
    assert [shape(array) for array in styles] == [(3, w, 1, 1) for w in widths for _ in range(2)]
    assert shape(method.generate_in_style(content, styles, noise)) == (3, 3, 96, 160)
    losses, fake = method.generator_losses(content, photos)
    losses |= method.discriminator_losses(content, photos)
    assert set(losses) == {"gan", "feature", "fake", "real"}
    assert shape(fake) == (3, 3, 96, 160)
    assert {shape(loss) for loss in losses.values()} == {(1,)}


def test_shapes_with_a_style_vector() -> None:
    method = create_method(_options(**VARIANTS["spade_vae"]))
    content, photos = layout(3, 64, 64), values(3, 3, 64, 64)
    (style,) = method.encode_style(photos)
    assert shape(style) == (3, 16)
    assert shape(method.generate_in_style(content, [style], None)) == (3, 3, 64, 64)
    losses, fake = method.generator_losses(content, photos)
    assert {shape(loss) for loss in losses.values()} == {(1,)} and shape(fake) == (3, 3, 64, 64)


def test_an_unknown_class_and_edges_add_layout_channels() -> None:
    options = _options(generator="spade")
    data = replace(options.data, unknown_label=255, instances=True)
    method = create_method(replace(options, data=data))
    assert (method.classes, method.layout_channels) == (6, 7)


def test_the_style_of_a_photo_is_the_mean_of_the_encoder() -> None:
    method = create_method(_options(generator="spade", vae=True))
    method.eval()
    condition, style = layout(2, 64, 64), values(2, 3, 64, 64)
    mean, _ = method.networks["encoder"](style)
    from_photo = method.generate(condition, style).numpy()
    np.testing.assert_array_equal(from_photo, method.generate(condition, None, mean).numpy())
    # Given noise takes precedence over the photo.
    from_noise = method.generate(condition, style, values(2, 16)).numpy()
    assert np.abs(from_noise - from_photo).max() > 0
