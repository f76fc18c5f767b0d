// The tokenisation against a second one, written from the paper's definition over std::map and in
// the plainest way, and against known answers. Python's tests hold it against `tokenizers`.
#include "wordpiece/wordpiece.h"

#include <map>

#include "common/testing.h"
#include "wordpiece/wordpiece_batch.h"

namespace kerasllm::testing {
namespace {

const std::vector<std::string> kTokens = {
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##aff", "##able", "##a",      "a",
    "b",     "##b",   "ab",    "##ab",  "我",     "爱", "北",    "京",     "##京",     "!",
    "，",    "e",     "##e",   "i",     "##aab",  "1",  "##2",   "[",      "mask",     "]",
    "𠀀",    "ᄀ",    "##ᅡ",   "ı",     "ß",      "σ",  "##σ",   "\u302e", "##\u302e", "##\u1b44"};

std::string vocabulary(const std::vector<std::string>& tokens = kTokens) {
  std::string result;
  for (const std::string& token : tokens) result += token + "\n";
  return result;
}

std::shared_ptr<const Wordpiece> make(const WordpieceOptions& options = {}) {
  std::string error;
  auto model = Wordpiece::create(vocabulary(), options, &error);
  expect(model != nullptr, "create: " + error);
  return model;
}

std::string tokens_of(const Wordpiece& model, const std::string& text,
                      OffsetUnit unit = OffsetUnit::kNone) {
  const std::string_view view = text;
  TokenBuffer tokens;
  int64_t length;
  model.tokenize(&view, 1, INT64_MAX, unit, &tokens, &length);
  std::string result;
  for (int64_t i = 0; i < length; ++i) {
    result += (i ? " " : "") + kTokens[tokens.ids[i]];
    if (unit != OffsetUnit::kNone) {
      result += ":" + std::to_string(tokens.starts[i]) + "-" + std::to_string(tokens.ends[i]);
    }
  }
  return result;
}

int cases = 0;

void expect_equal(const std::string& got, const std::string& expected, const std::string& what) {
  ++cases;
  expect(got == expected, what + ": got " + got + ", expected " + expected);
}

void check_known_answers() {
  const auto model = make();
  const std::pair<const char*, const char*> known[] = {
      {"", ""},
      {"unaffable", "un ##aff ##able"},
      {"UNAFFABLE!", "un ##aff ##able !"},
      {"我爱北京", "我 爱 北 京"},
      {"a我b", "a 我 b"},
      {"abc", "[UNK]"},
      {"x", "[UNK]"},
      {" \t\n\u3000", ""},
      {"a\u200b\x01"
       "b",
       "ab"},
      {"é", "e"},
      {"e\u0301", "e"},
      {"İ", "i"},
      {"가", "ᄀ ##ᅡ"},
      {"[MASK]a[mask]", "[MASK] a [ mask ]"},
      {"[[MASK]]", "[ [MASK] ]"},
      {"ab[SEP", "ab [ [UNK]"},
      {"\xff\xc3我\xe4\xb8", "我"},
      {"a\xf0\x9f\x98"
       "b",
       "ab"},
      {"\xed\xa0\x80", ""},
      {"𠀀a", "𠀀 a"},
      {"12", "1 ##2"},
      {"Σσ", "σ ##σ"},
      {"a\u302e\u1b44", "a ##\u1b44 ##\u302e"},
      {"\u302ea", "\u302e ##a"},
  };
  for (const auto& [text, expected] : known) expect_equal(tokens_of(*model, text), expected, text);
  // 302e (class 224) and 1b44 (class 9) change places; so do the bytes that they stand for.
  expect_equal(tokens_of(*model, "σ\u302e\u1b44", OffsetUnit::kBytes),
               "σ:0-2 ##\u1b44:2-5 ##\u302e:5-8", "canonical ordering");
  expect_equal(tokens_of(*model, "我é\xff[MASK]AB", OffsetUnit::kBytes),
               "我:0-3 e:3-5 [MASK]:6-12 ab:12-14", "byte offsets");
  expect_equal(tokens_of(*model, "我é\xff[MASK]AB", OffsetUnit::kCodePoints),
               "我:0-1 e:1-2 [MASK]:3-9 ab:9-11", "code-point offsets");

  WordpieceOptions options;
  options.special_tokens_in_text = false;
  expect_equal(tokens_of(*make(options), "[MASK]"), "[ mask ]", "special tokens as text");
  options = {};
  options.split_cjk = false;
  expect_equal(tokens_of(*make(options), "北京 我爱"), "北 ##京 [UNK]", "CJK together");
  options = {};
  options.max_characters_per_word = 2;
  expect_equal(tokens_of(*make(options), "ab aab"), "ab [UNK]", "long words");
  options = {};
  options.strip_accents = options.lowercase = false;
  expect_equal(tokens_of(*make(options), "é e A a"), "[UNK] e [UNK] a", "letters as they are");
}

// Longest match first over a map of strings, for words of a and b.
std::string by_definition(const std::map<std::string, bool>& known, const std::string& word) {
  std::string result;
  for (size_t start = 0; start < word.size();) {
    size_t end = word.size();
    std::string piece;
    for (; end > start; --end) {
      piece = (start ? "##" : "") + word.substr(start, end - start);
      if (known.count(piece)) break;
    }
    if (end == start) return "[UNK]";
    result += (start ? " " : "") + piece;
    start = end;
  }
  return result;
}

void check_longest_match() {
  const auto model = make();
  std::map<std::string, bool> known;
  for (const std::string& token : kTokens) known[token] = true;
  for (int length = 1; length <= 12; ++length) {
    for (int bits = 0; bits < 1 << length; ++bits) {
      std::string word;
      for (int i = 0; i < length; ++i) word += bits >> i & 1 ? 'a' : 'b';
      expect_equal(tokens_of(*model, word), by_definition(known, word), word);
    }
  }
  expect_equal(tokens_of(*model, std::string(101, 'a')), "[UNK]", "101 characters");
  expect(tokens_of(*model, std::string(100, 'a')) != "[UNK]", "100 characters");
}

void check_refusals() {
  const std::pair<std::string, const char*> refused[] = {
      {"", "empty"},
      {"\n", "the vocabulary is empty"},
      {"\xEF\xBB\xBF" + vocabulary(), "byte order mark"},
      {vocabulary() + "a\n", "line 41 of the vocabulary repeats the token 'a' of line 10"},
      {"[PAD]\r\n[UNK]\r\n", "line 1 of the vocabulary ends with a carriage return"},
      {vocabulary() + "\n\n", "line 41 of the vocabulary is empty"},
      {vocabulary() + "\xff\n", "line 41 of the vocabulary is not UTF-8"},
      {"[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "lacks the special token '[MASK]'"},
  };
  for (const auto& [content, expected] : refused) {
    std::string error;
    ++cases;
    const bool is_refused = Wordpiece::create(content, {}, &error) == nullptr;
    expect(is_refused && error.find(expected) != std::string::npos,
           std::string("refusal: got '") + error + "', expected " + expected);
  }
}

// Any bytes: no crash, offsets in the text and rising, the same on any number of threads.
void check_random_bytes() {
  const auto model = make();
  std::mt19937 random(1);
  std::vector<std::string> texts(20000);
  for (std::string& text : texts) {
    for (unsigned length = random() % 40; length > 0; --length) {
      if (random() % 3 == 0) {
        text += kTokens[random() % kTokens.size()];
      } else {
        text += static_cast<char>(random());
      }
    }
  }
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const auto count = static_cast<int64_t>(views.size());
  Serial serial;
  const WordpieceBatch expected(*model, views.data(), count, INT64_MAX, OffsetUnit::kBytes, serial);
  const auto flat = [&](const WordpieceBatch& batch) {
    std::vector<int64_t> result(3 * batch.num_tokens() + count + 1);
    std::vector<int32_t> ids(batch.num_tokens());
    int64_t* const starts = result.data() + count + 1;
    batch.copy(ids.data(), result.data(), starts, starts + ids.size());
    std::copy(ids.begin(), ids.end(), starts + 2 * ids.size());
    return result;
  };
  const auto reference = flat(expected);
  for (const int threads : {2, 3, 4}) {
    Threads parallel(threads);
    ++cases;
    expect(reference == flat(WordpieceBatch(*model, views.data(), count, INT64_MAX,
                                            OffsetUnit::kBytes, parallel)),
           "differs on " + std::to_string(threads) + " threads");
  }
  const int64_t tokens = expected.num_tokens();
  for (int64_t row = 0; row < count; ++row) {
    int64_t before = 0;
    for (int64_t i = reference[row]; i < reference[row + 1]; ++i) {
      const int64_t start = reference[count + 1 + i], end = reference[count + 1 + tokens + i];
      expect(before <= start && start < end && end <= static_cast<int64_t>(views[row].size()),
             "offsets of text " + std::to_string(row));
      before = start;
    }
  }
  // A limit gives the same beginning.
  for (const int64_t limit : {1, 5}) {
    const WordpieceBatch limited(*model, views.data(), count, limit, OffsetUnit::kNone, serial);
    for (int64_t row = 0; row < count; ++row) {
      const int64_t kept = std::min(limit, expected.length(row));
      expect(limited.length(row) >= kept &&
                 std::equal(limited.ids(row), limited.ids(row) + kept, expected.ids(row)),
             "limit " + std::to_string(limit) + " of text " + std::to_string(row));
    }
  }
  ++cases;
}

void check_encoding() {
  const auto model = make();
  const std::string_view texts[] = {"ab我", "a b a b a"}, pairs[] = {"", "爱爱爱"};
  Serial serial;
  const auto encode = [&](const EncodingOptions& options) {
    const EncodedBatch batch(*model, texts, pairs, 2, options, serial);
    if (!batch.error().empty()) return batch.error();
    const int64_t length = batch.length();
    std::vector<int32_t> ids(2 * length), segments(2 * length);
    const std::unique_ptr<bool[]> mask(new bool[2 * length]);
    batch.write(ids.data(), segments.data(), mask.get(), serial);
    std::string result;
    for (int64_t i = 0; i < 2 * length; ++i) {
      expect(mask[i] == (ids[i] != 0), "padding mask");
      result += kTokens[ids[i]] + std::to_string(segments[i]) + (i + 1 == length ? "|" : " ");
    }
    return result;
  };
  expect_equal(encode({}),
               "[CLS]0 ab0 我0 [SEP]0 [PAD]0 [PAD]0 [PAD]0|"
               "[CLS]0 a0 b0 a0 b0 a0 [SEP]0 ",
               "single texts");
  expect_equal(encode({4, Truncation::kLongestFirst, false, false}),
               "[CLS]0 ab0 我0 [SEP]0|[CLS]0 a0 b0 [SEP]0 ", "truncated");
  expect_equal(encode({8, Truncation::kLongestFirst, true, true}),
               "[CLS]0 ab0 我0 [SEP]0 [SEP]1 [PAD]0 [PAD]0 [PAD]0|"
               "[CLS]0 a0 b0 a0 [SEP]0 爱1 爱1 [SEP]1 ",
               "pairs");
  expect(encode({2, Truncation::kLongestFirst, false, true}).find("at least 3") < 99, "max 2");
  expect(encode({5, Truncation::kOnlySecond, false, true}).find("of only the second") < 99,
         "nothing left");
  cases += 2;
}

int run_all() {
  check_known_answers();
  check_longest_match();
  check_refusals();
  check_random_bytes();
  check_encoding();
  return finish("wordpiece_test", cases);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
