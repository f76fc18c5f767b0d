// The engine against a reference without trie or back pointers, over random dictionaries, models
// and texts; its files, whole and damaged; bytes that are no UTF-8. (The Python tests hold it
// against jieba itself.)
#include "jieba/jieba.h"

#include "common/testing.h"
#include "jieba/dictionary_builder.h"
#include "jieba/jieba_reference.h"

namespace kerasllm::testing {
namespace {

using namespace jieba;
using Words = Reference::Words;

// Few characters, so that random words and texts meet: Latin and digits, marks inside and outside
// of runs, blanks, Chinese characters, one outside of jieba's range, one above U+FFFF, a surrogate.
const std::u32string kCharacters = U"aB9.+%- \r\n　，一丁七万丈三上下龥鿕鿖\U00020000\U0001F600" +
                                   std::u32string(1, char32_t{0xD800});

std::u32string random_text(std::mt19937& random, int most, size_t first = 0) {
  std::u32string text(random() % most, U' ');
  for (char32_t& c : text) c = kCharacters[first + random() % (kCharacters.size() - first)];
  return text;
}

std::string utf8(char32_t c) {
  if (c < 0x80) return {static_cast<char>(c)};
  std::string bytes;
  const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  bytes += static_cast<char>((0xFF00 >> (more + 1) & 0xFF) | c >> 6 * more);
  for (int i = more - 1; i >= 0; --i) bytes += static_cast<char>(0x80 | (c >> 6 * i & 0x3F));
  return bytes;
}

Words words_of(const std::u32string& text, const std::vector<Piece>& pieces) {
  Words words;
  for (const Piece& piece : pieces) {
    if (!piece.continues) words.emplace_back();
    words.back() += text.substr(piece.begin, piece.end - piece.begin);
  }
  return words;
}

Words cut(const Dictionary& dictionary, const Options& options, const std::u32string& text) {
  std::vector<Piece> pieces;
  Segmenter(dictionary, options).cut(text.data(), static_cast<int64_t>(text.size()), &pieces);
  return words_of(text, pieces);
}

Words without_blanks(Words words) {
  words.erase(std::remove_if(words.begin(), words.end(),
                             [](const std::u32string& word) {
                               return std::all_of(word.begin(), word.end(), is_blank);
                             }),
              words.end());
  return words;
}

// A random dictionary and model, built and by reference. Small whole numbers as frequencies and
// logarithms make many ties.
std::shared_ptr<const Dictionary> random_dictionary(std::mt19937& random, Reference* reference) {
  DictionaryBuilder builder;
  std::string lines;
  const auto word_and_add = [&](bool by_user) {
    std::u32string word = random_text(random, 6);
    const uint64_t frequency = random() % 4;
    if (word.find_first_of(U" \r\n　\xD800") != std::u32string::npos && !by_user) return;
    if (word.empty()) return;
    if (!by_user) {
      for (const char32_t c : word) lines += utf8(c);
      lines += ' ' + std::to_string(frequency) + " n\n";
      reference->add(word, frequency, false);
      return;
    }
    const uint64_t suggested = builder.suggest_frequency(word);
    expect(suggested == reference->suggest(word), "suggest_frequency");
    const uint64_t added = random() % 2 ? frequency : suggested;
    expect(builder.add_word(word, added), "add_word");
    reference->add(word, added, true);
  };
  reference->add(U"一", 5, false);
  lines += utf8(U'一') + " 5\n";
  for (int i = random() % 60; i > 0; --i) word_and_add(false);
  expect(builder.add_lines(lines).empty(), "add_lines");
  for (int i = random() % 20; i > 0; --i) word_and_add(true);
  expect(builder.total() == reference->total, "total");
  const auto score = [&] { return random() % 4 == 0 ? kMinFloat : -double(random() % 3); };
  for (double& value : reference->hmm.start) value = score();
  for (auto& row : reference->hmm.transition) {
    for (double& value : row) value = score();
  }
  for (double& value : reference->hmm.emission) value = score();
  return builder.build(reference->hmm);
}

int check_random(int num_dictionaries, int num_texts) {
  std::mt19937 random(5);
  int cases = 0;
  for (int i = 0; i < num_dictionaries; ++i) {
    Reference reference;
    auto dictionary = random_dictionary(random, &reference);
    std::string error;
    if (i % 2) dictionary = Dictionary::deserialize(dictionary->serialize(), &error);
    expect(dictionary != nullptr, "deserialize: " + error);
    for (const auto& [word, frequency] : reference.frequencies) {
      expect(dictionary->frequency(word) == frequency, "frequency");
    }
    for (int j = 0; j < num_texts; ++j) {
      const std::u32string text = random_text(random, 40);
      for (const bool hmm : {false, true}) {
        const std::string at = " of dictionary " + std::to_string(i) + " text " +
                               std::to_string(j) + " hmm " + std::to_string(hmm);
        const Words expected = reference.cut(text, false, hmm);
        expect(cut(*dictionary, {Mode::kCut, hmm, true, 0}, text) == expected, "cut" + at);
        expect(cut(*dictionary, {Mode::kCut, hmm, false, 0}, text) == without_blanks(expected),
               "cut without blanks" + at);
        expect(cut(*dictionary, {Mode::kSearch, hmm, true, 0}, text) ==
                   reference.cut_for_search(text, hmm),
               "search" + at);
        const Words all = reference.cut(text, true, hmm);
        expect(cut(*dictionary, {Mode::kAll, hmm, true, 0}, text) == all, "all" + at);
        expect(cut(*dictionary, {Mode::kAll, hmm, false, 0}, text) == without_blanks(all),
               "all without blanks" + at);
        cases += 5;
      }
    }
  }
  return cases;
}

// Every wrong file is refused; what a wrong one that is accepted leads to is the fuzzer's subject.
int check_damaged_files() {
  std::mt19937 random(6);
  Reference reference;
  const std::string whole = random_dictionary(random, &reference)->serialize();
  int cases = 0;
  const auto refused = [&](const std::string& content, const std::string& what) {
    std::string error;
    expect(Dictionary::deserialize(content, &error) == nullptr && !error.empty(), what);
    ++cases;
  };
  refused("", "an empty file");
  for (int i = 0; i < 200; ++i) {
    refused(whole.substr(0, random() % whole.size()), "a short file");
    std::string changed = whole;
    changed[random() % changed.size()] ^= static_cast<char>(1 + random() % 255);
    // In the header only magic, version and sizes are looked at, and the total, which may be any.
    const bool same_tables = changed.substr(48) == whole.substr(48);
    if (!same_tables) refused(changed, "a changed file");
    refused(whole + '\0', "a long file");
  }
  return cases;
}

void check_wrong_dictionaries() {
  for (const char* lines :
       {"词", "词\n", " 3\n", "词 \n", "词 -1\n", "词 x\n", "词 1.5\n", "\xff 3\n", "好 1\n\n",
        "词 99999999999999999999\n", "词 9000000000000000000 n\n字 9000000000000000000 n\n"}) {
    DictionaryBuilder builder;
    expect(!builder.add_lines(lines).empty(), std::string("refuses ") + lines);
  }
}

// As CPython's bytes.decode("utf-8", "replace") does.
void check_utf8() {
  const std::vector<std::pair<std::string, std::u32string>> examples = {
      {"a\xC3\xA9\xE4\xB8\xAD\xF0\x9F\x98\x80", U"aé中\U0001F600"},
      {"\x80\xBF", U"\uFFFD\uFFFD"},
      {"\xC0\xAF", U"\uFFFD\uFFFD"},
      {"\xE4\xB8", U"\uFFFD"},
      {"\xE4\xB8!", U"\uFFFD!"},
      {"\xE0\x80\x80", U"\uFFFD\uFFFD\uFFFD"},
      {"\xED\xA0\x80", U"\uFFFD\uFFFD\uFFFD"},
      {"\xF0\x9F\x98", U"\uFFFD"},
      {"\xF4\x90\x80\x80", U"\uFFFD\uFFFD\uFFFD\uFFFD"},
      {"\xF5\xFF", U"\uFFFD\uFFFD"},
      {std::string("\0", 1), std::u32string(1, U'\0')},
  };
  std::vector<char32_t> characters;
  std::vector<int32_t> starts;
  for (const auto& [bytes, expected] : examples) {
    decode_utf8(bytes.data(), static_cast<int64_t>(bytes.size()), &characters, &starts);
    expect(std::u32string(characters.begin(), characters.end()) == expected, "decode " + bytes);
    expect(starts.front() == 0 && starts.back() == static_cast<int32_t>(bytes.size()), "starts");
  }
}

// Offsets in bytes are those of the characters.
void check_offsets() {
  std::mt19937 random(7);
  Reference reference;
  const auto dictionary = random_dictionary(random, &reference);
  for (int i = 0; i < 200; ++i) {
    const std::u32string text = random_text(random, 40);
    std::string bytes;
    std::vector<int32_t> starts = {0};
    std::u32string valid;
    for (const char32_t c : text) {
      if (c == 0xD800) continue;
      valid += c;
      bytes += utf8(c);
      starts.push_back(static_cast<int32_t>(bytes.size()));
    }
    std::vector<Piece> by_characters, by_bytes;
    Segmenter segmenter(*dictionary, {});
    segmenter.cut(valid.data(), static_cast<int64_t>(valid.size()), &by_characters);
    segmenter.cut_utf8(bytes.data(), static_cast<int64_t>(bytes.size()), &by_bytes);
    bool same = by_characters.size() == by_bytes.size();
    for (size_t k = 0; same && k < by_bytes.size(); ++k) {
      same = by_bytes[k].begin == starts[by_characters[k].begin] &&
             by_bytes[k].end == starts[by_characters[k].end];
    }
    expect(same, "offsets of text " + std::to_string(i));
  }
}

// A longest run cuts runs as if they were texts of their own.
void check_longest_run() {
  std::mt19937 random(8);
  Reference reference;
  const auto dictionary = random_dictionary(random, &reference);
  for (int i = 0; i < 200; ++i) {
    std::u32string run;
    for (const char32_t c : random_text(random, 60)) {
      if (is_in_run(c)) run += c;
    }
    Words expected;
    for (size_t at = 0; at < run.size(); at += 7) {
      const Words part = reference.cut(run.substr(at, 7), false, true);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    expect(cut(*dictionary, {Mode::kCut, true, true, 7}, run) == expected, "longest_run");
  }
}

int run_all() {
  const int cases = check_random(100, 40);
  const int files = check_damaged_files();
  check_wrong_dictionaries();
  check_utf8();
  check_offsets();
  check_longest_run();
  return finish("jieba_test", cases + files + 11 + 22 + 200 + 200);
}

}  // namespace
}  // namespace kerasllm::testing

int main() { return kerasllm::testing::run_all(); }
