"""Everything before `import jittor`: packages, compiler, oneDNN, CUDA, signals, processes.

It imports only options, and knows neither networks nor datasets.
"""

from __future__ import annotations

from pathlib import Path

# The folder of this project, which its programs run in.
ROOT = Path(__file__).resolve().parents[1]
