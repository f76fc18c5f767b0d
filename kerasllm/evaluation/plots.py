"""Pictures of a training run, as PNG files. They need matplotlib, in the extra `recipes`."""

import numpy as np

from kerasllm.files import atomic_write

# Fonts with Chinese characters, in the names that Linux, Windows and macOS give them.
CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Arial Unicode MS",
)
LONGEST_NAME = 24


def plot_confusion_matrix(path, counts, class_names, title=""):
    """Draws how often each true class was predicted as each class.

    The colour is the share of the true class, the number the count. A name that no font here can
    draw, such as a Chinese one without a Chinese font, is replaced by the class's number.

    Args:
        path: The PNG file, or a binary file that is open.
        counts: ints `(num_classes, num_classes)`, `[true, predicted]`; or shares.
        class_names: The name of each class; of a long one the beginning is drawn.
        title: Written above.
    """
    counts = np.asarray(counts)
    size = max(2.2, 0.55 * len(class_names))
    figure = _figure(size, size)
    fonts = _fonts()
    names = [_drawable(name, f"class {i}", fonts) for i, name in enumerate(class_names)]
    axes = figure.add_axes((0, 0, 1, 1))  # names may take what they need: saving fits the picture
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    colour_bar = axes.inset_axes((1 + 0.15 / size, 0, 0.15 / size, 1))
    figure.colorbar(image, cax=colour_bar, label="share of the true class")
    for true, row in enumerate(counts):
        for predicted, count in enumerate(row):
            colour = "white" if shares[true, predicted] > 0.5 else "black"
            axes.text(predicted, true, str(count), ha="center", va="center", color=colour, size=8)
    plain = {"family": fonts, "parse_math": False}  # a name may hold dollar signs
    slant = {} if max(map(len, names)) <= 3 else {"rotation": 45, "ha": "right"}
    axes.set_xticks(range(len(names)), names, **plain, **slant)
    axes.set_yticks(range(len(names)), names, **plain)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(_drawable(title, "", fonts), **plain)
    _save(figure, path)


def plot_learning_curves(path, history, title=""):
    """Draws each logged value over the epochs, training and validation together.

    Args:
        path: The PNG file.
        history: dict of name -> one value an epoch; `val_` marks those of validation. What is no
            number, such as a confusion matrix, is left out.
        title: Written above.
    """
    history = {name: values for name, values in history.items() if np.ndim(values) < 2}
    names = [name for name in history if not name.startswith("val_")]
    names = [name for name in names if f"val_{name}" in history] or names
    figure = _figure(4.2 * len(names), 3.4, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in history:
                axes.plot(range(1, len(history[key]) + 1), history[key], marker="o", label=label)
        axes.set(xlabel="epoch", title=name.replace("_", " "))
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    fonts = _fonts()
    figure.suptitle(_drawable(title, "", fonts), family=fonts, parse_math=False)
    _save(figure, path)


def plot_intervals(path, names, panels, reference=None):
    """Draws means as bars with their confidence intervals, a panel for each figure.

    Args:
        path: The PNG file.
        names: The name of each bar, from above.
        panels: dict of title -> a `(mean, half_width)` for each name; a half width may be NaN.
        reference: The place of a name whose interval is drawn as a band through all; or None.
    """
    figure = _figure(4.5 * len(panels), 1.2 + 0.26 * len(names), layout="constrained")
    places = np.arange(len(names))[::-1]
    columns = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, values) in zip(columns, panels.items(), strict=True):
        means, halves = np.nan_to_num(np.array(values, float).reshape(-1, 2)).T
        axes.barh(places, means, xerr=halves, color="#9ecae1", capsize=2)
        if len(names):
            low, high = (means - halves).min(), (means + halves).max()
            margin = 0.1 * (high - low) or 0.05
            axes.set_xlim(low - margin, high + margin)
        if reference is not None:
            mean, half = means[reference], halves[reference]
            axes.axvspan(mean - half, mean + half, color="#fdae6b", alpha=0.4)
        axes.set_yticks(places, names, size=8)
        axes.set(xlabel=title)
        axes.grid(alpha=0.3, axis="x")
    _save(figure, path)


def require_matplotlib():
    """Raises an `ImportError` that says what to install, before hours of training and not after."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError('Plots need matplotlib: pip install "kerasllm[recipes]".') from error


def _figure(width, height, **options):
    """A figure without pyplot: no window system, no global state."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, **options)


def _fonts():
    """The fonts to draw names with: matplotlib's own, and the Chinese ones that are here."""
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(font for font in CHINESE_FONTS if font in known)]


def _drawable(text, replacement, fonts):
    """The text, shortened if it is long, or the replacement where no font has its characters."""
    from matplotlib import font_manager

    text = text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1].rstrip() + "…"
    missing = set(map(ord, text))
    for font in fonts:
        missing -= set(font_manager.get_font(font_manager.findfont(font)).get_charmap())
    return replacement if missing else text


def _save(figure, path):
    if hasattr(path, "write"):
        figure.savefig(path, format="png", bbox_inches="tight")
        return
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", bbox_inches="tight")
