"""The pictures: they are PNGs of a sensible size with nothing cut off."""

import io
import sys

import matplotlib
import numpy as np
import PIL.Image
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from kerasllm.evaluation import (
    plot_confusion_matrix,
    plot_intervals,
    plot_learning_curves,
    plots,
)

ENGLISH = ["negative", "neutral", "positive"]
CHINESE = ["差评", "中评", "好评"]
TOPICS = [
    *("财经新闻与宏观经济", "房地产市场", "股票", "教育与考试", "科技"),
    *("社会民生热点事件", "时政", "体育赛事报道", "电子游戏", "影视娱乐消息"),
]


def make_counts(num_classes):
    random = np.random.default_rng(0)
    return random.integers(0, 9, (num_classes, num_classes)) + np.diag([60] * num_classes)


def pixels(path):
    """The picture in shades of grey, after checking that it is whole and a PNG."""
    with PIL.Image.open(path) as image:
        assert image.format == "PNG"
        return np.array(image.convert("L"))


def assert_nothing_touches_the_edge(picture):
    edges = [picture[:3], picture[-3:], picture[:, :3], picture[:, -3:]]
    assert all((edge == 255).all() for edge in edges)
    assert (picture < 100).any()


@pytest.fixture
def drawn(monkeypatch):
    """The texts of every figure that is saved: a list that fills as pictures are drawn."""
    texts = []
    savefig = Figure.savefig

    def record(figure, *arguments, **options):
        savefig(figure, *arguments, **options)
        found = figure.findobj(matplotlib.text.Text)
        texts.extend(text.get_text() for text in found if text.get_visible())

    monkeypatch.setattr(Figure, "savefig", record)
    return texts


@pytest.fixture
def no_chinese_font(monkeypatch):
    monkeypatch.setattr(plots, "CHINESE_FONTS", ())


@pytest.fixture
def chinese_font():
    known = {font.name for font in font_manager.fontManager.ttflist}
    if not known.intersection(plots.CHINESE_FONTS):
        pytest.skip("no Chinese font is installed here")


@pytest.mark.parametrize(
    ("names", "width", "height"),
    [
        (["pos", "neg"], (350, 550), (300, 450)),
        (ENGLISH, (400, 600), (350, 500)),
        ([str(i) for i in range(10)], (700, 1000), (650, 900)),
        ([f"a rather long class name {i}" for i in range(10)], (800, 1200), (750, 1100)),
        ([f"topic {i}" for i in range(25)], (1700, 2000), (1700, 2000)),
    ],
)
def test_confusion_matrix_is_whole_and_of_sensible_size(tmp_path, names, width, height):
    """The axis label "true" was once cut off, and of long names only the ends were seen."""
    path = tmp_path / "new" / "matrix.png"
    plot_confusion_matrix(path, make_counts(len(names)), names, title="test")
    picture = pixels(path)
    assert width[0] < picture.shape[1] < width[1]
    assert height[0] < picture.shape[0] < height[1]
    assert_nothing_touches_the_edge(picture)


def test_picture_may_go_into_an_open_file(tmp_path):
    file = io.BytesIO()
    plot_confusion_matrix(file, make_counts(3), ENGLISH)
    plot_confusion_matrix(tmp_path / "m.png", make_counts(3), ENGLISH)
    np.testing.assert_array_equal(pixels(file), pixels(tmp_path / "m.png"))


def test_confusion_matrix_shows_counts_names_and_title(tmp_path, drawn):
    counts = [[123, 4, 0], [0, 0, 0], [5, 6, 789]]
    plot_confusion_matrix(tmp_path / "m.png", counts, ENGLISH, title="valid")
    for text in (*ENGLISH, "123", "4", "789", "valid", "true", "predicted"):
        assert text in drawn
    assert drawn.count("0") == 4


def test_colours_are_shares_of_the_true_class(tmp_path):
    """A cell's colour does not depend on how many rows its class has."""
    counts = np.array([[10, 0], [0, 100_000]])
    plot_confusion_matrix(tmp_path / "m.png", counts, ["a", "b"])
    shades, occurrences = np.unique(pixels(tmp_path / "m.png"), return_counts=True)
    dark = shades[occurrences > 10_000]
    assert len(dark[dark < 100]) == 1


def test_long_names_are_cut_to_their_beginning(tmp_path, drawn):
    names = ["a very long class name that goes on", "short"]
    plot_confusion_matrix(tmp_path / "m.png", make_counts(2), names)
    assert "a very long class name…" in drawn
    assert "short" in drawn


def test_dollar_signs_are_no_formulas(tmp_path, drawn):
    plot_confusion_matrix(tmp_path / "m.png", make_counts(2), ["$10_$", "$20$"], title="$a_$")
    assert "$10_$" in drawn


def test_chinese_names_become_numbers_without_a_font(tmp_path, drawn, no_chinese_font):
    names = ["差评", "neutral", "好评"]
    plot_confusion_matrix(tmp_path / "m.png", make_counts(3), names, title="测试集")
    for text in ("class 0", "neutral", "class 2"):
        assert drawn.count(text) == 2  # on both axes
    assert not any(ord(character) > 0x2E80 for text in drawn for character in text)
    assert_nothing_touches_the_edge(pixels(tmp_path / "m.png"))


def test_names_that_the_own_font_has_need_no_chinese_one(tmp_path, drawn, no_chinese_font):
    plot_confusion_matrix(tmp_path / "m.png", make_counts(2), ["naïve", "Москва"])
    assert "naïve" in drawn and "Москва" in drawn


@pytest.mark.parametrize("names", [CHINESE, TOPICS], ids=["3", "10"])
def test_chinese_names_are_drawn_with_a_font(tmp_path, drawn, chinese_font, names):
    plot_confusion_matrix(tmp_path / "m.png", make_counts(len(names)), names, title="测试集")
    assert set(names) | {"测试集"} <= set(drawn)
    assert_nothing_touches_the_edge(pixels(tmp_path / "m.png"))


def test_matplotlib_settings_of_the_user_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    names = [name for name in matplotlib.rcParams if name.startswith(("font", "axes", "figure"))]
    before = {name: matplotlib.rcParams[name] for name in names}
    plot_confusion_matrix(tmp_path / "m.png", make_counts(3), CHINESE)
    assert {name: matplotlib.rcParams[name] for name in names} == before
    assert "matplotlib.pyplot" not in sys.modules  # which would look for a screen


def make_history(epochs, *names):
    curve = list(np.linspace(0.3, 0.9, epochs))
    return {name: curve for name in names}


@pytest.mark.parametrize("epochs", [1, 2, 20])
def test_learning_curves_pair_training_and_validation(tmp_path, drawn, epochs):
    names = ["accuracy", "loss", "macro_f1"]
    history = make_history(epochs, *names, *(f"val_{name}" for name in names), "learning_rate")
    plot_learning_curves(tmp_path / "c.png", history, title="runs/reviews")
    picture = pixels(tmp_path / "c.png")
    assert 1400 < picture.shape[1] < 1700 and 350 < picture.shape[0] < 500
    assert_nothing_touches_the_edge(picture)
    for title in ("accuracy", "loss", "macro f1", "runs/reviews"):
        assert title in drawn
    assert drawn.count("training") == drawn.count("validation") == 3
    assert "learning rate" not in drawn


def test_epochs_are_whole_numbers_even_if_there_is_only_one(tmp_path, drawn):
    plot_learning_curves(tmp_path / "c.png", make_history(1, "loss"))
    assert "1" in drawn
    assert "0.96" not in drawn


def test_history_without_validation_is_drawn_too(tmp_path, drawn):
    plot_learning_curves(tmp_path / "c.png", {"loss": [3.0, float("nan"), 1.0]})
    assert drawn.count("training") == 1
    assert "validation" not in drawn
    assert_nothing_touches_the_edge(pixels(tmp_path / "c.png"))


def test_picture_that_fails_leaves_the_earlier_one(tmp_path, monkeypatch):
    path = tmp_path / "m.png"
    plot_confusion_matrix(path, make_counts(2), ["a", "b"])
    before = path.read_bytes()

    def fail(self, file, **_):
        file.write(before[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(KeyboardInterrupt):
        plot_confusion_matrix(path, make_counts(2), ["c", "d"])
    assert path.read_bytes() == before
    assert PIL.Image.open(io.BytesIO(before)).format == "PNG"


def test_missing_matplotlib_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"need matplotlib: pip install .kerasllm\[recipes\]"):
        plot_learning_curves(tmp_path / "c.png", make_history(2, "loss"))


def test_intervals_have_a_bar_for_each_name_and_a_band_through_all(tmp_path, drawn):
    path = tmp_path / "intervals.png"
    values = [(0.80, 0.02), (0.85, 0.01), (0.82, float("nan"))]
    plot_intervals(path, ["none", "fgm 0.5", "mixup 1"], {"accuracy": values, "macro F1": values})
    plain = pixels(path)
    assert_nothing_touches_the_edge(plain)
    assert {"none", "fgm 0.5", "mixup 1", "accuracy", "macro F1"} <= set(drawn)
    plot_intervals(path, ["none", "fgm 0.5", "mixup 1"], {"accuracy": values}, reference=0)
    with_band = pixels(path)
    plot_intervals(path, ["none", "fgm 0.5", "mixup 1"], {"accuracy": values})
    assert not np.array_equal(with_band, pixels(path))
    plot_intervals(path, [], {"accuracy": []})
