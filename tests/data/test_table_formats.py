"""Reading JSON, spreadsheets and folders of documents."""

import datetime
import json
import sys

import pytest

from kerasllm.data import read_table

openpyxl = pytest.importorskip("openpyxl")

RECORDS = [
    ("屋顶的瓦片被风吹落了", "坏"),
    ("他说：“花开了, 你来看”", "好"),
    ("第一段\n\n第二段, 有\"引号\"", "好"),
    ("分号;竖线|制表符\t都在这里", "坏"),
]  # fmt: skip


def write(tmp_path, content, name="reviews.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pairs(rows):
    return list(rows[["text", "label"]].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(json.dumps({"text": t, "label": n}, ensure_ascii=False) for t, n in RECORDS),
        "".join(json.dumps({"text": t, "label": n}) for t, n in RECORDS),
        json.dumps([{"label": n, "text": t, "more": [1]} for t, n in RECORDS]),
        json.dumps([{"text": t, "label": n} for t, n in RECORDS], indent=1),
    ],
    ids=["lines", "concatenated", "array", "indented"],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_json_in_all_shapes_reads_the_same(tmp_path, content, name):
    rows, report = read_table(write(tmp_path, content, name))
    assert pairs(rows) == RECORDS
    assert report.format == "JSON"


def test_json_records_over_several_lines_are_named_by_their_first(tmp_path):
    content = json.dumps([{"text": t, "label": n} for t, n in RECORDS], indent=1)
    rows, _ = read_table(write(tmp_path, content, "a.json"))
    lines = content.splitlines()
    assert rows["line"].tolist() == [i for i, line in enumerate(lines, 1) if line == " {"]


def test_json_values_are_written_out_and_bad_records_reported(tmp_path):
    lines = [
        '{"text": "很好", "label": 1}',
        '{"text": "很差", "label": 1.0}',
        '{"text": "没有标签"}',
        '{"text": null, "label": "x"}',
        '{"text": "断了, "label": "x"}',
        '{"text": ["一", "二"], "label": "x"}',
        '["不是对象"]',
        '{"text": 12.50, "label": true}',
    ]
    rows, report = read_table(write(tmp_path, "\n".join(lines), "a.jsonl"))
    assert pairs(rows) == [("很好", "1"), ("很差", "1.0"), ("12.50", "true")]
    assert rows["line"].tolist() == [1, 2, 8]
    assert [line for line, _ in report.dropped] == [3, 4, 5, 6, 7]
    reasons = [reason for _, reason in report.dropped]
    assert reasons[:2] == ["missing label", "empty text"]
    assert reasons[2].startswith("not valid JSON")
    assert reasons[3] == "'text' is a list, not a string"
    assert reasons[4] == "not a JSON object"


def test_json_without_the_keys_names_those_it_has(tmp_path):
    path = write(tmp_path, '{"sentence": "很好", "class": 1}\n', "a.jsonl")
    with pytest.raises(ValueError, match="'label', 'text', but its keys are: 'class', 'sentence'"):
        read_table(path)
    assert pairs(read_table(path, text="sentence", label="class")[0]) == [("很好", "1")]


def save_workbook(path, *sheets):
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for name, values in sheets:
        worksheet = workbook.create_sheet(name)
        for row in values:
            worksheet.append(row)
    workbook.save(path)
    return path


def test_xlsx_keeps_texts_and_writes_out_numbers_and_dates(tmp_path):
    values = [
        ["text", "label"],
        ["007", 1],
        ["NA", 0],
        [0.5, 1],
        [3.0, 0],
        [True, 0],
        [datetime.datetime(2024, 5, 1), 1],
        [None, 1],
        [None, None],
        ["没有标签"],
        ["多了一格", 1, "多余"],
    ]
    path = save_workbook(tmp_path / "a.xlsx", ("Sheet", values))
    rows, report = read_table(path)
    assert pairs(rows) == [
        ("007", "1"),
        ("NA", "0"),
        ("0.5", "1"),
        ("3", "0"),
        ("TRUE", "0"),
        ("2024-05-01", "1"),
    ]
    assert rows["line"].tolist() == [2, 3, 4, 5, 6, 7]
    assert report.dropped == [
        (8, "empty text"),
        (9, "empty line"),
        (10, "missing label"),
        (11, "3 columns instead of 2"),
    ]


def test_xlsx_sheets_are_chosen_by_name_or_position(tmp_path):
    first = [["text", "label"], ["一", "甲"]]
    second = [["text", "label"], ["二", "乙"]]
    path = save_workbook(tmp_path / "a.xlsx", ("训练", first), ("测试", second))
    assert pairs(read_table(path)[0]) == [("一", "甲")]
    assert pairs(read_table(path, sheet="测试")[0]) == [("二", "乙")]
    assert pairs(read_table(path, sheet=1)[0]) == [("二", "乙")]
    assert any("'训练'" in note for note in read_table(path)[1].notes)
    with pytest.raises(ValueError, match="no sheet '验证'; its sheets are: '训练', '测试'"):
        read_table(path, sheet="验证")
    assert pairs(read_table(path, text=0, label=1)[0]) == [("text", "label"), ("一", "甲")]


def test_xlsx_without_openpyxl_says_what_to_install(tmp_path, monkeypatch):
    path = save_workbook(tmp_path / "a.xlsx", ("Sheet", [["text", "label"], ["一", "甲"]]))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ImportError, match="pip install openpyxl"):
        read_table(path)


def test_a_folder_of_documents_is_read_in_the_order_of_paths(tmp_path):
    folder = tmp_path / "corpus"
    for name, content in {
        "体育/b.txt": "主队赢了\r\n全场欢呼\r\n".encode(),
        "体育/a/deep.txt": "教练说，下周还有三场比赛，队员们都要好好休息。".encode("gbk"),
        "财经/c.TXT": "\ufeff股价涨了".encode(),
        "财经/empty.txt": b" \n",
        "财经/table.csv": b"x,y\n",
        "财经/.hidden.txt": b"x",
        "loose.txt": "没有标签的文章".encode(),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    rows, report = read_table(folder)
    assert pairs(rows) == [
        ("教练说，下周还有三场比赛，队员们都要好好休息。", "体育"),
        ("主队赢了\n全场欢呼", "体育"),
        ("股价涨了", "财经"),
    ]
    assert rows["source"].tolist() == ["体育/a/deep.txt", "体育/b.txt", "财经/c.TXT"]
    assert rows["line"].tolist() == [1, 1, 1]
    assert [place for place, _ in report.dropped] == ["loose.txt", "财经/empty.txt"]
    assert report.encoding == "gb18030, utf-8"
    assert len(read_table(folder, label=None)[0]) == 4


def test_a_document_cut_in_a_character_keeps_its_text(tmp_path):
    (tmp_path / "甲").mkdir()
    write(tmp_path / "甲", "断在这里".encode()[:-1], "a.txt")
    rows, report = read_table(tmp_path)
    assert rows["text"].tolist() == ["断在这"]
    assert "甲/a.txt" in report.warnings[0]


def test_a_folder_without_documents_is_an_error(tmp_path):
    write(tmp_path, "text,label\n")
    with pytest.raises(ValueError, match="<label>/<document>"):
        read_table(tmp_path)
