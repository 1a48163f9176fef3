"""The options of a training run: all groups in `RunOptions`, with their rules and their JSON.

options = RunOptions(generator=GeneratorOptions(generator="spade")).validate()
RunOptions.from_json(options.to_json()) == options
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from options.errors import UserError
from options.fields import (
    Need,
    Option,
    describe_table,
    faults_error,
    option_fields,
    read_groups,
    read_json,
)
from options.groups import (
    GAN,
    SEGMENTATION,
    DataOptions,
    DiscriminatorOptions,
    GeneratorOptions,
    LossOptions,
    OptimizerOptions,
    SegmenterOptions,
    TrainingOptions,
)
from options.rules import (
    check_best_measure,
    check_depth,
    check_name,
    check_scales,
    check_segmenter,
    check_style,
    check_task,
    no_effect,
)


@dataclass(frozen=True)
class RunOptions:
    """All options of a training run, in groups; a field name is unique across the groups."""

    data: DataOptions = field(default_factory=DataOptions)
    generator: GeneratorOptions = field(default_factory=GeneratorOptions)
    discriminator: DiscriminatorOptions = field(default_factory=DiscriminatorOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    segmenter: SegmenterOptions = field(default_factory=SegmenterOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def validate(self) -> RunOptions:
        """Return these options, or raise UserError for the first rule that they break."""
        for name, option in RUN_FIELDS.items():
            option.check(self.get(name))
        check_task(self.data, self.generator)
        for name, need in self.unused().items():
            option, value = RUN_FIELDS[name], self.get(name)
            if value != option.default:
                raise no_effect(option, value, need)
        if self.data.task == "segmentation":
            check_scales(self.data)
        else:
            check_depth(self.data, self.generator, self.discriminator)
            check_style(self.generator)
            check_segmenter(self.loss, self.discriminator)
            check_best_measure(self.loss, self.training)
        check_name(self.training.name)
        return self

    def unused(self) -> dict[str, str]:
        """The fields without effect next to the others, each with the flags that it needs."""
        unmet = {}
        for name, option in RUN_FIELDS.items():
            for need in (GROUP_NEEDS.get(option.group), option.needs):
                if need is not None and not need.holds(self):
                    unmet[name] = need.flags
                    break
        return unmet

    def get(self, name: str) -> Any:
        """The value of the field `name`, whichever group it is in."""
        return getattr(getattr(self, RUN_FIELDS[name].group), name)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dictionaries: group -> field -> None, bool, int, float or str."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """The options as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, tree: Any, source: str = "options") -> RunOptions:
        """Read `to_dict()` back; UserError lists every unknown, missing and ill-typed name."""
        groups, faults = read_groups(tree, RUN_GROUPS)
        if faults:
            raise faults_error(source, faults)
        try:
            return cls(**groups).validate()
        except UserError as error:
            raise UserError(f"{source}: {error}") from None

    @classmethod
    def from_json(cls, text: str, source: str = "options") -> RunOptions:
        """Read `to_json()` back; `source` names the file in error messages."""
        return cls.from_dict(read_json(text, source), source)

    def describe(self) -> str:
        """An aligned table of the task's options, with the default of each value that differs."""
        groups = [g for g in RUN_GROUPS if g not in GROUP_NEEDS or GROUP_NEEDS[g].holds(self)]
        return describe_table(
            [(o, self.get(name)) for name, o in RUN_FIELDS.items() if o.group in groups]
        )


RUN_GROUPS: dict[str, type] = {
    "data": DataOptions,
    "generator": GeneratorOptions,
    "discriminator": DiscriminatorOptions,
    "loss": LossOptions,
    "segmenter": SegmenterOptions,
    "optimizer": OptimizerOptions,
    "training": TrainingOptions,
}
# Groups without effect in some tasks.
GROUP_NEEDS: dict[str, Need] = {
    "generator": GAN,
    "discriminator": GAN,
    "loss": GAN,
    "segmenter": SEGMENTATION,
}
RUN_FIELDS: dict[str, Option] = {
    option.name: option for cls in RUN_GROUPS.values() for option in option_fields(cls)
}
