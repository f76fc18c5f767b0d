"""What the recipes' tests are made of: where the recipes are, and small tables."""

import csv
import importlib.util
import random

from processes import PROJECT

CLASSIFICATION = PROJECT / "recipes" / "chinese_text_classification.py"
PREDICT = PROJECT / "recipes" / "predict.py"

OPENINGS = [
    "这家店",
    "昨天那顿",
    "朋友推荐的这本书",
    "新买的手机",
    "住了两晚的酒店",
    "周末看的片子",
]
OPINIONS = {
    "好评": ["真的很满意", "超出预期，下次还来", "非常喜欢，值得推荐", "好得没话说"],
    "中评": ["还行吧，一般般", "不好不坏，凑合", "中规中矩，没什么印象", "有得有失，算是平平"],
    "差评": ["太让人失望了", "再也不来了，差劲", "很糟糕，后悔", "简直浪费时间"],
}


def make_rows(count, seed, labels=tuple(OPINIONS)):
    """`count` different reviews with labels, some of them wrong, some hard to write to a CSV."""
    generator = random.Random(seed)
    rows = []
    for number in range(count):
        truth = labels[number % len(labels)]
        opinion = generator.choice(OPINIONS[truth])
        text = f"{generator.choice(OPENINGS)}{opinion}，第{seed}批{number}号"
        if number % 10 == 7:
            text = f'=“{text}",\n"第二行",'
        if number % 12 == 5:
            truth = generator.choice(labels)
        rows.append((text, truth))
    return rows


def write_table(path, rows, header=("text", "label"), encoding="utf-8"):
    with open(path, "w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([header, *rows] if header else rows)
    return path


def read_table(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def load_recipe(path):
    """A recipe as a module, for what does not need a process of its own."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
