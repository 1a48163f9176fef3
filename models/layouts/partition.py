"""Partitions of the pixels of a layout: one group per different neighborhood.

A layout has few different neighborhoods: at 512 x 384 about 1% of the number of pixels for a
landscape, 3% for a street or a room. A function of the neighborhood is computed once per group.
"""

from __future__ import annotations

from functools import cached_property

import jittor as jt
import numpy as np
from numpy.typing import NDArray

# A hash table with open addressing. A slot holds the number of a group, and a match is verified
# cell by cell: equal numbers mean equal neighborhoods even if hashes collide. Most pixels have the
# neighborhood of the pixel to their left. `still` marks, for a row of windows, the columns that
# equal the column one stride to the left; if all columns of a window do, the search is skipped.
_SEARCH = """
const int batch = in0_shape0, height = in0_shape1, width = in0_shape2;
const int out_height = out0_shape1, out_width = out0_shape2, cells = out1_shape1;
const int kernel = data["kernel"], stride = data["stride"], padding = data["padding"];
const bool by_image = data["by_image"];
const int64 pixels = (int64)out_height * out_width;
const int64 wide = width + 2 * padding;
std::vector<int> framed((height + 2 * padding) * wide, -1), window(cells);
std::vector<char> still(wide);
std::vector<uint64_t> hashes;
std::vector<int> table(1 << 12, -1);
int found = 0, begin = 0;
for (int n = 0; n < batch; n++) {
    if (by_image) {
        std::fill(table.begin(), table.end(), -1);
        begin = found;
    }
    const int* ids = in0_p + (int64)n * height * width;
    for (int64 y = 0; y < height; y++)
        std::memcpy(&framed[(y + padding) * wide + padding], ids + y * width,
                    width * sizeof(int));
    for (int y = 0; y < out_height; y++) {
        const int* top = &framed[(int64)y * stride * wide];
        // whether a column of the window equals the column one stride to the left
        std::fill(still.begin(), still.end(), 1);
        for (int i = 0; i < kernel; i++)
            for (int64 x = stride; x < wide; x++)
                still[x] &= top[i * wide + x] == top[i * wide + x - stride];
        int previous = -1;
        for (int x = 0; x < out_width; x++) {
            const int64 pixel = n * pixels + (int64)y * out_width + x;
            const int* corner = top + (int64)x * stride;
            bool same = x > 0;
            for (int j = 0; j < kernel; j++)
                same &= still[(int64)x * stride + j];
            if (!same) {
                uint64_t hash = 0;
                for (int i = 0; i < kernel; i++)
                    for (int j = 0; j < kernel; j++) {
                        const int value = window[i * kernel + j] = corner[i * wide + j];
                        hash = (hash ^ (uint32_t)value) * 0x9E3779B97F4A7C15ull;
                        hash ^= hash >> 29;
                    }
                uint64_t slot = hash & (table.size() - 1);
                while (table[slot] >= 0 &&
                       (hashes[table[slot]] != hash ||
                        std::memcmp(out1_p + (int64)table[slot] * cells, window.data(), cells * 4)))
                    slot = (slot + 1) & (table.size() - 1);
                previous = table[slot];
                if (previous < 0) {
                    std::memcpy(out1_p + (int64)found * cells, window.data(), cells * 4);
                    out2_p[found] = pixel;
                    hashes.push_back(hash);
                    previous = table[slot] = found++;
                    if (2 * (uint64_t)(found - begin) > table.size()) {
                        table.assign(2 * table.size(), -1);
                        for (int g = begin; g < found; g++) {
                            slot = hashes[g] & (table.size() - 1);
                            while (table[slot] >= 0)
                                slot = (slot + 1) & (table.size() - 1);
                            table[slot] = g;
                        }
                    }
                }
            }
            out0_p[pixel] = previous;
        }
    }
}
out1->set_shape({found, cells});
out2->set_shape({found});
"""
_HEADER = """
#include <cstring>
#include <vector>
"""


class LayoutPartition:
    """A partition of the pixels (N, h, w) into U groups with equal neighborhoods.

    Args:
        index: int32 (N, h, w), the group of each pixel, 0..U-1.
        neighbors: int32 (U, k * k), the neighborhood of each group, row by row: groups of the
            previous partition, or values of the layout; -1 outside the image.
        first: int32 (U,), the first pixel of each group, as a position in the flattened index.
    """

    def __init__(self, index: NDArray, neighbors: NDArray, first: NDArray):
        self.index = index
        self.neighbors = neighbors
        self.first = first
        self._next: dict[tuple[int, int, int], LayoutPartition] = {}

    @property
    def groups(self) -> int:
        """U, the number of groups."""
        return len(self.first)

    @property
    def share(self) -> float:
        """Groups per pixel, 0..1."""
        return self.groups / self.index.size

    def neighborhoods(self, kernel_size: int, stride: int = 1, padding: int = 0) -> LayoutPartition:
        """The partition of a convolution's output pixels; cached.

        Two output pixels share a group if the kernel covers the same groups around them.
        """
        key = (kernel_size, stride, padding)
        if key not in self._next:
            self._next[key] = find_neighborhoods(self.index, *key)
        return self._next[key]

    @cached_property
    def downsampled(self) -> LayoutPartition:
        """The partition of every second pixel of every second row, (N, h // 2, w // 2)."""
        _, h, w = self.index.shape
        return find_neighborhoods(self.index[:, : h // 2 * 2, : w // 2 * 2], 1, stride=2)

    @cached_property
    def index_var(self) -> jt.Var:
        """`index` as a Jittor variable, int32 (N, h, w)."""
        return jt.array(self.index).stop_grad()

    @cached_property
    def neighbors_var(self) -> jt.Var:
        """`neighbors` as a Jittor variable, int32 (U, k * k)."""
        return jt.array(self.neighbors).stop_grad()

    @cached_property
    def image_index(self) -> NDArray[np.int32]:
        """int32 (U,), the image of each group; valid if no group spans two images."""
        return (self.first // self.index[0].size).astype(np.int32)

    @cached_property
    def weights(self) -> jt.Var:
        """float32 (U, N): the fraction of the pixels of image n that group u holds."""
        batch, pixels = len(self.index), self.index[0].size
        counts = np.bincount(self.index.ravel(), minlength=self.groups)
        weights = np.zeros((self.groups, batch), np.float32)
        weights[np.arange(self.groups), self.image_index] = counts / pixels
        return jt.array(weights).stop_grad()

    @cached_property
    def image_index_var(self) -> jt.Var:
        """`image_index` as a Jittor variable, int32 (U,)."""
        return jt.array(self.image_index).stop_grad()


def find_neighborhoods(
    values: NDArray, kernel_size: int, stride: int = 1, padding: int = 0, by_image: bool = False
) -> LayoutPartition:
    """Groups the output pixels of a convolution by the values that its kernel covers.

    Exact: neighborhoods are compared value by value.

    Args:
        values: int32 (N, H, W), -1 or more; -1 equals the padding outside the image.
        kernel_size, stride, padding: of the convolution.
        by_image: no group spans two images, so that statistics of an image are sums over groups.
    """
    batch, height, width = values.shape
    out_height = (height + 2 * padding - kernel_size) // stride + 1
    out_width = (width + 2 * padding - kernel_size) // stride + 1
    pixels = batch * out_height * out_width
    sizes = {"kernel": kernel_size, "stride": stride, "padding": padding}
    with jt.flag_scope(use_cuda=0):
        index, neighbors, first = jt.code(
            [(batch, out_height, out_width), (-pixels, kernel_size**2), (-pixels,)],
            ["int32", "int32", "int32"],
            [jt.array(np.ascontiguousarray(values, np.int32))],
            cpu_header=_HEADER,
            cpu_src=_SEARCH,
            data={**sizes, "by_image": int(by_image)},
        )
        # Copies: Jittor's arrays keep memory for as many groups as pixels.
        return LayoutPartition(index.numpy(), neighbors.numpy().copy(), first.numpy().copy())
