"""The growth plot: it shows every measurement, and each axis varies one quantity."""

from __future__ import annotations

from xml.etree import ElementTree

from tools.dev.benchmarks.growth import AXES, BATCH, MOST, SIZE, cases, render_plot

SVG = "{http://www.w3.org/2000/svg}"


def test_each_case_varies_one_axis() -> None:
    for axis, value, size, batch, classes in cases():
        varied = {"width": size != SIZE, "batch": batch != BATCH, "classes": classes != MOST}
        assert not any(varied[other] for other in AXES if other != axis)
        assert value == {"width": size[1], "batch": batch, "classes": classes}[axis]


def test_every_measurement_is_a_point() -> None:
    rows = [
        {"model": model, "axis": axis, "value": value, "seconds": 0.1 * value * factor}
        for axis, value, *_ in cases()
        for model, factor in (("spade", 1), ("tsit", 2))
    ]
    root = ElementTree.fromstring(render_plot(rows))
    points = root.findall(f"{SVG}circle")
    assert len(points) == len(rows)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    assert all(0 < float(point.attrib["cx"]) < width for point in points)
    assert all(0 < float(point.attrib["cy"]) < height for point in points)
    # at the same value the slower generator is higher
    spade, tsit = (
        float(next(p for p in points if p.attrib["fill"] == color).attrib["cy"])
        for color in ("#1f6f8b", "#c05621")
    )
    assert tsit < spade
