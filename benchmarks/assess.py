"""What does an assessment cost, and do its parts find what is published of these data?

    uv run python benchmarks/assess.py                     # all findings, in turn (three hours)
    uv run python benchmarks/assess.py speed layers        # some of them

Stores what each finding says in docs/results/assess.json, which docs/tables.py shows. Times are CPU time of one thread.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path

import assess_backbones
import assess_findings as findings
import assess_texts
import torch
from assess_findings import Finding
from assess_speed import speed
from drift_findings import electricity_in_time

OUT = Path(__file__).resolve().parent.parent / "docs" / "results" / "assess.json"
FINDINGS: dict[str, Callable[[], Finding]] = {
    "speed": speed,
    "layers": findings.layers,
    "label_draws": findings.label_draws,
    "pixels": findings.pixels_or_features,
    "amplification": findings.amplification,
    "emotions": assess_texts.emotions,
    "pairs": assess_texts.sentence_pairs,
    "years": findings.years,
    "electricity": electricity_in_time,
    "whisper": findings.whisper,
    "backbones": assess_backbones.backbones,
    "fine_tuned": assess_backbones.fine_tuned,
}


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("findings", nargs="*", choices=[*FINDINGS, []], help="default: all")
    parser.add_argument("--draw", action="store_true", help="draw the figure of the stored backbones anew, and end")
    chosen = parser.parse_args()
    if chosen.draw:
        assess_backbones.draw(json.loads(OUT.read_text(encoding="utf-8"))["backbones"]["rows"])
        return
    names = chosen.findings or list(FINDINGS)
    torch.set_num_threads(1)
    for name in names:
        began = time.process_time()
        found = FINDINGS[name]()
        stored = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {}
        stored[name] = {
            **asdict(found),
            "cpu_s": round(time.process_time() - began, 1),
            "date": date.today().isoformat(),
            "torch": torch.__version__.partition("+")[0],
            "python": platform.python_version(),
        }
        ordered = {key: stored[key] for key in FINDINGS if key in stored}
        OUT.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"\n{found.question}\n{' | '.join(found.head)}")
        print("\n".join(" | ".join(row) for row in found.rows))
        print(f"{found.answer} ({stored[name]['cpu_s']:.0f} s of CPU time)", flush=True)


if __name__ == "__main__":
    main()
