"""Pixels of a layout grouped by what a convolution sees around them.

A layout has few different neighbourhoods: at 512 x 384 some 1% of the pixels of a landscape, 3% of
a street or a room. What depends on a neighbourhood alone is computed once for each and looked up.
"""

from __future__ import annotations

from functools import cached_property

import jittor as jt
import numpy as np
from numpy.typing import NDArray

# Open addressing; a slot holds the number of a neighbourhood, and a match is compared cell by cell,
# so that equal numbers mean equal neighbourhoods whatever the hash does. Most pixels see what the
# one before them sees, which whole rows at a time tell: columns of the window that do not change.
_SEARCH = """
const int batch = in0_shape0, height = in0_shape1, width = in0_shape2;
const int out_height = out0_shape1, out_width = out0_shape2, cells = out1_shape1;
const int kernel = data["kernel"], stride = data["stride"], padding = data["padding"];
const bool by_picture = data["by_picture"];
const int64 pixels = (int64)out_height * out_width;
const int64 wide = width + 2 * padding;
std::vector<int> framed((height + 2 * padding) * wide, -1), window(cells);
std::vector<char> still(wide);
std::vector<uint64_t> hashes;
std::vector<int> table(1 << 12, -1);
int found = 0, begin = 0;
for (int n = 0; n < batch; n++) {
    if (by_picture) {
        std::fill(table.begin(), table.end(), -1);
        begin = found;
    }
    const int* picture = in0_p + (int64)n * height * width;
    for (int64 y = 0; y < height; y++)
        std::memcpy(&framed[(y + padding) * wide + padding], picture + y * width,
                    width * sizeof(int));
    for (int y = 0; y < out_height; y++) {
        const int* top = &framed[(int64)y * stride * wide];
        // whether all that the window sees in a column is what it sees a stride before
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


class Partition:
    """Pixels (N, h, w) in groups: those of a group see the same neighbourhood.

    Args:
        index: int32 (N, h, w), the group of each pixel, 0..U-1.
        neighbours: int32 (U, k * k), what each group sees, row by row: groups of the partition
            that this one was made from, or values of the layout; -1 outside of the picture.
        first: int32 (U,), a pixel of each group, as its place in the flattened index.
    """

    def __init__(self, index: NDArray, neighbours: NDArray, first: NDArray):
        self.index = index
        self.neighbours = neighbours
        self.first = first
        self._next: dict[tuple[int, int, int], Partition] = {}

    @property
    def groups(self) -> int:
        """U."""
        return len(self.first)

    @property
    def share(self) -> float:
        """Groups a pixel, 0..1."""
        return self.groups / self.index.size

    def neighbourhoods(self, kernel_size: int, stride: int = 1, padding: int = 0) -> Partition:
        """The output pixels of such a convolution, grouped by the groups that its kernel covers."""
        key = (kernel_size, stride, padding)
        if key not in self._next:
            self._next[key] = find_neighbourhoods(self.index, *key)
        return self._next[key]

    @cached_property
    def halved(self) -> Partition:
        """Every second pixel of every second row, an odd last one left out."""
        _, h, w = self.index.shape
        return find_neighbourhoods(self.index[:, : h // 2 * 2, : w // 2 * 2], 1, stride=2)

    @cached_property
    def index_var(self) -> jt.Var:
        """`index` for Jittor."""
        return jt.array(self.index).stop_grad()

    @cached_property
    def neighbours_var(self) -> jt.Var:
        """`neighbours` for Jittor."""
        return jt.array(self.neighbours).stop_grad()

    @cached_property
    def picture(self) -> NDArray[np.int32]:
        """int32 (U,), the picture of each group; meaningful where groups are of one picture."""
        return (self.first // self.index[0].size).astype(np.int32)

    @cached_property
    def weights(self) -> jt.Var:
        """float32 (U, N): the share of picture n's pixels that is in group u."""
        batch, pixels = len(self.index), self.index[0].size
        counts = np.bincount(self.index.ravel(), minlength=self.groups)
        weights = np.zeros((self.groups, batch), np.float32)
        weights[np.arange(self.groups), self.picture] = counts / pixels
        return jt.array(weights).stop_grad()

    @cached_property
    def picture_var(self) -> jt.Var:
        """`picture` for Jittor."""
        return jt.array(self.picture).stop_grad()


def find_neighbourhoods(
    values: NDArray, kernel_size: int, stride: int = 1, padding: int = 0, by_picture: bool = False
) -> Partition:
    """Group the output pixels of a convolution by what its kernel covers.

    Exact: neighbourhoods are compared value by value. `by_picture` keeps the pictures of the batch
    apart, so that statistics of a picture are sums over its groups.

    Args:
        values: int32 (N, H, W), -1 (as outside of the picture) or more.
    """
    batch, height, width = values.shape
    out_height = (height + 2 * padding - kernel_size) // stride + 1
    out_width = (width + 2 * padding - kernel_size) // stride + 1
    pixels = batch * out_height * out_width
    sizes = {"kernel": kernel_size, "stride": stride, "padding": padding}
    with jt.flag_scope(use_cuda=0):
        index, neighbours, first = jt.code(
            [(batch, out_height, out_width), (-pixels, kernel_size**2), (-pixels,)],
            ["int32", "int32", "int32"],
            [jt.array(np.ascontiguousarray(values, np.int32))],
            cpu_header=_HEADER,
            cpu_src=_SEARCH,
            data={**sizes, "by_picture": int(by_picture)},
        )
        # Copies: what Jittor hands out keeps room for as many groups as pixels.
        return Partition(index.numpy(), neighbours.numpy().copy(), first.numpy().copy())
