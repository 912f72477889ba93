"""The report as Markdown: each image has a file of its own."""

from ssl_seg.reporting.build import build
from ssl_seg.reporting.figures import SamComparison, SamImage
from ssl_seg.reporting.images import EncodedImage
from ssl_seg.reporting.markdown import write_markdown
from ssl_seg.reporting.mask_examples import MaskExample, PredictionRow
from ssl_seg.reporting.summaries import Cell


def test_images_of_several_examples_do_not_overwrite_each_other(study, tmp_path):
    report = build([study])
    run = report.collected.runs[0]
    images = [EncodedImage(f"image {number}".encode(), "png", 1, 1) for number in range(8)]
    tiles = iter(images)
    report.figures.mask_examples = [
        MaskExample(
            f"{example}.png",
            None,
            None,
            [PredictionRow(run, f"run {row}", [(1, next(tiles))]) for row in range(2)],
        )
        for example in range(2)
    ]
    cell = Cell("n/a")
    report.figures.sams = [
        SamComparison(run, f"sam {model}", [SamImage(f"{n}", cell, cell, {}, next(tiles)) for n in range(2)])
        for model in range(2)
    ]
    write_markdown(report, tmp_path / "report.md")
    files = tmp_path / "report_files"
    written = [path.read_bytes() for path in [*files.glob("mask-*"), *files.glob("sam-*")]]
    assert sorted(written) == [image.data for image in images]
