// Texts of any bytes, dictionaries of any lines and files of any content, under the sanitizers. The
// first byte of an input says which of them it is and with what options.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "common/fuzzing.h"
#include "jieba/dictionary_builder.h"
#include "jieba/jieba.h"

namespace {

using namespace kerasllm::jieba;

const char kLines[] =
    "中 9 n\n中国 5\n中国人 2\n国人 3\n人民 4 n\n北京大学 7\n大学 8\nT恤 3\nc++ 2\nA 1\nAB 2\n";
const char kText[] =
    "中国人民 北京大学生\r\nxABy c++T恤 3.14%，。a.1.2%\xE3\x80\x80\xF0\x9F\x98\x80的";

void require(bool condition) {
  if (!condition) std::abort();
}

std::shared_ptr<const Dictionary> small_dictionary() {
  DictionaryBuilder builder;
  require(builder.add_lines(kLines).empty());
  builder.add_word(U"的人", 0);
  Hmm hmm = {};
  hmm.emission.assign(hmm.emission.size(), kMinFloat);
  for (size_t i = 0; i < hmm.emission.size(); ++i) {
    if (i % 5 != 0) hmm.emission[i] = -static_cast<double>(i % 7);
  }
  return builder.build(hmm);
}

void cut_all_ways(const Dictionary& dictionary, const char* text, size_t size, unsigned choice) {
  const Options options = {static_cast<Mode>(choice % 3), (choice / 3) % 2 != 0,
                           (choice / 6) % 2 != 0, (choice / 12) % 4};
  std::vector<Piece> pieces;
  Segmenter segmenter(dictionary, options);
  segmenter.cut_utf8(text, static_cast<int64_t>(size), &pieces);
  int64_t end = 0;
  for (const Piece& piece : pieces) {
    require(0 <= piece.begin && piece.begin <= piece.end &&
            piece.end <= static_cast<int64_t>(size));
    if (options.mode == Mode::kCut && options.keep_blanks) {
      require(piece.begin == end && piece.begin < piece.end && !piece.continues);
      end = piece.end;
    }
  }
  if (options.mode == Mode::kCut && options.keep_blanks) {
    require(end == static_cast<int64_t>(size));
  }
}

}  // namespace

namespace kerasllm::fuzzing {

std::vector<std::string> examples() {
  // The emission table is most of a file; mutations had better hit the rest.
  const std::string file = small_dictionary()->serialize();
  std::vector<std::string> result;
  for (int choice = 0; choice < 48; ++choice) {
    result.push_back(std::string(1, static_cast<char>(4 * choice)) + kText);
  }
  result.push_back(std::string("\x01") + kLines);
  result.push_back(std::string("\x02") + file.substr(0, file.size() - 8 * Hmm::kNumCharacters * 4));
  return result;
}

}  // namespace kerasllm::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& dictionary = *new std::shared_ptr<const Dictionary>(small_dictionary());
  if (size == 0) return 0;
  const unsigned choice = data[0] / 4;
  const std::string_view rest(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] % 4 == 1) {
    DictionaryBuilder builder;
    if (!builder.add_lines(rest).empty() || builder.total() == 0) return 0;
    const std::u32string word(rest.begin(), rest.begin() + std::min<size_t>(rest.size(), 9));
    builder.add_word(word, builder.suggest_frequency(word));
    static const Hmm& hmm = *new Hmm{};
    const auto built = builder.build(hmm);
    cut_all_ways(*built, rest.data(), rest.size(), choice);
  } else if (data[0] % 4 == 2) {
    std::string content(rest), error;
    static const std::string& table =
        *new std::string(8 * Hmm::kNumCharacters * kNumStates, '\x3f');
    content += table;
    Dictionary::seal(&content);
    const auto loaded = Dictionary::deserialize(content, &error);
    if (loaded != nullptr) cut_all_ways(*loaded, kText, sizeof(kText) - 1, choice);
  } else {
    cut_all_ways(*dictionary, rest.data(), rest.size(), choice);
  }
  return 0;
}

KERASLLM_FUZZ_MAIN("jieba_fuzz")
