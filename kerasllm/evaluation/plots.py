"""Pictures of a training run, as PNG files. They need matplotlib, in the extra `recipes`."""

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


def plot_confusion_matrix(path, counts, class_names, title=""):
    """Draws how often each true class was predicted as each class.

    The colour is the share of the true class, the number the count. Without a font that has Chinese
    characters, Chinese class names are replaced by their numbers.

    Args:
        path: The PNG file.
        counts: ints `(num_classes, num_classes)`, `[true, predicted]`.
        class_names: The name of each class.
        title: Written above.
    """
    figure, axes = _figure(width=2.5 + 0.55 * len(class_names), height=2.2 + 0.5 * len(class_names))
    names = _drawable(class_names)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", fraction=0.046, pad=0.04)
    for true, row in enumerate(counts):
        for predicted, count in enumerate(row):
            colour = "white" if shares[true, predicted] > 0.5 else "black"
            axes.text(predicted, true, str(count), ha="center", va="center", color=colour, size=8)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true", title=title)
    _save(figure, path)


def plot_learning_curves(path, history, title=""):
    """Draws each logged value over the epochs, training and validation together.

    Args:
        path: The PNG file.
        history: dict of name -> one value an epoch; `val_` marks those of validation.
        title: Written above.
    """
    names = [name for name in history if not name.startswith("val_")]
    names = [name for name in names if f"val_{name}" in history] or names
    figure, all_axes = _figure(width=4.2 * len(names), height=3.4, columns=len(names))
    for axes, name in zip(all_axes if len(names) > 1 else [all_axes], names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            if key in history:
                axes.plot(range(1, len(history[key]) + 1), history[key], marker="o", label=label)
        axes.set(xlabel="epoch", title=name.replace("_", " "))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    _save(figure, path)


def _figure(width, height, columns=1):
    """A figure without pyplot: no window system, no global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Plots need matplotlib: pip install kerasllm[recipes].") from error
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def _drawable(names):
    """The names, or their numbers where no font here can draw them."""
    import matplotlib
    from matplotlib import font_manager

    if all(name.isascii() for name in names):
        return list(names)
    known = {font.name for font in font_manager.fontManager.ttflist}
    usable = [font for font in CHINESE_FONTS if font in known]
    if not usable:
        return [f"class {number}" for number in range(len(names))]
    matplotlib.rcParams["font.sans-serif"] = [*usable, "DejaVu Sans"]
    return list(names)


def _save(figure, path):
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png")
