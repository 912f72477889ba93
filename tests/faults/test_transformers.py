"""Methods on transformers: a run of two epochs that was killed continues bit for bit."""

import signal

import pytest

OPTIONS = {
    "dino": "-o ssl.prototypes=64 -o ssl.hidden=32 -o ssl.bottleneck=16 -o ssl.crops=2",
    "mae": "-o ssl.decoder_width=32 -o ssl.decoder_depth=1",
    "simmim": "-o backbone.pool=mean",
}


@pytest.mark.parametrize(
    "backbone", ["test_vit", pytest.param("vit_tiny_patch16_224", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("method", OPTIONS)
def test_a_killed_run_resumes_bit_for_bit(trials, method, backbone):
    results = []
    for point in (None, "before the rename"):
        trial = trials.new(f"{method} {backbone} {point}")
        words = (
            f"train demo:32 --ssl {method} --backbone {backbone} --image-size 64 --batch-size 8 --epochs 2"
        )
        words += f" --save-every 2 --probe demo:16 --cpu {OPTIONS[method]}"
        words = [*words.split(), "--out", str(trial.folder)]
        if point:
            process = trial.start(words=words, traps=[(point, 3, signal.SIGKILL)])
            assert trial.wait(process, seconds=300.0) == -signal.SIGKILL, trial.output
            assert trial.saved() == [0, 2]
            words = ["train", "--resume", "--out", str(trial.folder)]
        assert trial.wait(trial.start(words=words), seconds=300.0) == 0, trial.output
        results.append(trial.result())
    assert trials.same(*results)
